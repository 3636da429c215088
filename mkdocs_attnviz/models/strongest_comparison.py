"""The comparison of the strongest weights of each row in two entries of the same input and the same model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import inflated
from mkdocs_attnviz.models.encoding import Steps
from mkdocs_attnviz.models.reduction import GROUPS

Apart = Callable[[npt.NDArray[np.integer], npt.NDArray[np.integer]], npt.NDArray[np.float32]]
"""A function that returns by how many steps the weights of two stored bytes differ at least: one of each entry."""


def most_apart(layer: str, stored: Entry, computed: Entry, shape: tuple[int, int, int], apart: Apart) -> int:
    """Return by how many steps the strongest weights of a layer of this shape, (heads, rows, cols), differ at most.

    A weight that only one entry has is compared with the weakest of the row in the other: of weights that are nearly as
    strong, a last bit decides which are kept.

    Raises:
        ValueError: if a group has another size, or a weight outside of the layer.
    """
    heads, rows, cols = shape
    one, other = (_groups(entry, layer, heads, rows) for entry in (stored, computed))
    most = 0.0
    for head in range(heads):
        (first, weakest), (second, weakest_too) = (_placed(groups, head, rows, cols) for groups in (one, other))
        alone = (first > 0) != (second > 0)
        left = np.where(alone & (first == 0), np.minimum(weakest, second), first)
        right = np.where(alone & (second == 0), np.minimum(weakest_too, first), second)
        most = max(most, float(apart(left, right).max(initial=0)))
    return round(most)


def _groups(entry: Entry, layer: str, heads: int, rows: int) -> list[npt.NDArray[np.uint8]]:
    """Return the planes of each group, (3, heads, rows, n)."""
    names = (f"{layer}/strongest/{number}" for number in range(len(GROUPS)))
    found = [(size, entry.blobs[name]) for size, name in zip(GROUPS, names, strict=True) if name in entry.blobs]
    contents = ((size, inflated(blob, 3 * heads * rows * size)) for size, blob in found)
    return [np.frombuffer(content, np.uint8).reshape(3, heads, rows, size) for size, content in contents]


def _placed(groups: list[npt.NDArray[np.uint8]], head: int, rows: int, cols: int) -> tuple[Steps, Steps]:
    """Return the stored bytes of a head, (rows, cols), and the weakest of each row, (rows, 1)."""
    placed: Steps = np.zeros((rows, cols), np.uint8)
    for group in groups:
        low, high, values = group[:, head]
        columns = np.cumsum(low.astype(np.int64) + 256 * high.astype(np.int64), axis=1)
        if columns.max(initial=0) >= cols:
            raise ValueError(f"A part of the entry has a weight of the column {columns.max()}.")
        np.put_along_axis(placed, columns, values, axis=1)
    weakest: Steps = np.concatenate([group[2, head] for group in groups], axis=1).min(axis=1, keepdims=True)
    return placed, weakest
