"""The weights of one stack of an entry between tokens and words, each with the weights that are stored as this one.

A stored weight is a byte on a square-root scale, and small ones of long texts are rounded (`weight_rounding`). A word
of several tokens is read as `merge_words` does (Clark et al. 2019): the mean over its tokens that attend, the sum over
those that are attended to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.reduction import Reduction
from mkdocs_attnviz.views.attention.options import AttentionOptions, numbered, select
from mkdocs_attnviz.views.attention.weights import WEIGHT, Layer, layer_of, scaled
from mkdocs_attnviz.views.token_places import Place, places
from mkdocs_attnviz.weight_rounding import intervals

Kind = Literal["weight", "value_weighted", "rollout"]
SUBJECTS: dict[Kind, str] = {
    "weight": "the weight",
    "value_weighted": "the value-weighted attention",
    "rollout": "the rollout",
}


@dataclass(frozen=True)
class Interval:
    """A weight, and the least and largest weight that may have been stored as this one. Intervals order by weight."""

    value: float
    low: float
    high: float


ZERO = Interval(0.0, 0.0, 0.0)


@cache
def stored_as(rounding: int) -> list[Interval]:
    """Return the weights that each stored byte of a layer with this rounding may stand for."""
    return [
        Interval(weight, (max(0.0, steps.low) / 255) ** 2, min(1.0, (steps.high / 255) ** 2))
        for weight, steps in zip(WEIGHT, intervals(rounding), strict=True)
    ]


class Weights:
    """The weights of one stack of an entry, of one kind."""

    def __init__(self, block: Block, options: AttentionOptions, entry: Entry, chosen: Selectors, kind: Kind) -> None:
        """Find the stack and the layer.

        Raises:
            WrongValue: the model has no such stack, layer or head, or weights of this kind are not stored.
        """
        shown = select(block, options, entry)
        self.block, self.entry, self.kind = block, entry, kind
        self.stack = chosen.stack or shown.stack
        if self.stack not in entry.meta["stacks"]:
            known = ", ".join(entry.meta["stacks"])
            raise WrongValue("expect", f"`stack` is {self.stack}; {block.subject} has {known}.")
        self.meta = entry.meta["stacks"][self.stack]
        self.layers = {layer["layer"]: layer for layer in self.meta["layers"]}
        is_shown = self.stack == shown.stack
        self.layer = self._layer(chosen, shown.layer if is_shown else next(iter(self.layers)))
        self.heads = list(range(1 if kind == "rollout" else self.layers[self.layer]["heads"]))
        self.head = self._head(chosen, shown.heads)
        self.rows, self.cols = (entry.meta["sequences"][self.meta[side]] for side in ("rows", "cols"))
        self.sinks = shown.sinks[self.stack]
        self._read: dict[int, tuple[Layer, list[list[float]] | None]] = {}
        self._totals: dict[tuple[int, int, int], float] = {}
        """The sum of what each token is passed, by layer, head and row."""

    def _layer(self, chosen: Selectors, shown: int) -> int:
        layer = shown if chosen.layer is None else chosen.layer
        if layer not in self.layers:
            known = numbered("layer", list(self.layers))
            raise WrongValue("expect", f"`layer` is {layer}; {self.block.subject} has {known}.")
        part = {"value_weighted": "values", "rollout": "rollout", "weight": "layer"}[self.kind]
        if part != "layer" and not self.layers[layer].get(part):
            raise WrongValue("expect", f"`{self.kind}` of layer {layer} is not known for {self.block.subject}.")
        return int(layer)

    def _head(self, chosen: Selectors, shown: Sequence[int]) -> int | None:
        if self.kind == "rollout":
            if chosen.head is not None:
                raise WrongValue("expect", f"`head` is {chosen.head}, but a rollout combines all heads.")
            return 0
        if chosen.head is not None and chosen.head not in self.heads:
            known = numbered("head", self.heads)
            raise WrongValue("expect", f"`head` is {chosen.head}; layer {self.layer} has {known}.")
        shows_one = len(shown) == 1 or self.block.view in ("matrix", "neuron")
        return chosen.head if chosen.head is not None else shown[0] if shows_one else None

    def of(self, layer: int, head: int, start: Place, end: Place) -> Interval:
        """Return the weight from one token or word to another."""
        if len(start.positions) == len(end.positions) == 1:
            return self._cell(layer, head, start.positions[0], end.positions[0])
        cells = [self._cell(layer, head, row, col) for row in start.positions for col in end.positions]
        count = len(start.positions)
        value, low, high = (sum(getattr(cell, part) for cell in cells) / count for part in ("value", "low", "high"))
        return Interval(value, low, high)

    def sink_share(self, layer: int, head: int, rows: Sequence[int]) -> Interval:
        """Return the mean share of their attention that these tokens give to the sink."""
        cells = [self._cell(layer, head, row, col) for row in rows for col in self.sinks]
        value, low, high = (sum(getattr(cell, part) for cell in cells) / len(rows) for part in ("value", "low", "high"))
        return Interval(value, low, high)

    def _cell(self, layer: int, head: int, row: int, col: int) -> Interval:
        """Return the weight from one token to another. A rollout has no weight to a sink."""
        weights, norms = self._layer_of(layer)
        if col >= weights.cols:
            return ZERO
        cell = self._stored(layer, head, row, weights.step(head, row, col))
        if norms is None:
            return cell
        place = layer, head, row
        if place not in self._totals:
            passed = zip(weights.row(head, row), norms[head], strict=True)
            self._totals[place] = sum(weight * norm for weight, norm in passed) or 1.0
        share = norms[head][col] / self._totals[place]
        return Interval(cell.value * share, cell.low * share, cell.high * share)

    def _stored(self, layer: int, head: int, row: int, step: int) -> Interval:
        """Return the weights that a stored byte may stand for; in a reduced entry, zero stands for many."""
        reduced = None if self.kind == "rollout" else self.layers[layer].get("reduced")
        rounding = self.layers[layer].get("rounding", 0)
        stored = stored_as(rounding)
        if reduced is None or (reduced == "strongest" and step):
            return stored[step]
        if reduced == "strongest":
            weakest = min(filter(None, self._layer_of(layer)[0].row(head, row)), default=1.0)
            return Interval(0.0, 0.0, max(each.high for each in stored if each.value <= weakest))
        table = Reduction(reduced).table(len(self.cols["tokens"]))
        alike = [stored[before] for before, after in enumerate(table) if after == step] or [stored[step]]
        return Interval(stored[step].value, min(each.low for each in alike), max(each.high for each in alike))

    def _layer_of(self, layer: int) -> tuple[Layer, list[list[float]] | None]:
        """Return the weights of a layer, and the lengths of the values that they weigh. Besides the claim's own layer
        only one is kept, because all may be more than memory holds."""
        if layer not in self._read:
            self._read = {kept: read for kept, read in self._read.items() if kept == self.layer}
            rows, cols = len(self.rows["tokens"]), len(self.cols["tokens"])
            name, heads = f"{self.stack}/{layer}", self.layers[layer]["heads"]
            if self.kind == "rollout":
                self._read[layer] = Layer(self.entry.blobs[f"{name}/rollout"], rows, rows, 1), None
            else:
                norms = scaled(self.entry.blobs[f"{name}/values"], heads, cols) if self.kind != "weight" else None
                self._read[layer] = layer_of(self.entry, self.stack, layer, heads), norms
        return self._read[layer]

    def everywhere(self) -> Iterator[tuple[int, int, int]]:
        """Yield layer, head and distance of all heads, those of the same layer first."""
        for layer in sorted(self.layers, key=lambda layer: (layer != self.layer, layer)):
            for head in range(1 if self.kind == "rollout" else self.layers[layer]["heads"]):
                if (layer, head) != (self.layer, self.head):
                    yield layer, head, 1 if layer == self.layer else 2

    def where(self, layer: int, head: int | None) -> str:
        """Return a layer and a head in words."""
        stack = "" if self.stack == "self" else f"{self.stack} "
        if self.kind == "rollout":
            return f"{stack}layer {layer}"
        return f"{stack}layer {layer}" if head is None else f"head {head} of {stack}layer {layer}"

    def every(self, side: str) -> list[Place]:
        """Return all tokens of one side."""
        sequence = self.rows if side == "from" else self.cols
        return [place for n in range(len(sequence["tokens"])) for place in places(sequence, str(n), side)]
