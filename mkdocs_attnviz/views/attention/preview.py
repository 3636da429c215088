"""The lines of a head view's first picture, so that it is drawn before any layer is fetched.

What is chosen is what `frontend/src/parts/marks.ts` chooses of the whole layer: the strongest lines that start or end
at one of the tokens in view. Of several that are alike and do not all fit, one in so many.
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
TOKENS = 25  # in view, before it scrolls


def preview(layer: Layer, heads: Sequence[int]) -> tuple[bytes, float]:
    """Deflated: a count as uint32 (little-endian), so many offsets into the layer, and so many bytes.

    And what share of the weight in view these lines hold.
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
    """Of each `every[step]` weights of a step one is kept; of a step that is not there none."""
    every, left = {}, LINES
    for step in range(255, 0, -1):
        if left and counts[step]:
            every[step] = -(-counts[step] // left)
            left = left - counts[step] if every[step] == 1 else 0
    return every


def _chosen(kept: bytes, steps: bytes, every: dict[int, int], passed: Counter[int]) -> bytes:
    """For each step 1 where its line is drawn, else 0; `kept` has those of which each one is."""
    chosen = bytearray(kept)
    for step in (step for step, one_in in every.items() if one_in > 1):
        for match in re.finditer(re.escape(bytes([step])), steps):
            chosen[match.start()] = passed[step] % every[step] == 0
            passed[step] += 1
    return bytes(chosen)
