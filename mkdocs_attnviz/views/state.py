"""The state of a figure, as written in links and in the block key `state`: `layer=2&heads=8&selected=left,1`.

A reader's link to a figure is `#id~state`; "Copy link" in the figure makes one. A block's `state` opens the figure as
such a link would. Both are checked while the site is built, against the figure's own entry.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.parse import own_error
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.state_checks import numbers, one_of

EXCLUDES = {"heads": "head", "head": "heads", "min_weight": "mass", "mass": "min_weight"}
"""The pairs of keys that exclude each other."""


def check(text: str, block: Block, entry: Entry) -> None:
    """Check that the figure can have this state.

    Raises:
        BlockError: if a part of the state is not possible. It names the part and the possible values.
    """
    state = _read(text, block)
    options: dict[str, Any] = {name: value for name, value in state.items() if name in type(block.options).model_fields}
    if "open" in state:
        layer, head = numbers("open", state["open"], 2)
        options |= {"layer": layer, "head": head}
    drawing = _drawn(block, entry, options)
    checks = {"before": one_of("true", "false"), **VIEWS[block.view].checks}
    for name, value in state.items():
        if name in checks and name not in options and value != "null":
            checks[name](name, value, drawing, entry)


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
