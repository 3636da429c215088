"""Fence text → `Block`.

Everything an author can get wrong inside a block is reported here, in one sentence that names the bad value and
what is allowed, with page and line. What leaves this file is frozen and valid; nothing later checks it again.
What cannot be known from the text alone (does the model exist, has it that layer?) is not judged here.

The body is YAML, since that is the one grammar that arrives unharmed through SuperFences, MyST and reStructuredText.
Only its plain part is read: no anchors, aliases or tags, so that no text can expand, run or recurse.
"""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from mkdocs_attnviz.block.fields import BY_MODEL, EITHER, Block, Options, fields_of
from mkdocs_attnviz.block.plain_yaml import LIBYAML, _refuse_expansion
from mkdocs_attnviz.block.problem import BlockError, Problem, WrongValue
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.block.values import Part

MAX_BODY = 100_000  # characters; a block is a few lines, anything like this is a mistake or an attack


def parse(source: Source, views: Mapping[str, type[Options]]) -> Block:
    """The block that `source` describes; `views` maps each view's name to its options.

    Raises:
        BlockError: whatever is wrong, for the author to read.
    """
    if source.problem is not None:
        raise BlockError(source.problem)
    nodes = _entries(source)
    view = _view(nodes, views)
    allowed = fields_of(views[view])
    for name, node in nodes.items():
        if name not in allowed:
            raise BlockError(_unknown_key(name, view, allowed, views), _line(node), name)
    values = {name: _value(node, allowed[name].annotation) for name, node in nodes.items()}
    for name, value in values.items():
        if value is None or (isinstance(value, str) and not value.strip()):
            raise BlockError(f"`{name}` is empty; it must be {_expects(allowed[name])}.", _line(nodes[name]), name)
    _check_subject(nodes, allowed)
    lines = {name: line for name, node in nodes.items() if (line := _line(node)) is not None}
    own = set(views[view].model_fields)
    try:
        options = views[view](**{name: value for name, value in values.items() if name in own})
        common = {name: value for name, value in values.items() if name not in own}
        common |= {"caption": source.caption} if source.caption and "caption" in common else {}
        return Block(**common, options=options, lines=lines)
    except ValidationError as error:
        raise _sentence(error, values, nodes, allowed) from None


def _check_subject(nodes: Mapping[str, yaml.Node], allowed: Mapping[str, FieldInfo]) -> None:
    """A model and a text, or tensors in their place."""
    if "tensors" in nodes:
        for name in BY_MODEL:
            if name in nodes:
                message = f"`tensors` brings tokens and weights of its own, so `{name}` does not belong in the block."
                raise BlockError(message, _line(nodes[name]), name)
        return
    for name, others in EITHER.items():
        for other in others:
            if name in nodes and other in nodes:
                raise BlockError(
                    f"`{name}` and `{other}` are both in the block; keep one of them.", _line(nodes[other]), other
                )
    for name in ("model", "text"):
        if name not in nodes and not (name == "text" and "chat" in nodes):
            raise BlockError(f"The block has no `{name}`; it must be {_expects(allowed[name])}.", key=name)


def _entries(source: Source) -> dict[str, yaml.Node]:
    """Body and header as one mapping from key to YAML node."""
    if len(source.body) > MAX_BODY:
        raise BlockError(f"The block has {len(source.body):,} characters; at most {MAX_BODY:,} are read.")
    entries: dict[str, yaml.Node] = {}
    for name, node in _body(source.body):
        if name in entries:
            raise BlockError(f"`{name}` stands twice in the block.", _line(node), name)
        entries[name] = node
    for name, text in source.header.items():
        if name in entries:
            raise BlockError(
                f"`{name}` stands both in the fence's header and in the block.", _line(entries[name]), name
            )
        entries[name] = yaml.ScalarNode(HEADER, text or "")
    if not entries:
        raise BlockError("The block is empty; it needs at least `model: …` and `text: …`.")
    return entries


