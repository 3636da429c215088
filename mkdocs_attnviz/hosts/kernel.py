"""The decision which output of a notebook contains which script of its figures.

All outputs of a notebook are in one document, in Jupyter and in pages made by nbconvert, so one copy is enough. The
kernel that writes the outputs cannot see them. It only learns from the frontend which cell is running and which cells
were deleted. This decides where the next copy goes:

- the first figure since the kernel started has a copy, and so has the first one after `clear_output` removed it;

- a cell that runs again replaces its output, so the new output has a copy if the old one had;

- a cell that runs again also gets a copy if no copy was written since its last run: its reader may have cleared the
output with the copy, and the figure then asks to run the cell again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

FRAMES = ("DATABRICKS_RUNTIME_VERSION", "DEEPNOTE_PROJECT_ID")
"""The environment variables of hosts that show each output in a separate frame."""


@dataclass(frozen=True)
class Run:
    """One execution of a cell."""

    id: str
    cell: str | None
    """The id of the cell, or None if the frontend does not send it, as in nbconvert."""
    deleted: frozenset[str] = frozenset()
    """The cells that were deleted since the previous run."""


@dataclass(frozen=True)
class _Copy:
    """A copy of a script in an output."""

    run: Run
    time: int


class Outputs:
    """The outputs that a kernel has written."""

    def __init__(self) -> None:
        self._copies: dict[str, _Copy] = {}
        self._seen: dict[str, int] = {}
        """The time when each cell last began to show figures."""
        self._run: Run | None = None
        self._time = 0
        self._before: int | None = None
        """The time when the running cell had last begun to show figures, or None if it never had."""

    def lacks(self, script: str, run: Run) -> bool:
        """Return whether a figure of `run` must contain this script, and record that it does."""
        self._copies = {name: copy for name, copy in self._copies.items() if copy.run.cell not in run.deleted}
        if run != self._run:
            self._begin(run)
        copy = self._copies.get(script)
        lacking = copy is None or not self._holds(copy, run)
        if lacking:
            self._copies[script] = _Copy(run, self._time)
        return lacking

    def _begin(self, run: Run) -> None:
        """Record that a cell begins to show figures."""
        self._run, self._time = run, self._time + 1
        self._before = None if run.cell is None else self._seen.get(run.cell)
        if run.cell is not None:
            self._seen[run.cell] = self._time

    def cleared(self, run: str) -> None:
        """Record that all output of the execution with this id has been removed."""
        self._copies = {name: copy for name, copy in self._copies.items() if copy.run.id != run}

    def _holds(self, copy: _Copy, run: Run) -> bool:
        """Return whether a copy is still in the notebook while `run` shows its figures."""
        replaced = run.cell is not None and copy.run.cell == run.cell and copy.run != run
        return not replaced and (self._before is None or copy.time > self._before)


OUTPUTS = Outputs()
"""The outputs of this process's kernel."""


def needs_script(script: str) -> bool:
    """Return whether a figure that is displayed now must contain this script. Outside a notebook, every figure must."""
    run = None if _in_frames() else current()
    return run is None or OUTPUTS.lacks(script, run)


def _in_frames() -> bool:
    """Return whether this host shows each output in a separate frame."""
    return "google.colab" in sys.modules or any(name in os.environ for name in FRAMES)


def current() -> Run | None:
    """Return the current execution in this process's Jupyter kernel, or None if there is none."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return None
    try:
        _watch(shell.display_pub)
        message: Mapping[str, Any] = shell.get_parent()
        about = message.get("metadata") or {}
        return Run(str(message["header"]["msg_id"]), about.get("cellId"), frozenset(about.get("deletedCells") or ()))
    except (AttributeError, KeyError, TypeError, LookupError):  # not a Jupyter kernel
        return None


_watched: WeakSet[Any] = WeakSet()
"""The publishers that report `clear_output` to us."""


def _watch(publisher: Any) -> None:
    """Make a publisher of outputs report `clear_output` to us, once."""
    if publisher not in _watched:
        _watched.add(publisher)
        publisher.register_hook(_on_message)


def _on_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message to the frontend unchanged, after recording `clear_output`."""
    if message["header"]["msg_type"] == "clear_output":
        OUTPUTS.cleared(message["parent_header"].get("msg_id", ""))
    return message
