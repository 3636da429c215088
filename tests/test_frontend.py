"""The committed front end is what its sources give, and stays small."""

import gzip
import os
import re
import shutil
import subprocess

import pytest
from conftest import ROOT

FRONTEND = ROOT / "frontend"
STATIC = ROOT / "mkdocs_attnviz" / "static"
MOST = {"attnviz.js": 58_000, "attnviz-all.js": 76_000}
"""Gzipped bytes of what a page loads: one script for views of attention, one for most views."""
MOST |= dict.fromkeys((f"attnviz-{path.stem}.js" for path in (FRONTEND / "src/views/own").glob("*.ts")), 14_000)
"""The own script of a view has a limit, too; a page loads it after the second one."""
MOST |= {"attnviz.mjs": 122_000, "attnviz-widget.mjs": 700}
"""The module of widgets has all views; each widget of a notebook brings the small one, which loads it."""


def test_the_bundles_are_up_to_date(tmp_path):
    """Scripts whose build is on record are not built again, but in CI."""
    assert {path.name for path in STATIC.glob("*.*js")} == MOST.keys(), "run `make bundle`; remove scripts of no view"
    if recorded(FRONTEND) and not os.environ.get("ATTNVIZ_NO_SKIPS"):
        return
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=FRONTEND, check=True)
    for name in MOST:
        assert (tmp_path / name).read_bytes() == (STATIC / name).read_bytes(), "run `make bundle`"


def recorded(frontend):
    """Return whether the last build was of the sources and with the tools of today, and its scripts are still there."""
    return subprocess.run(["node", "record.mjs", "--check"], cwd=frontend).returncode == 0


def test_a_build_is_on_record_until_something_changes(tmp_path):
    read = [
        "frontend/*.mjs",
        "frontend/src/**/*",
        "mkdocs_attnviz/static/*js",
        "frontend/node_modules/lit*/package.json",
    ]
    read += [f"frontend/node_modules/{tool}/package.json" for tool in ("esbuild", "terser", "@lit/reactive-element")]
    for file in (file for pattern in read for file in ROOT.glob(pattern) if file.is_file()):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    subprocess.run(["node", "record.mjs"], cwd=tmp_path / "frontend", check=True)
    for changed in (
        "frontend/src/charts/new.css",
        "frontend/node_modules/terser/package.json",
        "mkdocs_attnviz/static/attnviz.mjs",
    ):
        assert recorded(tmp_path / "frontend")
        file = tmp_path / changed
        before = file.read_bytes() if file.exists() else None
        file.write_bytes((before or b"") + b" ")
        assert not recorded(tmp_path / "frontend"), changed
        file.write_bytes(before) if before else file.unlink()


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
    sources = {path.name: path.read_text() for path in (FRONTEND / "src").rglob("*.ts")}
    written = {name: re.findall(r"\sstyle=(?:\$\{|\"[^\"]*\$\{).*", text) for name, text in sources.items()}
    assert {name: found for name, found in written.items() if found} == {}
