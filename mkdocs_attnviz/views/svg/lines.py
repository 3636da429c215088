"""The static picture of a head view: tokens on the left and right, and lines for the strongest weights."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, compress
from typing import Any

from mkdocs_attnviz.views.attention.sinks import FADED
from mkdocs_attnviz.views.attention.weights import WEIGHT
from mkdocs_attnviz.views.attention.window import TOKENS, Side, Window
from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import HEADS, ROW, document, escape, palette, styles

LINES = 250
"""The largest number of lines."""
LEFT, RIGHT, WIDTH = 160, 400, 560
"""The x positions in px where lines begin and end, and the width of the picture."""
SPAN, BEND = 240, 96
"""The horizontal length of a line and of its bend, in px."""
WEAKEST = 0.002
"""The smallest weight that gets a line."""


def picture(window: Window, theme: str) -> Picture:
    """Return a picture of the tokens and the lines between them."""
    height = max(len(window.rows.texts), len(window.cols.texts)) * ROW
    body = [*_strokes(_strongest(window), len(window.heads), window.faded)]
    body += _column(window.rows, LEFT - 8, ' text-anchor="end"')
    body += _column(window.cols, RIGHT + 8, "")
    used = sorted({_colour(head) for head in window.heads})

    def rules(scheme: dict[str, Any]) -> str:
        """Return the CSS colours of a scheme."""
        colours = {str(number): colour for number, colour in enumerate(scheme["heads"])} | {"m": scheme["text"]}
        strokes = "".join(f".h{name}{{stroke:{colours[name]}}}" for name in used)
        return f"text{{fill:{scheme['text']}}}.s{{fill:{scheme['pale']}}}{strokes}"

    style = f"text{{font:14px system-ui,sans-serif}}path{{stroke-width:2;fill:none}}{styles(palette(theme), rules)}"
    return Picture(document(WIDTH, height, style, body), WIDTH, height)


def _strongest(window: Window) -> list[tuple[float, int, int, int]]:
    """Return the strongest weights in descending order, each as value, head, row and column.

    It compares bare numbers, or the bytes that stand for them, because each figure has thousands of weights.
    """
    values = window.values
    every: Sequence[float]  # head by head, row by row
    every = values if isinstance(values, bytes) else list(chain.from_iterable(chain.from_iterable(values)))
    weight_of: Callable[[Any], float] = WEIGHT.__getitem__ if isinstance(every, bytes) else float
    kept = _kept(every, _least(Counter(every), weight_of))
    found = list(compress(range(len(every)), kept))[::-1]
    found.sort(key=every.__getitem__, reverse=True)
    cols = len(window.cols.texts)
    size = cols * len(window.rows.texts)
    heads = [-1 if colour is None else colour for colour in window.heads]
    return [(weight_of(every[at]), heads[at // size], at % size // cols, at % cols) for at in found[:LINES]]


def _least(counts: Counter[Any], weight_of: Callable[[Any], float]) -> float:
    """Return the smallest value that is drawn. There are at most a few hundred different values, because weights are
    stored as bytes."""
    left, least = LINES, math.inf
    for value in sorted(counts, reverse=True):
        if left <= 0 or weight_of(value) <= WEAKEST:
            break
        left, least = left - counts[value], value
    return least


def _kept(every: Sequence[float], least: float) -> Iterable[int]:
    """Return 1 for each value that is drawn and 0 for the others."""
    if isinstance(every, bytes):
        below = int(min(least, 256))
        return every.translate(b"\0" * below + b"\1" * (256 - below))
    return [value >= least for value in every]


def _colour(head: int | None) -> str:
    """Return the name of a head's colour in CSS; `m` is for several heads combined."""
    return "m" if head is None or head < 0 else str(head % HEADS)


def _strokes(lines: list[tuple[float, int, int, int]], active: int, faded: Collection[int]) -> Iterator[str]:
    """Yield one SVG path for all lines of the same head and opacity, so that a line takes only a dozen bytes."""
    paths: dict[tuple[int, float], list[str]] = defaultdict(list)
    for value, head, row, col in lines:
        tenth = round(10 * opacity(value, active))
        if tenth:
            paths[head, tenth * (FADED if col in faded else 1)].append(_curve(row, col))
    for (head, tenths), path in sorted(paths.items()):
        yield f'<path class="h{_colour(head)}" opacity="{tenths / 10:g}" d="{"".join(path)}"/>'


@lru_cache(maxsize=TOKENS**2)
def _curve(row: int, col: int) -> str:
    """Return the SVG path of a line from a row to a column."""
    start, fall = row * ROW + ROW // 2, (col - row) * ROW
    return f"M{LEFT} {start}c{BEND} 0 {SPAN - BEND} {fall} {SPAN} {fall}"


@lru_cache(maxsize=10_000)
def opacity(weight: float, active: int) -> float:
    """Return the opacity of a line, as in `frontend/src/charts/marks.ts`. BertViz divides the weight by the number of
    active heads, which makes the lines of twelve heads invisible."""
    return min(1.0, float(weight**0.75 / active**0.5))


def _column(side: Side, x: int, anchor: str) -> Iterator[str]:
    """Yield the texts of one column of tokens."""
    for position, text in enumerate(side.texts):
        pale = ' class="s"' if side.special[position] else ""
        yield f'<text x="{x}" y="{position * ROW + 16}"{anchor}{pale}>{escape(text)}</text>'
