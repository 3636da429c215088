"""Weights as a view reads them: quantised bytes, without NumPy, since the base install has none."""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from mkdocs_attnviz.cache.entry_schema import LARGEST_LAYER, LARGEST_TABLE, inflated

WEIGHT = [(step / 255) ** 2 for step in range(256)]
"""What a stored byte stands for."""


class Weight(NamedTuple):
    """Token `row` attends to token `col`. Ordered by size."""

    value: float
    head: int
    row: int
    col: int


class Layer:
    """Weights of shape (heads, cols, rows)."""

    def __init__(self, blob: bytes, rows: int, cols: int, heads: int | None = None) -> None:
        """Raises: ValueError: the blob holds the weights of other than so many heads."""
        self.rows, self.cols = rows, cols
        size = LARGEST_LAYER if heads is None else heads * rows * cols
        self._steps = inflated(blob, size, most=heads is None)

    def steps(self, head: int) -> bytes:
        """Return a head's weights as they are stored, (cols, rows)."""
        size = self.rows * self.cols
        return self._steps[head * size : (head + 1) * size]

    def strongest(
        self, heads: Sequence[int], without_rows: Collection[int] = (), without_cols: Collection[int] = ()
    ) -> Weight | None:
        """The largest weight that does not come from or go to what is left out; None if all are zero."""
        found = []
        for head in heads:
            steps: bytes | bytearray = self.steps(head)
            if without_rows or without_cols:
                steps = bytearray(steps)
                for col in without_cols:
                    steps[col * self.rows : (col + 1) * self.rows] = bytes(self.rows)
                for row in without_rows:
                    steps[row :: self.rows] = bytes(self.cols)
            if step := _largest(steps):
                col, row = divmod(steps.index(step), self.rows)
                found.append(Weight(WEIGHT[step], head, row, col))
        return max(found, default=None)

    def row(self, head: int, row: int) -> list[float]:
        """All weights of a token, (cols,)."""
        start = head * self.rows * self.cols + row
        return list(map(WEIGHT.__getitem__, self._steps[start : start + self.rows * self.cols : self.rows]))

    def diagonal(self, head: int, offset: int) -> bytes:
        """Return the steps from each token to the one `offset` further on, where both exist."""
        first = max(0, -offset)
        count = max(0, min(self.rows - first, self.cols - first - offset))
        start = (head * self.cols + first + offset) * self.rows + first
        return self._steps[start : start + count * (self.rows + 1) : self.rows + 1]

    def column(self, head: int, col: int) -> bytes:
        """Return the steps from every token to one, (rows,)."""
        start = (head * self.cols + col) * self.rows
        return self._steps[start : start + self.rows]

    def beginning(self, head: int, tokens: int) -> bytes:
        """The steps from or to one of the first `tokens`: all of the first columns, then the first rows of the rest."""
        steps = self.steps(head)
        others = range(tokens * self.rows, len(steps), self.rows)
        rows = min(tokens, self.rows)
        return steps[: tokens * self.rows] + b"".join(steps[start : start + rows] for start in others)

    def offsets(self, head: int, positions: Iterable[int], tokens: int) -> list[int]:
        """Where these bytes of `beginning` lie in the layer."""
        start, whole, seen = head * self.rows * self.cols, min(tokens, self.cols) * self.rows, min(tokens, self.rows)
        return [
            start + (at if at < whole else whole + (at - whole) // seen * self.rows + (at - whole) % seen)
            for at in positions
        ]


def _largest(steps: bytes | bytearray) -> int:
    """Return the largest step. The search for one byte runs in C, and most heads have a large weight."""
    return next((step for step in range(255, 0, -1) if step in steps), 0)


def mean(steps: bytes) -> float:
    """Return the mean of the weights that these steps stand for."""
    return sum(map(WEIGHT.__getitem__, steps)) / len(steps)


def scaled(blob: bytes, groups: int, length: int | None = None) -> list[list[float]]:
    """Return values of the *scaled* encoding of `models/encoding.py`, (groups, N). N is `length`, where that is known.

    Raises:
        ValueError: the blob holds others.
    """
    size = LARGEST_TABLE if length is None else groups * (4 + 2 * length)
    content = inflated(blob, size, most=length is None)
    if groups < 1 or len(content) % (2 * groups) or len(content) < 4 * groups:
        raise ValueError(f"A part of the entry does not hold {groups} rows.")
    scales = struct.unpack_from(f"<{groups}f", content)
    steps = array.array("h", content[4 * groups :])
    if sys.byteorder == "big":
        steps.byteswap()
    size = len(steps) // groups
    return [[step * scale for step in steps[n * size : (n + 1) * size]] for n, scale in enumerate(scales)]
