"""The rounding of small weights of long texts, which halves the bytes of a layer. It needs no NumPy.

A stored weight is a step, round(255·√p). In a text of many tokens most weights are far below 1/tokens, the weight of
uniform attention, and most bytes tell such weights apart. So they are rounded to some of the steps. The *rounding* of a
layer is the largest error of this in units of 1/255²; 0 rounds nothing. A weight whose own step is coarser keeps it.

Rounded steps are steps: whoever decodes a layer needs to know nothing of this.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

SHORT = 256
"""The largest number of tokens whose weights are not rounded."""
SHARE = 0.5
"""The limit of a rounding for very long texts, as a fraction of the weight of uniform attention."""
UNIT = 255**2


class Steps(NamedTuple):
    """The steps that are rounded to the same one, from the first to the last, and half a step more on both sides."""

    low: float
    high: float


def rounding(tokens: int) -> int:
    """Return the rounding of weights that each token spreads over so many tokens.

    It grows from 0 at `SHORT` tokens to three eighths of 1/tokens at 512, and to `SHARE` of it.
    """
    return int(UNIT * SHARE * (1 - (SHORT / tokens) ** 2) / tokens) if tokens > SHORT else 0


@cache
def rounded_steps(rounding: int) -> bytes:
    """Return the step that each of the 256 steps is rounded to, for `bytes.translate`.

    Each step in the result is the largest for which no weight between it and the one before is further than `rounding`
    from the nearer of both.
    """
    rounded = bytearray()
    step = 0
    while len(rounded) < 256:
        last = step
        while (last + 1.5) ** 2 <= step**2 + rounding:
            last += 1
        rounded += bytes([step]) * (min(last, 255) + 1 - len(rounded))
        step = last + 1
        while step < 255 and (step + 1) ** 2 <= (last + 0.5) ** 2 + rounding:
            step += 1
    return bytes(rounded)


@cache
def intervals(rounding: int) -> tuple[Steps, ...]:
    """Return for each step the steps that may have been rounded to it; for one that no other is rounded to, its own."""
    rounded = rounded_steps(rounding)
    return tuple(
        Steps(rounded.find(step) - 0.5, rounded.rfind(step) + 0.5) if step in rounded else Steps(step - 0.5, step + 0.5)
        for step in range(256)
    )


def largest_error(rounding: int) -> float:
    """Return the largest error of a rounded weight."""
    return rounding / UNIT
