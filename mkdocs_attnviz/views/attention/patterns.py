"""What each head mostly looks at, in a few bytes: the model view says it of every small picture.

A head is told by the pattern that holds most of its attention: the token itself, the one before, the one after, or one
special or first token that everybody looks at (Clark et al. 2019, section 3). A head whose best pattern holds less than
half of its attention has none.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mkdocs_attnviz.views.attention.weights import WEIGHT, Layer

RECORD = struct.Struct("<BBHHHB")
"""A head's pattern, the weight it holds, its column; row, column and weight of the largest weight. Weights are stored
as those of an entry are, and positions are cut at 65,535."""
NONE, SELF, PREVIOUS, NEXT, COLUMN = range(5)
LEAST = 0.5
"""The mean weight from which a pattern is told."""
MOST_COLUMNS = 8
"""Special tokens that are looked at, besides the first token."""


class Pattern(NamedTuple):
    """What a head mostly looks at."""

    kind: int
    share: float
    """The mean over all tokens of the weight that the pattern holds; over those that have such a token."""
    column: int = 0
    """The token that is looked at, for `COLUMN`."""


def patterns(layer: Layer, heads: int, square: bool, special: list[int], causal: bool = False) -> bytes:
    """Return one record for each head. `square`: tokens attend to tokens of their own sequence.

    In a `causal` model the first token can only attend to itself: of all heads this would be the largest weight.
    """
    first = [0] if causal else []
    return b"".join(_record(layer, head, square, special, first) for head in range(heads))


def _record(layer: Layer, head: int, square: bool, special: list[int], without_rows: list[int]) -> bytes:
    found = max(_candidates(layer, head, square, special), key=lambda pattern: pattern.share)
    if found.share < LEAST:
        found = Pattern(NONE, found.share)
    top = layer.strongest([head], without_rows) or layer.strongest([head])
    row, col, value = (0, 0, 0.0) if top is None else (top.row, top.col, top.value)
    positions = (min(position, 0xFFFF) for position in (found.column, row, col))
    column, row, col = positions
    return RECORD.pack(found.kind, _step(found.share), column, row, col, _step(value))


def _candidates(layer: Layer, head: int, square: bool, special: list[int]) -> Iterator[Pattern]:
    if square:
        for kind, offset in ((SELF, 0), (PREVIOUS, -1), (NEXT, 1)):
            if values := layer.diagonal(head, offset):
                yield Pattern(kind, sum(values) / len(values))
    for column in dict.fromkeys([0, *special[:MOST_COLUMNS]]):
        values = layer.column(head, column)
        yield Pattern(COLUMN, sum(values) / len(values), column)


def _step(value: float) -> int:
    return round(255 * math.sqrt(min(value, 1.0)))


def described(record: bytes) -> Mapping[str, Any]:
    """Return a record as a mapping, for tests and static pictures."""
    kind, share, column, row, col, value = RECORD.unpack(record)
    names = {NONE: "none", SELF: "self", PREVIOUS: "previous", NEXT: "next", COLUMN: "column"}
    return {
        "kind": names[kind],
        "share": WEIGHT[share],
        "column": column,
        "strongest": {"row": row, "col": col, "weight": WEIGHT[value]},
    }
