"""The text view: weights against transformers' own `output_attentions`, rollout by NumPy, the text as it is written."""

import functools
import re
import time

import numpy as np
import pytest
import torch
import transformers
import vocabularies
from conftest import INDUCTION, MINILM, ROOT

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError, WrongValue
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import text as capture
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.conversations import apply_chat_template, turns
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.inputs.marked_text import marked_text
from mkdocs_attnviz.models.inputs.tokens import append_generated, tokenize
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS
from mkdocs_attnviz.views.text import VIEW
from mkdocs_attnviz.views.text_entry import TextEntry

MODELS = ROOT / "example_site" / "models"
PROSE = " ".join(f"Sentence number {n} says that dogs chase cats, and cats chase mice." for n in range(14))
STEP = 1 / 255
"""The error of a weight, as a share of the largest of its row."""


def block(body, model="minilm", text="x"):
    return parse(Source(f"model: {model}\nview: text\ntext: {text}\n{body}"), OPTIONS)


@pytest.fixture(scope="module")
def loaded():
    known = {}

    def loaded(model, head=False):
        if (model, head) not in known:
            known[model, head] = load(resolve(str(model), None, Settings(), ROOT), "cpu", head=head)
        return known[model, head]

    return loaded


def entry_of(model, body="", **inputs):
    parameters = block(body).options.parameters()
    inputs = inputs or {"text": PROSE}
    return capture.capture(Context(model, [example(model, inputs, 9000)], parameters))[0]


def matrix_of(entry, number=0):
    """Return a matrix with its kept weights, (rows, cols), and the share of each row that they hold."""
    text = TextEntry(entry)
    rows, cols = text.range("rows"), text.range("cols")
    found, kept = np.zeros((len(rows), len(cols))), np.zeros(len(rows))
    for n, mark in enumerate(rows):
        row = text.row(number, mark)
        found[n, [col - cols.start for col in row.weights]] = list(row.weights.values())
        kept[n] = row.kept
    return found, kept


@functools.lru_cache(2)
def attentions(folder, text):
    """Return transformers' own attentions, each layer (heads, rows, cols), without any of our code."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        layers = model(**tokenizer(text, return_tensors="pt"), output_attentions=True).attentions
    weights = [layer[0].double().numpy() for layer in layers]
    for layer in weights:
        layer.setflags(write=False)  # several tests read them
    return weights


def assert_strongest(found, kept, truth, count):
    """Check that the `count` strongest weights of each row are there and no others, with the share that they hold."""
    most = truth.max(axis=1, keepdims=True)
    least = np.sort(truth, axis=1)[:, -min(count, truth.shape[1]), None]
    there = found > 0
    assert (np.abs(found - truth)[there] <= (STEP * most + 1e-6).repeat(truth.shape[1], 1)[there]).all()
    assert not there[truth < least - 1e-6].any()
    assert there[(truth > least + 1e-6) & (truth > most * STEP**2)].all()
    assert np.abs(kept - np.where(there, truth, 0).sum(1) / truth.sum(1)).max() < 0.5 / 255 + 1e-5


# ---- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "truth"),
    [
        ("", lambda layers: [layer.mean(0) for layer in layers]),
        ("heads: [2, 7]\ninclude_layers: [1, 4]", lambda layers: [layers[n][head] for n in (1, 4) for head in (2, 7)]),
        ("across_heads: max\nheads: [0, 3]", lambda layers: [layer[[0, 3]].max(0) for layer in layers]),
        ("across_layers: mean", lambda layers: [np.mean(layers, axis=(0, 1))]),
        ("across_layers: max\nhead: 5", lambda layers: [np.max([layer[5] for layer in layers], axis=0)]),
        ("across_layers: rollout", lambda layers: list(rollouts(layers))),
        ("across_layers: rollout\ninclude_layers: 3", lambda layers: [list(rollouts(layers))[3]]),
    ],
)
def test_minilm_equals_output_attentions(loaded, body, truth):
    model = loaded(MINILM)
    entry = entry_of(model, f"{body}\ntop_k: 20")
    expected = truth(attentions(model.ref.path, PROSE))
    assert len(entry.meta["matrices"]) == len(expected)
    for number, matrix in enumerate(expected):
        assert_strongest(*matrix_of(entry, number), matrix, 20)


def rollouts(layers):
    """Yield Abnar & Zuidema's rollout up to each layer, by NumPy alone."""
    total = np.eye(layers[0].shape[-1])
    for layer in layers:
        mean = layer.mean(0)
        total = (mean / mean.sum(1, keepdims=True) / 2 + np.eye(len(mean)) / 2) @ total
        yield total


