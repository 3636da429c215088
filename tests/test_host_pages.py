"""The documentation's page of each host, followed by somebody who has nothing installed (`host_pages`)."""

import re
from pathlib import Path

import pypandoc
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, draw_all
from host_pages import PAGES

FIGURES = {  # files that the commands of a page make, with their figures; of a page that is not here any will do
    "mkdocs": {"site/index.html": 1, "site/api/index.html": 1},
    "properdocs": {"site/index.html": 1},
    "zensical": {"site/index.html": 1},
    "sphinx": {"site/index.html": 1, "site/other.html": 2},
    "python-markdown": {"site/index.html": 1, "site/fence.html": 1},
    "one-file": {"page.html": 1, "model.html": 1},
    "github": {},
    "jupyter": {},
    "generators": {"dist/index.html": 1},
    "quarto": {"index.html": 2, "site/index.html": 2},
    "notebooks": {
        "demo.html": 2,
        "site/demo/index.html": 2,
        "site/index.html": 1,
        "book/_build/index.html": 1,
        "book/_build/demo.html": 2,
    },
}
OTHER_HOSTS = ("jupyter", "notebooks")
"""Pages with sites that ask other hosts for fonts and scripts."""
SERVED = ("generators",)
"""Pages with sites that need a server."""
NODE = {"generators": "astro"}
"""The folders in `tests/node/` with what a page installs by npm."""
PROGRAMS = {"quarto": Path(pypandoc.get_pandoc_path()).parent}
"""Folders of programs that a reader has installed."""
WIDGET = 'script[type="application/vnd.jupyter.widget-view+json"]'
BY_THEIR_HOSTS = ("mystmd",)
"""Pages that the tests of their hosts follow, because these need more than packages."""


def test_every_page_installs_the_same():
    """The first command of each installs attnviz with what runs models; the extra of a host is beside."""
    pages = [ROOT / "README.md", ROOT / "example_site" / "docs" / "guide" / "first-block.md", *PAGES]
    first = [re.search(r'pip install "(?:mkdocs-)?attnviz\[([\w,]+)\]"', page.read_text("utf-8")) for page in pages]
    assert [page.stem for page, found in zip(pages, first, strict=True) if "torch" not in found[1].split(",")] == []


def test_every_host_has_its_line_in_the_workflow():
    text = (ROOT / "example_site" / "docs" / "guide" / "publish" / "github-actions.md").read_text("utf-8")
    assert [page.stem for page in PAGES if f"(../hosts/{page.name})" not in text] == ["jupyter", "notebooks"]


def test_every_host_is_in_the_comparison():
    text = (ROOT / "example_site" / "docs" / "guide" / "hosts.md").read_text("utf-8")
    assert [page.stem for page in PAGES if f"(hosts/{page.name})" not in text] == []


WITH_NEWEST_TORCH = ("jupyter",)
"""Pages that are followed with the newest torch and transformers; with others, those of the tests run models."""
FOLLOWED = [page for page in PAGES if page.stem not in BY_THEIR_HOSTS]


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_a_page_works_in_a_new_environment(page, reader, request):
    if page.stem in NODE:
        reader.add_node(NODE[page.stem])
    if page.stem in PROGRAMS:
        reader.add_programs(PROGRAMS[page.stem])
    reader.linked = page.stem not in WITH_NEWEST_TORCH
    reader.follow(page)
    paths = [path for path in reader.folder.rglob("*.html") if "node_modules" not in path.parts]
    pages = {path: BeautifulSoup(path.read_text(), "html5lib") for path in paths}
    drawn = {path: len(html.select("figure.attnviz attn-viz")) for path, html in pages.items()}
    figures = {path.relative_to(reader.folder).as_posix(): count for path, count in drawn.items() if count}
    assert figures == FIGURES.get(page.stem, figures)
    assert figures or list(reader.folder.rglob("*.svg")) or any(html.select(WIDGET) for html in pages.values())
    assert not [path for path, html in pages.items() if html.select("[role=alert]")]
    for path, html in pages.items() if page.stem not in OTHER_HOSTS else ():
        assert not html.select('script[src^="http"], link[rel=stylesheet][href^="http"]'), path
    if figures and page.stem not in OTHER_HOSTS + SERVED:
        if page.stem == "zensical":  # its search asks for this file when there is no server, and it is not there
            (reader.folder / "site" / "search.js").touch()
        draw_all(request.getfixturevalue("open_page")(reader.folder / next(iter(figures))))
