"""The menu of every view has its numbers as a table: those that programs get, and of too many the strongest."""

import re

import numpy as np
import pytest
from conftest import draw_all, settle
from test_accessibility import FIGURES

HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>t</title><meta name=viewport content='width=device-width'>"
)


@pytest.fixture(scope="module")
def figures(every_view):
    """The figure of each page, with the scripts of all pages, so that one page can show all of them in turn."""
    pages = {path.parent.name: path.read_text("utf-8") for path in sorted(every_view.glob("*/index.html"))}
    found = {name: re.search('<figure class="attnviz".*?</figure>', text, re.DOTALL) for name, text in pages.items()}
    places = {}  # of each script: those that it needs come before it
    for text in pages.values():
        for place, name in enumerate(re.findall(r'src="[./]*(assets/attnviz/[^"]+)"', text)):
            places[name] = max(place, places.get(name, 0))
    tags = "".join(f'<script src="{(every_view / name).as_uri()}"></script>' for name in sorted(places, key=places.get))
    return {name: figure[0] + tags for name, figure in found.items() if figure}


@pytest.fixture
def drawn(figures, visits):
    def drawn(view, **options):
        page = visits.fragment(HEAD, figures[view], **options)
        draw_all(page)
        return page

    return drawn


@pytest.fixture
def show(drawn):
    def show(view, change=None, **options):
        page = drawn(view, **options)
        if change:
            page.eval_on_selector("attn-viz", "(element, change) => { element.state = change }", change)
        settle(page)
        page.get_by_role("button", name="Options").click()
        page.get_by_role("button", name="Table").click()
        page.locator("attn-viz .table").wait_for()
        settle(page)
        return page

    return show


def headings(page):
    return page.locator("attn-viz .table thead tr > *").all_inner_texts()


def rows(page):
    lines = page.locator("attn-viz .table tbody tr").all()
    return [[" ".join(text.split()) for text in line.locator("> *").all_inner_texts()] for line in lines]


def values(page, request=None):
    return page.eval_on_selector("attn-viz", "(element, request) => element.values(request ?? {})", request)


def number(text):
    return float(re.search(r"[−-]?\d[\d.]*", text)[0].replace("−", "-"))


def test_predictions(show):
    page = show("tokens")
    table, found = rows(page), values(page)
    assert headings(page) == ["token", "position", "probability", "rank", "entropy", "likeliest"]
    assert [row[0] for row in table] == [each["token"].strip() for each in found]
    for at, (row, each) in enumerate(zip(table, found, strict=True)):
        assert row[1] == str(at)
        if each["probability"] is None:
            assert row[2:] == ["–", "–", "–", "given, not predicted"]
            continue
        expected = "< 0.01%" if each["probability"] < 0.0001 else None
        assert row[2] == expected or number(row[2]) == pytest.approx(100 * each["probability"], rel=0.01, abs=0.006)
        assert int(row[3]) == each["rank"]
        assert float(row[4]) == pytest.approx(each["entropy"], abs=0.0051)
        assert row[5].startswith(each["top"]["tokens"][0].strip())


def test_predict(show):
    page = show("predict")
    assert rows(page)[-1][0] == "what comes next"
    assert rows(page)[-1][5].split()[0] == values(page)["top"]["tokens"][0].strip()


def test_attributions(show):
    page = show("saliency")
    found = values(page)
    table = rows(page)
    assert [row[0] for row in table] == [token.strip() for token in found["inputs"]]
    assert [number(row[2]) for row in table] == pytest.approx(found["values"][0], rel=0.006, abs=1e-4)
    assert [number(row[3]) for row in table] == pytest.approx(np.multiply(100, found["shares"][0]), abs=0.06)
    assert "“saw”" in page.locator("attn-viz caption").inner_text()


@pytest.mark.parametrize("state", [{"cells": "top"}, {"cells": "actual", "show": "kl"}])
def test_lens(show, state):
    page = show("lens", state)
    found = values(page)
    assert headings(page) == ["token", "position", "embeddings", "layer 0", "layer 1"]
    for at, row in enumerate(rows(page)):
        for layer, cell in enumerate(row[2:]):
            each = found[layer][at]
            if state["cells"] == "top":
                assert cell.split()[0] == each["top"]["tokens"][0].strip()
                assert number(cell.split()[1]) == pytest.approx(
                    100 * each["top"]["probabilities"][0], rel=0.01, abs=0.06
                )
            elif each["rank"] is not None:
                assert cell.startswith(f"rank {each['rank']}, ")
                assert float(cell.split(", ")[-1]) == pytest.approx(each["kl"], abs=0.0051)
            else:
                assert cell == "–"