def test_a_batch_equals_single_texts(loaded):
    model, parameters = loaded(MINILM), block("heads: [1]\ninclude_layers: [0, 5]").options.parameters()
    examples = [example(model, {"text": text}, 999) for text in ("the cat", PROSE, "dogs chase cats and mice")]
    together = capture.capture(Context(model, examples, parameters))
    for one, entry in zip(examples, together, strict=True):
        alone = capture.capture(Context(model, [one], parameters))[0]
        assert entry.meta == alone.meta
        for number in range(2):
            (found, _), (expected, _) = matrix_of(entry, number), matrix_of(alone, number)
            assert np.abs(found - expected).max() <= 3 * STEP * expected.max()


def test_what_a_token_receives(loaded):
    text = "the cat saw the dog and the cat"
    for folder, causal in ((INDUCTION, True), (loaded(MINILM).ref.path, False)):
        model = loaded(folder)
        found = TextEntry(entry_of(model, text=text)).received(1)
        truth = attentions(model.ref.path, text)[1].mean(0)
        np.fill_diagonal(truth, 0)
        seen = len(truth) - 1 - np.arange(len(truth)) if causal else len(truth) - 1
        assert np.abs(np.array(found) - truth.sum(0) / np.maximum(seen, 1)).max() < 1e-4 * truth.max()


def test_an_encoder_decoder_has_its_three_stacks(loaded):
    model = loaded(MODELS / "en-de")
    inputs = {"text": "the old man sees the dog", "text_target": "der alte Mann sieht den Hund"}
    read = example(model, inputs, 99)
    ids = {"input_ids": [read.text.ids], "decoder_input_ids": [read.target.ids]}
    own = transformers.AutoModel.from_pretrained(model.ref.path, attn_implementation="eager").eval()
    with torch.no_grad():
        outputs = own(**{name: torch.tensor(value) for name, value in ids.items()}, output_attentions=True)
    for stack, name in (("encoder", "encoder"), ("decoder", "decoder"), ("cross", "cross")):
        entry = entry_of(model, f"stack: {stack}\nhead: 1", **inputs)
        for number, truth in enumerate(outputs[f"{name}_attentions"]):
            assert_strongest(*matrix_of(entry, number), truth[0, 1].double().numpy(), 64)
    with pytest.raises(WrongValue, match=r"`stack` is 'self'; model .* has encoder, decoder, cross"):
        entry_of(model, "stack: self", **inputs)
    with pytest.raises(WrongValue, match="`across_layers` is 'rollout', which needs"):
        entry_of(model, "stack: cross\nacross_layers: rollout", **inputs)


