"""The block keys that all views of attention share, and the selection of weights that they result in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import ConfigDict, model_validator

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import Flag, Index, Indices, Texts, key, listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import TENSORS
from mkdocs_attnviz.models.inputs import word_boundaries
from mkdocs_attnviz.views.attention.figure_data import AttentionFigure, Filter, FirstState, LayerSource, Sink, Stack
from mkdocs_attnviz.views.attention.shared_keys import kv_heads
from mkdocs_attnviz.views.attention.sinks import sink_columns
from mkdocs_attnviz.views.figure_data import TokenSequence

ONE_OF_TWO = {"head": "heads", "min_weight": "mass"}
"""The pairs of keys that exclude each other."""


class AttentionOptions(BlockOptions):
    """The block keys of every view of attention."""

    stack: Literal["self", "encoder", "decoder", "cross"] | None = key(
        "self, encoder, decoder or cross",
        "For an encoder–decoder model: which attention is shown at first. Default: `encoder`.",
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
        "For a sentence pair: which part is shown at first; `ab` is sentence A attending to sentence B.",
        default="all",
    )
    sink_tokens: Texts | None = key(
        "a token or a list of tokens: their texts, or their numbers",
        "The tokens that are the attention sink. Default: a learned sink; the first token of a causal model; of other "
        "models the special tokens, such as [CLS] and [SEP].",
        default=None,
    )
    prettify_tokens: Flag = key(
        "true or false",
        "Show a vocabulary's marks of word boundaries (`Ġ`, `▁`, `</w>`) as the spaces they stand for.",
        default=True,
    )

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"not": {"anyOf": [{"required": list(pair)} for pair in ONE_OF_TWO.items()]}},
    )

    @model_validator(mode="after")
    def _check_exclusive_keys(self) -> AttentionOptions:
        for one, other in ONE_OF_TWO.items():
            if getattr(self, one, None) is not None and getattr(self, other, None) is not None:
                raise WrongValue(one, f"`{one}` and `{other}` are both in the block; keep one of them.")
        return self


def shared(name: str) -> Any:
    """Return a key of `AttentionOptions`, for other views in which it means the same."""
    return AttentionOptions.model_fields[name]


Side = Literal["self", "encoder", "decoder"]
"""The stacks that have layers of their own. Views of hidden states and neurons choose among these; cross attention has
neither."""


def side() -> Any:
    """Return the key `stack` of a view that shows the outputs of layers instead of attention."""
    return key(
        "self, encoder or decoder",
        "For an encoder–decoder model: whose layers are shown at first. Default: `encoder`.",
        default=None,
    )


class WeightOptions(AttentionOptions):
    """The block keys of views in which a reader can change how the weights are shown."""

    across_layers: Literal["mean", "max", "rollout"] | None = key(
        "mean, max or rollout",
        "All layers in one picture: their mean or maximum, or attention rollout up to `layer` (Abnar & Zuidema 2020).",
        default=None,
    )
    across_heads: Literal["mean", "max"] | None = key(
        "mean or max", "All chosen heads in one picture: their mean or maximum.", default=None
    )
    value_weighted: Flag = key(
        "true or false",
        "Weigh by the length of what is passed on, ‖α·v·W_O‖, instead of by attention alone (Kobayashi et al. 2020).",
        default=False,
    )
    merge_words: Flag = key(
        "true or false",
        "Put the pieces of a word together: the sum over pieces attended to, the mean over pieces attending "
        "(Clark et al. 2019).",
        default=False,
    )
    special_tokens: Flag = key("true or false", "Show special tokens such as [CLS].", default=True)
    sink: Sink = key(
        "show, fade or leave_out",
        "The attention sink (`sink_tokens`) as any token, drawn faintly, or left out, with the rest of each token's "
        "attention renormalised to 1.",
        default="show",
    )
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
"""The names of all stacks, in the order in which they are offered to readers."""
INITIAL = ("filter", *(name for name in WeightOptions.model_fields if name not in AttentionOptions.model_fields))
"""The options that the initial state of the figure takes over unchanged."""
WEIGHTS_STATE = (
    "stack", "layer", "heads", "filter", "across_layers", "across_heads", "value_weighted", "merge_words",
    "special_tokens", "sink", "contrast", "min_weight", "mass",
)  # fmt: skip
"""The parts of the state in all views with `WeightOptions`."""


@dataclass(frozen=True)
class Selection:
    """A block's options after they have been checked against the entry. `stacks` maps each stack's layers to their
    number of heads."""

    options: AttentionOptions
    stacks: Mapping[str, Mapping[int, int]]
    stack: str
    layer: int
    heads: list[int]
    sinks: Mapping[str, list[int]]
    """The positions of each stack's sink tokens among its columns."""

    @property
    def sink(self) -> Sink:
        """The way in which the figure shows the sink at first."""
        return self.options.sink if isinstance(self.options, WeightOptions) and self.sinks[self.stack] else "show"


