"""The head view: the tokens in two columns, and a line between them for each weight. Colour shows the head, opacity the
weight.

It follows BertViz's head view (Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model").
"""

from __future__ import annotations

from dataclasses import replace

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention import state_checks
from mkdocs_attnviz.views.attention.budget import ship
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.attention.figure_data import AttentionFigure
from mkdocs_attnviz.views.attention.options import WEIGHTS_STATE, Selection, WeightOptions, data, offered, select
from mkdocs_attnviz.views.attention.preview import preview
from mkdocs_attnviz.views.attention.sentence import is_plain, sentence
from mkdocs_attnviz.views.attention.shared_keys import common_groups
from mkdocs_attnviz.views.attention.weights import Layer
from mkdocs_attnviz.views.attention.window import Window, window
from mkdocs_attnviz.views.drawing import Drawing, fits_page
from mkdocs_attnviz.views.measures.attention import WEIGHT_MEASURES
from mkdocs_attnviz.views.svg.document import height_of, stacked, titled
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.lines import picture
from mkdocs_attnviz.views.view import View, own_script

SQUARE, LABELLED, GAP, NARROW = 26, 38, 8, 328
"""The sizes in px of the squares of heads: a square, one with the name of its keys below, the gap between groups, and
the width of a narrow figure."""
TITLE, AROUND = 32, 104  # px: above each of two pictures side by side, and around a picture below another one


class Options(WeightOptions):
    """The block keys of the head view; it has none of its own."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of attention weights.

    Raises:
        BlockError: if the options do not fit the model.
    """
    selection = select(block, options, entry)
    other = _second_head(block, options, selection)
    selection = selection if other is None else replace(selection, heads=selection.heads[:1])
    first = window(block, entry, selection)
    figure_data = data("head", block, entry, selection)
    shipped = ship(figure_data, block, entry, selection)
    if first.layer is not None:
        _add_preview(options, entry, selection, figure_data, first.layer)
    height = height_of(max(first.rows.total, first.cols.total)) + _squares(entry, selection)
    description = sentence(block, entry, selection, first) + shipped
    explained = "Opacity = weight · left attends to right"
    if other is None:
        drawn = with_legend(picture(first, block.theme), block.theme, explained, heads=_coloured(first))
        return Drawing(figure_data, drawn, description, height)
    second = window(block, entry, other)
    both = [
        titled(picture(shown, block.theme), f"{part.layer}·{part.heads[0]}", block.theme)
        for shown, part in ((first, selection), (second, other))
    ]
    description = f"{description} Beside it: {sentence(block, entry, other, second)}"
    room = f"{height} + {TITLE}px + clamp(0px,(600px - 100cqw)*99,{height} + {AROUND}px)"
    drawn = with_legend(stacked(both), block.theme, explained)
    return Drawing(figure_data, drawn, description, room, wraps=False)


def _coloured(first: Window) -> list[int]:
    """Return the heads that have lines in their own colours; none if several are combined."""
    return [head for head in first.heads if head is not None]


def _squares(entry: Entry, selection: Selection) -> str:
    """Return the CSS height that the squares of heads with shared keys need in a narrow figure, after a plus sign."""
    layers = entry.meta["stacks"][selection.stack]["layers"]
    layer = next(layer for layer in layers if layer["layer"] == selection.layer)
    shown = offered(layer["heads"], selection.options.include_heads)
    groups = common_groups([layer], shown)
    if not groups:
        return ""
    lines = -(-(SQUARE * len(shown) + GAP * len(groups)) // NARROW)
    return f" + clamp(0px,(600px - 100cqw)*99,{LABELLED * lines - SQUARE}px)"


def _second_head(block: Block, options: Options, selection: Selection) -> Selection | None:
    """Return the head that the block's `state` shows beside the first one, or None."""
    parts = dict(part.partition("=")[::2] for part in (block.state or "").split("&"))
    layer, _, head = parts.get("beside", "").partition(",")
    if not (layer.isdecimal() and head.isdecimal()):
        return None
    heads = 0 if options.across_layers == "rollout" else selection.stacks[selection.stack].get(int(layer), 0)
    return replace(selection, layer=int(layer), heads=[int(head)]) if int(head) < heads else None


def _add_preview(
    options: Options, entry: Entry, selection: Selection, figure_data: AttentionFigure, layer: Layer
) -> None:
    """Add the lines of the first picture to `figure_data`, so that they are drawn before the layer's file arrives. This
    is done only if the weights are drawn unchanged and the layer is in a file."""
    if fits_page(figure_data, entry) or not is_plain(options) or options.min_weight or options.mass:
        return
    lines, share = preview(layer, selection.heads)
    stack = figure_data["stacks"][selection.stack]
    shown = next(layer for layer in stack["layers"] if layer["layer"] == selection.layer)
    shown["preview"] = {"ahead": True, "content": lines, "share": round(share, 4)}


VIEW = View(
    "head",
    Options,
    ATTENTION,
    draw,
    script=own_script("head"),
    data=AttentionFigure,
    state=(*WEIGHTS_STATE, "selected", "beside"),
    checks={"selected": state_checks.selected, "beside": state_checks.beside},
    measures=WEIGHT_MEASURES,
)
