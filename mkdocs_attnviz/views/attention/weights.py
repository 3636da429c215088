"""Weights as views read them: quantised bytes, without NumPy, which the base install does not have."""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST_LAYER, LARGEST_TABLE, inflated
from mkdocs_attnviz.models.reduction import GROUPS, WEIGHT

__all__ = ["WEIGHT", "Layer", "StrongestLayer", "Weight", "layer_of", "mean", "scaled"]


class Weight(NamedTuple):
    """The weight with which token `row` attends to token `col`. Weights are ordered by `value`."""

    value: float
    head: int
    row: int
    col: int


class Layer:
    """The weights of a layer, of shape (heads, cols, rows)."""

    def __init__(self, blob: bytes, rows: int, cols: int, heads: int | None = None) -> None:
        """Inflate the weights.

        Raises:
            ValueError: if the blob does not hold the weights of `heads` heads.
        """
        self.rows, self.cols = rows, cols
        size = LARGEST_LAYER if heads is None else heads * rows * cols
        self._steps = inflated(blob, size, most=heads is None)

    def steps(self, head: int) -> bytes:
        """Return the stored bytes of one head, of shape (cols, rows)."""
        size = self.rows * self.cols
        return self._steps[head * size : (head + 1) * size]

    def strongest(
        self, heads: Sequence[int], without_rows: Collection[int] = (), without_cols: Collection[int] = ()
    ) -> Weight | None:
        """Return the largest weight outside the excluded rows and columns, or None if all are zero."""
        candidates = []
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
                candidates.append(Weight(WEIGHT[step], head, row, col))
        return max(candidates, default=None)

    def row(self, head: int, row: int) -> list[float]:
        """Return all weights of a token, of shape (cols,)."""
        start = head * self.rows * self.cols + row
        return list(map(WEIGHT.__getitem__, self._steps[start : start + self.rows * self.cols : self.rows]))

    def step(self, head: int, row: int, col: int) -> int:
        """Return the stored byte of one weight."""
        return self._steps[(head * self.cols + col) * self.rows + row]

    def diagonal(self, head: int, offset: int) -> bytes:
        """Return the stored bytes from each token to the token `offset` positions later, where both exist."""
        first = max(0, -offset)
        count = max(0, min(self.rows - first, self.cols - first - offset))
        start = (head * self.cols + first + offset) * self.rows + first
        return self._steps[start : start + count * (self.rows + 1) : self.rows + 1]

    def column(self, head: int, col: int) -> bytes:
        """Return the stored bytes from every token to one token, of shape (rows,)."""
        start = (head * self.cols + col) * self.rows
        return self._steps[start : start + self.rows]

    def beginning(self, head: int, tokens: int) -> bytes:
        """Return the bytes of weights from or to one of the first `tokens` tokens: first all of the first columns, then
        the first rows of the other columns."""
        steps = self.steps(head)
        others = range(tokens * self.rows, len(steps), self.rows)
        rows = min(tokens, self.rows)
        return steps[: tokens * self.rows] + b"".join(steps[start : start + rows] for start in others)

    def offsets(self, head: int, positions: Iterable[int], tokens: int) -> list[int]:
        """Return the offsets in the layer of these positions in the result of `beginning`."""
        start, whole, seen = head * self.rows * self.cols, min(tokens, self.cols) * self.rows, min(tokens, self.rows)
        return [
            start + (at if at < whole else whole + (at - whole) // seen * self.rows + (at - whole) % seen)
            for at in positions
        ]


class StrongestLayer(Layer):
    """A layer of which only the strongest weights of each row are stored; all others count as zero."""

    def __init__(self, groups: Sequence[bytes], rows: int, cols: int, heads: int) -> None:
        """Inflate the groups of strongest weights (`models/reduction.py`).

        Raises:
            ValueError: if a group has another size.
        """
        self.rows, self.cols = rows, cols
        sizes = GROUPS[: len(groups)]
        self._groups = [
            (size, inflated(group, 3 * heads * rows * size)) for size, group in zip(sizes, groups, strict=True)
        ]
        self._head = -1
        """The head that is in `_steps`: one at a time."""

    def _turn_to(self, head: int) -> None:
        if self._head != head:
            self._head, self._steps = head, self._placed(head)

    def steps(self, head: int) -> bytes:
        self._turn_to(head)
        return super().steps(0)

    def row(self, head: int, row: int) -> list[float]:
        self._turn_to(head)
        return super().row(0, row)

    def step(self, head: int, row: int, col: int) -> int:
        self._turn_to(head)
        return super().step(0, row, col)

    def diagonal(self, head: int, offset: int) -> bytes:
        self._turn_to(head)
        return super().diagonal(0, offset)

    def column(self, head: int, col: int) -> bytes:
        self._turn_to(head)
        return super().column(0, col)

    def _placed(self, head: int) -> bytes:
        """Return the bytes of a head, of shape (cols, rows).

        Raises:
            ValueError: if a weight is outside of the head.
        """
        steps = bytearray(self.rows * self.cols)
        for size, group in self._groups:
            plane, start = len(group) // 3, head * self.rows * size
            for row in range(self.rows):
                at = start + row * size
                low, high, values = (group[at + shift : at + shift + size] for shift in (0, plane, 2 * plane))
                columns = accumulate(one + 256 * other for one, other in zip(low, high, strict=True))
                for column, value in zip(columns, values, strict=True):
                    if column >= self.cols:
                        raise ValueError(f"A part of the entry has a weight of the column {column}.")
                    steps[column * self.rows + row] = value
        return bytes(steps)


def layer_of(entry: Entry, stack: str, number: int, heads: int) -> Layer:
    """Return the weights of a layer of so many heads as an entry has them.

    Raises:
        ValueError: if a blob has another size.
    """
    meta, sequences, name = entry.meta["stacks"][stack], entry.meta["sequences"], f"{stack}/{number}"
    rows, cols = len(sequences[meta["rows"]]["tokens"]), len(sequences[meta["cols"]]["tokens"])
    if name in entry.blobs:
        return Layer(entry.blobs[name], rows, cols, heads)
    return StrongestLayer(groups_of(entry, name), rows, cols, heads)


def groups_of(entry: Entry, name: str) -> list[bytes]:
    """Return the groups of strongest weights of the layer whose blobs have this name; a small entry has none."""
    names = (f"{name}/strongest/{number}" for number in range(len(GROUPS)))
    return [entry.blobs[each] for each in names if each in entry.blobs]


def _largest(steps: bytes | bytearray) -> int:
    """Return the largest byte. Searching for single bytes is fast, because it runs in C and most heads have a large
    weight."""
    return next((step for step in range(255, 0, -1) if step in steps), 0)


def mean(steps: bytes) -> float:
    """Return the mean of the weights that these bytes stand for."""
    return sum(map(WEIGHT.__getitem__, steps)) / len(steps)


def scaled(blob: bytes, groups: int, length: int | None = None, only: range | None = None) -> list[list[float]]:
    """Return the values in a blob in the *scaled* encoding of `models/encoding.py`, of shape (groups, length), or those
    of `only` some of the groups.

    Raises:
        ValueError: if the blob has another size.
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
    wanted = range(groups) if only is None else only
    return [[step * scales[n] for step in steps[n * size : (n + 1) * size]] for n in wanted]
