"""The block keys of the experts view, and the mixtures that they choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.values import Flag, Index, Indices, key
from mkdocs_attnviz.views.attention.options import Side, shared, side
from mkdocs_attnviz.views.expert_balance import in_layers

Part = Literal["feed_forward", "attention"]
Show = Literal["grid", "text", "load", "tokens"]
OF_TEXT: tuple[Show, ...] = ("grid", "text", "load")
OF_CORPUS: tuple[Show, ...] = ("load", "tokens")
"""The pictures of one text, and those of a corpus."""


class Options(BlockOptions):
    """The block keys of the experts view."""

    show: Show | None = key(
        "grid, text or load; with `corpus`, load or tokens",
        "What is seen at first: tokens × layers, the text coloured by one layer's experts, how many tokens each expert "
        "got, or, with `corpus`, the tokens that each expert of one layer gets. Default: `grid`, or `text` if the grid "
        "has more than 6,000 cells; with `corpus`, `load`.",
        default=None,
    )
    stack: Side | None = side()
    part: Part | None = key(
        "feed_forward or attention",
        "For a model whose attention is a mixture, too (JetMoE): which part is shown at first. Default: "
        "`feed_forward`.",
        default=None,
    )
    layer: Index | None = key(
        "a layer's number, counted from 0",
        "The layer whose experts colour the text, or whose tokens are shown. Default: the last with a mixture.",
        default=None,
    )
    expert: Index | None = key(
        "an expert's number, counted from 0",
        "One expert: only the tokens that it got are coloured.",
        default=None,
    )
    include_layers: Indices | None = shared("include_layers")
    prettify_tokens: Flag = shared("prettify_tokens")


class Chosen(NamedTuple):
    """The mixtures that a block chooses."""

    included: list[Mapping[str, Any]]
    """Those that the figure has."""
    group: list[Mapping[str, Any]]
    """Those that are shown together at first, in the order of their layers: of one stack and one part."""
    layer: int
    """The layer that is shown at first."""


def chosen(block: Block, options: Options, mixtures: Sequence[Mapping[str, Any]]) -> Chosen:
    """Return the mixtures that a block chooses.

    Raises:
        BlockError: if the model has no such stack, part, layer or expert, or the figure has no such picture.
    """
    possible, other = (OF_TEXT, "`corpus`") if block.corpus is None else (OF_CORPUS, "one `text`")
    if options.show is not None and options.show not in possible:
        these = f"{', '.join(possible[:-1])} and {possible[-1]}"
        message = f"`show` is {options.show}, which is for {other}; this figure has {these}."
        raise block.wrong("show", message)
    included = _included(block, options, mixtures)
    group = _group(block, options, included)
    layers = [int(about["layer"]) for about in group]
    layer = layers[-1] if options.layer is None else options.layer
    if layer not in layers:
        raise block.wrong("layer", f"`layer` is {layer}; the mixtures of {block.subject} are in {in_layers(layers)}.")
    experts = max(about["experts"] for about in group)
    if options.expert is not None and options.expert >= experts:
        raise block.wrong("expert", f"`expert` is {options.expert}; the experts are 0 to {experts - 1}.")
    return Chosen(included, group, layer)


def _included(block: Block, options: Options, mixtures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the mixtures of `include_layers`, or all.

    Raises:
        BlockError: if a layer has none.
    """
    known = sorted({about["layer"] for about in mixtures})
    for layer in options.include_layers or ():
        if layer not in known:
            raise block.wrong(
                "include_layers",
                f"`include_layers` has layer {layer}; the mixtures of {block.subject} are in {in_layers(known)}.",
            )
    return [about for about in mixtures if options.include_layers is None or about["layer"] in options.include_layers]


def _group(block: Block, options: Options, mixtures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the mixtures that are shown together at first: those of one stack and one part.

    Raises:
        BlockError: if there are none.
    """
    stacks = list(dict.fromkeys(about["stack"] for about in mixtures))
    stack = options.stack or ("encoder" if "encoder" in stacks else stacks[0])
    if stack not in stacks:
        raise block.wrong(
            "stack", f"`stack` is {stack}; the mixtures of {block.subject} are in {' and '.join(stacks)}."
        )
    parts = sorted({about["part"] for about in mixtures if about["stack"] == stack}, reverse=True)
    part = options.part or parts[0]
    if part not in parts:
        raise block.wrong("part", f"`part` is {part}; the mixtures of {block.subject} are in {' and '.join(parts)}.")
    group = [about for about in mixtures if (about["stack"], about["part"]) == (stack, part)]
    return sorted(group, key=lambda about: int(about["layer"]))


def notes_on_mixtures(mixtures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield sentences about how the routers choose, and about experts that are not shown."""
    functions = sorted({about["function"] for about in mixtures if "function" in about})
    if functions:
        which = " and ".join(functions)
        of_sum = "" if functions == ["softmax"] else ", divided by its sum"
        yield f"router: {which} of its logits{of_sum}; its entropy is in bits"
    if any("function" not in about for about in mixtures):
        yield "the router's distribution cannot be read in every layer"
    if any(not about.get("exact", True) for about in mixtures):
        yield "the weights of the chosen experts are not in proportion to the router's probabilities"
    if any(about["shared"] for about in mixtures):
        yield "beside these experts, shared ones get every token"
    without = max((about["without_weights"] for about in mixtures), default=0)
    if without:
        last = max(about["experts"] for about in mixtures) - 1
        which = f"expert {last} has" if without == 1 else f"experts {last - without + 1} to {last} have"
        yield f"{which} no weights: a token passes unchanged or is skipped"
