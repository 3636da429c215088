"""Readers' tools for weights: transforms, thresholds, several tokens, tables, files, links to a state."""

import base64
import json
import re
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import becomes, draw_all, settle
from playwright.sync_api import expect

import mkdocs_attnviz

PAIR = (
    "```attention\nmodel: minilm\ntext: the strawberry unhinged the rabbit\ntext_pair: The turtle crawled\n"
    "layer: 2\nheads: [1, 4]\nid: try\n```\n"
)
SVG = "{http://www.w3.org/2000/svg}"
QUANTISED = 0.004


@pytest.fixture(scope="module")
def minilm_page(tmp_path_factory, shared_cache, share):
    """Return one built page for all tests that only look at it."""
    from conftest import Site

    site = Site(tmp_path_factory.mktemp("tools"), shared_cache)
    site.write("index.md", f"# Page\n\n{PAIR}")
    return share(site, "--strict").folder / "site" / "index.html"


@pytest.fixture
def page(minilm_page, visits):
    return drawn(visits.page(minilm_page))


@pytest.fixture
def show(visits):
    """`show(html)` → a page that has nothing but a figure, drawn."""
    head = "<!doctype html><html lang=en><meta charset=utf-8><title>t</title>"
    return lambda html: drawn(visits.fragment(head, html.data))


def drawn(page):
    draw_all(page)
    settle(page)
    return page


def state(page):
    settle(page)
    return page.eval_on_selector("attn-viz", "element => element.state")


def change(page, **change):
    page.eval_on_selector("attn-viz", "(element, change) => { element.state = change }", change)
    settle(page)


def options(page):
    settle(page)
    button = page.get_by_role("button", name="Options", exact=True)
    if button.get_attribute("aria-expanded") == "false":
        button.click()
        settle(page)


def token(page, side, position):
    return page.locator(f'attn-viz .column.{side} [role="option"]').nth(position)


def tokens(page, side):
    settle(page)
    return [name.strip() for name in page.locator(f"attn-viz .column.{side} .token").all_inner_texts()]


def stored(page, layer=2, head=1):
    found = page.eval_on_selector("attn-viz", f"e => e.weights({{layer: {layer}, head: {head}}})")
    return np.array(found["values"])


def shown(page):
    """The numbers of the accessible table: rows × cols, three digits."""
    options(page)
    if page.get_by_role("button", name="Table").get_attribute("aria-pressed") == "false":
        page.get_by_role("button", name="Table").click()
    settle(page)
    rows = page.locator("attn-viz table tbody tr")
    return np.array([[float(text) for text in row.locator("td").all_inner_texts()] for row in rows.all()])


def placed(tokens):
    """The tokens, those that occur twice with their positions."""
    return [token if tokens.count(token) == 1 else f"{token} {at}" for at, token in enumerate(tokens)]


# ---- transforms


def test_the_table_holds_the_stored_weights(page):
    change(page, heads=[1])
    assert np.abs(shown(page) - stored(page)).max() < 0.0006
    headers = page.locator("attn-viz table thead th[scope=col]").all_inner_texts()
    assert headers == placed(tokens(page, "right"))
    assert page.locator("attn-viz table tbody th[scope=row]").all_inner_texts() == placed(tokens(page, "left"))
    change(page, heads=[1, 4])
    assert np.abs(shown(page) - (stored(page) + stored(page, head=4)) / 2).max() < 0.0006


def test_across_heads(page):
    both = np.stack([stored(page, head=head) for head in (1, 4)])
    options(page)
    page.get_by_role("combobox", name="Heads").select_option("maximum")
    assert state(page)["across_heads"] == "max"
    assert np.abs(shown(page) - both.max(0)).max() < 0.0006
    change(page, across_heads="mean")
    assert np.abs(shown(page) - both.mean(0)).max() < 0.0006


