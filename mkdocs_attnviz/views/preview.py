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
from collections.abc import Iterator, Sequence

from mkdocs_attnviz.views.weights import WEIGHT, Layer

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
    for offset, step in _chosen(layer, seen, every):
        offsets.append(offset)
        values.append(step)
    if sys.byteorder == "big":
        offsets.byteswap()
    total = sum(WEIGHT[step] * count for step, count in counts.items()) or 1
    content = len(values).to_bytes(4, "little") + offsets.tobytes() + bytes(values)
    return zlib.compress(content, 6), sum(WEIGHT[step] for step in values) / total


def _every(counts: Counter[int]) -> dict[int, int]:
    """Of each `every[step]` weights of a step one is kept; of a step that is not there none."""
    every, left = {}, LINES
    for step in range(255, 0, -1):
        if left and counts[step]:
            every[step] = -(-counts[step] // left)
            left = left - counts[step] if every[step] == 1 else 0
    return every


def _chosen(layer: Layer, seen: dict[int, bytes], every: dict[int, int]) -> Iterator[tuple[int, int]]:
    passed = [0] * 256
    wanted = re.compile(b"[%b]" % re.escape(bytes(every)), re.DOTALL) if every else re.compile(b"(?!)")
    for head, steps in seen.items():
        for match in wanted.finditer(steps):
            at = match.start()
            step = steps[at]
            if every[step] == 1 or passed[step] % every[step] == 0:
                yield layer.offset(head, at, TOKENS), step
            passed[step] += 1
