"""The matrix view: one head as a heat map. Rows are the tokens that attend; columns are the tokens attended to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention import state_checks
from mkdocs_attnviz.views.attention.budget import ship
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.attention.figure_data import AttentionFigure
from mkdocs_attnviz.views.attention.masks import Mask, read_mask
from mkdocs_attnviz.views.attention.options import WEIGHTS_STATE, Selection, WeightOptions, data, select, sequence
from mkdocs_attnviz.views.attention.overview import SIDE as PARTS
from mkdocs_attnviz.views.attention.overview import Overview, split, with_sink
from mkdocs_attnviz.views.attention.sentence import is_plain, sentence
from mkdocs_attnviz.views.attention.shared_keys import kv_heads
from mkdocs_attnviz.views.attention.window import TOKENS, Side, Window, window
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.measures.attention import WEIGHT_MEASURES
from mkdocs_attnviz.views.state_checks import one_of
from mkdocs_attnviz.views.svg.document import CAP
from mkdocs_attnviz.views.svg.heatmap import Barred, heat_map, levels, scale_end
from mkdocs_attnviz.views.svg.legend import Scale, with_legend
from mkdocs_attnviz.views.view import View, own_script

CELL, MOST, AROUND = 36, 576, 80
"""The heights in px: a cell at most, the whole picture at most, and the controls and read-out around it."""
AXIS_LEFT, AXIS_TOP = 56, 18
"""The space in px for the names of the axes, as in `charts/heat-map.ts`."""

ROWS_ATTEND, SHADED = "Rows attend to columns", " · shaded: not allowed"


class Options(WeightOptions):
    """The block keys of the matrix view; it has none of its own. It shows the first of several `heads`; `across_heads`
    combines all `include_heads`."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of attention weights.

    Raises:
        BlockError: if the options do not fit the model.
    """
    selection = select(block, options, entry)
    if options.across_heads is None:
        selection = replace(selection, heads=selection.heads[:1])
    elif options.heads is not None or options.head is not None:
        name = "heads" if options.head is None else "head"
        message = (
            f"`{name}` selects heads, but `across_heads` combines all of `include_heads`; remove one of the two keys."
        )
        raise block.wrong(name, message)
    first = window(block, entry, selection)
    figure_data = data("matrix", block, entry, selection)
    shipped = ship(figure_data, block, entry, selection)
    return Drawing(
        figure_data,
        _picture(block, options, entry, selection, first, _mask(entry, selection)),
        sentence(block, entry, selection, first) + shipped,
        _height(first),
        AROUND,
        wraps=_wraps(options, entry, selection),
    )


def _wraps(options: Options, entry: Entry, selection: Selection) -> bool:
    """Return whether the controls need a second line in a narrow figure, because there are more than layer and head.

    Rollout combines all heads, so its name takes the place of the head's control.
    """
    in_a_line = is_plain(options) or options.across_layers == "rollout"
    stack = entry.meta["stacks"][selection.stack]
    ends = (entry.meta["sequences"][stack[side]].get("sentence_b_start") for side in ("rows", "cols"))
    shared = any(map(kv_heads, stack["layers"]))  # said behind the head
    return len(selection.stacks) > 1 or not in_a_line or shared or all(end is not None for end in ends)


def _height(first: Window) -> str:
    """Return the CSS height of cells and labels. Cells are smaller in a narrow figure."""
    left, top = max(_label(first.rows), AXIS_LEFT), _label(first.cols) + AXIS_TOP
    rows, cols = first.rows.total, first.cols.total
    wanted = min(CELL * max(rows, 1) + top, MOST)
    return f"min({wanted}px,(100cqw - {left + 4}px)*{max(rows, 1) / max(cols, 1):.3g} + {top}px,{CAP})"


def _label(side: Side) -> int:
    """Return the length in px of the longest label, computed like `labelWidth` in `charts/heat-labels.ts`."""
    return min(112, round(7.6 * max(map(len, side.texts), default=1)) + 14)


def _mask(entry: Entry, selection: Selection) -> Mask | None:
    """Return which tokens of the layer that is shown may attend to which; None if all may, if that is not known, or if
    the picture has other cells than pairs of tokens."""
    if not is_plain(selection.options):
        return None
    meta = entry.meta["stacks"][selection.stack]
    rows, cols = (len(entry.meta["sequences"][meta[side].removesuffix("+sink")]["tokens"]) for side in ("rows", "cols"))
    number = next(layer for layer in meta["layers"] if layer["layer"] == selection.layer).get("mask")
    blob = entry.blobs.get(f"{selection.stack}/mask/{number}")
    if blob is not None:
        return read_mask(blob, rows, cols)
    return Mask(tuple(((0, row + 1),) for row in range(rows)), cols) if meta["causal"] else None


def _forbidden(mask: Mask | None, rows: int, cols: int) -> list[Barred]:
    """Return the cells that the mask forbids on a grid of so many rows and columns. A sink, the last column, is always
    allowed."""
    if mask is None:
        return []
    if mask.rows == rows and mask.cols <= cols:
        return [(row, *gap) for row, runs in enumerate(mask.runs) for gap in _gaps(runs, mask.cols)]
    grid = mask.coarse(rows, cols)
    allowed = [[(col, col + 1) for col, share in enumerate(shares) if share] for shares in grid]
    return [(row, *gap) for row, runs in enumerate(allowed) for gap in _gaps(runs, cols)]


def _gaps(runs: Iterable[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of columns between those that are given, up to `end`."""
    last = 0
    for start, stop in [*runs, (end, end)]:
        if start > last:
            yield last, start
        last = stop


