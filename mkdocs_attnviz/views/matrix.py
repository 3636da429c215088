"""Matrix view: one head as a heat map, tokens that attend down its side, tokens attended to along its top."""

from __future__ import annotations

from dataclasses import replace

from mkdocs_attnviz.block import Block
from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.models.request import ATTENTION
from mkdocs_attnviz.views.cells import heat_map, levels
from mkdocs_attnviz.views.choice import Reading, Shown, data, shown
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.overview import Overview
from mkdocs_attnviz.views.sentence import is_plain, sentence
from mkdocs_attnviz.views.svg import height_of
from mkdocs_attnviz.views.window import TOKENS, Window, window

CAPTURE = ATTENTION


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
        f"min({height_of(max(first.rows.total, first.cols.total) + 4)},90vw)",
    )


def _picture(block: Block, entry: Entry, found: Shown, first: Window) -> Picture:
    """Every token where they are few; a coarse picture of all where they are many."""
    if max(first.rows.total, first.cols.total) > TOKENS and is_plain(block.options):
        grid = Overview(entry, found.stack).grid(found.layer, found.heads[0])
        return heat_map(grid, (), (), block.theme)
    return heat_map(levels(first.weights[0]), first.rows.texts, first.cols.texts, block.theme)
