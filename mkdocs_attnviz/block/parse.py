"""Fence text → `Block`.

Everything an author can get wrong inside a block is reported here, in one sentence that names the bad value and
what is allowed, with page and line. What leaves this file is frozen and valid; nothing later checks it again.
What cannot be known from the text alone (does the model exist, has it that layer?) is not judged here.

The body is YAML, since that is the one grammar that arrives unharmed through SuperFences, MyST and reStructuredText.
Only its plain part is read (`plain_yaml`), and every value as a text (`text_tree`): pydantic makes a number or a
boolean of it where a key wants one.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from mkdocs_attnviz.block.fields import (
    BESIDE,
    BY_MODEL,
    EITHER,
    Block,
    Options,
    fields_of,
    keys_of,
    part_of,
    wants_text,
)
from mkdocs_attnviz.block.problem import BlockError, WrongValue
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.block.text_tree import Path, TextTree
from mkdocs_attnviz.block.values import Part, expected

MAX_BODY = 100_000  # characters; a block is a few lines, anything like this is a mistake or an attack
NULL = ("", "~", "null")
"""The scalars that YAML reads as null, where no text is wanted."""
Fields = Mapping[str, FieldInfo]


def parse(source: Source, views: Mapping[str, type[Options]]) -> Block:
    """Return the block that `source` describes; `views` maps each view's name to its options.

    Raises:
        BlockError: whatever is wrong, for the author to read.
    """
    if source.problem is not None:
        raise BlockError(source.problem)
    tree = _tree(source)
    values: dict[str, Any] = tree.root
    view, its_options = _view(tree, views)
    allowed, own = fields_of(its_options), its_options.model_fields
    if tree.repeated is not None:
        raise _twice(tree, tree.repeated, allowed)
    for name in values:
        if name not in allowed:
            raise tree.wrong((name,), _unknown_key(name, view, allowed, views))
    for name in source.header:
        if not wants_text(allowed[name].annotation):
            _read_header(tree, name, allowed)
    _check_subject(tree, allowed, its_options.sources)
    lines = {".".join(map(str, place)): line for place, line in tree.lines.items() if place and line is not None}
    try:
        options = its_options(**{name: value for name, value in values.items() if name in own})
        common = {name: value for name, value in values.items() if name not in own}
        common |= {"caption": source.caption} if source.caption and "caption" in common else {}
        return Block(**common, options=options, lines=lines)
    except ValidationError as error:
        raise _sentence(error, tree, allowed) from None


def _tree(source: Source) -> TextTree:
    """Return body and header as one tree; what stands in the header has no line."""
    if len(source.body) > MAX_BODY:
        raise BlockError(f"The block has {len(source.body):,} characters; at most {MAX_BODY:,} are read.")
    tree = TextTree(source.body)
    tree.root = {} if tree.root is None else tree.root
    if not isinstance(tree.root, dict):
        kind = "a list" if isinstance(tree.root, list) else f"the text {_shown(tree.root)}"
        raise BlockError(f"A block is written as `key: value` lines; this one is {kind}.", tree.lines[()])
    for name, text in source.header.items():
        if name in tree.root:
            raise tree.wrong((name,), f"`{name}` stands both in the fence's header and in the block.")
        tree.root[name] = text or ""
    if not tree.root:
        raise BlockError("The block is empty; it needs at least `model: …` and `text: …`.")
    return tree


def _read_header(tree: TextTree, name: str, allowed: Fields) -> None:
    """Read the YAML of a value in the header, of a key that wants more than a text."""
    try:
        value = TextTree(tree.root[name])
    except BlockError as error:  # the line is none of the body
        raise BlockError(error.problem) from None
    if value.repeated is not None:
        raise _twice(tree, (name, *value.repeated), allowed)
    tree.root[name] = "" if value.root is None else value.root
    tree.lines |= {(name, *place): None for place in value.lines}


def _check_subject(tree: TextTree, allowed: Fields, sources: Sequence[str]) -> None:
    """Refuse what is empty, and hold the keys against each other: a model and a text, or what stands in their place:
    tensors, or one of the view's `sources`."""
    values = tree.root
    for name, value in values.items():
        if _is_null(value, allowed[name]) or (isinstance(value, str) and not value.strip()):
            raise tree.wrong((name,), f"`{name}` is empty; it must be {expected(allowed[name])}.")
    for source in sources:
        if source in values:
            for name in (*BY_MODEL, "tensors"):
                if name in values:
                    message = f"`{source}` stands in place of a model, so `{name}` does not belong in the block."
                    raise tree.wrong((name,), message)
            return
    if "tensors" in values:
        for name in BY_MODEL:
            if name in values:
                message = f"`tensors` brings tokens and weights of its own, so `{name}` does not belong in the block."
                raise tree.wrong((name,), message)
        return
    for name, others in EITHER.items():
        for other in others:
            if name in values and other in values:
                raise tree.wrong((other,), f"`{name}` and `{other}` are both in the block; keep one of them.")
    for name, other in BESIDE.items():
        if name in values and other not in values:
            raise tree.wrong((name,), f"`{name}` is in the block, and no `{other}` that it could be about.")
    for name in ("model", "text"):
        if name not in values and not (name == "text" and ("chat" in values or "corpus" in values)):
            instead = "".join(f", or `{source}` in its place" for source in sources if name == "model")
            raise tree.wrong((name,), f"The block has no `{name}`; it must be {expected(allowed[name])}{instead}.")


