"""The numbers that may have been rounded to one that an entry stores."""

from __future__ import annotations

import math
from collections.abc import Sequence

DIGITS = 5
"""The number of significant digits that an entry's JSON has, as in `models/encoding.round_digits`."""
STEPS = 32767
"""The number of steps from 0 to the largest |value| of a row in the *scaled* encoding of `models/encoding.py`."""


def around(value: float) -> tuple[float, float]:
    """Return the least and the largest number that have this value with five significant digits."""
    half = 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) + 1 - DIGITS) if value else 0.0
    return value - half, value + half


def in_row(value: float, row: Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest number that are stored as this value of a row of scaled values."""
    half = 0.5 * max(map(abs, row)) / STEPS
    return value - half, value + half
