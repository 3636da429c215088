"""How tensors are stored: the bytes that the cache keeps and the browser reads. NumPy only, no torch.

Two encodings, both deflated (zlib):

- *weights*: bytes round(255·√p), shape (heads, cols, rows). The step is finer where weights are small, which is where
  most weights of a long text are: the error is at most 0.00392 everywhere, 2–3 % on average for weights above 0.002.
  Cols before rows, since that compresses 5–10 % better.
- *scaled*: G float32 scales, then G × N int16 (little-endian): value = int16 · its group's scale. −32768 says "masked".

From the weights of all layers follow two more things that views show: an *overview* small enough for a picture of
every head at once, and *rollout*.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.block.problem import WrongValue

Steps = npt.NDArray[np.uint8]
"""Quantised weights, (heads, cols, rows)."""
Floats = npt.NDArray[np.float32]

OVERVIEW = 24  # tokens a side of an overview's pictures
OVERVIEW_LEVELS = 15  # sixteen shades are enough for a thumbnail, and deflate to half of 256
MASKED = -32768


def quantised(weights: Floats) -> Steps:
    """Weights (heads, rows, cols) → steps (heads, cols, rows).

    Raises:
        ValueError: weights that are no probabilities.
    """
    steps = 255 * np.sqrt(weights) + 0.5
    if not bool((steps < 256.5).all()):
        raise WrongValue(
            "text", "Attention weights must be numbers between 0 and 1; these are not (NaN or out of range)."
        )
    found: Steps = np.minimum(steps, 255).astype(np.uint8).transpose(0, 2, 1)
    return found


def weights(steps: Steps) -> Floats:
    """Steps (heads, cols, rows) → weights (heads, rows, cols), within 0.00392."""
    found: Floats = np.square(steps.transpose(0, 2, 1).astype(np.float32) / 255)
    return found


def deflated(content: bytes | memoryview) -> bytes:
    """A zlib stream that looks only for runs: quantised weights have those and no other repetitions.

    Beside the default strategy's level 6 it takes a seventh of the time, and 2 % fewer bytes. Not for *scaled* values:
    a bias that depends on distance alone repeats itself row by row.
    """
    stream = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return stream.compress(content) + stream.flush()


def weights_blob(steps: Steps) -> bytes:
    return deflated(np.ascontiguousarray(steps).data)


def scaled_blob(values: Floats, masked: npt.NDArray[np.bool_] | None = None) -> bytes:
    """Values of shape (G, N), each row with a scale of its own; `masked`, of the same shape: what has no value."""
    kept = values if masked is None else np.where(masked, 0, values)
    scales = (np.abs(kept).max(axis=1, initial=0, keepdims=True) / 32767).astype(np.float32)
    steps = np.rint(kept / np.where(scales > 0, scales, 1))
    if masked is not None:
        steps = np.where(masked, MASKED, steps)
    return zlib.compress(scales.astype("<f4").tobytes() + steps.astype("<i2").tobytes(), 6)


def digits(value: float, count: int = 5) -> float:
    """With so many significant digits: more would be weight without use in JSON."""
    return float(f"{value:.{count}g}")


def json_blob(value: Any) -> bytes:
    """Lists and texts that are no array, as JSON."""
    return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 6)


def overview_blob(layers: Sequence[Steps]) -> bytes:
    """For each layer and head the largest weights of a grid of at most 24 × 24 parts, as bytes 0 to 15.

    Shape (Σ heads, cols', rows'), one byte a part, round(15·√p). Part i of n starts at token ⌊i·tokens/n⌋. The
    largest, not the mean: a mean would wash out the diagonals and columns by which heads are known.
    """
    return deflated(b"".join(_pooled(steps).tobytes() for steps in layers))


def _pooled(steps: Steps) -> Steps:
    for axis in (1, 2):
        tokens = steps.shape[axis]
        parts = min(tokens, OVERVIEW)
        steps = np.maximum.reduceat(steps, np.arange(parts) * tokens // parts, axis=axis)
    return ((steps.astype(np.uint16) * OVERVIEW_LEVELS + 127) // 255).astype(np.uint8)


def rollout(layers: Sequence[Steps]) -> list[Steps]:
    """Attention rollout up to each layer, (1, cols, rows): Ãₗ·Ãₗ₋₁·…·Ã₀ with Ã = ½(mean over heads) + ½I.

    After Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3. For a stack whose rows and
    columns are the same tokens; a column more than rows is a sink's, and is left out.
    """
    total: Floats | None = None
    found = []
    for steps in layers:
        rows = steps.shape[2]
        mean = weights(steps[:, :rows]).mean(axis=0)  # (rows, cols)
        mixed = mean / np.maximum(mean.sum(axis=1, keepdims=True), 1e-9) / 2 + np.eye(rows, dtype=np.float32) / 2
        total = mixed if total is None else mixed @ total
        found.append(quantised(np.minimum(total, 1)[None]))
    return found
