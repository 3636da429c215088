"""The committed front end is what its sources give, and stays small."""

import gzip
import subprocess

from conftest import ROOT

BUNDLE = ROOT / "mkdocs_attnviz" / "static" / "attnviz.js"


def test_the_bundle_is_up_to_date(tmp_path):
    subprocess.run(["node", "build.mjs", str(tmp_path / "attnviz.js")], cwd=ROOT / "frontend", check=True)
    assert (tmp_path / "attnviz.js").read_bytes() == BUNDLE.read_bytes(), "run `make bundle`"


def test_the_bundle_is_small():
    assert len(gzip.compress(BUNDLE.read_bytes())) <= 30_000


def test_the_bundle_can_stand_inside_a_page():
    text = BUNDLE.read_text("utf-8")
    for forbidden in ("</script", "<!--", "eval(", "new Function"):
        assert forbidden not in text


def test_torch_is_imported_in_models_alone():
    for path in (ROOT / "mkdocs_attnviz").rglob("*.py"):
        if path.parent.name != "models":
            text = path.read_text("utf-8")
            assert "import torch" not in text, path
            assert "import transformers" not in text, path
