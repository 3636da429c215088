"""Heads and neurons taken out of a model: as if their columns of the next weights were zero, which tests do by hand."""

import copy
import json
import re
from urllib.parse import unquote

import commands
import entries
import pytest
import test_capture
import torch
import transformers
from conftest import INDUCTION, Site, draw_all, draw_figures, settle
from test_capture import ARCHITECTURES, BART, SMALL, ref

import mkdocs_attnviz
from mkdocs_attnviz.block.interventions import words
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.key import file_name
from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.engine import worker
from mkdocs_attnviz.models.engine.client import Captured, Refused, Worker
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.inputs.examples import collate, example
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.models.probing.interventions import intervening
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.predict import PREDICTIONS

make_model, tokenizer_folder = test_capture.make_model, test_capture.tokenizer_folder

CAUSAL, MASKED, TARGET = (
    transformers.AutoModelForCausalLM,
    transformers.AutoModelForMaskedLM,
    transformers.AutoModelForSeq2SeqLM,
)
MARIAN = SMALL | BART | {"decoder_start_token_id": 0}
# Where W_O and the down-projection are, by hand, with the layer as `{}`.
MODELS = {
    "gpt2": (CAUSAL, ARCHITECTURES["gpt2"], "self", "transformer.h.{}.attn.c_proj", "transformer.h.{}.mlp.c_proj"),
    "llama": (
        CAUSAL,
        ARCHITECTURES["llama"],
        "self",
        "model.layers.{}.self_attn.o_proj",
        "model.layers.{}.mlp.down_proj",
    ),
    "bert": (
        MASKED,
        ARCHITECTURES["bert"],
        "self",
        "bert.encoder.layer.{}.attention.output.dense",
        "bert.encoder.layer.{}.output.dense",
    ),
    "gptj": (CAUSAL, ARCHITECTURES["gptj"], "self", "transformer.h.{}.attn.out_proj", "transformer.h.{}.mlp.fc_out"),
    "t5-encoder": (
        TARGET,
        ARCHITECTURES["t5"],
        "encoder",
        "encoder.block.{}.layer.0.SelfAttention.o",
        "encoder.block.{}.layer.1.DenseReluDense.wo",
    ),
    "t5-decoder": (
        TARGET,
        ARCHITECTURES["t5"],
        "decoder",
        "decoder.block.{}.layer.0.SelfAttention.o",
        "decoder.block.{}.layer.2.DenseReluDense.wo",
    ),
    "t5-cross": (TARGET, ARCHITECTURES["t5"], "cross", "decoder.block.{}.layer.1.EncDecAttention.o", None),
    "marian-encoder": (
        TARGET,
        MARIAN,
        "encoder",
        "model.encoder.layers.{}.self_attn.out_proj",
        "model.encoder.layers.{}.fc2",
    ),
    "marian-decoder": (
        TARGET,
        MARIAN,
        "decoder",
        "model.decoder.layers.{}.self_attn.out_proj",
        "model.decoder.layers.{}.fc2",
    ),
    "marian-cross": (TARGET, MARIAN, "cross", "model.decoder.layers.{}.encoder_attn.out_proj", None),
}
TEXT = "a b c d e f g h a b c"


@pytest.fixture
def made(make_model):
    """`made(name)` → the loaded model, its stack, and the names of its projections."""

    def made(name):
        auto, settings, *rest = MODELS[name]
        folder = make_model(name.partition("-")[0], auto=auto, **settings)
        return load(ref(str(folder)), "cpu", head=True), *rest

    return made


def by_hand(model, name, columns, scale):
    """A copy of the model whose weights themselves are scaled."""
    changed = copy.deepcopy(model)
    linear = changed.get_submodule(name)
    with torch.no_grad():
        if isinstance(linear, torch.nn.Linear):
            linear.weight[:, columns] *= scale
        else:
            linear.weight[columns] *= scale
    return changed


