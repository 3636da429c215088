"""The first tokens of a picture, in the way the block wants them read: what a static picture is drawn from.

The order is that of the browser (`frontend/src/shown.ts`): value-weighted, pieces of words put together, special tokens
left out, across layers, across heads; and of these the part that the pair filter leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import AttentionOptions, Selection, WeightOptions, sequence
from mkdocs_attnviz.views.attention.weights import Layer, Weight, scaled

TOKENS = 24
"""As many as a figure shows without scrolling."""

Rows = list[list[float]]
"""Weights of one head, (rows, cols)."""


@dataclass(frozen=True)
class Side:
    """Tokens, or words made of several, as far as the picture shows them."""

    texts: list[str]
    special: list[bool]
    groups: list[list[int]]
    """Positions of the pieces of each."""
    total: int
    """How many there are in all."""


@dataclass(frozen=True)
class Window:
    rows: Side
    cols: Side
    heads: list[int | None]
    """Their numbers, which are their colours; None for several in one."""
    weights: list[Rows]
    """One for each of `heads`."""

    def strongest(self, without_rows: Collection[int] = ()) -> Weight | None:
        """The largest weight of the other rows; `head` counts within `heads`."""
        every = (
            Weight(weight, head, row, col)
            for head, rows in enumerate(self.weights)
            for row, cols in enumerate(rows)
            if row not in without_rows
            for col, weight in enumerate(cols)
        )
        found = max(every, default=None)
        return found if found and found.value else None


def window(block: Block, entry: Entry, found: Selection, heads: Sequence[int] | None = None) -> Window:
    """The first 24 rows and columns; of `heads`, or of those that the block shows."""
    options = found.options
    stack = entry.meta["stacks"][found.stack]
    rows = side(sequence(entry, stack["rows"], pretty=options.prettify_tokens), options, options.filter[0])
    cols = side(sequence(entry, stack["cols"], pretty=options.prettify_tokens), options, options.filter[-1])
    if not rows.groups or not cols.groups:
        raise block.wrong("special_tokens", "`special_tokens` is false, but there are no other tokens to show.")
    chosen = list(heads or found.heads)
    across_layers = options.across_layers if isinstance(options, WeightOptions) else None
    if across_layers == "rollout":
        layer = _Reader(entry, found, found.layer, "/rollout", weighted=False)
        return Window(rows, cols, [None], [layer.window(0, rows, cols)])
    weighted = isinstance(options, WeightOptions) and options.value_weighted
    numbers = [found.layer] if across_layers is None else list(found.stacks[found.stack])
    layers: list[list[Rows]] = [[] for _ in chosen]
    for number in numbers:  # one at a time: a layer may be large
        reader = _Reader(entry, found, number, "", weighted=weighted)
        for head, seen in zip(chosen, layers, strict=True):
            if head < reader.heads:
                seen.append(reader.window(head, rows, cols))
    weights = [_combined(seen, across_layers) for seen in layers]
    if isinstance(options, WeightOptions) and options.across_heads is not None:
        return Window(rows, cols, [None], [_combined(weights, options.across_heads)])
    return Window(rows, cols, list(chosen), weights)


def side(shown: Mapping[str, Any], options: AttentionOptions, sentence: str) -> Side:
    """The tokens or words that are shown. `sentence` is the first or last letter of the filter: a, b, or of `all`."""
    count = len(shown["tokens"])
    boundary = shown["sentence_b_start"] or 0
    start, end = (0, boundary) if sentence == "a" and options.filter != "all" else (0, count)
    start = boundary if sentence == "b" else start
    merge = isinstance(options, WeightOptions) and options.merge_words
    hidden = set() if not isinstance(options, WeightOptions) or options.special_tokens else set(shown["special"])
    words = shown.get("words") if merge else None
    groups: list[list[int]] = []
    for position in range(start, end):
        if position in hidden:
            continue
        follows = groups and groups[-1][-1] == position - 1 and position != shown["sentence_b_start"]
        if words and follows and words[position] is not None and words[position - 1] == words[position]:
            groups[-1].append(position)
        else:
            groups.append([position])
    kept = groups[:TOKENS]
    texts = [_text(shown, group) for group in kept]
    return Side(texts, [group[0] in set(shown["special"]) for group in kept], kept, len(groups))


def _text(shown: Mapping[str, Any], group: Sequence[int]) -> str:
    if len(group) > 1 and group[0] in shown.get("joined", {}):
        return str(shown["joined"][group[0]])
    return "".join(_piece(shown["tokens"][position], n) for n, position in enumerate(group))


def _piece(token: str, number: int) -> str:
    return token.removeprefix("##") if number and len(token) > 2 else token


class _Reader:
    """One layer's weights between groups of tokens."""

    def __init__(self, entry: Entry, found: Selection, number: int, part: str, *, weighted: bool) -> None:
        stack = entry.meta["stacks"][found.stack]
        rows, cols = (len(entry.meta["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
        name = f"{found.stack}/{number}"
        self.heads = 1 if part else found.stacks[found.stack][number]
        self._layer = Layer(entry.blobs[name + part], rows, rows if part else cols, self.heads)
        self._norms = scaled(entry.blobs[f"{name}/values"], self.heads, cols) if weighted else None

    def window(self, head: int, rows: Side, cols: Side) -> Rows:
        return [self._mean([self._row(head, row, cols) for row in group]) for group in rows.groups]

    def _row(self, head: int, row: int, cols: Side) -> list[float]:
        weights = self._layer.row(head, row)
        if self._norms is not None:
            passed = [weight * norm for weight, norm in zip(weights, self._norms[head], strict=True)]
            total = sum(passed) or 1
            weights = [each / total for each in passed]
        if len(cols.groups) == cols.groups[-1][-1] + 1:  # tokens from the first on, none left out or put together
            return weights[: len(cols.groups)] + [0.0] * (len(cols.groups) - len(weights))
        return [sum(weights[col] for col in group if col < len(weights)) for group in cols.groups]

    @staticmethod
    def _mean(rows: Rows) -> list[float]:
        return rows[0] if len(rows) == 1 else [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _combined(heads: list[Rows], how: str | None) -> Rows:
    """Several heads' weights in one."""
    if len(heads) == 1:
        return heads[0]
    reduce = max if how == "max" else lambda values: sum(values) / len(values)
    return [[reduce(cells) for cells in zip(*rows, strict=True)] for rows in zip(*heads, strict=True)]