def test_a_sink_is_told(loaded, tmp_path):
    """GPT-OSS gives a part of its attention to no token: rows sum to less than one by so much."""
    config = transformers.AutoConfig.for_model(
        "gpt_oss", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=32, num_local_experts=2, num_experts_per_tok=1, vocab_size=400, sliding_window=128,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    vocabularies.byte_level().save_pretrained(tmp_path)
    entry = entry_of(loaded(tmp_path), "head: 1", text="the cat sat on the mat")
    truth = attentions(tmp_path, "the cat sat on the mat")[0][1]
    sinks = [TextEntry(entry).row(0, mark).sink for mark in TextEntry(entry).range("rows")]
    assert truth.sum(1).max() < 0.99
    assert np.abs(np.array(sinks) - (1 - truth.sum(1))).max() < 1e-2
    drawing = VIEW.drawing(block("sink: leave_out\ntoken: 5\nhead: 1"), entry)
    assert ", without the sink, the rest renormalised." in drawing.sentence
    assert "goes to no token" not in drawing.sentence
    for _, weight in told(drawing.sentence):
        assert np.abs(truth[5] / truth[5].sum() - weight).min() < 0.02


def told(sentence):
    """Return the tokens and weights that a sentence lists."""
    return [(token, float(weight)) for token, weight in re.findall(r"“([^”]+)”(?: \(\d+\))? ([\d.e-]+)[,.]", sentence)]


@pytest.mark.parametrize(
    ("body", "top_k"),
    [("", 3), ("", 200), ("heads: [2]", 20), ("across_layers: rollout", 20), ("across_heads: max\nheads: [0, 3]", 3)],
)
def test_without_its_sink_a_row_is_renormalised_and_its_share_is_true(loaded, body, top_k):
    """Weights that were dropped are no reason to show the others larger than they are."""
    model = loaded(MINILM)
    entry = entry_of(model, f"{body}\ntop_k: {top_k}")
    layers = attentions(model.ref.path, PROSE)
    truth = {
        "": lambda: layers[2].mean(0),
        "heads: [2]": lambda: layers[2][2],
        "across_layers: rollout": lambda: list(rollouts(layers))[2],
    }.get(body, lambda: layers[2][[0, 3]].max(0))()
    tokens = entry.meta["sequences"]["text"]["tokens"]
    sinks = [0, len(tokens) - 1]
    rest = np.delete(truth, sinks, 1) / np.delete(truth, sinks, 1).sum(1, keepdims=True)
    for token in (5, 60):
        drawing = VIEW.drawing(block(f"{body}\nlayer: 2\ntoken: {token}\nsink: leave_out"), entry)
        assert drawing.data["sinks"] == sinks
        assert ", without the sink “[CLS]” “[SEP]”, the rest renormalised." in drawing.sentence
        kept = int((re.search(r"that are kept hold (\d+)%", drawing.sentence) or [0, 100])[1]) / 100
        row = matrix_of(entry, [layer for layer, _ in entry.meta["matrices"]].index(2))[0][token]
        true_share = rest[token][np.delete(row, sinks) > 0].sum()
        lost = truth[token][sinks].sum()
        assert kept == pytest.approx(true_share, abs=0.03 if lost < 0.8 else 0.08)
        for name, weight in told(drawing.sentence.partition("attends most to")[2]):
            assert name not in ("[CLS]", "[SEP]")
            assert np.abs(rest[token] - weight).min() <= 0.03 * max(1, weight / (1 - lost))
    for how, words in (("fade", "the sink “[CLS]” “[SEP]” faded."), ("leave_out", "without the sink “[CLS]” “[SEP]”.")):
        drawing = VIEW.drawing(block(f"{body}\nlayer: 2\nsink: {how}"), entry)
        assert drawing.data["initial"]["sink"] == how
        assert words in drawing.sentence


def test_attributions_are_those_of_the_saliency_view(loaded):
    from mkdocs_attnviz.models.captures import saliency

    model = loaded(INDUCTION, head=True)
    options = block("method: input_x_gradient\nexplain: probability").options
    inputs = {"text": "the cat saw the dog and the", "generate": {"max_new_tokens": 2}}
    read = example(model, inputs, 99)
    entry = capture.capture(Context(model, [read], options.parameters()))[0]
    own = saliency.capture(Context(model, [read], options.parameters()["saliency"]))[0]
    from mkdocs_attnviz.views.attention.weights import scaled

    text, outputs = TextEntry(entry), own.meta["outputs"]
    truth = scaled(own.blobs["attributions"], len(outputs), len(read.text.ids))
    assert len(outputs) == 2
    for output, values in zip(entry.meta["outputs"], truth, strict=True):
        row = text.row(0, output["mark"])
        most = max(map(abs, values[: output["index"]]))
        for column, value in enumerate(values[: output["index"]]):
            assert abs(row.weights.get(column, 0) - value) <= 2 * STEP * most
        assert set(row.weights) <= set(range(output["index"]))


def test_four_thousand_tokens_fit(loaded, tmp_path, monkeypatch):
    """Layers of 4,000 tokens stay within their bytes, and what is left out is told."""
    monkeypatch.setattr(capture, "BUDGET", capture.BUDGET // 32)  # the share of one of 32 layers
    config = transformers.AutoConfig.for_model(
        "llama", hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, vocab_size=400, max_position_embeddings=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(20)
    model.save_pretrained(tmp_path)
    vocabularies.byte_level().save_pretrained(tmp_path)
    words = ["the", "cat", "sat", "on", "the", "mat", "and", "the", "turtle", "saw", "a", "rabbit", "run"]
    text = " ".join(words[n * n % 13] for n in range(2600))
    entry = entry_of(loaded(tmp_path), text=text)
    tokens = len(entry.meta["sequences"]["text"]["tokens"])
    assert 3500 < tokens <= 4096
    sizes = sum(map(len, entry.blobs.values()))
    assert 16 < entry.meta["top_k"] < 64
    assert sizes < capture.BUDGET + 40_000  # and the text
    row = TextEntry(entry).row(0, tokens - 1)
    assert len(row.weights) <= entry.meta["top_k"]
    assert 0 < row.kept < 1
    drawing = VIEW.drawing(block("token: 3000\nlayer: 0"), entry)
    assert "that are kept hold" in drawing.sentence
    start = time.perf_counter()
    VIEW.drawing(block("token: 100\nlayer: 0\ndirection: from"), entry)
    assert time.perf_counter() - start < 20


# ---- the text ------------------------------------------------------------------------------------------------------


def written(tokenizer, text, **more):
    """Return the text that the marks make, and the marks."""
    read = marked_text(tokenize(tokenizer, text, None, **more))
    return "".join(gap + mark for gap, mark in zip(read.gaps, read.texts, strict=True)), read


@pytest.mark.parametrize("vocabulary", [vocabularies.byte_level, vocabularies.byte_fallback])
@pytest.mark.parametrize(
    "text",
    ["the cat sat on\n  the mat .\n\nrun", "吾輩は猫である。", "שלום עולם, the cat", "a\tcat 👩‍🚀 sat", "né à Zürich"],
)
def test_the_text_is_as_it_is_written(vocabulary, text):
    whole, read = written(vocabulary(), text, add_special_tokens=False)
    assert whole.lstrip() == text
    assert all(read.texts)
    assert [n for group in read.tokens for n in group] == list(range(sum(map(len, read.tokens))))


def test_bytes_that_make_one_character_are_one_mark():
    _, read = written(vocabularies.byte_level(), "cat 👩 cat")
    at = read.texts.index("👩")
    assert len(read.tokens[at]) > 1
    assert read.texts.count("👩") == 1
    assert "cat" in read.texts


def test_wordpiece_keeps_capitals_accents_and_spaces(loaded):
    text = "Zürich  is\nBIG, isn't it? 東京は"
    whole, read = written(loaded(MINILM).tokenizer, text)
    assert whole == f"[CLS]{text}[SEP]"
    assert "東" in read.texts
    assert "京" in read.texts


def test_words_of_a_vocabulary_without_spaces_are_apart(loaded):
    """The tokens that a model has written come without places in a text: words are spaced out, and CJK is not."""
    tokenizer = loaded(MINILM).tokenizer
    ids = tokenizer("cats unbelievably big 東京", add_special_tokens=False)["input_ids"]
    read = marked_text(
        append_generated(tokenizer, tokenize(tokenizer, "the", None, add_special_tokens=False), ids), tokenizer
    )
    whole = "".join(gap + mark for gap, mark in zip(read.gaps, read.texts, strict=True))
    assert whole == "the cats unbelievably big 東京"


CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>"
    "{% endif %}{% endfor %}"
)
CHAT = [
    {"role": "user", "content": "the cat?"},
    {"role": "assistant", "content": "a mat!"},
    {"role": "user", "content": "the cat?"},
]


@pytest.mark.parametrize(
    ("template", "inputs", "expected"),
    [
        (CHATML, {"chat": CHAT}, ["system", "user", "assistant", "user"]),
        (CHATML, {"chat": CHAT, "generate": {}}, ["system", "user", "assistant", "user", "assistant"]),
        (CHATML, {"chat": [{"role": "system", "content": "x"}, *CHAT]}, ["system", "user", "assistant", "user"]),
        (LLAMA2, {"chat": CHAT}, ["user", "assistant", "user"]),
        ("{{ messages|length }} messages", {"chat": CHAT}, []),
    ],
)
def test_turns_of_a_conversation(template, inputs, expected):
    tokenizer = vocabularies.byte_level()
    tokenizer.chat_template = template
    text, _ = apply_chat_template(tokenizer, inputs)
    found = turns(tokenizer, inputs, text)
    assert [turn.role for turn in found] == expected
    ends = ([turn.start for turn in found] + [len(text)])[1:] if found else []
    parts = [text[turn.start : end] for turn, end in zip(found, ends, strict=True)]
    assert "".join(parts) == (text if expected else "")
    for turn, part in zip(found, parts, strict=True):
        if template == CHATML:
            assert part.startswith(f"<|im_start|>{turn.role}\n")
    contents = [part for part in parts if any(message["content"] in part for message in CHAT)]
    assert len(contents) == (3 if expected else 0)


# ---- the block -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("head: 1\nheads: [1, 2]", "`head` and `heads` are both in the block; keep one of them."),
        ("across_layers: rollout\nhead: 1", "`head` is given, but a rollout combines all heads."),
        ("method: saliency\nlayer: 1", "`layer` is about attention, and `method` shows attributions."),
        ("method: saliency\nsink: fade", "`sink` is about attention, and `method` shows attributions."),
        ("explain: logit", "`explain` belongs to `method`, which the block does not have."),
        ("direction: back", "must be to or from"),
        ("top_k: 300", "must be"),
    ],
)
def test_keys_that_do_not_fit(body, message):
    with pytest.raises(BlockError, match=message):
        block(body)


