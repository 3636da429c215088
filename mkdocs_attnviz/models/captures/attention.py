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
from typing import Any, TypeVar

import numpy as np
import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import encoding, entry_budget
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.entry_budget import EntryBudget
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Stack, forward
from mkdocs_attnviz.models.probing.output_projection import Projection, norms

T = TypeVar("T")
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
        lambda name, number: _stack(
            attention_map.stacks[name],
            examples[number],
            number,
            stored,
            EntryBudget(context.entry_size, shapes(attention_map, examples[number])),
        ),
        context.entry_size,
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
PendingBlobs = Callable[[], dict[str, bytes]]
"""A function that waits for blobs that are being encoded, and returns them by the end of their names."""
Stacked = tuple[list[dict[str, Any]], list[PendingBlobs]]
"""The layers of a stack in the form of `meta`, and its blobs."""


def start_encoding(encode: Callable[..., T], *args: Any) -> Callable[[], T]:
    """Start to encode something in another thread. Return a function that waits for it."""
    return _deflaters.submit(encode, *args).result


def _named(end: str, pending: PendingBlob) -> PendingBlobs:
    return lambda: {end: pending()}


def start_layer(meta: dict[str, Any], steps: encoding.Steps, budget: EntryBudget) -> PendingBlobs:
    """Start to encode the weights of a layer in another thread. Once they are, its `meta` says how."""
    pending = start_encoding(entry_budget.encode_layer, steps, budget)

    def wait() -> dict[str, bytes]:
        encoded = pending()
        meta.update(encoded.meta)
        return {f"{meta['layer']}{end}": blob for end, blob in encoded.blobs.items()}

    return wait


def shapes(attention_map: AttentionMap, example: Example) -> list[tuple[int, int, int]]:
    """Return the shape of the weights of each layer, (heads, rows, cols)."""
    return [
        (layer.heads, len(tokens(example, stack.rows).ids), len(tokens(example, stack.cols).ids))
        for stack in attention_map.stacks.values()
        for layer in stack.layers
    ]


def entries(
    attention_map: AttentionMap,
    examples: Sequence[Example],
    stacked: Callable[[str, int], Stacked],
    entry_size: int,
) -> list[Entry]:
    """Return an entry for each example; `stacked(stack, number)` makes the stack of the example with that number."""
    stacks = [{name: stacked(name, number) for name in attention_map.stacks} for number in range(len(examples))]
    return [
        _entry(attention_map, example, stacks_of_example, entry_size)
        for example, stacks_of_example in zip(examples, stacks, strict=True)
    ]


def _entry(attention_map: AttentionMap, example: Example, stacked: dict[str, Stacked], entry_size: int) -> Entry:
    sequences, stacks = example.sequences(), {}
    blobs: dict[str, bytes] = {}
    for name, (layers, blobs_pending) in stacked.items():
        stack = attention_map.stacks[name]
        cols = f"{stack.cols}+sink" if stack.sink else stack.cols
        if stack.sink:
            sequences[cols] = _with_sink(sequences[stack.cols])
        stacks[name] = {"rows": stack.rows, "cols": cols, "causal": stack.causal, "layers": layers}
        for wait in blobs_pending:
            blobs |= {f"{name}/{end}": blob for end, blob in wait().items()}
    reduced = entry_budget.reduction_of(stacks, entry_size)
    return Entry({"sequences": sequences, "stacks": stacks} | reduced, blobs)


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


def _stack(stack: Stack, example: Example, number: int, stored: dict[int, StoredCall], budget: EntryBudget) -> Stacked:
    """Start to encode the blobs of one stack of one example."""
    rows, cols = (len(tokens(example, name).ids) for name in (stack.rows, stack.cols))
    steps = [cut(stored[layer.call], number, rows, cols) for layer in stack.layers]
    square = stack.rows == stack.cols
    layers: list[dict[str, Any]] = []
    blobs: list[PendingBlobs] = []
    for layer, steps_of_layer in zip(stack.layers, steps, strict=True):
        meta: dict[str, Any] = dict(layer.meta)
        blobs.append(start_layer(meta, steps_of_layer, budget))
        moved = stored[layer.call].norms
        if moved is not None:
            values = np.zeros((layer.heads, cols + stack.sink), np.float32)
            values[:, :cols] = moved[number, :, :cols].numpy()
            blobs.append(_named(f"{layer.layer}/values", start_encoding(encoding.scaled_blob, values)))
            meta["values"] = True
        meta |= {"rollout": True} if square else {}
        layers.append(meta)
    blobs.append(_named("overview", start_encoding(encoding.overview_blob, steps)))
    return layers, [*blobs, *(_rollout(layers, steps, budget) if square else [])]


def cut(stored: StoredCall, number: int, rows: int, cols: int) -> encoding.Steps:
    """Return the weights of one example, (heads, cols, rows), without padding; a sink has a last column of its own."""
    steps = stored.steps[number, :, :rows, :cols].transpose(1, 2).numpy()
    if stored.rest is None:
        return np.ascontiguousarray(steps)
    with_sink: encoding.Steps = np.concatenate([steps, stored.rest[number, :, None, :rows].numpy()], axis=1)
    return with_sink


def _rollout(layers: list[dict[str, Any]], steps: list[encoding.Steps], budget: EntryBudget) -> list[PendingBlobs]:
    """Start to encode the rollout. Its layers are one task, since each needs the one before."""
    room = budget.rollout_room(len(layers)) if budget.is_large else float("inf")
    every = _deflaters.submit(lambda: [entry_budget.encode_rollout(layer, room) for layer in encoding.rollout(steps)])

    def part(number: int, layer: int) -> PendingBlobs:
        return lambda: {f"{layer}/rollout": every.result()[number]}

    return [part(number, meta["layer"]) for number, meta in enumerate(layers)]
