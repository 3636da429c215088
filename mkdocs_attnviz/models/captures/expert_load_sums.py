"""Running sums of the load of a mixture's experts over the texts of a corpus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.models.encoding import round_digits

LEAST = 5
"""The least number of times that a token must occur to be listed with an expert."""
DISTINCT = 4096
"""The number of different tokens that are counted by expert, the first ones of the corpus: a table of all would have as
many rows as the vocabulary, for each expert of each layer."""
DIGITS = 6

Numbers = npt.NDArray[np.int64]


@dataclass
class RouterSums:
    """The choices of one router for the tokens of a batch, and the sums of its distribution."""

    about: dict[str, Any]
    """The description of the router, as `experts.described` gives it."""
    indices: Numbers
    """(T, k): the experts of each counted token; −1 where there is none."""
    function: str | None
    """The function of the router's logits that gives its distribution; None if the distribution is unknown."""
    exact: bool
    """True if the model's weights are the router's probabilities, but for a factor for each token."""
    probabilities: npt.NDArray[np.float64]
    """(experts,): the sum of the router's distribution over the tokens."""
    entropy: float
    """The sum of the entropies in bits."""


@dataclass
class SequenceSums:
    """The tokens of one side of a model: the number of times that each occurs, and its row in the routers' tables."""

    rows: dict[int, int] = field(default_factory=dict)
    """The row of each token, by its id in the vocabulary."""
    occurrences: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    """The number of times that the token of each row occurs; 0 where there is no row yet."""
    tokens: int = 0
    special: Counter[int] = field(default_factory=Counter)
    """The special tokens, which are not counted."""

    def add(self, ids: Numbers, special: Counter[int]) -> Numbers:
        """Add the tokens of a batch, and return the row of each; −1 if it has none."""
        self.tokens += len(ids)
        self.special += special
        for token in ids.tolist():
            if token not in self.rows and len(self.rows) < DISTINCT:
                self.rows[token] = len(self.rows)
        rows = np.array([self.rows.get(token, -1) for token in ids.tolist()], np.int64)
        self.occurrences = _widened(self.occurrences, len(self.rows))
        self.occurrences += np.bincount(rows[rows >= 0], minlength=len(self.occurrences))
        return rows


class Load:
    """The sums of one router over the texts."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.about, self.experts = about, int(about["experts"])
        self.top_k, self.tokens, self.dropped, self.entropy = 0, 0, 0, 0.0
        self.counts = np.zeros(self.experts, np.int64)
        self.probabilities = np.zeros(self.experts)
        self.functions: set[str | None] = set()
        self.exact = True
        self.table = np.zeros((0, self.experts), np.int32)
        """(rows, experts): the number of times that the token of each row went to each expert."""

    def add(self, sums: RouterSums, rows: Numbers) -> None:
        """Add a batch; `rows` are those of its tokens in the table."""
        chosen = sums.indices >= 0
        self.tokens += len(sums.indices)
        self.dropped += int((~chosen.any(1)).sum())
        self.top_k = max(self.top_k, sums.indices.shape[1])
        self.counts += np.bincount(sums.indices[chosen], minlength=self.experts)
        self.probabilities += sums.probabilities
        self.entropy += sums.entropy
        self.functions.add(sums.function)
        self.exact &= sums.exact
        self.table = _widened(self.table, int(rows.max(initial=-1)) + 1)
        places = np.broadcast_to(rows[:, None], sums.indices.shape)
        found = chosen & (places >= 0)
        np.add.at(self.table, (places[found], sums.indices[found]), 1)

    @property
    def has_scores(self) -> bool:
        """True if the router's distribution is known in all texts, by one function of its logits."""
        return None not in self.functions and len(self.functions) == 1

    def told(self) -> dict[str, Any]:
        """Return the description for an entry's `meta`."""
        told = self.about | {"top_k": self.top_k, "tokens": self.tokens, "dropped": self.dropped}
        if self.has_scores:
            told |= {"function": next(iter(self.functions)), "exact": self.exact}
            told["entropy"] = round_digits(self.entropy / max(1, self.tokens), DIGITS)
        return told

    def numbers(self) -> dict[str, Any]:
        """Return the load and the mean of the router's distribution, by expert."""
        found: dict[str, Any] = {"counts": self.counts.tolist()}
        if self.has_scores:
            means = self.probabilities / max(1, self.tokens)
            found["probabilities"] = [round_digits(float(mean), DIGITS) for mean in means]
        return found

    def most_of(self, occurrences: Numbers, each: int) -> list[list[tuple[int, int]]]:
        """Return for each expert the rows of the tokens of which it gets the largest shares, and how often each went to
        it."""
        common = np.flatnonzero(occurrences[: len(self.table)] >= LEAST)
        table, often = self.table[common], occurrences[common]
        found = []
        for expert in range(self.experts):
            got = table[:, expert]
            order = np.lexsort((common, -got, -got / often))[:each]
            found.append([(int(common[at]), int(got[at])) for at in order if got[at]])
        return found


def _widened(table: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """Return a table with so many rows, or more; new ones have zeros."""
    if rows <= len(table):
        return table
    more = max(rows, min(DISTINCT, 2 * len(table))) - len(table)
    return np.concatenate([table, np.zeros((more, *table.shape[1:]), table.dtype)])
