"""The measures of the lens view: what each layer predicts at each position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from mkdocs_attnviz.block.claims import EMBEDDINGS, Selectors
from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other
from mkdocs_attnviz.views.measures.predictions import LAST, Number, found_token, measured
from mkdocs_attnviz.views.measures.rounding import around
from mkdocs_attnviz.views.svg.token_flow import json_of
from mkdocs_attnviz.views.token_places import same_text, token
from mkdocs_attnviz.views.visible_tokens import called

NAMES = {"entropy": "entropy", "kl": "KL divergence"}


class Cells:
    """The predictions of an entry of the logit lens, by row (the embeddings, then the layers) and position."""

    def __init__(self, block: Block, entry: Entry, chosen: Selectors) -> None:
        """Find the row and the position that a claim is about.

        Raises:
            WrongValue: the model has no such layer.
            Untestable: the text has no such position.
        """
        self.lists: dict[str, Any] = json_of(entry.blobs["lens"])
        self.watch: Sequence[str] = entry.meta["watch"]
        sequences: Mapping[str, Any] = entry.meta["sequences"]
        self.sequence = sequences.get("target", sequences["text"])
        self.masked = entry.meta["task"] == "masked"
        self.rows, self.positions = len(self.lists["top"]), len(self.lists["top"][0])
        if chosen.layer is None or chosen.layer == EMBEDDINGS:
            self.row = self.rows - 1 if chosen.layer is None else 0
        else:
            self.row = int(chosen.layer) + 1
        if self.row >= self.rows:
            known = f"embeddings and layers 0 to {self.rows - 2}"
            raise WrongValue("expect", f"`layer` is {chosen.layer}; {block.subject} has {known}.")
        self.position = self._position(chosen.position or LAST)

    def _position(self, written: str) -> int:
        if written == LAST:
            return self.positions - 1
        return token(self.sequence, written, "position")[0]

    def likely(self, row: int, position: int) -> list[tuple[str, float]]:
        """Return the likeliest tokens of a cell, with their probabilities."""
        names = [self.lists["vocabulary"][number] for number in self.lists["top"][row][position]]
        return list(zip(names, self.lists["probabilities"][row][position], strict=True))

    def of(self, written: str, row: int, position: int) -> tuple[str, float, int] | None:
        """Return name, probability and rank of an author's token in a cell; None if they are not stored."""
        known = [(name, *pair) for name, pair in zip(self.watch, self.lists["watched"][row][position], strict=True)]
        actual = self.lists["actual"][row][position]
        following = self._following(position)
        if actual is not None and following is not None:
            known.append((following, *actual))
        return found_token(written, self.likely(row, position), *known)

    def _following(self, position: int) -> str | None:
        """Return the token that the model should predict at a position; None if it is not known."""
        pretty = self.sequence["pretty"]
        if self.masked:
            return str(pretty[position])
        if "next" in self.sequence:
            return str(self.sequence["next"][position])
        return str(pretty[position + 1]) if position + 1 < len(pretty) else None

    def where(self, row: int, position: int) -> str:
        """Return a cell in words, as the end of a phrase."""
        return f" at {position} in {layer_name(row)}"


def layer_name(row: int) -> str:
    """Return the name of a row; row 0 is the input of the first layer."""
    return "the embeddings" if row == 0 else f"layer {row - 1}"


def _number(block: Block, _: Options, entry: Entry, chosen: Selectors, number: Number) -> Measured:
    """Return how likely a layer holds a token, or its rank."""
    cells, written = Cells(block, entry, chosen), chosen.token or ""
    row, position = cells.row, cells.position
    found, likely = cells.of(written, row, position), cells.likely(row, position)

    def others() -> Iterator[tuple[str, tuple[str, float, int], int]]:
        for other in range(cells.rows):
            there = cells.of(written, other, position) if other != row else None
            if there is not None:
                yield f"“{called(there[0])}”{cells.where(other, position)}", there, abs(other - row)
        for rank, (name, probability) in enumerate(likely, 1):
            if found is None or name != found[0]:
                yield f"“{called(name)}”{cells.where(row, position)}", (name, probability, rank), cells.rows

    return measured(number, written, cells.where(row, position), found, likely, others)


def _other_number(block: Block, _: Options, entry: Entry, chosen: Selectors, name: str) -> Measured:
    """Return the entropy of a cell, or its KL divergence from the model's own prediction."""
    cells = Cells(block, entry, chosen)
    values = cells.lists[name]

    def others() -> Iterator[Other]:
        for other in range(cells.rows):
            if other != cells.row:
                yield Other(layer_name(other), values[other][cells.position], abs(other - cells.row))

    value = values[cells.row][cells.position]
    subject = f"the {NAMES[name]}{cells.where(cells.row, cells.position)}"
    return Measured(subject, value, *around(value), others=others)


def _strongest(block: Block, _: Options, entry: Entry, chosen: Selectors) -> Measured:
    """Return the token that a layer holds likeliest."""
    cells = Cells(block, entry, chosen)

    def answer(row: int) -> Answer:
        name, probability = cells.likely(row, cells.position)[0]
        return Answer(f"“{called(name)}”", lambda written: same_text(written, name), probability)

    def others() -> Iterator[Other]:
        for other in range(cells.rows):
            if other != cells.row:
                yield Other(f"in {layer_name(other)}", answer(other), abs(other - cells.row))

    subject = f"the likeliest token{cells.where(cells.row, cells.position)}"
    return Measured(subject, answer(cells.row), others=others)


CELL = ("layer", "position")
MEASURES: dict[str, Measure[Any]] = {
    "probability": Measure(
        "The probability of `token` in the cell of `layer` (default: the last) and `position` (default: the last).",
        partial(_number, number="probability"),
        needs=("token",),
        takes=CELL,
    ),
    "rank": Measure(
        "The rank of `token` in this cell; 1 is the likeliest.",
        partial(_number, number="rank"),
        needs=("token",),
        takes=CELL,
    ),
    "entropy": Measure("The entropy of a cell, in nats.", partial(_other_number, name="entropy"), takes=CELL),
    "kl": Measure(
        "The KL divergence of a cell from the model's own prediction, in nats.",
        partial(_other_number, name="kl"),
        takes=CELL,
    ),
    STRONGEST: Measure("The likeliest token of a cell.", _strongest, takes=CELL, answers=True),
}
"""The measures of the lens view."""
