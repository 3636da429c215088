"""The static pictures of an index of heads: a scatter of two measures, a grid of layers × heads, or the best head for
each relation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.head_index.measures import OTHER, RELATION, HeadIndex, Values, direction
from mkdocs_attnviz.views.svg.document import capped, document, escape_words, palette, styles
from mkdocs_attnviz.views.svg.inks import ink_on

WIDTH, HEIGHT, LEFT, BOTTOM, AROUND, TOP = 560, 340, 48, 44, 16, 28
"""The size in px of a scatter, and of its margins."""
LINE, NARROW, BESIDE, LETTER = 24, 328, 32, 6
"""The sizes in px of the kinds below a picture: a line, its length on a phone, what stands beside a name, a letter."""
TABLE, HEADER = 376, 56
"""The heights in px of a table that scrolls, and of a header of three lines."""
EDGE, CELL, TALL, KEYS = 34, 52, 26, 20
"""The sizes in px of a grid: its labels, the width of a cell at most, the height of one among few layers, and the names
of shared keys below."""
ROW, ROWS = 26, 14
"""The height in px of a relation, and the largest number of relations in a static picture."""
DEEPEST, PALEST = 0.85, 0.06
RADIUS = 4.5
LABELLED = 8
"""The number of heads with a label in a static scatter."""


class Shown(NamedTuple):
    """The options that say what a picture shows; see `views/heads.py`."""

    show: str
    x: str
    y: str
    color: str
    sort: str | None


def height(index: HeadIndex, shown: Shown) -> str:
    """Return the CSS height of the interactive picture."""
    if shown.show == "table":
        return capped(min(TABLE, HEADER + (LINE + 1) * len(index.places)))
    if shown.show == "relations":
        return capped(min(TABLE, (LINE + 1) * (len(index.relations) + 1) + 1))
    kinds = _height_of_kinds(index) if shown.color == "kind" else ""
    if shown.show == "grid":
        return f"{EDGE + tall(index) * len(index.layers) + _height_of_keys(index)}px{kinds}"
    return f"min({HEIGHT}px,100cqw){kinds}"


def _height_of_kinds(index: HeadIndex) -> str:
    """Return the CSS height of the kinds below a picture, after a plus sign: one line, or several on a phone."""
    lines, room = 1, 0
    for kind in sorted(set(index.kind)):
        width = BESIDE + LETTER * len(f"{index.kinds[kind]} {index.kind.count(kind)}")
        if room + width > NARROW + BESIDE:
            lines, room = lines + 1, 0
        room += width
    return f" + {LINE}px + clamp(0px,(600px - 100cqw)*99,{LINE * (lines - 1)}px)"


def _height_of_keys(index: HeadIndex) -> int:
    """Return the height in px of the names of shared keys below a grid."""
    return KEYS if index.groups else 0


def tall(index: HeadIndex) -> int:
    """Return the height of a grid's cell in px."""
    return TALL if len(index.layers) <= 12 else 20 if len(index.layers) <= 24 else 16


