"""The cells view: gates against `torch.nn`, states against transformers' own, what `find` finds, own numbers."""

import json
import random
import runpy
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError, WrongValue
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.views import OPTIONS
from mkdocs_attnviz.views.cells import CELLS, VIEW, Options
from mkdocs_attnviz.views.unit_values import signed_bytes

CHARACTERS = ROOT / "example_site" / "models" / "characters"
TEXT = """The fox (old, and [as they say] quite mad) said: "I am (not) here. I was."
Nobody (but who {or what} is there?) believed it.

  "Yes," the crow cried (she [who else?] was loud), "you are! Look (behind it)."
The fox ([grey] or {red}) went home. "What a day (a long one) this was," it said
to the moon. (Nobody knows [nor will ever {ever} know] what the moon answered.)
"I hear you," it may have said, or: "Be quiet (please)."
"""


def lists(blob):
    return json.loads(zlib.decompress(blob))


# ---- what is looked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("find", "text", "expected"),
    [
        ("quotes", 'a "b" c', "0011000"),
        ("quotes", "a “b «c» d” e", "0011111111000"),
        ("quotes", 'a "b\n\nc', "0011100"),
        ("bracket_depth", "(a[b]{c})d)e(", "1122122100001"),
        ("line_position", "ab\n\nc", "12001"),
        ("b+", "abbcb", "01101"),
        ("(?i)THE", "the The", "1110111"),
        (["bc", "d"], "abcd bcd", "01110111"),
        (["."], "a.b", "010"),
    ],
)
def test_what_is_looked_for(find, text, expected):
    from mkdocs_attnviz.models.inputs.text_masks import mask

    assert mask(find, list(text)).tolist() == list(map(float, expected))


def test_what_is_looked_for_in_tokens_of_several_characters():
    from mkdocs_attnviz.models.inputs.text_masks import mask

    pieces = [None, "say", ' "', "yes", '"', "\n", "(", " so)", None]
    assert np.array_equal(mask("quotes", pieces), [np.nan, 0, 1, 1, 0, 0, 0, 0, np.nan], equal_nan=True)
    assert np.array_equal(mask("bracket_depth", pieces), [np.nan, 0, 0, 0, 0, 0, 1, 0, np.nan], equal_nan=True)
    assert np.array_equal(mask("line_position", pieces), [np.nan, 3, 5, 8, 9, 0, 1, 5, np.nan], equal_nan=True)
    assert np.array_equal(mask("es|s", pieces), [np.nan, 1, 0, 1, 0, 0, 0, 1, np.nan], equal_nan=True)


def test_the_search_is_told_on_the_other_half():
    """Ranks come from the first half, the number that is told from the second; NumPy's own correlations agree."""
    from mkdocs_attnviz.models.captures.unit_search import search

    chance = np.random.default_rng(1)
    mask = (chance.random(400) < 0.3).astype(float)
    mask[[0, 399]] = np.nan  # special tokens
    units = chance.normal(size=(400, 60)).astype(np.float32)
    units[:, 7] += 2 * np.nan_to_num(mask)
    units[200:, 9] = 3 * np.nan_to_num(mask)[200:]  # the best on the second half, nothing on the first
    units[:, 11] = 5  # never varies
    found = search(mask, {0: units[:, :30], 3: units[:, 30:]})
    assert (found.looked_at, found.best, len(found.shifted)) == (60, (0, 7), 60)
    first, second = slice(1, 200), slice(200, 399)
    for at in (0, 7, 9):
        assert found.layers[0].chosen[at] == pytest.approx(np.corrcoef(mask[first], units[first, at])[0, 1], abs=1e-6)
        assert found.layers[0].told[at] == pytest.approx(np.corrcoef(mask[second], units[second, at])[0, 1], abs=1e-6)
    assert found.layers[0].chosen[11] == found.layers[0].told[11] == 0
    assert found.layers[0].told[7] > 2 * max(found.shifted)


