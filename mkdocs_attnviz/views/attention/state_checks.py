"""Checks of a state's parts that views of attention share: tokens of two sides, a cell, a head beside another."""

from __future__ import annotations

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import offered
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.state_checks import below, numbers


def _sides(drawing: Drawing) -> tuple[int, int]:
    """Return the numbers of tokens on the left and on the right of a figure."""
    stack = drawing.data["stacks"][drawing.data["options"]["stack"]]
    left, right = (len(drawing.data["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
    return left, right


def selected(name: str, text: str, drawing: Drawing, _: Entry) -> None:
    """Raise BlockError if a part does not name tokens of one side."""
    side, _side, indices = text.partition(",")
    if side not in ("left", "right") or not all(part.isdecimal() for part in indices.split(",")):
        raise BlockError(f"`{name}` is {text!r}; it must be left or right, and tokens counted from 0, like left,2.")
    for index in indices.split(","):
        below(name, int(index), _sides(drawing)[side == "right"])


def beside(name: str, text: str, drawing: Drawing, _: Entry) -> None:
    """Raise BlockError if a part does not name a head that readers can choose."""
    layer, head = numbers(name, text, 2)
    options = drawing.data["options"]
    if options["across_layers"] == "rollout":
        raise BlockError(f"`{name}` names a head, and a rollout is of none.")
    layers = {each["layer"]: each["heads"] for each in drawing.data["stacks"][options["stack"]]["layers"]}
    if layer not in layers:
        raise BlockError(f"`{name}` names layer {layer}; the layers are {', '.join(map(str, layers))}.")
    heads = offered(layers[layer], options["include_heads"])
    if head not in heads:
        raise BlockError(f"`{name}` names head {head} of layer {layer}; the heads are {', '.join(map(str, heads))}.")


def cell(name: str, text: str, drawing: Drawing, _: Entry) -> None:
    """Raise BlockError if a part does not name a row and a column."""
    for index, count in zip(numbers(name, text, 2), _sides(drawing), strict=True):
        below(name, index, count)
