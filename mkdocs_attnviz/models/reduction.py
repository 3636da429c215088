"""The ways in which attention weights are reduced where all of them would take too many bytes. It needs no NumPy.

There are three kinds, in the order in which they are tried:

- *coarse*: weights below uniform attention, 1 / tokens, take one of five values;
- *dropped*: besides, weights below a fraction of uniform attention are zero;
- *strongest*: only the k strongest weights of each row are kept, in a coding of their own.

The first two are tables from stored byte to stored byte, so that reduced weights are read as any others. The strongest
weights of a layer are stored in groups, of ranks 1, 2, 3–4, 5–8, …: a figure takes as many groups as it has room for.
A group is deflated. It has three planes of shape (heads, rows, n): the low and the high bytes of the columns, each but
the first of a row as the difference to the one before, and the stored bytes of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from mkdocs_attnviz.cache.entry_schema import GROUPS as GROUPS
from mkdocs_attnviz.weight_rounding import rounding

WEIGHT = [(step / 255) ** 2 for step in range(256)]
"""The weight that each stored byte stands for."""
LARGE = 1 << 22
"""The number of weights of one stack from which an entry has the strongest weights of each row, too."""
PARTS = 4
"""The number of equal steps below uniform attention in coarse weights."""


@dataclass(frozen=True)
class Reduction:
    """A table that makes weights coarse below uniform attention, and drops those below a fraction of it."""

    least: float = 0.0
    """The fraction of uniform attention below which weights are dropped."""

    def table(self, cols: int) -> bytes:
        """Return the stored byte in place of each of the 256 stored bytes, for rows of so many columns."""
        return _table(self.least, cols)

    @property
    def words(self) -> str:
        """The reduction as a part of a sentence."""
        coarse = "weights below uniform in coarser steps"
        return f"{coarse}, those below {FRACTIONS[self.least]} dropped" if self.least else coarse


FRACTIONS = {0.25: "a quarter of uniform", 0.5: "half of uniform", 1.0: "uniform", 2.0: "twice uniform"}
"""The fractions of uniform attention below which weights may be dropped, in words."""
LADDER = (Reduction(), *map(Reduction, FRACTIONS))
"""The reductions in the order in which they are tried."""
AFTER = tuple(Reduction(float(4**power)) for power in range(1, 6))
"""Further reductions of weights whose strongest ones are not stored: those of small entries, and of older ones."""
TABLES = (*LADDER, *AFTER)
"""All reductions, in the order in which entries have their shares."""
FRACTIONS |= {reduction.least: f"{reduction.least:.0f} times uniform" for reduction in AFTER}


@cache
def _table(least: float, cols: int) -> bytes:
    uniform = 255 / math.sqrt(cols)
    part = max(1.0, uniform / PARTS)
    dropped = uniform * math.sqrt(least)

    def reduced(step: int) -> int:
        if step < dropped:
            return 0
        return step if step >= uniform else round(round(step / part) * part)

    return bytes(map(reduced, range(256)))


def largest_error(reduction: Reduction, cols: int) -> float:
    """Return the largest error of a weight that is not dropped, which includes the rounding to a stored byte."""
    table = reduction.table(cols)
    kept = [(step, shown) for step, shown in enumerate(table) if shown or not reduction.least]
    errors = (abs(WEIGHT[shown] - (max(0.0, step + side) / 255) ** 2) for step, shown in kept for side in (-0.5, 0.5))
    return max(errors, default=0.0)


def kept(steps: bytes, reduction: Reduction, rows: int, cols: int) -> float:
    """Estimate the share of a head's weight that a reduction keeps, where its entry does not tell. `steps` are the
    head's stored bytes; its rows sum to one.

    Of rounded weights, bytes tell the larger ones best, which are kept; of others also those that are dropped. Those
    are quickly counted: counting single bytes runs in C.
    """
    table = reduction.table(cols)
    if rounding(cols):
        zeros = bytes(step for step in range(256) if not table[step])
        left = steps.translate(None, zeros)
        return min(1.0, sum(WEIGHT[step] * left.count(step) for step in range(256)) / rows)
    dropped = sum(WEIGHT[step] * steps.count(step) for step in range(1, 256) if not table[step])
    return max(0.0, 1 - dropped / rows)


def groups_within(sizes: Sequence[int], room: float) -> int:
    """Return how many of the first groups, of these sizes in bytes, have room together."""
    total, count = 0, 0
    for size in sizes:
        total += size
        if total > room:
            break
        count += 1
    return count
