"""Head view: the tokens twice, and between them a line for each weight. Colour is the head, opacity the weight.

After BertViz's head view (Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model").
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention import state_checks
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.attention.options import WEIGHTS_STATE, Selection, WeightOptions, data, select
from mkdocs_attnviz.views.attention.preview import preview
from mkdocs_attnviz.views.attention.sentence import is_plain, sentence
from mkdocs_attnviz.views.attention.weights import Layer
from mkdocs_attnviz.views.attention.window import window
from mkdocs_attnviz.views.drawing import Drawing, fits_page
from mkdocs_attnviz.views.svg.document import height_of, stacked, titled
from mkdocs_attnviz.views.svg.lines import picture
from mkdocs_attnviz.views.view import ATTENTION_SCRIPT, View

TITLE, AROUND = 32, 104  # px above each of two pictures side by side; and around one that stands below the other


class Options(WeightOptions):
    """None of its own."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    found = select(block, options, entry)
    other = _beside(block, options, found)
    found = found if other is None else replace(found, heads=found.heads[:1])
    first = window(block, entry, found)
    made = data("head", block, entry, found)
    _hurry(options, entry, found, made)
    height = height_of(max(first.rows.total, first.cols.total))
    said = sentence(block, entry, found, first)
    if other is None:
        return Drawing(made, picture(first, block.theme), said, height)
    second = window(block, entry, other)
    both = [
        titled(picture(each, block.theme), f"{which.layer}·{which.heads[0]}", block.theme)
        for each, which in ((first, found), (second, other))
    ]
    said = f"{said} Beside it: {sentence(block, entry, other, second)}"
    room = f"{height} + {TITLE}px + clamp(0px,(600px - 100cqw)*99,{height} + {AROUND}px)"
    return Drawing(made, stacked(both), said, room, wraps=False)


def _beside(block: Block, options: Options, found: Selection) -> Selection | None:
    """Return the head that the block's `state` sets beside the first one; None where there is no such head."""
    parts = dict(part.partition("=")[::2] for part in (block.state or "").split("&"))
    layer, _, head = parts.get("beside", "").partition(",")
    if not (layer.isdecimal() and head.isdecimal()):
        return None
    heads = 0 if options.across_layers == "rollout" else found.stacks[found.stack].get(int(layer), 0)
    return replace(found, layer=int(layer), heads=[int(head)]) if int(head) < heads else None


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
    state=(*WEIGHTS_STATE, "selected", "beside"),
    checks={"selected": state_checks.selected, "beside": state_checks.beside},
)
