"""Which weights a view shows at first, and which a reader can choose from: options that all views share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import ConfigDict, model_validator

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import Index, Indices, key, listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import TENSORS
from mkdocs_attnviz.models.inputs import word_boundaries
from mkdocs_attnviz.views.attention.figure_data import AttentionFigure, Filter, FirstState, LayerSource
from mkdocs_attnviz.views.figure_data import TokenSequence

ONE_OF_TWO = {"head": "heads", "min_weight": "mass"}
"""Keys that exclude one another."""


class AttentionOptions(BlockOptions):
    """The keys of every view."""

    stack: Literal["self", "encoder", "decoder", "cross"] | None = key(
        "self, encoder, decoder or cross",
        "Of an encoder–decoder model: which attention is shown at first. Default: `encoder`.",
        default=None,
    )
    layer: Index | None = key(
        "a layer's number, counted from 0", "The layer shown at first. Default: the first layer shown.", default=None
    )
    heads: Indices | None = key(
        "a list of heads' numbers, counted from 0, like [3, 5]", "The heads shown at first. Default: all.", default=None
    )
    head: Index | None = key("a head's number, counted from 0", "One head: short for `heads: [n]`.", default=None)
    include_layers: Indices | None = key(
        "a list of layers' numbers, counted from 0, like [0, 5]",
        "The layers a reader can choose from; the others are not shipped. Default: all.",
        default=None,
    )
    include_heads: Indices | None = key(
        "a list of heads' numbers, counted from 0, like [0, 5]",
        "The heads a reader can choose from. Default: all.",
        default=None,
    )
    filter: Filter = key(
        "all, aa, ab, ba or bb",
        "Of a sentence pair: which part is shown at first; `ab` is sentence A attending to sentence B.",
        default="all",
    )
    prettify_tokens: bool = key(
        "true or false",
        "Show a vocabulary's marks of word boundaries (`Ġ`, `▁`, `</w>`) as the spaces they stand for.",
        default=True,
        strict=True,
    )

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"not": {"anyOf": [{"required": list(pair)} for pair in ONE_OF_TWO.items()]}},
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> AttentionOptions:
        for one, other in ONE_OF_TWO.items():
            if getattr(self, one, None) is not None and getattr(self, other, None) is not None:
                raise WrongValue(one, f"`{one}` and `{other}` stand both in the block; keep one of them.")
        return self


def shared(name: str) -> Any:
    """A key that views of other things than attention have, too; in all of them it means the same."""
    return AttentionOptions.model_fields[name]


Side = Literal["self", "encoder", "decoder"]
"""What has layers of its own: views of hidden states and neurons choose among these; cross attention has neither."""


def side() -> Any:
    """The key `stack` of a view that shows what layers give, not attention."""
    return key(
        "self, encoder or decoder",
        "Of an encoder–decoder model: whose layers are shown at first. Default: `encoder`.",
        default=None,
    )


class WeightOptions(AttentionOptions):
    """The keys of views in which a reader may look at weights in more than one way."""

    across_layers: Literal["mean", "max", "rollout"] | None = key(
        "mean, max or rollout",
        "All layers in one picture: their mean or maximum, or attention rollout up to `layer` (Abnar & Zuidema 2020).",
        default=None,
    )
    across_heads: Literal["mean", "max"] | None = key(
        "mean or max", "All chosen heads in one picture: their mean or maximum.", default=None
    )
    value_weighted: bool = key(
        "true or false",
        "Weigh by the length of what is passed on, ‖α·v·W_O‖, instead of by attention alone (Kobayashi et al. 2020).",
        default=False,
        strict=True,
    )
    merge_words: bool = key(
        "true or false",
        "Put the pieces of a word together: the sum over pieces attended to, the mean over pieces attending "
        "(Clark et al. 2019).",
        default=False,
        strict=True,
    )
    special_tokens: bool = key("true or false", "Show special tokens such as [CLS].", default=True, strict=True)
    contrast: float = key(
        "a number from 0.25 to 4", "Above 1, weak weights are paler; below, stronger.", default=1.0, ge=0.25, le=4
    )
    min_weight: float | None = key(
        "a number from 0 to 1",
        "Weights below this are not drawn; the figure says what is left out.",
        ge=0,
        le=1,
        default=None,
    )
    mass: float | None = key(
        "a number above 0, up to 1",
        "For each token only its strongest weights, until they hold this share of its attention.",
        gt=0,
        le=1,
        default=None,
    )


STACKS = ("self", "encoder", "decoder", "cross")
"""In the order in which readers find them; an entry has none."""
INITIAL = ("filter", *(name for name in WeightOptions.model_fields if name not in AttentionOptions.model_fields))
"""The options that the figure's state takes over as they are."""
WEIGHTS_STATE = (
    "stack", "layer", "heads", "filter", "across_layers", "across_heads", "value_weighted", "merge_words",
    "special_tokens", "contrast", "min_weight", "mass",
)  # fmt: skip
"""The parts of the state that all views with `WeightOptions` have."""


