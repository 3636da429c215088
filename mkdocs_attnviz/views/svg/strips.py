"""The static picture of strips of sublayers: a box for each, as wide as its parameters, with bars for changes of the
loss below, and dots for losses that an author gives. `frontend/src/charts/strips.ts` places them in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import document, escape_words, palette, styles

WIDTH, NARROW = 680, 328
"""The widths in px of the picture, and of a figure on a phone."""
BOX, BAR, GAP, NAME, NUMBER = 26, 34, 10, 18, 14
"""The sizes in px: a box, the room of bars, the space below a line of boxes, a strip's name, a layer's number."""
NARROWEST, WIDEST, USUAL = 12, 160, 44
"""The widths in px of a box: the least, the most, and of one of mean size if there is room."""
BETWEEN, LAYER = 2, 6
"""The spaces in px between two units, and more between two layers."""
DOTS, SCALE, DOT = 30, 40, 4
"""The heights in px of a line of dots and of the scale below all of them, and a dot's radius."""
COLOURS = {"s": 0, "f": 1, "c": 2, "m": 3, "e": 4}
"""The number of each kind's colour among those of heads; any other kind is grey."""

Strips = Sequence[Mapping[str, Any]]


def signed(value: float) -> str:
    """Return a number with three digits and its sign."""
    return f"{value:+.3g}".replace("-", "−")


class Place(NamedTuple):
    """The place of a sublayer's box."""

    strip: int
    unit: int
    sublayer: Mapping[str, Any]
    x: int
    y: int
    width: int
    whole: int
    """The width of the widest box of its unit."""
    last: bool
    """True if it is the last of its unit."""


class Layout(NamedTuple):
    """The places of everything in a picture of a certain width."""

    places: list[Place]
    names: list[tuple[str, int, int]]
    """Names of strips, with x and y."""
    numbers: list[tuple[str, int, int]]
    """Numbers of layers, with x and y."""
    dots: list[tuple[int, int]]
    """The strips with losses of their own, with y."""
    width: int
    height: int