def test_noise_does_not_beat_shifted_masks():
    """The best of 2,000 units of noise correlates on the half by which it is chosen, and not on the other."""
    from mkdocs_attnviz.models.captures.unit_search import search

    chance = np.random.default_rng(2)
    mask, units = (chance.random(200) < 0.3).astype(float), chance.normal(size=(200, 2000)).astype(np.float32)
    found = search(mask, {0: units})
    _, unit = found.best
    assert abs(found.layers[0].chosen[unit]) > 0.3 > abs(found.layers[0].told[unit])
    assert abs(found.layers[0].told[unit]) < max(found.shifted)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([0.0] * 30 + [1.0] * 10, "`find` gives nothing in the first half of the text"),
        ([1.0, 0.0] * 10 + [1.0] * 20, "`find` gives the same at every token in the second half"),
        ([1.0, 0.0] * 5, "`find` needs 20 tokens or more; the text has 10."),
    ],
)
def test_what_cannot_be_searched_for(values, sentence):
    from mkdocs_attnviz.models.captures.unit_search import search

    with pytest.raises(WrongValue, match=sentence):
        search(np.array(values), {0: np.random.default_rng(0).normal(size=(len(values), 3))})


def test_an_expression_without_end_and_a_span_that_is_not_there(monkeypatch):
    from mkdocs_attnviz.models.inputs import text_masks

    monkeypatch.setattr(text_masks, "SECONDS", 0.05)
    with pytest.raises(WrongValue, match=r"takes more than 0\.05 seconds"):
        text_masks.mask("(a|a)*$", list("a" * 40 + "b"))
    with pytest.raises(WrongValue, match="'fix', which does not occur in the text"):
        text_masks.mask(["fox", "fix"], list("the fox"))


# ---- the block -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("find: '(a'", "`find` is '(a', which is no regular expression: missing )"),
        ("find: []", "`find` has an empty span; each must be a part of the text."),
        ("unit: 1\nunits: [2, 3]", "`unit` and `units` are both in the block; keep one of them."),
        ("part: gate", "`part` is 'gate'; it must be cell, hidden, forget"),
        ("keep: 0", "`keep` is 0; it must be a number from 1 to 1000."),
    ],
)
def test_a_block_that_cannot_be(more, sentence):
    with pytest.raises(BlockError) as error:
        parse(Source(f"model: m\ntext: t\nview: cells\n{more}"), OPTIONS)
    assert sentence in error.value.problem.message


def drawn(entry, **options):
    """Return the drawing of an entry by a block with these options."""
    body = json.dumps({"model": "m", "text": "t", "view": "cells", **options})
    return VIEW.drawing(parse(Source(body), OPTIONS), entry)


# ---- gates -----------------------------------------------------------------------------------------------------------


def loaded_around(module, run, inputs=6):
    """Return a model as captures see it, which embeds its tokens and runs `run(module, vectors)`."""
    import torch

    from mkdocs_attnviz.models.loading.loaded import Loaded

    class Around(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(70, inputs)
            self.inner = module
            self.config = SimpleNamespace(is_encoder_decoder=False, model_type="around")

        def forward(self, input_ids, **_):
            return run(self.inner, self.embedding(input_ids))

    model = Around().eval()
    tokenizer = SimpleNamespace(pad_token_id=0, model_max_length=10**30)
    return Loaded(SimpleNamespace(name="around"), model, tokenizer, torch.device("cpu"))


def lstm_by_hand(module, vectors, layer, reverse=False, state=None):
    """Return cells, hidden states and gates of one layer, step by step, with torch's own cell beside our formulas."""
    import torch

    end = f"_l{layer}{'_reverse' * reverse}"
    cell = torch.nn.LSTMCell(vectors.shape[1], module.hidden_size)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, name).data = getattr(module, f"{name}{end}").data
    h, c = state or (torch.zeros(1, module.hidden_size), torch.zeros(1, module.hidden_size))
    steps = []
    for vector in vectors.flip(0) if reverse else vectors:
        sums = vector @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
        i, f, _, o = sums.chunk(4, 1)
        h, c = cell(vector[None], (h, c))
        steps.append({"cell": c, "hidden": h, "input": i.sigmoid(), "forget": f.sigmoid(), "output": o.sigmoid()})
    steps = steps[::-1] if reverse else steps
    return {part: torch.cat([step[part] for step in steps]) for part in steps[0]}


def assert_equal(parts, expected):
    assert set(parts) <= set(expected)
    for part, values in parts.items():
        assert float((values - expected[part]).abs().max()) < 1e-6, part


