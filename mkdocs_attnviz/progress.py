"""The progress of long work: a bar on a terminal, or else a line in the log from time to time."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from types import TracebackType
from typing import Any

import click

from mkdocs_attnviz.log import Log

EVERY = 10.0
"""The number of seconds between two lines in a log."""
LABEL = "attention"


class Progress:
    """A counter up to `total`, used as a context manager. Between two counts it says which step is running."""

    def __init__(self, total: int, log: Log) -> None:
        self.total, self.log = total, log
        self.done = 0
        self._what, self._at, self._since = "", "", time.monotonic()
        self._ended = threading.Event()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.total and sys.stderr.isatty():
            self._bar = click.progressbar(length=self.total, label=LABEL, file=sys.stderr).__enter__()
        elif self.total:
            with contextlib.suppress(
                RuntimeError
            ):  # no more threads can be started: the work continues without log lines
                threading.Thread(target=self._tell, daemon=True).start()
        return self

    def _tell(self) -> None:
        """Log the progress at regular intervals until the work ends."""
        while not self._ended.wait(EVERY):
            seconds = time.monotonic() - self._since
            at = f" ({self._at}, for {seconds:.0f} s now)" if self._at and seconds >= EVERY else ""
            self.log.info("%d of %d texts done%s", self.done, self.total, at)

    def say(self, what: str, so_far: str = "") -> None:
        """Report a step that begins, such as loading a model, or how far it is. The next call of `advance` ends the
        step."""
        again = what == self._what
        self._what, self._at = what, f"{what}: {so_far}" if so_far else what
        if again:  # the same step continues: the next regular line reports it
            return
        self._since = time.monotonic()
        if self._bar is not None:
            self._bar.label = f"{LABEL} ({self._at})"
            self._bar.render_progress()
        elif not self._ended.is_set():
            self.log.info("%s", self._at)

    def advance(self) -> None:
        """Count one more finished item."""
        self.done += 1
        self._what = self._at = ""
        if self._bar is not None:
            self._bar.label = LABEL
            self._bar.update(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)