@pytest.mark.parametrize(
    ("body", "key", "message"),
    [
        ("include_layers: 9", "include_layers", "`include_layers` is 9; model .* has layers 0 to 1"),
        ("heads: [1, 6]", "heads", "`heads` has 6; layer 0 of model .* has heads 0 to 3"),
    ],
)
def test_what_the_model_lacks_is_told(loaded, body, key, message):
    with pytest.raises(WrongValue, match=message) as told:
        entry_of(loaded(INDUCTION), body, text="the cat")
    assert told.value.key == key


def test_a_figure_tells_what_is_wrong_with_layer_and_token(loaded):
    entry = entry_of(loaded(INDUCTION), "heads: [0, 2]", text="the cat saw the dog")
    ignored = {
        body: VIEW.drawing(block(f"ignore_tokens: {body}", "induction"), entry).data["ignored"]
        for body in ("sink", "[the, sink]", "special")
    }
    assert ignored == {"sink": [0], "[the, sink]": [0, 3], "special": []}
    for body, message in (
        ("layer: 4", "`layer` is 4; the layers of model 'induction' that are shown are 0 to 1"),
        ("head: 1", "`head` is 1; the heads of model 'induction' that are shown are 0, 2"),
        ("token: bird", "`token` is 'bird', which the text does not have"),
        ("token: the", "`token` is 'the', which the text has twice"),
        ("token: 99", "`token` is 99; the tokens are 0 to"),
    ):
        with pytest.raises(BlockError, match=message):
            VIEW.drawing(block(body, "induction"), entry)
    assert "attends most to" in VIEW.drawing(block("token: the#2", "induction"), entry).sentence


