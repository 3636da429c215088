"""Attention probabilities of all layers and heads, stored while the model runs, and results computed from them.

Each layer's weights are quantised where they are computed and copied at once. So a pass needs only one byte per weight
more memory than the model itself (`encoding`). They are compressed after the pass, on all processors; during the pass
the model uses those.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
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
from mkdocs_attnviz.models.reduction import GROUPS, LARGE
from mkdocs_attnviz.models.strongest import strongest_groups

_deflaters = ThreadPoolExecutor(os.cpu_count())  # zlib releases the interpreter's lock


@dataclass
class StoredCall:
    """The data that is stored of one attention call."""

    steps: torch.Tensor
    """Quantised weights, (B, heads, Tq, Tk) of uint8, round(255·√p)."""
    rest: torch.Tensor | None
    """The sink's share, (B, heads, Tq) of uint8; None if there is no sink."""
    norms: torch.Tensor | None
    """Norms of the projected values, (B, heads, Tk); None if the output projection is not known."""


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example, with weights, norms of values, rollout and overviews of all layers.

    Raises:
        Unusable: the model has no weights of tokens by tokens.
        ValueError: the weights are no probabilities.
    """
    loaded, examples = context.loaded, context.examples
    stored = store_calls(loaded, examples)
    attention_map = find_attention_map(loaded, examples[0])
    return entries(
        attention_map,
        examples,
        lambda name, number: _stack(attention_map.stacks[name], examples[number], number, stored),
    )


def store_calls(loaded: Loaded, examples: Sequence[Example]) -> dict[int, StoredCall]:
    """Run the model once and return the stored data of each call that belongs to a layer."""
    attention_map = find_attention_map(loaded, examples[0])
    stored: dict[int, StoredCall] = {}
    wanted = {layer.call: stack for stack in attention_map.stacks.values() for layer in stack.layers}
    count = 0

    def keep(call: Call) -> None:
        nonlocal count
        if count in wanted:
            stored[count] = _store(call, attention_map.projections.get(count), sink=wanted[count].sink)
        count += 1

    forward(loaded, collate(loaded, examples), attention_map, keep, operands=bool(attention_map.projections))
    return stored


def _store(call: Call, projection: Projection | None, *, sink: bool) -> StoredCall:
    """Return the stored data of a call. Its weights are overwritten, since nothing else uses them."""
    moved = None
    if projection is not None and call.value is not None:
        moved = norms(call.value, projection).cpu()
    weights = call.weights
    rest = quantised((1 - weights.float().sum(-1)).clamp_(min=0)).cpu() if sink else None
    return StoredCall(quantised(weights).cpu(), rest, moved)


def quantised(weights: torch.Tensor) -> torch.Tensor:
    """Return round(255·√p), computed in place if possible.

    Raises:
        ValueError: the weights are no probabilities.
    """
    steps = weights.float().sqrt_()
    torch.add(torch.tensor(0.5, device=steps.device), steps, alpha=255, out=steps)
    largest = float(steps.amax())  # NaN if any weight is NaN
    if not largest < 256.5:
        raise WrongValue("text", "The model's attention weights are not numbers between 0 and 1 (NaN or out of range).")
    steps = steps.clamp_(max=255) if largest >= 256 else steps
    if steps.device.type == "cpu":  # NumPy's conversion is 2.5 times as fast as torch's
        return torch.from_numpy(steps.numpy().astype(np.uint8))
    return steps.to(torch.uint8)


PendingBlob = Callable[[], bytes]
"""A function that waits for a blob that is being encoded, and returns it."""
Stacked = tuple[list[dict[str, Any]], dict[str, PendingBlob]]
"""The layers of a stack in the form of `meta`, and its blobs by the end of their names."""


def start_encoding(encode: Callable[..., bytes], *args: Any) -> PendingBlob:
    """Start to encode a blob in another thread."""
    return _deflaters.submit(encode, *args).result


def entries(
    attention_map: AttentionMap, examples: Sequence[Example], stacked: Callable[[str, int], Stacked]
) -> list[Entry]:
    """Return an entry for each example; `stacked(stack, number)` makes the stack of the example with that number."""
    stacks = [{name: stacked(name, number) for name in attention_map.stacks} for number in range(len(examples))]
    return [
        _entry(attention_map, example, stacks_of_example)
        for example, stacks_of_example in zip(examples, stacks, strict=True)
    ]


def _entry(attention_map: AttentionMap, example: Example, stacked: dict[str, Stacked]) -> Entry:
    sequences, stacks = example.sequences(), {}
    blobs: dict[str, bytes] = {}
    for name, (layers, blobs_pending) in stacked.items():
        stack = attention_map.stacks[name]
        cols = f"{stack.cols}+sink" if stack.sink else stack.cols
        if stack.sink:
            sequences[cols] = _with_sink(sequences[stack.cols])
        stacks[name] = {"rows": stack.rows, "cols": cols, "causal": stack.causal, "layers": layers}
        blobs |= {f"{name}/{end}": wait() for end, wait in blobs_pending.items()}
    return Entry({"sequences": sequences, "stacks": stacks}, blobs)


def _with_sink(sequence: dict[str, Any]) -> dict[str, Any]:
    """Return the sequence with one more token at its end, which stands for the sink."""
    more = {name: [*sequence[name], "sink"] for name in ("tokens", "pretty")}
    more |= {"special": [*sequence["special"], len(sequence["tokens"])], "words": [*sequence["words"], None]}
    return {name: value for name, value in sequence.items() if name != "next"} | more


def tokens(example: Example, sequence: str) -> Tokens:
    if sequence == "target":
        assert example.target is not None  # noqa: S101 — for the type checker: a decoder has read it
        return example.target
    return example.text


def _stack(stack: Stack, example: Example, number: int, stored: dict[int, StoredCall]) -> Stacked:
    """Start to encode the blobs of one stack of one example."""
    rows, cols = (len(tokens(example, name).ids) for name in (stack.rows, stack.cols))
    steps = [cut(stored[layer.call], number, rows, cols) for layer in stack.layers]
    square = stack.rows == stack.cols
    layers: list[dict[str, Any]] = []
    blobs: dict[str, PendingBlob] = {}
    for layer, steps_of_layer in zip(stack.layers, steps, strict=True):
        blobs[str(layer.layer)] = start_encoding(encoding.weights_blob, steps_of_layer)
        meta: dict[str, Any] = {"layer": layer.layer, "heads": layer.heads}
        moved = stored[layer.call].norms
        if moved is not None:
            values = np.zeros((layer.heads, cols + stack.sink), np.float32)
            values[:, :cols] = moved[number, :, :cols].numpy()
            blobs[f"{layer.layer}/values"] = start_encoding(encoding.scaled_blob, values)
            meta["values"] = True
        layers.append(meta | ({"rollout": True} if square else {}))
    if sum(each.size for each in steps) >= LARGE:
        for meta, each in zip(layers, steps, strict=True):
            blobs |= strongest(meta, each)
    blobs["overview"] = start_encoding(encoding.overview_blob, steps)
    return layers, blobs | (_rollout(stack, steps) if square else {})


def strongest(meta: dict[str, Any], steps: encoding.Steps) -> dict[str, PendingBlob]:
    """Start to encode the strongest weights of a layer. Once they are, its `meta` says which share they hold."""
    task = _deflaters.submit(strongest_groups, steps)

    def part(number: int) -> PendingBlob:
        def wait() -> bytes:
            groups, meta["strongest"] = task.result()
            return groups[number]

        return wait

    count = sum(total <= steps.shape[1] for total in accumulate(GROUPS))
    return {f"{meta['layer']}/strongest/{number}": part(number) for number in range(count)}


def cut(stored: StoredCall, number: int, rows: int, cols: int) -> encoding.Steps:
    """Return the weights of one example, (heads, cols, rows), without padding; a sink has a last column of its own."""
    steps = stored.steps[number, :, :rows, :cols].transpose(1, 2).numpy()
    if stored.rest is None:
        return np.ascontiguousarray(steps)
    with_sink: encoding.Steps = np.concatenate([steps, stored.rest[number, :, None, :rows].numpy()], axis=1)
    return with_sink


def _rollout(stack: Stack, steps: list[encoding.Steps]) -> dict[str, PendingBlob]:
    """Start to encode the rollout. Its layers are one task, since each needs the one before."""
    every = _deflaters.submit(lambda: [encoding.weights_blob(layer) for layer in encoding.rollout(steps)])

    def part(number: int) -> PendingBlob:
        return lambda: every.result()[number]

    return {f"{layer.layer}/rollout": part(number) for number, layer in enumerate(stack.layers)}
