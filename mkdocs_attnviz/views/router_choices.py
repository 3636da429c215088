"""The choices of a mixture's router for each token of a text, as an entry of experts stores them."""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST_TABLE, inflated

NONE = 65535
"""The number that stands for no expert."""
STEPS = 65535
"""The number of steps of weights and probabilities, as in `models/captures/experts.py`."""

Rows = list[Sequence[int]]


class RouterChoices:
    """The experts that the router of one mixture chose for each token."""

    def __init__(self, entry: Entry, about: Mapping[str, Any]) -> None:
        """Read the choices from an entry. `about` is one of its mixtures.

        Raises:
            ValueError: the entry does not hold as many numbers as its description says.
        """
        self.about, self._entry = about, entry
        self.name = f"{about['stack']}/{about['part']}/{about['layer']}"
        self.experts: int = about["experts"]
        self.top_k: int = about["top_k"]
        if not 0 < self.top_k <= self.experts < NONE:
            raise ValueError(f"A part of the entry tells of {self.top_k} of {self.experts} experts.")
        self.has_scores = "function" in about
        numbers = _numbers(entry.blobs[self.name])
        width = 3 * self.top_k + 1 if self.has_scores else 2 * self.top_k
        self.tokens: int = len(numbers) // width
        if len(numbers) % width or not self.tokens:
            raise ValueError(f"A part of the entry does not hold {width} numbers a token.")
        parts = [
            _rows(numbers, at * self.tokens * self.top_k, self.tokens, self.top_k) for at in range(width // self.top_k)
        ]
        self._chosen, self._weights = parts[:2]
        if any(self.experts <= expert != NONE for row in self._chosen for expert in row):
            raise ValueError(f"A part of the entry names an expert that is none of {self.experts}.")
        self._probabilities: Rows = parts[2] if self.has_scores else []
        self._entropies = numbers[3 * self.tokens * self.top_k :] if self.has_scores else ()

    def chosen(self, token: int) -> list[int]:
        """Return the experts of a token, the heaviest first; empty if it was dropped."""
        return [expert for expert in self._chosen[token] if expert != NONE]

    def weights(self, token: int) -> dict[int, float]:
        """Return the weight of each expert of a token, as the model uses it."""
        pairs = zip(self._chosen[token], self._weights[token], strict=True)
        return {expert: step * self.weight_step for expert, step in pairs if expert != NONE}

    @property
    def weight_step(self) -> float:
        """The size of one step of a weight."""
        return float(self.about["scale"]) / STEPS

    def entropy(self, token: int) -> float:
        """Return the entropy of the router's distribution at a token, in bits."""
        return self._entropies[token] * self.entropy_step

    @property
    def entropy_step(self) -> float:
        """The size of one step of an entropy, in bits."""
        return math.log2(self.experts) / STEPS

    def probability(self, token: int, expert: int) -> float | None:
        """Return the probability that the router gives an expert at a token; None if it is not stored."""
        at = list(self._chosen[token]).index(expert) if expert in self._chosen[token] else -1
        if at >= 0 and self.has_scores:
            return self._probabilities[token][at] / STEPS
        return dict(self.distribution(token)).get(expert)

    def distribution(self, token: int) -> list[tuple[int, float]]:
        """Return the likeliest experts of a token with their probabilities, as many as are stored."""
        if not self.has_scores:
            return []
        numbers, count = self._router, self.about["stored"]
        start, behind = token * count, (self.tokens + token) * count
        pairs = zip(numbers[start : start + count], numbers[behind : behind + count], strict=True)
        return [(expert, step / STEPS) for expert, step in pairs]

    @cached_property
    def _router(self) -> Sequence[int]:
        numbers = _numbers(self._entry.blobs[f"{self.name}/router"])
        if len(numbers) != 2 * self.tokens * self.about["stored"]:
            raise ValueError(f"A part of the entry does not hold {self.about['stored']} experts a token.")
        return numbers

    @cached_property
    def counts(self) -> list[int]:
        """The number of tokens that each expert got."""
        found = [0] * self.experts
        for token in range(self.tokens):
            for expert in self.chosen(token):
                found[expert] += 1
        return found

    @cached_property
    def probabilities(self) -> list[float] | None:
        """The mean probability that the router gives each expert; None if not all are stored."""
        if not self.has_scores or self.about["stored"] < self.experts:
            return None
        sums = [0.0] * self.experts
        for token in range(self.tokens):
            for expert, probability in self.distribution(token):
                sums[expert] += probability
        return [total / self.tokens for total in sums]

    @property
    def mean_entropy(self) -> float | None:
        """The mean entropy of the router's distribution in bits; None if the distribution is unknown."""
        if not self.has_scores:
            return None
        return math.fsum(self.entropy(token) for token in range(self.tokens)) / self.tokens

    @property
    def mean_entropy_error(self) -> float:
        """The largest difference of the mean entropy from the true one: half a step."""
        return self.entropy_step / 2

    @property
    def dropped(self) -> int:
        """The number of tokens without an expert."""
        return sum(not self.chosen(token) for token in range(self.tokens))


def _numbers(blob: bytes) -> Sequence[int]:
    numbers = array.array("H", inflated(blob, LARGEST_TABLE, most=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _rows(numbers: Sequence[int], start: int, rows: int, width: int) -> Rows:
    return [numbers[start + row * width : start + (row + 1) * width] for row in range(rows)]
