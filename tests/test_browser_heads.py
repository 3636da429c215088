"""The heads view in a browser: walking, choosing and sorting heads, and the head view of a chosen head's text."""

import pytest
from conftest import draw_all, in_no_time, settle

TEXT = "the cat saw the dog and the cat ran"


@pytest.fixture
def page(site, share, visits):
    """Return a page with an index of heads over one text, and a head view of the same text."""
    site.write(
        "index.md",
        f"```attention\nmodel: induction\ntext: {TEXT}\nview: heads\nid: heads\n```\n\n"
        f"```attention\nmodel: induction\ntext: {TEXT}\nid: head\n```\n",
    )
    page = visits.page(share(site, "--strict").folder / "site" / "index.html")
    draw_all(page)
    settle(page)
    return page


def figure(page):
    return page.locator("#heads attn-viz")


def state(page, *names):
    found = figure(page).evaluate("figure => figure.state")
    return tuple(found[name] for name in names)


def change(page, **parts):
    figure(page).evaluate("(figure, parts) => { figure.state = parts; }", parts)
    settle(page)


def readout(page):
    return figure(page).locator(".panel-readout").inner_text()


def values(page, measure):
    return figure(page).evaluate("(figure, measure) => figure.values({measure})", measure)["values"]


def test_arrow_keys_walk_from_head_to_head_and_enter_chooses(page):
    stage = figure(page).locator(".head-stage")
    stage.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    entropy = values(page, "entropy")
    assert readout(page).startswith("Layer 1, head 1: ")
    assert f"entropy {entropy[1][1]:.2f} nats" in readout(page)
    page.keyboard.press("End")
    assert readout(page).startswith("Layer 1, head 3: ")
    page.keyboard.press("ArrowDown")  # there is no other layer
    assert readout(page).startswith("Layer 1, head 3: ")
    page.keyboard.press("Enter")
    settle(page)
    assert state(page, "layer", "head", "text") == (1, 3, 0)
    assert figure(page).locator(".telling [role=option]").count() > 10
    page.keyboard.press("Escape")
    settle(page)
    assert state(page, "layer", "head") == (None, None)
    assert figure(page).locator(".telling").count() == 0


def test_what_is_walked_to_is_told(page):
    figure(page).locator(".head-stage").focus()
    page.evaluate(
        """() => {
          window.heard = [];
          const live = document.querySelector('#heads attn-viz').shadowRoot.querySelector('[aria-live]');
          new MutationObserver(() => heard.push(live.textContent)).observe(live, {childList: true, subtree: true});
        }"""
    )
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        in_no_time(page)
    heard = page.evaluate("heard")
    assert heard[0].startswith("Heads: entropy by layer: Layer 0, head 0: ")
    assert heard[1].startswith("Layer 1, head 0: ")


def test_a_chosen_head_shows_the_weights_that_a_head_view_shows(page):
    for layer, head in ((0, 1), (1, 2)):
        change(page, layer=layer, head=head)
        section = figure(page).locator(".telling")
        assert section.get_attribute("aria-label") == f"Layer {layer}, head {head}: most telling texts"
        section.get_by_role("button", name="Options").click()
        special = section.get_by_label("Special tokens")
        if special.count():
            special.check()
        section.get_by_role("button", name="Table").click()
        settle(page)
        rows = section.locator(".table tbody tr").all()
        shown = [[float(cell) for cell in row.locator("td").all_inner_texts()] for row in rows]
        request = {"layer": layer, "head": head}
        weights = page.locator("#head attn-viz").evaluate("(figure, request) => figure.weights(request)", request)
        assert shown == [pytest.approx(row, abs=0.00051) for row in weights["values"]]
        change(page, layer=None, head=None)


def test_escape_frees_the_token_first_and_then_the_head(page):
    change(page, layer=1, head=2)
    token = figure(page).locator(".telling .left [role=option]").nth(3)
    token.click()
    page.mouse.move(0, 0)
    settle(page)
    assert figure(page).locator(".telling [aria-selected=true]").count() == 1
    page.keyboard.press("Escape")
    settle(page)
    assert figure(page).locator(".telling [aria-selected=true]").count() == 0
    assert state(page, "layer", "head") == (1, 2)
    page.keyboard.press("Escape")
    settle(page)
    assert state(page, "layer", "head") == (None, None)
    focused = figure(page).evaluate("figure => figure.shadowRoot.activeElement?.className ?? ''")
    assert "head-stage" in focused, "the keyboard is not lost with the section"


def test_the_table_is_sorted_by_the_name_of_a_column(page):
    change(page, show="table")
    table = figure(page).locator(".table table")
    heading = table.locator("th", has_text="entropy").first
    assert heading.get_attribute("aria-sort") == "none"
    at = heading.evaluate("cell => cell.cellIndex")
    heading.get_by_role("button").click()
    settle(page)

    def column():
        cells = table.locator(f"tbody tr > :nth-child({at + 1})").all_inner_texts()
        return [float(cell) for cell in cells]

    entropy = sorted((value for layer in values(page, "entropy") for value in layer), reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    assert column() == pytest.approx(entropy, abs=0.0051)
    heading.get_by_role("button").click()
    settle(page)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column() == pytest.approx(entropy[::-1], abs=0.0051)
    table.locator("tbody button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    settle(page)
    by_entropy = [
        (value, layer, head) for layer, row in enumerate(values(page, "entropy")) for head, value in enumerate(row)
    ]
    second = sorted(by_entropy)[1]
    assert state(page, "layer", "head") == second[1:]


def test_a_grid_has_each_head_where_it_belongs(page):
    change(page, show="grid", color="entropy")
    stage = figure(page).locator(".head-stage")
    box = stage.bounding_box()
    cells = stage.locator("rect").all()
    assert len(cells) == 8
    fifth = cells[5].bounding_box()
    page.mouse.move(fifth["x"] + fifth["width"] / 2, fifth["y"] + fifth["height"] / 2)
    assert readout(page).startswith("Layer 1, head 1: ")
    page.mouse.move(box["x"] + 4, box["y"] + 4)  # the corner is no cell
    assert readout(page).startswith("Point at a head")
    texts = stage.locator("text.on, text.ink").all_text_contents()
    flat = [value for layer in values(page, "entropy") for value in layer]
    assert [float(text) for text in texts] == pytest.approx(flat, abs=0.0051)


def test_a_state_that_cannot_be_is_refused_by_name(page):
    def refused(parts):
        return figure(page).evaluate(
            "(figure, parts) => { try { figure.state = parts; } catch (error) { return error.message; } }", parts
        )

    assert refused({"x": "entropi"}).startswith("x entropi: not one of layer, ")
    assert refused({"layer": 7, "head": 0}) == "layer 7: not one of 0, 1"
    assert refused({"layer": 0, "head": 4}) == "head 4: not a number from 0 to 3"
    assert refused({"show": "plot"}).startswith("show plot: not one of scatter, map")