def select(block: Block, options: AttentionOptions, entry: Entry) -> Selection:
    """Return the stack, layer and heads that are shown first, and those that a reader can choose from.

    Raises:
        BlockError: if an option names something that the model does not have.
    """
    stacks = _stacks(block, options, entry)
    stack = _stack(block, options, stacks, [name for name in STACKS if name in entry.meta["stacks"]])
    layer = _first(options, list(stacks[stack])) if options.layer is None else options.layer
    if layer not in stacks[stack]:
        numbers = list(stacks[stack]) if options.include_layers is None else _numbers(entry, stack)
        raise block.wrong("layer", _no_layer(block, layer, numbers))
    heads = _heads(block, options, stacks[stack][layer], max(max(heads.values()) for heads in stacks.values()))
    sinks = {name: sink_columns(block, options.sink_tokens, entry, name) for name in entry.meta["stacks"]}
    selection = Selection(options, stacks, stack, layer, heads, sinks)
    _check(block, options, entry, selection)
    return selection


def _first(options: AttentionOptions, layers: list[int]) -> int:
    """Return the layer that is shown first. Rollout starts with the last layer, so that it includes all of them."""
    return layers[-1] if isinstance(options, WeightOptions) and options.across_layers == "rollout" else layers[0]


def _numbers(entry: Entry, stack: str) -> list[int]:
    """Return the numbers of a stack's layers."""
    return [layer["layer"] for layer in entry.meta["stacks"][stack]["layers"]]


def _stacks(block: Block, options: AttentionOptions, entry: Entry) -> dict[str, dict[int, int]]:
    """Return the stacks that are shown, each a mapping from layer number to number of heads.

    Raises:
        BlockError: if `include_layers` has a number that is not a layer.
    """
    all_stacks = {
        name: {layer["layer"]: layer["heads"] for layer in entry.meta["stacks"][name]["layers"]}
        for name in STACKS
        if name in entry.meta["stacks"]
    }
    if options.include_layers is None:
        return all_stacks
    all_layers = sorted({number for layers in all_stacks.values() for number in layers})
    for number in options.include_layers:
        if number not in all_layers:
            message = f"`include_layers` is {number}; {block.subject} has {numbered('layer', all_layers)}."
            raise block.wrong("include_layers", message)
    included = {
        name: {number: heads for number, heads in layers.items() if number in options.include_layers}
        for name, layers in all_stacks.items()
    }
    return {name: layers for name, layers in included.items() if layers}


def _stack(block: Block, options: AttentionOptions, stacks: Mapping[str, object], every: Sequence[str]) -> str:
    """Return the name of the stack that is shown first.

    Raises:
        BlockError: if there is no such stack.
    """
    if options.stack is None:
        return next(iter(stacks))
    if options.stack not in every:
        message = f"`stack` is {options.stack!r}; {block.subject} has {', '.join(every)}."
        raise block.wrong("stack", message)
    if options.stack not in stacks:
        raise block.wrong("stack", f"`stack` is {options.stack!r}, which has none of `include_layers`.")
    return options.stack


def _no_layer(block: Block, layer: int, numbers: list[int]) -> str:
    """Return the message about a layer that cannot be shown."""
    if layer in numbers:
        return f"`layer` is {layer}, which is not among `include_layers`."
    return f"`layer` is {layer}; {block.subject} has {numbered('layer', numbers)}."


def _heads(block: Block, options: AttentionOptions, count: int, most: int) -> list[int]:
    """Return the heads that are shown first. The layer has `count` heads, and no layer has more than `most`.

    Raises:
        BlockError: if there is no such head.
    """
    wanted = options.heads if options.head is None else (options.head,)
    name = "heads" if options.head is None else "head"
    for key_name, numbers, limit in ((name, wanted or (), count), ("include_heads", options.include_heads or (), most)):
        for number in numbers:
            if number >= limit:
                known = numbered("head", list(range(limit)))
                raise block.wrong(key_name, f"`{key_name}` is {number}; {block.subject} has {known}.")
    allowed = offered(count, options.include_heads)
    if wanted and not set(wanted) <= set(allowed):
        raise block.wrong(name, f"`{name}` names a head that is not among `include_heads`.")
    return list(wanted or allowed)


def offered(count: int, include_heads: Sequence[int] | None) -> list[int]:
    """Return the heads of a layer that readers can choose from: the included heads, or all if the layer has none of
    them."""
    heads = list(range(count))
    return [head for head in heads if include_heads is None or head in include_heads] or heads