@pytest.mark.parametrize("way", ["batch_first", "time first", "packed", "begun", "in two calls"])
def test_gates_of_an_lstm_equal_those_stepped_by_hand(way):
    import torch
    from tiny_models import example

    from mkdocs_attnviz.models.probing.recurrent import recurrent_layers

    torch.manual_seed(0)
    both = way not in ("begun", "in two calls")
    module = torch.nn.LSTM(6, 5, 2, batch_first=way != "time first", bidirectional=both)
    state = torch.randn(2, 1, 5), torch.randn(2, 1, 5)

    def run(lstm, vectors):
        if way == "packed":
            return lstm(torch.nn.utils.rnn.pack_padded_sequence(vectors, [vectors.shape[1]], batch_first=True))
        if way == "begun":
            return lstm(vectors, state)
        if way == "in two calls":
            _, after = lstm(vectors[:, :4])
            return lstm(vectors[:, 4:], after)
        return lstm(vectors if way == "batch_first" else vectors.transpose(0, 1))

    loaded = loaded_around(module, run)
    given = example(loaded)
    with torch.no_grad():
        vectors = loaded.model.embedding(torch.tensor(given.text.ids))
        layers = recurrent_layers(loaded, given)
        assert [layer.name for layer in layers][:2] == (
            ["inner, layer 0", "inner, layer 0, backward"] if both else ["inner, layer 0", "inner, layer 1"]
        )
        before = [(state[0][n], state[1][n]) if way == "begun" else None for n in range(2)]
        first = lstm_by_hand(module, vectors, 0, state=before[0])
        assert_equal(layers[0].parts, first)
        if not both:
            assert_equal(layers[1].parts, lstm_by_hand(module, first["hidden"], 1, state=before[1]))
            return
        back = lstm_by_hand(module, vectors, 0, reverse=True)
        assert_equal(layers[1].parts, back)
        between = torch.cat([first["hidden"], back["hidden"]], 1)
        assert_equal(layers[2].parts, lstm_by_hand(module, between, 1))
        assert_equal(layers[3].parts, lstm_by_hand(module, between, 1, reverse=True))


@pytest.mark.parametrize("kind", ["GRU", "GRUCell", "LSTMCell", "RNN", "relu", "projected"])
def test_other_recurrent_modules_equal_their_own_outputs(kind):
    import torch
    from tiny_models import example

    from mkdocs_attnviz.models.probing.recurrent import recurrent_layers

    torch.manual_seed(0)
    made = {
        "relu": lambda: torch.nn.RNN(6, 5, 2, nonlinearity="relu", batch_first=True),
        "projected": lambda: torch.nn.LSTM(6, 5, 2, proj_size=3, batch_first=True),
        "GRUCell": lambda: torch.nn.GRUCell(6, 5),
        "LSTMCell": lambda: torch.nn.LSTMCell(6, 5),
    }
    module = made[kind]() if kind in made else getattr(torch.nn, kind)(6, 5, 2, batch_first=True, bidirectional=True)

    def run(inner, vectors):
        if not kind.endswith("Cell"):
            return inner(vectors)[0]
        state, outputs = None, []
        for vector in vectors[0]:
            state = inner(vector[None], state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)

    loaded = loaded_around(module, run)
    given = example(loaded)
    layers = recurrent_layers(loaded, given)
    with torch.no_grad():
        own = loaded.model(torch.tensor([given.text.ids]))[0]
    last = [layer.parts["hidden"] for layer in layers if layer.layer == layers[-1].layer]
    assert float((torch.cat(last, 1) - own).abs().max()) < 1e-6
    if kind in ("GRU", "GRUCell"):
        end = "_l0" if kind == "GRU" else ""
        vectors = loaded.model.embedding(torch.tensor(given.text.ids)).detach()
        hidden = torch.cat([torch.zeros(1, 5), layers[0].parts["hidden"][:-1]])
        sums = (vectors @ getattr(module, f"weight_ih{end}").T + getattr(module, f"bias_ih{end}"))[:, :10] + (
            hidden @ getattr(module, f"weight_hh{end}").T + getattr(module, f"bias_hh{end}")
        )[:, :10]
        reset, update = sums.detach().sigmoid().chunk(2, 1)
        assert float((layers[0].parts["reset"] - reset).abs().max()) < 1e-6
        assert float((layers[0].parts["update"] - update).abs().max()) < 1e-6