def test_activations(show):
    page = show("activations")
    for row, top in zip(rows(page), values(page)["top"], strict=True):
        assert [int(number(cell)) for cell in row[2:]] == [each["neuron"] for each in top]
        told = [number(cell.split(", ")[1]) for cell in row[2:]]
        assert told == pytest.approx([each["value"] for each in top], rel=0.006)


def test_factors(show):
    page = show("factors")
    (heading, *neurons), _, _, *table = rows(page)
    found = values(page)
    assert heading == "1. neuron"
    first = [factor[0] for factor in found["neurons"]]
    assert [cell.split(", ")[:2] for cell in neurons] == [
        [f"layer {each['layer']}", f"neuron {each['neuron']}"] for each in first
    ]
    told = np.array([[number(cell) for cell in row[1:]] for row in table])
    assert pytest.approx(np.array(found["strengths"]), rel=0.006, abs=1e-4) == told.T


def test_similarity(show):
    page = show("similarity", {"measure": "svcca"})
    told = np.array([[float(cell) for cell in row[1:]] for row in rows(page)])
    assert told == pytest.approx(np.array(values(page)["values"]), abs=0.0006)
    assert page.locator("attn-viz caption").inner_text() == "SVCCA of layers"


def test_both_sides_of_what_is_compared_have_a_table(show):
    page = show("compared")
    changed = rows(page)[-1]
    page.get_by_role("button", name="As it is").click()
    settle(page)
    assert changed[5].startswith("saw 46")
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Table").click()
    settle(page)
    assert rows(page)[-1][5].startswith("saw 98")


def test_how_a_weight_comes_about(show):
    page = show("neuron", {"expanded": 6})
    found = page.eval_on_selector("attn-viz", "element => element.neurons({layer: 1, head: 0})")
    scores = found["scores"][6]  # null, JSON's infinity, where it is masked
    weights = np.exp([score for score in scores if score is not None and np.isfinite(score)])
    table = rows(page)
    assert [row[0] for row in table] == ["the", "cat", "saw", "the", "dog", "and", "the", "cat"]
    assert "of “the” at 6" in page.locator("attn-viz caption").inner_text()
    assert table[7][2:-1] == ["masked"] * len(table[7][2:-1])
    assert [float(row[-1]) for row in table[:7]] == pytest.approx(weights / weights.sum(), abs=0.0051)
    assert float(table[7][-1]) == 0


def test_heads(show):
    page = show("model")
    named = [cell.get_attribute("aria-label") for cell in page.locator("attn-viz .cell").all()]
    for (head, what, share, largest), name in zip(rows(page), named, strict=True):
        assert name.lower().startswith(head)
        assert (f"mostly {what.split()[0]} " in name and f"({share} on average)" in name) or "no single" in name
        assert largest.split()[-1] == name.split()[-1]


def test_enter_on_a_head_tells_its_strongest_weights(show):
    page = show("model")
    page.locator("attn-viz .cell").nth(7).focus()
    page.keyboard.press("Enter")
    live = page.locator("attn-viz [aria-live]")
    live.filter(has_text="strongest").wait_for(state="attached")
    weights = page.eval_on_selector("attn-viz", "element => element.weights({layer: 1, head: 3})")
    matrix = np.array(weights["values"])[1:]  # the first token has no choice
    told = re.findall(r"(\w+)(?: \(position (\d)\))? → (\w+)(?: \(position (\d)\))? (\d\.\d\d)", live.text_content())
    assert [float(each[-1]) for each in told] == pytest.approx(np.sort(matrix.ravel())[:-4:-1], abs=0.0051)
    for row, at, col, to, weight in told:
        given = [int(at)] if at else [i for i, token in enumerate(weights["rows"]) if token.strip() == row]
        taken = [int(to)] if to else [i for i, token in enumerate(weights["cols"]) if token.strip() == col]
        assert weights["values"][given[0]][taken[0]] == pytest.approx(float(weight), abs=0.0051)


def test_of_a_large_matrix_each_row_tells_its_strongest(show):
    page = show("long")
    table = rows(page)
    assert headings(page) == ["token", "1.", "2.", "3.", "4.", "5.", "together"]
    assert len(table) == 60
    assert table[1][0] == "2 cat"
    assert re.fullmatch(r"\w+ \d+ \d\.\d{3}", table[-1][1]), "a token that occurs again has its position"


@pytest.mark.parametrize("view", FIGURES)
def test_the_menu_tells_where_a_figure_comes_from_and_has_a_table_that_scrolls_within_itself(drawn, view):
    page = drawn(view, width=360)
    assert page.locator("attn-viz .about").count() == 0
    page.get_by_role("button", name="Options", exact=True).first.click()
    settle(page)
    assert page.locator("attn-viz .options .about").count() == 1
    page.get_by_role("button", name="Table").click()
    table = page.locator("attn-viz .table")
    table.wait_for()
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert table.get_attribute("tabindex") == "0"
    assert table.bounding_box()["height"] <= 384
