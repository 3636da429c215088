"""Worker processes of a test run that need not import torch: forks of one process that has imported all they need.

PyTorch and transformers take five seconds of a processor to import, and a run starts some hundred workers. While a run
of pytest lasts, `PYTHONPATH` names a folder whose `sitecustomize` turns a worker that has just been started into a
stand-in (`stand_in`): it hands its pipes to the warm process, which forks, and ends as the fork ends. A worker that is
started with any other environment than the run's, or in another way than the build's, is none of this and imports torch
itself. So does one of a test with the fixture `cold_workers`: what is about processes is tested with real ones.

In the same way, the process by which a command reads a site of MkDocs is a fork of one that has imported MkDocs.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import marshal
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import stand_in
from stand_in import HUB, fixed

LONGEST = 90
"""Characters of a folder in which there can be a socket."""
WORKER_MODULES = [
    *("mkdocs_attnviz.models.engine.worker", "mkdocs_attnviz.models.captures.attention"),
    *("transformers.models.bert.modeling_bert", "transformers.models.bert.tokenization_bert"),
    *("transformers.models.gpt2.modeling_gpt2", "captum.attr", "sklearn"),
]
"""Modules that most workers import."""
READING_MODULES = [
    *("mkdocs.__main__", "mkdocs.commands.build", "mkdocs.contrib.search", "mkdocs_attnviz.hosts.mkdocs"),
    *("pymdownx.superfences", "markdown.extensions.toc", "markdown.extensions.tables"),
]
"""Modules that MkDocs imports for most sites."""
SITECUSTOMIZE = """\
import os, sys
from importlib.machinery import PathFinder, SourceFileLoader
def run(name, loader):
    module = type(sys)(name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "code.txt")) as file:
    is_one = sys.orig_argv[1:3] == ["-c", file.read()]
if is_one:
    run("stand_in", SourceFileLoader("stand_in", {stand_in!r})).stand_in(here)
places = [os.path.abspath(folder) for folder in sys.path]
spec = PathFinder.find_spec("sitecustomize", sys.path[places.index(here) + 1 :])
if spec:
    run("sitecustomize", spec.loader)
"""
"""The module also runs the next `sitecustomize`, which it hides."""


def install(
    folder: Path,
    code: str,
    modules: Sequence[str],
    run: int,
    environment: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Let processes that run `code`, started by this one and its children, be forks of one that has imported `modules`.

    `environment` returns what they are started with; where it is not given, only variables that Python itself reads
    must be the same. `run` is the process with which the warm one ends. Several processes of a run share a folder.
    """
    before = os.environ.get("PYTHONPATH")
    if sys.platform != "linux" or len(str(folder)) > LONGEST:
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    folder.mkdir(parents=True, exist_ok=True)
    about = {"run": run, "prefix": sys.prefix, "modules": list(modules), "source": __file__}
    about["all"] = environment is not None
    about["environment"] = fixed(environment() if environment else os.environ, about["all"])
    write(folder / "code.txt", code.encode())
    write(folder / "run", marshal.dumps(about))
    write(folder / "sitecustomize.py", SITECUSTOMIZE.format(stand_in=stand_in.__file__).encode())


def write(path: Path, content: bytes) -> None:
    """Write a file that others may be reading, or writing with the same content."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    own.write_bytes(content)
    own.replace(path)


# ---- the warm process


class Fork(NamedTuple):
    """A worker that has been forked, a descriptor that tells of its end, and the connection to its stand-in."""

    pid: int
    end: int
    stand_in: socket.socket


class Forks:
    """The forks of the warm process: each is killed when its stand-in is, which is told how the fork has ended."""

    def __init__(self, door: socket.socket, code: str) -> None:
        """Fork for whom comes through the door; `code` is what forks run."""
        self.door, self.code, self.working = door, code, set[Fork]()
        self.events = selectors.DefaultSelector()
        self.events.register(door, selectors.EVENT_READ)

    def attend(self) -> None:
        """Fork workers and let them end, as it comes, for up to a second."""
        for key, _ in self.events.select(1):
            if key.data is None:
                self.begin(self.door.accept()[0])
            elif key.data in self.working:
                self.finish(key.data, killed=key.fileobj is key.data.stand_in)

    def begin(self, connection: socket.socket) -> None:
        """Fork a worker for the stand-in at the other end, unless that has been killed already."""
        size, pipes, _, _ = socket.recv_fds(connection, 4, 3)
        with connection.makefile("rb") as content:
            job = content.read(int.from_bytes(size, "big"))
        whole = job and len(job) == int.from_bytes(size, "big")
        pid = os.fork() if whole else None
        if pid == 0:
            for each in (self.events, self.door, connection, *(fork.stand_in for fork in self.working)):
                each.close()
            for fork in self.working:
                os.close(fork.end)
            become(self.code, pipes, **marshal.loads(job))
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
        if killed:
            os.kill(fork.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(fork.pid, 0)[1])
        with contextlib.suppress(OSError):
            fork.stand_in.sendall(str(status).encode())
        for event in (fork.end, fork.stand_in):
            self.events.unregister(event)
        os.close(fork.end)
        fork.stand_in.close()
        self.working.remove(fork)


def serve(folder: Path) -> None:
    """Fork a worker for each stand-in, until the run of pytest has ended."""
    about, code = marshal.loads((folder / "run").read_bytes()), (folder / "code.txt").read_text()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "socket"))
        door.listen(100)
        for name in about["modules"]:
            importlib.import_module(name)
        if conversion := sys.modules.get("transformers.conversion_mapping"):
            conversion.get_checkpoint_conversion_mapping("bert")  # compiles a thousand expressions for all models
        gc.collect()
        gc.freeze()  # a fork then shares their memory
        forks = Forks(door, code)
        while alive(about["run"]):
            forks.attend()


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def become(
    code: str,
    pipes: list[int],
    folder: str,
    environment: dict[str, str],
    path: list[str],
    arguments: list[str],
) -> None:
    """Be a process that has been started with this code."""
    os.setsid()
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    hub = {name: os.environ.get(name) for name in HUB}
    os.environ.clear()
    os.environ.update(environment)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants and hub != {name: os.environ.get(name) for name in HUB}:
        importlib.reload(constants)
    os.chdir(folder)
    sys.path[:] = path
    sys.argv[:] = ["-c", *arguments]
    status = 1
    try:
        exec(code, {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