def test_a_module_that_computes_something_else_is_refused():
    import torch
    from tiny_models import example

    from mkdocs_attnviz.models.errors import Unusable
    from mkdocs_attnviz.models.probing.recurrent import recurrent_layers

    class Doubled(torch.nn.GRU):
        def forward(self, *given):
            output, state = super().forward(*given)
            return 2 * output, state

    loaded = loaded_around(Doubled(6, 5, batch_first=True), lambda inner, vectors: inner(vectors))
    with pytest.raises(Unusable, match=r"its output is another than that of torch\.nn\.GRU"):
        recurrent_layers(loaded, example(loaded))
    loaded = loaded_around(torch.nn.GRU(6, 5, batch_first=True), lambda inner, vectors: inner(vectors[:, ::2]))
    with pytest.raises(Unusable, match=r"reads each token of the text once; its recurrent modules: inner\."):
        recurrent_layers(loaded, example(loaded))


# ---- states, residual stream, neurons --------------------------------------------------------------------------------

WITH_STATES = ("mamba", "rwkv", "recurrent_gemma", "jamba", "falcon_h1", "qwen3_next", "xlstm")


def with_states(model_type):
    """Return a tiny model with recurrent states."""
    import torch
    import transformers
    from tiny_models import tiny

    from mkdocs_attnviz.models.loading.loaded import Loaded

    if model_type != "xlstm":
        return tiny(model_type)
    torch.manual_seed(0)
    # For another `qk_dim_factor` of a model this small, transformers' cache has another shape than the state.
    sizes = {"vocab_size": 70, "hidden_size": 64, "num_heads": 4, "num_hidden_layers": 2, "qk_dim_factor": 1.0}
    config = transformers.xLSTMConfig(**sizes, autocast_kernel_dtype="float32")
    tokenizer = SimpleNamespace(pad_token_id=0, model_max_length=10**30)
    model = transformers.xLSTMModel(config).eval()
    return Loaded(SimpleNamespace(name="xlstm"), model, tokenizer, torch.device("cpu"))


@pytest.mark.parametrize("model_type", WITH_STATES)
def test_states_equal_those_after_each_beginning_of_the_text(model_type):
    """transformers hands out the state after a whole text; the state at a token is that after the text up to there."""
    import torch
    from tiny_models import example

    from mkdocs_attnviz.models.probing import states

    loaded = with_states(model_type)
    given = example(loaded, text=8)
    found = states.recurrent_states(loaded, given)
    assert found
    assert all(len(layer) == 8 for layer in found.values())
    held = {}
    for name, module in loaded.model.named_modules():
        if hasattr(module, "recurrent_states"):  # what such a module keeps is taken away after a pass
            number = int(name.split(".")[1])
            module.register_forward_hook(lambda module, *_, at=number: held.update({at: module.recurrent_states[0]}))
    for length in (1, 5, 8):
        ids = torch.tensor([given.text.ids[:length]])
        with torch.inference_mode():
            output = loaded.model(input_ids=ids, use_cache=True)
        caches = [output[name] for name in states.CACHES if output.get(name) is not None]
        whole = dict(states._in_caches(caches)) or held
        assert set(whole) == set(found)
        for layer, state in whole.items():
            most = float(state.abs().max()) or 1.0
            assert float((found[layer][length - 1] - state.float()).abs().max()) < 1e-4 * most, (layer, length)


def test_states_that_are_too_many_or_not_there(monkeypatch):
    from tiny_models import example, tiny

    from mkdocs_attnviz.models.errors import Unusable
    from mkdocs_attnviz.models.probing import states

    loaded = tiny("mamba")
    monkeypatch.setattr(states, "MOST", 10_000)
    with pytest.raises(WrongValue, match=r"The states of 2 layers of model 'mamba' at 11 tokens are 16,896 numbers"):
        states.recurrent_states(loaded, example(loaded))
    assert list(states.recurrent_states(loaded, example(loaded), [1])) == [1]
    loaded = tiny("gpt2")
    with pytest.raises(Unusable, match="hands out no recurrent states; `part: residual`"):
        states.recurrent_states(loaded, example(loaded))


def entry_of(loaded, given, **options):
    from mkdocs_attnviz.models.captures.cells import capture
    from mkdocs_attnviz.models.captures.context import Context

    return capture(Context(loaded, [given], Options(**options).parameters()))[0]


