"""The static picture of a head view: tokens left and right, and a line for each of the strongest weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

from mkdocs_attnviz.views.attention.weights import Weight
from mkdocs_attnviz.views.attention.window import TOKENS, Side, Window
from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import HEADS, ROW, document, escape, palette, styles

LINES = 250
LEFT, RIGHT, WIDTH = 160, 400, 560
SPAN, BEND = 240, 96
WEAKEST = 0.002


def picture(window: Window, theme: str) -> Picture:
    height = max(len(window.rows.texts), len(window.cols.texts)) * ROW
    body = [*_strokes(_strongest(window), len(window.heads))]
    body += _column(window.rows, LEFT - 8, ' text-anchor="end"')
    body += _column(window.cols, RIGHT + 8, "")
    used = sorted({_colour(head) for head in window.heads})

    def rules(scheme: dict[str, Any]) -> str:
        colours = {str(number): colour for number, colour in enumerate(scheme["heads"])} | {"m": scheme["text"]}
        strokes = "".join(f".h{name}{{stroke:{colours[name]}}}" for name in used)
        return f"text{{fill:{scheme['text']}}}.s{{fill:{scheme['pale']}}}{strokes}"

    style = f"text{{font:14px system-ui,sans-serif}}path{{stroke-width:2;fill:none}}{styles(palette(theme), rules)}"
    return Picture(document(WIDTH, height, style, body), WIDTH, height)


def _strongest(window: Window) -> list[Weight]:
    """The largest first. Most weights are told apart as bare numbers: there are thousands in each figure."""
    every = list(chain.from_iterable(chain.from_iterable(window.weights)))  # head by head, row by row
    counts = Counter(every)
    left, least = LINES, WEAKEST
    for weight in sorted(counts, reverse=True):  # a few hundred: they come from bytes
        left -= counts[weight]
        if left <= 0:
            least = max(weight, WEAKEST)
            break
    found = [at for at in range(len(every) - 1, -1, -1) if every[at] >= least]
    found.sort(key=every.__getitem__, reverse=True)
    cols = len(window.cols.texts)
    size = cols * len(window.rows.texts)
    heads = [-1 if colour is None else colour for colour in window.heads]
    return [
        Weight(weight, heads[at // size], at % size // cols, at % cols)
        for at in found[:LINES]
        if (weight := every[at]) > WEAKEST
    ]


def _colour(head: int | None) -> str:
    return "m" if head is None or head < 0 else str(head % HEADS)


def _strokes(lines: list[Weight], active: int) -> Iterator[str]:
    """One path for all lines of a head and a tenth of opacity: a line then costs a dozen bytes."""
    paths: dict[tuple[int, int], list[str]] = defaultdict(list)
    for line in lines:
        tenth = round(10 * opacity(line.value, active))
        if tenth:
            paths[line.head, tenth].append(_curve(line.row, line.col))
    for (head, tenth), path in sorted(paths.items()):
        yield f'<path class="h{_colour(head)}" opacity="{tenth / 10:g}" d="{"".join(path)}"/>'


@lru_cache(maxsize=TOKENS**2)
def _curve(row: int, col: int) -> str:
    start, fall = row * ROW + ROW // 2, (col - row) * ROW
    return f"M{LEFT} {start}c{BEND} 0 {SPAN - BEND} {fall} {SPAN} {fall}"


@lru_cache(maxsize=10_000)
def opacity(weight: float, active: int) -> float:
    """As in `frontend/src/parts/marks.ts`: BertViz's weight ÷ active heads makes twelve heads invisible."""
    return min(1.0, float(weight**0.75 / active**0.5))


def _column(side: Side, x: int, anchor: str) -> Iterator[str]:
    for position, text in enumerate(side.texts):
        pale = ' class="s"' if side.special[position] else ""
        yield f'<text x="{x}" y="{position * ROW + 16}"{anchor}{pale}>{escape(text)}</text>'
