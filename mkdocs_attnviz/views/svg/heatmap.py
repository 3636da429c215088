"""Static heat maps: one head with its tokens, or every head as a small picture."""

from __future__ import annotations

import base64
import struct
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any

from mkdocs_attnviz.views.attention.overview import LEVELS, SIDE, Grid, coarser
from mkdocs_attnviz.views.attention.shared_keys import KeyGroup
from mkdocs_attnviz.views.attention.sinks import FADED
from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import HEADS, document, escape, palette, styles
from mkdocs_attnviz.views.svg.inks import ink_on

CELL = 18
ROOMY, WIDEST, TALL = 32, 60, 24  # px of cells with written values: smallest width, largest width, height
WIDTH = 736  # px of a heat map with values
LABEL = 120
"""The largest length in px of a label."""
AXIS = 18  # px: the names of the axes
FROM, TO = "from ↓", "attends to →"
FEW_ROWS = 24
"""The largest number of rows for which the colour scale ends at the largest weight."""
Barred = tuple[int, int, int]
"""Cells that are not allowed: a row, the first column, and the column after the last."""
PIXELS = 300  # pixels on a side of the picture of all heads, so that it takes only a few kB


def levels(weights: Sequence[Sequence[float]], contrast: float = 1.0, faded: Collection[int] = ()) -> Grid:
    """Return each weight's level on the scale of the interactive figure (`scaleOf`, `shade` in `charts/heat.ts`)."""
    most = scale_end(weights, faded)
    opacity = [FADED if col in faded else 1.0 for col in range(max(map(len, weights), default=0))]
    return [
        bytes(
            [
                round(LEVELS * share * min(1.0, weight / most) ** (0.75 * contrast))
                for weight, share in zip(row, opacity, strict=True)
            ]
        )
        for row in weights
    ]


def scale_end(weights: Sequence[Sequence[float]], faded: Collection[int] = ()) -> float:
    """Return the weight of full colour: the largest, or among many rows the ninth decile of the rows' largest weights.

    Faded columns do not count, so that the other weights have the whole scale.
    """
    shown = ([weight for col, weight in enumerate(row) if col not in faded] for row in weights)
    largest = sorted(max(row, default=0.0) for row in shown)
    most = largest[int(0.9 * (len(largest) - 1))] if len(largest) > FEW_ROWS else 0.0
    return most or max(largest, default=0.0) or 1.0


def heat_map(
    grid: Grid,
    rows: Sequence[str],
    cols: Sequence[str],
    theme: str,
    head: int | None,
    weights: Sequence[Sequence[float]] | None = None,
    forbidden: Sequence[Barred] = (),
) -> Picture:
    """Return a picture of one head in its colour, or of several combined heads if `head` is None. `rows` and `cols` are
    the labels.

    `weights` are the numbers behind the levels. They are written in the cells if there is room. The `forbidden` cells
    are hatched.
    """
    left, top = max(_room(rows), 52), _room(cols) + AXIS
    wide, tall = CELL, CELL
    digits = 3 if max(map(max, weights or [[1.0]])) < 0.1 else 2
    room = (WIDTH - left) // len(grid[0])
    if roomy := weights is not None and room >= ROOMY + 7 * (digits - 2):
        wide, tall = min(room, WIDEST), TALL
    width, height = left + max(wide * len(grid[0]) + 1, 90), top + tall * len(grid) + 1

    def colour(scheme: dict[str, Any]) -> str:
        """Return the colour of full weight."""
        heads = scheme["heads"]
        return str(scheme["text"] if head is None else heads[head % len(heads)])

    def rules(scheme: dict[str, Any]) -> str:
        """Return the CSS colours of a scheme."""
        inks = _ink_rules(colour(scheme), scheme["background"]) if roomy else ""
        hatch = f".x{{stroke:{scheme['text']};stroke-opacity:.3}}" if forbidden else ""
        return f"{_rules(scheme)}.f{{fill:{colour(scheme)}}}{inks}{hatch}"

    style = "text{font:13px system-ui,sans-serif}.v{font-size:11px;text-anchor:middle}"
    style += styles(palette(theme), rules)
    body = [
        *_hatch(forbidden, left, top, wide, tall),
        f'<g transform="translate({left} {top}) scale({wide} {tall})">{"".join(_squares(grid))}</g>',
        f'<g transform="translate({left} {top})">{"".join(_values(grid, weights, wide, digits))}</g>'
        if roomy and weights
        else "",
        f'<text class="l" x="{left - 6}" y="{top - 9}" text-anchor="end">{FROM}</text>',
        f'<text class="l" x="{left}" y="12">{TO}</text>',
        *(
            f'<text x="{left - 6}" y="{top + tall * (n + 0.5) + 4:g}" text-anchor="end">{escape(text)}</text>'
            for n, text in enumerate(rows)
        ),
        *(
            f'<text transform="translate({left + wide * (n + 0.5) + 4:g} {top - 6}) rotate(-90)">{escape(text)}</text>'
            for n, text in enumerate(cols)
        ),
    ]
    return Picture(document(width, height, style, body), width, height)


