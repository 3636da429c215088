"""The encoding of a mask: the bytes that the cache stores and the browser reads. It needs NumPy, not torch.

A mask is stored as runs of columns, compressed with zlib: int32 numbers (little-endian), first the number of runs of
each row, then start and end of each run, as differences from the same run of the row before. A causal mask or a window
is thus the same few numbers in each row, and takes some fifty bytes.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt


def runs_blob(allowed: npt.NDArray[np.bool_]) -> bytes:
    """Encode a mask (rows, cols) as runs."""
    edges = np.diff(np.pad(allowed, ((0, 0), (1, 1))).astype(np.int8), axis=1)  # (rows, cols + 1)
    counts = (edges == 1).sum(1)
    places = [np.flatnonzero(line).tolist() for line in edges]
    before: list[int] = []
    steps: list[int] = []
    for line in places:
        steps += [place - (before[n] if n < len(before) else 0) for n, place in enumerate(line)]
        before = line
    return zlib.compress(counts.astype("<i4").tobytes() + np.array(steps, "<i4").tobytes(), 9)