def picture(index: HeadIndex, options: Shown, theme: str) -> Picture:
    """Return the static picture of what the block shows."""
    if options.show == "relations":
        return _relations(index, theme)
    if options.show in ("grid", "table"):
        color = options.color if options.show == "grid" else options.sort or "entropy"
        return _grid(index, color, theme)
    return _scatter(index, options, theme)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from at most `low` to at least `high`, about `count` of them."""
    span = high - low or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 10) for number in range(first, last + 1)]


def _scatter(index: HeadIndex, options: Shown, theme: str) -> Picture:
    """Return a picture with a mark for each head, at its values of two measures or at its place on the map."""
    points = _points(index, options)
    fills = _fills(index, options.color)
    is_map = options.show == "map"
    shown = [point for point in points if point is not None] or [(0.0, 0.0)]
    ranges = [(min(part), max(part)) for part in zip(*shown, strict=True)]
    width, height = WIDTH - LEFT - AROUND, HEIGHT - BOTTOM - TOP
    if is_map:
        scales, ends = [], _square(ranges, width / height)
    else:
        both = [_scale(index, name, *ends) for name, ends in zip((options.x, options.y), ranges, strict=True)]
        scales, ends = [scale for scale, _ in both], [ends for _, ends in both]

    def at(point: tuple[float, float]) -> tuple[float, float]:
        """Return the place of a point in px."""
        (left, right), (low, high) = ends
        x, y = (point[0] - left) / (right - left or 1), (point[1] - low) / (high - low or 1)
        return LEFT + width * x, TOP + height * (1 - y)

    body = [] if is_map else [*_axes(index, options, scales, at)]
    for point, fill in zip(points, fills, strict=True):
        if point is not None:
            x, y = at(point)
            body.append(f'<circle {fill} cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}"/>')
    body += _names(index, points, at)
    kinds = [*_kinds(index, HEIGHT)] if options.color == "kind" else []
    tall = HEIGHT + (LINE if kinds else 0)
    return Picture(document(WIDTH, tall, _style(theme), [*body, *kinds]), WIDTH, tall)


def _scale(index: HeadIndex, name: str, low: float, high: float) -> tuple[list[float], tuple[float, float]]:
    """Return the numbers along an axis and its ends, as `scaleOf` in `own/heads/scatter.ts`."""
    unit = index.measure(name)["unit"]
    if not unit:
        every = math.ceil((high - low + 1) / 12)
        return [*range(int(low), int(high) + 1, every)], (low - 0.5, high + 0.5)
    line = index.references.get(name) if unit in ("nats", RELATION) else None
    round_numbers = ticks(min(low, 0.0), high if line is None else max(high, line.value))
    return round_numbers, (round_numbers[0], round_numbers[-1])


def _points(index: HeadIndex, options: Shown) -> list[tuple[float, float] | None]:
    """Return the place of each head, in units of the axes; None if a measure is not known."""
    if options.show == "map" and index.map is not None:
        return [(x, y) for x, y in index.map]
    pairs = zip(index.values[options.x], index.values[options.y], strict=True)
    return [None if x is None or y is None else (x, y) for x, y in pairs]


def _square(ends: Sequence[tuple[float, float]], ratio: float) -> list[tuple[float, float]]:
    """Return ends of both axes between which a unit is as long in both, for an area of this ratio of sides."""
    (left, right), (low, high) = ends
    half = max((right - left) / ratio, high - low) / 2 or 1.0
    x, y = (left + right) / 2, (low + high) / 2
    return [(x - half * ratio, x + half * ratio), (y - half, y + half)]


def _axes(index: HeadIndex, options: Shown, scales: Sequence[Sequence[float]], at: Any) -> Iterator[str]:
    """Yield the axes with their numbers and names, and the values that measures are compared with."""
    xs, ys = scales
    for y in ys:
        _, place = at((0, y))
        yield f'<path class="h" d="M{LEFT} {place:.1f}H{WIDTH - AROUND}"/>'
        yield f'<text class="p" x="{LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{y:g}</text>'
    for x in xs:
        place, _ = at((x, 0))
        yield f'<text class="p" x="{place:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>'
    for name, along in ((options.x, 0), (options.y, 1)):
        line = index.references.get(name)
        if line is None or not scales[along][0] <= line.value <= scales[along][-1]:
            continue
        x, y = at((line.value, line.value))
        path = f"M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" if along == 0 else f"M{LEFT} {y:.1f}H{WIDTH - AROUND}"
        place = (x - 4, TOP + 10) if along == 0 else (WIDTH - AROUND, y - 4)
        yield f'<path class="r" d="{path}"/>'
        at_end = f'x="{place[0]:.1f}" y="{place[1]:.1f}" text-anchor="end"'
        yield f'<text class="p" {at_end}>{escape_words(line.name)}</text>'
    across = escape_words(titled(index, options.x))
    yield f'<text x="{WIDTH - AROUND}" y="{HEIGHT - 8}" text-anchor="end">{across} →</text>'
    yield f'<text x="0" y="12">↑ {escape_words(titled(index, options.y))}</text>'


def titled(index: HeadIndex, name: str) -> str:
    """Return a measure's title with its unit."""
    measure = index.measure(name)
    return measure["title"] if measure["unit"] in ("", "score") else f"{measure['title']} ({measure['unit']})"