def test_across_layers_and_rollout(page):
    change(page, heads=[1])
    layers = [np.stack([stored(page, layer, head) for head in range(12)]) for layer in range(6)]
    options(page)
    page.get_by_role("combobox", name="Layers").select_option("mean of 6")
    assert np.abs(shown(page) - np.mean([layer[1] for layer in layers], 0)).max() < 0.0006
    assert page.get_by_role("combobox", name=re.compile("^Layer ")).count() == 0, "there is none to choose"
    page.get_by_role("combobox", name="Layers").select_option("rollout")
    total = np.eye(len(layers[0][0]))
    for layer in layers[:3]:
        mean = layer.mean(0)
        total = (mean / mean.sum(1, keepdims=True) / 2 + np.eye(len(mean)) / 2) @ total
    assert np.abs(shown(page) - total).max() < QUANTISED
    assert page.get_by_role("button", name="Head 1", exact=True).count() == 0
    assert page.locator("attn-viz .how").inner_text() == "Rollout to layer 2"
    assert page.locator("attn-viz caption").inner_text().startswith("Rollout to layer 2: ")


def test_value_weighted(page):
    change(page, heads=[1])
    weights = stored(page)
    figure = json.loads(page.locator("attn-viz").get_attribute("data-figure"))
    layer = figure["stacks"]["self"]["layers"][2]
    blob = zlib.decompress(base64.b64decode(layer["values"]["data"]))
    scales = np.frombuffer(blob, "<f4", 12)
    norms = np.frombuffer(blob, "<i2", offset=48).reshape(12, -1) * scales[:, None]
    options(page)
    page.get_by_label("Value-weighted").check()
    expected = weights * norms[1]
    expected /= expected.sum(1, keepdims=True)
    assert np.abs(expected - weights).max() > 0.02
    assert np.abs(shown(page) - expected).max() < 0.0006


def test_whole_words(page):
    change(page, heads=[1])
    before = tokens(page, "left")
    assert [name for name in before if name.startswith("##")]
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Whole words").check()
    words = ["[CLS]", "the", "strawberry", "unhinged", "the", "rabbit", "[SEP]", "the", "turtle", "crawled", "[SEP]"]
    assert tokens(page, "left") == tokens(page, "right") == words
    groups, start = [], 0
    for index in range(1, len(before) + 1):
        if index == len(before) or not before[index].startswith("##"):
            groups.append(slice(start, index))
            start = index
    weights = stored(page)
    expected = [[weights[row, col].sum(1).mean() for col in groups] for row in groups]
    found = shown(page)
    assert np.abs(found - expected).max() < 0.0006
    assert np.abs(found.sum(1) - weights.sum(1).mean()).max() < 0.02
    token(page, "left", 2).click()
    assert state(page)["selected"]["indices"] == list(range(groups[2].start, groups[2].stop))
    change(page, merge_words=False)
    assert page.locator("attn-viz .left [aria-selected=true]").count() == groups[2].stop - groups[2].start


def test_special_tokens_left_out(page):
    change(page, heads=[1])
    weights = stored(page)
    special = [index for index, name in enumerate(tokens(page, "left")) if name.startswith("[")]
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Special tokens").uncheck()
    rest = np.delete(weights, special, 0)
    kept = np.delete(rest, special, 1)
    assert np.abs(shown(page) - kept).max() < 0.0006
    said = page.locator("attn-viz .share").inner_text()
    assert abs(float(re.match(r"[\d.]+", said)[0]) / 100 - kept.sum() / rest.sum()) < 0.006
    change(page, selected={"side": "left", "index": 0})
    assert page.locator("attn-viz .left [aria-selected=true]").count() == 0