HEADER = "attnviz:header"
"""Tag of a value in the fence's header: a text, until it is known that something else is wanted. It has no line."""


def _body(body: str) -> Iterator[tuple[str, yaml.Node]]:
    root = _compose(body)
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else f"the text {_shown(root.value)}"
        raise BlockError(f"A block is written as `key: value` lines; this one is {kind}.", _line(root))
    for name, node in root.value:
        if not isinstance(name, yaml.ScalarNode):
            raise BlockError("A key of the block must be a plain word.", _line(name))
        yield name.value, node


def _compose(text: str) -> yaml.Node | None:
    with suppress(yaml.YAMLError, ValueError):  # which the other parser tells in better words
        return _composed(text, LIBYAML)
    try:
        return _composed(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        hint = "; put a text that holds a colon in quotes" if "mapping values" in (error.problem or "") else ""
        line = error.problem_mark.line if error.problem_mark else None
        raise BlockError(f"The block is not valid YAML: {error.problem}{hint}.", line) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise BlockError(
            f"The block holds the character U+{error.character:04X}, which YAML does not allow; write it as "
            'an escape inside double quotes ("\\0").',
            line,
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise BlockError(f"The block is not valid YAML: {error}.") from None


def _composed(text: str, loader: Any) -> yaml.Node | None:
    _refuse_expansion(text, loader)
    node: yaml.Node | None = yaml.compose(text, Loader=loader)
    return node


def _view(nodes: Mapping[str, yaml.Node], views: Mapping[str, type[Options]]) -> str:
    node = nodes.get("view")
    view = Block.model_fields["view"].default if node is None else node.value
    if isinstance(view, str) and view in views:
        return view
    near = _nearest(view, views) if isinstance(view, str) else ""
    shown = _shown(view) if isinstance(view, str) else "no single word"
    raise BlockError(f"`view` is {shown}; the views are {', '.join(views)}{near}.", _line(node), "view")


def _unknown_key(name: str, view: str, allowed: Mapping[str, object], views: Mapping[str, type[Options]]) -> str:
    elsewhere = [other for other, options in views.items() if name in options.model_fields]
    if elsewhere:
        return f"`{name}` is a key of view {', '.join(elsewhere)}, not of view {view}."
    near = _nearest(name, allowed)
    keys = "" if near else f"; the keys are {', '.join(sorted(allowed))}"
    return f"`{_short(name)}` is not a key of the block{near}{keys}."


def _value(node: yaml.Node, annotation: Any) -> object:
    """What a node says. Where a text is wanted a scalar is that text as written: `text: No` is no boolean."""
    kinds = list(_kinds(annotation))
    items = [get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple]
    if isinstance(node, yaml.ScalarNode) and any(map(_is_text, [*kinds, *items])):
        try:  # JSON writes an emoji as an escaped surrogate pair, and PyYAML leaves it in two halves
            return str(node.value.encode("utf-16", "surrogatepass").decode("utf-16"))
        except UnicodeDecodeError:
            message = "The text holds half of a surrogate pair (\\uD800–\\uDFFF), which is no character."
            raise BlockError(message, _line(node)) from None
    if node.tag == HEADER:
        return _value_in_header(node.value, annotation)
    parts = [kind for kind in kinds if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, Part)]
    if isinstance(node, yaml.MappingNode) and parts:
        return _part(node, parts[0])
    if isinstance(node, yaml.SequenceNode) and items:
        return [_value(each, items[0]) for each in node.value]
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError):
        written = f" {_shown(node.value)}" if isinstance(node, yaml.ScalarNode) else ""
        raise BlockError(f"The value{written} of a key cannot be read.", _line(node)) from None


