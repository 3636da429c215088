"""A worker ends with its build, whatever it is doing then.

The build may have been killed, and the worker may be within native code for hours, where no thread of Python runs. So a
process of its own watches: a fork of the worker before that imports anything, which sleeps until one of them has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator

GRACE = 2_000  # milliseconds in which a worker ends by itself
MANY = 1024  # more files than a process has open that has only just begun


@contextlib.contextmanager
def ends_with_build(pipe: int) -> Iterator[None]:
    """While this lasts, this process is killed when the other end of `pipe`, which the build holds, is closed.

    Where processes cannot be forked, a worker ends with the job it is at.
    """
    if not hasattr(os, "fork") or not hasattr(select, "poll"):
        yield
        return
    theirs, ours = os.pipe()
    worker = os.getpid()
    try:
        watchdog = os.fork()
    except OSError:  # too many processes: the worker runs without
        watchdog = None
    if watchdog == 0:
        try:
            _watch(worker, pipe, theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    try:
        yield
    finally:
        os.close(ours)
        if watchdog is not None:
            os.waitpid(watchdog, 0)


def _watch(worker: int, build: int, alive: int) -> None:
    """Sleep until the worker has ended, or the build; then end the worker, too. `alive` is a pipe that it holds."""
    for number in range(MANY):  # else what waits for the worker's end would wait for ours
        if number not in (build, alive):
            with contextlib.suppress(OSError):
                os.close(number)
    ended = select.poll()
    ended.register(alive, 0)
    both = select.poll()
    both.register(alive, 0)
    both.register(build, 0)  # for nothing but its end; what comes through it is for the worker
    if alive in dict(both.poll()) or ended.poll(GRACE):
        return
    if os.getppid() == worker:
        os.kill(worker, signal.SIGKILL)
