"""The state of a figure, as written in links and in the block key `state`: `layer=2&heads=8&selected=left,1`.

A reader's link to a figure is `#id~state`; "Copy link" in the figure makes one. A block's `state` opens the figure as
such a link would. Both are checked while the site is built, against the figure's own entry.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.parse import own_error
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.attention.options import offered
from mkdocs_attnviz.views.drawing import Drawing

Check = Callable[[str, str, Drawing, Entry], None]
EXCLUDES = {"heads": "head", "head": "heads", "min_weight": "mass", "mass": "min_weight"}
"""The pairs of keys that exclude each other."""
ZOOMS = ("fit", "cells")
ORDERS = ("layer", "pattern")


def check(text: str, block: Block, entry: Entry) -> None:
    """Check that the figure can have this state.

    Raises:
        BlockError: if a part of the state is not possible. It names the part and the possible values.
    """
    state = _read(text, block)
    options: dict[str, Any] = {name: value for name, value in state.items() if name in type(block.options).model_fields}
    if "open" in state:
        layer, head = _numbers("open", state["open"], 2)
        options |= {"layer": layer, "head": head}
    drawing = _drawn(block, entry, options)
    for name, value in state.items():
        if name not in options and name != "open" and value != "null":
            CHECKS.get(name, _check_position)(name, value, drawing, entry)


def check_key(block: Block, entry: Entry) -> None:
    """Check the `state` of a block. Parts that are also keys of the block are errors: the static picture would show
    another state.

    Raises:
        BlockError: if a part of the state is not possible. It names the part and the possible values.
    """
    text = block.state or ""
    for name in _read(text, block):
        key = {"open": "head"}.get(name, name)
        if key in type(block.options).model_fields:
            raise _wrong(block, f"`state` has `{name}`, which is a key of the block itself: write `{key}: …`.")
    try:
        check(text, block, entry)
    except BlockError as error:
        raise _wrong(block, error.message) from None


def _read(text: str, block: Block) -> dict[str, str]:
    """Return the parts of a state, by name."""
    names = VIEWS[block.view].state
    if names is not None and block.interventions:
        names += ("before",)
    state = {}
    for part in filter(None, text.split("&")):
        name, _, value = part.partition("=")
        if names is not None and name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f" (did you mean `{near[0]}`?)" if near else ""
            raise _wrong(block, f"`{name}` is no part of the {block.view} view's state{hint}: {', '.join(names)}.")
        state[name] = unquote(value)
    return state


def _drawn(block: Block, entry: Entry, options: Mapping[str, Any]) -> Drawing:
    """Return the figure with these options in place of the block's own."""
    values = block.options.model_dump(mode="json", exclude_unset=True)
    for name, value in options.items():
        values.pop(EXCLUDES.get(name, ""), None)
        values[name] = _value(value) if isinstance(value, str) else value
    if isinstance(values.get("heads"), int):
        values["heads"] = [values["heads"]]
    try:
        changed = type(block.options).model_validate(
            {name: setting for name, setting in values.items() if setting is not None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        problem = str(own_error(first) or first["msg"])
        message = problem if not name else f"`{name}` is {values[name]!r}: {problem[:1].lower()}{problem[1:]}."
        raise _wrong(block, message) from None
    lines = dict.fromkeys([*block.lines, *values], block.lines.get("state"))
    return VIEWS[block.view].drawing(block.model_copy(update={"options": changed, "lines": lines}), entry)


def _value(text: str) -> Any:
    """Return a part's value, parsed like `decodeState` in the front end."""
    if "," in text:
        return [_value(part) for part in text.split(",")]
    if text == "null":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _wrong(block: Block, message: str) -> BlockError:
    """Return an error in the key `state`."""
    return block.wrong("state", message)


def _numbers(name: str, text: str, count: int) -> list[int]:
    """Return the `count` numbers in a part of the state.

    Raises:
        BlockError: if the text is not this many numbers.
    """
    parts = text.split(",")
    if len(parts) != count or not all(part.isdecimal() for part in parts):
        raise BlockError(f"`{name}` is {text!r}; it must be {count} numbers, counted from 0, with a comma between.")
    return [int(part) for part in parts]


def _sides(drawing: Drawing) -> tuple[int, int]:
    """Return the numbers of tokens on the left and on the right of a figure of attention."""
    stack = drawing.data["stacks"][drawing.data["options"]["stack"]]
    left, right = (len(drawing.data["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
    return left, right


def _below(name: str, number: int, count: int) -> None:
    """Raise an error if there is no token of this number."""
    if number >= count:
        raise BlockError(f"`{name}` names token {number}; the tokens are 0 to {count - 1}.")


def _check_selected(name: str, text: str, drawing: Drawing, entry: Entry) -> None:
    """Raise an error if the selected tokens do not exist."""
    if "stacks" not in drawing.data:
        _check_position(name, text, drawing, entry)
        return
    side, _, indices = text.partition(",")
    if side not in ("left", "right") or not all(part.isdecimal() for part in indices.split(",")):
        raise BlockError(f"`{name}` is {text!r}; it must be left or right, and tokens counted from 0, like left,2.")
    for index in indices.split(","):
        _below(name, int(index), _sides(drawing)[side == "right"])


def _check_beside(name: str, text: str, drawing: Drawing, _: Entry) -> None:
    """Raise an error if there is no such head to show beside the first one."""
    layer, head = _numbers(name, text, 2)
    options = drawing.data["options"]
    if options["across_layers"] == "rollout":
        raise BlockError(f"`{name}` names a head, but a rollout combines all heads.")
    layers = {
        entry_layer["layer"]: entry_layer["heads"] for entry_layer in drawing.data["stacks"][options["stack"]]["layers"]
    }
    if layer not in layers:
        raise BlockError(f"`{name}` names layer {layer}; the layers are {', '.join(map(str, layers))}.")
    heads = offered(layers[layer], options["include_heads"])
    if head not in heads:
        raise BlockError(f"`{name}` names head {head} of layer {layer}; the heads are {', '.join(map(str, heads))}.")


def _check_cell(name: str, text: str, drawing: Drawing, _: Entry) -> None:
    """Raise an error if there is no such cell."""
    for number, count in zip(_numbers(name, text, 2), _sides(drawing), strict=True):
        _below(name, number, count)


def _one_of(allowed: Sequence[str]) -> Check:
    """Return a check that accepts only the allowed values."""

    def check(name: str, text: str, _: Drawing, __: Entry) -> None:
        if text not in allowed:
            raise BlockError(f"`{name}` is {text!r}; it must be {' or '.join(allowed)}.")

    return check


def _check_before(name: str, text: str, _: Drawing, __: Entry) -> None:
    """Raise an error if the value is neither true nor false."""
    if text not in ("true", "false"):
        raise BlockError(f"`{name}` is {text!r}; it must be true or false.")


def _check_number(name: str, text: str, _: Drawing, __: Entry) -> None:
    """Raise an error if the value is not a number."""
    if not text.isdecimal():
        raise BlockError(f"`{name}` is {text!r}; it must be a number, counted from 0.")


def _check_position(name: str, text: str, drawing: Drawing, entry: Entry) -> None:
    """Raise an error if there is no token at this position."""
    _check_number(name, text, drawing, entry)
    sequences = entry.meta.get("sequences") or {}
    count = sum(len(sequence["tokens"]) for sequence in sequences.values())
    if count:
        _below(name, int(text), count + 1)  # one more: the next token


CHECKS: Mapping[str, Check] = {
    "selected": _check_selected,
    "beside": _check_beside,
    "cell": _check_cell,
    "zoom": _one_of(ZOOMS),
    "order": _one_of(ORDERS),
    "before": _check_before,
    **dict.fromkeys(("neuron", "factor", "watched", "row", "col"), _check_number),
}
"""The check for each part of a state; all other parts are positions."""
