"""Matrix view: one head as a heat map, tokens that attend down its side, tokens attended to along its top."""

from __future__ import annotations

from dataclasses import replace

from mkdocs_attnviz.block import Block
from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.models.request import ATTENTION
from mkdocs_attnviz.views.cells import heat_map, levels
from mkdocs_attnviz.views.choice import Reading, Shown, data, sequence, shown
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.overview import SIDE as PARTS
from mkdocs_attnviz.views.overview import Overview, split
from mkdocs_attnviz.views.sentence import is_plain, sentence
from mkdocs_attnviz.views.svg import CAP
from mkdocs_attnviz.views.window import TOKENS, Side, Window, window

CAPTURE = ATTENTION
CELL, MOST, AROUND = 36, 576, 80
"""Heights in px: a cell and the whole, at most, and the controls and read-out around it."""
AXIS_LEFT, AXIS_TOP = 56, 18
"""px of the axes' names, as `parts/heat-map.ts` has them."""


class Options(Reading):
    """None of its own. Of several `heads` the first is shown; `across_heads` puts all of `include_heads` together."""


def draw(block: Block, entry: Entry) -> Drawing:
    options = block.options
    assert isinstance(options, Options)  # noqa: S101 — for the type checker: parse() made it
    found = shown(block, entry)
    if options.across_heads is None:
        found = replace(found, heads=found.heads[:1])
    elif options.heads is not None or options.head is not None:
        name = "heads" if options.head is None else "head"
        message = f"`{name}` chooses what a matrix shows of one head; `across_heads` takes all of `include_heads`."
        raise block.wrong(name, message)
    first = window(block, entry, found)
    return Drawing(
        data("matrix", block, entry, found),
        _picture(block, entry, found, first),
        sentence(block, entry, found, first),
        _height(first),
        AROUND,
    )


def _height(first: Window) -> str:
    """CSS height of cells and labels; in a narrow figure cells are smaller."""
    left, top = max(_label(first.rows), AXIS_LEFT), _label(first.cols) + AXIS_TOP
    rows, cols = first.rows.total, first.cols.total
    wanted = min(CELL * max(rows, 1) + top, MOST)
    return f"min({wanted}px,(100cqw - {left + 4}px)*{max(rows, 1) / max(cols, 1):.3g} + {top}px,{CAP})"


def _label(side: Side) -> int:
    """As `labelWidth` in `parts/heat-labels.ts` has it, of the tokens in the picture."""
    return min(112, round(7.6 * max(map(len, side.texts), default=1)) + 14)


def _picture(block: Block, entry: Entry, found: Shown, first: Window) -> Picture:
    """Every token where they are few; a coarse picture of all where they are many."""
    if max(first.rows.total, first.cols.total) > TOKENS and is_plain(block.options):
        grid = Overview(entry, found.stack).grid(found.layer, found.heads[0])
        stack = entry.meta["stacks"][found.stack]
        rows, cols = (_parts(block, entry, stack[side]) for side in ("rows", "cols"))
        return heat_map(grid, rows, cols, block.theme, found.heads[0])
    weights = first.weights[0]
    return heat_map(levels(weights), first.rows.texts, first.cols.texts, block.theme, first.heads[0], weights)


def _parts(block: Block, entry: Entry, name: str) -> list[str]:
    """The first token of each part of a coarse picture, after its position."""
    options = block.options
    assert isinstance(options, Options)  # noqa: S101 — for the type checker: parse() made it
    tokens = sequence(entry, name, pretty=options.prettify_tokens)["tokens"]
    return [f"{part[0]} {tokens[part[0]]}" for part in split(range(len(tokens)), PARTS)]
