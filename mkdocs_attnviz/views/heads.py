"""The heads view: an index of all heads of a model over many texts, by what they attend to and what they find.

It follows Clark, Khandelwal, Levy and Manning (2019), "What Does BERT Look At?", and for decoders TransformerLens's
head detector. A reader sees any two measures of all heads, a map of which heads are alike, a grid, or a table; a head
that is chosen shows its three most telling texts.
"""

from __future__ import annotations

import difflib
import json
import zlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator
from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.problem import BlockError, WrongValue
from mkdocs_attnviz.block.values import Flag, Index, key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.options import STACKS, numbered, sequence
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.figure_data import Blob, Drawn, TokenSequence
from mkdocs_attnviz.views.head_index.measures import HeadIndex, Values
from mkdocs_attnviz.views.head_index.picture import Shown, height, picture
from mkdocs_attnviz.views.head_index.sentence import notes, sentence
from mkdocs_attnviz.views.measures.heads import MEASURES
from mkdocs_attnviz.views.svg.document import height_of
from mkdocs_attnviz.views.svg.token_flow import PANEL
from mkdocs_attnviz.views.view import View, own_script

HEADS = Capture(
    "heads", 1, run="mkdocs_attnviz.models.captures.heads:capture", corpus=True, stored="measures to six digits"
)
Show = Literal["scatter", "map", "grid", "table", "relations"]
KIND = "kind"
"""The colour that tells kinds of heads apart, in place of a measure."""
DETAIL, WRAPPED = 132, 24
"""The heights in px around the tokens of a text below the picture, and of lines that are wrapped in a narrow figure."""
NAMING = "the name of a measure, or of a relation"


class Options(BlockOptions):
    """The block keys of the heads view."""

    stack: Literal["self", "encoder", "decoder", "cross"] | None = key(
        "self, encoder, decoder or cross",
        "For an encoder–decoder model: whose heads are shown at first. Default: `encoder`.",
        default=None,
    )
    show: Show = key(
        "scatter, map, grid, table or relations",
        "The picture shown at first: two measures of each head, a map of which heads are alike, layers × heads, all "
        "numbers, or the best head for each relation.",
        default="scatter",
    )
    x: str = key(NAMING, "The measure along the scatter's x axis.", default="layer")
    y: str = key(NAMING, "The measure along the scatter's y axis.", default="entropy")
    color: str = key(
        "kind, the name of a measure, or of a relation",
        "What the colours say: the kind of a head, or a measure.",
        default=KIND,
    )
    sort: str | None = key(
        NAMING,
        "The measure by which the table is sorted, largest first. Default: by layer and head.",
        default=None,
    )
    layer: Index | None = key(
        "a layer's number, counted from 0", "The layer of the head chosen at first.", default=None
    )
    head: Index | None = key("a head's number, counted from 0", "The head chosen at first.", default=None)
    prettify_tokens: Flag = key(
        "true or false",
        "Show a vocabulary's marks of word boundaries (`Ġ`, `▁`, `</w>`) as the spaces they stand for.",
        default=True,
    )
    probe: Flag = key(
        "true or false",
        "Also train a parser that sees nothing but attention, on one half of an annotated corpus.",
        default=False,
    )

    def parameters(self) -> dict[str, bool]:
        return {"probe": True} if self.probe else {}

    @model_validator(mode="after")
    def _check_head(self) -> Options:
        if (self.layer is None) != (self.head is None):
            missing, given = ("layer", "head") if self.layer is None else ("head", "layer")
            raise WrongValue(given, f"`{given}` is {getattr(self, given)}, but the block has no `{missing}`.")
        return self


class HeadsStack(TypedDict):
    """The heads of one stack."""

    layers: list[int]
    heads: list[int]
    """The number of heads of each layer."""
    kv_heads: NotRequired[list[int]]
    """The number of heads of keys of each layer, if heads share them: successive heads have the same."""
    rows: str
    cols: str
    telling: list[Blob]
    """The weights of each layer's most telling texts, stored as weights are: of each head its texts, (cols, rows)."""


class HeadsState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    stack: str
    show: Literal["scatter", "map", "grid", "table", "relations"]
    x: str
    y: str
    color: str
    sort: str | None
    ascending: bool
    layer: int | None
    """The layer of the head that is held."""
    head: int | None
    text: int
    """The index of the shown text among the most telling ones of the head."""


class HeadsFigure(Drawn):
    """The data of an index of all heads."""

    stacks: dict[str, HeadsStack]
    index: Blob
    """JSON: the measures of each stack, and the texts that are shown."""
    notes: str
    initial: HeadsState


SIDES = {"cross": ("target", "text"), "decoder": ("target", "target")}
"""The sequences of rows and columns of a stack, where they are not the text itself."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an index of heads.

    Raises:
        BlockError: if the options name a stack, a measure or a head that is not there.
    """
    meta = entry.meta["heads"]
    stack = _stack(block, options, [name for name in STACKS if name in meta["stacks"]])
    indices = {name: HeadIndex(entry, name) for name in STACKS if name in meta["stacks"]}
    index = indices[stack]
    _check(block, options, index)
    data: HeadsFigure = {
        "view": "heads",
        "theme": block.theme,
        "stacks": {name: _stack_data(name, index) for name, index in indices.items()},
        "index": {"content": _index(entry, indices, pretty=options.prettify_tokens)},
        "notes": notes(meta, index),
        "initial": {
            "stack": stack,
            "show": options.show,
            "x": options.x,
            "y": options.y,
            "color": options.color,
            "sort": options.sort,
            "ascending": False,
            "layer": options.layer,
            "head": options.head,
            "text": 0,
        },
    }
    shown = Shown(options.show, options.x, options.y, options.color, options.sort)
    return Drawing(
        data,
        picture(index, shown, block.theme),
        sentence(str(block.model), meta, index, stack if len(indices) > 1 else ""),
        height(index, shown) + _detail(options, entry, index),
        PANEL,
    )


