"""The progress of long work: a bar on a terminal, or else a line in the log from time to time."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import click

from mkdocs_attnviz.log import Log
from mkdocs_attnviz.speed import Speed, Work

EVERY = 10.0
"""The number of seconds between two lines in a log."""
LABEL = "attention"


class Progress:
    """A counter of `works`, used as a context manager: how many are done, how fast, and how long the rest may take.
    Between two counts it says which step is running."""

    def __init__(self, works: Sequence[Work], log: Log) -> None:
        self.total, self.log = len(works), log
        self.done = 0
        self._speed, self._start = Speed(works), time.monotonic()
        self._what, self._at, self._since = "", "", time.monotonic()
        self._ended = threading.Event()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.total and sys.stderr.isatty():
            self._bar = click.progressbar(
                length=self.total, label=LABEL, file=sys.stderr, show_eta=False, item_show_func=lambda _: self._fast()
            ).__enter__()
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
            fast = self._fast()
            self.log.info("%d of %d texts done%s%s", self.done, self.total, f", {fast}" if fast else "", at)

    def _fast(self) -> str:
        return self._speed.words(time.monotonic() - self._start)

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

    def advance(self, index: int, tokens: int = 0, seconds: float = 0.0) -> None:
        """Count the work with this index as finished, with the tokens that were read and the seconds it took."""
        self.done += 1
        self._speed.add(index, tokens, seconds)
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
