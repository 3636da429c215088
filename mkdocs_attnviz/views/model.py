"""The model view: every head of every layer as a small picture, and one opened head in full.

It follows BertViz's model view. The small pictures come from the overview blob, so that no layer has to be fetched for
them.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention import state_checks
from mkdocs_attnviz.views.attention.budget import ship
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.attention.figure_data import AttentionFigure, HeadOfLayer
from mkdocs_attnviz.views.attention.options import WEIGHTS_STATE, Selection, WeightOptions, data, offered, select
from mkdocs_attnviz.views.attention.overview import Grid, Overview, with_sink
from mkdocs_attnviz.views.attention.patterns import COLUMN, RECORD, patterns
from mkdocs_attnviz.views.attention.sentence import STACKS, sink_words
from mkdocs_attnviz.views.attention.shared_keys import common_groups, sharing
from mkdocs_attnviz.views.attention.weights import layer_of
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.measures.attention import WEIGHT_MEASURES
from mkdocs_attnviz.views.state_checks import one_of
from mkdocs_attnviz.views.svg.document import CAP, height_of
from mkdocs_attnviz.views.svg.heatmap import small_multiples
from mkdocs_attnviz.views.svg.legend import Scale, with_legend
from mkdocs_attnviz.views.view import View, own_script

CELL = 48  # px: the largest small picture
AXIS = 28  # px: the labels beside the rows
LEAST = 20  # px: the smallest small picture where all are in view
SCROLLED = 24  # px: the size of small pictures of which some are out of view
SCROLLBAR = 10  # px
WIDE_AXIS, NARROW = 60, 600
"""The width in px of the labels beside the rows in figures that are wider than `NARROW`."""
DETAIL = 80  # px: title, headings and read-out of the opened head
WIDTH = 736  # px of a figure
KEYS = 20  # px: the line of labels over heads that share keys
LABELLED, LARGEST, LABEL, HEADING, SORTED_HEIGHT = 34, 56, 16, 28, 720
"""The sizes in px of sorted pictures, as in `charts/thumbnails.ts`: smallest and largest picture, label, group heading,
total height."""

OF_WEIGHTS = Scale("0", "1", power=0.5, colour="text")
"""The scale of the small pictures. It is grey, because it holds for each head's colour."""


class Options(WeightOptions):
    """The block keys of the model view. `layer` together with `head` opens that head."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of attention weights.

    Raises:
        BlockError: if the options do not fit the model.
    """
    selection = select(block, options, entry)
    opened: HeadOfLayer | None = None if options.head is None else {"layer": selection.layer, "head": options.head}
    figure_data = data("model", block, entry, selection)
    for name, layers in selection.stacks.items():
        figure_data["stacks"][name]["overview"] = {"content": Overview(entry, name).blob(layers)}
        figure_data["stacks"][name]["patterns"] = {"content": _patterns(entry, name, layers)}
    figure_data["options"] |= {
        "open": opened,
        "heads": offered(selection.stacks[selection.stack][selection.layer], options.include_heads),
    }
    shipped = ship(figure_data, block, entry, selection)
    picture = _picture(block, options, entry, selection)
    description = _sentence(block, entry, selection, opened) + shipped
    pairs = any(sequence["sentence_b_start"] is not None for sequence in figure_data["sequences"].values())
    return Drawing(
        figure_data,
        picture,
        description,
        _height(block, options, figure_data, selection),
        wraps=pairs or len(selection.stacks) > 1,
    )


def _patterns(entry: Entry, stack: str, layers: Mapping[int, int]) -> bytes:
    """Return the attention pattern of each head of these layers, deflated."""
    meta = entry.meta["stacks"][stack]
    cols = entry.meta["sequences"][meta["cols"]]
    special = cols.get("special") or []
    square = meta["cols"].removesuffix("+sink") == meta["rows"]
    records = (
        patterns(layer_of(entry, stack, layer, heads), heads, square, special, meta["causal"])
        for layer, heads in layers.items()
    )
    return zlib.compress(b"".join(records), 6)