def _part(node: yaml.MappingNode, part: type[Part]) -> dict[str, object]:
    """A mapping within the block, whose keys are known as the block's own are."""
    found: dict[str, object] = {}
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode):
            raise BlockError(f"A key of {_called(part)} must be a plain word.", _line(name))
        if name.value not in part.model_fields:
            near = _nearest(str(name.value), part.model_fields) or f"; there are {', '.join(part.model_fields)}"
            raise BlockError(f"`{_short(str(name.value))}` is not a key of {_called(part)}{near}.", _line(name))
        if name.value in found:
            raise BlockError(f"`{name.value}` stands twice in {_called(part)}.", _line(name))
        found[name.value] = _value(value, part.model_fields[name.value].annotation)
    return found


def _called(part: type[Part]) -> str:
    """`Generate` → `generate`, `Message` → `a message`."""
    name = part.__name__.lower()
    return f"`{name}`" if name in Block.model_fields else f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _value_in_header(text: str, annotation: Any) -> object:
    """What a header's text says where no text is wanted; lines within it are no lines of the body."""
    try:
        node = _compose(text)
        return None if node is None else _value(node, annotation)
    except BlockError as error:
        raise BlockError(error.problem) from None


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that a value may have."""
    if get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    elif get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    else:
        yield annotation


def _is_text(kind: Any) -> bool:
    return kind is str or get_origin(kind) is Literal


def _sentence(
    error: ValidationError,
    values: Mapping[str, object],
    nodes: Mapping[str, yaml.Node],
    allowed: Mapping[str, FieldInfo],
) -> BlockError:
    detail = error.errors()[0]
    own = own_error(detail)
    if not detail["loc"]:  # a rule about several keys at once: the view has written the sentence itself
        key = own.key if isinstance(own, WrongValue) else ""
        return BlockError(Problem("block", key, str(own or detail["msg"])), _line(nodes.get(key)))
    name, *within = detail["loc"]
    line = _line(_within(nodes.get(str(name)), within))
    if own is not None:  # several keys of a part
        return BlockError(Problem("block", str(name), str(own)), line)
    where, info, value = str(name), allowed[str(name)], values.get(str(name))
    for number, step in zip([None, *within], within, strict=False):
        fields = _fields_within(info.annotation)
        if isinstance(step, int) or step not in fields:  # a list's own mistakes are told of the list
            continue
        if isinstance(number, int) and isinstance(value, (list, tuple)):
            value = value[number]
        where, info = f"{where}.{step}", fields[step]
        value = value.get(step) if isinstance(value, dict) else None
    if detail["type"] == "missing":
        whole = "The block" if not within else f"`{name}`"
        message = f"{whole} has no `{within[-1] if within else name}`; it must be {_expects(info)}."
    else:
        message = f"`{where}` is {_shown(value)}; it must be {_expects(info)}."
    return BlockError(Problem("block", str(name), message), line)


def own_error(detail: Any) -> ValueError | None:
    """Return what one of our own validators raised, or None where the fault is one that pydantic knows by itself."""
    found = detail.get("ctx", {}).get("error")
    return found if isinstance(found, ValueError) else None


def _within(node: yaml.Node | None, steps: Iterable[object]) -> yaml.Node | None:
    """What stands in a value at the end of these steps: of numbers in lists, which may have been sorted, the list."""
    for step in steps:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step] if isinstance(node.value[step], yaml.MappingNode) else node
        elif isinstance(node, yaml.MappingNode):
            node = next((value for name, value in node.value if name.value == step), node)
    return node


def _fields_within(annotation: Any) -> Mapping[str, FieldInfo]:
    """The keys of the part that a value is, or is a list of."""
    kinds = list(_kinds(annotation))
    kinds += [get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple]
    parts = [kind for kind in kinds if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, Part)]
    return parts[0].model_fields if parts else {}


def _expects(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra["expects"]) if isinstance(extra, dict) else "something else"


def _nearest(word: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _line(node: yaml.Node | None) -> int | None:
    return node.start_mark.line if node is not None and node.start_mark is not None else None


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _shown(value: object) -> str:
    """A value as the author would recognise it."""
    try:
        return _short(
            json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, (list, dict)) else repr(value)
        )
    except (TypeError, ValueError):  # a key of a mapping that JSON has not; a number of thousands of digits
        return "something else"
