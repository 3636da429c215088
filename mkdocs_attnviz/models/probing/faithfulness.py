"""Tests of an order of tokens: how the probability of an output falls and rises as tokens are taken out in that order.

- *Deletion* takes tokens out, the first of the order first; *insertion* begins without all of them and puts them back
  (Petsiuk et al. 2018). A steep curve is good: a small area below a deletion curve, a large one below an insertion
  curve. The x axis is the fraction of the tokens, so that an area lies between 0 and 1.
- *Comprehensiveness* is p(text) − p(text without the first k tokens), *sufficiency* is p(text) − p(the first k tokens
  alone), each averaged over k = 1%, 5%, 10%, 20% and 50% of the tokens (DeYoung et al. 2020, section 4.1). High
  comprehensiveness and low sufficiency are good.

Random orders give the same numbers for no knowledge at all: their mean and standard deviation stand beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.models.encoding import round_digits

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]
Probability = Callable[[Masks], Floats]
"""A function from masks, (V, n), true for tokens that are taken out, to the probability of the output, (V,)."""
Order = Sequence[int]
"""Tokens by their number from 0 to n − 1, the first to be taken out first."""

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""The fractions of tokens over which comprehensiveness and sufficiency are averaged."""
RANDOM_ORDERS = 20
POINTS = 20
"""The number of steps of a curve, if there are more tokens than that."""


def counts_of(tokens: int) -> list[int]:
    """Return the numbers of tokens at which a curve has a point. They are symmetric: with k there is `tokens` − k."""
    steps = min(tokens, POINTS)
    half = [step * tokens // steps for step in range(steps + 1)]
    return sorted({*half, *(tokens - count for count in half)})


def sizes_of(tokens: int) -> list[int]:
    """Return how many tokens each of `FRACTIONS` stands for: at least one."""
    return [max(1, math.ceil(fraction * tokens - 1e-9)) for fraction in FRACTIONS]


def random_orders(tokens: int, seed: int) -> list[list[int]]:
    """Return `RANDOM_ORDERS` orders of the tokens, the same for the same seed."""
    generator = np.random.default_rng(seed)
    return [generator.permutation(tokens).tolist() for _ in range(RANDOM_ORDERS)]


def faithfulness(probability: Probability, orders: Sequence[Order], tokens: int, seed: int) -> dict[str, Any]:
    """Return the curves, areas, comprehensiveness and sufficiency of each order, and those of random orders."""
    tests = [*orders, *random_orders(tokens, seed)]
    counts, sizes = counts_of(tokens), sizes_of(tokens)
    memory = _Memory(probability, tokens)
    memory.prepare(mask for order in tests for count in {*counts, *sizes} for mask in memory.masks(order, count))
    results = [_result(memory, order, counts, sizes) for order in tests]
    known, random = results[: len(orders)], results[len(orders) :]
    return {
        "counts": counts,
        "full": _rounded(memory.deleted((), 0)),
        "empty": _rounded(memory.deleted(tuple(range(tokens)), tokens)),
        "methods": [{name: _rounded(value) for name, value in result.items()} for result in known],
        "random": {name: _spread([result[name] for result in random]) for name in random[0]},
        "orders": len(random),
        "seed": seed,
    }


class _Memory:
    """The probabilities of texts without some of their tokens, each computed once."""

    def __init__(self, probability: Probability, tokens: int) -> None:
        self.probability = probability
        self.tokens = tokens
        self.known: dict[bytes, float] = {}

    def masks(self, order: Order, count: int) -> list[Masks]:
        """Return what is taken out by deletion and before insertion of the first `count` tokens of an order."""
        first = np.zeros(self.tokens, bool)
        first[list(order[:count])] = True
        return [first, ~first]

    def prepare(self, masks: Any) -> None:
        """Compute the probabilities of masks, all of them together."""
        different = {mask.tobytes(): mask for mask in masks}
        values = self.probability(np.stack(list(different.values())))
        self.known |= dict(zip(different, values.tolist(), strict=True))

    def deleted(self, order: Order, count: int) -> float:
        return self.known[self.masks(order, count)[0].tobytes()]

    def inserted(self, order: Order, count: int) -> float:
        return self.known[self.masks(order, count)[1].tobytes()]


def _result(memory: _Memory, order: Order, counts: Sequence[int], sizes: Sequence[int]) -> dict[str, Any]:
    deletion = [memory.deleted(order, count) for count in counts]
    insertion = [memory.inserted(order, count) for count in counts]
    full = deletion[0]
    return {
        "deletion": deletion,
        "insertion": insertion,
        "deletion_area": area(counts, deletion),
        "insertion_area": area(counts, insertion),
        "comprehensiveness": float(np.mean([full - memory.deleted(order, size) for size in sizes])),
        "sufficiency": float(np.mean([full - memory.inserted(order, size) for size in sizes])),
    }


def area(counts: Sequence[int], values: Sequence[float]) -> float:
    """Return the area below a curve by the trapezoidal rule; the x axis runs from 0 to 1."""
    x = np.array(counts, float) / counts[-1]
    y = np.array(values)
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())


def _spread(values: Sequence[Any]) -> dict[str, Any]:
    """Return the mean and the standard deviation over random orders."""
    array = np.array(values, float)
    return {"mean": _rounded(array.mean(0).tolist()), "sd": _rounded(array.std(0, ddof=1).tolist())}


def _rounded(value: Any) -> Any:
    return [_rounded(part) for part in value] if isinstance(value, list) else round_digits(value)
