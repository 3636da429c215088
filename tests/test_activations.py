"""Feed-forward neurons: their activations against hooks written by hand, their factors against scikit-learn."""

import re
import sys
import warnings
from itertools import pairwise

import decoding
import numpy as np
import pytest
import tiny_models
import torch
import transformers
from conftest import INDUCTION, ROOT, Site, draw_figures
from sklearn.decomposition import NMF

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import activations, factors
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import collate, example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.svg.token_flow import json_of

torch.set_num_threads(1)

DATES = str(ROOT / "example_site" / "models" / "dates")
RABBIT = "the rabbit hopped over the fence and the rabbit hopped"
ALL = {"n_components": 3, "from_layer": None, "to_layer": None, "stack": None, "seed": None}


def loaded_from(folder):
    return load(resolve(folder, None, Settings(), ROOT), "cpu", attention=False)


@pytest.fixture(scope="module")
def induction():
    return loaded_from(INDUCTION)


@pytest.fixture(scope="module")
def dates():
    return loaded_from(DATES)


def by_hand(loaded, given, module, compute=lambda read: read):
    """Return the input or output of one module, (T, N), by a hook of this test's own."""
    seen = []
    hook = module.register_forward_hook(lambda _, args, output: seen.append(compute(args[0], output)))
    with torch.no_grad():
        loaded.model(**collate(loaded, [given]))
    hook.remove()
    assert len(seen) == 1
    return seen[0].reshape(-1, seen[0].shape[-1]).numpy()


HANDMADE = {
    "gpt2": lambda model: (model.h[1].mlp.act, lambda _, output: output),
    "bert": lambda model: (model.encoder.layer[1].intermediate, lambda _, output: output),
    "llama": lambda model: (
        model.layers[1].mlp,
        lambda read, _: (
            torch.nn.functional.silu(model.layers[1].mlp.gate_proj(read)) * model.layers[1].mlp.up_proj(read)
        ),
    ),
}


@pytest.mark.parametrize("model_type", HANDMADE)
def test_activations_equal_a_hook_by_hand(model_type):
    loaded = tiny_models.tiny(model_type)
    given = tiny_models.example(loaded)
    truth = by_hand(loaded, given, *HANDMADE[model_type](loaded.model))
    assert np.abs(truth).max() > 0.1
    np.testing.assert_allclose(activations.record_activations(loaded, given)["self"][1], truth, rtol=1e-5, atol=1e-6)


def test_encoder_and_decoder_of_t5_equal_hooks_by_hand():
    loaded = tiny_models.tiny("t5")
    given = tiny_models.example(loaded)
    found = activations.record_activations(loaded, given)
    for stack, at, length in (("encoder", 1, 11), ("decoder", 2, 6)):
        block = getattr(loaded.model, stack).block[0].layer[at].DenseReluDense
        truth = by_hand(loaded, given, block.act, lambda _, output: output)
        assert truth.shape == (length, 48)
        np.testing.assert_allclose(found[stack][0], truth, atol=1e-6)


def test_the_entry_has_the_strongest_neurons(induction):
    given = example(induction, {"text": RABBIT}, 99)
    (entry,) = activations.capture(Context(induction, [given], {"neurons": 20}))
    assert [(each["stack"], each["layer"], each["neurons"], each["kept"]) for each in entry.meta["layers"]] == [
        ("self", 0, 256, 20),
        ("self", 1, 256, 20),
    ]
    truth = by_hand(induction, given, induction.model.h[1].mlp.act, lambda _, output: output)  # (T, N)
    lists = json_of(entry.blobs["self.1.lists"])
    order = sorted(range(256), key=lambda neuron: -np.abs(truth[:, neuron]).max())
    assert lists["neurons"] == order[:20]
    stored = decoding.scaled(entry.blobs["self.1"], 20)
    np.testing.assert_allclose(stored, truth[:, order[:20]].T, atol=np.abs(truth).max() / 60_000)
    for token in (0, 4, 9):
        best = sorted(range(256), key=lambda neuron: -abs(truth[token, neuron]))[:10]
        assert lists["top"][token] == best
        np.testing.assert_allclose(lists["values"][token], truth[token, best], rtol=1e-4)


