"""Attention probabilities of all layers and heads, stored while the model runs, and results computed from them.

Each layer's weights are quantised where they are computed and copied at once, to one byte per weight (`encoding`). They
are compressed after the pass, on all processors; during the pass the model uses those. If all layers take more than
`WAITING` bytes, the pass stops from time to time until those that wait are compressed. So memory does not grow with the
number of layers: what is compressed goes to a file (`cache.blobs`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, TypeVar

import numpy as np
import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.blobs import Spool
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import encoding, entry_budget
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.entry_budget import EntryBudget
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.kept_shares import Masses, mean_weights, sampled_rows
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Layer, Stack
from mkdocs_attnviz.models.probing.attention_pass import forward
from mkdocs_attnviz.models.probing.output_projection import Projection, norms

T = TypeVar("T")
_deflaters = ThreadPoolExecutor(os.cpu_count())  # zlib releases the interpreter's lock
WAITING = 64 << 20
"""The number of quantised weights that may wait to be compressed."""


@dataclass
class StoredCall:
    """The data that is stored of one attention call."""

    steps: torch.Tensor
    """Quantised weights, (B, heads, Tq, Tk) of uint8, round(255·√p)."""
    rest: torch.Tensor | None
    """The sink's share, (B, heads, Tq) of uint8; None if there is no sink."""
    norms: torch.Tensor | None
    """Norms of the projected values, (B, heads, Tk); None if the output projection is not known."""
    means: Sequence[Masses | None] = ()
    """The mean weights of each example (`kept_shares`), (heads, 256); None where the entry's budget needs none."""


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example, with weights, norms of values, rollout and overviews of all layers.

    Raises:
        Unusable: the model has no weights of tokens by tokens.
        ValueError: the weights are no probabilities.
    """
    loaded, examples = context.loaded, context.examples
    attention_map = find_attention_map(loaded, examples[0])
    spools = [Spool(context.folder) for _ in examples]
    budgets = [EntryBudget(context.entry_size, shapes(attention_map, example)) for example in examples]
    encoders = [
        _StackEncoder(name, stack, example, number, spools[number], budgets[number])
        for number, example in enumerate(examples)
        for name, stack in attention_map.stacks.items()
    ]
    waiting: dict[int, StoredCall] = {}

    def encode() -> None:
        started = [(encoder, encoder.start(waiting)) for encoder in encoders]
        for encoder, layers in started:
            encoder.finish(layers)
        for call in {layer.call for _, layers in started for layer in layers}:
            del waiting[call]

    def keep(number: int, call: StoredCall) -> None:
        waiting[number] = call
        if sum(some.steps.numel() for some in waiting.values()) > WAITING:
            encode()

    store_calls(loaded, examples, keep, budgets)
    encode()
    made = iter(encoders)
    stacks = [{name: next(made).told() for name in attention_map.stacks} for _ in examples]
    return [
        entry(attention_map, example, told, spool, context.entry_size)
        for example, told, spool in zip(examples, stacks, spools, strict=True)
    ]


def store_calls(
    loaded: Loaded,
    examples: Sequence[Example],
    keep: Callable[[int, StoredCall], None],
    budgets: Sequence[EntryBudget] = (),
) -> None:
    """Run the model once and pass the stored data of each call that belongs to a layer to `keep`, with its number. The
    data have the mean weights that the examples' `budgets` need."""
    attention_map = find_attention_map(loaded, examples[0])
    wanted = {layer.call: stack for stack in attention_map.stacks.values() for layer in stack.layers}
    count = 0

    def stored(call: Call) -> None:
        nonlocal count
        if count in wanted:
            stack = wanted[count]
            means = _means(call, stack, examples, budgets)
            keep(count, _store(call, attention_map.projections.get(count), means, sink=stack.sink))
        count += 1

    forward(loaded, collate(loaded, examples), attention_map, stored, operands=bool(attention_map.projections))


