"""Worker processes of a test run that need not import torch: forks of one process that has imported all they need.

PyTorch and transformers take five seconds of a processor to import, and a run starts some hundred workers. While a run
of pytest lasts, `PYTHONPATH` names a folder whose `sitecustomize` turns a worker that has just been started into a
stand-in: it hands its pipes to the warm process, which forks, and ends as the fork ends. A worker that is started with
any other environment than the run's, or in another way than the build's, is none of this and imports torch itself.
So does one of a test with the fixture `cold_workers`: what is about processes is tested with real ones.

In the same way, the process by which a command reads a site of MkDocs is a fork of one that has imported MkDocs, the
processes in which pytest-xdist runs tests are forks of one that has imported what the files of tests import, and so on.
`sitecustomize` also saves what jsonschema would take a second for: to compile a grammar of IRIs.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
TEST_PROCESS = "import sys;exec(eval(sys.stdin.readline()))"
"""The code of a process in which pytest-xdist runs tests, as execnet starts it."""
READING_MODULES = [
    *("mkdocs.__main__", "mkdocs.commands.build", "mkdocs.contrib.search", "mkdocs_attnviz.hosts.mkdocs"),
    *("pymdownx.superfences", "markdown.extensions.toc", "markdown.extensions.tables"),
]
"""Modules that MkDocs imports for most sites."""
TEST_MODULES = [
    *("mkdocs_attnviz.pipeline", "mkdocs_attnviz.cli.main", "mkdocs_attnviz.models.captures.attention"),
    *("transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2", "captum.attr", "peft"),
    *("sklearn.decomposition", "ray", "playwright.sync_api", "bs4", "html5lib", "PIL.Image"),
    *("nbformat", "jupyter_client.manager", "anywidget", "IPython", "mkdocs", "mkdocstrings"),
]
"""Modules that the files of tests import, without those of pytest, its plugins and Hypothesis."""
NBCONVERT_MODULES = ["nbconvert.nbconvertapp", "IPython.display", "jinja2.ext", "pygments.lexers.python"]
"""Modules that nbconvert imports for a page."""
START = ("PYTHON", "LANG", "LC_", "TZ", "LD_", "MALLOC_")
"""Beginnings of the variables that Python reads when it starts."""
SITECUSTOMIZE = """\
import importlib.machinery, importlib.util, os, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.modules.setdefault("rfc3987_syntax", None)
if [part for part in sys.orig_argv[1:] if part != "-u"][:2] in {starts!r}:
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
WITH_MODULES = "import sys; exec(sys.argv.pop(1))"
"""The code of a process that runs its first argument, where a test needs what workers import."""


def install(
    folder: Path,
    starts: Sequence[Sequence[str]],
    modules: Sequence[str],
    run: int,
    environment: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Let processes of this one and its children be forks of one that has imported `modules`.

    They are those whose command line has `-c` and a code of `starts`, or `-m` and a module. `environment` returns what
    the first kind is started with; it must be the same to the last variable, others may have further ones. Where it is
    not given, only variables that Python itself reads must be the same. `run` is the process with which the warm one
    ends. Several processes of a run share a folder.
    """
    before = os.environ.get("PYTHONPATH")
    if sys.platform != "linux" or len(str(folder)) > LONGEST:
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    folder.mkdir(parents=True, exist_ok=True)
    about = {"run": run, "prefix": sys.prefix, "modules": list(modules), "all": environment is not None}
    about |= {"environment": fixed(environment() if environment else os.environ, about["all"]), "first": starts[0]}
    write(folder / "run.json", json.dumps(about))
    write(folder / "sitecustomize.py", SITECUSTOMIZE.format(source=__file__, starts=list(map(list, starts))))


def remove(name: str) -> None:
    """Take the folder of this name out of `PYTHONPATH`: processes that this one starts are no forks by it."""
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in folders if Path(path).name != name)
    if not os.environ["PYTHONPATH"]:
        del os.environ["PYTHONPATH"]


def write(path: Path, text: str) -> None:
    """Write a file that others may be reading, or writing with the same text."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    own.write_text(text)
    own.replace(path)


def stand_in(folder: str) -> None:
    """Be the worker that a fork of the warm process is, and end as it ends; return if there can be no such fork."""
    where = Path(folder)
    run = json.loads((where / "run.json").read_text())
    option, code, *arguments = [part for part in sys.orig_argv[1:] if part != "-u"]
    if sys.prefix != run["prefix"] or not fits(run, [option, code]):
        return
    with contextlib.suppress(FileExistsError):
        (where / "started").touch(exist_ok=False)
        command = [sys.executable, __file__, folder]
        free = {name: value for name, value in os.environ.items() if name in FREE or not run["all"]}
        with (where / "log").open("wb") as log:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            environment = free | run["environment"]
            subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)
    with socket.socket(socket.AF_UNIX) as warm:
        if not connected(warm, where / "socket"):
            return
        job = {"folder": str(Path.cwd()), "environment": dict(os.environ), "path": [part for part in sys.path if part]}
        content = json.dumps(job | {"option": option, "code": code, "arguments": arguments}).encode()
        socket.send_fds(warm, [len(content).to_bytes(4, "big")], [0, 1, 2])
        warm.sendall(content)
        for stream in (0, 1, 2):
            os.close(stream)
        status = int(warm.recv(16) or 1)
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


def fits(run: Mapping[str, Any], start: list[str]) -> bool:
    """Return whether this process has the environment of a run's warm process."""
    if start == run["first"]:
        return fixed(os.environ, run["all"]) == run["environment"]
    wanted = {name: value for name, value in run["environment"].items() if not name.startswith("MALLOC_")}
    return {name: os.environ.get(name) for name in wanted} == wanted


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
    about = json.loads((folder / "run.json").read_text())
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
                    attend(connection)
                connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def attend(stand_in: socket.socket) -> None:
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
        become(pipes, **json.loads(content))
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
    pipes: list[int],
    folder: str,
    environment: dict[str, str],
    path: list[str],
    option: str,
    code: str,
    arguments: list[str],
) -> None:
    """Be a process that has been started with this code, or with `-m` and this module."""
    os.setsid()
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    for name, buffered in (("stdout", -1), ("stderr", 1)):  # which were a file, and a file can be sought in
        stream = getattr(sys, name)
        setattr(sys, name, open(stream.fileno(), "w", buffered, stream.encoding, stream.errors, closefd=False))  # noqa: SIM115
    hub = {name: os.environ.get(name) for name in HUB}
    os.environ.clear()
    os.environ.update(environment)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants and hub != {name: os.environ.get(name) for name in HUB}:
        importlib.reload(constants)
    os.chdir(folder)
    sys.path[:] = path
    sys.argv[:] = [option, *arguments]
    status = 1
    try:
        if option == "-m":
            sys.path.insert(0, folder)
            runpy.run_module(code, run_name="__main__", alter_sys=True)
        else:
            del sys.modules["__main__"].__file__  # processes that it starts would run this module
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
