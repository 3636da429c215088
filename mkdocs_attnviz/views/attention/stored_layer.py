"""The weights of one layer of an entry, and what it costs to ship some of its heads in each way."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import inflated
from mkdocs_attnviz.models.reduction import AFTER, GROUPS, TABLES, Reduction, kept
from mkdocs_attnviz.views.attention.figure_data import LayerPart
from mkdocs_attnviz.views.attention.weights import groups_of


@dataclass(frozen=True)
class Way:
    """A way to ship heads: as they are stored, reduced by a table, or the strongest weights of each row."""

    reduction: Reduction | None = None
    groups: int | None = None
    """The number of groups of strongest weights, or None if all weights are shipped."""


WHOLE = Way()


class StoredLayer:
    """A layer of a stack as an entry has it."""

    def __init__(self, entry: Entry, stack: str, meta: Mapping[str, Any]) -> None:
        self.entry, self.stack, self.number, self.heads = entry, stack, int(meta["layer"]), int(meta["heads"])
        self.name = f"{stack}/{self.number}"
        about = entry.meta["stacks"][stack]
        self.rows, self.cols = (len(entry.meta["sequences"][about[side]]["tokens"]) for side in ("rows", "cols"))
        self.groups = groups_of(entry, self.name)
        self.kept: Sequence[float] = meta.get("kept") or [1.0] * self.heads
        """The share of each head's weight that the entry has."""
        self.strongest: Sequence[Sequence[float]] = meta.get("strongest") or []
        """The share of each head's weight that the groups have, for each number of first groups."""
        self.tables: Sequence[Sequence[float]] = meta.get("tables") or []
        """The share of each head's weight that each of the first `TABLES` keeps. Entries of earlier versions lack it,
        and those of short texts, whose bytes tell it well."""

    @property
    def is_dense(self) -> bool:
        """True if the entry has all weights of the layer, and not only the strongest."""
        return self.name in self.entry.blobs

    def steps(self) -> bytes:
        """Return the stored bytes of all heads, (heads, cols, rows)."""
        return inflated(self.entry.blobs[self.name], self.heads * self.rows * self.cols)


@dataclass
class HeadsOfLayer:
    """Heads of a layer that are shipped in the same way."""

    layer: StoredLayer
    heads: list[int]
    _encoded: dict[Reduction | None, bytes] = field(default_factory=dict)
    _steps: list[bytes] = field(default_factory=list)

    @property
    def are_all(self) -> bool:
        return len(self.heads) == self.layer.heads

    def cost(self, way: Way) -> int:
        """Return the number of deflated bytes of these heads. Groups of strongest weights have all heads of a layer."""
        if self._ships_groups(way):
            return sum(map(len, self._groups(way)))
        return len(self.encoded(self.table(way)))

    def guess(self, way: Way) -> float:
        """Return about the same as `cost` without encoding anything whole."""
        if way == WHOLE and self.layer.is_dense:
            return len(self.layer.entry.blobs[self.layer.name]) * len(self.heads) / self.layer.heads
        return self.cost(way)

    def _ships_groups(self, way: Way) -> bool:
        return not self.layer.is_dense or (way.groups is not None and bool(self.layer.groups))

    def _groups(self, way: Way) -> list[bytes]:
        return self.layer.groups[: way.groups]

    @staticmethod
    def table(way: Way) -> Reduction | None:
        """Return the table that stands in place of strongest weights which an entry lacks."""
        return way.reduction if way.groups is None else AFTER[len(GROUPS) - way.groups]

    def encoded(self, reduction: Reduction | None) -> bytes:
        """Return the deflated bytes of these heads after a reduction."""
        layer = self.layer
        if reduction is None and self.are_all:
            return layer.entry.blobs[layer.name]
        if reduction not in self._encoded:
            table = None if reduction is None else reduction.table(layer.cols)
            self._encoded[reduction] = _deflated(b"".join(self._heads()).translate(table))
        return self._encoded[reduction]

    def _heads(self) -> list[bytes]:
        """Return the stored bytes of each head. They are kept, since several ways may be tried."""
        if not self._steps:
            every, size = self.layer.steps(), self.layer.rows * self.layer.cols
            self._steps = [every[head * size : (head + 1) * size] for head in self.heads]
        return self._steps

    def forget(self) -> None:
        """Give up the inflated bytes."""
        self._steps = []

    def parts(self, way: Way) -> list[LayerPart]:
        """Return the data of these heads for the script."""
        if self._ships_groups(way):
            count = len(self._groups(way))
            return [
                {"count": GROUPS[number], "blob": f"{self.layer.name}/strongest/{number}"} for number in range(count)
            ]
        return [{"heads": self.heads, "content": self.encoded(self.table(way))}]

    def kept(self, way: Way) -> list[float]:
        """Return the share of each head's weight that is shipped."""
        layer = self.layer
        if self._ships_groups(way):
            shares = layer.strongest[len(self._groups(way)) - 1]
            return [shares[head] for head in self.heads]
        table = self.table(way)
        if table is None:
            return [layer.kept[head] for head in self.heads]
        if (number := TABLES.index(table)) < len(layer.tables):
            return [layer.tables[number][head] for head in self.heads]
        dropped = (kept(steps, table, layer.rows, layer.cols) for steps in self._heads())
        return [round(min(share, layer.kept[head]), 3) for share, head in zip(dropped, self.heads, strict=True)]


def _deflated(steps: bytes) -> bytes:
    """Compress stored bytes as `models/encoding.py` does."""
    stream = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return stream.compress(steps) + stream.flush()
