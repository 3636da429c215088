"""A map of heads: Jensen–Shannon distances between all of them, and their places in two dimensions.

The distances follow Clark et al. (2019) and the authors' `head_distances.py`: of 0.999·A + 0.001/n, the divergence of
two heads' rows is summed over rows and texts. The map is by metric multidimensional scaling (SMACOF), which begins at
classical scaling, so that it is the same each time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.models.captures.head_measures import Masks

Numbers = npt.NDArray[np.float64]
SMOOTHING = 1e-3
"""The share of uniform attention in the weights that are compared."""
CHUNK, LARGE_CHUNK = 1 << 17, 1 << 26
"""The number of weights that are compared at once on a processor, in whose cache they stay, and on a GPU."""
BLOCK = 128
"""The number of products that are added in single precision."""
_threads = ThreadPoolExecutor(os.cpu_count())  # NumPy releases the interpreter's lock
STEPS, TOLERANCE = 1000, 1e-6
"""The number of steps of the map at most, and the relative gain at which they end."""


def cells(weights: torch.Tensor, masks: Masks, texts: Sequence[int]) -> torch.Tensor:
    """Return half of the smoothed weights of some heads, (H, cells), from clean weights (B, H, Tq, Tk) of some `texts`.

    Padding is left out, and so is what a causal head cannot see, in which no two heads differ.
    """
    pairs = masks.pairs[texts]
    wanted = pairs.tril() if masks.sides.causal else pairs
    sizes = masks.col_counts[texts][:, None, None].expand(wanted.shape)
    weights = weights if len(texts) == len(weights) else weights[texts]
    flat = weights.transpose(0, 1).flatten(1)  # (H, B·Tq·Tk)
    if masks.padding is not None or masks.sides.causal:
        flat, sizes = flat[:, wanted.flatten()], sizes[wanted]
    return (flat * ((1 - SMOOTHING) / 2)).add_(SMOOTHING / 2 / sizes.flatten())


def divergences(layers: Sequence[torch.Tensor]) -> Numbers:
    """Return the Jensen–Shannon divergences between all heads, (heads, heads), summed over the `cells` of a batch.

    With p and q the smoothed weights and m = (p + q) / 2, a divergence is Σ ½ p ln p + ½ q ln q − m ln m, in nats.
    """
    half = torch.cat(list(layers))  # (heads, cells)
    heads, count = half.shape
    half = torch.nn.functional.pad(half, (0, -count % BLOCK), value=0.5)  # of which no term is left: ln 1 = 0
    on_processor = half.device.type == "cpu"
    size = BLOCK * max(1, (CHUNK if on_processor else LARGE_CHUNK) // heads // BLOCK)
    parts = [half[:, start : start + size] for start in range(0, half.shape[1], size)]
    if on_processor:
        sums = sum(_threads.map(_sums, [np.ascontiguousarray(part.numpy()) for part in parts]))
    else:
        sums = sum(_sums_on_device(part.contiguous()) for part in parts)
    own, mixed = np.split(np.asarray(sums), [heads])
    one, other = np.triu_indices(heads, 1)
    distances: Numbers = np.zeros((heads, heads))
    distances[one, other] = distances[other, one] = np.maximum(own[one] + own[other] - mixed, 0)
    return distances


def _sums(part: npt.NDArray[np.float32]) -> Numbers:
    """Return ½ Σ p ln p of each head, and then Σ m ln m of each pair of heads.

    NumPy's logarithm is three times as fast as torch's, and stays fast while others use the processor.
    """
    buffers = np.empty((2, *part.shape), np.float32)
    sums = [_products(part, np.log(2 * part))]
    for head in range(len(part) - 1):
        mixture, logarithm = buffers[:, : len(part) - 1 - head]
        np.add(part[head + 1 :], part[head], out=mixture)
        np.log(mixture, out=logarithm)
        sums.append(_products(mixture, logarithm))
    return np.concatenate(sums)


def _products(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> Numbers:
    """Return the sums of products along each row; long ones are added in double precision."""
    blocks = (len(one), -1, BLOCK)
    sums = np.einsum("hkc,hkc->hk", one.reshape(blocks), other.reshape(blocks))
    return np.asarray(sums.sum(1, dtype=np.float64))


def _sums_on_device(part: torch.Tensor) -> Numbers:
    """Return the same as `_sums`, computed on a GPU."""
    sums = [(part * (2 * part).log()).sum(1)]
    for head in range(len(part) - 1):
        mixture = part[head + 1 :] + part[head]
        sums.append((mixture.log() * mixture).sum(1))
    together: Numbers = torch.cat(sums).double().cpu().numpy()
    return together


def place(distances: Numbers) -> tuple[Numbers, float]:
    """Return the heads' places in two dimensions, (heads, 2), and Kruskal's stress-1 of the map.

    Each axis points to where its largest coordinate is.
    """
    points = _classical(distances)
    between = _between(points)
    stress = _stress(between, distances)
    for _ in range(STEPS):
        points = _step(points, between, distances)
        between = _between(points)
        before, stress = stress, _stress(between, distances)
        if before - stress <= TOLERANCE * before:
            break
    points = points - points.mean(0)
    points = points @ np.linalg.svd(points, full_matrices=False)[2].T
    largest = points[np.abs(points).argmax(0), [0, 1]]
    scale = float(np.sqrt((np.triu(distances) ** 2).sum())) or 1.0
    return points * np.where(largest < 0, -1, 1), float(np.sqrt(stress)) / scale


def _classical(distances: Numbers) -> Numbers:
    """Return the places of classical scaling: the two main axes of the doubly centred squares."""
    centred = -0.5 * distances**2
    centred = centred - centred.mean(0) - centred.mean(1)[:, None] + centred.mean()
    values, vectors = (part.numpy() for part in torch.linalg.eigh(torch.from_numpy(centred)))
    points: Numbers = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0))
    return points


def _between(points: Numbers) -> Numbers:
    """Return the distances between all points."""
    across, along = points.T[:, :, None] - points.T[:, None]
    distances: Numbers = np.hypot(across, along)
    return distances


def _stress(between: Numbers, distances: Numbers) -> float:
    """Return the sum of squared differences over all pairs."""
    return float(np.square(between - distances).sum()) / 2


def _step(points: Numbers, between: Numbers, distances: Numbers) -> Numbers:
    """Return the Guttman transform of the points (de Leeuw 1977), which never raises the stress."""
    ratio = np.divide(distances, between, out=np.zeros_like(between), where=between > 0)
    transformed: Numbers = (ratio.sum(1)[:, None] * points - ratio @ points) / len(points)
    return transformed
