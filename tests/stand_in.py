"""A process that has just been started lets a fork of the warm process work for it (`warm_workers`).

All this runs while Python starts. It imports nothing that Python itself has not imported, or that is not compiled into
it: `json`, `socket` and `pathlib` would cost as much as all of Python's start.
"""

import _socket
import marshal
import os
import sys
import time

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


def stand_in(folder):
    """Be the process that a fork of the warm process is, and end as it ends; return if there can be no such fork."""
    run = about(folder)
    start = [part for part in sys.orig_argv[1:] if part != "-u"]
    if sys.prefix != run["prefix"] or not fits(run, start[:2], os.environ):
        return
    job = {"start": start, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
    job["path"] = [part for part in sys.path if part]
    warm = hand_over(folder, job, (0, 1, 2))
    if warm is None:
        return
    for stream in (0, 1, 2):
        os.close(stream)
    status = int(warm.recv(16) or 1)
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


def about(folder):
    """Return what has been written of the warm process of a folder."""
    with open(f"{folder}/run", "rb") as file:  # noqa: PTH123
        return marshal.load(file)


def fits(run, start, environment):
    """Return whether a process that starts so in this environment may be a fork of the warm process."""
    if not run["all"] or start == run["first"]:
        return fixed(environment, run["all"]) == run["environment"]
    wanted = {name: value for name, value in run["environment"].items() if not name.startswith("MALLOC_")}
    return {name: environment.get(name) for name in wanted} == wanted


def fixed(environment, every):
    """Return the variables that must be the same: every one that is not free, or those that Python reads."""
    names = {name for name in environment if every or name.startswith(START)} - FREE
    return {name: environment[name] for name in sorted(names)}


def hand_over(folder, job, streams):
    """Give a job and its streams to the warm process, and return the connection by which it tells how the fork ends.

    The first that asks starts the warm process. Return None if it has ended.
    """
    try:
        os.close(os.open(f"{folder}/started", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        pass
    else:
        start_warm(folder)
    warm = _socket.socket(_socket.AF_UNIX)
    if not connect(warm, f"{folder}/socket"):
        return None
    content = marshal.dumps(job)
    pipes = b"".join(stream.to_bytes(4, sys.byteorder) for stream in streams)
    warm.sendmsg([len(content).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pipes)])
    warm.sendall(content)
    return warm


def start_warm(folder):
    """Start the warm process of a folder."""
    import subprocess

    run = about(folder)
    free = {name: value for name, value in os.environ.items() if name in FREE or not run["all"]}
    with open(f"{folder}/log", "wb") as log:  # noqa: PTH123
        pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        command = [sys.executable, run["source"], folder]
        subprocess.Popen(command, cwd=folder, env=free | run["environment"], start_new_session=True, **pipes)


def connect(warm, path):
    """Connect to the warm process, which listens before it imports anything; return False if it has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            warm.connect(path)
            return True
        except FileNotFoundError:
            time.sleep(0.01)
        except ConnectionRefusedError:
            return False
    return False