def _hatch(forbidden: Sequence[Barred], left: int, top: int, wide: int, tall: int) -> Iterator[str]:
    """Yield pale lines over cells, from the lower left to the upper right."""
    if forbidden:
        size = 'width="6" height="6" patternUnits="userSpaceOnUse"'
        yield f'<pattern id="x" {size}><path class="x" d="M-1 1L1 -1M0 6L6 0M5 7L7 5"/></pattern>'
        path = "".join(
            f"M{left + wide * start} {top + tall * row}h{wide * (end - start)}v{tall}H{left + wide * start}z"
            for row, start, end in forbidden
        )
        yield f'<path fill="url(#x)" d="{path}"/>'


def _values(grid: Grid, weights: Sequence[Sequence[float]], wide: int, digits: int) -> Iterator[str]:
    """Yield the number in each cell. Its CSS class is the level of the cell."""
    for row, (shades, values) in enumerate(zip(grid, weights, strict=True)):
        for col, (level, value) in enumerate(zip(shades, values, strict=True)):
            if float(text := f"{value:.{digits}f}"):
                yield f'<text class="v i{level}" x="{wide * (col + 0.5):g}" y="{TALL * row + 16}">{text}</text>'


@lru_cache(maxsize=1000)
def _ink_rules(colour: str, background: str) -> str:
    """Return a CSS rule for each level: black or white, whichever is readable on its shade."""
    inks: dict[str, list[str]] = defaultdict(list)
    for level in range(LEVELS + 1):
        inks[ink_on(colour, background, level / LEVELS)].append(f".i{level}")
    return "".join(f"{','.join(levels)}{{fill:{ink}}}" for ink, levels in inks.items())


def _room(labels: Sequence[str]) -> int:
    """Return the length in px of the longest label."""
    return 12 + min(LABEL, max((8 * len(text) for text in labels), default=0))


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    return f"text{{fill:{scheme['text']}}}.l{{fill:{scheme['pale']}}}"


def _squares(grid: Grid) -> Iterator[str]:
    """Yield one SVG path for all cells of a level, so that a cell takes only a dozen bytes."""
    paths: dict[int, list[str]] = defaultdict(list)
    for y, row in enumerate(grid):
        for x, level in enumerate(row):
            if level:
                paths[level].append(f"M{x} {y}h1v1h-1z")
    for level, path in sorted(paths.items()):
        yield f'<path class="f" opacity="{level / LEVELS:.2g}" d="{"".join(path)}"/>'