def _check(block: Block, options: AttentionOptions, entry: Entry, selection: Selection) -> None:
    """Raise an error if an option cannot be used with these weights."""
    stack = entry.meta["stacks"][selection.stack]
    layers = {layer["layer"]: layer for layer in stack["layers"]}
    sides = [entry.meta["sequences"][stack[side]] for side in ("rows", "cols")]
    if options.filter != "all" and any(side["sentence_b_start"] is None for side in sides):
        raise block.wrong("filter", f"`filter` is {options.filter!r}, but there is no pair of sentences to filter.")
    if not isinstance(options, WeightOptions):
        return
    if selection.sink == "leave_out" and len(selection.sinks[selection.stack]) == len(sides[1]["tokens"]):
        raise block.wrong("sink", "`sink` is leave_out, but there are no other tokens to show.")
    if options.across_layers == "rollout" and not layers[selection.layer].get("rollout"):
        message = "`across_layers` is 'rollout', which needs attention of a sequence to itself."
        raise block.wrong("across_layers", message)
    if options.across_layers == "rollout" and options.value_weighted:
        raise block.wrong("value_weighted", "`value_weighted` is true, but rollout follows attention alone.")
    if options.value_weighted and not all(layers[number].get("values") for number in selection.stacks[selection.stack]):
        message = f"`value_weighted` is true, but the value vectors of {block.subject} are not known."
        raise block.wrong("value_weighted", message)


def numbered(what: str, numbers: list[int]) -> str:
    """Return numbers as text: [0, 1, 2] gives `layers 0 to 2`."""
    if len(numbers) == 1:
        return f"one {what}, {numbers[0]}"
    return f"{what}s {listed(numbers)}"


def data(
    view: str, block: Block, entry: Entry, selection: Selection, parts: Sequence[str] = ("values", "rollout")
) -> AttentionFigure:
    """Return the data that every view of attention hands to the custom element. `parts` names the extra blobs of a
    layer that the view can use."""
    options, meta = selection.options, entry.meta["stacks"]
    used = dict.fromkeys(meta[name][side] for name in selection.stacks for side in ("rows", "cols"))
    initial = {name: getattr(options, name) for name in INITIAL if hasattr(options, name)}
    shown: dict[str, Any] = {
        "stack": selection.stack,
        "layer": selection.layer,
        "heads": selection.heads,
        "include_heads": options.include_heads,
        **initial,
    }
    stacks = {name: _stack_data(name, entry, selection, parts) for name in selection.stacks}
    return {
        "view": view,
        "theme": block.theme,
        "sequences": {name: sequence(entry, name, pretty=options.prettify_tokens) for name in used},
        "stacks": stacks,
        "options": cast(FirstState, shown),
    }


def _stack_data(name: str, entry: Entry, selection: Selection, parts: Sequence[str]) -> Stack:
    """Return the data of one stack."""
    meta, shown = entry.meta["stacks"][name], selection.stacks[name]
    stack: Stack = {
        "rows": meta["rows"],
        "cols": meta["cols"],
        "causal": meta["causal"],
        "layers": [_layer(name, layer, parts) for layer in meta["layers"] if layer["layer"] in shown],
    }
    if isinstance(selection.options, WeightOptions):
        stack["sink"] = selection.sinks[name]
    return stack


def _layer(stack: str, layer: Mapping[str, Any], parts: Sequence[str]) -> LayerSource:
    """Return the data of one layer, with the names of its blobs."""
    number = layer["layer"]
    source: LayerSource = {"layer": number, "heads": layer["heads"], "blob": f"{stack}/{number}"}
    if (shared := kv_heads(layer)) is not None:
        source["kv_heads"] = shared
    more = {part: {"blob": f"{stack}/{number}/{part}"} for part in parts if layer.get(part)}
    return cast(LayerSource, source | more)


def sequence(entry: Entry, name: str, *, pretty: bool) -> TokenSequence:
    """Return the tokens of a sequence as the figure shows them. They are computed once for each entry."""
    known = entry.derived.get(("sequence", name, pretty))
    if known is None:
        known = entry.derived["sequence", name, pretty] = _sequence(entry, name, pretty=pretty)
    return cast(TokenSequence, dict(known))


def _sequence(entry: Entry, name: str, *, pretty: bool) -> dict[str, Any]:
    """Compute the tokens of a sequence."""
    meta = entry.meta["sequences"][name]
    words = meta["words"] if _of_own_tensors(entry) else word_boundaries.split(meta)
    known = any(word is not None for word in words)
    parts = {"tokens": meta["pretty" if pretty else "tokens"], "special": meta["special"]}
    parts |= {"sentence_b_start": meta["sentence_b_start"], "words": words if known else None}
    parts |= {"next": meta.get("next"), "joined": word_boundaries.joined(meta, words) if pretty and known else None}
    return {part: value for part, value in parts.items() if value or value == [] or part == "sentence_b_start"}


def _of_own_tensors(entry: Entry) -> bool:
    """Return whether the entry was made from an author's file. Such an entry already contains its words."""
    return ["capture", TENSORS.name] in entry.meta.get("key", [])
