"""Each view in WebKit: it draws from disk without an error, nothing is wrong with its layout, and keys walk in it."""

import chromium
import layouts
import pytest
import webkit
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from test_example_site import built

from mkdocs_attnviz.views import VIEWS

TOKEN = ".flow [role=option]"
WALKED = {
    "head": ".left [role=option]",
    "neuron": ".left [role=option]",
    "model": ".cell",
    "lens": "td",
    "tokens": TOKEN,
    "saliency": TOKEN,
    "factors": TOKEN,
}
"""Elements of a view between which arrow keys move the focus."""
STYLE = "document.head.insertAdjacentHTML('beforeend', `<style>${arguments[0]}</style>`);"
FIRST = """
const first = document.querySelector("attn-viz").shadowRoot.querySelector(arguments[0]);
first.scrollIntoView({ block: "center" });
return first;
"""
FOCUSED = """
const { activeElement } = document.querySelector("attn-viz").shadowRoot;
return [activeElement !== arguments[0], activeElement.matches(":focus-visible")];
"""

CUT = """
const { shadowRoot } = document.querySelector("#long-matrix attn-viz");
return [...shadowRoot.querySelectorAll(".labels")].map(labels => {
  const [edge, first] = [labels, labels.firstElementChild].map(each => each.getBoundingClientRect());
  const standsOut = first.top < edge.top - 1 || first.left < edge.left - 1;
  return [standsOut, getComputedStyle(labels).overflow];
});
"""


@pytest.fixture(scope="module")
def browser():
    driver = chromium.webkit()
    if driver is None:
        pytest.skip("there is no WebKitWebDriver, or no Xvfb")
    with webkit.browser(driver) as browser:
        yield browser


def test_every_view(browser):
    for view in VIEWS:
        browser.get(built(f"guide/views/{view}.md").as_uri())
        browser.execute_script(STYLE, layouts.ARTICLE)
        drawn = browser.execute_async_script(webkit.DRAW)
        assert drawn in range(1, 50), f"{view}: {drawn}"
        assert browser.execute_script("return eval(arguments[0])", layouts.AUDIT) == {}, view
        if view in WALKED:
            # WebKit takes a focus that a script moves for the mouse's where a click came before.
            first = browser.execute_script(FIRST, WALKED[view])
            ActionChains(browser).move_to_element(first).click().send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT).perform()
            assert browser.execute_script(FOCUSED, first) == [True, True], view
        assert browser.execute_script("return problems") == [], view


def test_the_first_labels_of_a_long_text_are_whole(browser):
    """They are larger than their cells, and WebKit cuts what stands out of a clipped box."""
    browser.get(built("guide/long-inputs.md").as_uri())
    assert browser.execute_async_script(webkit.DRAW) == 3
    assert browser.execute_script(CUT) == [[True, "visible"], [True, "visible"]]
