"""The measures of the text view: a weight between two tokens, its rank, the strongest, and what a token receives.

Of each token only the strongest weights are stored. A weight that is not among them lies between zero and the least of
those that are, and a claim is compared with all numbers in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.text_entry import SHARES, Row, TextEntry
from mkdocs_attnviz.views.token_places import places

ADVICE = "Let `top_k` be larger."


@dataclass(frozen=True)
class _Named:
    """The marks of one token or word that an author names."""

    marks: tuple[int, ...]
    name: str


@dataclass(frozen=True)
class _Weight:
    """A weight, and the least and the largest number that it may stand for."""

    value: float
    low: float
    high: float


class _Matrix:
    """The matrix that a claim is about: the one that it names, or else the one that is shown first."""

    def __init__(self, block: Block, options: Any, entry: Entry, chosen: Selectors) -> None:
        """Find the matrix.

        Raises:
            WrongValue: the figure has no such matrix.
        """
        self.text = TextEntry(entry)
        self.matrices: list[list[int | None]] = entry.meta["matrices"]
        layers = list(dict.fromkeys(layer for layer, _ in self.matrices))
        default = layers[-1 if options.across_layers == "rollout" else 0] if options.layer is None else options.layer
        layer = self._of(block, "layer", chosen.layer, layers, default)
        heads = [head for each, head in self.matrices if each == layer]
        head = self._of(block, "head", chosen.head, heads, heads[0])
        self.number = self.matrices.index([layer, head])

    @staticmethod
    def _of(block: Block, name: str, wanted: Any, known: Sequence[int | None], default: int | None) -> int | None:
        """Return the layer or head that a claim names.

        Raises:
            WrongValue: the figure does not show it.
        """
        if wanted is None:
            return default if default in known else known[0]
        if wanted not in known:
            shown = listed([number for number in known if number is not None])
            has = f"shows {name}s {shown}" if shown else f"shows its {name}s combined"
            raise WrongValue("expect", f"`{name}` is {wanted}; the figure of {block.subject} {has}.")
        return int(wanted)

    def where(self, number: int | None = None) -> str:
        """Return a matrix in words, with "in" before it; empty if there is only one."""
        layer, head = self.matrices[self.number if number is None else number]
        parts = [] if head is None else [f"head {head}"]
        parts += [] if layer is None else [f"layer {layer}"]
        return f" in {' of '.join(parts)}" if parts else ""

    def named(self, side: str, written: str, key: str) -> list[_Named]:
        """Return the tokens or words of the rows or the columns that an author means.

        Raises:
            Untestable: there is no such token.
        """
        text = self.text
        if text.signed and side == "rows":
            return self._outputs(written, key)
        name = "text" if text.signed else text.meta[side]
        found = places(text.meta["sequences"][name], written, key)
        return [
            _Named(tuple(dict.fromkeys(text.mark(name, n) for n in place.positions)), place.name) for place in found
        ]

    def _outputs(self, written: str, key: str) -> list[_Named]:
        """Return the explained outputs that an author means.

        Raises:
            Untestable: there is no such output.
        """
        outputs = self.text.meta["outputs"]
        found = [
            _Named((each["mark"],), f"“{each['token'].strip()}”")
            for each in outputs
            if written in (str(each["index"]), each["token"].strip())
        ]
        if not found:
            known = ", ".join(f"“{each['token'].strip()}” ({each['index']})" for each in outputs[:8])
            raise Untestable(f"`{key}` is {written!r:.80}, which is not explained; {known} is.")
        return found

    def row(self, mark: int, number: int | None = None) -> Row:
        """Return the strongest weights of a mark.

        Raises:
            Untestable: it has none.
        """
        row = self.text.row(self.number if number is None else number, mark)
        if row is None:
            raise Untestable("this token attends to nothing in the figure.")
        return row

    def weight(self, start: _Named, end: _Named, number: int | None = None) -> _Weight:
        """Return the weight from one token or word to another: the mean over tokens that attend, the sum over those
        that are attended to (Clark et al. 2019)."""
        cells = [_cell(self.row(mark, number), other) for mark in start.marks for other in end.marks]
        count = len(start.marks)
        return _Weight(*(sum(getattr(cell, part) for cell in cells) / count for part in ("value", "low", "high")))

    def marks(self, side: str) -> list[int]:
        """Return all marks that attend, or all that are attended to."""
        if self.text.signed and side == "rows":
            return [each["mark"] for each in self.text.meta["outputs"]]
        return list(self.text.range(side))

    def one(self, mark: int) -> _Named:
        """Return a mark as something that is named."""
        texts = self.text.text["texts"]
        number = f" ({self.number_of(mark)})" if texts.count(texts[mark]) > 1 else ""
        return _Named((mark,), f"“{texts[mark].strip() or texts[mark]}”{number}")

    def number_of(self, mark: int) -> int:
        """Return the number of a mark's first token."""
        first = self.text.first_tokens()
        return mark if first is None else first[mark]

    def elsewhere(self) -> Iterator[tuple[int, int]]:
        """Yield the numbers of the other matrices, each with its distance: 1 in the same layer, 2 elsewhere."""
        layer = self.matrices[self.number][0]
        for number, (other, _) in enumerate(self.matrices):
            if number != self.number:
                yield number, 1 if other == layer else 2


