"""Commands of Python, each a process of its own, that need not import again what all documentation tools import.

`run("mkdocs", "build", …)` does what `python -m mkdocs build …` does, with its own folder, environment and output. Its
process is forked from one that has imported our modules and Markdown's, and of tools that one alone; nothing that runs
models, since workers are forks of another (`warm_workers`). A command whose environment differs in what Python looks at
while it starts is started by the interpreter itself; `PYTHONPATH` may differ, unless it names a folder with an
installed package.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

PATIENCE = 600
"""Seconds that a command may take."""
FIXED_BEGINNINGS = ("PYTHON", "LANG", "LC_", "TZ", "LD_", "MALLOC_")
"""Beginnings of variables that are read when Python starts. No module of `COMMON` reads another when it is imported."""
FREE = ("PYTHONPATH", "PYTEST_CURRENT_TEST")


class Started(NamedTuple):
    """A command that may still run."""

    pid: int
    folder: Path
    """The folder of its output."""


class Forking:
    """A process from which commands are forked, with modules of a tool that it imports."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self.environment = dict(os.environ)
        self.folder = Path(tempfile.mkdtemp(prefix="attnviz-commands-"))
        self.lock = threading.Lock()
        self.number = 0
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.folder), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )
        self._answer(PATIENCE)

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Return whether Python would start, and import what is common, in the same way in this environment."""
        names = {*self.environment, *environment}
        differing = {name for name in names if self.environment.get(name) != environment.get(name)} - {*FREE}
        new = set(python_path(environment)) - set(python_path(self.environment))
        packages = any(next(Path(folder).glob("*.dist-info"), None) for folder in new)
        return not packages and not any(name.startswith(FIXED_BEGINNINGS) for name in differing)

    def start(self, *command: str, cwd: Path | str, env: Mapping[str, str], input: str = "") -> Started:
        """Fork a process that runs a module with arguments."""
        with self.lock:
            self.number += 1
            folder = self.folder / str(self.number)
            folder.mkdir()
            (folder / "stdin").write_text(input, "utf-8")
            pid = self._ask({"command": command, "cwd": str(cwd), "env": dict(env), "folder": str(folder)})
        return Started(pid, folder)

    def wait(self, started: Started, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        with self.lock:
            status = self._ask({"wait": started.pid}, timeout)
        out, err = ((started.folder / name).read_text("utf-8", "replace") for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(started.pid, status, out, err)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _ask(self, question: dict[str, object], timeout: float = PATIENCE) -> int:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer(timeout)

    def _answer(self, timeout: float) -> int:
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            os.killpg(self.process.pid, signal.SIGKILL)
            default.cache_clear()
            raise TimeoutError(f"a command did not end within {timeout} s")
        return int(self.process.stdout.readline())


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


TOOLS = {
    "mkdocs": ("mkdocs.commands.build", "mkdocs.contrib.search", "mkdocs_attnviz.hosts.mkdocs"),
    "mkdocs_attnviz": ("mkdocs_attnviz.cli.main",),
    "sphinx": (
        *("sphinx.cmd.build", "sphinx.builders.html", "sphinx.ext.mathjax"),
        *("myst_parser.sphinx_ext.main", "mkdocs_attnviz.hosts.sphinx"),
    ),
}
"""Modules that most builds with a tool import, by the tool's command."""


@functools.cache
def default(tool: str = "") -> Forking:
    """Return the process from which this test session forks a tool; it ends when its standard input is closed."""
    return Forking(TOOLS.get(tool, ()))


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
    forking = None
    if not fresh and python == sys.executable and hasattr(os, "fork"):
        forking = default(command[0] if command[0] in TOOLS else "")
    if forking is None or not forking.fits(environment):
        whole = [python, "-m", *command]
        how = {"capture_output": True, "encoding": "utf-8", "timeout": PATIENCE}
        return subprocess.run(whole, cwd=cwd, env=environment, input=input, **how)
    return forking.wait(forking.start(*command, cwd=cwd or Path.cwd(), env=environment, input=input))


READING = "reading"
"""The folder in `PYTHONPATH` by which the process that reads a site of MkDocs is a fork (`warm_workers`)."""


NBCONVERT = "nbconvert"
"""The folder in `PYTHONPATH` by which the process of a fresh command `nbconvert` is a fork."""


def path_with(folder: Path, workers: bool = True) -> str:
    """Return a `PYTHONPATH` with one more folder, which comes first; without `workers`, no worker is a fork."""
    others = [path for path in python_path(os.environ) if workers or Path(path).name == READING]
    return os.pathsep.join([str(folder), *others])


def python_path(environment: Mapping[str, str]) -> list[str]:
    """Return the folders that `PYTHONPATH` names."""
    return [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]


# ---- the process that is forked

COMMON = (
    *("jinja2", "markdown.extensions.attr_list", "pymdownx.superfences"),
    *("mkdocs_attnviz.pipeline", "mkdocs_attnviz.settings", "mkdocs_attnviz.publishing"),
)
"""Modules that every documentation tool imports, or that our own extension of it does."""


def main() -> None:
    """Answer requests on standard input: fork a command and tell its process id, or tell how it has ended.

    The folder of their output is removed when the input ends, however the test session has ended.
    """
    sys.path.pop(0)  # the folder of this file
    folder, *modules = sys.argv[1:]
    views = importlib.import_module("mkdocs_attnviz.views").__path__
    for name in (*COMMON, *modules, *(view.name for view in pkgutil.iter_modules(views, "mkdocs_attnviz.views."))):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a fork then shares their memory
    answer(0)
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        if "wait" in request:
            answer(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]))
        elif pid := os.fork():
            answer(pid)
        else:
            become(**request)
    shutil.rmtree(folder, ignore_errors=True)


def answer(number: int) -> None:
    os.write(1, b"%d\n" % number)


def become(command: list[str], cwd: str, env: dict[str, str], folder: str) -> NoReturn:
    """Run `python -m` with this command in the process that has just been forked, and end as the interpreter would."""
    os.setsid()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(os.open(f"{folder}/{name}", os.O_RDWR | os.O_CREAT, 0o644), number)
    os.chdir(cwd)
    before, now = python_path(os.environ), python_path(env)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [cwd, *now, *(entry for entry in sys.path if entry not in before)]
    customized = next((folder for folder in now if Path(folder, "sitecustomize.py").exists()), None)
    if customized not in (None, *before):  # what is in `before` has been run
        runpy.run_path(f"{customized}/sitecustomize.py")
    sys.argv = list(command)
    status = 0
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