def _height(block: Block, options: Options, figure_data: AttentionFigure, selection: Selection) -> str:
    """Return the CSS height of the small pictures, which shrink in a narrow window, and of the opened head."""
    grid = (
        _sorted(options, figure_data, selection)
        if "order=pattern" in (block.state or "")
        else _rows(figure_data, selection)
    )
    if figure_data["options"]["open"] is None:
        return grid
    stack = figure_data["stacks"][selection.stack]
    tokens = max(len(figure_data["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
    return f"{grid} + {height_of(tokens)} + {DETAIL}px"


def _rows(figure_data: AttentionFigure, selection: Selection) -> str:
    """Return the CSS height of the small pictures in rows by layer."""
    shown = figure_data["options"]["heads"]
    count, heads = len(selection.stacks[selection.stack]), len(shown)
    keys = f" + {KEYS}px" if common_groups(figure_data["stacks"][selection.stack]["layers"], shown) else ""
    needed = LEAST * heads + WIDE_AXIS
    if needed <= NARROW:
        needed = LEAST * heads + AXIS
    scrolled = f"min({SCROLLED * count + SCROLLBAR}px,({needed}px - 100cqw)*99)"
    fitting = f"max({LEAST * count}px,(100cqw - {AXIS}px)*{count / heads:.3g},{scrolled})"
    largest = LARGEST if count == 1 else CELL * count
    return f"min({largest}px,{fitting},{CAP}){keys}"


def _sorted(options: Options, figure_data: AttentionFigure, selection: Selection) -> str:
    """Return the CSS height of the small pictures in groups by pattern, in a figure of the usual width."""
    records = zlib.decompress(figure_data["stacks"][selection.stack]["patterns"]["content"])
    groups: Counter[tuple[int, int]] = Counter()
    for heads in selection.stacks[selection.stack].values():
        layer, records = records[: RECORD.size * heads], records[RECORD.size * heads :]
        kinds = [RECORD.unpack_from(layer, RECORD.size * head) for head in offered(heads, options.include_heads)]
        groups.update((kind, column if kind == COLUMN else 0) for kind, _, column, *_ in kinds)
    pitch = max(LABELLED, min(LARGEST, (WIDTH - 60) // len(figure_data["options"]["heads"])))
    lines = sum(-(-count // (WIDTH // pitch)) for count in groups.values())
    height = (
        lines * (pitch + LABEL) + len(groups) * HEADING - 24
    )  # 24 px: the line of headings that only the order by layer has
    return f"min({height}px,{SORTED_HEIGHT - 24}px,{CAP})"


def _picture(block: Block, options: Options, entry: Entry, selection: Selection) -> Picture:
    """Return a picture of all heads."""
    overview = Overview(entry, selection.stack)
    tokens = len(entry.meta["sequences"][entry.meta["stacks"][selection.stack]["cols"]]["tokens"])

    def grid(layer: int, head: int) -> Grid:
        """Return the small picture of a head."""
        sinks = selection.sinks[selection.stack]
        return with_sink(overview.grid(layer, head), sinks, tokens, selection.sink)

    grids = {
        layer: {head: grid(layer, head) for head in offered(heads, options.include_heads)}
        for layer, heads in selection.stacks[selection.stack].items()
    }
    heads = sorted({head for row in grids.values() for head in row})
    picture = small_multiples(grids, block.theme, common_groups(_layers(entry, selection), heads))
    explained = "Colour = head · rows of a small picture attend to its columns"
    return with_legend(picture, block.theme, explained, OF_WEIGHTS)


def _layers(entry: Entry, selection: Selection) -> list[dict[str, Any]]:
    """Return the layers that are shown, as the entry's `meta` has them."""
    layers = entry.meta["stacks"][selection.stack]["layers"]
    return [layer for layer in layers if layer["layer"] in selection.stacks[selection.stack]]


def _sentence(block: Block, entry: Entry, selection: Selection, opened: HeadOfLayer | None) -> str:
    """Return a sentence with the numbers of layers and heads."""
    layers = selection.stacks[selection.stack]
    heads = sorted(set(layers.values()))
    per_layer = str(heads[0]) if len(heads) == 1 else f"{heads[0]} to {heads[-1]}"
    what = f"{STACKS[selection.stack]} of {block.model or block.tensors}"
    how = sink_words(entry, selection, "scaled to its largest weight")
    shared = sharing(_layers(entry, selection))
    description = f"{what}: {len(layers)} layers of {per_layer} heads{shared}, each a small picture{how}."
    return description if opened is None else f"{description} Opened: layer {opened['layer']}, head {opened['head']}."


VIEW = View(
    "model",
    Options,
    ATTENTION,
    draw,
    script=own_script("model"),
    data=AttentionFigure,
    state=(*WEIGHTS_STATE, "selected", "open", "order"),
    checks={"selected": state_checks.selected, "order": one_of("layer", "pattern")},
    measures=WEIGHT_MEASURES,
)
