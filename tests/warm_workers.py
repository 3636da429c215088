"""Worker processes of a test run that need not import torch: forks of one process that has imported all they need.

PyTorch and transformers take five seconds of a processor to import, and a run starts some hundred workers. While a run
of pytest lasts, `PYTHONPATH` names a folder whose `sitecustomize` turns a worker that has just been started into a
stand-in: it hands its pipes to the warm process, which forks, and ends as the fork ends. A worker that is started with
any other environment than the run's, or in another way than the build's, is none of this and imports torch itself.
So does one of a test with the fixture `cold_workers`: what is about processes is tested with real ones.

In the same way, the process by which a command reads a site of MkDocs is a fork of one that has imported MkDocs, the
processes in which pytest-xdist runs tests are forks of one that has imported what the files of tests import, and so on.
What is forked is in `warm_process`, what a process does that has just been started in `stand_in`.
`sitecustomize` also saves what jsonschema would take a second for: to compile a grammar of IRIs.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import stand_in
from stand_in import fixed

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
TEST_MODULES = [
    *("mkdocs_attnviz.pipeline", "mkdocs_attnviz.cli.main", "mkdocs_attnviz.models.captures.attention"),
    *("transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2", "captum.attr", "peft"),
    *("sklearn.decomposition", "ray", "playwright.sync_api", "bs4", "html5lib", "PIL.Image"),
    *("nbformat", "jupyter_client.manager", "anywidget", "IPython", "mkdocs", "mkdocstrings"),
]
"""Modules that the files of tests import, without those of pytest, its plugins and Hypothesis."""
SITECUSTOMIZE = """\
import os, sys
from importlib.machinery import PathFinder, SourceFileLoader
def run(name, loader):
    module = type(sys)(name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module
here = os.path.dirname(os.path.abspath(__file__))
sys.modules.setdefault("rfc3987_syntax", None)
start = [part for part in sys.orig_argv[1:] if part != "-u"]
if start[:2] in {starts!r} or start[:1] in {starts!r}:
    run("stand_in", SourceFileLoader("stand_in", {stand_in!r})).stand_in(here)
places = [os.path.abspath(folder) for folder in sys.path]
spec = PathFinder.find_spec("sitecustomize", sys.path[places.index(here) + 1 :])
if spec:
    run("sitecustomize", spec.loader)
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

    They are those whose command line has `-c` and a code of `starts`, or `-m` and a module, or a script. `environment`
    returns what the first kind is started with; it must be the same to the last variable, others may have further ones.
    Where it is not given, only variables that Python itself reads must be the same. `run` is the process with which the
    warm one ends. Several processes of a run share a folder.
    """
    before = os.environ.get("PYTHONPATH")
    if sys.platform != "linux" or len(str(folder)) > LONGEST:
        return
    if starts:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    folder.mkdir(parents=True, exist_ok=True)
    every = environment is not None
    about = {
        "run": run,
        "prefix": sys.prefix,
        "source": str(Path(__file__).with_name("warm_process.py")),
        "modules": list(modules),
        "all": every,
    }
    about["environment"] = fixed(environment() if environment else os.environ, every)
    about["first"] = list(starts[0]) if starts else None
    code = SITECUSTOMIZE.format(stand_in=stand_in.__file__, starts=list(map(list, starts)))
    write(folder / "run", marshal.dumps(about))
    write(folder / "sitecustomize.py", code.encode())


def remove(name: str) -> None:
    """Take the folder of this name out of `PYTHONPATH`: processes that this one starts are no forks by it."""
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in folders if Path(path).name != name)
    if not os.environ["PYTHONPATH"]:
        del os.environ["PYTHONPATH"]


def write(path: Path, content: bytes) -> None:
    """Write a file that others may be reading, or writing with the same content."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    own.write_bytes(content)
    own.replace(path)


def python_path(environment: Mapping[str, str]) -> list[str]:
    """Return the folders that `PYTHONPATH` names."""
    return [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]


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