@dataclass(frozen=True)
class Selection:
    """A block's options, held against what the entry has. `layers` maps a stack's layers to their number of heads."""

    options: AttentionOptions
    stacks: Mapping[str, Mapping[int, int]]
    stack: str
    layer: int
    heads: list[int]


def select(block: Block, options: AttentionOptions, entry: Entry) -> Selection:
    """What is shown at first, and what can be.

    Raises:
        BlockError: an option names what the model has not.
    """
    stacks = _stacks(block, options, entry)
    stack = _stack(block, options, stacks, [name for name in STACKS if name in entry.meta["stacks"]])
    layer = _first(options, list(stacks[stack])) if options.layer is None else options.layer
    if layer not in stacks[stack]:
        there = list(stacks[stack]) if options.include_layers is None else _numbers(entry, stack)
        raise block.wrong("layer", _no_layer(block, layer, there))
    heads = _heads(block, options, stacks[stack][layer], max(max(heads.values()) for heads in stacks.values()))
    found = Selection(options, stacks, stack, layer, heads)
    _check(block, options, entry, found)
    return found


def _first(options: AttentionOptions, layers: list[int]) -> int:
    """Rollout starts with all that there is to add up."""
    return layers[-1] if isinstance(options, WeightOptions) and options.across_layers == "rollout" else layers[0]


def _numbers(entry: Entry, stack: str) -> list[int]:
    return [layer["layer"] for layer in entry.meta["stacks"][stack]["layers"]]


def _stacks(block: Block, options: AttentionOptions, entry: Entry) -> dict[str, dict[int, int]]:
    """Layer number → number of heads, of the stacks and layers that are shown."""
    there = {
        name: {layer["layer"]: layer["heads"] for layer in entry.meta["stacks"][name]["layers"]}
        for name in STACKS
        if name in entry.meta["stacks"]
    }
    if options.include_layers is None:
        return there
    every = sorted({number for layers in there.values() for number in layers})
    for number in options.include_layers:
        if number not in every:
            message = f"`include_layers` is {number}; {block.subject} has {numbered('layer', every)}."
            raise block.wrong("include_layers", message)
    kept = {
        name: {number: heads for number, heads in layers.items() if number in options.include_layers}
        for name, layers in there.items()
    }
    return {name: layers for name, layers in kept.items() if layers}


def _stack(block: Block, options: AttentionOptions, stacks: Mapping[str, object], every: Sequence[str]) -> str:
    if options.stack is None:
        return next(iter(stacks))
    if options.stack not in every:
        message = f"`stack` is {options.stack!r}; {block.subject} has {', '.join(every)}."
        raise block.wrong("stack", message)
    if options.stack not in stacks:
        raise block.wrong("stack", f"`stack` is {options.stack!r}, which has none of `include_layers`.")
    return options.stack


def _no_layer(block: Block, layer: int, there: list[int]) -> str:
    if layer in there:
        return f"`layer` is {layer}, which is not among `include_layers`."
    return f"`layer` is {layer}; {block.subject} has {numbered('layer', there)}."


def _heads(block: Block, options: AttentionOptions, count: int, most: int) -> list[int]:
    """The heads shown at first, of `count` in the layer and at most `most` in any."""
    wanted = options.heads if options.head is None else (options.head,)
    name = "heads" if options.head is None else "head"
    for key_name, numbers, limit in ((name, wanted or (), count), ("include_heads", options.include_heads or (), most)):
        for number in numbers:
            if number >= limit:
                there = numbered("head", list(range(limit)))
                raise block.wrong(key_name, f"`{key_name}` is {number}; {block.subject} has {there}.")
    allowed = offered(count, options.include_heads)
    if wanted and not set(wanted) <= set(allowed):
        raise block.wrong(name, f"`{name}` names a head that is not among `include_heads`.")
    return list(wanted or allowed)


