"""Attention probabilities of all layers and heads, taken while the model runs, and what follows from them.

Each layer's weights are quantised where they are computed and copied away at once: what a pass needs above what the
model itself needs is one copy of what is kept, bytes (`encoding`). They are deflated when the pass is over, on all
processors; while it runs, those are the model's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import encoding
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Stack, forward
from mkdocs_attnviz.models.probing.output_projection import Projection, norms

_deflaters = ThreadPoolExecutor(os.cpu_count())  # zlib releases the interpreter's lock


@dataclass
class Kept:
    """What is kept of one call."""

    steps: torch.Tensor
    """(B, heads, Tq, Tk) of uint8, round(255·√p)."""
    rest: torch.Tensor | None
    """(B, heads, Tq) of uint8: what a sink takes."""
    norms: torch.Tensor | None
    """(B, heads, Tk)"""


def capture(context: Context) -> list[Entry]:
    """One entry for each example: for each layer its weights, and with them norms of values, rollout and overviews.

    Raises:
        Unusable: the model has no weights of tokens by tokens.
        ValueError: weights that are no probabilities.
    """
    loaded, examples = context.loaded, context.examples
    kept = take(loaded, examples)
    found = find_attention_map(loaded, examples[0])
    return entries(found, examples, lambda name, number: _stack(found.stacks[name], examples[number], number, kept))


def take(loaded: Loaded, examples: Sequence[Example]) -> dict[int, Kept]:
    """One pass of the model; what is kept of each call that is a layer's."""
    found = find_attention_map(loaded, examples[0])
    kept: dict[int, Kept] = {}
    wanted = {layer.call: stack for stack in found.stacks.values() for layer in stack.layers}
    count = 0

    def keep(call: Call) -> None:
        nonlocal count
        if count in wanted:
            kept[count] = _kept(call, found.projections.get(count), sink=wanted[count].sink)
        count += 1

    forward(loaded, collate(loaded, examples), found, keep, operands=bool(found.projections))
    return kept


def _kept(call: Call, projection: Projection | None, *, sink: bool) -> Kept:
    """The weights are overwritten: they are nobody's any more."""
    moved = None
    if projection is not None and call.value is not None:
        moved = norms(call.value, projection).cpu()
    weights = call.weights
    rest = quantised((1 - weights.float().sum(-1)).clamp_(min=0)).cpu() if sink else None
    return Kept(quantised(weights).cpu(), rest, moved)


def quantised(weights: torch.Tensor) -> torch.Tensor:
    """round(255·√p), in place where it can be.

    Raises:
        ValueError: weights that are no probabilities.
    """
    steps = weights.float().sqrt_()
    torch.add(torch.tensor(0.5, device=steps.device), steps, alpha=255, out=steps)
    largest = float(steps.amax())  # NaN wins
    if not largest < 256.5:
        raise WrongValue("text", "The model's attention weights are not numbers between 0 and 1 (NaN or out of range).")
    steps = steps.clamp_(max=255) if largest >= 256 else steps
    if steps.device.type == "cpu":  # NumPy's conversion is 2.5 times as fast as torch's
        return torch.from_numpy(steps.numpy().astype(np.uint8))
    return steps.to(torch.uint8)


Making = Callable[[], bytes]
"""A blob that is being made: waits for it."""
Stacked = tuple[list[dict[str, Any]], dict[str, Making]]
"""A stack's layers as `meta` has them, and blobs by the end of their name."""


def making(encode: Callable[..., bytes], *args: Any) -> Making:
    """Encode beside whatever comes next."""
    return _deflaters.submit(encode, *args).result


def entries(found: AttentionMap, examples: Sequence[Example], stacked: Callable[[str, int], Stacked]) -> list[Entry]:
    """An entry for each example, of what `stacked(stack, number)` makes of each stack of it."""
    made = [{name: stacked(name, number) for name in found.stacks} for number in range(len(examples))]
    return [_entry(found, example, stacks) for example, stacks in zip(examples, made, strict=True)]


def _entry(found: AttentionMap, example: Example, stacked: dict[str, Stacked]) -> Entry:
    sequences, stacks = example.sequences(), {}
    blobs: dict[str, bytes] = {}
    for name, (layers, making) in stacked.items():
        stack = found.stacks[name]
        cols = f"{stack.cols}+sink" if stack.sink else stack.cols
        if stack.sink:
            sequences[cols] = _with_sink(sequences[stack.cols])
        stacks[name] = {"rows": stack.rows, "cols": cols, "causal": stack.causal, "layers": layers}
        blobs |= {f"{name}/{end}": made() for end, made in making.items()}
    return Entry({"sequences": sequences, "stacks": stacks}, blobs)


def _with_sink(sequence: dict[str, Any]) -> dict[str, Any]:
    """The same tokens and one more, which stands for no token."""
    more = {name: [*sequence[name], "sink"] for name in ("tokens", "pretty")}
    more |= {"special": [*sequence["special"], len(sequence["tokens"])], "words": [*sequence["words"], None]}
    return {name: value for name, value in sequence.items() if name != "next"} | more


def tokens(example: Example, sequence: str) -> Tokens:
    if sequence == "target":
        assert example.target is not None  # noqa: S101 — for the type checker: a decoder has read it
        return example.target
    return example.text


def _stack(stack: Stack, example: Example, number: int, kept: dict[int, Kept]) -> Stacked:
    """Blobs of one stack of one example, being made."""
    rows, cols = (len(tokens(example, name).ids) for name in (stack.rows, stack.cols))
    steps = [cut(kept[layer.call], number, rows, cols) for layer in stack.layers]
    square = stack.rows == stack.cols
    layers: list[dict[str, Any]] = []
    blobs: dict[str, Making] = {}
    for layer, found in zip(stack.layers, steps, strict=True):
        blobs[str(layer.layer)] = making(encoding.weights_blob, found)
        meta: dict[str, Any] = {"layer": layer.layer, "heads": layer.heads}
        moved = kept[layer.call].norms
        if moved is not None:
            values = np.zeros((layer.heads, cols + stack.sink), np.float32)
            values[:, :cols] = moved[number, :, :cols].numpy()
            blobs[f"{layer.layer}/values"] = making(encoding.scaled_blob, values)
            meta["values"] = True
        layers.append(meta | ({"rollout": True} if square else {}))
    blobs["overview"] = making(encoding.overview_blob, steps)
    return layers, blobs | (_rollout(stack, steps) if square else {})


def cut(kept: Kept, number: int, rows: int, cols: int) -> encoding.Steps:
    """One example's part, its padding left out: (heads, cols, rows), with a sink's column where there is one."""
    steps = kept.steps[number, :, :rows, :cols].transpose(1, 2).numpy()
    if kept.rest is None:
        return np.ascontiguousarray(steps)
    found: encoding.Steps = np.concatenate([steps, kept.rest[number, :, None, :rows].numpy()], axis=1)
    return found


def _rollout(stack: Stack, steps: list[encoding.Steps]) -> dict[str, Making]:
    """All layers of it are one piece of work: each needs the one before."""
    every = _deflaters.submit(lambda: [encoding.weights_blob(layer) for layer in encoding.rollout(steps)])

    def part(number: int) -> Making:
        return lambda: every.result()[number]

    return {f"{layer.layer}/rollout": part(number) for number, layer in enumerate(stack.layers)}