def _cell(row: Row, mark: int) -> _Weight:
    """Return the weight of a mark in a row."""
    if mark in row.weights:
        return _Weight(row.weights[mark], *row.intervals[mark])
    return _Weight(0.0, 0.0, row.rest)


def _pair(matrix: _Matrix, chosen: Selectors) -> tuple[_Named, _Named, _Weight]:
    """Return the two tokens that a claim names, and the weight: the largest, if their texts occur more than once."""
    starts = matrix.named("rows", chosen.from_ or "", "from")
    ends = matrix.named("cols", chosen.to or "", "to")
    pairs = [(start, end, matrix.weight(start, end)) for start in starts for end in ends]
    return max(pairs, key=lambda pair: pair[2].value)


def _weight(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the weight from one token to another."""
    matrix = _Matrix(block, options, entry, chosen)
    start, end, found = _pair(matrix, chosen)

    def others() -> Iterator[Other]:
        for number, distance in matrix.elsewhere():
            yield Other(f"the same{matrix.where(number)}", matrix.weight(start, end, number).value, distance)
        for mark, value in matrix.row(start.marks[0]).strongest[:20]:
            yield Other(f"the weight to {matrix.one(mark).name}", value, 3)

    subject = f"the weight from {start.name} to {end.name}{matrix.where()}"
    return Measured(subject, found.value, found.low, found.high, others=others)


def _rank(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the rank of a weight among those of the same token. Of equal stored weights, any may be the largest.

    Raises:
        Untestable: the weight is not stored.
    """
    matrix = _Matrix(block, options, entry, chosen)
    start, end, found = _pair(matrix, chosen)
    row = matrix.row(start.marks[0])
    if not found.value or len(start.marks) > 1:
        raise Untestable(f"this weight is not among those that are kept. {ADVICE}")
    sizes = [abs(weight) for weight in row.weights.values()]
    first = 1 + sum(size > abs(found.value) for size in sizes)
    last = max(first, sum(size >= abs(found.value) for size in sizes))
    subject = f"the rank of the weight from {start.name} to {end.name}{matrix.where()}"
    return Measured(subject, first, first, last)


def _strongest(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the token that a token attends to most, or the one that attends most to it.

    Raises:
        WrongValue: the claim names neither `from` nor `to`, or both.
        Untestable: a weight that is not stored may be stronger.
    """
    matrix = _Matrix(block, options, entry, chosen)
    if (chosen.from_ is None) == (chosen.to is None):
        raise WrongValue("expect", "`strongest` names either `from` or `to`: what is looked for is the other one.")
    forth = chosen.from_ is not None
    fixed = matrix.named(
        "rows" if forth else "cols", (chosen.from_ if forth else chosen.to) or "", "from" if forth else "to"
    )

    def answer(number: int) -> Answer:
        values = _along(matrix, fixed, number) if forth else _across(matrix, fixed, number)
        if not values:
            raise Untestable(f"no weight of {fixed[0].name} is kept. {ADVICE}")
        most = max(values.values())
        best = [mark for mark, value in values.items() if value == most]
        return Answer(matrix.one(best[0]).name, lambda written: _means(matrix, forth, written, best), most)

    def others() -> Iterator[Other]:
        for number, distance in matrix.elsewhere():
            yield Other(matrix.where(number).strip(), answer(number), distance)

    name = fixed[0].name
    verb = f"what {name} attends to most" if forth else f"what attends most to {name}"
    return Measured(f"{verb}{matrix.where()}", answer(matrix.number), others=others)


def _means(matrix: _Matrix, forth: bool, written: str, best: Sequence[int]) -> bool:
    """Return whether a text of the author's names one of these marks."""
    found = matrix.named("cols" if forth else "rows", written, "is")
    return any(not set(each.marks).isdisjoint(best) for each in found)


def _along(matrix: _Matrix, fixed: Sequence[_Named], number: int) -> Mapping[int, float]:
    """Return the kept weights of the rows of a token, the largest of each column."""
    values: dict[int, float] = {}
    for each in fixed:
        for mark in each.marks:
            for column, weight in matrix.row(mark, number).weights.items():
                values[column] = max(weight, values.get(column, weight))
    return values


def _across(matrix: _Matrix, fixed: Sequence[_Named], number: int) -> Mapping[int, float]:
    """Return the kept weights to a token, by the token that attends.

    Raises:
        Untestable: a weight that is not kept may be larger.
    """
    ends = {mark for each in fixed for mark in each.marks}
    values: dict[int, float] = {}
    unknown = 0.0
    for mark in matrix.marks("rows"):
        row = matrix.row(mark, number)
        kept = [row.weights[end] for end in ends if end in row.weights]
        if kept:
            values[mark] = max(kept)
        if len(kept) < len(ends):
            unknown = max(unknown, row.rest)
    if unknown > max(values.values(), default=0.0):
        raise Untestable(f"weights that are not kept may be larger. {ADVICE}")
    return values


def _received(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the mean weight with which others attend to a token.

    Raises:
        Untestable: it is a word of several tokens.
    """
    matrix = _Matrix(block, options, entry, chosen)
    columns = matrix.marks("cols")

    def of(named: _Named, number: int) -> tuple[float, float]:
        values = matrix.text.received(number)
        value = sum(values[mark - columns[0]] for mark in named.marks)
        return value, (max(values) * value) ** 0.5 / 65535 + 1e-12

    found = matrix.named("cols", chosen.token or "", "token")
    best = max(found, key=lambda each: of(each, matrix.number)[0])
    value, off = of(best, matrix.number)

    def others() -> Iterator[Other]:
        for number, distance in matrix.elsewhere():
            yield Other(f"the same{matrix.where(number)}", of(best, number)[0], distance)

    return Measured(
        f"the mean attention that {best.name} receives{matrix.where()}", value, value - off, value + off, others=others
    )


def _kept(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the share of a token's attention that the stored weights hold."""
    matrix = _Matrix(block, options, entry, chosen)
    start = matrix.named("rows", chosen.from_ or "", "from")[0]
    value = matrix.row(start.marks[0]).kept
    half = 0.5 / SHARES
    subject = f"the share of {start.name}’s attention that is kept{matrix.where()}"
    return Measured(subject, value, max(0.0, value - half), min(1.0, value + half))


WHERE = ("layer", "head")
MEASURES: dict[str, Measure[Any]] = {
    "weight": Measure(
        "The weight with which the token `from` attends to the token `to`; with `method`, what `to` adds to the output "
        "`from`.",
        _weight,
        needs=("from", "to"),
        takes=WHERE,
    ),
    "rank": Measure(
        "The rank of this weight among all weights of the token `from`; 1 is the largest.",
        _rank,
        needs=("from", "to"),
        takes=WHERE,
    ),
    STRONGEST: Measure(
        "With `from`, the token that it attends to most; with `to`, the one that attends most to it.",
        _strongest,
        takes=("from", "to", *WHERE),
        answers=True,
    ),
    "received": Measure(
        "The mean weight with which the tokens that can see `token` attend to it, itself left out.",
        _received,
        needs=("token",),
        takes=WHERE,
    ),
    "kept": Measure(
        "The share of the attention of `from` that its stored weights hold.", _kept, needs=("from",), takes=WHERE
    ),
}
"""The measures of the text view."""
