"""What each head mostly looks at, in a few bytes: the model view says it of every small picture.

A head is told by the pattern that holds most of its attention: the token itself, the one before, the one after, or one
special or first token that everybody looks at (Clark et al. 2019, section 3). A head whose best pattern holds less than
half of its attention has none.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mkdocs_attnviz.views.attention.weights import WEIGHT, Layer, mean

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
    diagonals = ((SELF, 0), (PREVIOUS, -1), (NEXT, 1)) if square else ()
    columns = list(dict.fromkeys([0, *special[:MOST_COLUMNS]]))
    first = [0] if causal else []
    return b"".join(_record(layer, head, _pattern(layer, head, diagonals, columns), first) for head in range(heads))


def _record(layer: Layer, head: int, found: Pattern, without_rows: list[int]) -> bytes:
    top = layer.strongest([head], without_rows) or layer.strongest([head])
    row, col, value = (0, 0, 0.0) if top is None else (top.row, top.col, top.value)
    column, row, col = (min(position, 0xFFFF) for position in (found.column, row, col))
    return RECORD.pack(found.kind, _step(found.share), column, row, col, _step(value))


def _pattern(layer: Layer, head: int, diagonals: Sequence[tuple[int, int]], columns: Sequence[int]) -> Pattern:
    """Return the pattern that holds most of a head's weight; the first of several that hold as much."""
    kind, largest, at = NONE, -1.0, 0
    for diagonal, offset in diagonals:
        if (steps := layer.diagonal(head, offset)) and (share := mean(steps)) > largest:
            kind, largest = diagonal, share
    for column in columns:
        if (share := mean(layer.column(head, column))) > largest:
            kind, largest, at = COLUMN, share, column
    return Pattern(kind, largest, at) if largest >= LEAST else Pattern(NONE, largest)


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