def kept(entry, part, layer):
    """Return the numbers of the units that are kept, and their values, (T, kept)."""
    units = lists(entry.blobs[f"{part}/{layer}/units"])["units"]
    return units, np.array(signed_bytes(entry.blobs[f"{part}/{layer}"], len(units))).T


@pytest.mark.parametrize("model_type", ["gpt2", "t5"])
def test_values_equal_transformers_hidden_states(model_type):
    import torch
    from tiny_models import example, tiny

    from mkdocs_attnviz.models.inputs.examples import collate

    loaded = tiny(model_type)
    given = example(loaded)
    stack = "decoder" if model_type == "t5" else None
    entry = entry_of(loaded, given, stack=stack)
    with torch.inference_mode():
        output = loaded.model(**collate(loaded, [given]), output_hidden_states=True)
    hidden = output["decoder_hidden_states" if stack else "hidden_states"]
    assert entry.meta["parts"] == ["residual"]
    assert len(entry.meta["layers"]) == len(hidden) - 1
    for layer, state in enumerate(hidden[1:]):
        units, values = kept(entry, "residual", layer)
        own = state[0].numpy()[:, units]
        assert (np.abs(values - own) <= np.abs(own).max(axis=0) / 250 + 1e-6).all()


def test_neurons_equal_what_a_hook_sees():
    import torch
    from tiny_models import example, tiny

    from mkdocs_attnviz.models.inputs.examples import collate

    loaded = tiny("gpt2")
    given, seen = example(loaded), []
    entry = entry_of(loaded, given, part="neurons", include_layers=[1], keep=4, units=[3])
    hook = loaded.model.h[1].mlp.c_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    with torch.inference_mode():
        loaded.model(**collate(loaded, [given]))
    hook.remove()
    units, values = kept(entry, "neurons", 1)
    own = seen[0].numpy()
    strongest = np.argsort(-own.std(axis=0), kind="stable")[:4].tolist()
    assert units == sorted({*strongest, 3})
    assert (np.abs(values - own[:, units]) <= np.abs(own[:, units]).max(axis=0) / 250 + 1e-6).all()
    assert [layer["layer"] for layer in entry.meta["layers"]] == [1]


# ---- the model of characters -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def characters():
    """The site's own model of characters: the model and its tokenizer."""
    import transformers

    how = {"trust_remote_code": True}
    return (
        transformers.AutoModelForCausalLM.from_pretrained(CHARACTERS, **how).eval(),
        transformers.AutoTokenizer.from_pretrained(CHARACTERS, **how),
    )


def captured(model, tokenizer, text, **options):
    from mkdocs_attnviz.models.engine import in_process

    return in_process.entry(model, tokenizer, {"text": text}, CELLS, 10_000, Options(**options).parameters())


def test_a_planted_cell_is_found(characters):
    """A cell that is made to count brackets is the best of 256 for `bracket_depth`, and for nothing else."""
    import copy

    import torch

    model, tokenizer = copy.deepcopy(characters[0]), characters[1]
    torch.manual_seed(1)
    for parameter in model.parameters():  # what was learned is forgotten
        torch.nn.init.normal_(parameter, std=0.3)
    lstm, size, unit = model.lstm, model.config.hidden_size, 41
    with torch.no_grad():
        model.embedding.weight[:, 0] = 0
        for character, step in {**dict.fromkeys("([{", 0.2), **dict.fromkeys(")]}", -0.2)}.items():
            model.embedding.weight[tokenizer.convert_tokens_to_ids(character), 0] = step
        for gate in range(4):
            row = gate * size + unit
            lstm.weight_ih_l0[row] = 0
            lstm.weight_hh_l0[row] = 0
            lstm.bias_hh_l0[row] = 0
            lstm.bias_ih_l0[row] = 0 if gate == 2 else 20  # all gates open; the candidate is what is embedded
        lstm.weight_ih_l0[2 * size + unit, 0] = 1
    found = captured(model, tokenizer, TEXT, find="bracket_depth").meta["search"]["cell"]
    assert (found["layer"], found["unit"], found["looked_at"]) == (0, unit, 256)
    assert found["told"] > 0.99 > 0.9 > found["shifted"]["best"]
    assert captured(model, tokenizer, TEXT, find="line_position").meta["search"]["cell"]["unit"] != unit


