"""What is to be seen, in a sentence: a figure's accessible name, and all that is left where nothing can be drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice, takewhile

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import AttentionOptions, Selection, WeightOptions, sequence
from mkdocs_attnviz.views.attention.weights import Layer, Weight
from mkdocs_attnviz.views.attention.window import Window
from mkdocs_attnviz.views.svg.document import called

STACKS = {
    "self": "Attention",
    "encoder": "Encoder attention",
    "decoder": "Decoder attention",
    "cross": "Cross attention",
}


def sentence(block: Block, entry: Entry, found: Selection, window: Window) -> str:
    """Stack, layer, heads, length, and the strongest weights."""
    return f"{_what(block, found)}, {_length(entry, found)}.{_strongest(entry, found, window)}"


def _what(block: Block, found: Selection) -> str:
    options = found.options
    heads = f"head {found.heads[0]}" if len(found.heads) == 1 else f"{len(found.heads)} heads"
    layer = f"layer {found.layer}"
    if isinstance(options, WeightOptions):
        heads = f"{options.across_heads} of {heads}" if options.across_heads and len(found.heads) > 1 else heads
        if options.across_layers == "rollout":
            layer, heads = f"rollout up to layer {found.layer}", "all heads"
        elif options.across_layers is not None:
            layer = f"{options.across_layers} over {len(found.stacks[found.stack])} layers"
        heads += ", weighted by what is passed on" if options.value_weighted else ""
    return f"{STACKS[found.stack]} of {block.model or block.tensors}, {layer}, {heads}"


def _length(entry: Entry, found: Selection) -> str:
    stack = entry.meta["stacks"][found.stack]
    rows, cols = (len(entry.meta["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
    return f"over {rows} tokens" if stack["rows"] == stack["cols"] else f"from {rows} tokens to {cols}"


def _strongest(entry: Entry, found: Selection, window: Window) -> str:
    if is_plain(found.options):
        return _strongest_of_layer(entry, found)
    weight = window.strongest(rows_without_choice(entry, found.stack, window.rows.groups, window.cols.groups))
    if weight is None or any(side.total > len(side.texts) for side in (window.rows, window.cols)):
        return ""
    row, col = window.rows.texts[weight.row], window.cols.texts[weight.col]
    return f" The strongest weight is {_told(weight.value, row, col, window.heads[weight.head])}."


def is_plain(options: AttentionOptions) -> bool:
    if not isinstance(options, WeightOptions):
        return True
    changed = options.across_layers or options.across_heads or options.value_weighted or options.merge_words
    return not changed and options.special_tokens and options.filter == "all"


def rows_without_choice(
    entry: Entry, stack: str, rows: Sequence[Sequence[int]], cols: Sequence[Sequence[int]]
) -> list[int]:
    """Return the rows that may attend to one of the columns alone: the weight there says nothing about the model.

    In a causal model this is the first token, which can only attend to itself. A row or a column is a list of
    positions, those of a word's tokens. A sink, which follows the tokens of the columns, may be attended to by all.
    """
    meta = entry.meta["stacks"][stack]
    if not meta["causal"]:
        return list(range(len(rows))) if len(cols) == 1 else []
    sink = len(entry.meta["sequences"][meta["rows"]]["tokens"])

    def is_without(row: Sequence[int]) -> bool:
        allowed = (col for col in cols if col[0] <= row[-1] or col[0] >= sink)
        return sum(1 for _ in islice(allowed, 2)) < 2

    return [number for number, _ in takewhile(lambda each: is_without(each[1]), enumerate(rows))]


def _strongest_of_layer(entry: Entry, found: Selection) -> str:
    """Of all tokens, and between those that are words."""
    options = found.options
    stack = entry.meta["stacks"][found.stack]
    rows, cols = (sequence(entry, stack[side], pretty=options.prettify_tokens) for side in ("rows", "cols"))
    heads = found.stacks[found.stack][found.layer]
    layer = Layer(entry.blobs[f"{found.stack}/{found.layer}"], len(rows["tokens"]), len(cols["tokens"]), heads)

    tokens = ([[position] for position in range(len(side["tokens"]))] for side in (rows, cols))
    forced = rows_without_choice(entry, found.stack, *tokens)

    def told(without_rows: Collection[int], without_cols: Collection[int]) -> tuple[Weight | None, str]:
        weight = layer.strongest(found.heads, {*forced, *without_rows}, without_cols)
        if weight is None:
            return None, ""
        return weight, _told(weight.value, rows["tokens"][weight.row], cols["tokens"][weight.col], weight.head)

    strongest, said = told((), ())
    if strongest is None:
        return ""
    between, words = told(rows["special"], cols["special"])
    more = f"; between words it is {words}" if between is not None and between != strongest else ""
    return f" The strongest weight is {said}{more}."


def _told(value: float, row: str, col: str, head: int | None) -> str:
    one, other = map(called, (row, col))
    return f"{value:.2f}, from “{one}” to “{other}”" + ("" if head is None else f" in head {head}")
