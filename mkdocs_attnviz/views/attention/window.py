"""The first tokens of a figure and the weights between them, after all options of the block; static pictures show them.

The steps have the same order as in the browser (`frontend/src/attention/weight-pipeline.ts`): value weighting,
leaving out the sink, merging word pieces, hiding special tokens, combining layers, combining heads, and the filter for
sentence pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import AttentionOptions, Selection, WeightOptions, sequence
from mkdocs_attnviz.views.attention.weights import WEIGHT, Layer, Weight, layer_of, scaled

TOKENS = 24
"""The number of tokens that a figure shows without scrolling."""

Rows = list[list[float]]
"""The weights of one head, of shape (rows, cols)."""


@dataclass(frozen=True)
class Side:
    """The tokens, or words made of several tokens, on one side of the picture."""

    texts: list[str]
    special: list[bool]
    groups: list[list[int]]
    """The positions of the tokens of each word."""
    total: int
    """The number of words or tokens in the whole text."""

    @property
    def is_plain(self) -> bool:
        """True if these are the first tokens of the text, none hidden or merged."""
        return len(self.groups) == self.groups[-1][-1] + 1


@dataclass(frozen=True)
class Window:
    """The tokens on both sides of a picture, and the weights between them."""

    rows: Side
    cols: Side
    heads: list[int | None]
    """The numbers of the heads, which determine their colours; None for several heads combined."""
    values: bytes | list[Rows]
    """The weights of each of `heads`, row by row: bytes as an entry stores them, or numbers if weights are combined."""
    layer: Layer | None = None
    """The layer of the weights, if they are those of one layer as the entry stores them."""
    faded: frozenset[int] = frozenset()
    """The columns that are drawn faintly."""

    @cached_property
    def weights(self) -> list[Rows]:
        """The weights of each of `heads` as numbers."""
        if not isinstance(self.values, bytes):
            return self.values
        weights, cols = list(map(WEIGHT.__getitem__, self.values)), len(self.cols.groups)
        rows = [weights[start : start + cols] for start in range(0, len(weights), cols)]
        return [rows[start : start + len(self.rows.groups)] for start in range(0, len(rows), len(self.rows.groups))]

    def strongest(self, without_rows: Collection[int] = ()) -> Weight | None:
        """Return the largest weight outside the excluded rows, or None if all are zero. Its `head` is an index in
        `heads`."""
        weights = (
            Weight(weight, head, row, col)
            for head, rows in enumerate(self.weights)
            for row, cols in enumerate(rows)
            if row not in without_rows
            for col, weight in enumerate(cols)
        )
        largest = max(weights, default=None)
        return largest if largest and largest.value else None


def window(block: Block, entry: Entry, selection: Selection) -> Window:
    """Return the first 24 rows and columns of the heads that the block shows.

    Raises:
        BlockError: if there are no tokens besides special tokens, and these are hidden.
    """
    options = selection.options
    stack = entry.meta["stacks"][selection.stack]
    sink = selection.sinks[selection.stack] if selection.sink != "show" else []
    without = sink if selection.sink == "leave_out" else []
    rows = side(sequence(entry, stack["rows"], pretty=options.prettify_tokens), options, options.filter[0])
    cols = side(sequence(entry, stack["cols"], pretty=options.prettify_tokens), options, options.filter[-1], without)
    faded = frozenset(n for n, group in enumerate(cols.groups) if not {*group}.isdisjoint(sink))
    if not rows.groups or not cols.groups:
        raise block.wrong("special_tokens", "`special_tokens` is false, but there are no other tokens to show.")
    chosen = selection.heads
    across_layers = options.across_layers if isinstance(options, WeightOptions) else None
    if across_layers == "rollout":
        layer = _Reader(entry, selection, selection.layer, "/rollout", without, weighted=False)
        return Window(rows, cols, [None], [layer.window(0, rows, cols)], faded=faded)
    weighted = isinstance(options, WeightOptions) and options.value_weighted
    across_heads = options.across_heads if isinstance(options, WeightOptions) else None
    changed = weighted or without or across_layers is not None or across_heads is not None
    if rows.is_plain and cols.is_plain and not changed:
        layer = _Reader(entry, selection, selection.layer, "", weighted=False)
        steps = b"".join(layer.steps(head, rows, cols) for head in chosen)
        return Window(rows, cols, list(chosen), steps, layer.layer, faded)
    numbers = [selection.layer] if across_layers is None else list(selection.stacks[selection.stack])
    layers: list[list[Rows]] = [[] for _ in chosen]
    for number in numbers:  # one at a time: a layer may be large
        reader = _Reader(entry, selection, number, "", without, weighted=weighted)
        for head, seen in zip(chosen, layers, strict=True):
            if head < reader.heads:
                seen.append(reader.window(head, rows, cols))
    weights = [_combined(seen, across_layers) for seen in layers]
    if across_heads is not None:
        return Window(rows, cols, [None], [_combined(weights, across_heads)], faded=faded)
    return Window(rows, cols, list(chosen), weights, faded=faded)


def side(shown: Mapping[str, Any], options: AttentionOptions, sentence: str, without: Collection[int] = ()) -> Side:
    """Return the tokens or words on one side, except for the positions in `without`. `sentence` is the first or last
    letter of the filter: a, b, or a letter of `all`."""
    count = len(shown["tokens"])
    boundary = shown["sentence_b_start"] or 0
    start, end = (0, boundary) if sentence == "a" and options.filter != "all" else (0, count)
    start = boundary if sentence == "b" else start
    merge = isinstance(options, WeightOptions) and options.merge_words
    hidden = set() if not isinstance(options, WeightOptions) or options.special_tokens else set(shown["special"])
    hidden |= set(without)
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
    visible_groups = groups[:TOKENS]
    texts = [_text(shown, group) for group in visible_groups]
    return Side(texts, [group[0] in set(shown["special"]) for group in visible_groups], visible_groups, len(groups))


def _text(shown: Mapping[str, Any], group: Sequence[int]) -> str:
    """Return the text of a group of tokens."""
    if len(group) > 1 and group[0] in shown.get("joined", {}):
        return str(shown["joined"][group[0]])
    return "".join(_piece(shown["tokens"][position], n) for n, position in enumerate(group))


def _piece(token: str, number: int) -> str:
    """Return the text of a token inside a word, without the mark of WordPiece."""
    return token.removeprefix("##") if number and len(token) > 2 else token


class _Reader:
    """The weights of one layer between groups of tokens, reweighed if they are value-weighted or leave out columns."""

    def __init__(
        self,
        entry: Entry,
        selection: Selection,
        number: int,
        part: str,
        without: Collection[int] = (),
        *,
        weighted: bool,
    ) -> None:
        stack = entry.meta["stacks"][selection.stack]
        rows, cols = (len(entry.meta["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
        name = f"{selection.stack}/{number}"
        self.heads = 1 if part else selection.stacks[selection.stack][number]
        if part:
            self.layer = Layer(entry.blobs[name + part], rows, rows, 1)
        else:
            self.layer = layer_of(entry, selection.stack, number, self.heads)
        self._factors = scaled(entry.blobs[f"{name}/values"], self.heads, cols) if weighted else None
        self._lacking = set[int]()
        """The heads of which the entry has a part: what they lack is part of what a row is divided by."""
        if without and not weighted and not part:
            about = next(layer for layer in stack["layers"] if layer["layer"] == number)
            self._lacking = {head for head, share in enumerate(about.get("kept") or ()) if share < 1}
        self._without = without
        if without:
            self._factors = self._factors or [[1.0] * self.layer.cols] * self.heads
            kept = [float(col not in without) for col in range(self.layer.cols)]
            self._factors = [[*map(float.__mul__, factors, kept)] for factors in self._factors]

    def steps(self, head: int, rows: Side, cols: Side) -> bytes:
        """Return the stored bytes between the first tokens, of shape (rows, cols)."""
        first = self.layer.steps(head)[: self.layer.rows * len(cols.groups)]
        return b"".join(first[row :: self.layer.rows] for row in range(len(rows.groups)))

    def window(self, head: int, rows: Side, cols: Side) -> Rows:
        """Return the weights of a head between groups of tokens."""
        return [self._mean([self._row(head, row, cols) for row in group]) for group in rows.groups]

    def _row(self, head: int, row: int, cols: Side) -> list[float]:
        """Return the weights of one token to the groups of columns."""
        weights = self.layer.row(head, row)
        if self._factors is not None:
            passed = [weight * factor for weight, factor in zip(weights, self._factors[head], strict=True)]
            total = sum(passed)
            if head in self._lacking:
                total = max(total, 1 - sum(weights[col] for col in self._without))
            total = total or 1
            weights = [each / total for each in passed]
        if cols.is_plain:
            return weights[: len(cols.groups)] + [0.0] * (len(cols.groups) - len(weights))
        return [sum(weights[col] for col in group if col < len(weights)) for group in cols.groups]

    @staticmethod
    def _mean(rows: Rows) -> list[float]:
        """Return the mean of the rows, of shape (cols,)."""
        return rows[0] if len(rows) == 1 else [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _combined(heads: list[Rows], how: str | None) -> Rows:
    """Return the mean or maximum of several weights, of heads or of layers."""
    if len(heads) == 1:
        return heads[0]
    reduce = max if how == "max" else lambda values: sum(values) / len(values)
    return [[reduce(cells) for cells in zip(*rows, strict=True)] for rows in zip(*heads, strict=True)]
