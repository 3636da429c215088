"""A process that has just been started lets a fork of the warm process work for it (`warm_workers`).

All this runs while Python starts. It imports nothing that Python itself has not imported, or that is not compiled into
it: `json`, `socket` or `pathlib` would cost as much as all of Python's start.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys
import time
from collections.abc import Mapping

HUB = {"HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"}
"""Variables of the hub's client, which a fork reads anew."""
BY_MODULES = {"KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK", "TORCHINDUCTOR_CACHE_DIR"}
"""Variables that scikit-learn and PEFT set when a test imports them, and in the warm process."""
BY_RAY = {"PYTHONBREAKPOINT"}
"""Variables that Ray sets for what it starts."""
FREE = {"PATH", "PYTHONPATH", "PWD", "OLDPWD", "COLUMNS", *HUB, *BY_MODULES, *BY_RAY}
"""Variables that may differ: nothing that has been imported depends on them. A fork gets its stand-in's `sys.path`."""
START = ("PYTHON", "LANG", "LC_", "TZ", "LD_", "MALLOC_")
"""Beginnings of the variables that Python reads when it starts."""


def stand_in(folder: str) -> None:
    """Be the worker that a fork of the warm process is, and end as it ends; return if there can be no such fork."""
    with open(f"{folder}/run", "rb") as file:  # noqa: PTH123
        run = marshal.load(file)
    if sys.prefix != run["prefix"] or fixed(os.environ, run["all"]) != run["environment"]:
        return
    try:
        os.close(os.open(f"{folder}/started", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        pass
    else:
        start(folder, run["source"])
    warm = _socket.socket(_socket.AF_UNIX)
    connect(warm, f"{folder}/socket")
    job = {"environment": dict(os.environ), "arguments": sys.orig_argv[3:]}
    job |= {"folder": os.getcwd(), "path": [part for part in sys.path if part]}  # noqa: PTH109
    content = marshal.dumps(job)
    pipes = b"".join(stream.to_bytes(4, sys.byteorder) for stream in (0, 1, 2))
    warm.sendmsg([len(content).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pipes)])
    warm.sendall(content)
    for stream in (0, 1, 2):
        os.close(stream)
    status = int(warm.recv(16) or 1)
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


def start(folder: str, source: str) -> None:
    """Start the warm process."""
    import subprocess

    with open(f"{folder}/log", "wb") as log:  # noqa: PTH123
        pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        subprocess.Popen([sys.executable, source, folder], cwd=folder, start_new_session=True, **pipes)


def fixed(environment: Mapping[str, str], every: bool) -> dict[str, str]:
    """Return the variables that must be the same: every one that is not free, or those that Python reads."""
    names = {name for name in environment if every or name.startswith(START)} - FREE
    return {name: environment[name] for name in sorted(names)}


def connect(warm: _socket.socket, path: str) -> None:
    """Wait for the warm process, which listens before it imports anything."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return warm.connect(path)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
