"""The measures of the similarity view: how alike two layers are, and which layer is most like another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mkdocs_attnviz.block.claims import EMBEDDINGS, Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other
from mkdocs_attnviz.views.measures.lens import layer_name
from mkdocs_attnviz.views.measures.rounding import in_row

NAMES = ("cka", "cca", "svcca", "pwcca")


class Table:
    """The similarities of one stack by one measure: rows and columns are the embeddings, then the layers."""

    def __init__(self, block: Block, options: Any, entry: Entry, chosen: Selectors, name: str | None) -> None:
        """Find the stack and the measure.

        Raises:
            WrongValue: the model has no such stack, or there is no such measure.
        """
        self.name = name or chosen.measure or options.measure
        if self.name not in NAMES:
            raise WrongValue("expect", f"`measure` is {self.name!r}; it must be {', '.join(NAMES)}.")
        stacks = entry.meta["similar"]
        stack = chosen.stack or options.stack or next(name for name in ("self", "encoder", "decoder") if name in stacks)
        if stack not in stacks:
            raise WrongValue("expect", f"`stack` is {stack}; {block.subject} has {', '.join(stacks)}.")
        self.values = scaled(entry.blobs[f"{stack}/{self.name}"], stacks[stack]["layers"])
        self.names = (block.model, options.other) if options.other is not None else ("", "")

    def index(self, layer: Any, key: str) -> int:
        """Return the row or the column of a layer.

        Raises:
            WrongValue: there is no such layer.
        """
        count = len(self.values) if key == "layer" else len(self.values[0])
        index = 0 if layer == EMBEDDINGS else int(layer) + 1
        if index >= count:
            raise WrongValue("expect", f"`{key}` is {layer}; there are embeddings and layers 0 to {count - 2}.")
        return index

    def called(self, index: int, side: int) -> str:
        """Return a layer in words, with its model if there are two."""
        model = self.names[side]
        return f"{layer_name(index)}{model and f' of {model}'}"


def _similarity(block: Block, options: Any, entry: Entry, chosen: Selectors, name: str | None = None) -> Measured:
    """Return how alike two layers are."""
    table = Table(block, options, entry, chosen, name)
    row, col = table.index(chosen.layer, "layer"), table.index(chosen.other_layer, "other_layer")

    def others() -> Iterator[Other]:
        for other, value in enumerate(table.values[row]):
            if other not in (row, col) or (table.names[0] and other != col):
                yield Other(f"{table.called(row, 0)} with {table.called(other, 1)}", value, abs(other - col))

    value = table.values[row][col]
    subject = f"the {table.name.upper()} of {table.called(row, 0)} and {table.called(col, 1)}"
    return Measured(subject, value, *in_row(value, table.values[row]), others=others)


def _strongest(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the layer that is most like another; a layer of one model is not compared with itself."""
    table = Table(block, options, entry, chosen, None)
    row = table.index(chosen.layer, "layer")

    def answer(row: int) -> Answer:
        values = [-1.0 if col == row and not table.names[0] else value for col, value in enumerate(table.values[row])]
        best = max(range(len(values)), key=values.__getitem__)
        named = EMBEDDINGS if best == 0 else str(best - 1)
        return Answer(table.called(best, 1), lambda written: written == named, values[best])

    def others() -> Iterator[Other]:
        for other in range(len(table.values)):
            if other != row:
                yield Other(f"for {table.called(other, 0)}", answer(other), abs(other - row))

    subject = f"the layer that is most like {table.called(row, 0)} by {table.name.upper()}"
    return Measured(subject, answer(row), others=others)


PAIR = ("layer", "other_layer")
MEASURES: dict[str, Measure[Any]] = {
    "similarity": Measure(
        "How alike `layer` and `other_layer` are, by the measure that is shown at first. Of two models, `layer` is one "
        "of `model` and `other_layer` one of `other`.",
        _similarity,
        needs=PAIR,
        takes=("stack",),
    ),
    STRONGEST: Measure(
        "The layer that is most like `layer`.", _strongest, needs=("layer",), takes=("stack", "measure"), answers=True
    ),
    **{
        name: Measure(f"The same by {name.upper()}.", partial(_similarity, name=name), needs=PAIR, takes=("stack",))
        for name in NAMES
    },
}
"""The measures of the similarity view."""