def offered(count: int, include_heads: Sequence[int] | None) -> list[int]:
    """The heads of a layer that readers can choose from: all, if it has none of those included."""
    heads = list(range(count))
    return [head for head in heads if include_heads is None or head in include_heads] or heads


def _check(block: Block, options: AttentionOptions, entry: Entry, found: Selection) -> None:
    """Ways of looking that these weights do not allow."""
    stack = entry.meta["stacks"][found.stack]
    layers = {layer["layer"]: layer for layer in stack["layers"]}
    sides = [entry.meta["sequences"][stack[side]] for side in ("rows", "cols")]
    if options.filter != "all" and any(side["sentence_b_start"] is None for side in sides):
        raise block.wrong("filter", f"`filter` is {options.filter!r}, but there is no pair of sentences to filter.")
    if not isinstance(options, WeightOptions):
        return
    if options.across_layers == "rollout" and not layers[found.layer].get("rollout"):
        message = "`across_layers` is 'rollout', which needs attention of a sequence to itself."
        raise block.wrong("across_layers", message)
    if options.across_layers == "rollout" and options.value_weighted:
        raise block.wrong("value_weighted", "`value_weighted` is true, but rollout follows attention alone.")
    if options.value_weighted and not all(layers[number].get("values") for number in found.stacks[found.stack]):
        message = f"`value_weighted` is true, but the value vectors of {block.subject} are not known."
        raise block.wrong("value_weighted", message)


def numbered(what: str, numbers: list[int]) -> str:
    """[0, 1, 2] → `layers 0 to 2`."""
    if len(numbers) == 1:
        return f"one {what}, {numbers[0]}"
    return f"{what}s {listed(numbers)}"


def data(
    view: str, block: Block, entry: Entry, found: Selection, parts: Sequence[str] = ("values", "rollout")
) -> AttentionFigure:
    """What every view hands to the custom element; `parts` are the layer's further blobs that the view can use."""
    options, meta = found.options, entry.meta["stacks"]
    used = dict.fromkeys(meta[name][side] for name in found.stacks for side in ("rows", "cols"))
    initial = {name: getattr(options, name) for name in INITIAL if hasattr(options, name)}
    shown: dict[str, Any] = {
        "stack": found.stack,
        "layer": found.layer,
        "heads": found.heads,
        "include_heads": options.include_heads,
        **initial,
    }
    return {
        "view": view,
        "theme": block.theme,
        "sequences": {name: sequence(entry, name, pretty=options.prettify_tokens) for name in used},
        "stacks": {
            name: {
                "rows": meta[name]["rows"],
                "cols": meta[name]["cols"],
                "causal": meta[name]["causal"],
                "layers": [_layer(name, layer, parts) for layer in meta[name]["layers"] if layer["layer"] in layers],
            }
            for name, layers in found.stacks.items()
        },
        "options": cast(FirstState, shown),
    }


def _layer(stack: str, layer: Mapping[str, Any], parts: Sequence[str]) -> LayerSource:
    number = layer["layer"]
    source: LayerSource = {"layer": number, "heads": layer["heads"], "blob": f"{stack}/{number}"}
    more = {part: {"blob": f"{stack}/{number}/{part}"} for part in parts if layer.get(part)}
    return cast(LayerSource, source | more)


def sequence(entry: Entry, name: str, *, pretty: bool) -> TokenSequence:
    """Return the tokens of a sequence, as the figure shows them."""
    known = entry.derived.get(("sequence", name, pretty))
    if known is None:
        known = entry.derived["sequence", name, pretty] = _sequence(entry, name, pretty=pretty)
    return cast(TokenSequence, dict(known))


def _sequence(entry: Entry, name: str, *, pretty: bool) -> dict[str, Any]:
    meta = entry.meta["sequences"][name]
    words = meta["words"] if _of_own_tensors(entry) else word_boundaries.split(meta)
    known = any(word is not None for word in words)
    found = {"tokens": meta["pretty" if pretty else "tokens"], "special": meta["special"]}
    found |= {"sentence_b_start": meta["sentence_b_start"], "words": words if known else None}
    found |= {"next": meta.get("next"), "joined": word_boundaries.joined(meta, words) if pretty and known else None}
    return {part: value for part, value in found.items() if value or value == [] or part == "sentence_b_start"}


def _of_own_tensors(entry: Entry) -> bool:
    """Return whether an author's file says what the words are, or its reading has divided them already."""
    return ["capture", TENSORS.name] in entry.meta.get("key", [])
