"""The attention pattern of each head, in a few bytes. The model view describes every small picture with it.

A head's pattern is the one that holds most of its attention: the token itself, the previous token, the next token, or
one special or first token (Clark et al. 2019, section 3). If its best pattern holds less than half of its attention,
the head has no pattern.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mkdocs_attnviz.views.attention.weights import WEIGHT, Layer, mean

RECORD = struct.Struct("<BBHHHB")
"""The record of a head: its pattern, the weight of the pattern, its column; row, column and weight of the largest
weight. Weights are stored as in an entry, and positions are limited to 65,535."""
NONE, SELF, PREVIOUS, NEXT, COLUMN = range(5)
"""The kinds of patterns."""
LEAST = 0.5
"""The smallest mean weight that counts as a pattern."""
MOST_COLUMNS = 8
"""The largest number of special tokens that are checked, besides the first token."""


class Pattern(NamedTuple):
    """A pattern of a head and its weight."""

    kind: int
    share: float
    """The mean weight that the pattern holds, over all tokens for which it is possible."""
    column: int = 0
    """The token that is attended to, if `kind` is `COLUMN`."""


def patterns(layer: Layer, heads: int, square: bool, special: list[int], causal: bool = False) -> bytes:
    """Return the records of all heads. `square` is true if tokens attend to their own sequence.

    In a `causal` model the first token can only attend to itself. That weight is always the largest, so it does not
    count.
    """
    diagonals = ((SELF, 0), (PREVIOUS, -1), (NEXT, 1)) if square else ()
    columns = list(dict.fromkeys([0, *special[:MOST_COLUMNS]]))
    first = [0] if causal else []
    return b"".join(_record(layer, head, _pattern(layer, head, diagonals, columns), first) for head in range(heads))


def _record(layer: Layer, head: int, found: Pattern, without_rows: list[int]) -> bytes:
    """Return the record of one head with this pattern."""
    top = layer.strongest([head], without_rows) or layer.strongest([head])
    row, col, value = (0, 0, 0.0) if top is None else (top.row, top.col, top.value)
    column, row, col = (min(position, 0xFFFF) for position in (found.column, row, col))
    return RECORD.pack(found.kind, _step(found.share), column, row, col, _step(value))


def _pattern(layer: Layer, head: int, diagonals: Sequence[tuple[int, int]], columns: Sequence[int]) -> Pattern:
    """Return the pattern that holds most of a head's weight; of equal patterns, the first one."""
    kind, largest, at = NONE, -1.0, 0
    for diagonal, offset in diagonals:
        if (steps := layer.diagonal(head, offset)) and (share := mean(steps)) > largest:
            kind, largest = diagonal, share
    for column in columns:
        if (share := mean(layer.column(head, column))) > largest:
            kind, largest, at = COLUMN, share, column
    return Pattern(kind, largest, at) if largest >= LEAST else Pattern(NONE, largest)


def _step(value: float) -> int:
    """Return the stored byte of a weight."""
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