def logits(loaded, model=None):
    target = {"text_target": "h g f e"} if loaded.encoder_decoder else {}
    inputs = collate(loaded, [example(loaded, {"text": TEXT} | target, 99)])
    with torch.inference_mode():
        return (model or loaded.model)(**inputs).logits[0]


def one_of(stack, **what):
    return [{"layer": 1, "scale": 0.0} | what | ({} if stack == "self" else {"stack": stack})]


@pytest.mark.parametrize(
    ("name", "scale"), [*((name, 0.0) for name in MODELS), ("llama", 2.0), ("bert", -1.0), ("marian-cross", 2.0)]
)
def test_heads_equal_scaled_weights(made, name, scale):
    loaded, stack, projection, _ = made(name)
    expected = logits(loaded, by_hand(loaded.model, projection.format(1), slice(16, 32), scale))
    before = logits(loaded)
    with intervening(loaded, one_of(stack, heads=[2, 3], scale=scale), [{"text": TEXT}]):
        found = logits(loaded)
    assert (found - expected).abs().max() < 1e-5
    assert (found - before).abs().max() > 1e-2, "these heads do something"
    assert torch.equal(logits(loaded), before), "and afterwards they do it again"


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model[-1]])
def test_neurons_equal_scaled_weights(made, name):
    loaded, stack, _, projection = made(name)
    expected = logits(loaded, by_hand(loaded.model, projection.format(1), [0, 7, 40], 0.0))
    before = logits(loaded)
    with intervening(loaded, one_of(stack, neurons=[0, 7, 40]), [{"text": TEXT}]):
        found = logits(loaded)
    assert (found - expected).abs().max() < 1e-5
    assert (found - before).abs().max() > 1e-4
    assert torch.equal(logits(loaded), before)


@pytest.mark.parametrize("name", ["llama", "bert", "t5-cross"])
def test_a_scale_of_one_changes_nothing(made, name):
    loaded, stack, *_ = made(name)
    before = logits(loaded)
    with intervening(loaded, one_of(stack, heads=[0, 1, 2, 3], scale=1.0), [{"text": TEXT}]):
        assert torch.equal(logits(loaded), before)


