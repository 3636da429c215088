"""The lines of a head view's first picture, which is drawn before any layer has been fetched.

The lines are those that `frontend/src/charts/marks.ts` selects from the whole layer: the strongest lines that start or
end at one of the visible tokens. If equal lines do not all fit, a regular subset of them is selected.
"""

from __future__ import annotations

import array
import re
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import compress

from mkdocs_attnviz.views.attention.weights import WEIGHT, Layer

LINES = 1300
"""The largest number of lines."""
TOKENS = 25  # tokens that are visible without scrolling


def preview(layer: Layer, heads: Sequence[int]) -> tuple[bytes, float]:
    """Return the selected lines and the fraction of the visible weight they carry.

    The lines are deflated: their number as uint32 (little-endian), then their offsets in the layer (uint32), then their
    weights (one byte each).
    """
    seen = {head: layer.beginning(head, TOKENS) for head in heads}
    counts = Counter[int]()
    for steps in seen.values():
        counts.update(steps)
    every = _every(counts)
    offsets = array.array("I")
    values = bytearray()
    passed = Counter[int]()
    kept = bytearray(256)
    for step, one_in in every.items():
        kept[step] = one_in == 1
    for head, steps in seen.items():
        chosen = _chosen(steps.translate(kept), steps, every, passed)
        offsets.extend(layer.offsets(head, compress(range(len(steps)), chosen), TOKENS))
        values += bytes(compress(steps, chosen))
    if sys.byteorder == "big":
        offsets.byteswap()
    total = sum(WEIGHT[step] * count for step, count in counts.items()) or 1
    content = len(values).to_bytes(4, "little") + offsets.tobytes() + bytes(values)
    return zlib.compress(content, 6), sum(map(WEIGHT.__getitem__, values)) / total


def _every(counts: Counter[int]) -> dict[int, int]:
    """Return n for each weight byte if one of n lines with this weight is selected. Bytes that are not in the result
    have no lines."""
    every, left = {}, LINES
    for step in range(255, 0, -1):
        if left and counts[step]:
            every[step] = -(-counts[step] // left)
            left = left - counts[step] if every[step] == 1 else 0
    return every


def _chosen(kept: bytes, steps: bytes, every: dict[int, int], passed: Counter[int]) -> bytes:
    """Return a byte for each weight: 1 if its line is drawn, else 0. `kept` marks the weights whose lines are all
    drawn."""
    chosen = bytearray(kept)
    for step in (step for step, one_in in every.items() if one_in > 1):
        for match in re.finditer(re.escape(bytes([step])), steps):
            chosen[match.start()] = passed[step] % every[step] == 0
            passed[step] += 1
    return bytes(chosen)
