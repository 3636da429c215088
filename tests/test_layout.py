"""Figures in the places and settings that readers have: no voids, nothing overprinted or cut, no page too wide."""

import re

import chromium
import firefox
import numpy as np
import pytest
from conftest import draw_all, settle
from test_example_site import built
from test_frontend import STATIC

from mkdocs_attnviz import model_view
from mkdocs_attnviz.figure.scripts import with_needed
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.view import own_script


@pytest.mark.flaky(reruns=1)
def test_every_view_in_firefox():
    path = chromium.firefox()
    if path is None:
        pytest.skip("there is no Firefox")
    found = firefox.look_at(path, [built(f"guide/views/{name}.md") for name in VIEWS])
    assert all(page["drawn"] > 0 for page in found.values())
    assert {name: page["errors"] for name, page in found.items() if page["errors"]} == {}
    assert {name: page["problems"] for name, page in found.items() if page["problems"]} == {}


PLACES = {
    "flex row": ("display:flex;gap:16px;width:600px", "", "flex:1 1 300px;min-width:0"),
    "flex row, own width": ("display:flex;gap:16px;width:600px", "", ""),
    "grid": ("display:grid;grid-template-columns:1fr 1fr;width:640px", "", ""),
    "two columns": ("columns:2;width:700px", "", ""),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_figure_does_not_widen_its_place_when_it_draws(site, open_page, place):
    """Its neighbour stays where it was, and a column does not split the figure."""
    outer, left, right = PLACES[place]
    block = "```attention\nmodel: minilm\ntext: The cat sat on the mat\n```\n"
    site.config["markdown_extensions"].append("md_in_html")
    site.write(
        "index.md",
        f'<div style="{outer}" markdown>\n<div id="figure" style="{left}" markdown>\n\n{block}\n</div>\n'
        f'<div id="text" style="{right}">{"Some words beside the figure. " * 8}</div>\n</div>\n',
    )
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    widths = "['#figure', '#text'].map(id => document.querySelector(id).getBoundingClientRect().width)"
    still = open_page(built.folder / "site" / "index.html", javascript=False)
    before = still.evaluate(widths)
    page = open_page(built.folder / "site" / "index.html")
    draw_all(page)
    settle(page)
    assert page.evaluate(widths) == pytest.approx(before, abs=1)
    assert min(before) > 100
    assert page.locator("figure.attnviz").evaluate("figure => figure.getClientRects().length") == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_small_pictures_are_no_higher_than_the_page_has_kept_for_them(open_page, tmp_path):
    """They are larger where a figure is too narrow for all heads, so that a finger meets one of them."""
    shapes = [(1, 12), (1, 32), (3, 32), (8, 32)]
    generator = np.random.default_rng(0)
    html = [
        model_view([generator.dirichlet(np.ones(6), (1, heads, 6))] * layers, ["w"] * 6, html_action="return").data
        for layers, heads in shapes
    ]
    figures = "".join(re.search("<figure.*</figure>", each, re.DOTALL)[0] for each in html)
    page = f"<!doctype html><title>t</title><body><div>{figures}</div>"
    (tmp_path / "index.html").write_text(page)
    heights = "[...document.querySelectorAll('attn-viz')].map(each => each.offsetHeight)"
    for width in (320, 640, 720):
        page = open_page(tmp_path / "index.html", width=width)
        before = page.evaluate(heights)
        for script in with_needed(own_script("model")):
            page.add_script_tag(path=STATIC / script.rpartition("/")[2])
        draw_all(page)
        settle(page)
        assert page.evaluate(heights) == before, width


def test_a_finger_that_passes_over_a_long_figure_moves_the_page(browser):
    page = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).new_page()
    page.goto(built("guide/long-inputs.md").as_uri())
    draw_all(page)
    scroller = page.locator("#long-head attn-viz .scroller")
    assert scroller.evaluate("e => e.clientHeight <= 0.6 * innerHeight && e.scrollHeight > 2 * e.clientHeight")
    overflow = "e => getComputedStyle(e).overflowY"
    assert scroller.evaluate(overflow) == "hidden"
    scroller.locator("[role=option]").first.tap()
    settle(page)
    assert scroller.evaluate(overflow) == "auto"
    page.set_viewport_size({"width": 740, "height": 360})
    assert scroller.evaluate("e => e.clientHeight <= 0.6 * innerHeight")
    page.context.close()
