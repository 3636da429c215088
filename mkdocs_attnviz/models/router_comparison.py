"""The comparison of the choices of routers in two entries of the same input and the same model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.cache.entry_schema import LARGEST_TABLE, inflated

Values = npt.NDArray[np.float64]
NONE, STEPS = 65535, 65535
TOLERANCE = 0.02
"""The tolerance of a weight, as a share of the largest, and of a probability."""
TIES = 0.02
"""The share of tokens whose experts may be others: where two are as good, a last bit decides."""


def mixture_of(name: str, meta: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the description of the mixture that a blob belongs to, or None if it belongs to none."""
    of = name.removesuffix("/router")
    mixtures: list[dict[str, Any]] = meta.get("mixtures", [])
    return next((each for each in mixtures if f"{each['stack']}/{each['part']}/{each['layer']}" == of), None)


def routers_differ(name: str, mixture: Mapping[str, Any], stored: bytes, computed: bytes) -> str:
    """Return what is another in the choices or the probabilities of a router; '' if they agree."""
    size = len(inflated(computed, LARGEST_TABLE, most=True))
    read = _probabilities if name.endswith("/router") else _choices
    one, other = (read(np.frombuffer(inflated(blob, size), "<u2"), mixture) for blob in (stored, computed))
    if one.shape != other.shape:
        return "numbers of other tokens"
    if np.abs(np.sort(one, axis=1) - np.sort(other, axis=1)).max() > TOLERANCE:
        return "other weights, probabilities or entropies"
    moved = int((np.abs(one - other) > TOLERANCE).any(axis=1).sum())
    return f"other experts at {moved} tokens" if moved > max(1, TIES * one.shape[0]) else ""


def _choices(numbers: npt.NDArray[np.uint16], mixture: Mapping[str, Any]) -> Values:
    """Return the weights of all experts, their probabilities and the entropy of each token, (T, 2 · experts + 1)."""
    count, experts = mixture["top_k"], mixture["experts"]
    width = 3 * count + 1 if "function" in mixture else 2 * count
    tokens = len(numbers) // width
    if not tokens or len(numbers) != tokens * width:
        raise ValueError("these are no choices")
    parts = numbers[: tokens * count * (width // count)].reshape(-1, tokens, count)
    values = np.zeros((tokens, 2 * experts + 1))
    rows, places = np.nonzero(parts[0] != NONE)
    chosen = parts[0][rows, places].astype(int)
    for start, part in ((0, parts[1]), (experts, parts[2])) if "function" in mixture else ((0, parts[1]),):
        values[rows, start + chosen] = part[rows, places] / STEPS
    if "function" in mixture:
        values[:, -1] = numbers[3 * tokens * count :] / STEPS
    return values


def _probabilities(numbers: npt.NDArray[np.uint16], mixture: Mapping[str, Any]) -> Values:
    """Return the probabilities of all experts, (T, experts), as far as they are stored."""
    count = mixture["stored"]
    tokens = len(numbers) // (2 * count)
    if not tokens or len(numbers) != 2 * tokens * count:
        raise ValueError("these are no probabilities")
    experts, steps = numbers.reshape(2, tokens, count)
    values = np.zeros((tokens, mixture["experts"]))
    values[np.arange(tokens)[:, None], experts.astype(int)] = steps / STEPS
    return values