def _picture(
    block: Block, options: Options, entry: Entry, selection: Selection, first: Window, mask: Mask | None
) -> Picture:
    """Return a picture with every token of a short text, or with a coarse grid of all tokens of a long text."""
    if max(first.rows.total, first.cols.total) > TOKENS and is_plain(selection.options):
        grid = Overview(entry, selection.stack).grid(selection.layer, selection.heads[0])
        grid = with_sink(grid, selection.sinks[selection.stack], first.cols.total, selection.sink)
        stack = entry.meta["stacks"][selection.stack]
        rows, cols = (_parts(options, entry, stack[side]) for side in ("rows", "cols"))
        barred = _forbidden(mask, len(grid), len(grid[0]))
        picture = heat_map(grid, rows, cols, block.theme, selection.heads[0], forbidden=barred)
        return with_legend(
            picture,
            block.theme,
            ROWS_ATTEND + SHADED * bool(barred),
            Scale("0", "1", power=0.5, colour=str(selection.heads[0])),
        )
    weights = first.weights[0]
    grid = levels(weights, options.contrast, first.faded)
    barred = _forbidden(mask, len(grid), len(grid[0]))
    picture = heat_map(grid, first.rows.texts, first.cols.texts, block.theme, first.heads[0], weights, barred)
    colours = _scale(weights, options.contrast, first)
    return with_legend(picture, block.theme, ROWS_ATTEND + SHADED * bool(barred), colours)


def _scale(weights: Sequence[Sequence[float]], contrast: float, first: Window) -> Scale:
    """Return the scale of the colours, which ends at the largest weight, or where larger ones have the same colour."""
    end, most = scale_end(weights, first.faded), max(map(max, weights), default=0.0)
    digits = 3 if end < 0.1 else 2
    head = first.heads[0]
    return Scale(
        "0",
        f"{'≥ ' * (most > end and not first.faded)}{end:.{digits}f}",
        power=0.75 * contrast,
        colour="text" if head is None else str(head),
    )


def _parts(options: Options, entry: Entry, name: str) -> list[str]:
    """Return the labels of a coarse grid: position and first token of each part."""
    tokens = sequence(entry, name, pretty=options.prettify_tokens)["tokens"]
    return [f"{part[0]} {tokens[part[0]]}" for part in split(range(len(tokens)), PARTS)]


VIEW = View(
    "matrix",
    Options,
    ATTENTION,
    draw,
    script=own_script("matrix"),
    data=AttentionFigure,
    state=(*WEIGHTS_STATE, "cell", "zoom"),
    checks={"cell": state_checks.cell, "zoom": one_of("fit", "cells")},
    measures=WEIGHT_MEASURES,
)
