"""The process from which others are forked in a test run (`warm_workers`), and what each fork becomes."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import marshal
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import stand_in
from stand_in import HUB
from warm_workers import python_path

BY_TIME = "sphinx.builders.gettext"
"""The extension of Sphinx's own that reads `SOURCE_DATE_EPOCH` when it is imported."""


class Fork(NamedTuple):
    """A process that has been forked, a descriptor that tells of its end, and the connection to who asked for it."""

    pid: int
    end: int
    asker: socket.socket


class Forks:
    """The forks of the warm process: each is killed when its asker ends, and the asker is told how the fork ends."""

    def __init__(self, door: socket.socket) -> None:
        """Fork for whom comes through the door."""
        self.door, self.working = door, set[Fork]()
        self.events = selectors.DefaultSelector()
        self.events.register(door, selectors.EVENT_READ)

    def attend(self) -> None:
        """Fork processes and let them end, as it comes, for up to a second."""
        for key, _ in self.events.select(1):
            if key.data is None:
                self.begin(self.door.accept()[0])
            elif key.data in self.working:
                self.finish(key.data, killed=key.fileobj is key.data.asker)

    def begin(self, connection: socket.socket) -> None:
        """Fork for who is at the other end, unless that has been killed already."""
        size, pipes, _, _ = socket.recv_fds(connection, 4, 3)
        length = int.from_bytes(size, "big")
        with connection.makefile("rb") as stream:
            job = stream.read(length)
        whole = bool(pipes) and len(job) == length
        pid = os.fork() if whole else None
        if pid == 0:
            for each in (self.events, self.door, connection, *(fork.asker for fork in self.working)):
                each.close()
            for fork in self.working:
                os.close(fork.end)
            become(pipes, **marshal.loads(job))
        for pipe in pipes:
            os.close(pipe)
        if pid is None:
            connection.close()
            return
        fork = Fork(pid, os.pidfd_open(pid), connection)
        self.working.add(fork)
        for event in (fork.end, connection):
            self.events.register(event, selectors.EVENT_READ, fork)

    def finish(self, fork: Fork, *, killed: bool) -> None:
        """Tell the asker of a fork how that has ended, or end the fork whose asker has been killed."""
        if killed:
            os.kill(fork.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(fork.pid, 0)[1])
        with contextlib.suppress(OSError):
            fork.asker.sendall(str(status).encode())
        for event in (fork.end, fork.asker):
            self.events.unregister(event)
        os.close(fork.end)
        fork.asker.close()
        self.working.remove(fork)


def serve(folder: Path) -> None:
    """Fork a process for each that asks, until the run of pytest has ended."""
    about = stand_in.about(folder)
    sys.path.pop(0)  # the folder of this file
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "binding"))
        door.listen(100)
        (folder / "binding").rename(folder / "socket")
        gc.disable()
        remember_entry_points()
        import_all(about["modules"])
        if conversion := sys.modules.get("transformers.conversion_mapping"):
            conversion.get_checkpoint_conversion_mapping("bert")  # compiles a thousand expressions for all models
        if jinja := sys.modules.get("jinja2"):
            keep_templates(jinja, folder / "templates")
        gc.enable()
        gc.collect()
        gc.freeze()  # a fork then shares their memory
        forks = Forks(door)
        while alive(about["run"]):
            forks.attend()


def import_all(modules: Sequence[str]) -> None:
    """Import modules, with those that Sphinx imports whatever it builds, if it is one."""
    for name in modules:
        importlib.import_module(name)
    for name in getattr(sys.modules.get("sphinx.application"), "builtin_extensions", ()):
        if name != BY_TIME:
            importlib.import_module(name)


def remember_entry_points() -> None:
    """Let forks know the entry points of what is installed here, which each tool would read from hundreds of files."""
    read = metadata.entry_points
    known = {folder for folder in sys.path if has_packages(folder)}
    whole = read()

    def entry_points(**selected: str) -> Any:
        if {folder for folder in sys.path if folder in known or has_packages(folder)} != known:
            return read(**selected)
        return whole.select(**selected) if selected else whole

    metadata.entry_points = entry_points


def has_packages(folder: str) -> bool:
    """Return whether there are installed packages in a folder."""
    return next(iter(metadata.distributions(path=[folder])), None) is not None


def keep_templates(jinja: ModuleType, folder: Path) -> None:
    """Let forks take the code of templates from a folder: builds with a theme would compile the same ones each time."""
    folder.mkdir()
    kept = jinja.FileSystemBytecodeCache(str(folder))
    begin = jinja.Environment.__init__

    def keep(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self.bytecode_cache = self.bytecode_cache or kept

    jinja.Environment.__init__ = keep


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def become(
    pipes: list[int],
    start: list[str],
    folder: str,
    environment: dict[str, str],
    path: list[str] | None = None,
) -> NoReturn:
    """Be a process that has been started with `-c` and this code, with `-m` and this module, or with this script.

    `path` has the folders from which that imports; where it is not given, `PYTHONPATH` in the environment tells.
    """
    os.setsid()
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    for name, buffered in (("stdout", -1), ("stderr", 1)):  # which were a file, and a file can be sought in
        stream = getattr(sys, name)
        setattr(sys, name, open(stream.fileno(), "w", buffered, stream.encoding, stream.errors, closefd=False))  # noqa: SIM115
    os.chdir(folder)
    before, now = python_path(os.environ), python_path(environment)
    sys.path[:] = path or [*now, *(entry for entry in sys.path if entry not in before)]
    take_environment(environment)
    customized = next((folder for folder in now if Path(folder, "sitecustomize.py").exists()), None)
    if path is None and customized not in (None, *before):  # what is in `before` has been run
        runpy.run_path(f"{customized}/sitecustomize.py")
    status = 0
    try:
        run(start, folder)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()
        if start[0] != "-c":
            atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def run(start: list[str], folder: str) -> None:
    """Run what is named by the arguments with which Python has been started in a folder."""
    option, *arguments = start
    if option == "-c":
        code, *arguments = arguments
        sys.argv[:] = ["-c", *arguments]
        del sys.modules["__main__"].__file__  # processes that it starts would run this module
        exec(code, {"__name__": "__main__"})
    elif option == "-m":
        module, *arguments = arguments
        sys.argv[:] = ["-m", *arguments]
        sys.path.insert(0, folder)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = start
        sys.path.insert(0, str(Path(option).parent))
        runpy.run_path(option, run_name="__main__")


def take_environment(environment: dict[str, str]) -> None:
    """Replace the variables of this process; what has been imported reads those of the hub again."""
    hub = {name: os.environ.get(name) for name in HUB}
    os.environ.clear()
    os.environ.update(environment)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants and hub != {name: os.environ.get(name) for name in HUB}:
        importlib.reload(constants)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
