"""The budget of a figure of attention: what it ships of its weights where all of them would be too many bytes.

Everything is shipped within the budget. Beyond it, heads are reduced in the order of `models/reduction.py`, and last
only the overview is left. The heads that the block names are reduced last. Tables are applied here, to what the entry
has; the strongest weights of each row were stored by the worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mkdocs_attnviz.block.defaults import FIGURE_SIZE
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.reduction import GROUPS, LADDER
from mkdocs_attnviz.views.attention.figure_data import AttentionFigure, LayerPart, LayerSource
from mkdocs_attnviz.views.attention.options import Selection, WeightOptions, offered
from mkdocs_attnviz.views.attention.overview import Overview
from mkdocs_attnviz.views.attention.shipped_words import Group, words
from mkdocs_attnviz.views.attention.stored_layer import WHOLE, HeadsOfLayer, StoredLayer, Way
from mkdocs_attnviz.views.drawing import data_size, room

FIRST = 0.25
"""The share of the budget for the heads that are shown first, if the block does not name them."""
SAMPLES = 3
"""The number of layers from which the size of all is estimated."""
HOPELESS = 8
"""The factor by which stored weights may exceed their room before no table is tried."""
SINK_COUNTS = " These shares count the sink, too."
"""The sentence about shares where the sink is left out."""
TABLES = [Way(reduction) for reduction in LADDER]
STRONGEST = [Way(groups=count) for count in range(len(GROUPS), 0, -1)]
ORDER = [WHOLE, *TABLES, *STRONGEST]
"""The ways to ship heads, from all of their weights to the fewest."""
Shipped = dict[int, tuple[list[LayerPart], dict[int, float]]]
"""The parts of each layer, and the share of the weight of each of its heads that they have."""


def ship(figure_data: AttentionFigure, block: Block, entry: Entry, selection: Selection) -> str:
    """Reduce the weights in `figure_data` until they keep to the block's budget.

    Returns:
        Sentences about what is reduced and how to get more; empty if everything is shipped.
    """
    size = FIGURE_SIZE if block.size is None else block.size
    everything = sum(map(len, entry.blobs.values()))  # most entries are small, which is quickly told
    max_bytes = room(size) if block.room is None else block.room
    if "reduced" in entry.meta:
        _forget_missing(figure_data, entry)
    elif max_bytes >= everything or max_bytes >= data_size(figure_data, entry):
        return ""
    told = _Budget(figure_data, block, entry, selection, size, max_bytes).spend()
    figure_data["shipped"] = told.strip()
    return told


def _forget_missing(figure_data: AttentionFigure, entry: Entry) -> None:
    """Remove the names of blobs that a reduced entry does not have."""
    for stack in figure_data["stacks"].values():
        for layer in stack["layers"]:
            if layer["blob"] not in entry.blobs:
                del layer["blob"]


def choose(heads: Sequence[HeadsOfLayer], room: float, ways: Sequence[Way]) -> Way | None:
    """Return the first way in which all of these heads have room, or None."""
    for way in ways:
        if _estimate(heads, way) <= room and sum(each.cost(way) for each in heads) <= room:
            return way
    return None


def _estimate(heads: Sequence[HeadsOfLayer], way: Way) -> float:
    """Return about how many bytes these heads take, from some of them."""
    step = max(1, len(heads) // SAMPLES) if way != WHOLE else 1
    sampled = heads[step // 2 :: step]
    return sum(each.guess(way) for each in sampled) * len(heads) / max(1, len(sampled))


@dataclass
class _Budget:
    """The bytes that are left of a figure's budget while it is spent."""

    data: AttentionFigure
    block: Block
    entry: Entry
    selection: Selection
    size: int
    room: float
    """The number of deflated bytes that are left."""
    shipped: dict[tuple[str, int], tuple[list[LayerPart], dict[int, float]]] = field(default_factory=dict)

    def spend(self) -> str:
        """Put what is shipped into the figure's data, and return the sentences about it."""
        first, rest = self._groups()
        without = self._drop_neurons(self.room / 2)
        room = self.room - self._fixed()
        self._fit(first, room if first.is_named else room * FIRST)
        room -= first.cost
        extras = self._extras()
        left = room - sum(extras.values())
        if not self._fit(rest, left, tables=True):
            self._drop_extras()
            left = room - sum(self._extras().values())
            self._fit(rest, left)
            if first.missing or rest.missing:
                left -= self._add_overviews(self.room / 2)
                self._fit(rest, left)
        better = self._improve(rest, left - rest.cost)
        without += [name for name in extras if name not in self._extras()]
        told = words(self.size, first, better, rest, without, self.entry.meta.get("reduced"))
        told += SINK_COUNTS * (self.selection.sink == "leave_out" and "their weight)" in told)
        for group in (first, better, rest):
            self._record(group)
        self._write()
        return told

    def _groups(self) -> tuple[Group, Group]:
        """Return the heads that are shown first or named, and all others that a reader can choose."""
        named = self._named()
        first, rest = [], []
        options = self.selection.options
        for stack, layers in self.selection.stacks.items():
            for meta in self.entry.meta["stacks"][stack]["layers"]:
                number = meta["layer"]
                if number not in layers:
                    continue
                layer = StoredLayer(self.entry, stack, meta)
                heads = offered(layer.heads, options.include_heads)
                chosen = [head for head in heads if head in named.get((stack, number), ())]
                others = [head for head in heads if head not in chosen]
                first += [HeadsOfLayer(layer, chosen)] if chosen else []
                rest += [HeadsOfLayer(layer, others)] if others else []
        is_named = any(value is not None for value in (options.layer, options.head, options.heads))
        includes = options.include_layers is not None or options.include_heads is not None
        return Group(first, is_named or includes), Group(rest, includes)

    def _named(self) -> dict[tuple[str, int], set[int]]:
        """Return the heads that are shown first, and those that claims and the block's state name."""
        selection, options = self.selection, self.selection.options
        stack, layers = selection.stack, selection.stacks[selection.stack]
        if self.data["view"] == "model" and options.layer is None:  # it begins with the small pictures alone
            layers = {}
        every = isinstance(options, WeightOptions) and options.across_layers in ("mean", "max")
        shown = [layer for layer in layers if every or layer == selection.layer]
        named = {(stack, layer): set(selection.heads) for layer in shown}
        if isinstance(options, WeightOptions) and options.across_heads:
            for layer in shown:
                named[stack, layer] |= set(offered(layers[layer], options.include_heads))
        for claim in self.block.expect or ():
            chosen = claim.strongest or claim
            number = selection.layer if chosen.layer is None else chosen.layer
            if chosen.head is not None and isinstance(number, int):
                named.setdefault((chosen.stack or stack, number), set()).add(chosen.head)
        for part in (self.block.state or "").split("&"):
            name, _, value = part.partition("=")
            numbers = value.split(",")
            if name in ("beside", "open") and len(numbers) == 2 and all(map(str.isdecimal, numbers)):
                named.setdefault((stack, int(numbers[0])), set()).add(int(numbers[1]))
        return named

    def _fixed(self) -> int:
        """Return the bytes of all data but weights and what belongs to them, which are shipped in any case."""
        parts = [part for layer in self._layers() for part in (layer, *self._extras_of(layer).values())]
        weights = sum(len(self.entry.blobs[part["blob"]]) for part in parts if part.get("blob") in self.entry.blobs)
        return data_size(self.data, self.entry) - weights

    def _layers(self) -> list[LayerSource]:
        return [layer for stack in self.data["stacks"].values() for layer in stack["layers"]]

    def _extras_of(self, layer: LayerSource) -> dict[str, Any]:
        return {name: layer[name] for name in ("values", "rollout") if name in layer}

    def _extras(self) -> dict[str, int]:
        """Return the bytes of the norms of values and of rollouts, by their names."""
        sizes: dict[str, int] = {}
        for layer in self._layers():
            for name, part in self._extras_of(layer).items():
                sizes[name] = sizes.get(name, 0) + len(self.entry.blobs[part["blob"]])
        return sizes

    def _drop_neurons(self, room: float) -> list[str]:
        """Leave out queries and keys that have no room: those of layers that are not shown first, or of all layers.

        Returns:
            The name of what is left out, for `words`.
        """
        first = (self.selection.stack, self.selection.layer)
        name = ""
        for left, is_first in (("other neurons", False), ("neurons", True)):
            layers = [
                (layer, (stack, layer["layer"]) == first)
                for stack, about in self.data["stacks"].items()
                for layer in about["layers"]
                if "neurons" in layer
            ]
            if sum(data_size(layer["neurons"], self.entry) for layer, _ in layers) > room:
                for layer, shown in layers:
                    if shown == is_first:
                        del layer["neurons"]
                name = left
        return [name] if name else []

    def _drop_extras(self) -> None:
        """Leave out norms of values and rollouts, unless the block asks for them."""
        options = self.selection.options
        asked = isinstance(options, WeightOptions) and {
            "values": options.value_weighted,
            "rollout": options.across_layers == "rollout",
        }
        for layer in self._layers():
            for name in self._extras_of(layer):
                if not (asked and asked[name]):
                    del layer[name]  # type: ignore[misc]

    def _fit(self, group: Group, room: float, *, tables: bool = False) -> bool:
        """Choose the way in which a group of heads has room. With `tables`, only those with all weights are tried.

        Returns:
            False if there is none, and `tables` is true. Otherwise some layers are left out.
        """
        stored = sum(each.guess(WHOLE) for each in group.heads)
        ways = [WHOLE, *(TABLES if stored <= HOPELESS * room else ()), *(() if tables else STRONGEST)]
        group.heads, group.missing = [*group.heads, *group.missing], []
        way = choose(group.heads, room, ways)
        if way is None and tables:
            return False
        group.way = way or STRONGEST[-1]
        while way is None and group.heads and sum(each.cost(group.way) for each in group.heads) > room:
            group.missing.insert(0, group.heads.pop())
        return True

    def _improve(self, group: Group, room: float) -> Group:
        """Take as many of the first layers out of a group as have room in the next better way, and return these.

        Figures of several stacks keep to one way, as their sentence does not name the stack of a layer.
        """
        better = Group([], group.is_named, ORDER[max(0, ORDER.index(group.way) - 1)])
        while group.heads and not group.missing and len(self.selection.stacks) == 1:
            cost = group.heads[0].cost(better.way) - group.heads[0].cost(group.way)
            group.heads[0].forget()
            if not 0 < cost <= room:
                break
            room -= cost
            better.heads.append(group.heads.pop(0))
        return better

    def _add_overviews(self, room: float) -> int:
        """Add the coarse pictures of all heads, in place of those that are not shipped, unless they are too large.

        Returns:
            Their bytes.
        """
        lacking = {name: layers for name, layers in self.selection.stacks.items() if self._lacks_overview(name)}
        blobs = {name: Overview(self.entry, name).blob(layers) for name, layers in lacking.items()}
        size = sum(map(len, blobs.values()))
        if size > room:
            return 0
        for name, blob in blobs.items():
            self.data["stacks"][name]["overview"] = {"content": blob}
        return size

    def _lacks_overview(self, stack: str) -> bool:
        return "overview" not in self.data["stacks"][stack] and f"{stack}/overview" in self.entry.blobs

    def _record(self, group: Group) -> None:
        for heads in group.heads:
            parts, kept = self.shipped.setdefault((heads.layer.stack, heads.layer.number), ([], {}))
            parts += [part for part in heads.parts(group.way) if part not in parts]
            kept |= zip(heads.heads, heads.kept(group.way), strict=True)
            heads.forget()

    def _write(self) -> None:
        """Put the parts of each layer in place of its weights. A layer of which all is shipped stays as it is."""
        for name, stack in self.data["stacks"].items():
            for layer in stack["layers"]:
                parts, kept = self.shipped.get((name, layer["layer"]), ([], {}))
                whole = len(kept) == layer["heads"] and all(share == 1 for share in kept.values())
                if whole and len(parts) == 1 and parts[0].get("content") is self.entry.blobs.get(layer.get("blob", "")):
                    continue
                layer.pop("blob", None)
                layer["parts"] = parts
                layer["kept"] = [kept.get(head, 0.0) for head in range(layer["heads"])]
