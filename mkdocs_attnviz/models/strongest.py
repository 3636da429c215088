"""The strongest weights of each row, in the coding that `reduction` describes. It needs NumPy, not torch."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.models.encoding import Steps
from mkdocs_attnviz.models.kept_shares import StepMasses
from mkdocs_attnviz.models.reduction import GROUPS

COLUMN = 0xFFFF
"""The largest column that a key of sorting can hold."""


def strongest_groups(steps: Steps, masses: StepMasses) -> tuple[list[bytes], list[list[float]]]:
    """Return the deflated groups of strongest weights of a layer, (heads, cols, rows), and for each number of first
    groups the share of each head's weight that they hold. `masses` has the weights of the layer by their stored bytes.

    Of equal weights, those in earlier columns count as stronger. A group that needs more columns than there are is left
    out.
    """
    cols = steps.shape[1]
    at, values = _sorted(steps, min(sum(GROUPS), cols))  # (heads, rows, n)
    weights = (means[head].sum(axis=0) for means, head in zip(masses.means, values, strict=True))
    sums = np.stack(list(weights)).cumsum(axis=1)  # (heads, n)
    blobs: list[bytes] = []
    kept: list[list[float]] = []
    start = 0
    for size in GROUPS:
        if start + size > cols:
            break
        order = np.argsort(at[..., start : start + size], axis=2)
        group = slice(start, start + size)
        columns, stored = (np.take_along_axis(each[..., group], order, 2) for each in (at, values))
        differences = np.diff(columns, axis=2, prepend=0)
        planes = (differences & 255, differences >> 8, stored)
        blobs.append(zlib.compress(b"".join(plane.astype(np.uint8).tobytes() for plane in planes), 6))
        start += size
        kept.append(masses.shares(sums[:, start - 1]))
    return blobs, kept


def _sorted(steps: Steps, count: int) -> tuple[npt.NDArray[np.int64], Steps]:
    """Return the columns and stored bytes of the strongest weights of each row, (heads, rows, count), strongest first.

    One head at a time is sorted, by keys of four bytes for each weight.

    Raises:
        ValueError: there are too many columns.
    """
    heads, cols, rows = steps.shape
    if cols > COLUMN:
        raise ValueError(f"{cols} columns are more than {COLUMN}")
    earlier = (COLUMN - np.arange(cols, dtype=np.uint32))[None]
    found = np.empty((heads, rows, count), np.uint32)
    for head in range(heads):
        keys = (steps[head].T.astype(np.uint32) << 16) | earlier  # (rows, cols)
        largest = np.partition(keys, cols - count, axis=1)[:, cols - count :] if count < cols else keys
        found[head] = np.sort(largest, axis=1)[:, ::-1]
    return (COLUMN - (found & COLUMN)).astype(np.int64), (found >> 16).astype(np.uint8)
