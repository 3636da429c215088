"""Matrix view: one head as a heat map, tokens that attend down its side, tokens attended to along its top."""

from __future__ import annotations

from dataclasses import replace

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention import state_checks
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.attention.options import WEIGHTS_STATE, Selection, WeightOptions, data, select, sequence
from mkdocs_attnviz.views.attention.overview import SIDE as PARTS
from mkdocs_attnviz.views.attention.overview import Overview, split
from mkdocs_attnviz.views.attention.sentence import is_plain, sentence
from mkdocs_attnviz.views.attention.window import TOKENS, Side, Window, window
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.state_checks import one_of
from mkdocs_attnviz.views.svg.document import CAP
from mkdocs_attnviz.views.svg.heatmap import heat_map, levels
from mkdocs_attnviz.views.view import ATTENTION_SCRIPT, View

CELL, MOST, AROUND = 36, 576, 80
"""Heights in px: a cell and the whole, at most, and the controls and read-out around it."""
AXIS_LEFT, AXIS_TOP = 56, 18
"""px of the axes' names, as `parts/heat-map.ts` has them."""


class Options(WeightOptions):
    """None of its own. Of several `heads` the first is shown; `across_heads` puts all of `include_heads` together."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    found = select(block, options, entry)
    if options.across_heads is None:
        found = replace(found, heads=found.heads[:1])
    elif options.heads is not None or options.head is not None:
        name = "heads" if options.head is None else "head"
        message = f"`{name}` chooses what a matrix shows of one head; `across_heads` takes all of `include_heads`."
        raise block.wrong(name, message)
    first = window(block, entry, found)
    return Drawing(
        data("matrix", block, entry, found),
        _picture(block, options, entry, found, first),
        sentence(block, entry, found, first),
        _height(first),
        AROUND,
        wraps=_wraps(entry, found),
    )


def _wraps(entry: Entry, found: Selection) -> bool:
    """Return whether there are more controls than layer and head, for which a narrow figure has no room in one line."""
    stack = entry.meta["stacks"][found.stack]
    ends = (entry.meta["sequences"][stack[side]].get("sentence_b_start") for side in ("rows", "cols"))
    return len(found.stacks) > 1 or not is_plain(found.options) or all(end is not None for end in ends)


def _height(first: Window) -> str:
    """CSS height of cells and labels; in a narrow figure cells are smaller."""
    left, top = max(_label(first.rows), AXIS_LEFT), _label(first.cols) + AXIS_TOP
    rows, cols = first.rows.total, first.cols.total
    wanted = min(CELL * max(rows, 1) + top, MOST)
    return f"min({wanted}px,(100cqw - {left + 4}px)*{max(rows, 1) / max(cols, 1):.3g} + {top}px,{CAP})"


def _label(side: Side) -> int:
    """As `labelWidth` in `parts/heat-labels.ts` has it, of the tokens in the picture."""
    return min(112, round(7.6 * max(map(len, side.texts), default=1)) + 14)


def _picture(block: Block, options: Options, entry: Entry, found: Selection, first: Window) -> Picture:
    """Every token where they are few; a coarse picture of all where they are many."""
    if max(first.rows.total, first.cols.total) > TOKENS and is_plain(found.options):
        grid = Overview(entry, found.stack).grid(found.layer, found.heads[0])
        stack = entry.meta["stacks"][found.stack]
        rows, cols = (_parts(options, entry, stack[side]) for side in ("rows", "cols"))
        return heat_map(grid, rows, cols, block.theme, found.heads[0])
    weights = first.weights[0]
    grid = levels(weights, options.contrast)
    return heat_map(grid, first.rows.texts, first.cols.texts, block.theme, first.heads[0], weights)


def _parts(options: Options, entry: Entry, name: str) -> list[str]:
    """The first token of each part of a coarse picture, after its position."""
    tokens = sequence(entry, name, pretty=options.prettify_tokens)["tokens"]
    return [f"{part[0]} {tokens[part[0]]}" for part in split(range(len(tokens)), PARTS)]


VIEW = View(
    "matrix",
    Options,
    ATTENTION,
    draw,
    script=ATTENTION_SCRIPT,
    state=(*WEIGHTS_STATE, "cell", "zoom"),
    checks={"cell": state_checks.cell, "zoom": one_of("fit", "cells")},
)