def widths(strips: Strips, room: int) -> list[list[list[int]]]:
    """Return the width of each sublayer's box in px, by strip, unit and place in the unit.

    All strips have one scale. Where it would make a box too narrow to hold its letter, the strips wrap instead.
    """
    sizes = [[[each["parameters"] for each in unit["sublayers"]] for unit in strip["units"]] for strip in strips]
    flat = sorted(size for strip in sizes for unit in strip for size in unit if size > 0)
    lengths = [sum(max(unit) for unit in strip) for strip in sizes]
    total = max(1, *lengths)
    count = len(sizes[lengths.index(total)]) if total in lengths else 1
    free = room - (BETWEEN + LAYER / 2) * count
    scale = min(free, USUAL * count) / total
    scale = max(scale, NARROWEST / (flat[len(flat) // 10] if flat else 1))
    scale = min(scale, WIDEST / (flat[-1] if flat else 1))
    return [[[max(NARROWEST, int(size * scale + 0.5)) for size in unit] for unit in strip] for strip in sizes]


def layout_of(strips: Strips, room: int, *, bars: bool) -> Layout:
    """Return where everything stands in a picture of this width."""
    layout = Layout([], [], [], [], 0, 0)
    y, widest = 0, 0
    for number, (strip, sizes) in enumerate(zip(strips, widths(strips, room), strict=True)):
        if strip["name"]:
            layout.names.append((strip["name"], 0, y))
            y += NAME
        y, right = _place_strip(layout, number, strip, sizes, y, room, bars=bars)
        widest = max(widest, right)
        if strip.get("losses"):
            layout.dots.append((number, y))
            y += DOTS
    if layout.dots:
        y, widest = y + SCALE, room
    return layout._replace(width=widest, height=y)


def _place_strip(
    layout: Layout,
    number: int,
    strip: Mapping[str, Any],
    sizes: Sequence[Sequence[int]],
    y: int,
    room: int,
    *,
    bars: bool,
) -> tuple[int, int]:
    """Place the boxes of one strip; return where it ends, and its largest x."""
    units, row = strip["units"], BOX + BAR * bars
    above = NUMBER if any(unit["sublayers"][0]["layer"] is not None for unit in units) else 0
    height = above + max(len(unit["sublayers"]) for unit in units) * row + GAP
    x, last, right = 0, None, 0
    for place, (unit, of_unit) in enumerate(zip(units, sizes, strict=True)):
        layer, whole = unit["sublayers"][0]["layer"], max(of_unit)
        starts = layer != last
        x += LAYER if place and starts else 0
        if x and x + whole > room:
            x, y = 0, y + height
        if layer is not None and (starts or not x):
            layout.numbers.append((str(layer), x, y))
        last = layer
        for at, (sublayer, width) in enumerate(zip(unit["sublayers"], of_unit, strict=True)):
            ends = at == len(of_unit) - 1
            layout.places.append(Place(number, place, sublayer, x, y + above + at * row, width, whole, ends))
        x += whole + BETWEEN
        right = max(right, x)
    return y + height, right


def height(strips: Strips, *, bars: bool) -> str:
    """Return the CSS height of the strips in a figure of any width: a narrow one wraps them."""
    wide, narrow = (layout_of(strips, room, bars=bars).height for room in (WIDTH, NARROW))
    more = f" + clamp(0px,(600px - 100cqw)*99,{narrow - wide}px)" if narrow > wide else ""
    return f"calc({wide}px{more})" if more else f"{wide}px"


def picture(data: Mapping[str, Any], called: Mapping[str, str], theme: str) -> Picture:
    """Return the picture of strips, one below the other, with a key to the letters."""
    strips, change = data["strips"], next(iter(data["changes"]), None)
    layout = layout_of(strips, WIDTH, bars=change is not None)
    body = [f'<text x="{x}" y="{y + 13}">{escape_words(name)}</text>' for name, x, y in layout.names]
    body += [f'<text class="n" x="{x}" y="{y + 10}">{number}</text>' for number, x, y in layout.numbers]
    values = [value for place in layout.places if (value := _change(strips, place, change)) is not None]
    span = min([0.0, *values]), max([0.0, *values])
    for place in layout.places:
        body += _box(place)
        value = _change(strips, place, change)
        if value is not None:
            body.append(_bar(place, value, span, swap=change == "swap"))
    body += _runs(data, layout)
    y, present = layout.height, {place.sublayer["kind"] for place in layout.places}
    for kind in (kind for kind in called if kind in present):
        body.append(f'<text class="p" x="0" y="{y + 13}">{kind}: {called[kind]}</text>')
        y += NAME
    width = max(layout.width, 240)
    style = "text{font:12px system-ui,sans-serif}.n{font-size:10px}" + styles(palette(theme), _rules)
    return Picture(document(width, y, style, body), width, y)


def _change(strips: Strips, place: Place, change: str | None) -> float | None:
    """Return the change of the loss that is drawn below a box, or None."""
    value: float | None = None
    if change == "zero":
        value = place.sublayer.get("zero")
    elif change == "swap" and place.last:
        value = strips[place.strip]["units"][place.unit].get("swap")
    return value


def _box(place: Place) -> Iterator[str]:
    kind, x, y = place.sublayer["kind"], place.x, place.y
    yield f'<rect class="k{kind}" x="{x + 0.5}" y="{y + 0.5}" width="{place.width - 1}" height="{BOX - 1}" rx="2"/>'
    yield f'<text x="{x + place.width / 2:g}" y="{y + 17}" text-anchor="middle">{kind}</text>'


def _bar(place: Place, value: float, span: tuple[float, float], *, swap: bool) -> str:
    """Return a bar that stands on the line of no change: upwards where the loss rises."""
    low, high = span
    scale = (BAR - 6) / max(high - low, 1e-12)
    tall = max(1.0, abs(value) * scale)
    y = place.y + BOX + 3 + high * scale - (tall if value >= 0 else 0)
    x, width = (place.x + place.whole + BETWEEN // 2 - 5, 10) if swap else (place.x + 2, max(4, place.width - 4))
    name = "u" if value >= 0 else "d"
    return f'<rect class="{name}" x="{x}" y="{y:.1f}" width="{width}" height="{tall:.1f}"/>'


def _runs(data: Mapping[str, Any], layout: Layout) -> Iterator[str]:
    """Yield a dot for each loss that the author gives, a stroke at their mean, and the scale below."""
    losses = [loss for strip in data["strips"] for loss in strip.get("losses", ())]
    if not losses:
        return
    low, high = min(losses), max(losses)
    edge = (high - low) * 0.05 or abs(high) * 0.01 or 1.0
    low, high = low - edge, high + edge

    def along(loss: float) -> str:
        return f"{WIDTH * (loss - low) / (high - low):.1f}"

    for strip, y in layout.dots:
        middle = y + DOTS / 2 - 8
        its = data["strips"][strip]["losses"]
        yield f'<line class="a" x1="0" x2="{WIDTH}" y1="{middle}" y2="{middle}"/>'
        yield from (f'<circle class="u" cx="{along(loss)}" cy="{middle}" r="{DOT}"/>' for loss in its)
        mean = along(sum(its) / len(its))
        yield f'<line class="t" x1="{mean}" x2="{mean}" y1="{middle - 8}" y2="{middle + 8}"/>'
    y = layout.height - SCALE + 13
    yield f'<text class="p" x="0" y="{y}">{low:.4g}</text>'
    named = escape_words(data["loss_label"])
    yield f'<text class="p" x="{WIDTH // 2}" y="{y + 16}" text-anchor="middle">{named}</text>'
    yield f'<text class="p" x="{WIDTH}" y="{y}" text-anchor="end">{high:.4g}</text>'


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    boxes = "".join(
        f".k{kind}{{fill:{scheme['heads'][number]};fill-opacity:.22;stroke:{scheme['heads'][number]}}}"
        for kind, number in COLOURS.items()
    )
    boxes += f".ko{{fill:{scheme['pale']};fill-opacity:.15;stroke:{scheme['pale']}}}"
    down, up = scheme["signed"]
    lines = f".a{{stroke:{scheme['pale']};stroke-opacity:.4}}.t{{stroke:{scheme['text']};stroke-width:2}}"
    text = f"text{{fill:{scheme['text']}}}.p,.n{{fill:{scheme['pale']}}}"
    return f"{text}.u{{fill:{up}}}.d{{fill:{down}}}{boxes}{lines}"
