"""Every head's weights on a coarse grid, for the model view and for the static heat map of a long text."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import inflated
from mkdocs_attnviz.views.attention.figure_data import Sink
from mkdocs_attnviz.views.attention.sinks import FADED

SIDE = 24
"""The largest number of cells on a side of a grid, as in `models/encoding.py`."""
LEVELS = 15
"""The number of the darkest level."""

Grid = list[bytes]
"""The rows of a grid; each byte is a level from 0 to 15."""


class Overview:
    """The coarse grids of all heads of one stack. Each grid has shape (rows, cols)."""

    def __init__(self, entry: Entry, stack: str) -> None:
        meta = entry.meta["stacks"][stack]
        self.rows, self.cols = (
            min(SIDE, len(entry.meta["sequences"][meta[side]]["tokens"])) for side in ("rows", "cols")
        )
        self._blob = entry.blobs[f"{stack}/overview"]
        parts = sum(layer["heads"] for layer in meta["layers"]) * self.rows * self.cols
        self._bytes = inflated(self._blob, parts)
        self._start: dict[int, int] = {}
        position = 0
        for layer in meta["layers"]:
            self._start[layer["layer"]] = position
            position += layer["heads"] * self.rows * self.cols

    def grid(self, layer: int, head: int) -> Grid:
        """Return the grid of one head."""
        size = self.rows * self.cols
        start = self._start[layer] + head * size
        cells = self._bytes[start : start + size]  # (cols, rows)
        return [cells[row :: self.rows] for row in range(self.rows)]

    def blob(self, layers: Mapping[int, int]) -> bytes:
        """Return the overview of these layers only (number → heads), deflated."""
        if layers.keys() == self._start.keys():
            return self._blob
        size = self.rows * self.cols
        grids = (self._bytes[self._start[n] : self._start[n] + heads * size] for n, heads in layers.items())
        return zlib.compress(b"".join(grids), 6)


def with_sink(grid: Grid, sinks: Collection[int], tokens: int, how: Sink) -> Grid:
    """Return a grid over `tokens` columns with the parts that have a sink faded or left out, as in
    `charts/thumbnails.ts`.

    A grid has the largest weights of several tokens, so it cannot be renormalised row by row. It is scaled to the
    largest weight that is left.
    """
    if how == "show" or not grid:
        return grid
    parts = len(grid[0])
    hidden = {((at + 1) * parts - 1) // tokens for at in sinks}
    if how == "fade":
        return [bytes(round(FADED * n) if at in hidden else n for at, n in enumerate(row)) for row in grid]
    kept = [bytes(0 if at in hidden else n for at, n in enumerate(row)) for row in grid]
    most = max(map(max, kept)) or 1
    return [bytes(round(LEVELS * level / most) for level in row) for row in kept]


def coarser(grid: Grid, parts: int) -> Grid:
    """Return a grid of at most parts × parts cells, each with the largest level of the cells that it covers."""
    if len(grid) <= parts and len(grid[0]) <= parts:
        return grid
    rows = [max_of(group) for group in split(grid, parts)]
    return [bytes(max(part) for part in split(row, parts)) for row in rows]


def split(values: Sequence[Any], parts: int) -> list[Any]:
    """Return at most `parts` stretches of the values; part i starts at ⌊i·length/parts⌋."""
    parts = min(parts, len(values))
    edges = [i * len(values) // parts for i in range(parts + 1)]
    return [values[edges[i] : edges[i + 1]] for i in range(parts)]


def max_of(rows: Sequence[bytes]) -> bytes:
    """Return the largest level in each column."""
    return bytes(map(max, zip(*rows, strict=True)))