def test_cells_that_the_model_has_learned(characters):
    """One cell of the site's model follows quotations and another the line, far better than for shifted masks."""
    grammar = runpy.run_path(str(CHARACTERS / "grammar.py"))
    chance = random.Random("tests")
    text = "\n\n".join(grammar["story"](chance) for _ in range(6))
    for find in ("quotes", "line_position"):
        found = captured(*characters, text, find=find).meta["search"]["cell"]
        assert abs(found["told"]) > 0.7 > 0.6 > found["shifted"]["best"], found


def test_the_text_is_as_it_was_written(characters):
    """Line breaks and indentation stay, and every token has its own value."""
    entry = captured(*characters, TEXT)
    assert lists(entry.blobs["text"]) == {"text": TEXT, "ends": None}
    drawing = drawn(entry, show="text")
    shown = lists(drawing.data["text"]["content"])
    assert shown == {"text": TEXT, "ends": None}
    assert "⏎" in drawing.picture.svg
    assert len(drawing.picture.svg) < 200_000


@pytest.mark.parametrize("text", ["Two  words,\n\tand a 👍🏽 here", "naïve 東京!\n"])
def test_pieces_put_together_are_the_text(text, bytes_tokenizer):
    from mkdocs_attnviz.models.captures.cells import pieces_of
    from mkdocs_attnviz.models.inputs.tokens import tokenize

    pieces = pieces_of(tokenize(bytes_tokenizer, text, None))
    assert "".join(piece or "" for piece in pieces) == text.rstrip("\n") + "\n" * text.endswith("\n")