def test_the_sink_left_out_or_faded(page):
    """The sink of BERT is its special tokens; the rest of each row sums to one. Menu, note, table and file say so."""
    change(page, heads=[1])
    weights = stored(page)
    names = tokens(page, "right")
    special = [index for index, name in enumerate(names) if name.startswith("[")]
    options(page)
    page.get_by_role("combobox", name="Sink").select_option("left out, the rest renormalised")
    assert state(page)["sink"] == "leave_out"
    rest = np.delete(weights, special, 1)
    assert np.abs(shown(page) - rest / rest.sum(1, keepdims=True)).max() < 0.0006
    assert tokens(page, "left") == names
    assert tokens(page, "right") == [name for name in names if not name.startswith("[")]
    said = "without the sink “[CLS]” “[SEP]”, the rest renormalised"
    assert page.locator("attn-viz .how").inner_text().lower() == said.lower()
    assert said in page.locator("attn-viz .legend").inner_text()
    assert said in page.locator("attn-viz caption").inner_text()
    assert page.locator("attn-viz").get_by_role("group", name=said).count() == 1
    file = saved(page, "Save SVG").path().read_text("utf-8")
    assert file.count(said) >= 2, "in title and legend"
    change(page, special_tokens=False)
    assert page.locator("attn-viz .share").inner_text() in ("", "> 99% of the weight drawn"), "no part of the whole"
    change(page, special_tokens=True, sink="fade")
    assert page.locator("attn-viz .how").inner_text() == "Sink “[CLS]” “[SEP]” faded"
    assert np.abs(shown(page) - weights).max() < 0.0006, "the numbers stay"


INK = """element => {
  const canvas = element.shadowRoot.querySelector(".heat-map canvas, .thumbnails canvas, .picture canvas");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  let [left, right] = [0, 0];
  for (let i = 3; i < data.length; i += 4) if ((i - 3) / 4 % width < width / 9) left += data[i]; else right += data[i];
  return { left, right };
}"""


@pytest.mark.parametrize("view", ["matrix", "model"])
def test_what_a_faded_sink_takes_is_pale_and_the_rest_has_the_scale(view, show):
    """The first of nine columns takes most: faded it is paler, and in a matrix the others become stronger."""
    weights = np.full((1, 1, 9, 9), 0.02)
    weights[..., 0] = 0.84
    draw = {"matrix": mkdocs_attnviz.matrix_view, "model": mkdocs_attnviz.model_view}[view]
    html = draw([weights], [f"t{n}" for n in range(9)], html_action="return")
    page = show(html)
    found = {}
    for how in ("show", "fade", "leave_out"):
        change(page, sink=how)
        found[how] = page.eval_on_selector("attn-viz", INK)
    assert found["fade"]["left"] < 0.3 * found["show"]["left"]
    assert found["leave_out"]["right"] > 4 * found["show"]["right"]
    if view == "matrix":
        assert found["fade"]["right"] > 4 * found["show"]["right"]
    legend = page.locator("attn-viz .legend").first.inner_text()
    rest = "scaled to the largest" if view == "model" else "the rest renormalised"
    assert f"without the sink “t0”, {rest}" in legend


@pytest.mark.parametrize(
    ("across", "limit"),
    [(None, {}), ("max", {}), (None, {"mass": 0.5}), ("mean", {"mass": 0.5}), ("max", {"min_weight": 0.1})],
)
def test_the_share_that_is_drawn(page, across, limit):
    """Shares are of what A attends to in B, special tokens of B included."""
    names = tokens(page, "left")
    boundary = names.index("[SEP]") + 1
    rows, cols = slice(1, boundary - 1), slice(boundary, len(names) - 1)
    heads = np.stack([stored(page, head=head) for head in (1, 4)])
    if across:
        heads = getattr(heads, across)(0, keepdims=True)
    kept = heads[:, rows, cols].copy()
    if "min_weight" in limit:
        kept[kept < 0.1] = 0
    for row in kept.reshape(-1, kept.shape[-1]) if "mass" in limit else []:
        ranked = np.sort(row)[::-1]
        row[row < ranked[np.searchsorted(np.cumsum(ranked), row.sum() / 2)]] = 0
    kept[kept**0.75 / len(heads) ** 0.5 < 0.01] = 0  # too pale a line
    expected = kept.sum() / heads[:, rows, boundary:].sum()
    change(page, filter="ab", special_tokens=False, across_heads=across, **limit)
    said = page.locator("attn-viz .share").inner_text()
    assert abs(float(re.match(r"[\d.]+", said)[0]) / 100 - expected) < 0.01


