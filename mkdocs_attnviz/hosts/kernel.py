"""Which output of a notebook holds the script that its figures need.

All outputs of a notebook stand in one document, in Jupyter as in what nbconvert makes of it, so that one copy is
enough. The kernel that writes the outputs cannot see them. What a frontend tells it is which cell runs and which cells
were deleted; that decides where the next copy goes:

- the first figure since the kernel started has one, and the first after `clear_output` has taken it away;
- a cell that is run again replaces its output, so that it has one again if its old output had;
- a cell that is run again has one, too, if there was none since it ran last: its reader may have cleared the output
  that held it, and running a cell again is what the figure then asks for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

FRAMES = ("DATABRICKS_RUNTIME_VERSION", "DEEPNOTE_PROJECT_ID")
"""Environment variables of hosts that show each output in a frame of its own."""


@dataclass(frozen=True)
class Run:
    """One execution of a cell."""

    id: str
    cell: str | None
    """The cell's id; None where the frontend does not tell, as in nbconvert."""
    deleted: frozenset[str] = frozenset()
    """Cells that were deleted since the run before."""


@dataclass(frozen=True)
class _Copy:
    """A script in an output."""

    run: Run
    time: int


class Outputs:
    """The outputs that a kernel has written."""

    def __init__(self) -> None:
        self._copies: dict[str, _Copy] = {}
        self._seen: dict[str, int] = {}
        """When each cell last began to show figures."""
        self._run: Run | None = None
        self._time = 0

    def lacks(self, script: str, covering: str, run: Run) -> bool:
        """Return whether a figure shown by `run` must bring its script, and take note that it does. The script
        `covering` serves in its place."""
        self._copies = {name: each for name, each in self._copies.items() if each.run.cell not in run.deleted}
        found = [self._copies[name] for name in (script, covering) if name in self._copies]
        before = None if run.cell is None else self._seen.get(run.cell)
        if run != self._run:
            self._run, self._time = run, self._time + 1
        else:
            before = None  # this run has looked already
        if run.cell is not None:
            self._seen[run.cell] = self._time
        lacking = not any(self._holds(each, run, before) for each in found)
        if lacking:
            self._copies[script] = _Copy(run, self._time)
        return lacking

    def cleared(self, run: str) -> None:
        """Take note that what the execution with this id has shown so far is gone."""
        self._copies = {name: each for name, each in self._copies.items() if each.run.id != run}

    @staticmethod
    def _holds(copy: _Copy, run: Run, before: int | None) -> bool:
        """Whether a copy is still in the notebook; `before` is when the cell that runs now began to show figures the
        last time."""
        replaced = run.cell is not None and copy.run.cell == run.cell and copy.run != run
        return not replaced and (before is None or copy.time > before)


OUTPUTS = Outputs()


def needs_script(script: str, covering: str) -> bool:
    """Return whether a figure that is displayed now must bring its script. Outside of a notebook each must."""
    run = None if _in_frames() else current()
    return run is None or OUTPUTS.lacks(script, covering, run)


def _in_frames() -> bool:
    return "google.colab" in sys.modules or any(name in os.environ for name in FRAMES)


def current() -> Run | None:
    """Return the execution that is under way in this process's kernel, if it is one of Jupyter's."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return None
    try:
        _watch(shell.display_pub)
        message: Mapping[str, Any] = shell.get_parent()
        about = message.get("metadata") or {}
        return Run(str(message["header"]["msg_id"]), about.get("cellId"), frozenset(about.get("deletedCells") or ()))
    except (AttributeError, KeyError, TypeError, LookupError):  # a kernel of another kind
        return None


_watched: WeakSet[Any] = WeakSet()


def _watch(publisher: Any) -> None:
    """Have a kernel tell of `clear_output`, once."""
    if publisher not in _watched:
        _watched.add(publisher)
        publisher.register_hook(_hear)


def _hear(message: dict[str, Any]) -> dict[str, Any]:
    """Look at a message that goes to the frontend, and let it pass."""
    if message["header"]["msg_type"] == "clear_output":
        OUTPUTS.cleared(message["parent_header"].get("msg_id", ""))
    return message
