"""The committed front end is what its sources give, and stays small."""

import gzip
import re
import subprocess

from conftest import ROOT

BUNDLE = ROOT / "mkdocs_attnviz" / "static" / "attnviz.js"


def test_the_bundle_is_up_to_date(tmp_path):
    subprocess.run(["node", "build.mjs", str(tmp_path / "attnviz.js")], cwd=ROOT / "frontend", check=True)
    assert (tmp_path / "attnviz.js").read_bytes() == BUNDLE.read_bytes(), "run `make bundle`"


def test_the_bundle_is_small():
    assert len(gzip.compress(BUNDLE.read_bytes())) <= 45_000


def test_the_bundle_can_stand_inside_a_page():
    text = BUNDLE.read_text("utf-8")
    for forbidden in ("</script", "<!--", "eval(", "new Function"):
        assert forbidden not in text


def test_torch_is_imported_by_the_worker_alone():
    package = ROOT / "mkdocs_attnviz"
    free = [path for path in package.rglob("*.py") if path.parent.name != "models"]
    free += [package / "models" / name for name in ("__init__.py", "client.py", "reference.py", "request.py")]
    for path in free:
        found = re.findall(
            r"^\s*(?:import|from) (?:torch|transformers|numpy|huggingface_hub)\b", path.read_text(), re.M
        )
        assert not found, path