def small_multiples(grids: dict[int, dict[int, Grid]], theme: str, groups: Sequence[KeyGroup] = ()) -> Picture:
    """Return a picture of layers × heads; `grids[layer][head]` is a grid. The numbers are written at the edges.

    `groups` are labelled above the heads.
    """
    heads = sorted({head for row in grids.values() for head in row})
    cell = max(12, min(48, 560 // len(heads)))
    top = 60 if groups else 40
    width, height = 40 + cell * len(heads), top + cell * len(grids)
    pixels = _pixels(grids, heads)
    image = base64.b64encode(png(pixels)).decode()
    box = f'x="40" y="{top}" width="{width - 40}" height="{height - top}"'
    whole = f'maskUnits="userSpaceOnUse" x="0" y="0" width="{width}" height="{height}"'
    body = [
        f'<mask id="m" {whole}><image {box} href="data:image/png;base64,{image}" preserveAspectRatio="none"/></mask>',
        *(
            f'<rect class="h{head % HEADS}" x="{40 + at * cell}" y="{top}" width="{cell}" height="{height - top}" '
            'mask="url(#m)"/>'
            for at, head in enumerate(heads)
        ),
        '<text class="l" x="40" y="11">Heads</text>',
        f'<text class="l" transform="translate(11 {top}) rotate(90)">Layers</text>',
        *_brackets(groups, heads, cell),
        *_numbers(
            heads,
            lambda at, n: f'<text x="{40 + (at + 0.5) * cell:g}" y="{top - 8}" text-anchor="middle">{n}</text>',
            cell,
        ),
        *_numbers(
            list(grids),
            lambda at, n: f'<text x="34" y="{top + 4 + (at + 0.5) * cell:g}" text-anchor="end">{n}</text>',
            cell,
        ),
    ]
    used = sorted({head % HEADS for head in heads})

    def rules(scheme: dict[str, Any]) -> str:
        """Return the CSS colours of a scheme."""
        brackets = f".k{{stroke:{scheme['pale']}}}" if groups else ""
        return _rules(scheme) + brackets + "".join(f".h{n}{{fill:{scheme['heads'][n]}}}" for n in used)

    style = "text{font:12px system-ui,sans-serif}image{image-rendering:pixelated}" + styles(palette(theme), rules)
    return Picture(document(width, height, style, body), width, height)


def _brackets(groups: Sequence[KeyGroup], heads: Sequence[int], cell: int) -> Iterator[str]:
    """Yield a line over the heads of each group, and its name where it has room."""
    for keys, members in groups:
        start, end = 42 + heads.index(members[0]) * cell, 38 + (heads.index(members[-1]) + 1) * cell
        yield f'<path class="k" d="M{start} 34H{end}"/>'
        name = next((name for name in (f"keys {keys}", f"k{keys}") if 7 * len(name) <= end - start), "")
        yield f'<text class="l" x="{(start + end) / 2:g}" y="29" text-anchor="middle">{name}</text>'


def _numbers(numbers: Sequence[int], text: Any, cell: int) -> Iterator[str]:
    """Yield the numbers; where they would touch, only every second, fourth … is written."""
    step = 1
    while step * cell < 20:
        step *= 2
    for at, number in enumerate(numbers):
        if at % step == 0:
            yield text(at, number)


def _pixels(grids: dict[int, dict[int, Grid]], heads: Sequence[int]) -> Grid:
    """Return all heads in one image with a gap of one pixel between them. Many heads have coarser grids."""
    parts = max(6, min(SIDE, PIXELS // max(len(grids), len(heads))))
    lines: Grid = []
    for row in grids.values():
        tiles = {head: coarser(grid, parts) for head, grid in row.items()}
        some = next(iter(tiles.values()))
        empty = [bytes(len(some[0]))] * len(some)
        lines += [b"\0".join(lines) + b"\0" for lines in zip(*(tiles.get(h, empty) for h in heads), strict=True)]
        lines += [bytes(len(lines[-1]))]
    return lines


def png(lines: Grid) -> bytes:
    """Return levels 0 to 15 as the opacity of white, in a PNG of four bits per pixel (W3C PNG, section 11).

    As a mask it works by luminance, which browsers use, and by alpha, which some converters use.
    """
    width, height = len(lines[0]), len(lines)
    packed = _packed(lines, width)

    def chunk(kind: bytes, content: bytes) -> bytes:
        """Return one PNG chunk."""
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    white, alpha = b"\xff" * 3 * (LEVELS + 1), bytes(17 * level for level in range(LEVELS + 1))
    parts = ((b"IHDR", header), (b"PLTE", white), (b"tRNS", alpha), (b"IDAT", zlib.compress(packed, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def _packed(lines: Grid, width: int) -> bytes:
    """Return the rows of a PNG with two pixels in a byte. Each row begins with a byte that means that no filter is
    used.

    All rows are packed at once as one large number, which is fast.
    """
    odd = b"\0" * (width % 2)
    pixels = b"".join(line + odd for line in lines)
    high, low = (int.from_bytes(pixels[start::2], "big") for start in (0, 1))
    packed, size = (high << 4 | low).to_bytes(len(pixels) // 2, "big"), (width + 1) // 2
    return b"".join(b"\0" + packed[start : start + size] for start in range(0, len(packed), size))
