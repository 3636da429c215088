"""The entry of a text view, read without NumPy: marks, the strongest weights of a row, and what each mark receives."""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST_TABLE, inflated
from mkdocs_attnviz.views.svg.token_flow import json_of

SHARES = 255
"""The number of steps of a share."""


@dataclass(frozen=True)
class Row:
    """The strongest weights of a mark."""

    weights: Mapping[int, float]
    """The weights by mark, in the order of the text."""
    intervals: Mapping[int, tuple[float, float]]
    """The least and the largest number that each weight may stand for."""
    kept: float
    """The share of the row that these weights hold."""
    sink: float
    """The share of the row that goes to no mark."""
    rest: float
    """The largest |weight| that any other mark may have."""

    @property
    def strongest(self) -> list[tuple[int, float]]:
        """The marks and their weights, the largest |weight| first."""
        return sorted(self.weights.items(), key=lambda item: (-abs(item[1]), item[0]))


class TextEntry:
    """The parts of an entry, by marks numbered through all sequences that are shown."""

    def __init__(self, entry: Entry) -> None:
        self.entry, self.meta = entry, entry.meta
        self.sequences: dict[str, Mapping[str, Any]] = {each["name"]: each for each in entry.meta["marks"]}
        self.signed: bool = entry.meta["kind"] == "saliency"

    @cached_property
    def text(self) -> dict[str, list[str]]:
        """The `texts` of all marks, and the `gaps` before them."""
        found: dict[str, list[str]] = json_of(self.entry.blobs["text"])
        return found

    @cached_property
    def starts(self) -> dict[str, int]:
        """The first mark of each sequence."""
        counts = [each["marks"] for each in self.sequences.values()]
        return dict(zip(self.sequences, accumulate(counts, initial=0), strict=False))

    @property
    def count(self) -> int:
        """The number of marks in sequences."""
        return sum(each["marks"] for each in self.sequences.values())

    def range(self, side: str) -> range:
        """Return the marks of the rows or the columns (`side`)."""
        if self.signed:
            return range(len(self.text["texts"]) if side == "rows" else self.count)
        name = self.meta[side]
        start = self.starts[name]
        return range(start, start + self.sequences[name]["marks"])

    def first_tokens(self) -> list[int] | None:
        """Return the number of each mark's first token, counted through all sequences; None if each token is a mark."""
        if all(each["first"] is None for each in self.sequences.values()):
            return None
        numbers: list[int] = []
        before = 0
        for name, each in self.sequences.items():
            numbers += [before + first for first in each["first"] or range(each["marks"])]
            before += len(self.meta["sequences"][name]["tokens"])
        return [*numbers, *range(before, before + len(self.text["texts"]) - len(numbers))]

    def mark(self, name: str, token: int) -> int:
        """Return the mark that a token of a sequence belongs to."""
        first = self.sequences[name]["first"]
        number = token if first is None else sum(each <= token for each in first) - 1
        return self.starts[name] + number

    def special(self) -> list[int]:
        """Return the marks that are special tokens."""
        return [
            self.mark(name, position) for name in self.sequences for position in self.meta["sequences"][name]["special"]
        ]

    def number_of_row(self, mark: int) -> int | None:
        """Return the row in which a mark attends or is explained; None if it has none."""
        if self.signed:
            return next((n for n, each in enumerate(self.meta["outputs"]) if each["mark"] == mark), None)
        rows = self.range("rows")
        return mark - rows.start if mark in rows else None

    def row(self, matrix: int, mark: int) -> Row | None:
        """Return the strongest weights of a mark; None if it attends to nothing here."""
        number = self.number_of_row(mark)
        if number is None:
            return None
        first, within = divmod(number, self.meta["rows_in_file"])
        total = len(self.meta["outputs"]) if self.signed else len(self.range("rows"))
        rows = min(self.meta["rows_in_file"], total - first * self.meta["rows_in_file"])
        content = self._file(f"matrix/{matrix}/{first}")
        most = struct.unpack_from("<f", content, 4 * within)[0]
        kept, sink, counts = (content[(4 + part) * rows : (5 + part) * rows] for part in range(3))
        every, before, count = sum(counts), sum(counts[:within]), counts[within]
        low, high, steps, signs = (
            content[7 * rows + part * every + before : 7 * rows + part * every + before + count] for part in range(4)
        )
        start = 0 if self.signed else self.range("cols").start
        columns = [start + at for at in accumulate(a + 256 * b for a, b in zip(low, high, strict=True))]
        sign = [-1 if each else 1 for each in signs] if self.signed else [1] * count
        weights = {col: s * most * (step / 255) ** 2 for col, step, s in zip(columns, steps, sign, strict=True)}
        bounds = {col: _bounds(step, s, most) for col, step, s in zip(columns, steps, sign, strict=True)}
        unseen = most * (0.5 / 255) ** 2
        is_cut = count == self.meta["top_k"] < len(self.range("cols"))
        rest = max(map(abs, bounds[min(bounds, key=lambda col: abs(weights[col]))])) if is_cut else unseen
        return Row(weights, bounds, kept[within] / SHARES, sink[within] / SHARES, rest)

    def _file(self, name: str) -> bytes:
        """Return the inflated rows of a file; it is read once, since neighbouring rows share it."""
        content: bytes | None = self.entry.derived.get(("rows", name))
        if content is None:
            content = inflated(self.entry.blobs[name], LARGEST_TABLE, most=True)
            self.entry.derived["rows", name] = content
        return content

    def received(self, matrix: int) -> list[float]:
        """Return the mean weight that each column gets, in the order of the columns."""
        content = inflated(self.entry.blobs[f"received/{matrix}"], LARGEST_TABLE, most=True)
        most = struct.unpack_from("<f", content)[0]
        steps = array.array("H", content[4:])
        if sys.byteorder == "big":
            steps.byteswap()
        return [most * (step / 65535) ** 2 for step in steps]


def _bounds(step: int, sign: int, most: float) -> tuple[float, float]:
    """Return the least and the largest number that may have been stored as this step."""
    low, high = (most * ((step + by) / 255) ** 2 for by in (-0.5, 0.5))
    high = min(high, most)
    return (low, high) if sign > 0 else (-high, -low)
