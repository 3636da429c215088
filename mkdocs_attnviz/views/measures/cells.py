"""The measures of the cells view: a unit's correlation with `find`, its value at a token, how often it is saturated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.svg.token_flow import json_of
from mkdocs_attnviz.views.token_places import token
from mkdocs_attnviz.views.unit_values import GATES, signed_bytes

CORRELATION_DIGITS, FRACTION_DIGITS = 4, 3
"""The significant digits with which an entry stores correlations and fractions."""
STEPS = 127
"""The number of steps from 0 to the largest |value| of a unit."""


class LayerOfUnits:
    """One part of one layer, with the units that are kept."""

    def __init__(self, block: Block, options: Any, entry: Entry, chosen: Selectors) -> None:
        """Find the part and the layer.

        Raises:
            WrongValue: there is no such part, layer or unit.
        """
        meta = entry.meta
        self.part = chosen.part or options.part or meta["parts"][0]
        if self.part not in meta["parts"]:
            raise WrongValue("expect", f"`part` is {self.part}; {block.subject} has {', '.join(meta['parts'])}.")
        self.layers = {layer["layer"]: layer for layer in meta["layers"] if self.part in layer["parts"]}
        self.number = chosen.layer if chosen.layer is not None else options.layer
        if self.number is None:
            is_searched = meta["search"] and not options.wanted
            self.number = meta["search"][self.part]["layer"] if is_searched else next(iter(self.layers))
        if self.number not in self.layers:
            known = listed(list(self.layers))
            raise WrongValue("expect", f"`layer` is {self.number}; the layers of {block.subject} are {known}.")
        units = self.layers[self.number]["units"]
        if chosen.unit is not None and chosen.unit >= units:
            raise WrongValue("expect", f"`unit` is {chosen.unit}; layer {self.number} has units 0 to {units - 1}.")
        self.blob = f"{self.part}/{self.number}"
        self.lists: dict[str, Any] = json_of(entry.blobs[f"{self.blob}/units"])
        shown = next(iter(options.wanted), self.lists["units"][0])
        self.unit: int = shown if chosen.unit is None else chosen.unit
        self.name = f"unit {self.unit} of layer {self.number} ({self.part})"

    @property
    def row(self) -> int:
        """The place of the unit among those that are kept.

        Raises:
            Untestable: it is not kept.
        """
        if self.unit not in self.lists["units"]:
            kept = f"unit {self.unit} is not among the {len(self.lists['units'])} of layer {self.number} that are kept"
            raise Untestable(f"{kept}; name it in `units`, or let `keep` be larger.")
        row: int = self.lists["units"].index(self.unit)
        return row

    @property
    def told(self) -> float:
        """The correlation of the unit on the second half of the text.

        Raises:
            Untestable: the unit is not kept.
        """
        return float(self.lists["told"][self.row])


def _searched(entry: Entry, part: str) -> Mapping[str, Any]:
    """Return what the search has found.

    Raises:
        Untestable: nothing was looked for.
    """
    if part not in entry.meta["search"]:
        raise Untestable("the block has no `find`, so that no correlation is known.")
    found: Mapping[str, Any] = entry.meta["search"][part]
    return found


def _correlation(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return a unit's correlation with what is looked for, on the half of the text by which it was not chosen."""
    layer = LayerOfUnits(block, options, entry, chosen)
    _searched(entry, layer.part)
    value = layer.told

    def others() -> Iterator[Other]:
        for unit, told in zip(layer.lists["units"], layer.lists["told"], strict=True):
            if unit != layer.unit:
                yield Other(f"unit {unit} of the same layer", told, 1)

    subject = f"the correlation of {layer.name} with what is looked for, on the second half of the text,"
    return Measured(subject, value, *_rounded(value, CORRELATION_DIGITS), others=others)