def _names(index: HeadIndex, points: Sequence[tuple[float, float] | None], at: Any) -> Iterator[str]:
    """Yield the names of the heads that are farthest from the others, as far as they have room."""
    taken: list[tuple[float, float]] = []
    order = sorted(range(len(points)), key=lambda head: -_apart(points, head))
    for head in order[:LABELLED]:
        point = points[head]
        if point is None:
            continue
        x, y = at(point)
        if any(abs(x - other[0]) < 34 and abs(y - other[1]) < 14 for other in taken):
            continue
        taken.append((x, y))
        layer, number = index.places[head]
        inwards = x > WIDTH - 60
        yield (
            f'<text x="{x + (-8 if inwards else 8):.1f}" y="{y + 4:.1f}" text-anchor="{"end" if inwards else "start"}">'
            f"{layer}·{number}</text>"
        )


def _apart(points: Sequence[tuple[float, float] | None], head: int) -> float:
    """Return how far a head's values are from the mean of all heads, in standard deviations."""
    point = points[head]
    if point is None:
        return -1.0
    known = [other for other in points if other is not None]
    distance = 0.0
    for along in (0, 1):
        values = [other[along] for other in known]
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) or 1.0
        distance = max(distance, abs(point[along] - mean) / spread)
    return distance


def _kinds(index: HeadIndex, top: int) -> Iterator[str]:
    """Yield a line with the kinds of heads that there are, each with its colour and number of heads."""
    x = LEFT
    for kind in sorted(set(index.kind)):
        text = f"{index.kinds[kind]} {index.kind.count(kind)}"
        yield f'<circle class="k{kind}" cx="{x}" cy="{top + 8}" r="{RADIUS}"/>'
        yield f'<text x="{x + 9}" y="{top + 12}">{escape_words(text)}</text>'
        x += 26 + 7 * len(text)


def _fills(index: HeadIndex, color: str) -> list[str]:
    """Return the attributes that give each head's mark its colour."""
    if color == "kind":
        return [f'class="k{kind}"' for kind in index.kind]
    return [f'class="f" fill-opacity="{0.15 + 0.7 * share:.2g}"' for share in shares(index.values[color])]


