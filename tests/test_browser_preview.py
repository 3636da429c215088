"""The first picture of a long text needs no data file: its lines come with the page, the layer follows."""

import re
import time

import pytest
from conftest import becomes, draw_all, in_no_time, settle

LONG = " ".join(f"Sentence number {n} says that dogs chase cats, and cats chase mice." for n in range(8))
DATA = re.compile(r"/[0-9a-f]{64}\.js$")
PICTURE = "element => element.shadowRoot.querySelector('canvas').toDataURL()"


@pytest.fixture
def built(site, share):
    site.write("index.md", f"# Page\n\n```attention\nmodel: minilm\ntext: {LONG}\nlayer: 3\n```\n")
    return share(site, "--strict").folder / "site" / "index.html"


def test_the_first_picture_is_there_while_its_layer_is_not(open_page, built):
    page = open_page("about:blank")
    waiting = []
    page.route(DATA, lambda route: waiting.append(route))
    page.goto(built.as_uri(), wait_until="domcontentloaded")  # a held request may hold "load", too
    draw_all(page)
    element = page.locator("attn-viz")
    first = element.evaluate(PICTURE)
    becomes(page, lambda: len(waiting), 1)
    page.evaluate("inNoTime()")
    assert len(waiting) == 1
    share = element.locator(".share").inner_text()
    assert "drawn" in share
    element.locator(".left [role=option]").nth(2).hover()
    element.locator(".readout", has_text="Loading layer 3").wait_for()
    page.mouse.move(0, 0)
    waiting[0].continue_()
    element.locator(".readout", has_text="Point at a token").wait_for()
    settle(page)
    assert element.evaluate(PICTURE) == first  # nothing moves when the layer has come
    assert element.locator(".share").inner_text() == share
    element.locator(".left [role=option]").nth(2).hover()
    element.locator(".readout", has_text="→").wait_for()


def test_programs_get_whole_layers(open_page, built):
    """`weights()` never reads a preview."""
    page = open_page(built)
    draw_all(page)
    values = page.eval_on_selector("attn-viz", "e => e.weights({ layer: 3, head: 0 })")["values"]
    assert all(abs(sum(row) - 1) < 0.05 for row in values)


FILES = "element => JSON.parse(element.dataset.figure).stacks.self.layers.map(({ file, layer }) => [file, layer])"


def opened(page, built):
    """The figure, and the layers whose files have been asked for, in this order."""
    asked = []
    page.on("request", lambda request: asked.extend(DATA.findall(request.url)))
    page.goto(built.as_uri())
    draw_all(page)
    element = page.locator("attn-viz")
    layers = {f"/{file}": layer for file, layer in element.evaluate(FILES)}
    return element, lambda: [layers[path] for path in asked]


def test_the_next_layer_is_fetched_ahead_for_a_reader_who_is_about_to_turn_to_it(open_page, built):
    page = open_page("about:blank")
    element, asked = opened(page, built)
    becomes(page, asked, [3])
    in_no_time(page)
    assert asked() == [3]
    element.locator("select").hover()
    becomes(page, asked, [3, 4])
    element.locator(".left [role=option]").first.focus()
    turned = time.monotonic()
    page.keyboard.press("]")
    becomes(page, asked, [3, 4, 5])
    assert time.monotonic() > turned + 0.3, "the layer that is turned to comes first"
    page.keyboard.press("]")
    in_no_time(page)
    assert asked() == [3, 4, 5]


AT_ONCE = """async (element, [state, layer]) => {
  const picture = () => [...element.shadowRoot.querySelectorAll("canvas")].map((each) => each.toDataURL()).join();
  const before = picture();
  element.state = state;
  if (layer !== null) await element.weights({ layer, head: 1 });
  for (let i = 0; i < 50; i++) await null;
  return picture() !== before;
}"""
"""Sets a state, waits for a layer's weights where one is given, and tells whether something else is drawn in the same
task: no frame comes between."""


def test_a_layer_is_drawn_in_the_task_that_has_its_weights(open_page, built, every_view):
    page = open_page(built)
    draw_all(page)
    element = page.locator("attn-viz")
    assert element.evaluate(AT_ONCE, [{"layer": 4}, 4])
    settle(page)
    assert element.evaluate(AT_ONCE, [{"layer": 3}, None]), "one that was there before needs no wait at all"

    page = open_page(every_view / "model" / "index.html")
    draw_all(page)
    element = page.locator("attn-viz")
    first, other = ({"open": {"layer": layer, "head": 1}} for layer in (0, 1))
    assert element.evaluate(AT_ONCE, [first, 0])
    settle(page)
    assert element.evaluate(AT_ONCE, [other, 1])
    settle(page)
    assert element.evaluate(AT_ONCE, [first, None])


def test_nothing_is_fetched_ahead_for_a_reader_who_saves_data(open_page, built):
    page = open_page("about:blank")
    page.add_init_script("Object.defineProperty(navigator, 'connection', { value: { saveData: true } })")
    element, asked = opened(page, built)
    becomes(page, asked, [3])
    element.locator("select").hover()
    in_no_time(page)
    assert asked() == [3]
