"""Masks as views read them: for each token the runs of tokens that it may attend to."""

from __future__ import annotations

import array
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from mkdocs_attnviz.cache.entry_schema import LARGEST_TABLE, inflated

Run = tuple[int, int]
"""The first of some neighbouring columns, and the first column after them."""


@dataclass(frozen=True)
class Mask:
    """The pairs of tokens that a layer allows, as runs of columns for each row."""

    runs: tuple[tuple[Run, ...], ...]
    cols: int

    @property
    def rows(self) -> int:
        return len(self.runs)

    @cached_property
    def counts(self) -> list[int]:
        """The number of tokens that each row may attend to."""
        return [sum(end - start for start, end in row) for row in self.runs]

    @property
    def pairs(self) -> int:
        """The number of allowed pairs."""
        return sum(self.counts)

    def allows(self, row: int, col: int) -> bool:
        """Return whether token `row` may attend to token `col`."""
        place = bisect_right(self.runs[row], (col, self.cols)) - 1
        return place >= 0 and self.runs[row][place][1] > col

    def coarse(self, rows: int, cols: int) -> list[list[float]]:
        """Return the allowed share of each cell of a grid of so many rows and columns."""
        grid = []
        for y in range(rows):
            lines = self.runs[y * self.rows // rows : max((y + 1) * self.rows // rows, y * self.rows // rows + 1)]
            line = []
            for x in range(cols):
                start = x * self.cols // cols
                end = max(start + 1, (x + 1) * self.cols // cols)
                inside = sum(max(0, min(end, stop) - max(start, first)) for row in lines for first, stop in row)
                line.append(inside / ((end - start) * len(lines)))
            grid.append(line)
        return grid


def read_mask(blob: bytes, rows: int, cols: int) -> Mask:
    """Return the mask that a blob holds (`models/mask_runs.py`).

    Raises:
        ValueError: it holds no mask of this size.
    """
    numbers = array.array("i")
    numbers.frombytes(inflated(blob, min(LARGEST_TABLE, 4 * rows * (1 + cols + 1)), most=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    counts, at = numbers[:rows], rows
    if len(counts) < rows or min(counts, default=0) < 0 or rows + 2 * sum(counts) != len(numbers):
        raise ValueError("A part of the entry holds no mask.")
    runs: list[tuple[Run, ...]] = []
    before: Sequence[int] = ()
    for count in counts:
        steps = numbers[at : at + 2 * count]
        at += 2 * count
        edges = [step + (before[n] if n < len(before) else 0) for n, step in enumerate(steps)]
        if edges and (edges[0] < 0 or edges[-1] > cols or any(a >= b for a, b in pairwise(edges))):
            raise ValueError("A part of the entry holds no mask of these tokens.")
        runs.append(tuple(zip(edges[::2], edges[1::2], strict=True)))
        before = edges
    return Mask(tuple(runs), cols)