def _stack(block: Block, options: Options, names: list[str]) -> str:
    """Return the name of the stack that is shown first.

    Raises:
        BlockError: if there is no such stack.
    """
    if options.stack is None:
        return names[0]
    if options.stack not in names:
        raise block.wrong("stack", f"`stack` is {options.stack!r}; {block.subject} has {', '.join(names)}.")
    return options.stack


def _check(block: Block, options: Options, index: HeadIndex) -> None:
    """Check that the measures, the picture and the head that the block names are there.

    Raises:
        BlockError: if one of them is not.
    """
    known = [measure["name"] for measure in index.measures]
    for name in ("x", "y", "color", "sort"):
        value: str | None = getattr(options, name)
        if value is not None and value not in known and (name, value) != ("color", KIND):
            raise block.wrong(name, _no_measure(name, value, [*known, KIND] if name == "color" else known))
    if options.show == "relations" and not index.relations:
        raise block.wrong("show", "`show` is 'relations', but the texts have none: they are read from CoNLL-U.")
    if options.show == "map" and index.map is None:
        raise block.wrong("show", "`show` is 'map', but there is no map of so few heads.")
    if options.layer is not None and (options.layer, options.head) not in index.places:
        raise _no_head(block, options, index)


def _no_measure(name: str, value: str, known: list[str]) -> str:
    """Return the message about a measure that is not there."""
    near = difflib.get_close_matches(value, known, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"`{name}` is {value!r}{hint}; these heads have {', '.join(known)}."


def _no_head(block: Block, options: Options, index: HeadIndex) -> BlockError:
    """Return the error about a head that is not there."""
    if options.layer not in index.layers:
        return block.wrong(
            "layer", f"`layer` is {options.layer}; {block.subject} has {numbered('layer', index.layers)}."
        )
    heads = index.heads[index.layers.index(options.layer)]
    known = numbered("head", list(range(heads)))
    return block.wrong("head", f"`head` is {options.head}; layer {options.layer} of {block.subject} has {known}.")


def _stack_data(name: str, index: HeadIndex) -> HeadsStack:
    """Return the data of one stack."""
    rows, cols = SIDES.get(name, ("text", "text"))
    blobs: list[Blob] = [{"blob": f"telling/{name}/{layer}"} for layer in index.layers]
    data: HeadsStack = {
        "layers": index.layers,
        "heads": index.heads,
        "rows": rows,
        "cols": cols,
        "telling": blobs,
    }
    return data if index.kv_heads is None else {**data, "kv_heads": index.kv_heads}


def _index(entry: Entry, indices: dict[str, HeadIndex], *, pretty: bool) -> bytes:
    """Return what the script reads of all heads: JSON, deflated."""
    content = {
        "stacks": {
            name: {
                "measures": index.measures,
                "values": {measure: _rounded(values) for measure, values in index.values.items()},
                "kinds": index.kinds,
                "kind": index.kind,
                "references": index.references,
                "map": index.map,
                "relations": index.relations,
                "telling": index.telling,
            }
            for name, index in indices.items()
        },
        "examples": [
            {"line": example["line"], "sequences": _sequences(example["sequences"], pretty=pretty)}
            for example in entry.meta["examples"]
        ],
    }
    return zlib.compress(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), 9)


def _rounded(values: Values) -> list[float | None]:
    """Return values with as many digits as a reader can see."""
    return [None if value is None else round(value, 4) for value in values]


def _sequences(sequences: Mapping[str, Any], *, pretty: bool) -> dict[str, TokenSequence]:
    """Return the tokens of one text as a head view shows them."""
    text = Entry({"sequences": sequences}, {})
    return {name: sequence(text, name, pretty=pretty) for name in sequences}


def _detail(options: Options, entry: Entry, index: HeadIndex) -> str:
    """Return the CSS height of the text below the picture, after a plus sign; empty if no head is chosen."""
    if options.layer is None or options.head is None:
        return ""
    at = index.places.index((options.layer, options.head))
    if not index.telling[at]:
        return ""
    sequences = entry.meta["examples"][index.telling[at][0]]["sequences"].values()
    tokens = max(_shown_tokens(part, index.kinds[index.kind[at]]) for part in sequences)
    return f" + {height_of(tokens)} + {DETAIL}px + clamp(0px,(600px - 100cqw)*99,{WRAPPED}px)"


def _shown_tokens(sequence: Mapping[str, Any], kind: str) -> int:
    """Return the number of tokens that the head view shows at first. It leaves out special tokens, unless the head is
    of their kind."""
    special = [sequence["tokens"][position] for position in sequence["special"]]
    return len(sequence["tokens"]) - (0 if kind in special else len(special))


VIEW = View(
    "heads",
    Options,
    HEADS,
    draw,
    script=own_script("heads"),
    data=HeadsFigure,
    measures=MEASURES,
    state=("stack", "show", "x", "y", "color", "sort", "ascending", "layer", "head", "text"),
    checks={"ascending": state_checks.one_of("true", "false"), "text": state_checks.one_of("0", "1", "2")},
)