def test_neurons_that_are_active_together_stand_together():
    """Two kinds of neurons, mixed: the order puts each kind in one piece."""
    patterns = np.array([[0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 0, 0]], dtype=np.float32)
    kinds = [0, 1, 0, 1, 1, 0, 0, 1]
    noise = np.random.default_rng(0).normal(0, 0.01, (8, 6))
    values = (patterns[kinds] * np.arange(1, 9)[:, None] + noise).astype(np.float32)
    order = [kinds[at] for at in activations.cluster_order(values)]
    assert sum(a != b for a, b in pairwise(order)) == 1


def nmf(matrix, count, **options):
    model = NMF(count, max_iter=1000, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit_transform(matrix), model.components_


@pytest.mark.parametrize("seed", [None, 7])
def test_factors_equal_scikit_learn_on_the_same_matrix(induction, seed):
    given = example(induction, {"text": RABBIT}, 99)
    (entry,) = factors.capture(Context(induction, [given], ALL | {"seed": seed}))
    acts = [by_hand(induction, given, block.mlp.act, lambda _, output: output).T for block in induction.model.h]
    matrix = np.maximum(np.concatenate(acts), 0)  # (512, T)
    start = {"init": "nndsvd", "random_state": 0} if seed is None else {"init": "random", "random_state": seed}
    neurons, strengths = nmf(matrix, 3, **start)
    expected = strengths * np.linalg.norm(neurons, axis=0)[:, None]
    order = np.argsort(-(expected**2).sum(axis=1))
    found = json_of(entry.blobs["factors"])
    np.testing.assert_allclose(found["strengths"], expected[order], rtol=2e-3, atol=2e-3 * expected.max())
    explained = 1 - ((matrix - neurons @ strengths) ** 2).sum() / (matrix**2).sum()
    assert abs(entry.meta["explained"] - explained) < 1e-3
    assert 0.3 < explained < 1
    first = neurons[:, order[0]] / np.linalg.norm(neurons[:, order[0]])
    layer, neuron, weight = found["neurons"][0][0]
    assert 256 * layer + neuron == first.argmax()
    assert abs(weight - first.max()) < 2e-3


def test_factors_of_several_texts_are_of_all_their_tokens(induction):
    """Each text is read by itself; scikit-learn gets their activations concatenated."""
    texts = [RABBIT, "green table seven rabbit cold river green", "the fence and the river"]
    given = example(induction, {"text": texts[0], "more_texts": texts[1:]}, 99)
    (entry,) = factors.capture(Context(induction, [given], ALL))
    alone = [example(induction, {"text": text}, 99) for text in texts]
    sides = [
        np.concatenate([by_hand(induction, each, layer.mlp.act, lambda _, output: output).T for layer in blocks])
        for each in alone
        for blocks in [induction.model.h]
    ]
    neurons, strengths = nmf(np.maximum(np.concatenate(sides, axis=1), 0), 3, init="nndsvd", random_state=0)
    expected = strengths * np.linalg.norm(neurons, axis=0)[:, None]
    expected = expected[np.argsort(-(expected**2).sum(axis=1))]
    found = json_of(entry.blobs["factors"])
    np.testing.assert_allclose(found["strengths"], expected, rtol=2e-3, atol=2e-3 * expected.max())
    drawing = VIEWS["factors"].drawing(block("view: factors"), entry)
    assert [part["heading"] for part in drawing.data["texts"]] == ["Text 1", "Text 2", "Text 3"]
    assert re.search(r", over 3 texts\. Strongest: factor 1 at “\w+” in text [123], 2 at", drawing.sentence)
    svg, shown = drawing.picture.svg, np.array(found["strengths"])
    grounds = re.findall(r'<rect class="c\d" opacity="[\d.]+" x="(\d+)" y="([\d.]+)"', svg)
    assert len(grounds) == shown.shape[1]
    assert len({y for _, y in grounds}) == 3, "each text begins on a line of its own"
    bars = re.findall(r'<rect class="c(\d)" x="(\d+)" y="([\d.]+)" width="\d+" height="([\d.]+)"/>', svg)
    heights, strip = np.zeros_like(shown), 3 * 12 + 2
    for factor, x, y, height in bars:
        (at,) = (n for n, (left, top) in enumerate(grounds) if left == x and 0 < float(top) - float(y) <= strip)
        lane = int(factor) + 1
        assert float(grounds[at][1]) - strip + 12 * lane == pytest.approx(float(y) + float(height), abs=0.1)
        heights[int(factor), at] = float(height)
    shares = shown / shown.max(axis=1, keepdims=True)
    np.testing.assert_allclose(heights, 11 * np.where(shares < 0.02, 0, shares), atol=0.06)


def test_further_texts_are_written_on_and_decoded_too(dates):
    given = example(dates, {"text": "7 March 2021", "more_texts": ["12 May 1999"]}, 99)
    (entry,) = factors.capture(Context(dates, [given], ALL | {"stack": "decoder"}))
    lengths = [len(each.target.ids) for each in (given, *given.more)]
    assert len(json_of(entry.blobs["factors"])["strengths"][0]) == sum(lengths)
    shown = VIEWS["factors"].drawing(block("view: factors\nstack: decoder"), entry).data["texts"]
    assert [(part["name"], part["start"], part["end"]) for part in shown] == [
        ("target", 0, lengths[0]),
        ("target-2", 0, lengths[1]),
    ]
    with pytest.raises(ValueError, match=r"^`more_texts`, text 2: The text has \d+ tokens; `max_tokens` is 5"):
        example(dates, {"text": "7", "text_target": "7", "more_texts": ["12 May 1999"]}, 5)


def test_further_texts_are_bounded_together(induction):
    """All texts are held in memory together, so they have a common limit; a long picture has one point per pixel at
    most.
    """
    text = " ".join(["the rabbit"] * 25)
    with pytest.raises(
        ValueError, match=r"^`more_texts` has 250 tokens in all; 4 times `max_tokens`, 200, are the most"
    ):
        example(induction, {"text": text, "more_texts": [text] * 5}, 50)
    given = example(induction, {"text": text, "more_texts": [text] * 20}, 500)
    (entry,) = factors.capture(Context(induction, [given], ALL))
    svg = VIEWS["factors"].drawing(block("view: factors"), entry).picture.svg
    assert len(json_of(entry.blobs["factors"])["strengths"][0]) == 21 * 50
    (points,) = re.findall(r'class="s0" d="M([^"]*)"', svg)
    assert len(points.split()) == 2 * 525
    assert svg.count('class="t"') == 20, "a line where each further text begins"


def test_an_output_of_one_token(dates):
    """The start token before the first word has neurons, too."""
    given = example(dates, {"text": "7 March 2021", "text_target": ""}, 99)
    assert len(given.target.ids) == 1
    (entry,) = factors.capture(Context(dates, [given], ALL | {"stack": "decoder", "n_components": 1}))
    shown = VIEWS["factors"].drawing(block("view: factors\nstack: decoder"), entry).data["texts"]
    assert [(part["start"], part["end"]) for part in shown] == [(0, 1)]


def deep(tmp_path):
    """A GPT-2 of twelve layers."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=99, n_embd=32, n_layer=12, n_head=4, n_positions=64)
    loaded = tiny_models.tiny("gpt2")
    loaded.model = transformers.GPT2Model(config).eval()
    return loaded


def test_layers_beyond_ten_are_numbers(tmp_path):
    loaded = deep(tmp_path)
    given = tiny_models.example(loaded)
    assert list(activations.record_activations(loaded, given)["self"]) == list(range(12))
    (entry,) = factors.capture(Context(loaded, [given], ALL | {"from_layer": 9, "to_layer": 11, "n_components": 4}))
    assert entry.meta["layers"] == [9, 10, 11]
    assert entry.meta["neurons"] == 3 * 128
    acts = [by_hand(loaded, given, loaded.model.h[at].mlp.act, lambda _, output: output).T for at in (9, 10, 11)]
    neurons, strengths = nmf(np.maximum(np.concatenate(acts), 0), 4, init="nndsvd", random_state=0)
    expected = strengths * np.linalg.norm(neurons, axis=0)[:, None]
    expected = expected[np.argsort(-(expected**2).sum(axis=1))]
    found = json_of(entry.blobs["factors"])
    np.testing.assert_allclose(found["strengths"], expected, rtol=2e-3, atol=2e-3 * expected.max())
    assert {layer for factor in found["neurons"] for layer, _, _ in factor} <= {9, 10, 11}


def test_there_are_no_more_factors_than_tokens(induction):
    given = example(induction, {"text": "the rabbit"}, 99)
    (entry,) = factors.capture(Context(induction, [given], ALL | {"n_components": 6}))
    assert len(json_of(entry.blobs["factors"])["strengths"]) == len(given.text.ids) < 6


def test_encoder_and_decoder_have_factors_of_their_own(dates):
    given = example(dates, {"text": "7 March 2021"}, 99)
    found = {}
    for stack, length in (("encoder", len(given.text.ids)), ("decoder", len(given.target.ids))):
        (entry,) = factors.capture(Context(dates, [given], ALL | {"stack": stack}))
        assert entry.meta["sequence"] == ("text" if stack == "encoder" else "target")
        found[stack] = json_of(entry.blobs["factors"])["strengths"]
        assert all(len(row) == length for row in found[stack])
    assert found["encoder"] != found["decoder"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"to_layer": 2}, "`to_layer` is 2; the layers with neurons are 0 to 1."),
        ({"from_layer": 7}, "`from_layer` is 7; the layers with neurons are 0 to 1."),
        ({"stack": "decoder"}, f"`stack` is decoder; of model '{INDUCTION}' it must be self."),
    ],
)
def test_what_the_model_does_not_have(induction, change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        factors.capture(Context(induction, [example(induction, {"text": RABBIT}, 99)], ALL | change))


def block(text):
    return parse(Source(f"model: m\ntext: x\n{text}"), OPTIONS)


def test_a_range_of_layers_runs_upwards():
    with pytest.raises(BlockError, match=r"`from_layer` is 3, which is more than `to_layer`, 1\."):
        block("view: factors\nfrom_layer: 3\nto_layer: 1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("layer: 4", "`layer` has layer 4; the layers of model 'm' with neurons are 0 to 1."),
        ("include_layers: [0]\nlayer: 1", "`layer` has layer 1; the layers of model 'm' with neurons are 0."),
        ("include_layers: [1, 5]", "`include_layers` has layer 5; the layers of model 'm' with neurons are 0 to 1."),
        ("stack: encoder", "`stack` is encoder; the neurons of model 'm' are in self."),
    ],
)
def test_what_the_entry_does_not_have(induction, options, message):
    (entry,) = activations.capture(Context(induction, [example(induction, {"text": RABBIT}, 99)], {"neurons": 8}))
    with pytest.raises(BlockError) as caught:
        VIEWS["activations"].drawing(block(f"view: activations\n{options}"), entry)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("stack", "first", "options", "message"),
    [
        ("self", 0, "stack: encoder", "`stack` is encoder; of model 'm' it must be self."),
        ("encoder", 0, "stack: self", "`stack` is self; of model 'm' it must be encoder or decoder."),
        ("self", 1, "from_layer: 0", "`from_layer` is 0; the first layer with neurons is 1."),
    ],
)
def test_what_comes_first_is_held_against_what_did(induction, stack, first, options, message):
    """The key does not say it: the capture takes what comes first, and the drawing knows what that was."""
    (entry,) = factors.capture(Context(induction, [example(induction, {"text": RABBIT}, 99)], ALL))
    entry.meta.update({"stack": stack, "layers": entry.meta["layers"][first:]})
    with pytest.raises(BlockError) as caught:
        VIEWS["factors"].drawing(block(f"view: factors\n{options}"), entry)
    assert caught.value.message == message
    VIEWS["factors"].drawing(block(f"view: factors\nstack: {stack}"), entry)


@pytest.mark.parametrize(
    ("capture", "parameters", "package"),
    [(activations, {"neurons": 4}, "scipy.cluster.hierarchy"), (factors, ALL, "sklearn.decomposition")],
    ids=["activations", "factors"],
)
def test_without_the_optional_package(induction, monkeypatch, capture, parameters, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unusable, match=r"pip install 'attnviz\[explain\]'"):
        capture.capture(Context(induction, [example(induction, {"text": RABBIT}, 99)], parameters))


# ---- in the browser

LONG = " ".join(["green table seven rabbit cold river"] * 10)
LATER = " ".join(["the fence and the river"] * 6)
PAGE = f"""
# Neurons

```attention
model: induction
text: {RABBIT}
view: activations
neurons: 16
layer: 1
id: act
```

```attention
model: induction
text: {RABBIT}
view: factors
n_components: 3
id: fac
```

```attention
model: dates
text: 7 March 2021
view: activations
id: both
```

```attention
model: induction
text: {RABBIT}
more_texts: ["{LONG}", "{LATER}"]
view: factors
n_components: 3
id: texts
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_cache, share):
    site = Site(tmp_path_factory.mktemp("neurons"), shared_cache)
    site.settings["models"]["dates"] = DATES
    site.write("index.md", PAGE)
    made = share(site)
    assert made.alerts() == []
    return made


@pytest.fixture
def page(built, visits):
    def opened(id, **options):
        page = visits.page(built.folder / "site" / "index.html", within=f"#{id}", **options)
        draw_figures(page, f"#{id}")
        return page

    return opened


def of(page, id, script, argument=None):
    return page.eval_on_selector(f"#{id} attn-viz", script, argument)


def state(page, id):
    return of(page, id, "e => e.state")


def settled(page, id):
    of(page, id, "e => e.updateComplete.then(() => {})")


def reading(page, id):
    settled(page, id)
    return page.locator(f"#{id} .panel-readout .detail").inner_text()


def refused(page, id, change):
    script = "(e, bad) => { try { e.state = bad } catch (error) { return `${error.name}: ${error.message}` } }"
    return of(page, id, script, change)


def test_the_values_of_activations(page, induction):
    found = of(page("act"), "act", "e => e.values({layer: 0})")
    given = example(induction, {"text": RABBIT}, 99)
    truth = by_hand(induction, given, induction.model.h[0].mlp.act, lambda _, output: output)
    assert (found["stack"], found["layer"], len(found["neurons"])) == ("self", 0, 16)
    np.testing.assert_allclose(found["activations"], truth[:, found["neurons"]].T, atol=np.abs(truth).max() / 60_000)
    assert found["top"][3][0]["neuron"] == np.abs(truth[3]).argmax()


def test_cells_are_read_and_held(page):
    shown = page("act")
    values = of(shown, "act", "e => e.values({})")
    of(shown, "act", "e => { e.state = {order: 'number'} }")
    settled(shown, "act")
    columns = sorted(values["neurons"])
    cells = shown.locator("#act .cells")
    box = cells.bounding_box()
    x, y = (5 + 0.5) * box["width"] / 16, (2 + 0.5) * 20
    cells.hover(position={"x": x, "y": y})
    expected = values["activations"][values["neurons"].index(columns[5])][2]
    said = reading(shown, "act")
    assert said.startswith(f"hopped: neuron {columns[5]}, ")
    assert abs(float(said.split(", ")[1].replace("−", "-")) - expected) < 0.006
    assert shown.locator("#act .alternatives li").count() == 10
    cells.click(position={"x": x, "y": y})
    assert (state(shown, "act")["token"], state(shown, "act")["neuron"]) == (2, columns[5])
    shown.mouse.move(0, 0)
    assert reading(shown, "act") == said
    of(shown, "act", "e => { e.state = {order: 'strength'} }")
    assert reading(shown, "act") == said, "the same neuron, in another column"
    cells.hover(position={"x": 5, "y": 5})
    shown.keyboard.press("Tab")
    shown.locator("#act .neuron-map").focus()
    shown.keyboard.press("Escape")
    assert state(shown, "act")["token"] is None


def test_the_picture_has_the_activations_in_the_order_of_their_clusters(page):
    shown = page("act")
    values = of(shown, "act", "e => e.values({})")
    pixels = of(
        shown,
        "act",
        """e => { const c = e.shadowRoot.querySelector('.cells canvas');
        return [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]] }""",
    )
    width, height, data = pixels
    assert (width, height) == (16, len(values["tokens"]))
    opacity = np.array(data).reshape(height, width, 4)[..., 3] / 255
    truth = np.abs(np.array(values["activations"]))  # (neurons, T), the strongest first
    scaled = np.minimum(1, truth / truth[1].max()) ** 0.75
    matched = [int(np.abs(scaled - opacity[:, [at]].T).max(axis=1).argmin()) for at in range(width)]
    assert sorted(matched) == list(range(16)), "each neuron has a column"
    assert matched != sorted(matched), "not by strength"
    assert np.abs(scaled[matched].T - opacity).max() < 0.01


def test_activations_with_the_keyboard(page):
    shown = page("act")
    values = of(shown, "act", "e => e.values({})")
    of(shown, "act", "e => { e.state = {order: 'strength'} }")
    shown.locator("#act .neuron-map").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        shown.keyboard.press(key)
    assert reading(shown, "act").startswith(f"{values['tokens'][0].strip()}: neuron {values['neurons'][1]}, ")
    shown.keyboard.press("Enter")
    assert (state(shown, "act")["token"], state(shown, "act")["neuron"]) == (0, values["neurons"][1])


def test_encoder_and_decoder_in_one_figure(page):
    shown = page("both")
    shown.locator("#both").get_by_label("Stack").select_option("decoder")
    settled(shown, "both")
    assert state(shown, "both")["stack"] == "decoder"
    found = of(shown, "both", "e => e.values({})")
    names = [name.strip() for name in shown.locator("#both .names > div").all_inner_texts()]
    assert names == [token.strip() for token in found["tokens"]]
    other = of(shown, "both", "e => e.values({stack: 'encoder', layer: 0})")
    assert other["tokens"] != found["tokens"]


def test_factors_are_shown_alone(page):
    shown = page("fac")
    values = of(shown, "fac", "e => e.values({})")
    strengths = np.array(values["strengths"])
    assert strengths.shape == (3, len(values["tokens"]))
    background = "e => [...e.shadowRoot.querySelectorAll('.flow [role=option]')].map(t => t.style.background)"
    before = of(shown, "fac", background)
    shown.locator("#fac").get_by_role("button", name="Factor 2").hover()
    assert reading(shown, "fac").startswith("Factor 2: strongest at ")
    alone = of(shown, "fac", background)
    assert alone != before
    assert [bool(each) for each in alone] == [value >= 0.02 * strengths[1].max() for value in strengths[1]]
    assert shown.locator("#fac .factors > .others").count() == 2
    shown.mouse.move(0, 0)
    settled(shown, "fac")
    assert of(shown, "fac", background) == before, "leaving restores"
    shown.locator("#fac").get_by_role("button", name="Factor 2").click()
    shown.mouse.move(0, 0)
    settled(shown, "fac")
    assert of(shown, "fac", background) == alone
    assert state(shown, "fac") == {"factor": 1, "selected": None}
    layer, neuron = values["neurons"][1][0]["layer"], values["neurons"][1][0]["neuron"]
    assert shown.locator("#fac .alternatives bdi").first.inner_text() == f"layer {layer}, neuron {neuron}"


BARS = """e => [...e.shadowRoot.querySelectorAll('.flow [role=option]')].map((option) => {
  const { backgroundImage, backgroundPosition, backgroundSize, paddingTop } = getComputedStyle(option);
  const colors = backgroundImage.match(/rgba?\\([^)]*\\)/g) ?? [];
  const tops = backgroundPosition.split(', ').map((at) => parseFloat(at.split(' ')[1]));
  const heights = backgroundSize.split(', ').map((size) => parseFloat(size.split(' ')[1]));
  return {
    strip: parseFloat(paddingTop),
    bars: tops.map((top, i) => [colors[2 * i], top, heights[i]])
      .filter(([color, top]) => color && top < parseFloat(paddingTop)),
  };
})"""


def test_each_factor_has_its_bar_above_each_token(page):
    """One lane for each factor, which its bar fills at the factor's peak; a factor alone has all of the room."""
    shown = page("fac")
    strengths = np.array(of(shown, "fac", "e => e.values({})")["strengths"])
    shares = strengths / strengths.max(axis=1, keepdims=True)
    shares[shares < 0.02] = 0
    found = of(shown, "fac", BARS)
    assert {each["strip"] for each in found} == {3 * 12 + 2}
    heights = np.zeros_like(strengths)
    colors = {}
    for at, token in enumerate(found):
        for color, top, height in token["bars"]:
            lane = round((top + height) / 12)
            assert top + height == pytest.approx(12 * lane, abs=0.1)
            assert colors.setdefault(lane, color) == color, "a factor has one colour"
            heights[lane - 1, at] = height
    np.testing.assert_allclose(heights, 11 * shares, atol=0.06)
    of(shown, "fac", "e => { e.state = {factor: 1} }")
    settled(shown, "fac")
    alone = [sum(height for *_, height in token["bars"]) for token in of(shown, "fac", BARS)]
    np.testing.assert_allclose(alone, 35 * shares[1], atol=0.06)


def test_factors_with_the_keyboard(page):
    shown = page("fac")
    shown.locator("#fac").get_by_role("button", name="Factor 1").focus()
    shown.keyboard.press("ArrowDown")
    assert reading(shown, "fac").startswith("Factor 2: ")
    shown.keyboard.press("Enter")
    assert state(shown, "fac")["factor"] == 1
    shown.keyboard.press("Escape")
    assert state(shown, "fac")["factor"] is None
    shown.locator("#fac .flow [role=option]").first.focus()
    shown.keyboard.press("ArrowRight")
    values = of(shown, "fac", "e => e.values({})")
    best = int(np.array(values["strengths"])[:, 1].argmax())
    assert reading(shown, "fac").startswith(f"{values['tokens'][1].strip()}: factor {best + 1}, ")


def test_factors_of_several_texts(page, induction):
    """One listbox under three headings; in a long one also lines over all tokens, that tell where a text begins."""
    opened = page("texts")
    settled(opened, "texts")
    found = of(opened, "texts", "e => e.values({})")
    texts = [RABBIT, LONG, LATER]
    lengths = [len(induction.tokenizer(text)["input_ids"]) for text in texts]
    assert found["starts"] == [0, lengths[0], lengths[0] + lengths[1]]
    assert len(found["tokens"]) == sum(lengths) == len(found["strengths"][0])
    figure = opened.locator("#texts")
    assert figure.locator(".flow .heading").all_inner_texts() == ["Text 1", "Text 2", "Text 3"]
    ends = figure.locator(".factors .end").first.get_attribute("d")
    assert ends == "".join(f"M{start - 0.5:g} 0V1" for start in found["starts"][1:])
    figure.get_by_role("option").first.focus()
    opened.keyboard.press("End")
    assert reading(opened, "texts").startswith("river in text 3: ")


@pytest.mark.parametrize(
    ("id", "change", "message"),
    [
        ("act", {"layer": 5}, "RangeError: layer 5: not one of 0, 1"),
        ("act", {"stack": "decoder"}, "RangeError: stack decoder: not one of self"),
        ("act", {"neuron": 256}, "RangeError: neuron 256: not a number from 0 to 255"),
        ("fac", {"factor": 3}, "RangeError: factor 3: not a number from 0 to 2"),
        ("fac", {"seed": 3}, "RangeError: seed: not a part of the state"),
    ],
)
def test_what_cannot_be(page, id, change, message):
    assert refused(page(id), id, change) == message


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_it_fits_and_can_be_read(page, width, dark):
    for id in ("act", "fac", "both", "texts"):
        shown = page(id, width=width, dark=dark)
    of(shown, "fac", "e => { e.state = {factor: 0} }")
    of(shown, "act", "e => { e.state = {token: 1} }")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    shown.add_script_tag(path=ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js")
    found = shown.evaluate("axe.run('#act, #fac', {resultTypes: ['violations'], preload: false})")
    ours = [
        (rule["id"], node["html"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if isinstance(node["target"][0], list)  # within a figure's shadow
    ]
    assert ours == []


@pytest.mark.parametrize("id", ["act", "fac"])
def test_the_picture_is_saved(page, id):
    shown = page(id)
    shown.locator(f"#{id}").get_by_role("button", name="Options").click()
    with shown.expect_download() as saved:
        shown.locator(f"#{id}").get_by_role("button", name="Save SVG").click()
    svg = saved.value.path().read_text("utf-8")
    assert svg.count("rabbit") >= 2
    if id == "act":
        assert "<image" in svg
    else:
        strengths = np.array(of(shown, "fac", "e => e.values({})")["strengths"])
        bars = (strengths >= 0.02 * strengths.max(axis=1, keepdims=True)).sum()
        assert svg.count("<rect") == 1 + bars + svg.count('height="22"')
