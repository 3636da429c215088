"""MkDocs is imported by its own host alone: the package, the command, Sphinx and the worker go without it."""

import subprocess
import sys

import pytest
from hosts import HOSTS, MkDocs
from hypothesis import given
from hypothesis import strategies as st
from mkdocs.utils.meta import get_data
from models_of_machines import without_models
from published import BLOCKS, bring, shown

from mkdocs_attnviz.cli import front_matter

EVERY_MODULE = """
import importlib, pkgutil, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mkdocs", "properdocs"):
            raise ImportError(f"{name} is imported")
sys.meta_path.insert(0, Refuse())
import mkdocs_attnviz
for module in pkgutil.walk_packages(mkdocs_attnviz.__path__, "mkdocs_attnviz."):
    if module.name not in ("mkdocs_attnviz.hosts.mkdocs", "mkdocs_attnviz.__main__"):
        importlib.import_module(module.name)
"""


def test_no_other_module_imports_it():
    subprocess.run([sys.executable, "-c", EVERY_MODULE], check=True)


@pytest.fixture(params=[name for name, kind in HOSTS.items() if not issubclass(kind, MkDocs)])
def host(request, published, tmp_path):
    """A host's site whose Python cannot import MkDocs."""
    host = HOSTS[request.param](tmp_path, tmp_path / "unused")
    bring(published, host)
    host.environment = {"PYTHONPATH": str(without_models(tmp_path / "bare", "mkdocs", "properdocs"))}
    host.write("index", *BLOCKS)
    return host


def test_other_hosts_draw_and_the_command_reads_their_sites(host, published):
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert shown(built) == published.figures
    if (host.base / host.config_file).exists():
        check = host.run("mkdocs_attnviz", "check", "-f", str(host.base / host.config_file))
        assert check.log == "4 blocks on 1 page: nothing is missing\n"


def test_a_site_of_mkdocs_where_there_is_none(tmp_path):
    (tmp_path / "mkdocs.yml").write_text("site_name: Test\nplugins: [attnviz]\n")
    bare = without_models(tmp_path / "bare", "mkdocs", "properdocs", "zensical")
    host = MkDocs(tmp_path, tmp_path)
    host.environment = {"PYTHONPATH": str(bare)}
    run = host.run("mkdocs_attnviz", "status")
    assert run.returncode == 2
    assert run.log == "Error: mkdocs.yml is read by MkDocs 1, which is not installed here: `pip install 'mkdocs<2'`.\n"


LINES = st.sampled_from(
    ["---", "...", "title: Cats", "tags: [a, b]", "    more", "\tmore", "", " ", "words", "a:b", "x: [", "--- ", "A-b:"]
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_front_matter_is_what_mkdocs_reads(text):
    assert front_matter.divide(text) == get_data(text)
