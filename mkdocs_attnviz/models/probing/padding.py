"""A check whether a model gives a text the same numbers in a padded batch as alone, by running one pair of texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mkdocs_attnviz.models.inputs.batches import most_padded
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map, first_output
from mkdocs_attnviz.models.probing.attention_pass import forward, run

STEP = 1 / 255
"""The largest difference of √p of an attention weight p: one step of those in which weights are stored."""
TOLERANCE = 1e-2
"""The largest difference of the model's outputs, as a share of the largest."""


def padding_matters(loaded: Loaded, examples: Sequence[Example], *, attention: bool) -> bool | None:
    """Return whether the most padded of the texts gets other numbers in a batch than alone; None if none is padded.

    With `attention`, attention weights are compared; otherwise the model's first output.
    """
    padded = most_padded(dict(enumerate(examples)))
    if padded is None:
        return None
    alone = [examples[padded]]
    others = (example for number, example in enumerate(examples) if number != padded)
    together = [*alone, max(others, key=lambda example: len(example.text.ids))]
    if not attention:
        with torch.inference_mode():
            one, other = (_output(loaded, texts) for texts in (alone, together))
        return one is not None and other is not None and _far(one, other, TOLERANCE * float(one.abs().max()))
    one_by_one = zip(_weights(loaded, alone), _weights(loaded, together), strict=True)
    return any(_far(one.sqrt(), other.sqrt(), STEP) for one, other in one_by_one)


def _output(loaded: Loaded, examples: Sequence[Example]) -> torch.Tensor | None:
    """Return the first text's row of the model's first output."""
    output = first_output(run(loaded, collate(loaded, examples), attentions=False))
    return None if output is None else output[0].float()


def _weights(loaded: Loaded, examples: Sequence[Example]) -> list[torch.Tensor]:
    """Return the first text's attention weights, (heads, rows, cols), of each layer."""
    attention_map = find_attention_map(loaded, examples[0])
    wanted = {layer.call for stack in attention_map.stacks.values() for layer in stack.layers}
    weights: list[torch.Tensor] = []
    count = 0

    def keep(call: Call) -> None:
        nonlocal count
        if count in wanted:
            weights.append(call.weights[0].float().clone())
        count += 1

    forward(loaded, collate(loaded, examples), attention_map, keep, operands=False)
    return weights


def _far(one: torch.Tensor, other: torch.Tensor, limit: float) -> bool:
    """Return whether a tensor differs from the same part of a larger one by more than the limit."""
    if one.ndim != other.ndim:
        return True
    same = other[tuple(slice(size) for size in one.shape)]
    return same.shape != one.shape or float((one - same).abs().max()) > limit
