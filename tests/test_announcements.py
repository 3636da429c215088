"""Announcements to a screen reader while a reader moves through a figure: from data, once, and without mistaking
tokens."""

import re

import pytest
from conftest import draw_figures, in_no_time

TEXT = "the cat saw the dog and the cat ran"
VIEWS = ("head", "matrix", "neuron", "tokens", "predict", "lens", "activations", "factors")
HEARD = """element => {
  window.heard = [];
  const live = element.shadowRoot.querySelector('[aria-live]');
  new MutationObserver(() => heard.push(live.textContent)).observe(live, {childList: true, subtree: true});
}"""


@pytest.fixture
def focus(site, share, visits):
    """`focus(view, selector)` → the page, whose figure of a view has the keyboard in it, and is listened to."""
    blocks = (f"```attention\nmodel: induction\ntext: {TEXT}\nview: {view}\nid: {view}\n```\n" for view in VIEWS)
    site.write("index.md", "\n".join(blocks))
    address = share(site, "--strict").folder / "site" / "index.html"

    def focus(view, selector):
        page = visits.page(address, within=f"#{view}")
        draw_figures(page, f"#{view}")
        page.locator(f"#{view} attn-viz").evaluate(HEARD)
        page.locator(f"#{view} attn-viz {selector}").first.focus()
        page.keyboard.press("Shift")  # a key that does nothing: from now on the keyboard is what counts
        return page

    return focus


def press(page, *keys):
    """Press keys, each once the one before was announced or nothing more is to be said, and return what was heard."""
    for key in keys:
        page.keyboard.press(key)
        in_no_time(page)
    return page.evaluate("heard")


def test_only_news_are_told_and_tokens_that_occur_twice_have_a_position(focus):
    page = focus("head", ".left [role=option]")
    heard = press(page, "ArrowDown", "ArrowDown", "ArrowDown")
    assert len(heard) == 3
    assert heard[0].startswith("Layer 0, ")
    assert heard[0].count("cat (position 1) → ") == 1, "there is another cat"
    assert heard[1].startswith("saw → "), "neither the layer again, nor a position of the only saw"
    assert heard[2].startswith("the (position 3) → ")
    assert press(page, "]")[3].startswith("Layer 1, ")


def test_nothing_is_said_twice(focus):
    page = focus("matrix", ".heat-map")
    heard = press(page, "ArrowDown", "ArrowUp", "ArrowUp", "ArrowUp")
    assert len(heard) == 1, heard
    assert re.fullmatch(r"Layer 0, head 0: the \(position 0\) → the \(position 0\): \d\.\d{3}", heard[0])


SAID = {
    "tokens": (".flow [role=option]", r"(Tokens: )?\S+.*: \d.*%, rank \d+\. \S+ \d[\d.]*%; \S+ \d[\d.]*%; \S+ .*"),
    "predict": (".flow [role=option][tabindex='0']", r".*these 10 together: .*%.*\. \S+ \d[\d.]*%; .*"),
    "lens": ("td", r"(Logit lens: )?layer \d, after 1 cat.*\. \S+ [\d.]+%; .*"),
    "activations": (".neuron-map", r"(Layer 0: )?.*: neuron \d+, −?[\d.]+\. neuron \d+, −?[\d.]+; neuron .*"),
    "factors": (".flow [role=option]", r"(Factors.*: )?.*: factor \d, [\d.]+\. factor \d, [\d.]+; .*"),
}


@pytest.mark.parametrize("view", SAID)
def test_lists_are_told_with_their_pauses(focus, view):
    selector, said = SAID[view]
    heard = press(focus(view, selector), "ArrowLeft" if view == "predict" else "ArrowRight", "ArrowDown")
    assert heard
    assert re.fullmatch(said, heard[-1]), heard[-1]
