"""The cells view: running text coloured by one unit, as in Karpathy, Johnson, Fei-Fei 2015.

A unit is a cell or a gate of a recurrent network, a dimension of the residual stream, a feed-forward neuron, or a
number of a recurrent state. With `find`, the units that follow something in the text come first.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

import regex
from pydantic import AfterValidator, BeforeValidator, ConfigDict, WithJsonSchema, model_validator
from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import TEXT, Index, Indices, key, listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.options import Side, shared, side
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.figure_data import Blob, Drawn
from mkdocs_attnviz.views.measures.cells import MEASURES
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.running_text import LINE, MASK, STRIP, height_of_text, running_text
from mkdocs_attnviz.views.svg.saturation import height_of_plots, saturation_picture
from mkdocs_attnviz.views.svg.token_flow import PANEL, json_of
from mkdocs_attnviz.views.unit_values import GATES, colours_of, signed_bytes
from mkdocs_attnviz.views.view import View, own_script
from mkdocs_attnviz.views.visible_tokens import called

STORED = "values in 8 bits, scaled by unit"
CELLS = Capture("cells", 1, run="mkdocs_attnviz.models.captures.cells:capture", attention=False, stored=STORED)
OWN_CELLS = Capture(
    "own_cells", 1, run="mkdocs_attnviz.models.captures.own_cells:capture_file", reads_file=True, stored=STORED
)
"""The reading of an author's own numbers."""
Part = Literal["cell", "hidden", "forget", "input", "output", "reset", "update", "residual", "neurons", "state"]
SOURCES: Mapping[str, str] = {"residual": "residual", "neurons": "neurons", "state": "state"}
"""The parts that are captured by themselves; all others are parts of a recurrent network of torch.nn."""
NOUNS: Mapping[str, str] = {
    "cell": "the cells (tanh c)",
    "hidden": "the hidden state",
    "forget": "the forget gate",
    "input": "the input gate",
    "output": "the output gate",
    "reset": "the reset gate",
    "update": "the update gate",
    "residual": "the residual stream",
    "neurons": "the feed-forward neurons",
    "state": "the recurrent state",
}
NAMED = ("quotes", "bracket_depth", "line_position")
"""The names that `find` may have, beside expressions and spans."""
ROWS = 8
"""The largest number of units that are shown at once."""