def test_what_is_combined_is_no_head(page):
    for transforms, expected in (
        ({}, "→ the: head [14] "),
        ({"across_heads": "mean"}, "→ the: mean 0"),
        ({"across_heads": "max"}, "→ the: max 0"),
        ({"across_heads": None, "across_layers": "mean"}, "→ the, mean of layers: head [14] "),
        ({"across_layers": "rollout"}, "→ the: rollout 0"),
    ):
        change(page, **transforms, selected={"side": "left", "index": 2})
        page.mouse.move(2, 2)
        token(page, "right", 1).hover()
        settle(page)
        assert re.search(expected, page.locator("attn-viz .readout").inner_text()), expected


# ---- thresholds, contrast


def lines_left(page):
    settle(page)
    return page.locator("attn-viz .share").inner_text()


def test_thresholds(page):
    change(page, heads=[1])
    weights = stored(page)
    options(page)
    page.get_by_role("combobox", name="Show").select_option("weights of at least")
    assert state(page)["min_weight"] == 0.1
    kept = weights[weights >= 0.1].sum() / weights.sum()
    assert abs(float(re.match(r"[\d.]+", lines_left(page))[0]) / 100 - kept) < 0.006
    page.get_by_role("combobox", name="Show").select_option("the strongest of each row")
    assert (state(page)["min_weight"], state(page)["mass"]) == (None, 0.8)
    assert 80 <= float(re.match(r"[\d.]+", lines_left(page))[0]) < 95
    page.get_by_role("combobox", name="Show").select_option("all weights")
    assert (state(page)["min_weight"], state(page)["mass"]) == (None, None)


def ink(page):
    settle(page)
    return page.locator("attn-viz canvas").first.evaluate(
        """canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
             .reduce((sum, value, i) => i % 4 === 3 ? sum + value : sum, 0)"""
    )


def test_contrast(page):
    as_is = ink(page)
    options(page)
    slider = page.get_by_role("slider", name="Contrast")
    slider.focus()
    page.keyboard.press("Home")
    assert state(page)["contrast"] == 0.25
    strong = ink(page)
    page.keyboard.press("End")
    assert state(page)["contrast"] == 4
    assert strong > as_is > ink(page)


# ---- several tokens


def test_several_tokens_and_their_sum(page):
    change(page, heads=[1])
    weights = stored(page)
    token(page, "left", 1).click()
    token(page, "left", 3).click(modifiers=["Control"])
    token(page, "left", 4).click(modifiers=["Shift"])
    assert state(page)["selected"] == {"side": "left", "index": 1, "indices": [1, 3, 4]}
    page.mouse.move(2, 2)
    settle(page)
    for col in (0, 2, 5):
        number = token(page, "right", col).locator(".value").inner_text()
        assert abs(float(number) - weights[[1, 3, 4], col].sum()) < 0.006
    assert " + " in page.locator("attn-viz .readout").inner_text()
    token(page, "left", 3).click(modifiers=["Control"])
    assert state(page)["selected"]["indices"] == [1, 4]
    token(page, "left", 1).click()
    assert state(page)["selected"]["indices"] == [1]


def test_several_tokens_with_the_keyboard(page):
    token(page, "right", 0).focus()
    for key in ("Enter", "ArrowDown", "Control+Enter", "ArrowDown", "Control+Space"):
        page.keyboard.press(key)
    assert state(page)["selected"] == {"side": "right", "index": 0, "indices": [0, 1, 2]}


def selected(page):
    """Return what is locked; what a tap does comes a moment later."""
    return (state(page)["selected"] or {}).get("indices")


def test_several_tokens_with_a_finger(minilm_page, visits):
    page = drawn(visits.page(minilm_page, width=360, touch=True))
    page.get_by_role("button", name="Options").tap()
    page.get_by_label("Select several").tap()
    expect(page.get_by_label("Select several")).to_be_checked()
    token(page, "left", 1).tap()
    becomes(page, lambda: selected(page), [1])
    token(page, "left", 2).tap()
    becomes(page, lambda: selected(page), [1, 2])


