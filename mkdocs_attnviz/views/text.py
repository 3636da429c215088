"""The text view: long texts as running, coloured text. Point at a token, and the text shows what it attends to.

The weights are those of one head, of several combined, of attention rollout (Abnar & Zuidema 2020), or attributions by
one of the saliency view's methods. It is made for texts of thousands of tokens, of which only the strongest weights are
kept; the figure says what share of a token's attention they hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, model_validator
from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import Index, Indices, Texts, key, listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.figure_data import Sink
from mkdocs_attnviz.views.attention.options import WeightOptions, shared
from mkdocs_attnviz.views.attention.sentence import STACKS
from mkdocs_attnviz.views.attention.sinks import FADED, sink_columns
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.figure_data import Blob, Drawn
from mkdocs_attnviz.views.ignored_tokens import ignored_tokens
from mkdocs_attnviz.views.measure import Untestable
from mkdocs_attnviz.views.measures.text import MEASURES
from mkdocs_attnviz.views.saliency_options import Options as SaliencyOptions
from mkdocs_attnviz.views.saliency_options import Single
from mkdocs_attnviz.views.svg.attended_text import Section, attended_text, height_of
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.token_flow import PANEL
from mkdocs_attnviz.views.text_entry import Row, TextEntry
from mkdocs_attnviz.views.token_places import token as one_token
from mkdocs_attnviz.views.view import View, own_script
from mkdocs_attnviz.views.visible_tokens import called

STORED = "the strongest weights of each token in 8 bits on a square-root scale, within 0.4% of the token's largest"
TEXT = Capture("text", 1, run="mkdocs_attnviz.models.captures.text:capture", head_for=("saliency",), stored=STORED)
OWN_TEXT = Capture(
    "own_text", 1, run="mkdocs_attnviz.models.captures.own_text:capture_file", reads_file=True, stored=STORED
)
"""The reading of an author's own attention weights."""
MOST_NAMES = 4
"""The largest number of sink tokens that are named."""
SATURATED = 0.01
"""The share of marks that all get the full colour where what tokens receive is shown: one may be far above the rest."""
SINK = "sink"
"""The word of `ignore_tokens` that stands for the attention sink."""
FAINT = 0.75
"""The exponent of a share of the full colour, as in `frontend/src/views/text.ts`."""
BY_METHOD = ("explain", "target")
"""The keys that belong to `method`."""
BY_ATTENTION = (
    *("stack", "layer", "include_layers", "heads", "head", "across_layers", "across_heads"),
    *("sink", "sink_tokens"),
)
"""The keys that `method` excludes."""


def _as_in(options: type[BlockOptions], name: str) -> Any:
    """Return a key of another view's, which means the same here."""
    return options.model_fields[name]