def _view(tree: TextTree, views: Mapping[str, type[Options]]) -> tuple[str, type[Options]]:
    view = tree.root.get("view", Block.model_fields["view"].default)
    if isinstance(view, str) and view in views:
        try:
            return view, views[view]
        except BlockError as error:
            raise BlockError(error.problem, tree.lines.get(("view",))) from None
    near = _nearest(view, views) if isinstance(view, str) else ""
    shown = _shown(view) if isinstance(view, str) else "no single word"
    raise tree.wrong(("view",), f"`view` is {shown}; the views are {', '.join(views)}{near}.")


def _unknown_key(name: str, view: str, allowed: Fields, views: Mapping[str, type[Options]]) -> str:
    elsewhere = [other for other, options in views.items() if name in options.model_fields]
    if elsewhere:
        return f"`{name}` is a key of view {', '.join(elsewhere)}, not of view {view}."
    near = _nearest(name, allowed)
    keys = "" if near else f"; the keys are {', '.join(sorted(allowed))}"
    return f"`{_short(name)}` is not a key of the block{near}{keys}."


def _twice(tree: TextTree, place: Path, allowed: Fields) -> BlockError:
    """Return the error of a key that stands twice in the block, or in a part of it."""
    info = allowed.get(str(place[0]))
    part = None if info is None else part_of(info.annotation)
    where = "the block" if len(place) == 1 else f"`{place[0]}`" if part is None else _called(part)
    return tree.wrong(place, f"`{_short(str(place[-1]))}` stands twice in {where}.")


def _called(part: type[Part]) -> str:
    """Return what a part is called in a sentence: `Generate` → "`generate`", `Message` → "a message"."""
    if part.called:
        return part.called
    name = part.__name__.lower()
    return f"`{name}`" if name in Block.model_fields else f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _sentence(error: ValidationError, tree: TextTree, allowed: Fields) -> BlockError:
    """Return what an author is told of the first mistake; a key that there is not comes before one that is missing."""
    detail = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place, own = detail["loc"], own_error(detail)
    if not place:  # a rule about several keys at once: the view has written the sentence itself
        return tree.wrong((own.key if isinstance(own, WrongValue) else "",), str(own or detail["msg"]))
    if own is not None:  # several keys of a part
        return tree.wrong(place, str(own))
    called, info, known = str(place[0]), allowed[str(place[0])], 1
    for number, step in enumerate(place[1:], 2):
        part = part_of(info.annotation)
        if part is not None and step in keys_of(part):
            called, info, known = f"{called}.{step}", keys_of(part)[str(step)], number
    if detail["type"] == "extra_forbidden" and part is not None:
        near = _nearest(str(place[-1]), keys_of(part)) or f"; there are {', '.join(keys_of(part))}"
        return tree.wrong(place, f"`{_short(str(place[-1]))}` is not a key of {_called(part)}{near}.")
    if detail["type"] == "missing" and known == len(place):
        whole = "The block" if len(place) == 1 else f"`{place[0]}`"
        return tree.wrong(place, f"{whole} has no `{place[-1]}`; it must be {expected(info)}.")
    value = reduce(getitem, place[:known], tree.root)
    shown = "empty" if _is_null(value, info) else _shown(value)
    return tree.wrong(place, f"`{called}` is {shown}; it must be {expected(info)}.")


def own_error(detail: Any) -> ValueError | None:
    """Return what one of our own validators raised, or None where the fault is one that pydantic knows by itself."""
    found = detail.get("ctx", {}).get("error")
    return found if isinstance(found, ValueError) else None


def _is_null(value: object, info: FieldInfo) -> bool:
    return value in NULL and not wants_text(info.annotation)


def _nearest(word: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _shown(value: object) -> str:
    """Return a value as the author would recognise it."""
    plain = _plain(value)
    return _short(repr(plain) if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    """Return a tree of texts with numbers and booleans for those that look like one."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return json.loads(value) if re.fullmatch(r"true|false|-?(0|[1-9][0-9]{0,99})(\.[0-9]+)?", value) else value
