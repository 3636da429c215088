"""The speed of captures, in tokens a second, and an estimate of the time that is left.

The estimate takes the remaining texts to run at the speed of those that are done, by their characters. It is only given
when that is likely to hold: after some seconds of work, and as *at least* while a model has not answered yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ENOUGH = 3.0
"""The seconds of work after which a speed is told."""
STEPS = (5, 10, 15, 20, 30, 45, 60)
"""The seconds that an estimate below a minute is rounded up to."""


class Work(NamedTuple):
    """One text that a model has to read."""

    model: str
    characters: int


class Speed:
    """The speed of the work so far."""

    def __init__(self, works: Sequence[Work]) -> None:
        self.left = dict(enumerate(works))
        self.begun: set[str] = set()
        """The models that have answered."""
        self.characters = self.tokens = 0
        self.seconds = 0.0

    def add(self, index: int, tokens: int, seconds: float) -> None:
        """Record that a text is done; one that failed has no tokens."""
        work = self.left.pop(index, None)
        if work is not None and seconds > 0:
            self.begun.add(work.model)
            self.characters += 1 + work.characters
            self.tokens += tokens
            self.seconds += seconds

    def words(self, elapsed: float) -> str:
        """Return the speed and the time left, or '' if they are not known yet; `elapsed` are the seconds since the
        start.

        Several workers may have worked more seconds than have elapsed.
        """
        seconds = min(self.seconds, elapsed)
        if seconds < ENOUGH or not self.tokens:
            return ""
        words = f"{rounded(self.tokens / seconds):,} tokens a second"
        if not self.left:
            return words
        left = sum(1 + work.characters for work in self.left.values()) * seconds / self.characters
        known = all(work.model in self.begun for work in self.left.values())
        return f"{words}, {'about' if known else 'at least'} {duration(left)} left"


def rounded(number: float) -> int:
    """Return a number rounded to two digits: more would only flicker."""
    return int(float(f"{number:.2g}")) if number >= 1 else 1


def duration(seconds: float) -> str:
    """Return a coarse length of time, rounded up."""
    if seconds <= STEPS[-1]:
        step = next(step for step in STEPS if seconds <= step)
        return f"{step} s" if step < STEPS[-1] else "1 min"
    minutes = -(-int(seconds) // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def tokens_of(meta: Mapping[str, Any]) -> int:
    """Return the number of tokens that a capture has read, by its entry's `meta`."""
    if "heads" in meta and isinstance(meta["heads"], Mapping):
        return int(meta["heads"].get("tokens", 0))
    sequences = meta.get("sequences") or {}
    return sum(len(sequence["tokens"]) for name, sequence in sequences.items() if not name.endswith("+sink"))