class Options(BlockOptions):
    """The block keys of the text view."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["head", "heads"]}})

    stack: Literal["self", "encoder", "decoder", "cross"] | None = key(
        "self, encoder, decoder or cross",
        "For an encoder–decoder model: which attention is shown. Default: `encoder`.",
        default=None,
    )
    layer: Index | None = key(
        "a layer's number, counted from 0",
        "The layer shown at first. Default: the first layer shown; with rollout the last.",
        default=None,
    )
    include_layers: Indices | None = shared("include_layers")
    heads: Indices | None = key(
        "a list of heads' numbers, counted from 0, like [3, 5]",
        "The heads a reader can choose from, the first of them at first. Default: the mean over all heads.",
        default=None,
    )
    head: Index | None = shared("head")
    across_layers: Literal["mean", "max", "rollout"] | None = _as_in(WeightOptions, "across_layers")
    across_heads: Literal["mean", "max"] | None = key(
        "mean or max",
        "Several heads in one: their mean or maximum. Default: mean, if no heads are named.",
        default=None,
    )
    method: Single | None = key(
        "a method of the saliency view that may stand alone, like input_x_gradient",
        "Attributions in place of attention: what each token adds to a token that the model produces.",
        default=None,
    )
    explain: Literal["logit", "log_probability", "probability"] = _as_in(SaliencyOptions, "explain")
    target: Texts | None = key(
        "all, or a list of positions or classes",
        "With `method`: which outputs are explained. Default: all that the model has produced, or what comes next.",
        default=None,
    )
    direction: Literal["to", "from"] = key(
        "to or from",
        "What is coloured at first: the tokens that the chosen one attends `to`, or those `from` which it is attended.",
        default="to",
    )
    token: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)] | None = key(
        "a token: its text, its number, or text#2 for the second of several",
        "The token that is chosen at first. Default: none; the text then shows how much attention each token receives.",
        default=None,
        min_length=1,
    )
    top_k: int | None = key(
        "a number from 1 to 255",
        "How many weights of each token are kept: its strongest. Default: 64, or fewer where a figure would need more "
        "than 10 MB; of attributions 255.",
        default=None,
        ge=1,
        le=255,
    )
    ignore_tokens: Texts | None = key(
        "a list of tokens, or special, or sink",
        "Tokens that are left out of the colours and their scale; `special` stands for all special tokens, `sink` for "
        "the attention sink: the first token of a causal model, of other models the special tokens.",
        default=None,
    )

    sink: Sink = key(
        "show, fade or leave_out",
        "The attention sink (`sink_tokens`) as any token, coloured faintly, or left out, with the rest of each token's "
        "attention renormalised to 1.",
        default="show",
    )
    sink_tokens: Texts | None = shared("sink_tokens")

    @model_validator(mode="after")
    def _check_exclusive_keys(self) -> Options:
        if self.head is not None and self.heads is not None:
            raise WrongValue("head", "`head` and `heads` are both in the block; keep one of them.")
        if self.method is not None:
            for name in BY_ATTENTION:
                if name in self.model_fields_set:
                    raise WrongValue(name, f"`{name}` is about attention, and `method` shows attributions.")
        else:
            for name in BY_METHOD:
                if name in self.model_fields_set:
                    raise WrongValue(name, f"`{name}` belongs to `method`, which the block does not have.")
        for name in ("head", "heads", "across_heads"):
            if self.across_layers == "rollout" and getattr(self, name) is not None:
                raise WrongValue(name, f"`{name}` is given, but a rollout combines all heads.")
        return self

    @property
    def wanted_heads(self) -> Indices | None:
        """The heads that the block names, by whichever key."""
        return self.heads if self.head is None else (self.head,)

    def parameters(self) -> dict[str, Any]:
        if self.method is not None:
            given = {name: getattr(self, name) for name in BY_METHOD if name in self.model_fields_set}
            return {"saliency": SaliencyOptions(method=self.method, **given).parameters(), "top_k": self.top_k}
        heads = self.wanted_heads
        return {
            "stack": self.stack,
            "layers": self.include_layers and list(self.include_layers),
            "heads": heads and list(heads),
            "across_layers": self.across_layers,
            "across_heads": self.across_heads,
            "top_k": self.top_k,
        }


class TextSection(TypedDict):
    """A part of the text, such as the turn of a speaker."""

    label: str
    """The name that stands before it; empty if it is the only one."""
    start: int
    """The number of its first mark."""


class TextMarks(TypedDict):
    """Marks from `start` to below `end`."""

    start: int
    end: int


class TextMatrix(TypedDict):
    """The strongest weights of one head, or of several combined."""

    layer: int | None
    """Null if layers are combined."""
    head: int | None
    """Null if heads are combined."""
    received: Blob
    """The largest as float32, then uint16 a column: the mean weight that it gets, round(65535·√(mean / largest))."""
    files: list[Blob]
    """The rows, as `models/captures/strongest_weights.py` writes them."""


class TextViewState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    layer: int | None
    head: int | None
    direction: Literal["to", "from"]
    token: int | None
    """The token that is held, counted through all that is shown."""
    sink: Sink


class TextViewFigure(Drawn):
    """A text, and what each of its tokens attends to."""

    text: Blob
    """JSON: the `texts` of marks, and the `gaps` before them."""
    sections: list[TextSection]
    special: list[int]
    """Marks that are special tokens."""
    ignored: list[int]
    """Marks that have no part in the scale of colours."""
    first: list[int] | None
    """The number of each mark's first token, or null if each token is a mark."""
    rows: TextMarks
    """The marks that attend."""
    cols: TextMarks
    """The marks that are attended to."""
    outputs: NotRequired[list[int]]
    """The marks that are explained, row by row, where the weights are attributions."""
    rows_in_file: int
    top_k: int
    combined: str
    """The way in which heads and layers are combined, in words; empty if they are not."""
    kind: str
    """The name of the weights: attention, decoder attention, attribution."""
    sink: bool
    """True if a part of the attention goes to no token."""
    sinks: NotRequired[list[int]]
    """The marks that are attention sinks; none for a learned sink. Absent if nothing can be left out."""
    sink_texts: NotRequired[list[str]]
    """The texts of these marks, each of them once, and no more than four."""
    matrices: list[TextMatrix]
    initial: TextViewState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of a text's strongest weights.

    Raises:
        BlockError: if there is no such layer or token.
    """
    text = TextEntry(entry)
    matrix = _matrix(block, options, text)
    layer, head = entry.meta["matrices"][matrix]
    chosen = _token(block, options, text)
    sections = _sections(entry, text)
    ignored = _ignored(block, options, entry, text)
    first = text.first_tokens()
    sinks = _sinks(block, options, text)
    how = "show" if sinks is None else options.sink
    initial: TextViewState = {
        "layer": layer,
        "head": head,
        "direction": options.direction,
        "token": chosen if chosen is None or first is None else first[chosen],
        "sink": how,
    }
    rows, cols = text.range("rows"), text.range("cols")
    data: TextViewFigure = {
        "view": "text",
        "theme": block.theme,
        "text": {"blob": "text"},
        "sections": [{"label": section.label, "start": section.start} for section in sections],
        "special": text.special(),
        "ignored": ignored,
        "first": first,
        "rows": {"start": rows.start, "end": rows.stop},
        "cols": {"start": cols.start, "end": cols.stop},
        "rows_in_file": entry.meta["rows_in_file"],
        "top_k": entry.meta["top_k"],
        "combined": combined(options, entry),
        "kind": kind(options, entry),
        "sink": bool(entry.meta["sink"]),
        "matrices": [_matrix_data(entry, n, *each) for n, each in enumerate(entry.meta["matrices"])],
        "initial": initial,
    }
    if text.signed:
        data["outputs"] = [output["mark"] for output in entry.meta["outputs"]]
    if sinks is not None:
        data["sinks"] = sinks
        data["sink_texts"] = [*dict.fromkeys(called(text.text["texts"][mark]) for mark in sinks)][:MOST_NAMES]
    without = _Without(text, sinks or [], is_sum=not data["combined"].startswith("max")) if how == "leave_out" else None
    weights = _weights(text, matrix, options.direction, chosen, without)
    faded = sinks or [] if how == "fade" else []
    shares = _shares(weights, ignored, chosen, faded)
    picture = with_legend(
        attended_text(text.text, sections, shares, chosen, set(data["special"]), block.theme),
        block.theme,
        _legend(chosen, signed=text.signed),
    )
    told = _sink_words(data, how, chosen)
    return Drawing(
        data,
        picture,
        _sentence(block, options, text, matrix, chosen, weights, without, told),
        height_of(text.text, sections),
        PANEL + 24,
    )


def _matrix(block: Block, options: Options, text: TextEntry) -> int:
    """Return the number of the matrix that is shown first.

    Raises:
        BlockError: if the layer or head that the block names is not among those that are shown.
    """
    matrices: list[list[int | None]] = text.meta["matrices"]
    layers = list(dict.fromkeys(layer for layer, _ in matrices))
    default = layers[-1 if options.across_layers == "rollout" else 0]
    layer = default if options.layer is None or layers == [None] else options.layer
    _check_shown(block, "layer", layer, layers)
    heads = [head for each, head in matrices if each == layer]
    head = heads[0] if options.head is None or heads == [None] else options.head
    _check_shown(block, "head", head, heads)
    return matrices.index([layer, head])


def _check_shown(block: Block, name: str, number: int | None, shown: Sequence[int | None]) -> None:
    """Raise BlockError if a layer or head is not among those that are shown."""
    if number not in shown:
        known = listed([each for each in shown if each is not None])
        raise block.wrong(name, f"`{name}` is {number}; the {name}s of {block.subject} that are shown are {known}.")


def _token(block: Block, options: Options, text: TextEntry) -> int | None:
    """Return the mark that is chosen at first.

    Raises:
        BlockError: if the text has no such token.
    """
    if options.token is None:
        return None
    first: Untestable | None = None
    if options.token.isdecimal() and len(text.sequences) > 1:
        number = int(options.token)
        for name in text.sequences:
            count = len(text.meta["sequences"][name]["tokens"])
            if number < count:
                return text.mark(name, number)
            number -= count
    for name in _searched(options, text):
        try:
            return text.mark(name, one_token(text.meta["sequences"][name], options.token, "token")[0])
        except Untestable as error:
            first = first or error
    raise block.wrong("token", str(first))


def _searched(options: Options, text: TextEntry) -> list[str]:
    """Return the sequences in which a token is looked for: first the one whose tokens do what is shown."""
    if text.signed:
        return list(text.sequences)
    side = text.meta["rows" if options.direction == "to" else "cols"]
    return [side, *(name for name in text.sequences if name != side)]


def _sections(entry: Entry, text: TextEntry) -> list[Section]:
    """Return the parts of the text: turns of a conversation, two sentences, what a model has read and written."""
    found = []
    named = {"text": "Input", "target": "Output"} if len(text.sequences) > 1 or text.signed else {}
    for name in text.sequences:
        meta = entry.meta["sequences"][name]
        turns = entry.meta["turns"] if name == "text" else None
        generated, second = meta.get("generated"), meta["sentence_b_start"]
        if turns:
            found += [Section(role, text.mark(name, start)) for role, start in turns if start < len(meta["tokens"])]
        elif second is not None:
            found += [Section("Sentence A", text.starts[name]), Section("Sentence B", text.mark(name, second))]
        elif generated is not None and generated < len(meta["tokens"]):
            found += [Section("Input", text.starts[name]), Section("Written by the model", text.mark(name, generated))]
        else:
            found.append(Section(named.get(name, ""), text.starts[name]))
    if len(text.text["texts"]) > text.count:
        labels = {"classes": "Class", "next": "Next token", "answer": "Answer, from and to"}
        found.append(Section(labels.get(entry.meta["task"], "Output"), text.count))
    return found


def _ignored(block: Block, options: Options, entry: Entry, text: TextEntry) -> list[int]:
    """Return the marks that have no part in the scale."""
    names = options.ignore_tokens or ()
    inputs = [(name, n) for name in text.sequences for n in range(len(entry.meta["sequences"][name]["tokens"]))]
    marks = {text.mark(*inputs[n]) for n in ignored_tokens([name for name in names if name != SINK], entry, inputs)}
    if SINK in names and not text.signed and not entry.meta["sink"]:  # a learned sink is no token
        marks |= _sink_marks(block, None, text)
    return sorted(marks)


def _sinks(block: Block, options: Options, text: TextEntry) -> list[int] | None:
    """Return the marks that are attention sinks; none for a learned sink, and None if nothing can be left out.

    Raises:
        BlockError: the text has none of the tokens that the author names, or no other tokens.
    """
    if text.signed:
        return None
    if text.meta["sink"] and options.sink_tokens is None:
        return []
    marks = sorted(_sink_marks(block, options.sink_tokens, text))
    if len(marks) < len(text.range("cols")):
        return marks
    if options.sink == "leave_out":
        raise block.wrong("sink", "`sink` is leave_out, but there are no other tokens to show.")
    return None


def _sink_marks(block: Block, names: Sequence[str] | None, text: TextEntry) -> set[int]:
    """Return the marks of the sink tokens. `names` are those of `sink_tokens`.

    Raises:
        BlockError: the text has none of the tokens that the author names.
    """
    stack = {name: text.meta[name] for name in ("rows", "cols", "causal")}
    stacks = Entry({"sequences": text.meta["sequences"], "stacks": {text.meta["stack"]: stack}}, {})
    return {text.mark(stack["cols"], at) for at in sink_columns(block, names, stacks, text.meta["stack"])}


def _sink_words(data: TextViewFigure, how: Sink, chosen: int | None) -> str:
    """Return how the sink is shown, in words; empty if it is shown as any token."""
    if how == "show" or (chosen is None and not data["sinks"]):
        return ""
    name = " ".join(["the sink", *(f"“{each}”" for each in data["sink_texts"])])
    if how == "fade":
        return f"{name} faded"
    return f"without {name}" + ("" if chosen is None else ", the rest renormalised")


@dataclass(frozen=True)
class _Without:
    """Rows without their sink. What is left is divided by all that does not go there, whether it is kept or not."""

    text: TextEntry
    sinks: Sequence[int]
    is_sum: bool
    """True if the weights of a row sum to one, its learned sink included."""

    def row(self, row: Row) -> Row:
        sinks = {mark: weight for mark, weight in row.weights.items() if mark in self.sinks}
        total = sum(row.weights.values())
        every = 1 - row.sink if self.is_sum else total / (row.kept or 1)
        left = total - sum(sinks.values())
        rest = max(left, every - sum(sinks.values())) or 1.0
        weights = {mark: weight / rest for mark, weight in row.weights.items() if mark not in sinks}
        return replace(row, weights=weights, kept=left / rest, sink=row.sink / rest if self.sinks else 0.0)


def _matrix_data(entry: Entry, number: int, layer: int | None, head: int | None) -> TextMatrix:
    count = sum(name.startswith(f"matrix/{number}/") for name in entry.blobs)
    return {
        "layer": layer,
        "head": head,
        "received": {"blob": f"received/{number}"},
        "files": [{"blob": f"matrix/{number}/{part}"} for part in range(count)],
    }


def kind(options: Options, entry: Entry) -> str:
    """Return the name of the weights."""
    if entry.meta["kind"] == "saliency":
        return f"attribution by {str(options.method).replace('_', ' ')}"
    return STACKS[entry.meta["stack"]].lower()


def combined(options: Options, entry: Entry) -> str:
    """Return how heads and layers are combined, in words."""
    if entry.meta["kind"] == "saliency":
        return ""
    if options.across_layers == "rollout":
        return "attention rollout"
    heads = options.wanted_heads
    parts = []
    if options.across_heads is not None or heads is None:
        which = f"heads {listed(heads)}" if heads is not None else "all heads"
        parts.append(f"{options.across_heads or 'mean'} over {which}")
    if options.across_layers is not None:
        parts.append(f"{options.across_layers} over {'these' if options.include_layers else 'all'} layers")
    return ", ".join(parts)


def _row(text: TextEntry, matrix: int, mark: int, without: _Without | None) -> Row | None:
    """Return the row of a mark, perhaps without its sink."""
    row = text.row(matrix, mark)
    return row if row is None or without is None else without.row(row)


def _weights(
    text: TextEntry, matrix: int, direction: str, chosen: int | None, without: _Without | None
) -> dict[int, float]:
    """Return the weights that colour the text, by mark: those of the chosen one, or what each receives."""
    cols = text.range("cols")
    if chosen is None:
        received = dict(zip(cols, text.received(matrix), strict=True))
        return received if without is None else {m: each for m, each in received.items() if m not in without.sinks}
    if direction == "to":
        row = _row(text, matrix, chosen, without)
        if row is not None:
            return dict(row.weights)
    outputs = [each["mark"] for each in text.meta["outputs"]] if text.signed else []
    marks = outputs or text.range("rows")
    found = {}
    for mark in marks:
        row = _row(text, matrix, mark, without)
        if row is not None and chosen in row.weights:
            found[mark] = row.weights[chosen]
    return found


def _shares(
    weights: Mapping[int, float], ignored: Sequence[int], chosen: int | None, faded: Sequence[int]
) -> dict[int, float]:
    """Return the share of the full colour that each mark gets, from -1 to 1."""
    left_out = {*ignored, *faded}
    sizes = sorted(abs(weight) for mark, weight in weights.items() if mark not in left_out)
    if not sizes:
        return {}
    most = sizes[-1] if chosen is not None else sizes[int((len(sizes) - 1) * (1 - SATURATED))] or sizes[-1]
    return {
        mark: (-1 if weight < 0 else 1) * min(1.0, abs(weight) / most) ** FAINT * (FADED if mark in faded else 1)
        for mark, weight in weights.items()
        if most > 0 and mark not in ignored
    }


def _legend(chosen: int | None, *, signed: bool) -> str:
    """Return the text of the legend."""
    what = "Attribution" if signed else "Attention"
    if chosen is None:
        return f"{what} that a token receives, on average"
    signs = " · blue: for, orange: against" if signed else ""
    return f"{what} of the framed token · the full colour is the largest{signs}"


def named(text: TextEntry, mark: int) -> str:
    """Return a mark as a sentence names it, with the number of its token if its text occurs more than once."""
    texts, first = text.text["texts"], text.first_tokens()
    one = texts[mark]
    number = mark if first is None else first[mark]
    return f"“{called(one)}”{f' ({number})' if texts.count(one) > 1 else ''}"


def _sentence(
    block: Block,
    options: Options,
    text: TextEntry,
    matrix: int,
    chosen: int | None,
    weights: Mapping[int, float],
    without: _Without | None,
    sink: str,
) -> str:
    """Return a sentence about the matrix, the chosen token and its strongest weights."""
    layer, head = text.meta["matrices"][matrix]
    parts = [
        combined(options, text.entry),
        "" if layer is None else f"{'up to ' * (options.across_layers == 'rollout')}layer {layer}",
        "" if head is None else f"head {head}",
        sink,
    ]
    where = f"{kind(options, text.entry)} of {block.names}" + "".join(f", {part}" for part in parts if part)
    start = f"{text.count} tokens of text, coloured by {where}."
    strongest = sorted(weights.items(), key=lambda item: -abs(item[1]))[:3]
    listing = ", ".join(f"{named(text, mark)} {weight:.2g}" for mark, weight in strongest if weight)
    if chosen is None:
        what = "is added by" if text.signed else "is received by"
        return f"{start} Most {what} {listing}." if listing else start
    return start + "".join(f" {each}" for each in _about(text, matrix, chosen, options.direction, listing, without))


def _about(
    text: TextEntry, matrix: int, chosen: int, direction: str, listing: str, without: _Without | None
) -> Iterator[str]:
    """Yield sentences about the weights of the chosen token."""
    row = _row(text, matrix, chosen, without) if direction == "to" else None
    name = named(text, chosen)
    if row is None:
        verb = "matters most to" if text.signed else "is attended to most by"
        nothing = "It is the sink." if without and chosen in without.sinks else f"No kept weight is about {name}."
        yield f"{name} {verb} {listing}." if listing else nothing
        return
    verb = "is explained most by" if text.signed else "attends most to"
    yield f"{name} {verb} {listing}." if listing else f"{name} has no weights."
    if row.sink >= 0.005:
        yield f"{row.sink:.0%} of its attention goes to no token."
    if round(100 * row.kept) < 100:
        yield f"The {len(row.weights)} weights that are kept hold {row.kept:.0%} of it."


VIEW = View(
    "text",
    Options,
    TEXT,
    draw,
    own_script("text"),
    TextViewFigure,
    state=("layer", "head", "direction", "token", "sink"),
    checks={"token": state_checks.position},
    measures=MEASURES,
    file_capture=OWN_TEXT,
)