def shares(values: Values) -> list[float]:
    """Return each value's position from the smallest to the largest, from 0 to 1; 0 where there is none."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return [0.0 if value is None else (value - low) / ((high - low) or 1.0) for value in values]


def _grid(index: HeadIndex, color: str, theme: str) -> Picture:
    """Return a picture of layers × heads, with the value of a measure or the kind in each cell."""
    most = max(index.heads)
    cell, row = min(CELL, (736 - EDGE) // most), tall(index)
    width, height = max(EDGE + cell * most, 300), EDGE + row * len(index.layers)
    body = [f'<text class="p" x="0" y="12">{escape_words("layer" if color == "kind" else titled(index, color))}</text>']
    for head in range(most):
        x = EDGE + (head + 0.5) * cell
        if cell >= 18 or head % 4 == 0:
            body.append(f'<text class="p" x="{x:g}" y="{EDGE - 6}" text-anchor="middle">{head}</text>')
    for number, layer in enumerate(index.layers):
        y = EDGE + (number + 0.5) * row + 4
        body.append(f'<text class="p" x="{EDGE - 8}" y="{y:g}" text-anchor="end">{layer}</text>')
    body += _cells(index, color, cell, row, theme)
    for keys, heads in index.groups:
        start, end = (EDGE + at * cell for at in (heads[0], heads[-1] + 1))
        body.append(f'<path class="h" d="M{start} {height + 3}H{end - 1}"/>')
        if (name := next((name for name in (f"keys {keys}", f"k{keys}") if 7 * len(name) <= end - start), "")) != "":
            body.append(
                f'<text class="p" x="{(start + end - 1) / 2:g}" y="{height + 15}" text-anchor="middle">{name}</text>'
            )
    height += _height_of_keys(index)
    kinds = [*_kinds(index, height + 8)] if color == "kind" else []
    tall_ = height + (LINE + 8 if kinds else 0)
    return Picture(document(width, tall_, _style(theme), [*body, *kinds]), width, tall_)


def _cells(index: HeadIndex, color: str, cell: int, row: int, theme: str) -> Iterator[str]:
    """Yield the cells of a grid."""
    is_kind = color == "kind"
    values: Values = [] if is_kind else index.values[color]
    positions = [] if is_kind else shares(values)
    light = palette("light" if theme == "auto" else theme).base
    for at, (layer, head) in enumerate(index.places):
        x, y = EDGE + head * cell, EDGE + index.layers.index(layer) * row
        place = f'x="{x}" y="{y}" width="{cell - 1}" height="{row - 1}"'
        if is_kind:
            kind = "o" if index.kind[at] == OTHER else f"k{index.kind[at]}"
            yield f'<rect class="{kind}" {place}/>'
            continue
        share = PALEST + (DEEPEST - PALEST) * positions[at]
        yield f'<rect class="f" fill-opacity="{share:.2g}" {place}/>'
        value = values[at]
        if cell >= 34 and value is not None:
            dark = ink_on(light["signed"][1], light["background"], share) == "#fff"
            middle = f'x="{x + cell / 2:g}" y="{y + row / 2 + 4:g}" text-anchor="middle"'
            yield f'<text class="{"i" if dark else "j"}" {middle}>{value:.2f}</text>'


def _relations(index: HeadIndex, theme: str) -> Picture:
    """Return a picture with the best head for each relation, its interval, and the best fixed offset."""
    shown = index.relations[:ROWS]
    left, right = 130, WIDTH - 130
    body = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = left + (right - left) * share
        body.append(f'<path class="h" d="M{x:g} 20V{24 + ROW * len(shown)}"/>')
        body.append(f'<text class="p" x="{x:g}" y="12" text-anchor="middle">{share:.0%}</text>')
    for number, relation in enumerate(shown):
        y = 24 + ROW * (number + 0.5)
        head, way = index.best(relation)
        found = direction(relation, way)
        layer, of_layer = index.places[head]
        low, value, high, base = (
            left + (right - left) * part
            for part in (found["low"][head], found["accuracy"][head], found["high"][head], relation["baseline"])
        )
        name = escape_words(f"{relation['name']} {relation['count']}")
        body.append(f'<text x="{left - 12}" y="{y + 4:g}" text-anchor="end">{name}</text>')
        body.append(f'<path class="b" d="M{base:.1f} {y - 8:g}V{y + 8:g}"/>')
        body.append(f'<path class="l" d="M{low:.1f} {y:g}H{high:.1f}"/>')
        body.append(f'<circle class="a" cx="{value:.1f}" cy="{y:g}" r="{RADIUS}"/>')
        told = f"{layer}·{of_layer} {found['accuracy'][head]:.0%}"
        body.append(f'<text x="{right + 14}" y="{y + 4:g}">{escape_words(told)}</text>')
    tall = 24 + ROW * len(shown) + LINE
    body.append(
        f'<text class="p" x="{left}" y="{tall - 6}">Dot: the best head, with its 95% interval; bar: the best fixed '
        "offset</text>"
    )
    return Picture(document(WIDTH, tall, _style(theme), body), WIDTH, tall)


def _style(theme: str) -> str:
    """Return the CSS of a picture."""
    return "text{font:12px system-ui,sans-serif}path{fill:none}" + styles(palette(theme), _rules)


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    text, pale, accent = scheme["text"], scheme["pale"], scheme["signed"][1]
    kinds = "".join(f".k{kind}{{fill:{scheme['heads'][kind]}}}" for kind in range(OTHER))
    return (
        f"text{{fill:{text}}}.p{{fill:{pale}}}{kinds}.k{OTHER}{{fill:{pale};fill-opacity:.5}}.o{{fill:{pale};fill-opacity:.15}}.f,.a{{fill:{accent}}}"
        f".h{{stroke:{pale};stroke-opacity:.3}}.r{{stroke:{pale};stroke-dasharray:4 3}}"
        f".b{{stroke:{pale};stroke-width:2}}.l{{stroke:{accent};stroke-width:2}}"
        f".i{{fill:{scheme['background']}}}.j{{fill:{text}}}"
    )
