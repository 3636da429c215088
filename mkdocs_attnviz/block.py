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
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from mkdocs_attnviz.part import Day, Generate, Intervention, Message, Part, key
from mkdocs_attnviz.publishing import printable

MAX_BODY = 100_000  # characters; a block is a few lines, anything like this is a mistake or an attack
MAX_DEPTH = 8
MAX_ID = 100  # characters
ID = r"^[A-Za-z][A-Za-z0-9_.-]*$"
MAX_LINE = 10**9
BY_MODEL = (
    "model",
    "revision",
    "text",
    "text_pair",
    "text_target",
    "src_lang",
    "tgt_lang",
    "chat",
    "chat_date",
    "generate",
    "interventions",
)
"""The keys that say which model reads what, and how it is run."""
EITHER = {
    "chat": ("text", "text_pair", "text_target"),
    "chat_date": ("text",),
    "generate": ("text_pair", "text_target"),
    "other": ("chat", "generate"),  # each model would read a template of its own, or what it has written itself
}
"""Keys that others exclude."""


class BlockError(Exception):
    """What is wrong with one block, as one sentence for its author.

    `line` counts from 0 within the block's body; None means the block as a whole. `missing` tells that nothing is
    wrong but that the cache lacks its tensors and no model may be run here.
    """

    def __init__(self, message: str, line: int | None = None, *, missing: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.missing = missing


@dataclass(frozen=True)
class Source:
    """One fence as it stands in a page."""

    body: str
    header: Mapping[str, str] = field(default_factory=dict)
    page: str | None = None
    line: int | None = None
    """Line of the opening fence in the page's file, counted from 1."""
    problem: str | None = None
    """What is wrong with the fence itself, as a sentence."""
    object: str | None = None
    """Full name of the object whose docstring the fence stands in; `line` then counts in the docstring."""
    cell: int | None = None
    """Number of the notebook's cell that the fence stands in, counted from 1; `line` then counts in the cell."""
    caption: str | None = None
    """The block's caption in the language that the page is translated to."""

    def where(self, error: BlockError | None = None) -> str:
        """`page.md:12`, `page.md, docstring of module.name:2` or `page.ipynb, cell 3:2`, as far as known; else ''."""
        line = self.line
        if line is not None and error is not None and error.line is not None:
            line += 1 + error.line
        docstring = f"docstring of {self.object}" if self.object else None
        cell = f"cell {self.cell}" if self.cell else None
        place = ", ".join(part for part in (self.page, docstring, cell) if part)
        if not place:
            return "" if line is None else f"line {line}"
        return place if line is None else f"{place}:{line}"

    def to_json(self) -> str:
        return self._json

    @cached_property
    def _json(self) -> str:
        return json.dumps({each.name: getattr(self, each.name) for each in fields(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Source:
        """Return the source that `to_json` has written.

        Raises:
            ValueError: it has written nothing of the kind; anybody may put such a text into a page.
        """
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(found, dict) or found.keys() != {each.name for each in fields(cls)}:
            raise ValueError("not the fields of a block")
        header, numbers = found["header"], {name: found.pop(name) for name in ("line", "cell")}
        if not isinstance(found["body"], str) or not isinstance(header, dict):
            raise ValueError("not a block's body and header")
        if not all(each is None or (type(each) is int and 0 < each <= MAX_LINE) for each in numbers.values()):
            raise ValueError("not the number of a line or a cell")
        others = [value for name, value in found.items() if name != "header"]
        if not all(isinstance(each, (str, type(None))) for each in [*others, *header.values()]):
            raise ValueError("not a text")
        return cls(**found, **numbers)


class Named(NamedTuple):
    """A model as a block names it."""

    key: str
    """Of the block."""
    name: str
    revision: str | None = None

    @property
    def revision_key(self) -> str:
        return "revision" if self.key == "model" else f"{self.key}_revision"


class Options(BaseModel):
    """The keys that one view adds to the block. Each view declares a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def parameters(self) -> dict[str, Any]:
        """What the capture has to know, as plain JSON; it becomes a part of the key."""
        return {}

    def inputs(self) -> dict[str, Any]:
        """What the model reads beside the block's own texts, as plain JSON."""
        return {}

    def second(self) -> Named | None:
        """A model beside the block's own, which the capture is to have in memory with it; it is named by `other`."""
        return None


class Block(BaseModel):
    """One valid block. Numbers of layers and heads count from 0, as in BertViz and transformers."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = key(
        "an alias of the site, a directory, a Hugging Face model id or package:NAME/dir",
        "The model: an alias from the site's `models` setting, a local directory (relative to the site's configuration "
        "file), a Hugging Face model id, or a directory inside an installed Python package (`package:NAME/dir`).",
        default="",
        min_length=1,
        max_length=500,
    )
    revision: str | None = key(
        "a branch, a tag or a commit of the model on the hub",
        "Branch, tag or commit of a model on the hub. Default: `main`.",
        default=None,
        min_length=1,
        max_length=200,
    )
    text: str = key("the text the model reads", "The text the model reads.", default="", pattern=r"\S")
    text_pair: str | None = key(
        "the second text of a sentence pair",
        "Second text of a sentence pair; the figure then gets a filter A→A, A→B, B→A, B→B.",
        default=None,
        pattern=r"\S",
    )
    text_target: str | None = key(
        "what an encoder–decoder model is to produce",
        "What an encoder–decoder model is made to produce (teacher forcing). Default: its own greedy output.",
        default=None,
        pattern=r"\S",
    )
    src_lang: str | None = key(
        "a language's code as the model's tokenizer has it, like deu_Latn or de_DE",
        "The language of `text`, for a model that translates between many (NLLB, mBART, M2M100). Default: what the "
        "model's files say.",
        default=None,
        pattern=r"^\w+$",
        max_length=40,
    )
    tgt_lang: str | None = key(
        "a language's code as the model's tokenizer has it, like eng_Latn or en_XX",
        "The language that such a model translates into. Default: what the model's files say.",
        default=None,
        pattern=r"^\w+$",
        max_length=40,
    )
    chat: tuple[Message, ...] | None = key(
        "a list of messages, each with `role` and `content`",
        "A conversation in place of `text`, written as the model's own chat template has it.",
        default=None,
        min_length=1,
        max_length=1000,
    )
    chat_date: Day | None = key(
        "a day like 2024-07-26",
        "The day that a chat template is given for today. Default: 2024-07-26, so that every build reads the same.",
        default=None,
    )
    generate: Generate | None = key(
        "what the model is to write, like {max_new_tokens: 20}",
        "The model continues the text, and the figure includes what it has written.",
        default=None,
    )
    interventions: tuple[Intervention, ...] | None = key(
        "a list of interventions, each with `layer` and `heads` or `neurons`",
        "Changes to the model while it runs; the figure shows the model with and without them.",
        default=None,
        min_length=1,
        max_length=1000,
    )
    tensors: str | None = key(
        "a .safetensors file with weights of your own",
        "Own weights in place of `model` and `text`: a `.safetensors` file, relative to the site's configuration file.",
        default=None,
        pattern=r"\.safetensors$",
        max_length=500,
    )
    view: str = key("the name of a view", "How the tensors are drawn.", default="head")
    theme: Literal["auto", "light", "dark"] = key(
        "auto, light or dark",
        "`auto` follows the light/dark switch of the page.",
        default="auto",
    )
    state: str | None = key(
        "what a link to the figure has after `~`, like selected=left,2",
        "What is selected at first, as a link to the figure says it after `~`: `selected=left,2`.",
        default=None,
        pattern=r"^[a-z_]+=[^\s&]*(&[a-z_]+=[^\s&]*)*$",
        max_length=1000,
    )
    caption: Annotated[str, AfterValidator(printable)] | None = key(
        "a text", "Caption under the figure, as plain text.", default=None, min_length=1
    )
    id: str | None = key(
        "a letter followed by letters, digits, '-', '_' or '.'",
        "The figure's `id` in the page, to link to it. Default: `attnviz-1`, `attnviz-2`, … in page order.",
        default=None,
        pattern=ID,
        max_length=MAX_ID,
    )
    options: Options = Field(exclude=True)
    lines: Mapping[str, int] = Field(default_factory=dict, exclude=True)
    """Where each key stands, counted from 0 within the body, for what is found wrong later."""

    @property
    def subject(self) -> str:
        """What the weights are of, for messages: `model 'minilm'`."""
        return f"model {self.model!r}" if self.tensors is None else f"file {self.tensors!r}"

    @property
    def models(self) -> list[Named]:
        """What the figure is drawn from: a model, the one that it is compared with if there is one; or a file."""
        if self.tensors is not None:
            return [Named("tensors", self.tensors)]
        second = self.options.second()
        return [Named("model", self.model, self.revision), *([] if second is None else [second])]

    @property
    def names(self) -> str:
        """Of the models, as a part of a sentence."""
        return " and ".join(each.name for each in self.models)

    @property
    def inputs(self) -> dict[str, Any]:
        """What the model reads and how it writes, as far as it is given; plain JSON."""
        inputs = {
            "text": self.text if self.chat is None else None,
            "text_pair": self.text_pair,
            "text_target": self.text_target,
            "src_lang": self.src_lang,
            "tgt_lang": self.tgt_lang,
            "chat_date": self.chat_date,
            "chat": self.chat and [message.to_dict() for message in self.chat],
            "generate": self.generate and self.generate.to_dict(),
        }
        return {name: value for name, value in inputs.items() if value is not None} | self.options.inputs()

    def wrong(self, name: str, message: str, *, missing: bool = False) -> BlockError:
        """A mistake in the value of key `name` that only the model could tell."""
        return BlockError(message, self.lines.get(name), missing=missing)


def is_id(text: str) -> bool:
    """Return whether a figure may have this id."""
    return re.match(ID, text) is not None and len(text) <= MAX_ID


def fields_of(options: type[Options]) -> dict[str, FieldInfo]:
    """Every key a block of a view may have, by its name in the block."""
    common = {name: info for name, info in Block.model_fields.items() if not info.exclude}
    return common | dict(options.model_fields)


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
            raise BlockError(_unknown_key(name, view, allowed, views), _line(node))
    values = {name: _value(node, allowed[name].annotation) for name, node in nodes.items()}
    for name, value in values.items():
        if value is None or (isinstance(value, str) and not value.strip()):
            raise BlockError(f"`{name}` is empty; it must be {_expects(allowed[name])}.", _line(nodes[name]))
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
                raise BlockError(message, _line(nodes[name]))
        return
    for name, others in EITHER.items():
        for other in others:
            if name in nodes and other in nodes:
                raise BlockError(
                    f"`{name}` and `{other}` stand both in the block; keep one of them.", _line(nodes[other])
                )
    for name in ("model", "text"):
        if name not in nodes and not (name == "text" and "chat" in nodes):
            raise BlockError(f"The block has no `{name}`; it must be {_expects(allowed[name])}.")


def json_schema(views: Mapping[str, type[Options]]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a block's body, for editors and for the documentation."""
    common = Block.model_json_schema()
    for name, info in Block.model_fields.items():
        if info.exclude:
            del common["properties"][name]
    common["properties"]["view"]["enum"] = list(views)
    del common["required"]
    without = {name: dict.fromkeys(others, False) for name, others in EITHER.items()}
    common["dependentSchemas"] = {name: {"properties": others} for name, others in without.items()}
    common["oneOf"] = [
        {"required": ["model", "text"], "properties": {"tensors": False, "chat": False}},
        {"required": ["model", "chat"], "properties": {"tensors": False}},
        {"required": ["tensors"], "properties": dict.fromkeys(BY_MODEL, False)},
    ]
    branches = []
    schemas = {name: options.model_json_schema() for name, options in views.items()}
    several = _with_several_meanings(schemas.values())
    for name, own in schemas.items():
        for option, schema in own["properties"].items():
            common["properties"].setdefault(option, {} if option in several else schema)
        common["$defs"] = common.get("$defs", {}) | own.get("$defs", {})
        others = set().union(*(view.model_fields for view in views.values())) - set(own["properties"])
        chosen: dict[str, Any] = {"properties": {"view": {"const": name}}}
        if name != Block.model_fields["view"].default:
            chosen["required"] = ["view"]
        meant = {key: _as_read(schema) for key, schema in own["properties"].items() if key in several}
        rules = {"properties": dict.fromkeys(sorted(others), False) | meant}
        rules |= {rule: own[rule] for rule in ("not", "dependentRequired") if rule in own}
        branches.append({"if": chosen, "then": rules})
    for part in [common, *common["$defs"].values()]:
        part["properties"] = {name: _as_read(schema) for name, schema in part["properties"].items()}
    common |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "attention block"}
    return common | {"description": "Body of an `attention` block of mkdocs-attnviz.", "allOf": branches}


def _with_several_meanings(schemas: Iterable[Mapping[str, Any]]) -> set[str]:
    """Keys that one view reads as something else than another does."""
    told = ("description", "default", "title", "expects")
    meanings: dict[str, dict[str, Any]] = {}
    several = set()
    for name, schema in (item for each in schemas for item in each["properties"].items()):
        rule = {key: value for key, value in schema.items() if key not in told}
        if meanings.setdefault(name, rule) != rule:
            several.add(name)
    return several


def _as_read(schema: dict[str, Any]) -> dict[str, Any]:
    """A key may be left out, but not be empty; and where a text is wanted, 12 and true are texts, too."""
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    plain = {
        name: value for name, value in schema.items() if name not in ("title", "expects") and value not in (None, "")
    }
    plain = kinds[0] | plain if len(kinds) == 1 else plain | ({"anyOf": kinds} if kinds else {})
    is_text = plain.get("type") == "string" and "enum" not in plain
    return plain | ({"type": ["string", "number", "boolean"]} if is_text else {})


def _entries(source: Source) -> dict[str, yaml.Node]:
    """Body and header as one mapping from key to YAML node."""
    if len(source.body) > MAX_BODY:
        raise BlockError(f"The block has {len(source.body):,} characters; at most {MAX_BODY:,} are read.")
    entries: dict[str, yaml.Node] = {}
    for name, node in _body(source.body):
        if name in entries:
            raise BlockError(f"`{name}` stands twice in the block.", _line(node))
        entries[name] = node
    for name, text in source.header.items():
        if name in entries:
            raise BlockError(f"`{name}` stands both in the fence's header and in the block.", _line(entries[name]))
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


LIBYAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast, where it is there."""


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


def plain_yaml(text: str) -> object:
    """Return the value of a YAML text without anchors, aliases, tags and depth.

    Raises:
        BlockError: it has some.
        yaml.YAMLError: it is no YAML.
        ValueError: it holds a number or a date that there is not.
    """
    with suppress(yaml.YAMLError):  # it does not know half a surrogate pair, which the name of a file may have
        return _loaded(text, LIBYAML)
    return _loaded(text, yaml.SafeLoader)


def _loaded(text: str, loader: Any) -> object:
    _refuse_expansion(text, loader, "file")
    return yaml.load(text, Loader=loader)  # noqa: S506 — both loaders are safe ones


def _refuse_expansion(text: str, loader: Any, what: str = "block") -> None:
    """Anchors, aliases, tags and depth are refused while nothing has been built yet."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        line = event.start_mark.line if event.start_mark else None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise BlockError(
                "Anchors and aliases (`&`, `*`) are not read; put a text that begins with them in quotes.", line
            )
        if tag := getattr(event, "tag", None):
            raise BlockError(f"YAML tags are not read, and this {what} has {tag!r}; put the text in quotes.", line)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise BlockError(f"The {what} is nested more than {MAX_DEPTH} deep.", line)


def _view(nodes: Mapping[str, yaml.Node], views: Mapping[str, type[Options]]) -> str:
    node = nodes.get("view")
    view = Block.model_fields["view"].default if node is None else node.value
    if isinstance(view, str) and view in views:
        return view
    near = _nearest(view, views) if isinstance(view, str) else ""
    shown = _shown(view) if isinstance(view, str) else "no single word"
    raise BlockError(f"`view` is {shown}; the views are {', '.join(views)}{near}.", _line(node))


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
        raise BlockError(error.message) from None


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
    if not detail["loc"]:  # a rule about several keys at once: the view has written the sentence itself
        message = detail["msg"].removeprefix("Value error, ")
        return BlockError(message, _line(nodes.get(message.split("`")[1])) if message.startswith("`") else None)
    name, *within = detail["loc"]
    line = _line(_within(nodes.get(str(name)), within))
    if detail["type"] == "value_error" and detail["loc"]:  # several keys of a part
        return BlockError(detail["msg"].removeprefix("Value error, "), line)
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
        return BlockError(f"{whole} has no `{where.rpartition('.')[2]}`; it must be {_expects(info)}.", line)
    return BlockError(f"`{where}` is {_shown(value)}; it must be {_expects(info)}.", line)


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