def test_one_layer_of_those_that_share_their_weights(make_model):
    """ALBERT uses one module in every layer: by hand, its input is scaled in the second of two calls."""
    loaded = load(ref(str(make_model("albert", auto=MASKED, **ARCHITECTURES["albert"]))), "cpu", head=True)
    dense = loaded.model.albert.encoder.albert_layer_groups[0].albert_layers[0].attention.dense
    calls = []

    def hook(_, args):
        calls.append(1)
        if len(calls) == 2:
            scaled = args[0].clone()
            scaled[..., 8:16] = 0
            return (scaled,)
        return None

    handle = dense.register_forward_pre_hook(hook)
    expected = logits(loaded)
    handle.remove()
    with intervening(loaded, one_of("self", heads=[1]), [{"text": TEXT}]):
        for _ in range(2):  # each pass counts anew
            assert (logits(loaded) - expected).abs().max() < 1e-5
    assert (logits(loaded) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5-decoder", "t5-cross", "marian-cross"])
def test_what_is_written_without_heads_equals_generate(made, name):
    """The model writes with its cache of keys and values, as transformers itself does with scaled weights."""
    loaded, stack, projection, _ = made(name)
    how = {"max_new_tokens": 12, "do_sample": False, "min_new_tokens": 12}
    changed = by_hand(loaded.model, projection.format(0), slice(0, 32), -4.0)
    ids = loaded.tokenizer(TEXT, return_tensors="pt").input_ids
    with torch.inference_mode():
        as_it_is = loaded.model.generate(ids, num_beams=1, **how)[0].tolist()
        expected = changed.generate(ids, num_beams=1, **how)[0].tolist()
    assert expected != as_it_is, "else this proves nothing"
    change = [{"layer": 0, "heads": [0, 1, 2, 3], "scale": -4.0} | ({} if stack == "self" else {"stack": stack})]
    with intervening(loaded, change, [{"text": TEXT}]):
        found = example(loaded, {"text": TEXT, "generate": how}, 99)
    assert (found.target or found.text).ids == (expected[:-1] if found.target else expected)


def test_attention_is_that_of_the_changed_model(made):
    """The attention of the layers above changes, and the norms of the scaled heads are scaled."""
    loaded, _, projection, _ = made("llama")
    read = [example(loaded, {"text": TEXT}, 99)]
    change = [{"layer": 0, "heads": [1], "scale": 0.0}]
    with intervening(loaded, change, [{"text": TEXT}]):
        found = attention.capture(Context(loaded, read))[0]
    changed = by_hand(loaded.model, projection.format(0), slice(8, 16), 0.0)
    with torch.inference_mode():
        expected = changed(**collate(loaded, read), output_attentions=True).attentions
    test_capture.assert_equal(found, [layer[0].numpy() for layer in expected])
    loaded.model, loaded.attention_map = changed, None
    by_weights = attention.capture(Context(loaded, read))[0]
    assert found.blobs["self/0/values"] == by_weights.blobs["self/0/values"]


WRONG = [
    ({"layer": 2, "heads": [0]}, "`interventions` names layer 2; the layers with heads of model {} are 0 to 1."),
    ({"layer": 1, "heads": [0, 4]}, "`interventions` names head 4; the heads of layer 1 of model {} are 0 to 3."),
    ({"layer": 1, "neurons": [48]}, "`interventions` names neuron 48; the neurons of layer 1 of model {} are 0 to 47."),
    (
        {"layer": 1, "heads": [0], "stack": "cross"},
        "`interventions` names the stack 'cross'; model {} has heads in self.",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_is_not_there(made, change, message):
    loaded, *_ = made("llama")
    said = f"^{re.escape(message.format(repr(loaded.ref.name)))}$"
    with (
        pytest.raises(ValueError, match=said),
        intervening(loaded, [{"scale": 0.0} | change], [{"text": TEXT}]),
    ):
        pass


def test_stacks_of_an_encoder_decoder_are_named(made):
    loaded, *_ = made("t5-cross")
    for what, stacks in (("heads", "encoder, decoder, cross"), ("neurons", "encoder, decoder")):
        with (
            pytest.raises(ValueError, match=f"which `stack` it means; model .* has {what} in {stacks}"),
            intervening(loaded, [{"layer": 0, what: [0], "scale": 0.0}], [{"text": TEXT}]),
        ):
            pass


def test_the_worker_runs_with_them_and_then_without(make_model):
    """One warm process runs both; a bad layer is reported under `interventions` for each input."""
    folder = make_model("gpt2", auto=CAUSAL, **ARCHITECTURES["gpt2"])
    worker = Worker()

    def run(*interventions):
        request = Request(PREDICTIONS, ref(str(folder)), {"text": TEXT}, {"top_k": 3}, interventions)
        (answer,) = worker.capture([request], device="cpu", batch_size=8, max_tokens=99)
        return answer

    try:
        before, changed, again = run(), run({"layer": 0, "heads": [0, 1], "scale": 0.0}), run()
        wrong = run({"layer": 9, "heads": [0], "scale": 0.0})
    finally:
        worker.close()
    assert isinstance(changed, Captured)
    assert before.entry.blobs == again.entry.blobs != changed.entry.blobs
    assert isinstance(wrong, Refused)
    assert wrong.problem.message.startswith("`interventions` names layer 9; ")


def test_inputs_that_cannot_be_read_are_not_run_unchanged(made):
    loaded, *_ = made("gpt2")
    conversation = {"chat": [{"role": "user", "content": "a"}]}
    interventions = [{"layer": 0, "heads": [0], "scale": 0.0}]
    with pytest.raises(ValueError, match="needs a chat template"), intervening(loaded, interventions, [conversation]):
        pass


def test_one_text_alone_is_blamed_for_the_look_at_the_model(made):
    """The others would not be run again for it if that ended the process."""
    loaded, *_ = made("gpt2")
    job = {"inputs": [[4, {"text": TEXT}], [7, {"text": TEXT}]], "interventions": [{"layer": 0, "heads": [0]}]}
    first, _ = next(worker._captured(None, {"model": loaded}, attention.capture, job))
    assert first == {"event": "running", "indices": [4]}


def test_keys():
    """The keys of blocks without interventions have not changed."""
    model = ref(INDUCTION)
    plain = Request(ATTENTION, model, {"text": "a fox"})
    changed = Request(ATTENTION, model, {"text": "a fox"}, {}, ({"layer": 1, "heads": [0], "scale": 0.0},))
    names = [name for name, _ in plain.key_parts]
    assert names == ["capture", "version", "model", "dtype", "text", "text_pair", "text_target"]
    assert plain.key == changed.without_interventions().key
    assert plain.key != changed.key


# ---- in the page

LIST = "green table seven rabbit cold river green table seven rabbit cold"
PAGE = f"""
# Interventions

```attention
model: induction
text: {LIST}
view: tokens
id: tokens
interventions:
  - layer: 1
    heads: [0, 1, 2, 3]
```

```attention
model: induction
text: {LIST}
layer: 1
head: 1
id: heads
interventions: [{{layer: 0, heads: 1}}]
```

```attention
model: induction
text: {LIST}
interventions: [{{layer: 0, heads: 4}}]
```
"""
REPEATED = "e => e.values().then(all => all.slice(7, 11).map(({ probability }) => probability))"
LOOKS_AHEAD = """e => e.weights({ layer: 1, head: 1 }).then(({ values }) =>
  [7, 8, 9, 10].map(row => values[row][row - 5]))"""


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_cache):
    site = Site(tmp_path_factory.mktemp("site"), shared_cache)
    site.write("index.md", PAGE)
    found = site.build()
    assert found.returncode == 0, found.log
    return found


@pytest.fixture
def shown(built, visits):
    """`shown(id, …)` → page and figure, new and drawn."""

    def shown(id, **options):
        page = visits.page(built.folder / "site" / "index.html", within=f"#{id}", **options)
        draw_figures(page, f"#{id}")
        return page, figure(page, id)

    return shown


def figure(page, id):
    return page.locator(f"#{id} attn-viz")


def test_without_its_heads_the_model_forgets_the_list(shown):
    """The built page, on both sides of the switch, no longer predicts the repeated words."""
    _, element = shown("tokens")
    assert max(element.evaluate(REPEATED)) < 0.01
    element.get_by_role("button", name="As it is").click()
    assert element.evaluate(REPEATED) == pytest.approx([0.681, 0.921, 0.895, 0.911], abs=0.005), "as the docs tell"
    assert element.evaluate("e => e.state.before") is True
    element.get_by_role("button", name="Without heads 0–3 of layer 1").click()
    assert max(element.evaluate(REPEATED)) < 0.01


def test_without_the_head_below_the_induction_head_is_lost(shown):
    _, element = shown("heads")
    changed = element.evaluate(LOOKS_AHEAD)
    element.evaluate("e => { e.state = { before: true } }")
    as_it_is = element.evaluate(LOOKS_AHEAD)
    assert min(as_it_is) > 0.25
    assert max(changed) < 0.1


EVERY = [name for name, view in VIEWS.items() if not view.capture.attention]
CHANGE = "interventions: [{layer: 0, heads: [1, 2], neurons: [3, 5]}]"
OF_A_MIXTURE = "interventions: [{layer: 0, heads: [1, 2]}]"
"""The same for a mixture of experts, whose neurons cannot be told apart."""
NUMBERS = {"sublayers": "ablate: zero"}
"""The keys by which a view gets numbers that a change of the model changes."""


@pytest.fixture(scope="module")
def every_view(tmp_path_factory, shared_cache):
    """Build each view of a model as it is and of the changed model."""
    site = Site(tmp_path_factory.mktemp("every"), shared_cache)
    blocks = [
        f"```attention\nmodel: {model}\ntext: {LIST}\nview: {view}\nid: {view}{id}\n{asked}\n{more}\n```\n"
        for view in EVERY
        for asked in [NUMBERS.get(view, "")]
        for model, change in [("mixture", OF_A_MIXTURE) if view == "experts" else ("induction", CHANGE)]
        for id, more in (("", ""), ("-changed", change))
    ]
    site.write("index.md", "\n".join(blocks))
    found = site.build("--strict")
    assert found.returncode == 0, found.log
    return found


def test_the_other_side_of_every_view_is_the_model_as_it_is(every_view, open_page):
    page = open_page(every_view.folder / "site" / "index.html")
    draw_all(page)
    for view in EVERY:
        plain, changed = figure(page, view), figure(page, f"{view}-changed")
        expected = plain.evaluate("e => e.values({})")
        assert changed.evaluate("e => e.values({})") != expected, view
        button = changed.get_by_role("button", name="As it is")
        button.focus()
        page.keyboard.press("Enter")
        changed.evaluate("e => e.updateComplete")
        assert changed.evaluate("e => e.values({})") == expected, view
        assert button.get_attribute("aria-pressed") == "true"
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_chosen_is_kept_and_what_cannot_be_is_refused(shown):
    page, element = shown("heads")
    events = "e => { window.told = []; e.addEventListener('attnviz-change', ({ detail }) => told.push(detail.before)) }"
    element.evaluate(events)
    element.evaluate("e => { e.state = { layer: 0, heads: [2], selected: { side: 'left', index: 3 } } }")
    element.get_by_role("button", name="As it is").click()
    element.evaluate("e => e.updateComplete")
    state = element.evaluate("e => e.state")
    assert (state["layer"], state["heads"], state["selected"]["index"], state["before"]) == (0, [2], 3, True)
    assert page.evaluate("told") == [True]
    bad = "(e, bad) => { try { e.state = bad } catch (error) { return `${error.name}: ${error.message}` } }"
    assert element.evaluate(bad, {"before": "yes"}) == "RangeError: before yes: not one of true, false"
    assert element.evaluate(bad, {"before": False, "layer": 7}).startswith("RangeError: layer 7")
    assert element.evaluate("e => e.state") == state, "half of a change is none"


def test_a_link_leads_to_the_same_side(shown):
    page, element = shown("heads")
    element.get_by_role("button", name="As it is").click()
    element.get_by_role("button", name="Options").click()
    page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text }")
    element.get_by_role("button", name="Copy link").click()
    link = page.evaluate("window.copied")
    assert link.endswith("#heads~before=true")
    _, element = shown("heads", state="#heads~before=true")
    pressed = element.get_by_role("button", name="As it is").get_attribute("aria-pressed")
    assert pressed == "true"


def test_the_keyboard_reaches_the_switch_and_no_focus_is_lost(shown):
    page, element = shown("tokens")
    button = element.get_by_role("button", name="As it is")
    button.focus()
    page.keyboard.press("Enter")
    element.evaluate("e => e.updateComplete")
    assert button.evaluate("b => b.matches(':focus') && b.getAttribute('aria-pressed')") == "true"


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone(shown, dark):
    """Nothing is wider than the page, and nothing moves what follows when it is drawn."""
    for id in ("tokens", "heads"):
        page, element = shown(id, width=360, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        height, kept = element.evaluate("e => [e.offsetHeight, parseFloat(getComputedStyle(e).minHeight) + 32]")
        assert height <= kept + 1


def test_the_sentence_and_the_static_picture_say_it(built):
    page = built.page()
    image = page.select_one("#heads img")
    what = "Attention of induction, layer 1, head 1, over 11 tokens. "
    assert image["alt"].startswith(f"Without head 1 of layer 0: {what}")
    assert f" As it is: {what}" in image["alt"]
    assert ">The model without head 1 of layer 0</text>" in unquote(image["src"])
    (alert,) = built.alerts()
    assert "`interventions` names head 4; the heads of layer 0 of model" in alert


WORDS = [
    ([{"layer": 1, "heads": [0, 1, 2, 3]}], "without heads 0–3 of layer 1"),
    ([{"layer": 0, "heads": 1}], "without head 1 of layer 0"),
    ([{"layer": 0, "heads": [3, 2], "stack": "encoder"}], "without heads 2 and 3 of encoder layer 0"),
    ([{"layer": 0, "heads": [9, 0, 1, 2, 5, 6]}], "without heads 0–2, 5, 6 and 9 of layer 0"),
    ([{"layer": 0, "heads": [0, 2, 4, 6, 8]}], "without 5 heads of layer 0"),
    ([{"layer": 0, "heads": 1, "neurons": [7, 9]}], "without head 1 and neurons 7 and 9 of layer 0"),
    ([{"layer": 2, "heads": 1, "scale": -0.5}], "with head 1 of layer 2 scaled by −0.5"),
    (
        [{"layer": 0, "heads": 1}, {"layer": 1, "heads": [2, 3], "scale": 2}],
        "without head 1 of layer 0; with heads 2 and 3 of layer 1 scaled by 2",
    ),
]


@pytest.mark.parametrize(("changes", "said"), WORDS)
def test_what_is_changed_is_said_in_words(changes, said):
    made = parse(Source(f"model: m\ntext: t\ninterventions: {json.dumps(changes)}", {}), OPTIONS)
    assert words(made.interventions) == said


def test_the_name_and_the_saved_picture_say_which_model_is_shown(shown):
    """The name and the saved picture still tell it after a change of state."""
    page, element = shown("heads")
    name = "e => e.updateComplete.then(() => e.shadowRoot.querySelector('.figure').getAttribute('aria-label'))"
    assert element.evaluate(name).startswith("Without head 1 of layer 0: Attention of induction, layer 1, head 1")
    element.evaluate("e => { e.state = { layer: 0 } }")
    said = "The model without head 1 of layer 0. Attention: layer 0, head 1. "
    assert element.evaluate(name).startswith(said)
    element.evaluate("e => { e.state = { before: true } }")
    assert element.evaluate(name).startswith("The model as it is. Attention: layer 0, head 1. ")
    element.evaluate("e => { e.state = { before: false } }")
    element.get_by_role("button", name="Options").click()
    with page.expect_download() as saved:
        element.get_by_role("button", name="Save SVG").click()
    assert ">The model without head 1 of layer 0</text>" in saved.value.path().read_text("utf-8")


def test_status_and_check_ask_for_both_entries(site):
    """An entry of the changed model alone is not enough to draw from."""
    site.write("index.md", PAGE.replace("interventions: [{layer: 0, heads: 4}]", ""))
    site.settings["cache_dir"] = "own-cache"
    assert site.build().returncode == 0

    def states():
        told = commands.run("mkdocs_attnviz", "status", "-f", str(site.folder / "mkdocs.yml"), "--json")
        return [block["state"] for block in json.loads(told.stdout)["blocks"]]

    assert states() == ["cached", "cached", "cached"]
    cache_dir = site.folder / "own-cache"
    found = entries.entries(cache_dir)
    assert len(found) == 4, "the last figure is the one before as it is"
    as_it_is = next(
        key for key, entry in found.items() if not named(entry, "interventions") and named(entry, "parameters")
    )
    (cache_dir / file_name(as_it_is)).unlink()
    assert states() == ["missing", "cached", "cached"]


def named(entry, part):
    return [value for name, value in entry.meta["key"] if name == part]


def test_a_notebook_shows_both():
    tokenizer = transformers.AutoTokenizer.from_pretrained(INDUCTION)
    model = CAUSAL.from_pretrained(INDUCTION)
    html = mkdocs_attnviz.show(
        model, tokenizer, LIST, layer=1, interventions=[{"layer": 0, "heads": [1]}], html_action="return"
    )
    assert "Without head 1 of layer 0: Attention of" in repr(html)
    assert '"view":"compared"' in html.data
    with pytest.raises(ValueError, match="`interventions` names layer 5"):
        mkdocs_attnviz.show(model, tokenizer, LIST, interventions=[{"layer": 5, "heads": [1]}], html_action="return")
