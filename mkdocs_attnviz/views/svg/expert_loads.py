"""Static pictures of the load of experts: bars by layer, and the tokens that each expert of one layer gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.expert_balance import Router, load, percent, variation
from mkdocs_attnviz.views.router_loads import RouterLoads
from mkdocs_attnviz.views.svg.document import CAP, capped, document, escape, palette, styles
from mkdocs_attnviz.views.svg.expert_colours import LEVELS, expert_rules
from mkdocs_attnviz.views.visible_tokens import visible

WIDTH, SIDE, CHARACTER = 680, 72, 8
"""The widths in px of a picture, of the names of its rows, and of a letter."""
HIGH, BARS, SAID = 36, 52, 150
"""The heights in px of the highest bar and of a layer's bars, and the room for what stands behind them."""
TICK = 2
"""The height in px of the tick at an expert's mean probability; half of it is its margin above and below."""
ROW, LEAST, NAMES = 26, 32, 112
"""The sizes in px of tokens by expert: the height of a row, the width of the narrowest token, that of a row's name."""
LAYERS, EXPERTS, LONGEST = 14, 16, 12
"""The limits of the pictures: layers, experts, and characters of a token."""
TALLEST = 480
"""The height in px of the interactive picture at most."""
LAYER, NARROW_LAYER, AXIS = 48, 64, 18
"""The heights in px of the bars of one layer, also in a narrow figure, and of the experts' numbers below all bars."""
CONTROLS = "clamp(0px,(400px - 100cqw)*99,18px)"
"""The height of a second line of controls, which they take in a very narrow figure."""
FONT = "text{font:12px system-ui,sans-serif}"

T = TypeVar("T")


def height_of_bars(layers: int) -> str:
    """Return the CSS height of the interactive bars of so many layers."""
    wide, narrow = (min(TALLEST, height * layers + AXIS) for height in (LAYER, NARROW_LAYER))
    return f"min({wide}px + clamp(0px,(520px - 100cqw)*99,{narrow - wide}px),{CAP})"


def height_of_rows(rows: int, more: int = 0) -> str:
    """Return the CSS height of a grid with so many rows, and `more` px."""
    return capped(min(TALLEST, ROW * rows + more))


def spaced(items: Sequence[T], most: int) -> list[T]:
    """Return items in their order, evenly spaced if there are too many."""
    count = len(items)
    places = range(count) if count <= most else sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})
    return [items[place] for place in places]


def load_picture(routers: Sequence[Router], theme: str, expert: int | None, *, ticks: bool = False) -> Picture:
    """Return a picture of the load: a row of bars for each layer, the last on top, with a line where all experts would
    be equal. With `ticks`, the mean probability of each expert is marked."""
    rows = spaced(routers, LAYERS)[::-1]
    experts = max(each.experts for each in routers)
    wide = max(1, (WIDTH - SIDE - SAID) // experts)
    most = max(largest(each, ticks=ticks) for each in rows) or 1.0
    body = []
    for row, each in enumerate(rows):
        bottom, end = BARS * (row + 1) - 10, SIDE + wide * each.experts
        body.append(f'<text class="p" x="0" y="{bottom}">layer {each.about["layer"]}</text>')
        body += _bars(each, bottom, wide, most, expert)
        body += _ticks(each, bottom, wide, most) if ticks else []
        even = bottom - HIGH / each.experts / most
        body.append(f'<path class="l" d="M{SIDE} {even:.4g}H{end}" stroke-dasharray="3 2"/>')
        said = f"CV {variation(each):.2f} · most {percent(max(load(each)))}"
        body.append(f'<text class="p" x="{end + 8}" y="{bottom}">{said}</text>')
    height = BARS * len(rows) + 8
    if wide >= 2 * CHARACTER:
        body += [_text(str(number), SIDE + wide * (number + 0.5), height) for number in range(experts)]
    style = FONT + styles(palette(theme), expert_rules(range(experts), experts))
    return Picture(document(WIDTH, height + 6, style, body), WIDTH, height + 6)


def largest(router: Router, *, ticks: bool) -> float:
    """Return the largest share of a layer, or with `ticks` the largest share or mean probability."""
    return max([*load(router), *((router.probabilities or ()) if ticks else ())])


def _bars(router: Router, bottom: int, wide: int, most: float, expert: int | None) -> Iterator[str]:
    for number, share in enumerate(load(router)):
        tall = HIGH * share / most
        place = f'x="{SIDE + wide * number}" y="{bottom - tall:.4g}" width="{max(1, wide - 2)}" height="{tall:.3g}"'
        pale = "" if expert in (None, number) else ' opacity="0.3"'
        yield f'<rect class="e{number}"{pale} {place}/>'


def _ticks(router: Router, bottom: int, wide: int, most: float) -> Iterator[str]:
    for number, mean in enumerate(router.probabilities or ()):
        middle, width = bottom - HIGH * mean / most, max(1, wide - 2)
        for name, tall in (("g", 2 * TICK), ("t", TICK)):
            place = f'x="{SIDE + wide * number}" y="{middle - tall / 2:.4g}" width="{width}" height="{tall}"'
            yield f'<rect class="{name}" {place}/>'


def tokens_picture(router: RouterLoads, theme: str, expert: int | None, *, pretty: bool) -> Picture:
    """Return a picture of the tokens that each expert of a layer gets the largest shares of, a row for each expert."""
    numbers = spaced(range(router.experts), EXPERTS)
    if expert is not None and expert not in numbers:
        numbers = sorted([*numbers[:-1], expert])
    shown, shares = {number: router.tokens_of(number) for number in numbers}, load(router)
    texts = {
        number: [_short(visible(each.pretty if pretty else each.token)) for each in tokens]
        for number, tokens in shown.items()
    }
    columns = _columns(list(texts.values()))
    body, used = [], []
    for row, number in enumerate(numbers):
        name = f"expert {number} · {percent(shares[number])}"
        body.append(f'<text class="p" x="0" y="{ROW * row + 17}">{name}</text>')
        for (x, wide), token, text in zip(columns, shown[number], texts[number], strict=False):
            level = round(LEVELS * token.share) if expert in (None, number) else 0
            used += [(number, level)] * bool(level)
            ink = f' class="i{number}-{level}"' if level else ""
            place = f'x="{x + 1}" y="{ROW * row + 1}" width="{wide - 2}" height="{ROW - 2}"'
            body += [f'<rect class="e{number}-{level}" {place}/>'] if level else []
            body.append(_text(escape(text), x + wide / 2, ROW * row + 17, ink))
    width = max(WIDTH, sum(columns[-1]) if columns else 0)
    style = FONT + styles(palette(theme), expert_rules((), router.experts, used))
    return Picture(document(width, ROW * len(numbers), style, body), width, ROW * len(numbers))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _columns(rows: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Return the place and the width of each column of texts that there is room for."""
    count = max(map(len, rows), default=0)
    widths = [
        max([LEAST, *(CHARACTER * len(row[column]) + 12 for row in rows if column < len(row))])
        for column in range(count)
    ]
    starts = accumulate(widths[:-1], initial=NAMES) if widths else ()
    return [(x, wide) for x, wide in zip(starts, widths, strict=True) if x == NAMES or x + wide <= WIDTH]


def _text(said: str, x: float, y: int, ink: str = "") -> str:
    return f'<text{ink} x="{x:g}" y="{y}" text-anchor="middle">{said}</text>'