# ---- claims --------------------------------------------------------------------------------------------------------


def judged(body, entry, claims, model="minilm"):
    from mkdocs_attnviz.views.claims import check_grammar, judge

    made = block(f"{body}\nexpect:\n" + "".join(f"  - {claim}\n" for claim in claims), model)
    check_grammar(made, VIEW)
    return judge(made, VIEW, [entry])


def test_claims_about_weights(loaded):
    """Each number of transformers is claimed once as it is and once as it is not."""
    text, model = "the cat saw the dog and the cat ran to a house", loaded(MINILM)
    layers = attentions(model.ref.path, text)
    entry = entry_of(model, "heads: [0, 4]", text=text)
    tokens = entry.meta["sequences"]["text"]["tokens"]
    for layer, head in ((0, 0), (2, 4), (5, 0)):
        truth = layers[layer][head].copy()
        where = f"layer: {layer}, head: {head}"
        row, col = tokens.index("dog"), tokens.index("and")
        value = truth[row, col]
        rank = 1 + int((truth[row] > value).sum())
        best, other = int(truth[row].argmax()), int(truth[row].argmin())
        most = int(truth[:, col].argmax())
        np.fill_diagonal(truth, 0)
        got = truth[:, col].sum() / (len(tokens) - 1)
        claims = [
            (f"{{{where}, from: dog, to: and, between: [{value - 0.01:.4f}, {value + 0.01:.4f}]}}", True),
            (f"{{{where}, from: dog, to: and, at_least: {value + 0.02:.4f}}}", False),
            (f"{{{where}, from: dog, to: and, rank: {rank}}}", True),
            (f"{{{where}, from: dog, to: and, rank: {rank + 1}}}", False),
            (f"{{strongest: {{{where}, from: dog}}, is: {best}}}", True),
            (f"{{strongest: {{{where}, from: dog}}, is: {other}}}", False),
            (f"{{strongest: {{{where}, to: and}}, is: {most}}}", True),
            (f"{{strongest: {{{where}, to: and}}, is: {(most + 1) % len(tokens)}}}", False),
            (f"{{measure: received, {where}, token: and, between: [{got - 1e-4:.6f}, {got + 1e-4:.6f}]}}", True),
            (f"{{measure: received, {where}, token: and, at_most: {got - 1e-3:.6f}}}", False),
            (f"{{measure: kept, {where}, from: dog, at_least: 99%}}", True),
        ]
        for (claim, holds), verdict in zip(claims, judged("heads: [0, 4]", entry, [c for c, _ in claims]), strict=True):
            assert verdict.holds == holds, (claim, verdict.sentence)


