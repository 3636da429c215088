"""The values of units as an entry stores them, and the colours that they get."""

from __future__ import annotations

import array
import struct
from collections.abc import Sequence
from typing import NamedTuple

from mkdocs_attnviz.cache.entry_schema import LARGEST_TABLE, inflated

GATES = ("forget", "input", "output", "reset", "update")
"""The parts with values from 0 to 1."""
BOUNDED = ("cell", "hidden", *GATES)
"""The parts whose full colour stands for 1."""
SATURATED = 0.01
"""The fraction of the tokens whose values all get the full colour, where there is no bound: one may be far above the
rest."""


class Colours(NamedTuple):
    """The scale of a unit's colours: `most` is the value of the full colour."""

    most: float
    signed: bool


def signed_bytes(blob: bytes, rows: int) -> list[list[float]]:
    """Return the values in a blob in *signed bytes* of `models/encoding.py`, of shape (rows, length).

    Raises:
        ValueError: if the blob does not hold so many rows.
    """
    content = inflated(blob, LARGEST_TABLE, most=True)
    length, rest = divmod(len(content) - 4 * rows, rows)
    if rest or length < 1:
        raise ValueError(f"A part of the entry does not hold {rows} rows.")
    scales = struct.unpack_from(f"<{rows}f", content)
    steps = array.array("b", content[4 * rows :])
    return [[scale * step for step in steps[row * length : (row + 1) * length]] for row, scale in enumerate(scales)]


def colours_of(part: str, values: Sequence[float]) -> Colours:
    """Return the scale of the colours of one unit's values."""
    if part in BOUNDED:
        return Colours(1.0, part not in GATES)
    sizes = sorted(map(abs, values))
    return Colours(sizes[int((len(sizes) - 1) * (1 - SATURATED))] or sizes[-1] or 1.0, True)
