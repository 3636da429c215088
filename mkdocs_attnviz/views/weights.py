"""One layer's weights as a view reads them: quantised bytes, without numpy, since the base install has none."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Weight(NamedTuple):
    """Token `row` attends to token `col`. Ordered by size."""

    step: int
    """The stored byte, 255·√weight."""
    head: int
    row: int
    col: int

    @property
    def value(self) -> float:
        return (self.step / 255) ** 2


class Layer:
    """Weights of shape (heads, cols, rows)."""

    def __init__(self, blob: bytes, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        self._steps = zlib.decompress(blob)

    def strongest(self, heads: Sequence[int], without: Sequence[int] = ()) -> Weight | None:
        """The largest weight that does not come from or go to a position in `without`; None if all are zero."""
        found = []
        for head in heads:
            steps = bytearray(self._head(head))
            for position in without:
                steps[position * self.rows : (position + 1) * self.rows] = bytes(self.rows)
                steps[position :: self.rows] = bytes(self.cols)
            if step := max(steps):
                col, row = divmod(steps.index(step), self.rows)
                found.append(Weight(step, head, row, col))
        return max(found, default=None)

    def window(self, heads: Sequence[int], size: int) -> Iterator[Weight]:
        """The nonzero weights among the first `size` tokens."""
        for head in heads:
            steps = self._head(head)
            for col in range(min(size, self.cols)):
                for row in range(min(size, self.rows)):
                    if step := steps[col * self.rows + row]:
                        yield Weight(step, head, row, col)

    def _head(self, head: int) -> bytes:
        size = self.rows * self.cols
        return self._steps[head * size : (head + 1) * size]