def _means(
    call: Call, stack: Stack, examples: Sequence[Example], budgets: Sequence[EntryBudget]
) -> list[Masses | None]:
    """Return the mean weights of each example, without padding, before the weights are overwritten; none without
    budgets. A sink has a last column of its own."""
    means: list[Masses | None] = []
    for number, (example, budget) in enumerate(zip(examples, budgets, strict=True) if budgets else ()):
        rows, cols = (len(tokens(example, side).ids) for side in (stack.rows, stack.cols))
        if not budget.needs_means(cols + stack.sink):
            means.append(None)
            continue
        some = call.weights[number, :, sampled_rows(rows), :cols].float()
        if stack.sink:
            some = torch.cat([some, (1 - some.sum(-1, keepdim=True)).clamp_(min=0)], -1)
        means.append(mean_weights(some.cpu().numpy()))
    return means


def _store(call: Call, projection: Projection | None, means: Sequence[Masses | None], *, sink: bool) -> StoredCall:
    """Return the stored data of a call. Its weights are overwritten, since nothing else uses them."""
    moved = None
    if projection is not None and call.value is not None:
        moved = norms(call.value, projection).cpu()
    weights = call.weights
    rest = quantised((1 - weights.float().sum(-1)).clamp_(min=0)).cpu() if sink else None
    return StoredCall(quantised(weights).cpu(), rest, moved, means)


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
Told = tuple[list[dict[str, Any]], list[str]]
"""The layers of a stack in the form of `meta`, and the names of its blobs in the entry's order."""


def start_encoding(encode: Callable[..., T], *args: Any) -> Callable[[], T]:
    """Start to encode something in another thread. Return a function that waits for it."""
    return _deflaters.submit(encode, *args).result


def shapes(attention_map: AttentionMap, example: Example) -> list[tuple[int, int, int]]:
    """Return the shape of the weights of each layer, (heads, rows, cols)."""
    return [
        (layer.heads, len(tokens(example, stack.rows).ids), len(tokens(example, stack.cols).ids))
        for stack in attention_map.stacks.values()
        for layer in stack.layers
    ]


def entry(
    attention_map: AttentionMap, example: Example, stacks_told: dict[str, Told], spool: Spool, entry_size: int
) -> Entry:
    """Return the entry of an example whose blobs are in `spool`, of at most about `entry_size` bytes."""
    sequences, stacks = example.sequences(), {}
    names: list[str] = []
    for name, (layers, names_of_stack) in stacks_told.items():
        stack = attention_map.stacks[name]
        cols = f"{stack.cols}+sink" if stack.sink else stack.cols
        if stack.sink:
            sequences[cols] = _with_sink(sequences[stack.cols])
        stacks[name] = {"rows": stack.rows, "cols": cols, "causal": stack.causal, "layers": layers}
        names += names_of_stack
    reduced = entry_budget.reduction_of(stacks, entry_size)
    return Entry({"sequences": sequences, "stacks": stacks} | reduced, spool.blobs(names))


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


