"""Commands of Python, each a process of its own, that need not import again what all documentation tools import.

`run("mkdocs", "build", …)` does what `python -m mkdocs build …` does, with its own folder, environment and output. Its
process is forked from one that has imported our modules, Markdown's and those of its own tool, but no other tool and
nothing that runs models: all processes of a test run share it, and that for workers is another (`warm_workers`). A
command whose environment differs in what Python looks at while it starts is started by the interpreter itself;
`PYTHONPATH` may differ, unless it names a folder with an installed package.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import stand_in
import warm_workers
from warm_workers import python_path

import mkdocs_attnviz.views

PATIENCE = 600
"""Seconds that a command may take."""
READING = {"mkdocs": "reading", "properdocs": "properdocs"}
"""The folders in `PYTHONPATH` by which the process that reads a site of such a tool is a fork (`warm_workers`)."""
ATTNVIZ = "attnviz"
"""The folder in `PYTHONPATH` by which a command `attnviz` is a fork that another process starts."""
OTHERS = "commands"
"""The folder of the process from which commands are forked that are no command of `TOOLS`."""
FOLDERS = {
    **{"mkdocs": READING["mkdocs"], "mkdocs_attnviz": ATTNVIZ},
    **{name: name for name in ("nbconvert", "sphinx", "zensical")},
}
"""The folders of the processes from which commands of tools are forked, by the tool's command.

ProperDocs, once imported, answers for MkDocs in a way that a test could not forbid: its commands are forks of `OTHERS`.
"""
COMMON = (
    *("filelock", "jinja2.ext", "markdown.extensions.attr_list", "pymdownx.superfences", "pymdownx.highlight"),
    *("mkdocs_attnviz.pipeline", "mkdocs_attnviz.settings", "mkdocs_attnviz.publishing", "pygments.lexers"),
)
"""Modules that every documentation tool imports, or that our own extension of it does."""
TOOLS = {
    "mkdocs": (
        *("mkdocs.__main__", "mkdocs.commands.build", "mkdocs.contrib.search", "mkdocs_attnviz.hosts.mkdocs"),
        *("markdown.extensions.admonition", "markdown.extensions.tables", "markdown.extensions.toc"),
        *("mkdocs_attnviz.hosts.fences", "mkdocs_attnviz.hosts.markdown"),
    ),
    "mkdocs_attnviz": ("mkdocs_attnviz.cli.main",),
    "nbconvert": ("nbconvert.nbconvertapp", "IPython.display", "pygments.lexers.python"),
    "properdocs": (
        *("properdocs.__main__", "properdocs.commands.build", "properdocs.contrib.search", "properdocs_theme_mkdocs"),
        *("markdown.extensions.admonition", "markdown.extensions.tables", "markdown.extensions.toc"),
        *("mkdocs_attnviz.hosts.fences", "mkdocs_attnviz.hosts.markdown"),
    ),
    "sphinx": (
        *("sphinx.cmd.build", "sphinx.search.en", "sphinx.ext.mathjax", "sphinx.ext.intersphinx"),
        *("myst_parser.sphinx_ext.main", "myst_parser.parsers.sphinx_", "myst_parser.sphinx_ext.directives"),
        *("mkdocs_attnviz.hosts.sphinx", "alabaster.support", "docutils.languages.en"),
    ),
    "zensical": (
        *("zensical.main", "zensical.config", "zensical.markdown.render", "zensical.extensions.emoji"),
        *("markdown.extensions.tables", "mkdocs_attnviz.hosts.markdown"),
    ),
}
"""Modules that most builds with a tool import, by the tool's command."""


def install(warm: Path, run: int, build: str) -> None:
    """Let commands of this process be forks of processes in the folder `warm`, which end with the process `run`.

    `build` is the code by which a command reads a site of a `tool`.
    """
    script = str(Path(sys.executable).with_name("attnviz"))
    starts = {name: [["-c", build.format(tool=tool)]] for tool, name in READING.items()}
    starts |= {ATTNVIZ: [["-m", "mkdocs_attnviz"], [script]]}
    for tool, name in {**READING, **FOLDERS, "": OTHERS}.items():
        warm_workers.install(warm / name, starts.get(name, ()), modules_of(tool), run)
    places = {tool: warm / name for tool, name in {**FOLDERS, "": OTHERS}.items()}
    folders.update({tool: place for tool, place in places.items() if (place / "run").exists()})


folders: dict[str, Path] = {}
"""The folders of the processes from which commands are forked in this test run, by the tool's command."""


def modules_of(tool: str) -> Sequence[str]:
    """Return the modules that the process imports from which commands of a tool are forked."""
    views = [f"mkdocs_attnviz.views.{view.name}" for view in pkgutil.iter_modules(mkdocs_attnviz.views.__path__)]
    return [*COMMON, *TOOLS.get(tool, ()), *views]


def run(
    *command: str,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    input: str = "",
    python: str = sys.executable,
    fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with this command; `fresh` has the interpreter itself start it."""
    environment = os.environ if env is None else env
    folder = folders.get(command[0], folders.get(""))
    if folder and not fresh and python == sys.executable and fits(folder, environment):
        forked = run_fork(folder, command, cwd or Path.cwd(), environment, input)
        if forked:
            return forked
    if fresh:
        environment = dict(environment) | {"PYTHONPATH": path_without(ATTNVIZ, environment)}
    whole = [python, "-m", *command]
    how = {"capture_output": True, "encoding": "utf-8", "timeout": PATIENCE}
    return subprocess.run(whole, cwd=cwd, env=environment, input=input, **how)


def fits(folder: Path, environment: Mapping[str, str]) -> bool:
    """Return whether Python would start, and import what is common, in the same way in this environment."""
    new = set(python_path(environment)) - set(python_path(os.environ))
    packages = any(next(Path(folder).glob("*.dist-info"), None) for folder in new)
    return not packages and stand_in.fits(stand_in.about(folder), None, environment)


def run_fork(
    folder: Path, command: Sequence[str], cwd: Path | str, environment: Mapping[str, str], input: str
) -> subprocess.CompletedProcess[str] | None:
    """Run a command as a fork of the process of a folder; return None if that has ended."""
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        streams[0].write(input.encode())
        streams[0].seek(0)
        job = {"start": ["-m", *command], "environment": dict(environment), "folder": str(cwd)}
        connection = stand_in.hand_over(str(folder), job, [stream.fileno() for stream in streams])
        if connection is None:
            return None
        with socket.socket(fileno=connection.detach()) as warm:
            warm.settimeout(PATIENCE)
            status = int(warm.recv(16))
        for stream in streams:
            stream.seek(0)
        _, out, err = (stream.read().decode("utf-8", "replace") for stream in streams)
        return subprocess.CompletedProcess(command, status, out, err)


def run_and_end(command: str | Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of any program, and end what it leaves running: mystmd leaves the server of its theme."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **pipes, **options) as process:
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def path_without(name: str, environment: Mapping[str, str]) -> str:
    """Return `PYTHONPATH` in an environment without the folder by which some processes are forks."""
    return os.pathsep.join(path for path in python_path(environment) if Path(path).name != name)


def path_with(folder: Path, workers: bool = True) -> str:
    """Return a `PYTHONPATH` with one more folder, which comes first; without `workers`, no worker is a fork."""
    others = [path for path in python_path(os.environ) if workers or Path(path).name in READING.values()]
    return os.pathsep.join([str(folder), *others])