def _follows(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the |correlation| of a unit, beside the best that the search finds for shifted masks."""
    signed = _correlation(block, options, entry, chosen)
    layer = LayerOfUnits(block, options, entry, chosen)
    best = _searched(entry, layer.part)["shifted"]["best"]
    value = abs(signed.value) if isinstance(signed.value, float) else signed.value

    def others() -> Iterator[Other]:
        for other in signed.others():
            yield Other(other.where, abs(other.value) if isinstance(other.value, float) else other.value, 1)

    subject = f"how well {layer.name} follows what is looked for (|r| on the second half of the text)"
    return Measured(subject, value, *_rounded(abs(layer.told), CORRELATION_DIGITS), baseline=best, others=others)


def _value(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the value of a unit at a token."""
    layer = LayerOfUnits(block, options, entry, chosen)
    sequences = entry.meta["sequences"]
    at, name = token(sequences["target" if options.stack == "decoder" else "text"], chosen.token or "", "token")
    values = signed_bytes(entry.blobs[layer.blob], len(layer.lists["units"]))
    row = values[layer.row]
    half = max(map(abs, row)) / STEPS / 2

    def others() -> Iterator[Other]:
        for unit, other in zip(layer.lists["units"], values, strict=True):
            if unit != layer.unit:
                yield Other(f"unit {unit} of the same layer", other[at], 1)

    return Measured(f"the value of {layer.name} at {name}", row[at], row[at] - half, row[at] + half, others=others)


def _saturated(side: int) -> Any:
    """Return the function that measures how often a gate is left-saturated (0) or right-saturated (1)."""

    def take(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
        layer = LayerOfUnits(block, options, entry, chosen)
        if layer.part not in GATES:
            raise Untestable(f"`part` is {layer.part}, which is no gate.")
        fractions = json_of(entry.blobs["saturation"])[str(layer.number)][layer.part][side]
        value = fractions[layer.unit]

        def others() -> Iterator[Other]:
            for unit, other in enumerate(fractions):
                if unit != layer.unit:
                    yield Other(f"unit {unit} of the same layer", other, 1)

        how = "above 0.9" if side else "below 0.1"
        subject = f"the fraction of tokens at which {layer.name} is {how}"
        return Measured(subject, value, *_rounded(value, FRACTION_DIGITS), others=others)

    return take


def _strongest(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the unit that follows what is looked for best, by the half of the text on which units are ranked."""
    layer = LayerOfUnits(block, options, entry, chosen)
    found = _searched(entry, layer.part)
    if chosen.layer is None and options.layer is None:
        best, told = found["unit"], found["told"]
        where = f"of {found['looked_at']:,} ({layer.part})"
    else:
        best, told = layer.lists["units"][0], layer.lists["told"][0]
        where = f"of layer {layer.number} ({layer.part})"
    answer = Answer(f"unit {best}", lambda written: written == str(best), told)
    return Measured(f"the unit {where} that follows best what is looked for", answer)


def _rounded(value: float, digits: int) -> tuple[float, float]:
    """Return the least and the largest number that are stored as this value, at most 1, with so many digits."""
    half = 0.5 * 10.0**-digits
    return value - half, value + half


PLACE = ("part", "layer", "unit")
MEASURES: dict[str, Measure[Any]] = {
    "correlation": Measure(
        "The correlation of `unit` with `find` on the second half of the text.", _correlation, takes=PLACE
    ),
    "follows": Measure(
        "The same without its sign. Its baseline is the best that the same search finds for shifted masks.",
        _follows,
        takes=PLACE,
        has_baseline=True,
    ),
    "value": Measure("The value of `unit` at `token`; of a cell, its tanh.", _value, needs=("token",), takes=PLACE),
    STRONGEST: Measure(
        "The unit that follows `find` best, by the first half of the text: of the layer that is named or shown, or of "
        "all layers.",
        _strongest,
        takes=("part", "layer"),
        answers=True,
    ),
    "left_saturated": Measure(
        "The fraction of tokens at which a gate of `unit` is below 0.1.",
        _saturated(0),
        needs=("part", "unit"),
        takes=("layer",),
    ),
    "right_saturated": Measure(
        "The fraction of tokens at which a gate of `unit` is above 0.9.",
        _saturated(1),
        needs=("part", "unit"),
        takes=("layer",),
    ),
}
"""The measures of the cells view."""