def _as_find(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _check_find(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Raise WrongValue if a text is no regular expression, or a span is empty."""
    if isinstance(value, tuple):
        if not value or not all(value):
            raise WrongValue("find", "`find` has an empty span; each must be a part of the text.")
        return value
    try:
        regex.compile(value)
    except (regex.error, OverflowError, RecursionError) as error:
        raise WrongValue("find", f"`find` is {value!r:.60}, which is no regular expression: {error}.") from None
    return value


Find = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_as_find),
    AfterValidator(_check_find),
    WithJsonSchema({"anyOf": [{"type": TEXT}, {"type": "array", "items": {"type": TEXT}, "minItems": 1}]}),
]
"""A name, a regular expression, or a list of spans."""


class Options(BlockOptions):
    """The block keys of the cells view."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["unit", "units"]}})

    part: Part | None = key(
        "cell, hidden, forget, input, output, reset, update, residual, neurons or state",
        "What is shown: `cell`, `hidden` and the gates of an LSTM or GRU of `torch.nn` within the model; `residual`, "
        "the output of each layer; `neurons`, those of the feed-forward networks; `state`, the recurrent state that "
        "transformers hands out (Mamba, RWKV, xLSTM, RecurrentGemma, hybrids). Default: the cells or hidden states of "
        "a recurrent network if the model has one, otherwise `residual`.",
        default=None,
    )
    stack: Side | None = side()
    layer: Index | None = key(
        "the number of a layer, from 0",
        "The layer that is shown first. Default: that of the best unit for `find`, otherwise the first.",
        default=None,
    )
    include_layers: Indices | None = shared("include_layers")
    unit: Index | None = key(
        "the number of a unit, from 0",
        "The unit that is shown first. Default: the best one for `find`, otherwise the first that is kept.",
        default=None,
    )
    units: Indices | None = key(
        "numbers of units, from 0",
        "Several units at once: the first colours the text, the others are strips below each line.",
        default=None,
        max_length=ROWS,
    )
    find: Find | None = key(
        "quotes, bracket_depth, line_position, a regular expression, or a list of spans of the text",
        "What a unit should follow: `quotes` (inside a quotation), `bracket_depth` (how many brackets are open), "
        "`line_position` (how far in its line), a regular expression, or a list of spans of the text. Units are ranked "
        "by their correlation on the first half of the text; the figure tells that on the second half.",
        default=None,
        max_length=1000,
    )
    keep: int = key(
        "a number from 1 to 1000",
        "How many units of each layer are kept: those that follow `find` best, otherwise those that vary most.",
        default=64,
        ge=1,
        le=1000,
    )
    show: Literal["text", "saturation"] = key(
        "text or saturation",
        "What is seen at first: the text, or how often each gate is nearly closed or open.",
        default="text",
    )

    @model_validator(mode="after")
    def _check_units(self) -> Options:
        if self.unit is not None and self.units is not None:
            raise WrongValue("unit", "`unit` and `units` are both in the block; keep one of them.")
        return self

    @property
    def wanted(self) -> tuple[int, ...]:
        """The units that the block names."""
        return self.units or (() if self.unit is None else (self.unit,))

    def parameters(self) -> dict[str, Any]:
        return {
            "source": None if self.part is None else SOURCES.get(self.part, "recurrent"),
            "stack": self.stack,
            "layers": self.include_layers and list(self.include_layers),
            "units": list(self.wanted),
            "keep": self.keep,
            "find": list(self.find) if isinstance(self.find, tuple) else self.find,
        }


class UnitsOfPart(TypedDict):
    """The units of one part of a layer that are kept."""

    kept: int
    values: Blob
    """Signed bytes, (kept, T)."""
    units: Blob
    """JSON: the numbers of the units, and with `find` their correlations on the first half and the second."""


class CellLayer(TypedDict):
    """A layer whose units are shown."""

    layer: int
    name: str
    """Its name in words, if it is more than the number."""
    units: int
    parts: dict[str, UnitsOfPart]


class Shifted(TypedDict):
    """The results of the same search for the mask shifted along the text."""

    count: int
    best: float
    median: float


class Found(TypedDict):
    """The unit that follows `find` best, among all units of a part."""

    looked_at: int
    layer: int
    unit: int
    chosen: float
    """Its correlation on the first half of the text, by which it was chosen."""
    told: float
    """Its correlation on the second half."""
    shifted: Shifted


class CellsState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    show: Literal["text", "saturation"]
    part: str
    layer: int
    units: list[int]
    """The units that are shown: the first colours the text. Empty for the first that is kept."""
    token: int | None


class CellsFigure(Drawn):
    """Running text, and how active units are at each of its tokens."""

    text: Blob
    """JSON: the text, and where each token ends in UTF-16 units, or null if each token is one."""
    parts: list[str]
    layers: list[CellLayer]
    find: NotRequired[str]
    """A description of the thing that was looked for, in words."""
    search: NotRequired[dict[str, Found]]
    mask: NotRequired[Blob]
    """Signed bytes, (1, T): what was looked for at each token."""
    saturation: NotRequired[Blob]
    """JSON: by layer and gate, for each unit the fractions of tokens at which it is left- and right-saturated."""
    initial: CellsState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of units.

    Raises:
        BlockError: if the model has no such part, layer or unit.
    """
    meta = entry.meta
    part = _part(block, options, meta["parts"])
    layer = _layer(block, options, meta, part)
    if options.show == "saturation" and not meta["saturation"]:
        raise block.wrong("show", f"`show` is saturation, but what is shown of {block.subject} has no gates.")
    text = json_of(entry.blobs["text"])
    tokens = tokens_of(text)
    lists = json_of(entry.blobs[f"{part}/{layer['layer']}/units"])
    units = list(options.wanted) or lists["units"][:1]
    values = signed_bytes(entry.blobs[f"{part}/{layer['layer']}"], len(lists["units"]))
    rows = [values[lists["units"].index(unit)] for unit in units]
    initial: CellsState = {
        "show": options.show,
        "part": part,
        "layer": layer["layer"],
        "units": list(options.wanted),
        "token": None,
    }
    data = _data(block, options, entry, initial)
    colours = [colours_of(part, row) for row in rows]
    if options.show == "saturation":
        saturation = json_of(entry.blobs["saturation"])
        picture, height = saturation_picture(saturation, block.theme), height_of_plots(saturation)
    else:
        picture = with_legend(running_text(tokens, rows, colours, block.theme), block.theme, _legend(part, units))
        line = LINE + STRIP * (len(rows) - 1) + MASK * (options.find is not None)
        height = height_of_text("".join(tokens), line)
    sentence = _sentence(block, options, meta, initial, layer, units, rows, tokens)
    return Drawing(data, picture, sentence, height, PANEL + 24)


def _legend(part: str, units: Sequence[int]) -> str:
    """Return the text of the legend."""
    first, *others = units
    strips = f" · strips: {', '.join(map(str, others))}" if others else ""
    signs = "no colour: 0, full colour: 1" if part in GATES else "blue: positive, orange: negative"
    return f"Unit {first}: {signs}{strips}"


def tokens_of(text: Mapping[str, Any]) -> list[str]:
    """Return the texts of the tokens, from the JSON of the entry."""
    whole, ends = text["text"], text["ends"]
    if ends is None:
        return list(whole)
    return [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _part(block: Block, options: Options, parts: Sequence[str]) -> str:
    """Return the part that is shown first.

    Raises:
        BlockError: if there is no such part.
    """
    if options.part is not None and options.part not in parts:
        raise block.wrong("part", f"`part` is {options.part}; {block.subject} has {listed_words(parts)}.")
    return options.part or parts[0]


def listed_words(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _layer(block: Block, options: Options, meta: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """Return the layer that is shown first.

    Raises:
        BlockError: if there is no such layer, or if it has no such unit.
    """
    layers = {layer["layer"]: layer for layer in meta["layers"] if part in layer["parts"]}
    number = options.layer
    if number is None:
        number = meta["search"][part]["layer"] if meta["search"] and not options.wanted else next(iter(layers))
    if number not in layers:
        raise block.wrong("layer", f"`layer` is {number}; the layers of {block.subject} are {listed(list(layers))}.")
    layer: Mapping[str, Any] = layers[number]
    for unit in options.wanted:
        if unit >= layer["units"]:
            name = "unit" if options.units is None else "units"
            last = layer["units"] - 1
            raise block.wrong(name, f"`{name}` has unit {unit}; the units of layer {number} are 0 to {last}.")
    return layer


def _data(block: Block, options: Options, entry: Entry, initial: CellsState) -> CellsFigure:
    """Return the data for the script."""
    meta = entry.meta
    text = json_of(entry.blobs["text"])
    data: CellsFigure = {
        "view": "cells",
        "theme": block.theme,
        "text": {"content": in_utf16(text)},
        "parts": meta["parts"],
        "layers": [
            {
                "layer": layer["layer"],
                "name": layer["name"],
                "units": layer["units"],
                "parts": {
                    part: {
                        "kept": kept,
                        "values": {"blob": f"{part}/{layer['layer']}"},
                        "units": {"blob": f"{part}/{layer['layer']}/units"},
                    }
                    for part, kept in layer["parts"].items()
                },
            }
            for layer in meta["layers"]
        ],
        "initial": initial,
    }
    if options.find is not None:
        data |= {"find": found_words(options.find), "search": meta["search"], "mask": {"blob": "mask"}}
    if meta["saturation"]:
        data["saturation"] = {"blob": "saturation"}
    return data


def in_utf16(text: Mapping[str, Any]) -> bytes:
    """Return the JSON of the text, deflated, with ends counted as a browser counts characters."""
    tokens = tokens_of(text)
    lengths = [len(token.encode("utf-16-le", "surrogatepass")) // 2 for token in tokens]
    ends = None if all(length == 1 for length in lengths) else list(accumulate(lengths))
    content = json.dumps({"text": text["text"], "ends": ends}, ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(content.encode(), 6)


def found_words(find: str | Sequence[str]) -> str:
    """Return what was looked for, in words."""
    if not isinstance(find, str):
        return f"“{called(find[0])}”" if len(find) == 1 else f"{len(find)} marked spans"
    return find.replace("_", " ") if find in NAMED else f"the expression {find}"


def _sentence(
    block: Block,
    options: Options,
    meta: Mapping[str, Any],
    shown: CellsState,
    layer: Mapping[str, Any],
    units: Sequence[int],
    rows: Sequence[Sequence[float]],
    tokens: Sequence[str],
) -> str:
    """Return a sentence about the unit that colours the text, and about what the search has found."""
    if shown["show"] == "saturation":
        return (
            f"How often each gate of {block.model or block.tensors} is below 0.1 and above 0.9 over {len(tokens)} "
            f"tokens, in {len(meta['layers'])} layer{'s' * (len(meta['layers']) > 1)}."
        )
    name = f"layer {layer['layer']}" + (f" ({layer['name']})" if layer["name"] else "")
    whose = f"{name} of {block.model or block.tensors}"
    several = f" and {len(units) - 1} more" if len(units) > 1 else ""
    sentence = (
        f"A text of {len(tokens)} tokens coloured by unit {units[0]}{several} of {NOUNS[shown['part']]} in "
        f"{whose}: from {_signed(min(rows[0]))} to {_signed(max(rows[0]))}."
    )
    if options.find is None:
        return sentence
    found: Mapping[str, Any] = meta["search"][shown["part"]]
    return f"{sentence} {finding(found, found_words(options.find))}"


def finding(found: Mapping[str, Any], what: str) -> str:
    """Return a sentence about the unit that follows best what was looked for."""
    shifted = found["shifted"]
    return (
        f"Of {found['looked_at']:,} units, unit {found['unit']} of layer {found['layer']} follows {what} best: r = "
        f"{_signed(found['chosen'])} on the half of the text by which it was chosen, {_signed(found['told'])} on the "
        f"other half, where the best of {shifted['count']} shifted masks gets {shifted['best']:.2f}."
    )


def _signed(value: float) -> str:
    """Return a number with two digits and a true minus sign."""
    return f"{value:.2f}".replace("-", "−")


VIEW = View(
    "cells",
    Options,
    CELLS,
    draw,
    script=own_script("cells"),
    data=CellsFigure,
    state=("show", "part", "layer", "units", "token"),
    checks={"token": state_checks.position},
    file_capture=OWN_CELLS,
    measures=MEASURES,
)
