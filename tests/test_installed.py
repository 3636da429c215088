"""The promises of the metadata: every supported Python, the lowest and the newest versions, in real environments.

`EXCLUDE_NEWER` keeps the newest versions those of one day: raise it together with `constraints.txt`.
"""

import importlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import bytecode
import pytest
from base_install import WITH_MKDOCS
from bs4 import BeautifulSoup
from conftest import ROOT
from hosts import Host, MkDocs, MyST, Pandoc, ProperDocs, PythonMarkdown, Sphinx, SphinxRst, Zensical
from packaging.requirements import Requirement
from packaging.version import Version
from published import BLOCKS, bring, shown

import mkdocs_attnviz

EXCLUDE_NEWER = "2026-11-28"
PYTHONS = ("3.10", "3.14")
"""The oldest and the newest."""
UV = [sys.executable, "-m", "uv", "pip"]
TOML = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
PROJECT = TOML.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [extra for extra in PROJECT["optional-dependencies"] if extra not in ("site", "dev", "bench")]
"""The extras for users; the others are for this repository."""


def run(*command: str | Path) -> str:
    command = [*map(str, command), "--exclude-newer", EXCLUDE_NEWER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def interpreter(version: str) -> str:
    """A path, or what uv finds by itself and may download."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    return str(next(root.glob(f"versions/{version}.*/bin/python"), version))


COMPILE = [*UV, "compile", "--quiet", f"--python={sys.executable}", "--no-python-downloads"]
"""The command that chooses versions; this Python reads what other packages say of themselves."""


def compile_all(*options: list[str | Path]) -> list[str]:
    """Return the versions that uv chooses for each of these command lines, which wait for the index side by side."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda given: run(*COMPILE, *given, ROOT / "pyproject.toml"), options))


def test_there_are_versions_for_every_python():
    common = ["--only-binary=:all:", "--prerelease=allow", *(f"--extra={extra}" for extra in EXTRAS)]
    choices = itertools.product(PYTHONS, ("lowest-direct", "highest"))
    options = [[*common, f"--python-version={python}", f"--resolution={how}"] for python, how in choices]
    for chosen in compile_all(*options):
        assert "\nmkdocs==1.6" in chosen, "MkDocs 2 has no plugins"


def test_what_make_installs_is_there_for_every_python():
    """README: `make site` needs Python 3.10 or newer. One resolution is for all, 3.11.0 among them."""
    links = os.environ.get("PIP_FIND_LINKS", ROOT)
    common = ["--constraint", ROOT / "constraints.txt", "--all-extras", "--find-links", links]
    compile_all([*common, "--universal", f"--python-version={PYTHONS[0]}"])


def test_mkdocs_attnviz_is_attnviz_with_mkdocs():
    """It has the version and all extras of attnviz, and nothing else."""
    project = TOML.loads((WITH_MKDOCS / "pyproject.toml").read_text())["project"]
    version = mkdocs_attnviz.__version__
    assert (project["name"], project["version"]) == ("mkdocs-attnviz", version)
    assert project["dependencies"] == [f"attnviz[mkdocs]=={version}"]
    assert project["optional-dependencies"] == {extra: [f"attnviz[{extra}]=={version}"] for extra in EXTRAS}
    assert project["requires-python"] == PROJECT["requires-python"]


class Environment(NamedTuple):
    """An environment, and the hosts that draw in it."""

    python: str
    resolution: str
    packages: Sequence[str]
    hosts: Sequence[type[Host]]
    lacks: Sequence[str] = ()
    """Documentation tools that nothing there needs."""

    @property
    def extras(self) -> list[str]:
        """The extras of attnviz that are named."""
        named = [re.search(r"\[(.+)\]$", package) for package in self.packages]
        return [extra for match in named if match for extra in match[1].split(",")]


# Themes and MyST are no dependencies of ours; these are the oldest that are known to work.
OLDEST = ["myst-parser>=0.19.2", "properdocs-theme-mkdocs>=1.6.5"]
ENVIRONMENTS = {
    "3.10 lowest": Environment(
        "3.10",
        "lowest-direct",
        [f"{ROOT}[mkdocs,properdocs,sphinx]", *OLDEST],
        [MkDocs, ProperDocs, PythonMarkdown, SphinxRst, Sphinx],
    ),
    "3.12 lowest": Environment(
        "3.12",
        "lowest-direct",
        [f"{ROOT}[zensical,mystmd,widget,pdf,png]"],
        [Zensical, MyST, Pandoc],
        ["mkdocs", "sphinx"],
    ),
    "3.10 newest": Environment(
        "3.10",
        "highest",
        [str(ROOT), f"{WITH_MKDOCS}[sphinx]", "myst-parser"],
        [MkDocs, Sphinx],
        ["properdocs", "zensical"],
    ),
    "3.13 newest": Environment(
        "3.13",
        "highest",
        [f"{ROOT}[properdocs,sphinx,zensical,widget]", "properdocs-theme-mkdocs", "myst-parser"],
        [ProperDocs, Zensical, PythonMarkdown, SphinxRst, Sphinx],
        ["mkdocs"],
    ),
}
"""Every host draws with its lowest and its newest version. Zensical needs Python 3.11."""
RAISED = {"markdown": "3.7", "pymdown-extensions": "11.0", "click": "8.1.8", "pyyaml": "6.0.2"}
"""The lower bounds of Zensical, which are above ours."""


CHECK = """
import os, sys
from mkdocs_attnviz.cli.main import main
for configuration in sys.argv[1:]:
    if os.fork() == 0:
        main(["check", "-f", configuration])
    os.wait()
"""
"""A program that checks sites, each in a process of its own."""

WIDGET = """
import json, sys
from mkdocs_attnviz import Widget
body, settings = sys.argv[1:]
print(Widget(block=body, settings=json.loads(settings)).figure)
"""
"""A program that prints what a widget of a block shows."""

PICTURES = """
import logging, sys
from mkdocs_attnviz.hosts.picture_files import picture_bytes
svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9">\U000f1234</text></svg>'
messages = []
log = logging.getLogger("test")
log.addHandler(logging.Handler())
log.handlers[0].emit = lambda record: messages.append(record.getMessage().partition(",")[0])
sys.stdout.reconfigure(encoding="utf-8")
print(*(picture_bytes(svg, format, log)[:4].decode("latin-1") for format in ("pdf", "png")), *messages)
"""
"""A program that draws a picture in each format that needs a package, and prints what it is told."""


def installed(python: Path) -> dict[str, str]:
    """Return the version of each package in an environment."""
    listed = json.loads(run(*UV, "list", "--quiet", "--format=json", f"--python={python}"))
    return {package["name"]: package["version"] for package in listed}


def lower_bounds(extras: Sequence[str]) -> dict[str, str]:
    """Return the lower bound of each package that the base install and these extras name."""
    requirements = list(map(Requirement, PROJECT["dependencies"]))
    waiting = list(extras)
    while waiting:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][waiting.pop()]):
            if requirement.name == PROJECT["name"]:
                waiting += requirement.extras
            else:
                requirements.append(requirement)
    return {
        requirement.name: next(part.version for part in requirement.specifier if part.operator == ">=")
        for requirement in requirements
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_host_draws(name, published, tmp_path, compiled, wheels):
    """Draw from a cache, with the base install and the extra of the host, without what runs models."""
    environment = ENVIRONMENTS[name]
    python = tmp_path / "environment" / "bin" / "python"
    run(sys.executable, "-m", "uv", "venv", "--quiet", "--python", interpreter(environment.python), python.parents[1])
    resolution = f"--resolution={environment.resolution}"
    newest = environment.resolution == "highest"
    packages = map(wheels.of, environment.packages) if newest else environment.packages  # direct ones are of a project
    run(*UV, "install", "--quiet", f"--python={python}", resolution, *packages)
    bytecode.take(python.parents[1], compiled)
    there = installed(python)
    assert not {"torch", "transformers", "numpy", *environment.lacks} & there.keys()
    if not newest:
        lowest = lower_bounds(environment.extras) | (RAISED if Zensical in environment.hosts else {})
        assert {name: Version(there[name]) for name in lowest} == {each: Version(lowest[each]) for each in lowest}
    configurations: list[Path] = []
    for kind in environment.hosts:
        host = kind(tmp_path / kind.__name__, tmp_path / "unused")
        host.python = str(python)
        if isinstance(host, ProperDocs):
            host.theme = {"name": "mkdocs", "highlightjs": False}
        host.folder.mkdir()
        bring(published, host)
        host.write("index", *BLOCKS)
        built = host.build(strict=True, computing=False) if isinstance(host, MyST) else host.build(strict=True)
        assert built.returncode == 0, f"{kind.__name__}: {built.log}"
        assert (in_widgets(host) if isinstance(host, MyST) else shown(built)) == published.figures, kind.__name__
        if kind is not PythonMarkdown:  # which has no configuration
            configurations.append(host.base / host.config_file)
        if "widget" in environment.extras and kind is environment.hosts[0]:
            settings = json.dumps(host.settings)
            command = [str(python), "-c", WIDGET, BLOCKS[0], settings]
            widget = subprocess.run(command, cwd=host.base, capture_output=True, text=True)
            assert widget.returncode == 0, widget.stderr
            assert data_figure(widget.stdout)["label"] == published.figures[0]["label"]
    check = subprocess.run([python, "-c", CHECK, *configurations], capture_output=True, text=True)
    assert check.stdout == "4 blocks on 1 page: nothing is missing\n" * len(configurations), check.stderr
    if "pdf" in environment.extras:
        drawn = subprocess.run([str(python), "-c", PICTURES], capture_output=True, text=True)
        assert (drawn.returncode, drawn.stdout) == (0, "%PDF \x89PNG No font here has \U000f1234\n"), drawn.stderr
    bytecode.keep(python.parents[1], compiled)


def in_widgets(host: MyST) -> list[Any]:
    """Return what each figure of mystmd's page shows."""
    return [data_figure(node["model"]["figure"]) for node in host.nodes("index", "anywidget")]


def data_figure(html: str) -> Any:
    """Return what the figure shows that the HTML holds."""
    return json.loads(BeautifulSoup(html, "html5lib").select_one("attn-viz")["data-figure"])
