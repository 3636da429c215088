"""Head view: the tokens twice, and between them a line for each weight. Colour is the head, opacity the weight.

After BertViz's head view (Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model").
"""

from __future__ import annotations

from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.attention.options import WEIGHTS_STATE, Selection, WeightOptions, data, select
from mkdocs_attnviz.views.attention.preview import preview
from mkdocs_attnviz.views.attention.sentence import is_plain, sentence
from mkdocs_attnviz.views.attention.weights import Layer
from mkdocs_attnviz.views.attention.window import window
from mkdocs_attnviz.views.drawing import Drawing, fits_page
from mkdocs_attnviz.views.svg.document import height_of
from mkdocs_attnviz.views.svg.lines import picture
from mkdocs_attnviz.views.view import ATTENTION_SCRIPT, View


class Options(WeightOptions):
    """None of its own."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    found = select(block, options, entry)
    first = window(block, entry, found)
    made = data("head", block, entry, found)
    _hurry(options, entry, found, made)
    rows = max(first.rows.total, first.cols.total)
    return Drawing(made, picture(first, block.theme), sentence(block, entry, found, first), height_of(rows))


def _hurry(options: Options, entry: Entry, found: Selection, made: dict[str, Any]) -> None:
    """The first picture's lines ahead of their layer, if that is drawn as it is and comes later than the page."""
    if fits_page(made, entry) or not is_plain(options) or options.min_weight or options.mass:
        return
    stack = made["stacks"][found.stack]
    rows, cols = (len(made["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
    heads = found.stacks[found.stack][found.layer]
    lines, share = preview(Layer(entry.blobs[f"{found.stack}/{found.layer}"], rows, cols, heads), found.heads)
    layer = next(layer for layer in stack["layers"] if layer["layer"] == found.layer)
    layer["preview"] = {"ahead": True, "content": lines, "share": round(share, 4)}


VIEW = View(
    "head",
    Options,
    ATTENTION,
    draw,
    script=ATTENTION_SCRIPT,
    state=(*WEIGHTS_STATE, "selected"),
)
