"""A router's distribution over its experts, found among the outputs of the modules around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import softplus

TOLERANCE = 2e-2
"""The largest difference of a weight from the score of its expert, as a share: 16-bit numbers have two digits."""


class Scores(NamedTuple):
    """A router's distribution over its experts for each token."""

    distribution: torch.Tensor
    """(T, experts); each row sums to 1."""
    function: str
    """The function of the router's logits that gives the scores."""
    exact: bool
    """True if the model's weights are these scores, but for a factor for each token."""


def _as_they_are(values: torch.Tensor) -> torch.Tensor | None:
    """Return values that are a distribution already, or None."""
    sums = values.sum(-1)
    is_distribution = bool((values >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-2)
    return values if is_distribution else None


FUNCTIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "softmax": _as_they_are,
    "softmax of logits": lambda values: values.softmax(-1),
    "sigmoid": torch.sigmoid,
    "square root of softplus": lambda values: softplus(values).sqrt(),
}
"""The functions that routers apply to their logits, by name. The first is for routers that return probabilities."""
NAMES = {"softmax of logits": "softmax"}


def find_scores(
    outputs: Sequence[torch.Tensor], indices: torch.Tensor, weights: torch.Tensor, experts: int | None
) -> Scores | None:
    """Return the distribution that explains the weights of the chosen experts, the latest output first.

    If none explains them but for a factor for each token, it is one whose largest values are the chosen experts.
    """
    tokens, least = len(indices), max(int(indices.max()) + 1, experts or 0)
    flat = [value.reshape(-1, value.shape[-1]).float() for value in reversed(outputs) if value.shape[-1] >= least]
    wide = [value for value in flat if len(value) == tokens and not bool(value.isnan().any())]
    for candidate in sorted(wide, key=lambda value: value.shape[-1] != experts):
        tried = {name: function(candidate) for name, function in FUNCTIONS.items()}
        errors = {name: _error(scores, indices, weights) for name, scores in tried.items() if scores is not None}
        best = min(errors, key=errors.__getitem__)
        scores = tried[best]
        if scores is not None and errors[best] <= TOLERANCE:
            return Scores(_normalised(scores), NAMES.get(best, best), True)
    for candidate in wide:
        if _largest_are(candidate, indices):
            scores = _as_they_are(candidate)
            return Scores(_normalised(candidate.softmax(-1) if scores is None else scores), "softmax", False)
    return None


def _normalised(scores: torch.Tensor) -> torch.Tensor:
    return (scores / scores.sum(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)).cpu()


def _error(scores: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor) -> float:
    """Return the largest difference of a weight from its expert's score times a factor, as a share of the weight.

    Each token has a factor of its own. With one expert for each token, it is the same for all tokens.
    """
    chosen = indices >= 0
    own = scores.gather(1, indices.clamp(min=0)) * chosen
    factor = weights.sum(-1, keepdim=True) / own.sum(-1, keepdim=True).clamp(min=1e-12)
    if indices.shape[1] == 1 and bool(chosen.any()):
        factor = factor[chosen].median().expand_as(factor)
    return float(((weights - factor * own).abs() / weights.abs().clamp(min=1e-6)).max())


def _largest_are(candidate: torch.Tensor, indices: torch.Tensor) -> bool:
    """Return whether each token's experts are those with the largest values."""
    count = indices.shape[1]
    if count >= candidate.shape[1]:
        return False
    largest = candidate.topk(count, dim=-1).indices.sort(-1).values
    whole = (indices >= 0).all(-1)
    return bool(whole.any()) and torch.equal(largest[whole], indices.sort(-1).values[whole])
