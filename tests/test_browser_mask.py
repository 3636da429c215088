"""Pairs of tokens that are not allowed are shaded in views of attention, and told in words."""

import pytest
from conftest import ROOT, Site, draw_all, settle

TEXT = "the rabbit quickly hopped over the fence and anna found her golden key , and the rabbit quickly"
PAGE = "".join(
    f"```attention\nmodel: windows\ntext: {TEXT}\nview: {view}\nlayer: 2\nid: {view}\n{more}\n```\n\n"
    for view, more in (("head", "state: selected=left,14"), ("matrix", "head: 1"), ("neuron", ""), ("mask", ""))
)


@pytest.fixture(scope="module")
def built(shared_cache, tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("masks"), shared_cache)
    site.settings["models"]["windows"] = str(ROOT / "example_site" / "models" / "windows")
    site.write("index.md", PAGE)
    made = site.build("--strict")
    assert made.returncode == 0, made.log
    return made.folder / "site" / "index.html"


def test_what_is_not_allowed_is_shaded(built, visits):
    page = visits.page(built)
    draw_all(page)
    settle(page)
    barred = "figure => [...figure.shadowRoot.querySelectorAll('.right > .barred')].map(row => +row.dataset.index)"
    outside = [*range(7), 15, 16, 17]
    head = page.locator("attn-viz").nth(0)
    assert head.evaluate(barred) == outside, "a window of eight tokens ends with token 14"
    assert head.evaluate("figure => { figure.state = {layer: 5}; return figure.updateComplete.then(() => 0) }") == 0
    settle(page)
    assert head.evaluate(barred) == [15, 16, 17], "layer 5 sees all tokens before"
    neuron = page.locator("attn-viz").nth(2)
    for state in ({"expanded": 14}, {"expanded": None, "selected": {"side": "left", "index": 14}}):
        neuron.evaluate("(figure, state) => { figure.state = state }", state)
        settle(page)
        assert neuron.evaluate(barred) == outside, state


def test_a_pair_that_is_not_allowed_is_told(built, visits):
    page = visits.page(built)
    draw_all(page)
    matrix, mask = page.locator("attn-viz").nth(1), page.locator("attn-viz").nth(3)
    for figure, words, line in (
        (matrix, "0.000, not allowed", ".readout"),
        (mask, "may not attend to", ".panel-readout"),
    ):
        figure.evaluate(
            "(figure, state) => { figure.state = state }",
            {"cell": {"row": 14, "col": 3}} if figure is matrix else {"row": 14, "col": 3},
        )
        settle(page)
        assert words in figure.locator(line).inner_text()
    assert "shaded: not allowed" in matrix.locator("p.legend").inner_text()
    values = mask.evaluate("figure => figure.values({layer: 2})")
    assert [sum(row) for row in values["values"]] == [*range(1, 9), *[8] * 10]
    assert values["kind"] == "sliding window of 8 tokens"
