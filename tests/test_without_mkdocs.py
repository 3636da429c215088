"""A documentation tool is imported by its own host alone: the package, the command and the worker go without any."""

import subprocess
import sys

import pytest
from hosts import MkDocs, ProperDocs, PythonMarkdown, Sphinx, SphinxRst, Zensical
from hypothesis import given
from hypothesis import strategies as st
from mkdocs.utils.meta import get_data
from models_of_machines import without_models
from published import BLOCKS, bring, shown
from pymdownx.superfences import RE_NESTED_FENCE_START, RE_OPTIONS
from warm_workers import WITH_MODULES

from mkdocs_attnviz.cli import front_matter
from mkdocs_attnviz.hosts.page import WITH_QUOTES, header_of

NEEDS = {  # of a package, which of our modules may import it when they are imported
    "mkdocs": {"mkdocs_attnviz.hosts.mkdocs"},
    "properdocs": set(),
    "zensical": set(),
    "sphinx": {"mkdocs_attnviz.hosts.sphinx"},
    "docutils": {"mkdocs_attnviz.hosts.sphinx"},
    "IPython": {"mkdocs_attnviz.hosts.widget"},
    "ipywidgets": {"mkdocs_attnviz.hosts.widget"},
    "mdit_py_plugins": {"mkdocs_attnviz.hosts.myst", "mkdocs_attnviz.hosts.myst_pages"},
    "markdown": {"mkdocs_attnviz.hosts.fences", "mkdocs_attnviz.hosts.markdown", "mkdocs_attnviz.hosts.mkdocs"},
}
NEEDS["pymdownx"] = NEEDS["markdown"]
EVERY_MODULE = """
import importlib, pkgutil, sys
refused, left_out = map(str.split, sys.argv[1:])
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ImportError(f"{name} is imported")
for name in list(sys.modules):
    if name.partition(".")[0] in ("mkdocs_attnviz", *refused):  # what this process has been forked with
        del sys.modules[name]
sys.meta_path.insert(0, Refuse())
import mkdocs_attnviz
for module in pkgutil.walk_packages(mkdocs_attnviz.__path__, "mkdocs_attnviz."):
    if module.name not in ("mkdocs_attnviz.__main__", *left_out):
        importlib.import_module(module.name)
"""


TOOLS = ["mkdocs", "properdocs", "zensical", "sphinx", "docutils", "IPython", "ipywidgets", "mdit_py_plugins"]


@pytest.mark.parametrize("packages", [TOOLS, ["markdown", "pymdownx"]], ids=["tools", "markdown"])
def test_no_other_module_imports_it(packages):
    """The base install has none of these packages."""
    left_out = set[str]().union(*(NEEDS[package] for package in packages))
    command = [sys.executable, "-c", WITH_MODULES, EVERY_MODULE, " ".join(packages), " ".join(left_out)]
    subprocess.run(command, check=True)


ABSENT = {
    ProperDocs: ["mkdocs", "zensical", "sphinx"],
    Zensical: ["mkdocs", "properdocs", "sphinx"],
    PythonMarkdown: ["mkdocs", "properdocs", "zensical", "sphinx"],
    Sphinx: ["mkdocs", "properdocs", "zensical", "markdown", "pymdownx"],
    SphinxRst: ["mkdocs", "properdocs", "zensical", "markdown", "pymdownx", "myst_parser"],
}
"""The documentation tools that each host's Python lacks."""


@pytest.fixture(params=ABSENT, ids=lambda kind: kind.__name__)
def host(request, published, tmp_path):
    """A host's site whose Python can import no other documentation tool."""
    host = request.param(tmp_path, tmp_path / "unused")
    if isinstance(host, ProperDocs):
        host.theme = {"name": "mkdocs", "highlightjs": False}
    bring(published, host)
    processes = isinstance(host, ProperDocs)  # whose sites the command lets it read in a process
    bare = without_models(tmp_path / "bare", *ABSENT[request.param], processes=processes)
    host.environment = {"PYTHONPATH": str(bare)}
    host.fresh = isinstance(host, Sphinx)  # commands are forks of a process that has imported Python-Markdown
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
    assert run.log == (
        "Error: mkdocs.yml is read by MkDocs, which is not installed here: `pip install 'attnviz[mkdocs]'`.\n"
    )


def test_a_page_of_markdown_where_nothing_reads_it(tmp_path):
    (tmp_path / "page.md").write_text("```attention\ntext: a\n```\n")
    host = PythonMarkdown(tmp_path, tmp_path)
    host.environment = {"PYTHONPATH": str(without_models(tmp_path / "bare", "pymdownx"))}
    host.fresh = True
    run = host.run("mkdocs_attnviz", "status", "page.md")
    assert run.returncode == 2
    assert run.log == (
        "Error: Markdown pages are read by Python-Markdown with PyMdown Extensions, which are not installed here: "
        "`pip install 'attnviz[markdown]'`.\n"
    )


LINES = st.sampled_from(
    ["---", "...", "title: Cats", "tags: [a, b]", "    more", "\tmore", "", " ", "words", "a:b", "x: [", "--- ", "A-b:"]
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_front_matter_is_what_mkdocs_reads(text):
    assert front_matter.divide(text) == get_data(text)


WORDS = st.sampled_from(
    ["layer", 'layer="3"', "layer='3'", "layer=3", "{", "}", "{.attention", 'a="b c"', 'a=""', "9", "", " ", "\t"]
)


@given(st.lists(WORDS, max_size=5).map(" ".join))
def test_a_fence_s_header_is_what_superfences_reads(header):
    """Sphinx has no SuperFences."""
    line = f"```attention {header}"
    fence = RE_NESTED_FENCE_START.match(line)
    if fence["options"] is None:
        rest = (fence["unrecognized"] or fence["attrs"] or "").strip()
        assert header_of(line) == ({}, WITH_QUOTES.format(rest) if rest else None)
    else:
        options = {option["key"]: option["value"] for option in RE_OPTIONS.finditer(fence["options"])}
        assert header_of(line) == ({key: key if value is None else value for key, value in options.items()}, None)
