"""Progress of long work: a bar on a terminal, else a line in the log now and then, also while a model loads."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any

import click

from mkdocs_attnviz.cache import Log

EVERY = 10.0  # seconds between two lines in a log


class Progress:
    """Counts to `total` while it is entered."""

    def __init__(self, total: int, log: Log) -> None:
        self.total, self.log = total, log
        self.done = 0
        self._ended = threading.Event()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.total and sys.stderr.isatty():
            self._bar = click.progressbar(length=self.total, label="attention", file=sys.stderr).__enter__()
        elif self.total:
            threading.Thread(target=self._tell, daemon=True).start()
        return self

    def _tell(self) -> None:
        while not self._ended.wait(EVERY):
            self.log.info("%d of %d texts done", self.done, self.total)

    def advance(self) -> None:
        self.done += 1
        if self._bar is not None:
            self._bar.update(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)