class _StackEncoder:
    """The encoding of one stack of one example, some layers at a time."""

    def __init__(
        self, name: str, stack: Stack, example: Example, number: int, spool: Spool, budget: EntryBudget
    ) -> None:
        self.name, self.stack, self.number, self.spool, self.budget = name, stack, number, spool, budget
        self.rows, self.cols = (len(tokens(example, side).ids) for side in (stack.rows, stack.cols))
        self.layers: list[dict[str, Any]] = []
        self.pooled: list[encoding.Steps] = []
        """The overview of each layer so far."""
        self.room = budget.rollout_room(len(stack.layers)) if budget.is_large else float("inf")
        """The number of bytes for the rollout of a layer."""
        self.rollout = encoding.Rollout() if stack.rows == stack.cols else None
        self.encoding: list[tuple[dict[str, Any], Callable[[], entry_budget.EncodedLayer]]] = []
        """The weights that are being encoded, with the `meta` of their layers."""
        self.ends: dict[int, list[str]] = {}
        """The ends of the names of the blobs of each layer's weights."""
        self.pending: dict[str, PendingBlob] = {}
        """The blobs that are being encoded, by the end of their names."""
        self.pooling: list[Future[encoding.Steps]] = []

    def start(self, waiting: Mapping[int, StoredCall]) -> list[Layer]:
        """Start to encode the next layers, as far as their calls are there, and return them."""
        left = self.stack.layers[len(self.layers) :]
        layers = list(takewhile(lambda layer: layer.call in waiting, left))
        steps = [cut(waiting[layer.call], self.number, self.rows, self.cols) for layer in layers]
        for layer, steps_of_layer in zip(layers, steps, strict=True):
            meta: dict[str, Any] = {**layer.meta}
            means = waiting[layer.call].means[self.number]
            encoded = start_encoding(entry_budget.encode_layer, steps_of_layer, self.budget, means)
            self.encoding.append((meta, encoded))
            moved = waiting[layer.call].norms
            if moved is not None:
                values = np.zeros((layer.heads, self.cols + self.stack.sink), np.float32)
                values[:, : self.cols] = moved[self.number, :, : self.cols].numpy()
                self.pending[f"{layer.layer}/values"] = start_encoding(encoding.scaled_blob, values)
                meta["values"] = True
            self.layers.append(meta)
            if self.rollout is not None:
                meta["rollout"] = True
            self.pooling.append(_deflaters.submit(encoding.pooled, steps_of_layer))
        if self.rollout is not None:
            self.pending |= _rollout(self.rollout, layers, steps, self.room)
        return layers

    def finish(self, layers: Sequence[Layer]) -> None:
        """Wait for what was started, and put it into the spool."""
        for meta, wait_for_layer in self.encoding:
            encoded, number = wait_for_layer(), meta["layer"]
            meta.update(encoded.meta)
            self.ends[number] = [f"{number}{end}" for end in encoded.blobs]
            for end, blob in encoded.blobs.items():
                self.spool.add(f"{self.name}/{number}{end}", blob)
        for end, wait in self.pending.items():
            self.spool.add(f"{self.name}/{end}", wait())
        self.pooled += [pooling.result() for pooling in self.pooling]
        self.encoding, self.pending, self.pooling = [], {}, []
        if layers and len(self.layers) == len(self.stack.layers):
            self.spool.add(f"{self.name}/overview", encoding.joined_overview(self.pooled))

    def told(self) -> Told:
        """Return the layers and the names of all blobs."""
        ends: list[str] = []
        for layer in self.layers:
            ends += [*self.ends[layer["layer"]], *([f"{layer['layer']}/values"] if "values" in layer else [])]
        ends.append("overview")
        ends += [f"{layer['layer']}/rollout" for layer in self.layers if "rollout" in layer]
        return self.layers, [f"{self.name}/{end}" for end in ends]


def cut(stored: StoredCall, number: int, rows: int, cols: int) -> encoding.Steps:
    """Return the weights of one example, (heads, cols, rows), without padding; a sink has a last column of its own."""
    steps = stored.steps[number, :, :rows, :cols].transpose(1, 2).numpy()
    if stored.rest is None:
        return np.ascontiguousarray(steps)
    with_sink: encoding.Steps = np.concatenate([steps, stored.rest[number, :, None, :rows].numpy()], axis=1)
    return with_sink


def _rollout(
    total: encoding.Rollout, layers: Sequence[Layer], steps: Sequence[encoding.Steps], room: float
) -> dict[str, PendingBlob]:
    """Start to encode the rollout of some layers. They are one task, since each needs the one before."""
    every = _deflaters.submit(lambda: [entry_budget.encode_rollout(total.add(layer), room) for layer in steps])

    def part(number: int) -> PendingBlob:
        return lambda: every.result()[number]

    return {f"{layer.layer}/rollout": part(number) for number, layer in enumerate(layers)}
