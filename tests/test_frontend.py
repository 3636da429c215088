"""The committed front end is what its sources give, and stays small."""

import gzip
import re
import subprocess

import pytest
from conftest import ROOT

STATIC = ROOT / "mkdocs_attnviz" / "static"
MOST = {"attnviz.js": 58_000, "attnviz-all.js": 76_000}
"""Gzipped bytes of what a page loads: one script for views of attention, one for most views."""
MOST |= dict.fromkeys((f"attnviz-{path.stem}.js" for path in (ROOT / "frontend/src/views/own").glob("*.ts")), 14_000)
"""The own script of a view has a limit, too; a page loads it after the second one."""
MOST |= {"attnviz.mjs": 122_000, "attnviz-widget.mjs": 700}
"""The module of widgets has all views; each widget of a notebook brings the small one, which loads it."""


def test_the_bundles_are_up_to_date(tmp_path):
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=ROOT / "frontend", check=True)
    assert {path.name for path in STATIC.glob("*.*js")} == MOST.keys(), "run `make bundle`; remove scripts of no view"
    for name in MOST:
        assert (tmp_path / name).read_bytes() == (STATIC / name).read_bytes(), "run `make bundle`"


@pytest.mark.parametrize(("name", "most"), MOST.items())
def test_a_bundle_is_small(name, most):
    assert len(gzip.compress((STATIC / name).read_bytes())) <= most


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
