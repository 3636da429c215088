"""Worker processes of a test run that need not import torch: forks of one process that has imported all they need.

PyTorch and transformers take five seconds of a processor to import, and a run starts some hundred workers. While a run
of pytest lasts, `PYTHONPATH` names a folder whose `sitecustomize` turns a worker that has just been started into a
stand-in: it hands its pipes to the warm process, which forks, and ends as the fork ends. A worker that is started with
any other environment than the run's, or in another way than the build's, is none of this and imports torch itself.
So does one of a test with the fixture `cold_workers`: what is about processes is tested with real ones.

In the same way, the process by which a command reads a site of MkDocs is a fork of one that has imported MkDocs.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HUB = {"HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"}
"""Variables of the hub's client, which a fork reads anew."""
BY_MODULES = {"KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK", "TORCHINDUCTOR_CACHE_DIR"}
"""Variables that scikit-learn and PEFT set when a test imports them, and in the warm process."""
BY_RAY = {"PYTHONBREAKPOINT"}
"""Variables that Ray sets for what it starts."""
FREE = {"PATH", "PYTHONPATH", "PWD", "OLDPWD", "COLUMNS", *HUB, *BY_MODULES, *BY_RAY}
"""Variables that may differ: nothing that has been imported depends on them. A fork gets its stand-in's `sys.path`."""
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
START = ("PYTHON", "LANG", "LC_", "TZ", "LD_", "MALLOC_")
"""Beginnings of the variables that Python reads when it starts."""
SITECUSTOMIZE = """\
import importlib.machinery, importlib.util, os, sys
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "code.txt")) as file:
    is_one = sys.orig_argv[1:3] == ["-c", file.read()]
if is_one:
    spec = importlib.util.spec_from_file_location("warm_workers", {source!r})
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.stand_in(here)
places = [os.path.abspath(folder) for folder in sys.path]
spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path[places.index(here) + 1 :])
if spec:
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
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
    about = {"run": run, "prefix": sys.prefix, "modules": list(modules), "all": environment is not None}
    about["environment"] = fixed(environment() if environment else os.environ, about["all"])
    write(folder / "code.txt", code)
    write(folder / "run.json", json.dumps(about))
    write(folder / "sitecustomize.py", SITECUSTOMIZE.format(source=__file__))


def write(path: Path, text: str) -> None:
    """Write a file that others may be reading, or writing with the same text."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    own.write_text(text)
    own.replace(path)


def stand_in(folder: str) -> None:
    """Be the worker that a fork of the warm process is, and end as it ends; return if there can be no such fork."""
    where = Path(folder)
    run = json.loads((where / "run.json").read_text())
    if sys.prefix != run["prefix"] or fixed(os.environ, run["all"]) != run["environment"]:
        return
    with contextlib.suppress(FileExistsError):
        (where / "started").touch(exist_ok=False)
        command = [sys.executable, __file__, folder]
        with (where / "log").open("wb") as log:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            subprocess.Popen(command, cwd=folder, start_new_session=True, **pipes)
    with socket.socket(socket.AF_UNIX) as warm:
        if not connected(warm, where / "socket"):
            return
        job = {"folder": str(Path.cwd()), "environment": dict(os.environ), "arguments": sys.orig_argv[3:]}
        job["path"] = [part for part in sys.path if part]
        content = json.dumps(job).encode()
        socket.send_fds(warm, [len(content).to_bytes(4, "big")], [0, 1, 2])
        warm.sendall(content)
        for stream in (0, 1, 2):
            os.close(stream)
        status = int(warm.recv(16) or 1)
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


def fixed(environment: Mapping[str, str], every: bool) -> dict[str, str]:
    """Return the variables that must be the same: every one that is not free, or those that Python reads."""
    names = {name for name in environment if every or name.startswith(START)} - FREE
    return {name: environment[name] for name in sorted(names)}


def connected(warm: socket.socket, path: Path) -> bool:
    """Connect to the warm process, which listens before it imports anything; return False if it has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            warm.connect(str(path))
            return True
        except FileNotFoundError:
            time.sleep(0.01)
        except ConnectionRefusedError:
            return False
    return False


def fork_of(stand_in: subprocess.Popen[bytes]) -> int:
    """Return the process that works for a stand-in, and reads its input; a worker that is none is this itself.

    A stand-in that is killed has its fork killed a moment later, which may answer meanwhile, unlike a real worker.
    """
    if sys.platform != "linux":
        return stand_in.pid
    pipe, forks = os.fstat(stand_in.stdin.fileno()), []
    for process in Path("/proc").glob("[0-9]*"):
        number = int(process.name)
        with contextlib.suppress(OSError):
            if os.path.samestat(process.joinpath("fd", "0").stat(), pipe) and os.getsid(number) == number:
                forks.append(number)  # another reader is its watchdog
    (fork,) = forks
    return fork


# ---- the warm process


def serve(folder: Path) -> None:
    """Fork a worker for each stand-in, until the run of pytest has ended."""
    about, code = json.loads((folder / "run.json").read_text()), (folder / "code.txt").read_text()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "binding"))
        door.listen(100)
        (folder / "binding").rename(folder / "socket")
        door.settimeout(1)
        gc.disable()
        for name in about["modules"]:
            importlib.import_module(name)
        if conversion := sys.modules.get("transformers.conversion_mapping"):
            conversion.get_checkpoint_conversion_mapping("bert")  # compiles a thousand expressions for all models
        gc.enable()
        gc.collect()
        gc.freeze()  # a fork then shares their memory
        while alive(about["run"]):
            with contextlib.suppress(TimeoutError):
                connection, _ = door.accept()
                if os.fork() == 0:
                    door.close()
                    attend(connection, code)
                connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def attend(stand_in: socket.socket, code: str) -> None:
    """Run one worker, kill it when its stand-in is killed, and tell the stand-in how it has ended."""
    stand_in.setblocking(True)
    size, pipes, _, _ = socket.recv_fds(stand_in, 4, 3)
    length = int.from_bytes(size, "big")
    with stand_in.makefile("rb") as stream:
        content = stream.read(length)
    if not pipes or len(content) < length:  # the stand-in was killed meanwhile
        os._exit(0)
    ours, theirs = os.pipe()
    worker = os.fork()
    if worker == 0:
        stand_in.close()
        os.close(ours)
        os.set_inheritable(theirs, False)
        become(code, pipes, **json.loads(content))
    for pipe in [*pipes, theirs]:
        os.close(pipe)
    ready, _, _ = select.select([stand_in, ours], [], [])
    if stand_in in ready:
        os.kill(worker, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    with contextlib.suppress(OSError):
        stand_in.sendall(str(status).encode())
    os._exit(0)


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
        threading._shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