@pytest.fixture(scope="module")
def bytes_tokenizer():
    """A tokenizer of bytes, several for a character beyond ASCII."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_what_a_figure_shows_of_the_model(characters):
    """Default: the best unit for `find`; the sentence tells both halves, how many were looked at, and the null."""
    entry = captured(*characters, TEXT, find="quotes", keep=8, units=[5, 9])
    found = entry.meta["search"]["cell"]
    drawing = drawn(entry, find="quotes")
    assert drawing.data["initial"] == {
        "show": "text", "part": "cell", "layer": found["layer"], "units": [], "token": None
    }  # fmt: skip
    assert f"Of 256 units, unit {found['unit']} of layer {found['layer']} follows quotes best" in drawing.sentence
    assert "of 256 shifted masks gets" in drawing.sentence
    two = drawn(entry, find="quotes", units=[9, 5], layer=1, part="forget")
    assert two.data["initial"]["units"] == [5, 9]
    saturation = drawn(entry, find="quotes", show="saturation")
    assert "circle" in saturation.picture.svg
    assert "below 0.1 and above 0.9" in saturation.sentence
    fractions = lists(entry.blobs["saturation"])["0"]["forget"]
    assert len(fractions[0]) == len(fractions[1]) == 128
    for options, sentence in [
        ({"part": "residual"}, "`part` is residual; model 'm' has cell, hidden, forget, input and output."),
        ({"layer": 2}, "`layer` is 2; the layers of model 'm' are 0 to 1."),
        ({"unit": 128}, "`unit` has unit 128; the units of layer 0 are 0 to 127."),
    ]:
        with pytest.raises(BlockError) as error:
            drawn(entry, **options)
        assert sentence in error.value.problem.message


def test_claims_about_units(characters):
    """Claims about a figure are compared with the true values; correlations are those of the second half."""
    from mkdocs_attnviz.views.claims import judge

    entry = captured(*characters, TEXT, find="quotes", keep=20, units=[9])
    found = entry.meta["search"]["cell"]
    listed = lists(entry.blobs["cell/0/units"])
    nine = listed["told"][listed["units"].index(9)]
    values = signed_bytes(entry.blobs["cell/0"], len(listed["units"]))
    at = TEXT.index('"')
    fraction = lists(entry.blobs["saturation"])["1"]["forget"][1][3]
    claims = [
        ({"unit": 9, "layer": 0, "is": f"{nine:.2f}"}, True),
        ({"unit": 9, "layer": 0, "at_least": nine + 0.05}, False),
        ({"measure": "follows", "unit": 9, "layer": 0, "at_least": abs(nine) - 0.01}, True),
        ({"measure": "follows", "unit": 9, "layer": 0, "beats_baseline_by": 1}, False),
        ({"strongest": {"part": "cell"}, "is": found["unit"]}, True),
        ({"strongest": {"layer": 1}, "is": 9 if lists(entry.blobs["cell/1/units"])["units"][0] != 9 else 8}, False),
        ({"unit": 9, "layer": 0, "token": at, "is": f"{values[listed['units'].index(9)][at]:.2f}"}, True),
        ({"measure": "right_saturated", "part": "forget", "layer": 1, "unit": 3, "is": f"{fraction:.2f}"}, True),
        ({"measure": "left_saturated", "part": "forget", "layer": 1, "unit": 3, "at_least": 1.1}, False),
        ({"measure": "left_saturated", "part": "cell", "layer": 1, "unit": 3, "at_least": 0}, False),
        ({"unit": next(unit for unit in range(128) if unit not in listed["units"]), "layer": 0, "at_most": 1}, False),
    ]
    body = {"model": "m", "text": "t", "view": "cells", "find": "quotes", "expect": [claim for claim, _ in claims]}
    verdicts = judge(parse(Source(json.dumps(body)), OPTIONS), VIEW, [entry])
    assert [verdict.holds for verdict in verdicts] == [holds for _, holds in claims]


def test_how_often_gates_are_saturated(characters):
    import torch

    model, tokenizer = characters
    entry = captured(model, tokenizer, TEXT)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        gates = lstm_by_hand(model.lstm, model.embedding(ids)[0], 0)
    for gate in ("forget", "input", "output"):
        left, right = lists(entry.blobs["saturation"])["0"][gate]
        assert left == pytest.approx((gates[gate] < 0.1).float().mean(0).tolist(), abs=1e-3)
        assert right == pytest.approx((gates[gate] > 0.9).float().mean(0).tolist(), abs=1e-3)


# ---- own numbers -----------------------------------------------------------------------------------------------------


def own_file(path, tokens, **arrays):
    from safetensors.numpy import save_file

    metadata = {"tokens": json.dumps(tokens)} if tokens is not None else {}
    save_file({name.replace("_", "."): value for name, value in arrays.items()}, path, metadata)
    return path


def test_own_numbers(tmp_path):
    from mkdocs_attnviz.models.captures.own_cells import capture_file

    chance = np.random.default_rng(0)
    tokens = list("(a) b (c (d)) e " * 4)
    cells = chance.normal(size=(len(tokens), 6)).astype(np.float32)
    depth = np.cumsum([(token == "(") - (token == ")") for token in tokens])
    cells[:, 4] = depth
    forget = chance.random((len(tokens), 6)).astype(np.float32)
    path = own_file(tmp_path / "own.safetensors", tokens, cell_2=cells, forget_2=forget)
    entry = capture_file(path, Options(find="bracket_depth").parameters())
    assert entry.meta["parts"] == ["cell", "forget"]
    assert (entry.meta["search"]["cell"]["layer"], entry.meta["search"]["cell"]["unit"]) == (2, 4)
    units, values = kept(entry, "cell", 2)
    assert np.abs(values - np.tanh(cells[:, units])).max() < 1 / 250
    drawing = VIEW.drawing(parse(Source("tensors: own.safetensors\nview: cells\nfind: bracket_depth"), OPTIONS), entry)
    assert "layer 2 of own.safetensors" in drawing.sentence


@pytest.mark.parametrize(
    ("tokens", "arrays", "sentence"),
    [
        (None, {"cell_0": np.zeros((3, 2), np.float32)}, r"has no `tokens` in its metadata"),
        (["a"], {"gate_0": np.zeros((1, 2), np.float32)}, r"has a tensor 'gate\.0'; names are like cell\.0"),
        (["a"], {"cell_0": np.zeros((2, 2), np.float32)}, r"must have the shape \(1, units\); it has \(2, 2\)"),
        (["a"], {"cell_0": np.full((1, 2), np.nan, np.float32)}, r"cell\.0 has values that are no numbers"),
    ],
)
def test_own_numbers_that_do_not_fit(tmp_path, tokens, arrays, sentence):
    from mkdocs_attnviz.models.captures.own_cells import capture_file

    path = own_file(tmp_path / "own.safetensors", tokens, **arrays)
    with pytest.raises(WrongValue, match=sentence):
        capture_file(path, Options().parameters())
