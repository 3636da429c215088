"""The promises of the metadata: every supported Python, the lowest and the newest versions, in real environments.

`EXCLUDE_NEWER` keeps the newest versions those of one day: raise it together with `constraints.txt`.
"""

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT
from hosts import MkDocs, ProperDocs, PythonMarkdown, Sphinx, SphinxRst, Zensical
from published import BLOCKS, bring, shown

EXCLUDE_NEWER = "2026-11-28"
PYTHONS = ("3.10", "3.11", "3.14")
"""The oldest, the newest, and 3.11.0, which is older than some of our pins take."""
EXTRAS = ("torch", "explain", "large", "adapters", "sphinx", "share", "ray", "pdf", "png", "widget")
UV = [sys.executable, "-m", "uv", "pip"]


def run(*command: str | Path) -> str:
    command = [*map(str, command), "--exclude-newer", EXCLUDE_NEWER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def interpreter(version: str) -> str:
    """A path, or what uv finds by itself and may download."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    return str(next(root.glob(f"versions/{version}.*/bin/python"), version))


def compile_all(*options: list[str | Path]) -> list[str]:
    """Return the versions that uv chooses for each of these command lines, which wait for the index side by side."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda given: run(*UV, "compile", "--quiet", *given, ROOT / "pyproject.toml"), options))


def test_there_are_versions_for_every_python():
    common = ["--only-binary=:all:", "--prerelease=allow", *(f"--extra={extra}" for extra in EXTRAS)]
    choices = itertools.product((PYTHONS[0], PYTHONS[-1]), ("lowest-direct", "highest"))
    options = [[*common, f"--python-version={python}", f"--resolution={how}"] for python, how in choices]
    for chosen in compile_all(*options):
        assert "\nmkdocs==1.6" in chosen, "MkDocs 2 has no plugins"


def test_what_make_installs_is_there_for_every_python():
    """README: `make site` needs Python 3.10 or newer."""
    links = os.environ.get("PIP_FIND_LINKS", ROOT)
    common = ["--constraint", ROOT / "constraints.txt", "--all-extras", "--find-links", links]
    compile_all(*([*common, f"--python-version={python}"] for python in PYTHONS))


# The tools themselves are no dependency of ours but for MkDocs; these are the oldest that are known to work.
LOWEST = {MkDocs: [], PythonMarkdown: [], SphinxRst: [], Sphinx: ["myst-parser>=0.19.2"]}
NEWEST = {MkDocs: [], PythonMarkdown: [], SphinxRst: [], Sphinx: ["myst-parser"], Zensical: ["zensical"]}
NEWEST |= {ProperDocs: ["properdocs", "mkdocs-material"]}
BOTH = {kind: NEWEST[kind] for kind in (MkDocs, Sphinx)}
"""A tool for each of our two ways into documentation: every host draws on the oldest Python, and with its newest
version, but not every newest version on the oldest Python."""
ENVIRONMENTS = {
    "3.10 lowest": ("3.10", "lowest-direct", LOWEST),
    "3.10 newest": ("3.10", "highest", BOTH),
    "3.13 newest": ("3.13", "highest", NEWEST),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_host_draws(name, published, tmp_path):
    """Draw from a cache, with the base install and the extra of the host, without what runs models."""
    version, resolution, hosts = ENVIRONMENTS[name]
    python = tmp_path / "environment" / "bin" / "python"
    run(sys.executable, "-m", "uv", "venv", "--quiet", "--python", interpreter(version), python.parent.parent)
    tools = [requirement for requirements in hosts.values() for requirement in requirements]
    run(*UV, "install", "--quiet", f"--python={python}", f"--resolution={resolution}", f"{ROOT}[sphinx]", *tools)
    for kind in hosts:
        host = kind(tmp_path / kind.__name__, tmp_path / "unused")
        host.python = str(python)
        host.folder.mkdir()
        bring(published, host)
        host.write("index", *BLOCKS)
        built = host.build(strict=True)
        assert built.returncode == 0, f"{kind.__name__}: {built.log}"
        assert shown(built) == published.figures, kind.__name__
        if kind is not PythonMarkdown:  # which has no configuration
            check = host.run("mkdocs_attnviz", "check", "-f", str(host.base / host.config_file))
            assert check.log == "4 blocks on 1 page: nothing is missing\n", kind.__name__
