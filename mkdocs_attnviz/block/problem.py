"""A record of a mistake, which crosses the worker's pipe, the pipeline, the hosts and the command unchanged.

Its sentences are for people. Nothing reads a fact back out of them: what a program needs to know has a field.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Kind = Literal["block", "claim", "text", "model", "missing", "fault", "changed", "moved"]
"""`block`: the block itself is wrong. `claim`: what the block claims of its figure does not hold. `text`: the model
does not read what the block gives it, or fails on it. `model`: a model is of no use. `missing`: nothing is wrong, but
the cache lacks the tensors and no model may run here. `fault`: attnviz has failed. `changed`, `moved`: a directory or a
branch is not what the lock file says."""


@dataclass(frozen=True)
class Problem:
    """A record of what is wrong with a block, or with what it is drawn from."""

    kind: Kind
    key: str
    """The key of the block that is at fault; empty for the block as a whole."""
    message: str
    """The mistake, in a sentence."""
    detail: str = ""
    """The traceback, or the last words of a process that has died; for whoever asks for more (`-v`)."""
    advice: str = ""
    """A sentence that tells the author what to do; empty if the message says it all."""

    @property
    def sentences(self) -> str:
        """The message, and the advice if there is any."""
        return f"{self.message} {self.advice}".rstrip()

    def to_json(self) -> dict[str, str]:
        """Return the record as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Problem:
        """Return the record that `to_json` has made plain JSON of."""
        return cls(**{each.name: told[each.name] for each in fields(cls)})


class BlockError(Exception):
    """A problem of one block, raised where it is found. A text alone is a mistake of the author's in the block.

    `line` counts from 0 within the block's body; None means the block as a whole. `key` is the one at fault.
    """

    def __init__(self, problem: Problem | str, line: int | None = None, key: str = "") -> None:
        self.problem = problem if isinstance(problem, Problem) else Problem("block", key, problem)
        self.line = line
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The sentences for the author."""
        return self.problem.sentences


class WrongValue(ValueError):
    """The value of one key does not fit the others, the model or the text; the message is for the author.

    Validators of options raise it, and what reads a block's text for a model.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        """The key of the block that is at fault."""


def trace(error: BaseException) -> str:
    """Return the traceback of an exception and of what caused it, as Python prints it."""
    return "".join(traceback.format_exception(error)).rstrip()