# ---- two heads side by side


@pytest.fixture
def pair(page):
    """`pair(1)` → the second picture of two, head 11 of layer 5; in the first there is head 1 of layer 2."""
    options(page)
    page.get_by_label("Two heads side by side").check()
    second = page.get_by_role("region", name="Layer 2, head 4", exact=True)
    second.get_by_label("Head").select_option("11")
    page.get_by_role("region", name="Layer 2, head 11").get_by_label("Layer").select_option("5")
    settle(page)
    return page.locator("attn-viz .one").nth


def numbers(picture):
    return [float(text) for text in picture.locator(".column.right .value").all_inner_texts()]


def test_two_heads_side_by_side_have_their_own_weights(page, pair):
    assert page.locator("attn-viz .one b").all_inner_texts() == ["2·1", "5·11"]
    found = state(page)
    assert (found["layer"], found["heads"], found["beside"]) == (2, [1], {"layer": 5, "head": 11})
    left, right = pair(0).bounding_box(), pair(1).bounding_box()
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    pair(1).locator(".left [role=option]").nth(3).hover()
    settle(page)
    for at, (layer, head) in enumerate([(2, 1), (5, 11)]):
        assert numbers(pair(at)) == pytest.approx(stored(page, layer, head)[3], abs=0.006)
    pair(0).locator(".left [role=option]").nth(2).click()
    page.mouse.move(2, 2)
    settle(page)
    for at, (layer, head) in enumerate([(2, 1), (5, 11)]):
        assert numbers(pair(at)) == pytest.approx(stored(page, layer, head)[2], abs=0.006)
    page.get_by_role("button", name="Table").click()
    settle(page)
    tables = page.locator("attn-viz .table caption").all_inner_texts()
    assert [text.split(":")[0] for text in tables] == ["Layer 2, head 1", "Layer 5, head 11"]
    page.set_viewport_size({"width": 360, "height": 800})
    settle(page)
    upper, lower = pair(0).bounding_box(), pair(1).bounding_box()
    assert upper["x"] == lower["x"]
    assert upper["y"] + upper["height"] <= lower["y"]


def test_two_heads_with_the_keyboard_in_links_and_in_files(page, pair, minilm_page, visits):
    pair(1).locator(".left [role=option]").nth(2).focus()
    page.keyboard.press("[")
    assert (state(page)["layer"], state(page)["beside"]) == (2, {"layer": 4, "head": 11})
    live = page.locator("attn-viz [aria-live]")
    expect(live).to_have_text("Layer 2, head 1, beside layer 4, head 11")
    page.keyboard.press("ArrowDown")
    expect(live).to_have_text(re.compile(r"^2·1: .* → .*\. 4·11: .* → "))
    page.keyboard.press("Enter")
    assert state(page)["selected"] == {"side": "left", "index": 3, "indices": [3]}
    root = ElementTree.parse(saved(page, "Save SVG").path()).getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[0] == "Layer 2, head 1, beside layer 4, head 11"
    assert {"2·1", "4·11"} <= set(texts)
    assert texts.count("[CLS]") == 4
    page.get_by_role("button", name="Close 2·1").click()
    found = state(page)
    assert (found["layer"], found["heads"], found["beside"]) == (4, [11], None)
    expect(page.get_by_role("button", name="Head 11", exact=True)).to_be_focused()
    visits.page(minilm_page, state="#try~heads=1&beside=4,11")
    assert state(page)["beside"] == {"layer": 4, "head": 11}


# ---- to keep and to share


