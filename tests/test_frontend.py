"""The committed front end is what its sources give, and stays small."""

import gzip
import json
import re
import shutil
import subprocess

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, draw_all

from mkdocs_attnviz.figure.scripts import with_needed
from mkdocs_attnviz.views import VIEWS as REGISTERED
from mkdocs_attnviz.views.view import own_script

STATIC = ROOT / "mkdocs_attnviz" / "static"
MOST = {"attnviz.js": 22_000, "attnviz-attention.js": 18_500, "attnviz-panels.js": 9_500}
"""Gzipped bytes of what pages share: all of them, those with views of attention, and those with other views."""
VIEWS = sorted(path.stem for path in (ROOT / "frontend/src/views").glob("*.ts"))
MOST |= dict.fromkeys((f"attnviz-{view}.js" for view in VIEWS), 14_000)
"""The script of a view has a limit, too."""
PAGES = {"head": 109_000, "model": 119_000, "matrix": 118_000, "neuron": 132_000, "heads": 163_000, "experts": 106_000}
"""Bytes of all scripts that a page with one view loads; one with another view than these loads no more than 103,000."""
MOST |= {"attnviz.mjs": 122_000, "attnviz-widget.mjs": 700}
"""The module of widgets has all views; each widget of a notebook brings the small one, which loads it."""


def test_the_bundles_are_up_to_date(tmp_path):
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=ROOT / "frontend", check=True)
    assert {path.name for path in STATIC.glob("*.*js")} == MOST.keys(), "run `make bundle`; remove scripts of no view"
    for name in (*MOST, "scripts.json"):
        assert (tmp_path / name).read_bytes() == (STATIC / name).read_bytes(), "run `make bundle`"


@pytest.mark.parametrize(("name", "most"), MOST.items())
def test_a_bundle_is_small(name, most):
    assert len(gzip.compress((STATIC / name).read_bytes())) <= most


@pytest.mark.parametrize("view", sorted(REGISTERED))
def test_a_page_loads_what_its_view_needs(view):
    """Head and model view had 166 kB, before the neuron view and the matrix had scripts of their own."""
    scripts = with_needed(REGISTERED[view].script)
    files = [STATIC / name.rpartition("/")[2] for name in scripts]
    assert [path.name for path in files][:: len(files) - 1] == ["attnviz.js", f"attnviz-{view}.js"]
    assert sum(path.stat().st_size for path in files) <= PAGES.get(view, 103_000)
    family = {"head", "model", "matrix", "neuron"}
    assert (STATIC / "attnviz-attention.js" in files) == (view in family | {"heads"}), "those that show weights"
    assert (STATIC / "attnviz-panels.js" in files) == (view not in family)


def test_each_script_comes_after_those_that_it_needs():
    needs = json.loads((STATIC / "scripts.json").read_text())
    assert needs.keys() == {f"attnviz-{view}.js" for view in VIEWS} == needs.keys() & MOST.keys()
    for name, before in needs.items():
        assert with_needed(own_script(name[len("attnviz-") : -len(".js")])) == tuple(
            f"mkdocs_attnviz:static/{each}" for each in (*before, name)
        )
        for number, each in enumerate(before):
            assert set(needs.get(each, ())) <= set(before[:number])
    assert with_needed("another:view.js") == ("mkdocs_attnviz:static/attnviz.js", "another:view.js")


LOAD = """async names => {
  for (const src of names) {
    const script = Object.assign(document.createElement("script"), { src });
    await new Promise((loaded) => { script.onload = loaded; document.head.append(script); });
  }
}"""


def test_scripts_that_come_late_in_another_order_and_again(every_view, tmp_path, open_page):
    """Every view is drawn in an element that is in the page before its script, as with instant navigation."""
    pages = [BeautifulSoup(path.read_text("utf-8"), "html5lib") for path in sorted(every_view.glob("*/index.html"))]
    figures = "".join(str(figure) for page in pages for figure in page.select("figure.attnviz"))
    (tmp_path / "index.html").write_text(f"<!doctype html><meta charset=utf-8><title>All</title>{figures}", "utf-8")
    for path in [*STATIC.glob("attnviz*.js"), *every_view.rglob("*.js")]:
        if path.parent == STATIC or re.fullmatch(r"[0-9a-f]{64}", path.stem):
            shutil.copy(path, tmp_path)
    page = open_page(tmp_path / "index.html")
    first, others = "attnviz.js", [f"attnviz-{name}.js" for name in ("attention", "panels", *VIEWS)]
    page.evaluate(LOAD, [first])
    assert page.locator("attn-viz").evaluate_all("all => all.every(each => each.shadowRoot && !each.isDrawn)")
    page.evaluate("""() => {
      const { define } = attnviz;
      window.defined = [];
      attnviz.define = (views) => { defined.push(...Object.keys(views)); define(views); };
    }""")
    page.evaluate(LOAD, others[::-1])
    draw_all(page)
    kinds = page.locator("attn-viz").evaluate_all("all => all.map(each => JSON.parse(each.dataset.figure).view)")
    assert {*kinds} >= REGISTERED.keys()
    assert page.locator("attn-viz").evaluate_all("all => all.every(each => each.isDrawn)")
    page.evaluate(LOAD, [*others, first])
    assert sorted(page.evaluate("defined")) == VIEWS, "once each"


@pytest.mark.parametrize("name", MOST)
def test_a_bundle_can_stand_inside_a_page(name):
    text = (STATIC / name).read_text("utf-8")
    for forbidden in ("</script", "<!--", "eval(", "new Function"):
        assert forbidden not in text


def test_no_template_writes_a_style_attribute():
    """Only the property has an effect under a policy without inline styles: `.style=` in Lit's templates."""
    sources = {path.name: path.read_text() for path in (ROOT / "frontend" / "src").rglob("*.ts")}
    written = {name: re.findall(r"\sstyle=(?:\$\{|\"[^\"]*\$\{).*", text) for name, text in sources.items()}
    assert {name: found for name, found in written.items() if found} == {}
