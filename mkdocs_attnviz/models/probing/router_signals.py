"""The four ways in which a mixture hands the choices of its router over, read from what a module takes or returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch


class Choices(NamedTuple):
    """The experts that a router chose for each token."""

    indices: torch.Tensor
    """(T, k), −1 where there is none."""
    weights: torch.Tensor
    """(T, k), 0 where there is none."""
    experts: int | None = None
    """The number of experts, if the choices tell it."""
    source: torch.Tensor | None = None
    """The tensor of weights as it was handed over, which is no distribution over experts."""


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of an output."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)


def handed_over(arguments: Sequence[Any], lengths: set[int], experts: int | None) -> Choices | None:
    """Return the choices that a module with so many experts is given, or None."""
    given = [value for value in arguments if isinstance(value, torch.Tensor) and value.ndim >= 2]
    floats = [value for value in given if value.is_floating_point()]
    for whole in given:
        if whole.is_floating_point() or whole.dtype == torch.bool:
            continue
        numbers = whole.reshape(-1, whole.shape[-1])
        if numbers.shape[0] not in lengths:
            continue
        same = next(
            (value for value in floats if value.numel() == numbers.numel() and value.shape[-1] == numbers.shape[-1]),
            None,
        )
        if experts == numbers.shape[-1] and _is_mask(numbers):
            one = next((value for value in floats if value.numel() == numbers.shape[0]), None)
            if same is not None or one is not None:
                return _of_mask(numbers, same, one)
        elif same is not None:
            return _of_indices(numbers, same)
    return None


def _is_mask(numbers: torch.Tensor) -> bool:
    return bool(((numbers == 0) | (numbers == 1)).all()) and int(numbers.sum(-1).max()) <= 1


def _of_mask(mask: torch.Tensor, same: torch.Tensor | None, one: torch.Tensor | None) -> Choices:
    """Read a mask of the first choice: with a weight for each token, or with one for each token and expert."""
    experts = mask.shape[-1]
    if same is not None:
        weights = same.reshape(mask.shape)
        count = max(1, int((weights != 0).sum(-1).max()))
        values, indices = weights.topk(count, dim=-1)
        return Choices(indices.masked_fill(values == 0, -1), values, experts, same)
    assert one is not None  # noqa: S101 — for the type checker
    went = mask.any(-1, keepdim=True)
    indices = mask.argmax(-1, keepdim=True).masked_fill(~went, -1)
    return Choices(indices, one.reshape(-1, 1).masked_fill(~went, 0), experts, one)


def _of_indices(numbers: torch.Tensor, weights: torch.Tensor) -> Choices:
    """Read the numbers of experts. One with the weight 0 is no choice, as for a token that is skipped."""
    values = weights.reshape(numbers.shape)
    return Choices(numbers.long().masked_fill(values == 0, -1), values, None, weights)


def returned(output: Sequence[Any], lengths: set[int]) -> Choices | None:
    """Return the choices that a router returns, or None."""
    return _of_sparse(output, lengths) or _of_sorted(output, lengths)


def _of_sparse(output: Sequence[Any], lengths: set[int]) -> Choices | None:
    """Read weights that are zero for all experts but the k with the largest logits, beside those logits."""
    flat = [value for value in output if isinstance(value, torch.Tensor) and value.ndim == 2]
    floats = [value for value in flat if value.is_floating_point() and value.shape[0] in lengths and value.shape[1] > 1]
    for weights in floats if len(floats) > 1 else ():
        counts = (weights != 0).sum(-1)
        count = int(counts[0])
        if not 0 < count < weights.shape[1] or bool((counts != count).any()) or bool((weights < 0).any()):
            continue
        for logits in floats:
            if logits is weights or logits.shape != weights.shape or bool((logits == 0).any()):
                continue
            largest = torch.zeros_like(weights, dtype=torch.bool).scatter(1, logits.topk(count, dim=-1).indices, True)
            if torch.equal(largest, weights != 0):
                values, indices = weights.topk(count, dim=-1)
                return Choices(indices, values, weights.shape[1], weights)
    return None


def _of_sorted(output: Sequence[Any], lengths: set[int]) -> Choices | None:
    """Read the places of tokens sorted by expert, (T · k,), with a list of how many each expert gets."""
    counts = next((value for value in output if _is_counts(value)), None)
    if counts is None:
        return None
    total = sum(counts)
    flat = [value for value in output if isinstance(value, torch.Tensor) and tuple(value.shape) == (total,)]
    weights = next((value for value in flat if value.is_floating_point()), None)
    places = next((value for value in flat if not value.is_floating_point() and _is_permutation(value)), None)
    logits = [value for value in output if isinstance(value, torch.Tensor) and value.ndim == 2]
    tokens = next(
        (value.shape[0] for value in logits if value.shape[0] in lengths and value.shape[1] == len(counts)), 0
    )
    if weights is None or places is None or not tokens or total % tokens:
        return None
    experts = torch.repeat_interleave(
        torch.arange(len(counts), device=places.device), torch.tensor(counts, device=places.device)
    )
    indices = torch.empty_like(places).scatter(0, places, experts)
    values = torch.empty_like(weights).scatter(0, places, weights)
    return Choices(indices.reshape(tokens, -1), values.reshape(tokens, -1), len(counts), weights)


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(each, int) and each >= 0 for each in value)


def _is_permutation(value: torch.Tensor) -> bool:
    return torch.equal(value.sort().values, torch.arange(len(value), device=value.device))
