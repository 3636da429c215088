"""A watchdog that ends a worker with its build, whatever the worker is doing.

The build may have been killed while the worker is in native code for hours, where no Python thread runs. So a separate
process watches: a fork of the worker, made before the worker imports anything, that sleeps until one of the two has
ended.

If the worker was killed, it also ends the processes that the worker has forked, as a model's own code or a library may
do. They hold the worker's end of the pipe to the build, which would wait for them for ever.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator

GRACE = 2_000  # the time in milliseconds in which a worker ends by itself
EVERY = 1_000  # the time in milliseconds after which the watchdog looks for the worker again
MANY = 1024  # more files than a new process has open


@contextlib.contextmanager
def ends_with_build(pipe: int) -> Iterator[None]:
    """Kill this process when the build closes its end of `pipe`, as long as the `with` block runs.

    On systems that cannot fork, a worker ends with its current job.
    """
    if not hasattr(os, "fork") or not hasattr(select, "poll"):
        yield
        return
    theirs, ours = os.pipe()
    worker = os.getpid()
    try:
        watchdog = os.fork()
    except OSError:  # too many processes: the worker runs without a watchdog
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
        with contextlib.suppress(OSError):  # the watchdog was killed
            os.write(ours, b".")
        os.close(ours)
        if watchdog is not None:
            os.waitpid(watchdog, 0)


def _watch(worker: int, build: int, alive: int) -> None:
    """Sleep until the worker or the build has ended, then kill what is left of the worker and its forks.

    `alive` is a pipe that they hold open, into which the worker writes when it ends by itself.
    """
    for number in range(MANY):  # otherwise a process that waits for the worker's end would wait for the watchdog's
        if number not in (build, alive):
            with contextlib.suppress(OSError):
                os.close(number)
    ending = select.poll()
    ending.register(alive, select.POLLIN)
    both = select.poll()
    both.register(alive, select.POLLIN)
    both.register(build, 0)  # only its end is watched; messages in it are for the worker
    while not (events := dict(both.poll(EVERY))) and os.getppid() == worker:
        pass
    if build in events and alive not in events:
        events = dict(ending.poll(GRACE))
    if events.get(alive, 0) & select.POLLIN:
        return
    if os.getpgrp() == worker:
        os.killpg(worker, signal.SIGKILL)
    elif os.getppid() == worker:
        os.kill(worker, signal.SIGKILL)