def test_claims_about_what_is_not_kept(loaded):
    entry = entry_of(loaded(MINILM), "head: 1\ntop_k: 3")
    text = TextEntry(entry)
    row = text.row(0, 20)
    far = next(mark for mark in text.range("cols") if mark not in row.weights)
    held, missed, beyond, unsure = judged(
        "head: 1\ntop_k: 3",
        entry,
        [
            f"{{from: 20, to: {far}, at_most: {row.rest:.4f}}}",
            f"{{from: 20, to: {far}, at_least: {row.rest * 1.5:.4f}}}",
            f"{{from: 20, to: {far}, rank: 9}}",
            f"{{strongest: {{to: {far}}}, is: 5}}",
        ],
    )
    assert held.holds
    assert not missed.holds
    assert "not among those that are kept" in beyond.sentence
    assert "top_k" in unsure.sentence or not unsure.holds
    with pytest.raises(BlockError, match="`head` is 2; the figure of model 'minilm' shows heads 1"):
        judged("head: 1", entry, ["{from: 20, to: 3, head: 2, at_most: 1}"])


def test_claims_about_attributions(loaded):
    model = loaded(INDUCTION, head=True)
    body = "method: input_x_gradient"
    entry = entry_of(model, body, text="the cat saw the dog and the", generate={"max_new_tokens": 2})
    text = TextEntry(entry)
    output = entry.meta["outputs"][0]
    (best, value), *_ = text.row(0, output["mark"]).strongest
    name = output["index"]
    true, false = judged(
        body, entry, [f"{{from: {name}, to: {best}, rank: 1}}", f"{{from: {name}, to: {best}, at_least: {value + 1}}}"]
    )
    assert true.holds
    assert not false.holds


# ---- own tensors ---------------------------------------------------------------------------------------------------


def test_own_weights(tmp_path):
    from safetensors.torch import save_file

    from mkdocs_attnviz.models.captures.own_text import capture_file

    torch.manual_seed(0)
    weights = torch.softmax(torch.randn(2, 3, 6, 6) * 3, -1)
    path = tmp_path / "own.safetensors"
    tokens = '["[CLS]", "the", "cat", "sat", "##s", "[SEP]"]'
    save_file({"self.0": weights[0], "self.1": weights[1]}, path, {"tokens": tokens})
    entry = capture_file(path, block("heads: [2]").options.parameters())
    for layer in range(2):
        assert_strongest(*matrix_of(entry, layer), weights[layer, 2].double().numpy(), 64)
    text = TextEntry(entry).text
    assert (
        "".join(gap + mark for gap, mark in zip(text["gaps"], text["texts"], strict=True)) == "[CLS]the cat sats[SEP]"
    )
