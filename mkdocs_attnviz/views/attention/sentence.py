"""A sentence that describes a figure of attention: its accessible name, and its text where no picture can be shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice, takewhile

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import AttentionOptions, Selection, WeightOptions, sequence
from mkdocs_attnviz.views.attention.weights import Layer, Weight, layer_of
from mkdocs_attnviz.views.attention.window import Window
from mkdocs_attnviz.views.visible_tokens import called

STACKS = {
    "self": "Attention",
    "encoder": "Encoder attention",
    "decoder": "Decoder attention",
    "cross": "Cross attention",
}
"""The name of each stack's attention in a sentence."""
MOST_NAMES = 4
"""The largest number of sink tokens that a sentence names."""


def sentence(block: Block, entry: Entry, selection: Selection, window: Window) -> str:
    """Return a sentence with stack, layer, heads, number of tokens, and the strongest weights."""
    how = sink_words(entry, selection)
    return f"{_what(block, selection)}{how}, {_length(entry, selection)}.{_strongest(entry, selection, window)}"


def _what(block: Block, selection: Selection) -> str:
    """Return the part of the sentence that names model, layer and heads."""
    options = selection.options
    heads = f"head {selection.heads[0]}" if len(selection.heads) == 1 else f"{len(selection.heads)} heads"
    layer = f"layer {selection.layer}"
    if isinstance(options, WeightOptions):
        heads = f"{options.across_heads} of {heads}" if options.across_heads and len(selection.heads) > 1 else heads
        if options.across_layers == "rollout":
            layer, heads = f"rollout up to layer {selection.layer}", "all heads"
        elif options.across_layers is not None:
            layer = f"{options.across_layers} over {len(selection.stacks[selection.stack])} layers"
        heads += ", weighted by what is passed on" if options.value_weighted else ""
    return f"{STACKS[selection.stack]} of {block.model or block.tensors}, {layer}, {heads}"


def sink_words(entry: Entry, selection: Selection, rest: str = "the rest renormalised") -> str:
    """Return the part of the sentence that says how the sink is shown; empty if it is shown as any token. `rest` says
    what happens to the other weights if it is left out."""
    if selection.sink == "show":
        return ""
    cols = entry.meta["sequences"][entry.meta["stacks"][selection.stack]["cols"]]
    names = dict.fromkeys(f"“{called(cols['pretty'][at])}”" for at in selection.sinks[selection.stack])
    sink = f"the sink {' and '.join([*names][:MOST_NAMES])}"
    return f", {sink} faded" if selection.sink == "fade" else f", without {sink}, {rest}"


def _length(entry: Entry, selection: Selection) -> str:
    """Return the part of the sentence that gives the number of tokens."""
    stack = entry.meta["stacks"][selection.stack]
    rows, cols = (len(entry.meta["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
    return f"over {rows} tokens" if stack["rows"] == stack["cols"] else f"from {rows} tokens to {cols}"


def _strongest(entry: Entry, selection: Selection, window: Window) -> str:
    """Return a sentence about the strongest weight that the window shows."""
    if is_plain(selection.options):
        return _strongest_of_layer(entry, selection, window.layer)
    weight = window.strongest(rows_without_choice(entry, selection.stack, window.rows.groups, window.cols.groups))
    if weight is None or any(side.total > len(side.texts) for side in (window.rows, window.cols)):
        return ""
    row, col = window.rows.texts[weight.row], window.cols.texts[weight.col]
    return f" The strongest weight is {_described(weight.value, row, col, window.heads[weight.head])}."


def is_plain(options: AttentionOptions) -> bool:
    """Return whether the options show the weights of single tokens unchanged."""
    if not isinstance(options, WeightOptions):
        return True
    changed = options.across_layers or options.across_heads or options.value_weighted or options.merge_words
    return not changed and options.special_tokens and options.filter == "all" and options.sink != "leave_out"


def rows_without_choice(
    entry: Entry, stack: str, rows: Sequence[Sequence[int]], cols: Sequence[Sequence[int]]
) -> list[int]:
    """Return the rows that can attend to only one of the columns. Their weights say nothing about the model.

    In a causal model this is the first token, which can only attend to itself. Each row or column is a list of
    positions: those of a word's tokens. All rows can attend to a sink, which follows the tokens of the columns.
    """
    meta = entry.meta["stacks"][stack]
    if not meta["causal"]:
        return list(range(len(rows))) if len(cols) == 1 else []
    sink = len(entry.meta["sequences"][meta["rows"]]["tokens"])

    def is_without(row: Sequence[int]) -> bool:
        """Return whether the row can attend to fewer than two columns."""
        allowed = (col for col in cols if col[0] <= row[-1] or col[0] >= sink)
        return sum(1 for _ in islice(allowed, 2)) < 2

    return [number for number, _ in takewhile(lambda each: is_without(each[1]), enumerate(rows))]


def _strongest_of_layer(entry: Entry, selection: Selection, layer: Layer | None) -> str:
    """Return a sentence about the strongest weight of all tokens and the strongest weight between words. The `layer`
    is read from the entry unless the window has it."""
    options = selection.options
    stack = entry.meta["stacks"][selection.stack]
    rows, cols = (sequence(entry, stack[side], pretty=options.prettify_tokens) for side in ("rows", "cols"))
    layer = layer or layer_of(
        entry, selection.stack, selection.layer, selection.stacks[selection.stack][selection.layer]
    )

    tokens = ([[position] for position in range(len(side["tokens"]))] for side in (rows, cols))
    forced = rows_without_choice(entry, selection.stack, *tokens)

    def strongest_outside(without_rows: Collection[int], without_cols: Collection[int]) -> tuple[Weight | None, str]:
        """Return the strongest weight outside these rows and columns, and its description."""
        weight = layer.strongest(selection.heads, {*forced, *without_rows}, without_cols)
        if weight is None:
            return None, ""
        return weight, _described(weight.value, rows["tokens"][weight.row], cols["tokens"][weight.col], weight.head)

    strongest, description = strongest_outside((), ())
    if strongest is None:
        return ""
    between, words = strongest_outside(rows["special"], cols["special"])
    more = f"; between words it is {words}" if between is not None and between != strongest else ""
    return f" The strongest weight is {description}{more}."


def _described(value: float, row: str, col: str, head: int | None) -> str:
    """Return the description of a weight."""
    one, other = map(called, (row, col))
    return f"{value:.2f}, from “{one}” to “{other}”" + ("" if head is None else f" in head {head}")