def saved(page, name):
    options(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return download.value


def test_save_svg(page):
    file = saved(page, "Save SVG")
    assert file.suggested_filename == "try.svg"
    root = ElementTree.parse(file.path()).getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[0] == "Layer 2, 2 heads"
    assert texts.count("[CLS]") == 2
    assert texts[1] == "minilm: the strawberry unhinged the rabbit / The turtle crawled"
    assert "Opacity = weight · colour = head · left attends to right" in texts
    heads = texts.index("Heads")
    assert texts[heads + 1 : heads + 5] == ["1", "4", "0", "1"], "the heads' colours, and the scale from 0 to 1"
    colors = [rect.get("fill") for rect in root.iter(f"{SVG}rect")][1:]
    squares = page.locator("attn-viz .square").evaluate_all("all => all.map(e => e.style.getPropertyValue('--color'))")
    assert colors[:2] == [squares[1], squares[4]]
    assert len(set(colors[2:])) > 16
    assert root.find(f"{SVG}title").text == "Layer 2, 2 heads"
    assert len(list(root.iter(f"{SVG}path"))) > 100


def test_what_is_saved_says_what_it_shows(page):
    change(page, layer=3, filter="ab", merge_words=True, value_weighted=True, min_weight=0.2)
    root = ElementTree.parse(saved(page, "Save SVG").path()).getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[0] == "Layer 3, 2 heads, value-weighted, whole words, sentence A → B"
    assert root.find(f"{SVG}title").text == texts[0]
    assert re.fullmatch(r"\d+% of the weight drawn", texts[-2]), texts
    assert re.fullmatch(r"sha256:[0-9a-f]{12}", texts[-1]), texts
    assert texts[-3].startswith("Opacity = weight")


@pytest.mark.parametrize("focus", [None, 105])
def test_a_window_of_a_long_text_is_saved_with_its_own_share(show, focus):
    """Weights of the saved tokens on others are part of the whole, and is not drawn."""
    scores = np.exp(2 * np.random.default_rng(1).normal(size=(300, 300)))
    weights = (scores / scores.sum(-1, keepdims=True)).astype(np.float32)
    html = mkdocs_attnviz.head_view([weights[None, None]], [f"w{n}" for n in range(300)], html_action="return")
    page = show(html)
    page.locator("attn-viz .scroller").evaluate("e => { e.scrollTop = 100 * 24 }")
    if focus:
        change(page, selected={"side": "left", "index": focus})
    settle(page)
    root = ElementTree.parse(saved(page, "Save SVG").path()).getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[-2] == "Tokens 100 to 123 of 0 to 299"
    assert [text for text in texts if text.startswith("w")] == [f"w{n}" for n in range(100, 124)] * 2
    kept = np.round(np.sqrt(weights) * 255) ** 2 / 255**2
    rows = slice(focus, focus + 1) if focus else slice(100, 124)
    expected = kept[rows, 100:124].sum() / kept[rows].sum()
    assert abs(float(re.match(r"[\d.]+", texts[-1])[0]) / 100 - expected) < 0.03, (texts[-1], expected)


@pytest.mark.parametrize("view", ["head_view", "matrix_view"])
def test_a_narrow_picture_has_room_for_title_and_legend(view, show):
    """Pictures fit in the browser's own font and in a wide one."""
    weights = np.array([[[[1, 0], [0.5, 0.5]]] * 2], np.float32)
    html = getattr(mkdocs_attnviz, view)([weights[0][None]] * 2, ["a", "b"], html_action="return")
    page = show(html)
    change(page, across_layers="mean", across_heads="max", min_weight=0.4)
    file = saved(page, "Save SVG").path().read_text("utf-8")
    page.evaluate("file => { document.querySelector('main').innerHTML = file }", file)
    beyond = """texts => texts.map(text => text.getBBox()).filter(box =>
        box.x < 0 || box.x + box.width > text.ownerSVGElement.width.baseVal.value)"""
    beyond = beyond.replace("text.ownerSVGElement", "document.querySelector('svg')")
    assert page.eval_on_selector_all("svg text:not([transform])", beyond) == []
    page.eval_on_selector("svg", "svg => svg.setAttribute('font-family', 'DejaVu Sans, Verdana')")
    assert page.eval_on_selector_all("svg text:not([transform])", beyond) == []
    heights = "([svg]) => [...svg.querySelectorAll('text')].every(t => t.getBBox().y < svg.height.baseVal.value - 12)"
    assert page.eval_on_selector_all("svg", heights)


def test_save_png(page):
    file = saved(page, "Save PNG")
    content = file.path().read_bytes()
    assert content.startswith(b"\x89PNG")
    width = int.from_bytes(content[16:20], "big")
    svg = ElementTree.parse(saved(page, "Save SVG").path()).getroot()
    assert width == 2 * int(svg.get("width"))


def test_copy_as_image(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    options(page)
    page.get_by_role("button", name="Copy as image").click()
    expect(page.locator("attn-viz [aria-live]")).to_have_text("Image copied")
    found = page.evaluate(
        """async () => {
          const [item] = await navigator.clipboard.read();
          const image = await createImageBitmap(await item.getType("image/png"));
          return [item.types.join(), image.width];
        }"""
    )
    svg = ElementTree.parse(saved(page, "Save SVG").path()).getroot()
    assert found == ["image/png", 2 * int(svg.get("width"))]
    refuse = "navigator.clipboard.write = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    page.evaluate(f"() => {{ {refuse} }}")
    page.get_by_role("button", name="Copy as image").click()
    said = "The image could not be copied; it can be saved"
    expect(page.locator("attn-viz [aria-live]")).to_have_text(said)
    assert page.get_by_text(said).last.is_visible()
    page.evaluate("() => { delete navigator.clipboard.write }")


def test_a_browser_that_cannot_copy_images_is_not_asked_to(minilm_page, open_page):
    page = open_page("about:blank")
    page.add_init_script("delete window.ClipboardItem")
    page.goto(minilm_page.as_uri())
    draw_all(page)
    options(page)
    assert page.get_by_role("button", name="Copy link").is_visible()
    assert page.get_by_role("button", name="Copy as image").count() == 0


@pytest.mark.parametrize("view", ["head_view", "model_view", "matrix_view"])
def test_what_is_saved_is_well_formed(view, show):
    nasty = ["</svg><script>", "a&b", "\x00\x1b", '"quoted"', "\ud800", "שלום", "日本", "👩‍👩‍👧", "]]>"]
    weights = np.full((1, 2, 9, 9), 1 / 9, np.float32)
    html = getattr(mkdocs_attnviz, view)(
        [weights] * 2, [name.replace("\ud800", "�") for name in nasty], html_action="return"
    )
    page = show(html)
    root = ElementTree.parse(saved(page, "Save SVG").path()).getroot()
    assert len(list(root.iter(f"{SVG}text"))) >= 4
    assert not list(root.iter(f"{SVG}script"))
    assert saved(page, "Save PNG").path().stat().st_size > 1000


def follow(page, link):
    """Scroll to another place of the page, and wait until all listeners have heard of it."""
    page.evaluate(
        "link => new Promise(heard => { addEventListener('hashchange', heard, {once: true}); location.hash = link })",
        link,
    )


def test_a_link_brings_the_state_with_it(minilm_page, page, open_page):
    wanted = {"layer": 4, "heads": [3], "selected": {"side": "left", "indices": [2, 3]}, "filter": "aa", "mass": 0.5}
    first = state(page)
    change(page, **wanted, merge_words=True, contrast=2)
    expected = state(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    options(page)
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Link copied").first.wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(minilm_page.as_uri() + "#try~")
    assert "special_tokens" not in link, "only what differs"
    other = open_page(link)
    draw_all(other)
    assert state(other) == expected
    follow(other, "#try~layer=1")
    assert state(other) == {**first, "layer": 1}, "what the first link has chosen is gone"
    label = other.locator("attn-viz .figure").get_attribute("aria-label")
    assert label.startswith("Attention: layer 1, 2 heads. minilm: ")
    follow(other, "#try~layer=77")
    assert state(other)["layer"] == 1, "a bad link changes nothing"
    follow(other, "#try~")
    assert state(other) == first
    assert "The strongest weight" in other.locator("attn-viz .figure").get_attribute("aria-label")


def test_escape_closes_the_options_and_keeps_the_focus(page):
    options(page)
    page.get_by_label("Whole words").focus()
    page.keyboard.press("Escape")
    settle(page)
    button = page.get_by_role("button", name="Options", exact=True)
    assert button.get_attribute("aria-expanded") == "false"
    assert button.evaluate("button => button.getRootNode().activeElement === button")
    options(page)
    token(page, "left", 2).focus()
    page.keyboard.press("Escape")
    settle(page)
    assert button.get_attribute("aria-expanded") == "false"
    assert token(page, "left", 2).evaluate("row => row.getRootNode().activeElement === row")


def test_a_pair_of_many_heads_can_be_read_on_a_phone(minilm_page, visits):
    page = drawn(visits.page(minilm_page, width=360, touch=True))
    below = page.locator("attn-viz").bounding_box()
    change(page, heads=list(range(12)))
    token(page, "left", 2).tap()
    becomes(page, lambda: selected(page), [2])
    token(page, "right", 3).tap()
    detail = page.locator("attn-viz .readout .detail")
    becomes(page, lambda: detail.inner_text().count("head "), 3)
    settle(page)
    assert re.search(r"head \d+ 0\.\d+ · 9 others at most 0\.\d+ · mean 0\.\d+$", detail.inner_text())
    assert detail.evaluate("e => e.scrollHeight <= e.clientHeight && e.scrollWidth <= e.clientWidth"), "nothing is cut"
    assert page.locator("attn-viz").bounding_box() == below


def test_a_bad_link_changes_nothing(minilm_page, page, visits):
    before = state(page)
    for bad in ("layer=99", "nonsense", "heads=a", "selected=up,1", "%", "layer=2&x=1", "open=1,1"):
        visits.page(minilm_page, state=f"#try~{bad}")
        assert state(page) == before, bad


def test_what_cannot_apply_is_not_there(show):
    weights = np.full((1, 2, 3, 3), 1 / 3, np.float32)
    html = mkdocs_attnviz.head_view([weights], ["a", "b", "c"], html_action="return")
    page = show(html)
    options(page)
    there = page.locator("attn-viz .options label").all_inner_texts()
    for absent in ("Value-weighted", "Whole words", "Special tokens"):
        assert absent not in there
    assert page.get_by_role("combobox", name="Pairs").count() == 0


# ---- a thousand tokens


def test_a_thousand_tokens(show):
    size = 1024
    near = np.exp(-np.abs(np.arange(size)[:, None] - np.arange(size)[None]) / 2)
    weights = (near / near.sum(1, keepdims=True)).astype(np.float32)[None, None].repeat(4, 1)
    names = [f"w{number}" for number in range(size)]
    page = show(mkdocs_attnviz.head_view([weights], names, html_action="return"))
    rows = page.locator("attn-viz .left [role=option]")
    assert rows.count() < 120
    assert rows.first.get_attribute("aria-setsize") == "1024"
    page.locator("attn-viz .scroller").evaluate("e => { e.scrollTop = 500 * 24 }")
    settle(page)
    row = page.locator("attn-viz .left [role=option]", has_text=re.compile("^w505$"))
    assert row.get_attribute("aria-posinset") == "506"
    row.click()
    assert state(page)["selected"]["index"] == 505
    page.locator("attn-viz .left [tabindex='0']").focus()
    for key in ("Home", "End", "ArrowUp"):
        page.keyboard.press(key)
    settle(page)
    focused = page.evaluate("document.querySelector('attn-viz').shadowRoot.activeElement.dataset.index")
    assert focused == "1022"
    page.keyboard.press("Enter")
    assert state(page)["selected"]["index"] == 1022
    options(page)
    page.get_by_role("button", name="Table").click()
    settle(page)
    first = page.locator("attn-viz table tbody tr").first
    assert len(first.locator("td").all()) == 6, "the strongest five and what they hold"
