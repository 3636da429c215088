"""The neuron view in a real browser: right numbers, and all that a reader does to see how a weight comes about."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import MINILM, ROOT, draw_all, settle
from playwright.sync_api import expect

from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.settings import Settings

CAT = "```attention\nmodel: minilm\ntext: The cat sat on the mat\nview: neuron\nlayer: 2\nheads: [8]\n```\n"
PAIR = CAT.replace("The cat sat on the mat", "the rabbit quickly hopped\ntext_pair: The turtle slowly crawled")
LINES = CAT[:-4] + "state: expanded=null\n```\n"
LONG = CAT.replace("The cat sat on the mat", "Transformers replaced recurrence by attention. " * 15)


PAGES = {
    "cat": CAT + "\n[there](#attnviz-1~layer=3&head=5&expanded=2&selected=right,4)\n\nBelow.\n",
    "lines": LINES + "\nBelow.\n",
    "held": CAT[:-4] + "state: selected=left,1\n```\n",
    "pair": PAIR,
    "long": LONG,
    "both": CAT + "\n" + LONG,
    "causal": "```attention\nmodel: induction\ntext: we saw the red fox near the old barn . we saw the red\n"
    "view: neuron\nlayer: 1\nhead: 1\n```\n",
    "masked": "```attention\nmodel: induction\ntext: a b c d a b c\nview: neuron\n```\n",
    "cross": "```attention\nmodel: dates\ntext: 3 May 2021\nview: neuron\nstack: cross\n```\n",
}


@pytest.fixture
def show(site, share, visits):
    """`show(name, …)` returns one of the pages, its figures new and drawn."""

    def show(name, theme="mkdocs", **options):
        site.config["theme"] = {"name": theme, "highlightjs": False}
        site.settings["models"]["dates"] = str(ROOT / "example_site" / "models" / "dates")
        for each in PAGES if theme == "mkdocs" else [name]:
            site.write(f"{each}.md", f"# Page\n\n{PAGES[each]}")
        page = visits.page(share(site, "--strict").folder / "site" / name / "index.html", **options)
        draw_all(page)
        settle(page)
        return page

    return show


def state(page):
    settle(page)
    return page.eval_on_selector("attn-viz", "element => element.state")


def set_state(page, **change):
    page.eval_on_selector("attn-viz", "(element, change) => { element.state = change }", change)
    settle(page)


def readout(page):
    settle(page)
    return page.locator("attn-viz .readout").first.inner_text()


def token(page, side, position):
    return page.locator(f'attn-viz .column.{side} [role="option"]').nth(position)


def plus(page, position):
    return page.locator("attn-viz .toggles button").nth(position)


def select(page, label):
    return page.get_by_role("combobox", name=re.compile(f"^{label}"))


def column(page, heading):
    """The numbers of a column as they are set, one a row."""
    settle(page)
    headings = page.locator("attn-viz .number-heading").all()
    nth = next(n for n, one in enumerate(headings) if heading in one.inner_text())
    texts = [page.locator("attn-viz .number").nth(2 * nth + kind).text_content().split("\n") for kind in (0, 1)]
    return ["".join(pair) for pair in zip(*texts, strict=True)]


def static(page):
    """The picture that is shown without a script."""
    return unquote(page.locator("figure.attnviz img").get_attribute("src")).partition(",")[2]


def is_focused(locator):
    return locator.evaluate("element => element.getRootNode().activeElement === element")


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def neurons(page, layer, head):
    found = page.locator("attn-viz").evaluate(
        "(element, where) => element.neurons(where)", {"layer": layer, "head": head}
    )
    return {name: np.array(found[name]) for name in ("query", "key", "scores", "scale")}


# ---- numbers


def test_weights_are_the_softmax_of_the_scores(show):
    page = show("long")
    for layer, head in ((0, 0), (2, 8), (5, 11)):
        found = neurons(page, layer, head)
        weights = page.locator("attn-viz").evaluate(
            "(element, where) => element.weights(where)", {"layer": layer, "head": head}
        )
        assert np.abs(found["query"] @ found["key"].T * found["scale"] - found["scores"]).max() < 1e-4
        # Weights are quantised: within 0.0039.
        assert np.abs(softmax(found["scores"]) - np.array(weights["values"])).max() < 0.0039 + 1e-3


def test_queries_and_keys_are_the_model_s(show):
    import torch
    import transformers

    page = show("cat")
    folder = resolve(MINILM, None, Settings(), ROOT).path
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    attention = model.encoder.layer[2].attention.self
    kept = {}
    for name in ("query", "key"):
        module = getattr(attention, name)
        module.register_forward_hook(lambda _module, _inputs, output, name=name: kept.update({name: output}))
    with torch.no_grad():
        model(**tokenizer("The cat sat on the mat", return_tensors="pt"))
    found = neurons(page, 2, 8)
    for name, values in kept.items():
        expected = values[0].view(8, 12, 32)[:, 8].numpy()
        assert np.abs(found[name] - expected).max() < 1e-3, name


def test_the_numbers_that_are_shown(show):
    page = show("cat")
    set_state(page, expanded=2)
    scores = neurons(page, 2, 8)["scores"]
    assert [text.replace("−", "-") for text in column(page, "q · k")] == [f"{score:.2f}" for score in scores[2]]
    assert column(page, "Softmax") == [f"{weight:.2f}" for weight in softmax(scores)[2]]


# ---- what a reader does


def test_a_token_is_expanded_at_first(show):
    """It is the one with the largest weight between words, and what is shown without a script says the same of it."""
    page = show("cat")
    assert state(page)["expanded"] == 5
    assert readout(page).startswith("the → mat 0.84")
    numbers = column(page, "q · k")
    assert len(numbers) == 8
    element = page.locator("attn-viz").bounding_box()
    assert page.locator("attn-viz .readout").bounding_box()["y"] + 24 <= element["y"] + element["height"]
    texts = ["".join(text.itertext()) for text in ElementTree.fromstring(static(page)).findall(".//{*}text")]
    assert (texts[5:21:2], texts[6:21:2]) == (numbers, column(page, "Softmax"))
    assert page.locator("attn-viz").get_attribute("data-figure").count("Expanded: “the”.") == 1


def test_in_a_causal_model_it_is_not_the_first_token_that_is_attended_to(show):
    page = show("causal")
    opened = state(page)["expanded"]
    weights = page.locator("attn-viz").evaluate("e => e.weights({layer: 1, head: 1}).then(found => found.values)")
    assert np.array(weights)[1:, 1:].max(axis=1).argmax() + 1 == opened
    assert column(page, "q · k")[opened + 1 :] == ["masked"] * (len(weights) - opened - 1)


@pytest.mark.parametrize("begin", ["lines", "held"])
def test_a_block_s_state_can_begin_with_the_lines(show, begin):
    page = show(begin)
    assert state(page)["expanded"] is None
    assert "Query" not in static(page)


def test_collapsed_it_is_a_head_view_of_one_head(show):
    page = show("lines")
    assert state(page) == {
        "stack": "self", "layer": 2, "head": 8, "filter": "all", "expanded": None, "selected": None,
    }  # fmt: skip
    assert page.get_by_text(re.compile("to see how a weight comes about")).is_visible()
    token(page, "left", 1).hover()
    settle(page)
    assert token(page, "right", 2).inner_text().split() == ["cat", "0.75"]
    assert "the → cat 0.75" in readout(page)
    token(page, "left", 1).click()
    assert state(page)["selected"] == {"side": "left", "index": 1}
    page.keyboard.press("Escape")
    assert state(page)["selected"] is None
    token(page, "right", 2).hover()
    settle(page)
    assert token(page, "left", 1).inner_text().split() == ["the", "0.75"]


def test_plus_expands_and_minus_collapses(show):
    page = show("lines")
    page.evaluate("document.addEventListener('attnviz-change', event => { window.told = event.detail })")
    button = plus(page, 2)
    assert button.is_visible()
    assert button.get_attribute("aria-expanded") == "false"
    button.hover()
    settle(page)
    assert token(page, "right", 0).inner_text().split() == ["[CLS]", "0.63"], "its lines are shown before it is pressed"
    button.click()
    assert state(page)["expanded"] == 2
    assert page.evaluate("window.told.expanded") == 2
    assert button.get_attribute("aria-expanded") == "true"
    headings = page.locator("attn-viz .neuron-heading").all_inner_texts()
    assert [heading.split("\n")[0] for heading in headings] == ["Query q", "Key k", "q × k", "q · k", "Softmax"]
    assert page.locator("attn-viz canvas").is_visible()
    button.click()
    assert state(page)["expanded"] is None
    assert page.locator("attn-viz .neuron-heading").count() == 0
    button.click()
    page.keyboard.press("Escape")
    assert state(page)["expanded"] is None


def test_another_token_is_previewed_and_taken(show):
    page = show("cat")
    plus(page, 2).click()
    before = column(page, "q · k")
    token(page, "left", 1).hover()
    assert readout(page).startswith("the → cat 0.75")
    assert column(page, "q · k") != before
    assert state(page)["expanded"] == 2
    page.mouse.move(5, 5)
    assert readout(page).startswith("cat →")
    assert column(page, "q · k") == before
    plus(page, 1).click()
    assert state(page)["expanded"] == 1
    token(page, "left", 4).click()
    assert state(page)["expanded"] == 4


def test_a_token_on_the_right_reads_its_numbers(show):
    page = show("cat")
    plus(page, 1).click()
    token(page, "right", 2).hover()
    assert re.search(r"the → cat: q·k × 0\.177 = \d\.\d\d; softmax 0\.75", readout(page))
    token(page, "right", 2).click()
    assert state(page) | {"selected": None} == state(page) | {"selected": None, "expanded": 1}
    assert state(page)["selected"] == {"side": "right", "index": 2}
    page.mouse.move(5, 5)
    assert "the → cat" in readout(page)
    page.keyboard.press("Escape")
    assert (state(page)["selected"], state(page)["expanded"]) == (None, 1), "first what is locked is set free"
    page.keyboard.press("Escape")
    assert state(page)["expanded"] is None


def test_a_neuron_reads_its_values(show):
    page = show("cat")
    plus(page, 2).click()
    settle(page)
    found = neurons(page, 2, 8)
    sheet = page.locator("attn-viz .strips-sheet").bounding_box()
    strips = [one.bounding_box() for one in page.locator("attn-viz .neuron-heading.strip").all()]
    cell = strips[0]["width"] / 32

    def point(strip, neuron, row):
        page.mouse.move(strips[strip]["x"] + (neuron + 0.5) * cell, sheet["y"] + 24 * row + 12)
        return readout(page).replace("−", "-")

    q, k = found["query"][2, 7], found["key"][4, 7]
    short = lambda value: f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"  # noqa: E731
    expected = f"cat → on · neuron 7: q {short(q)} × k {short(k)} = {short(q * k)}"
    assert point(1, 7, 4) == expected
    assert point(2, 7, 4) == expected
    assert point(0, 7, 2) == f"cat · neuron 7: q {short(q)}"
    assert "neuron" not in point(0, 7, 4), "the query's strip stands in its own row"
    page.mouse.click(strips[1]["x"] + 5, sheet["y"] + 24 * 4 + 12)
    assert state(page)["selected"] == {"side": "right", "index": 4}


def test_headings_explain_themselves(show):
    page = show("cat")
    plus(page, 2).click()
    settle(page)
    page.locator("attn-viz .neuron-heading").nth(2).hover()
    assert "blue where both have the same sign" in readout(page)
    ends = page.locator("attn-viz .spectrum-ends").first
    most = np.abs(neurons(page, 2, 8)["query"]).max()
    assert ends.inner_text().split() == [f"−{most:.1f}", "0", f"{most:.1f}"]


def test_layer_head_and_pairs(show):
    page = show("pair")
    plus(page, 2).click()
    select(page, "Layer").select_option("4")
    select(page, "Head").select_option("3")
    assert (state(page)["layer"], state(page)["head"], state(page)["expanded"]) == (4, 3, 2)
    whole = column(page, "Softmax")
    assert whole == [f"{weight:.2f}" for weight in softmax(neurons(page, 4, 3)["scores"])[2]]
    select(page, "Pairs").select_option("ab")
    cut = column(page, "Softmax")
    assert [float(weight) for weight in cut] == pytest.approx([float(weight) for weight in whole[6:]], abs=0.0051)
    assert token(page, "right", 0).inner_text().strip() == "the"
    select(page, "Pairs").select_option("ba")
    assert state(page)["expanded"] is None, "it is not among the tokens shown"
    assert page.locator("attn-viz .toggles button").count() == 5


def test_the_keyboard_alone(show):
    page = show("cat")
    select(page, "Head").focus()
    focused = "document.querySelector('attn-viz').shadowRoot.activeElement"
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate(f"{focused}.getAttribute('role')") == "option":
            break
    page.keyboard.press("ArrowDown")
    assert readout(page).startswith("the → cat 0.75")
    page.keyboard.press("Tab")
    assert is_focused(plus(page, 1)), "the button of the token that the keyboard comes from"
    page.keyboard.press("ArrowDown")
    assert is_focused(plus(page, 2))
    assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none"
    page.keyboard.press("Enter")
    assert state(page)["expanded"] == 2
    live = page.locator("attn-viz [aria-live]")
    expect(live).to_contain_text("Layer 2, head 8, expanded: cat → [CLS] 0.63")
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.getAttribute('role')") == "slider"
    first = readout(page)
    assert re.search(r"cat → \[CLS\] · neuron \d+: q", first)
    page.keyboard.press("Home")
    assert "neuron 0:" in readout(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert "cat → the · neuron 1:" in readout(page)
    assert page.evaluate(f"{focused}.getAttribute('aria-valuenow')") == "1"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert re.search(r"cat → the: q·k × 0\.177 = −0\.06", readout(page).replace("−0.061", "−0.06"))
    page.keyboard.press("]")
    assert state(page)["layer"] == 3
    page.keyboard.press("[")
    assert state(page)["layer"] == 2
    page.keyboard.press("Escape")
    assert state(page)["expanded"] is None


def test_plus_and_minus_keys(show):
    page = show("cat")
    token(page, "left", 0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("+")
    assert state(page)["expanded"] == 1
    page.keyboard.press("-")
    assert state(page)["expanded"] is None


def test_escape_closes_the_options_and_keeps_the_focus(show):
    page = show("cat")
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Copy link").focus()
    page.keyboard.press("Escape")
    settle(page)
    button = page.get_by_role("button", name="Options")
    assert button.get_attribute("aria-expanded") == "false"
    assert is_focused(button)


def test_state_can_be_set_and_is_checked(show):
    page = show("cat")
    set_state(page, layer=3, head=2, expanded=1, selected={"side": "right", "index": 4})
    assert state(page) == {
        "stack": "self", "layer": 3, "head": 2, "filter": "all", "expanded": 1,
        "selected": {"side": "right", "index": 4},
    }  # fmt: skip
    assert plus(page, 1).get_attribute("aria-expanded") == "true"
    for bad in ({"layer": 9}, {"head": 12}, {"filter": "ab"}, {"expanded": 8}, {"stack": "cross"}, {"x": 1}):
        name = page.locator("attn-viz").evaluate(
            "(element, bad) => { try { element.state = bad } catch (error) { return error.name } }", bad
        )
        assert name == "RangeError", bad


def test_what_is_masked_has_no_numbers(show):
    page = show("masked")
    last = token(page, "right", 0).locator("xpath=..").locator("[role=option]").count()
    set_state(page, expanded=2)
    assert column(page, "q · k")[3:] == ["masked"] * (last - 3)
    assert column(page, "Softmax")[3:] == ["0"] * (last - 3)
    assert sum(float(weight) for weight in column(page, "Softmax")) == pytest.approx(1, abs=0.02)
    token(page, "right", 4).hover()
    assert "masked, so its weight is 0" in readout(page)
    scores = page.locator("attn-viz").evaluate(
        "element => element.neurons({layer: 0, head: 0}).then(found => found.scores)"
    )
    assert all(
        (score == float("-inf")) == (col > row) for row, line in enumerate(scores) for col, score in enumerate(line)
    )


def test_encoder_decoder_and_cross_attention(show):
    page = show("cross")
    assert state(page)["stack"] == "cross"
    set_state(page, expanded=1)
    weights = column(page, "Softmax")
    assert sum(float(weight) for weight in weights) == pytest.approx(1, abs=0.06)
    select(page, "Attention").select_option("Decoder")
    assert (state(page)["stack"], state(page)["expanded"]) == ("decoder", None)
    set_state(page, expanded=1)
    assert column(page, "q · k")[2:] == ["masked"] * (len(column(page, "q · k")) - 2)
    for stack in ("encoder", "decoder", "cross"):
        found, weights = page.locator("attn-viz").evaluate(
            """(element, stack) => Promise.all([element.neurons({stack, layer: 0, head: 0}),
              element.weights({stack, layer: 0, head: 0})]).then(([n, w]) => [n.scores, w.values])""",
            stack,
        )
        assert np.abs(softmax(np.array(found)) - np.array(weights)).max() < 0.0039 + 1e-3, stack


def test_a_link_brings_the_state_with_it(show):
    page = show("cat")
    page.get_by_role("link", name="there").click()
    page.wait_for_function("document.querySelector('attn-viz').state.expanded === 2")
    assert state(page) == {
        "stack": "self", "layer": 3, "head": 5, "filter": "all", "expanded": 2,
        "selected": {"side": "right", "index": 4},
    }  # fmt: skip
    page.get_by_role("button", name="Options").click()
    page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text }")
    page.get_by_role("button", name="Copy link").click()
    assert page.evaluate("window.copied").endswith("#attnviz-1~layer=3&head=5&expanded=2&selected=right,4")


@pytest.mark.parametrize("expanded", [None, 2])
def test_it_can_be_saved(show, expanded):
    page = show("cat")
    set_state(page, expanded=expanded)
    page.get_by_role("button", name="Options").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save SVG").click()
    svg = ElementTree.parse(saved.value.path()).getroot()
    texts = ["".join(text.itertext()) for text in svg.findall(".//{*}text")]
    assert texts[0] == "Layer 2, head 8"
    assert texts.count("cat") == 2
    assert ("0.63" in texts) == (expanded is not None)
    assert len(svg.findall(".//{*}image")) == (0 if expanded is None else 1 + 2 * 8)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save PNG").click()
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")


# ---- looks


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("theme", ["mkdocs", "readthedocs"])
def test_it_fits(show, theme, width):
    page = show("both", theme, width=width)
    for figure in page.locator("attn-viz").all():
        figure.evaluate("element => { element.state = {expanded: 2} }")
        settle(page)
        box, parent = figure.bounding_box(), figure.locator("xpath=..").bounding_box()
        assert box["x"] >= parent["x"] - 1
        assert box["x"] + box["width"] <= parent["x"] + parent["width"] + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_the_numbers_scroll_into_view_under_their_headings(show):
    page = show("cat", width=360)
    set_state(page, expanded=2)
    strips = page.locator("attn-viz .strips")
    assert strips.evaluate("element => element.scrollWidth > element.clientWidth")
    sign = "element => getComputedStyle(element, '::before').content"
    to = page.locator("attn-viz .column.right")
    assert to.evaluate(sign) == '"›"', "there is more"
    strips.evaluate("element => { element.scrollLeft = 1000 }")
    settle(page)
    assert to.evaluate(sign) == "none"
    heading = page.locator("attn-viz .number-heading").last.bounding_box()
    number = page.locator("attn-viz .number").last.bounding_box()
    assert abs(heading["x"] + heading["width"] - number["x"] - number["width"]) < 1
    assert token(page, "right", 0).is_visible()


@pytest.mark.parametrize("width", [1280, 360])
def test_expanding_moves_nothing_below(show, width):
    page = show("lines", width=width)
    below = page.get_by_text("Below.", exact=True)
    before = below.bounding_box()["y"]
    plus(page, 2).click()
    settle(page)
    assert below.bounding_box()["y"] == before


def test_long_texts_scroll_and_draw_what_is_visible(show):
    page = show("long")
    set_state(page, expanded=3)
    scroller = page.locator("attn-viz .scroller")
    scroller.evaluate("element => { element.scrollTop = element.scrollHeight }")
    scores = neurons(page, 2, 8)["scores"][3]
    last = column(page, "q · k")[-1]
    assert last.replace("−", "-") == f"{scores[-1]:.1f}"
    assert page.locator("attn-viz canvas").evaluate("canvas => canvas.height") < 24 * len(scores)


def test_orange_is_negative_and_blue_positive(show):
    page = show("cat")
    set_state(page, expanded=2)
    query = neurons(page, 2, 8)["query"][2]
    edge = page.locator("attn-viz .neuron-heading.strip").first.bounding_box()
    sheet = page.locator("attn-viz .strips-sheet").bounding_box()
    cell = edge["width"] / 32
    colours = page.locator("attn-viz canvas").evaluate(
        "(canvas, xs) => xs.map(x => [...canvas.getContext('2d').getImageData(x, 2 * 24 + 12, 1, 1).data])",
        [edge["x"] - sheet["x"] + (neuron + 0.5) * cell for neuron in range(32)],
    )
    for value, (red, _, blue, _) in zip(query, colours, strict=True):
        if abs(value) > 0.5:
            assert (blue > red) == (value > 0)
