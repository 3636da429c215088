"""The measures of the mask view: whether a pair of tokens is allowed, how many tokens one may see, and the window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.mask_groups import MaskStack, chosen_stack, read_stacks
from mkdocs_attnviz.views.attention.options import numbered
from mkdocs_attnviz.views.measure import Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.token_places import token

YES = ("true", "yes")
NO = ("false", "no")


class _Layer:
    """The stack and the layer that a claim is about."""

    def __init__(self, block: Block, options: Any, entry: Entry, chosen: Selectors) -> None:
        """Find stack and layer.

        Raises:
            WrongValue: the model has no such stack or layer.
        """
        stacks = read_stacks(block, options.include_layers, entry)
        name = chosen.stack or chosen_stack(block, options.stack, stacks)
        if name not in stacks:
            raise WrongValue("expect", f"`stack` is {name}; {block.subject} has {', '.join(stacks)}.")
        self.stack: MaskStack = stacks[name]
        same = chosen.stack is None or chosen.stack == (options.stack or next(iter(stacks)))
        first = options.layer if same and options.layer is not None else next(iter(self.stack.layers))
        layer = first if chosen.layer is None else chosen.layer
        if layer not in self.stack.layers:
            known = numbered("layer", list(self.stack.layers))
            raise WrongValue("expect", f"`layer` is {layer}; {block.subject} has {known}.")
        self.layer = int(layer)
        self.rows, self.cols = (entry.meta["sequences"][side] for side in (self.stack.rows, self.stack.cols))

    def others(self, value: Any) -> Iterator[Other]:
        """Yield the value of each other layer."""
        for layer in self.stack.layers:
            if layer != self.layer and (found := value(layer)) is not None:
                yield Other(f"layer {layer}", found, abs(layer - self.layer))


def _yes(allowed: bool) -> Answer:
    """Return the answer to a question of yes or no."""

    def is_named(text: str) -> bool:
        if text.lower() not in (*YES, *NO):
            raise Untestable(f"`is` is {text!r:.40}; it must be true or false.")
        return (text.lower() in YES) == allowed

    return Answer("true" if allowed else "false", is_named)


def _allowed(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return whether a token may attend to another."""
    it = _Layer(block, options, entry, chosen)
    row, one = token(it.rows, chosen.from_ or "", "from")
    col, other = token(it.cols, chosen.to or "", "to")

    def answer(layer: int) -> Answer:
        return _yes(it.stack.masks[it.stack.number(layer)].allows(row, col))

    def others() -> Iterator[Other]:
        for found in it.others(answer):
            yield Other(f"in {found.where}", found.value, found.distance)

    return Measured(f"that {one} may attend to {other} in layer {it.layer}", answer(it.layer), others=others)


def _allowed_count(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return how many tokens a token may attend to, or how many pairs a layer allows."""
    it = _Layer(block, options, entry, chosen)
    row, name = token(it.rows, chosen.from_, "from") if chosen.from_ is not None else (None, "")

    def count(layer: int) -> float:
        mask = it.stack.masks[it.stack.number(layer)]
        return float(mask.pairs if row is None else mask.counts[row])

    what = "pairs of tokens that are allowed" if row is None else f"tokens that {name} may attend to"
    subject = f"the number of {what} in layer {it.layer}"
    return Measured(subject, count(it.layer), others=lambda: it.others(count))


def _window(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the number of tokens of a layer's window.

    Raises:
        Untestable: its mask has no window.
    """
    it = _Layer(block, options, entry, chosen)
    kind = it.stack.kinds[it.stack.number(it.layer)]
    if kind.window is None:
        raise Untestable(f"The mask of layer {it.layer} has no window; it is {kind.words}.")

    def size(layer: int) -> float | None:
        return it.stack.kinds[it.stack.number(layer)].window

    return Measured(f"the window of layer {it.layer}", float(kind.window), others=lambda: it.others(size))


MEASURES: dict[str, Measure[Any]] = {
    "allowed": Measure(
        "Whether the token `from` may attend to the token `to`: `is: true` or `is: false`.",
        _allowed,
        needs=("from", "to"),
        takes=("stack", "layer"),
        answers=True,
    ),
    "allowed_count": Measure(
        "How many tokens `from` may attend to; without `from`, how many pairs of tokens the layer allows.",
        _allowed_count,
        takes=("from", "stack", "layer"),
    ),
    "window": Measure(
        "The number of tokens of the layer's sliding window, chunk, block or prefix, the token itself included.",
        _window,
        takes=("stack", "layer"),
    ),
}
"""The measures of the mask view."""
