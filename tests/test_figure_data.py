"""What `data-figure` holds is declared once: the pages hold what Python declares, and TypeScript has the same."""

import json

import figure_types
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT
from pydantic import TypeAdapter
from test_accessibility import FIGURES

from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.figure_data import ComparedFigure, Figure

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
        for element in BeautifulSoup(path.read_text("utf-8"), "html.parser").select("attn-viz"):
            yield path.name, json.loads(element["data-figure"])


def test_pages_hold_what_is_declared_and_nothing_else(every_view):
    found = list(figures(every_view))
    assert {figure["view"] for _, figure in found} == set(FIGURES)
    for page, figure in found:
        held, declared = undeclared(figure)
        assert held == declared, (page, figure["view"])


def test_the_example_site_holds_what_is_declared():
    found = list(figures(SITE))
    assert found, "run `make site` first"
    for page, figure in found:
        held, declared = undeclared(figure)
        assert held == declared, (page, figure["view"])
