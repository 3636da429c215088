"""The masks of an entry by stack and layer, and the layers that share one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.mask_kinds import Kind, kind_of
from mkdocs_attnviz.views.attention.masks import Mask, read_mask
from mkdocs_attnviz.views.attention.options import STACKS, numbered


@dataclass(frozen=True)
class MaskStack:
    """The masks of one stack."""

    name: str
    rows: str
    cols: str
    how: Literal["masks", "weights", "gradients"]
    layers: Mapping[int, Mapping[str, Any]]
    """The part of the entry about each layer, by the layer's number."""
    masks: Sequence[Mask]
    kinds: Sequence[Kind]

    def number(self, layer: int) -> int:
        """Return the number of a layer's mask."""
        return int(self.layers[layer]["mask"])

    def groups(self) -> Iterator[tuple[int, str]]:
        """Yield the number of each mask with its layers and its kind: "layers 0–4: sliding window of 4 tokens"."""
        for number in dict.fromkeys(map(self.number, self.layers)):
            layers = [layer for layer in self.layers if self.number(layer) == number]
            name = "all layers" if len(layers) == len(self.layers) > 1 else spans(layers, list(self.layers))
            yield number, f"{name}: {self.kinds[number].words}"


def spans(layers: Sequence[int], every: Sequence[int]) -> str:
    """Return numbers of layers as text, with neighbours among `every` layer together: "layers 0–4, 6"."""
    runs: list[list[int]] = []
    for layer in layers:
        place = every.index(layer)
        if runs and every.index(runs[-1][-1]) == place - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    texts = []
    for run in runs:
        texts += [f"{run[0]}–{run[-1]}"] if len(run) > 2 else list(map(str, run))
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(texts)}"


def between(numbers: Sequence[int]) -> str:
    """Return the smallest and the largest of some numbers as text."""
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def read_stacks(block: Block, include_layers: Sequence[int] | None, entry: Entry) -> dict[str, MaskStack]:
    """Return the stacks with the layers that are shown.

    Raises:
        BlockError: if `include_layers` has a number that is not a layer.
    """
    known = sorted({layer["layer"] for stack in entry.meta["masks"].values() for layer in stack["layers"]})
    for number in include_layers or ():
        if number not in known:
            message = f"`include_layers` is {number}; {block.subject} has {numbered('layer', known)}."
            raise block.wrong("include_layers", message)
    stacks = {name: read_stack(entry, name) for name in STACKS if name in entry.meta["masks"]}
    if include_layers is None:
        return stacks
    kept = {name: _with_layers(stack, include_layers) for name, stack in stacks.items()}
    return {name: stack for name, stack in kept.items() if stack.layers}


def read_stack(entry: Entry, name: str) -> MaskStack:
    """Return one stack of an entry. It is read once for each entry."""
    known = entry.derived.get(("masks", name))
    if isinstance(known, MaskStack):
        return known
    meta = entry.meta["masks"][name]
    rows, cols = (len(entry.meta["sequences"][meta[side]]["tokens"]) for side in ("rows", "cols"))
    layers = {layer["layer"]: layer for layer in meta["layers"]}
    count = 1 + max(layer["mask"] for layer in layers.values())
    masks = [read_mask(entry.blobs[f"{name}/{number}"], rows, cols) for number in range(count)]
    kinds = [kind_of(mask, one_sequence=meta["rows"] == meta["cols"]) for mask in masks]
    stack = MaskStack(name, meta["rows"], meta["cols"], meta["how"], layers, masks, kinds)
    entry.derived["masks", name] = stack
    return stack


def _with_layers(stack: MaskStack, layers: Sequence[int]) -> MaskStack:
    """Return a stack with some of its layers."""
    kept = {number: layer for number, layer in stack.layers.items() if number in layers}
    return MaskStack(stack.name, stack.rows, stack.cols, stack.how, kept, stack.masks, stack.kinds)


def chosen_stack(block: Block, wanted: str | None, stacks: Mapping[str, MaskStack]) -> str:
    """Return the name of the stack that is shown first.

    Raises:
        BlockError: if there is no such stack.
    """
    if wanted is not None and wanted not in stacks:
        raise block.wrong("stack", f"`stack` is {wanted!r}; {block.subject} has {', '.join(stacks)}.")
    return wanted or next(iter(stacks))
