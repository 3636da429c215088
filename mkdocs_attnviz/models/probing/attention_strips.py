"""Attention from the position of one output to the tokens that the model read, as one number for each token.

Three ways to make one number of many heads: the weights of the last layer, averaged over its heads; attention rollout
(Abnar & Zuidema 2020, section 3), which follows the weights through all layers; and weights times the norm of what they
move, α·‖v·W_O‖ (Kobayashi et al. 2020), in the last layer. None of them knows which output is asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable, check_attention
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Stack
from mkdocs_attnviz.models.probing.attention_pass import forward
from mkdocs_attnviz.models.probing.explained_outputs import Output
from mkdocs_attnviz.models.probing.output_projection import norms

Floats = npt.NDArray[np.float32]

ATTENTION = ("attention", "rollout", "value_weighted")
"""The names of the three ways."""


@dataclass
class _Layer:
    """The weights of one layer on the way from the attention map to a strip."""

    weights: torch.Tensor
    """Weights, (heads, Tq, Tk)."""
    norms: torch.Tensor | None
    """Norms of the projected values, (heads, Tk); None if the output projection is not known."""


def attention_strips(loaded: Loaded, output: Output, names: Sequence[str]) -> dict[str, Floats]:
    """Return one value for each token of the text, by the name of the way.

    Encoder–decoders have the cross attention of the decoder's last layer.

    Raises:
        Unusable: the model has no such attention.
        ValueError: it computes its attention in another way on this text.
    """
    check_attention(loaded.ref.name, loaded.model.config)
    attention_map = find_attention_map(loaded, output.reads)
    name = "self" if "self" in attention_map.stacks else "cross"
    if name not in attention_map.stacks or (name == "cross" and "rollout" in names):
        what = "attention rollout" if "rollout" in names else "attention"
        raise Unusable(
            f"`method` has {'rollout' if 'rollout' in names else names[0]}, and {what} from an output to a text is "
            f"not defined for encoder–decoder model {loaded.ref.name!r}.",
            "method",
        )
    layers = _layers(loaded, output.reads, attention_map, attention_map.stacks[name], every="rollout" in names)
    rows = rows_read(loaded, output)
    return {way: _mean_of_rows(_strip(loaded, way, layers), rows) for way in names}


def _mean_of_rows(weights: torch.Tensor, rows: Sequence[int]) -> Floats:
    """Average the rows of weights, (Tq, Tk), that an output is predicted from."""
    strip: Floats = weights[list(rows)].mean(0).numpy()
    return strip


def _layers(
    loaded: Loaded, example: Example, attention_map: AttentionMap, stack: Stack, *, every: bool
) -> list[_Layer]:
    """Run the model once, and return the weights of a stack's last layer, or of `every` layer."""
    wanted = {layer.call for layer in (stack.layers if every else stack.layers[-1:])}
    found: dict[int, _Layer] = {}
    count = 0

    def keep(call: Call) -> None:
        nonlocal count
        if count in wanted:
            projection = attention_map.projections.get(count)
            moved = None if projection is None or call.value is None else norms(call.value, projection)[0].cpu()
            found[count] = _Layer(call.weights[0].float().cpu().clone(), moved)
        count += 1

    inputs = collate(loaded, [example])
    forward(loaded, inputs, attention_map, keep, operands=bool(attention_map.projections))
    return [found[layer.call] for layer in stack.layers if layer.call in found]


def _strip(loaded: Loaded, way: str, layers: Sequence[_Layer]) -> torch.Tensor:
    """Return weights, (Tq, Tk), of one of the three ways.

    Raises:
        Unusable: the norms are not known.
    """
    last = layers[-1]
    if way == "attention":
        return last.weights.mean(0)
    if way == "rollout":
        return rollout([layer.weights for layer in layers])
    if last.norms is None:
        raise Unusable(
            f"`method` has value_weighted, and the output projection of model {loaded.ref.name!r} was not found.",
            "method",
        )
    weighted = last.weights * last.norms[:, None]  # (heads, Tq, Tk)
    return (weighted / weighted.sum(-1, keepdim=True).clamp_min(1e-12)).mean(0)


def rollout(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the attention rollout of all layers' weights, (heads, T, T) each: Ãₗ·…·Ã₀, Ã = ½(mean over heads) + ½I."""
    total = torch.eye(layers[0].shape[-2])
    for weights in layers:
        mean = weights[..., : weights.shape[-2]].mean(0)
        mixed = mean / mean.sum(-1, keepdim=True).clamp_min(1e-9) / 2 + torch.eye(mean.shape[0]) / 2
        total = mixed @ total
    return total


def rows_read(loaded: Loaded, output: Output) -> list[int]:
    """Return the positions whose last vectors an output is computed from, in the sequence that predicts it.

    A classifier's head reads one token's vector, or all of them. Which ones is told by the gradient of the logits at
    the last vectors; if the model does not hand those out, it is taken to read the first one.
    """
    sequence = output.reads.text if output.reads.target is None else output.reads.target
    if output.row is not None:
        return [output.row % len(sequence.ids)]
    with torch.enable_grad():
        inputs = collate(loaded, [output.reads])
        outputs = loaded.model(**inputs, output_hidden_states=True, return_dict=True)
        states = outputs.get("decoder_hidden_states") or outputs.get("hidden_states") or (None,)
        last, logits = states[-1], loaded.logits_of(outputs)
        if last is None or last.ndim != 3 or not last.requires_grad:
            return [0]
        (gradient,) = torch.autograd.grad(logits.float().square().sum(), last, allow_unused=True)
    if gradient is None:
        return [0]
    read: list[int] = gradient[0].abs().sum(-1).nonzero()[:, 0].tolist()
    return read or [0]
