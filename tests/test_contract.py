"""The contract between Python and TypeScript: the declaration of `data-figure`, and computations that are done on both
sides.

Inputs and results of the computations are in `frontend/test/computations.json`; `computations.test.ts` holds the
browser's side against them.
"""

import json
import re
import zlib

import figure_types
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT
from pydantic import TypeAdapter
from test_accessibility import FIGURES, SECOND

from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.attention.options import WeightOptions
from mkdocs_attnviz.views.attention.patterns import patterns
from mkdocs_attnviz.views.attention.weights import WEIGHT, Layer
from mkdocs_attnviz.views.attention.window import side
from mkdocs_attnviz.views.figure_data import ComparedFigure, Figure
from mkdocs_attnviz.views.predict import percent
from mkdocs_attnviz.views.svg.document import palette
from mkdocs_attnviz.views.svg.expert_colours import expert_colour
from mkdocs_attnviz.views.svg.heatmap import levels
from mkdocs_attnviz.views.svg.inks import ink_on, luminance
from mkdocs_attnviz.views.svg.lines import opacity

SHARED = json.loads((ROOT / "frontend" / "test" / "computations.json").read_text("utf-8"))
SITE = ROOT / "example_site" / "site"
OF_EACH = set(Figure.__annotations__) - {"view", "theme"}
"""The keys that a figure has in its page beside what its view writes."""


def test_typescript_has_the_declarations_of_python():
    written = figure_types.PATH.read_text("utf-8")
    assert written == figure_types.declarations(), "run `python tests/figure_types.py`"


@pytest.mark.parametrize("name", VIEWS)
def test_each_of_our_views_declares_its_data(name):
    assert VIEWS[name].data is not None


def undeclared(figure):
    """Return a figure's data, and what is left of it by what its view declares."""
    if figure["view"] == "compared":
        inner = [undeclared(figure[side]) for side in ("of", "before")]
        outer = {name: value for name, value in figure.items() if name not in ("of", "before")}
        checked = TypeAdapter(ComparedFigure).validate_python(figure)
        declared = {name: checked[name] for name in checked if name not in ("of", "before")}
        return [outer, *(one for one, _ in inner)], [declared, *(other for _, other in inner)]
    own = {name: value for name, value in figure.items() if name not in OF_EACH}
    adapter = TypeAdapter(VIEWS[figure["view"]].data)
    checked = adapter.dump_python(adapter.validate_json(json.dumps(own)), mode="json")
    return own, checked


def figures(folder):
    """Yield the page and the data of each figure below a folder."""
    for path in sorted(folder.rglob("*.html")):
        for element in re.findall(r"<attn-viz\b[^>]*>", path.read_text("utf-8")):
            yield path.name, json.loads(BeautifulSoup(element, "html.parser").find("attn-viz")["data-figure"])


def test_pages_hold_what_is_declared_and_nothing_else(every_view):
    found = list(figures(every_view))
    assert {figure["view"] for _, figure in found} == {SECOND.get(name, name) for name in FIGURES}
    for page, figure in found:
        held, declared = undeclared(figure)
        assert held == declared, (page, figure["view"])


def test_the_example_site_holds_what_is_declared():
    found = list(figures(SITE))
    assert found, "run `make site` first"
    for page, figure in found:
        held, declared = undeclared(figure)
        assert held == declared, (page, figure["view"])


def test_inks_are_those_of_the_browser():
    for colour, background, share, ink in SHARED["inks"]:
        assert ink_on(colour, background, share) == ink, (colour, background, share)


def test_colours_of_experts_are_those_of_the_browser():
    schemes = palette("auto")
    for expert, experts, dark, colour in SHARED["experts"]:
        scheme = schemes.dark if dark else schemes.base
        assert expert_colour(expert, experts, scheme) == colour
        one, other = sorted(map(luminance, (colour, scheme["background"])))
        assert (other + 0.05) / (one + 0.05) >= 3, "the contrast with the page"


def test_shades_are_those_of_the_browser():
    for weight, most, contrast, level in SHARED["shades"]:
        assert levels([[weight, most]], contrast)[0][0] == level, (weight, most, contrast)


def test_numbers_are_written_as_in_the_browser():
    for probability, text in SHARED["percents"]:
        assert percent(probability) == text


def test_lines_are_as_strong_as_in_the_browser():
    for step, heads, strength in SHARED["opacities"]:
        assert opacity(WEIGHT[step], heads) == pytest.approx(strength, abs=1e-6)


def test_words_and_tokens_are_arranged_as_in_the_browser():
    for case in SHARED["sides"]:
        joined = {int(first): text for first, text in case["sequence"].get("joined", {}).items()}
        options = WeightOptions(**{name: case[name] for name in ("merge_words", "special_tokens", "filter")})
        shown = side({**case["sequence"], "joined": joined}, options, case["sentence"])
        assert (shown.texts, shown.special, shown.groups) == (case["texts"], case["special"], case["groups"]), case


def test_patterns_are_found_that_the_browser_reads():
    case = SHARED["patterns"]
    count, heads = len(case["tokens"]), len(case["steps"])
    steps = bytes(head[row][col] for head in case["steps"] for col in range(count) for row in range(count))
    layer = Layer(zlib.compress(steps), count, count, heads)
    assert patterns(layer, heads, square=True, special=case["special"]).hex() == case["records"]
