"""Python's commands, each a process of its own, that need not import PyTorch again.

`run("mkdocs", "build", …)` does what `python -m mkdocs build …` does, with its own folder, environment and output. Its
process is forked from one that has imported PyTorch, transformers and our modules, and so is the worker process that it
starts; no documentation tool is imported before. A command whose environment differs in what modules look at while they
are imported is started by the interpreter itself.
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
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

PATIENCE = 600
"""Seconds that a command may take."""
HARMLESS = ("NO_MKDOCS_2_WARNING", "SOURCE_DATE_EPOCH", "PYTEST_CURRENT_TEST", "PATH", "PWD", "OLDPWD", "COLUMNS")
HARMLESS_BEGINNINGS = ("ATTNVIZ_", "READTHEDOCS", "MALLOC_")
"""Variables that are read when they are needed, not when a module is imported."""


class Started(NamedTuple):
    """A command that may still run."""

    pid: int
    folder: Path
    """The folder of its output."""


class Forking:
    """A process that has imported what models need, and further `modules`; from it commands are forked."""

    def __init__(self, *modules: str, **environment: str) -> None:
        self.environment = os.environ | environment
        self.folder = Path(tempfile.mkdtemp(prefix="attnviz-commands-"))
        self.lock = threading.Lock()
        self.number = 0
        self.process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )
        self._answer(PATIENCE)

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Return whether modules would have been imported in the same way in this environment."""
        gone = dict.fromkeys(self.environment.keys() - environment.keys())
        return alike(self.environment, gone | dict(environment))

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


@functools.cache
def default() -> Forking:
    """Return the process from which this test session forks; it ends when its standard input is closed."""
    return Forking()


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
    if fresh or python != sys.executable or not hasattr(os, "fork") or not default().fits(environment):
        whole = [python, "-m", *command]
        how = {"capture_output": True, "encoding": "utf-8", "timeout": PATIENCE}
        return subprocess.run(whole, cwd=cwd, env=environment, input=input, **how)
    return default().wait(default().start(*command, cwd=cwd or Path.cwd(), env=environment, input=input))


def alike(ours: Mapping[str, str], theirs: Mapping[str, str | None]) -> bool:
    """Return whether modules are imported in the same way in both environments, as far as `theirs` goes."""
    differing = [name for name, value in theirs.items() if ours.get(name) != value]
    return all(name in HARMLESS or name.startswith(HARMLESS_BEGINNINGS) for name in differing)


# ---- the process that is forked

ENVIRONMENT: dict[str, str] = {}
"""The environment in which modules were imported."""
FOLDERS: list[str] = []
"""Where the interpreter itself looks for modules."""


def main() -> None:
    """Answer requests on standard input: fork a command and tell its process id, or tell how it has ended."""
    sys.path.pop(0)  # the folder of this file
    ENVIRONMENT.update(os.environ)
    FOLDERS.extend(sys.path)
    import_all(*sys.argv[1:])
    answer(0)
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        if "wait" in request:
            answer(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]))
        elif pid := os.fork():
            answer(pid)
        else:
            become(**request)


def answer(number: int) -> None:
    os.write(1, b"%d\n" % number)


COMMON = (
    *("markdown.extensions.attr_list", "pymdownx.superfences"),
    *("transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2"),
)


def import_all(*more: str) -> None:
    """Import what a worker needs, what every documentation tool has in common, and `more`."""
    import mkdocs_attnviz

    for name in (*COMMON, *more):
        importlib.import_module(name)
    for module in pkgutil.walk_packages(mkdocs_attnviz.__path__, "mkdocs_attnviz."):
        if ".hosts" not in module.name and not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of an extra
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # a fork then shares their memory


def become(command: list[str], cwd: str, env: dict[str, str], folder: str) -> NoReturn:
    """Run `python -m` with this command in the process that has just been forked."""
    os.setsid()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(os.open(f"{folder}/{name}", os.O_RDWR | os.O_CREAT, 0o644), number)
    os.chdir(cwd)
    sys.argv = list(command)
    subprocess.Popen = Forked  # type: ignore[misc]
    run_and_end(env, cwd, lambda: runpy.run_module(command[0], run_name="__main__", alter_sys=True))


def run_and_end(env: Mapping[str, str], first_folder: str, code: Callable[[], object]) -> NoReturn:
    """Run code and end this process, as the interpreter would that has been started with it."""
    atexit._clear()
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [first_folder, *FOLDERS]
    status = 0
    try:
        code()
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


class Forked(subprocess.Popen):
    """A process that runs Python code, with three pipes: forked, so that it need not import PyTorch again."""

    def _execute_child(self, arguments, executable, *how):
        cwd, env, ends = how[3], how[4], how[8:14]
        is_code = len(arguments) == 3 and list(arguments[:2]) == [sys.executable, "-c"] and not executable
        if not is_code or cwd or -1 in ends or not alike(ENVIRONMENT, env):
            super()._execute_child(arguments, executable, *how)
            return
        theirs = (ends[0], ends[3], ends[5])
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            for number, end in enumerate(theirs):
                os.dup2(end, number)
            os.closerange(3, 4096)
            run_and_end(env, "", lambda: exec(arguments[2], {"__name__": "__main__"}))
        self._child_created = True
        for end in theirs:
            os.close(end)


if __name__ == "__main__":
    main()
