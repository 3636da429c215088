"""The static picture of an expanded token: its query, every key, their products, and the resulting weights."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import Selection
from mkdocs_attnviz.views.attention.overview import LEVELS
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.attention.window import Side, Window
from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import HEADS, ROW, document, escape, palette, styles
from mkdocs_attnviz.views.svg.heatmap import png

LEFT, STRIP, FAN, GAP, NUMBER = 120, 128, 32, 8, 56
"""The widths in px: the tokens on the left, a strip, the lines between query and keys, a gap, a column of numbers."""
LINES = 6
"""The height in pixels of each token's row in the image. The strip fills all but the first and last of them."""
MASKED = 0.15
"""The factor by which the numbers of a masked key are made paler."""

Vectors = list[list[float]]
"""The values of the neurons for each token, of shape (tokens, neurons)."""


@dataclass(frozen=True)
class Expansion:
    """The query, keys and products of the window's token `row`. `largest` has the largest absolute query, key and
    product of the head."""

    row: int
    query: list[float]
    keys: Vectors
    masked: list[bool]
    """True for each key that lies in the token's future."""
    scale: float
    largest: tuple[float, float, float]

    def products(self, col: int) -> list[float]:
        """Return the product of query and key for each neuron."""
        return [q * k for q, k in zip(self.query, self.keys[col], strict=True)]


def expansion(entry: Entry, selection: Selection, first: Window, row: int) -> Expansion:
    """Return the query of the window's token `row`, and the keys that the picture shows."""
    meta = entry.meta["stacks"][selection.stack]
    layer = next(candidate for candidate in meta["layers"] if candidate["layer"] == selection.layer)
    neurons, head = layer["neurons"], selection.heads[0]
    name, d = f"{selection.stack}/{selection.layer}", neurons["d"]
    rows, cols = (len(entry.meta["sequences"][meta[side]]["tokens"]) for side in ("rows", "cols"))
    queries = scaled(entry.blobs[f"{name}/q"], layer["heads"] * d, rows, range(head * d, (head + 1) * d))
    group = head * neurons["kv_heads"] // layer["heads"]
    keys = scaled(entry.blobs[f"{name}/k"], neurons["kv_heads"] * d, cols, range(group * d, (group + 1) * d))
    most_q, most_k = ([max(map(abs, values), default=0.0) for values in side] for side in (queries, keys))
    largest = max(most_q), max(most_k), max(q * k for q, k in zip(most_q, most_k, strict=True))
    position = first.rows.groups[row][0]
    shown = [group[0] for group in first.cols.groups]
    return Expansion(
        row,
        query=[values[position] for values in queries],
        keys=[[values[col] for values in keys] for col in shown],
        masked=[meta["causal"] and position < col < rows for col in shown],  # the last column may be a sink
        scale=neurons["scale"],
        largest=largest,
    )


def picture(first: Window, opened: Expansion, theme: str) -> Picture:
    """Return a picture of the expanded token."""
    q, k = LEFT, LEFT + STRIP + FAN
    numbers = k + 2 * STRIP + GAP + NUMBER
    right = numbers + NUMBER + 8
    width, height = right + LEFT, ROW * (1 + max(len(first.rows.texts), len(first.cols.texts)))
    head = (first.heads[0] or 0) % HEADS
    box = f'x="{q}" y="{ROW}" width="{k + 2 * STRIP + GAP - q}" height="{height - ROW}"'
    body = [
        *_strips(opened, max(len(first.rows.texts), len(first.cols.texts)), box, width, height),
        *_fan(first, opened, q + STRIP + 2, k - 2),
        *_headings((q, k, k + STRIP + GAP), (numbers, numbers + NUMBER), opened.scale),
        *_numbers(first, opened, numbers),
        *_tokens(first.rows, LEFT - 8, ' text-anchor="end"', opened.row),
        *_tokens(first.cols, right, "", None),
    ]

    def rules(scheme: dict[str, Any]) -> str:
        """Return the CSS colours of a scheme."""
        negative, positive = scheme["signed"]
        texts = f"text{{fill:{scheme['text']}}}.s{{fill:{scheme['pale']}}}"
        return f"{texts}.n{{fill:{negative}}}.p{{fill:{positive}}}path{{stroke:{scheme['heads'][head]}}}"

    fonts = "text{font:14px system-ui,sans-serif}.o{font-weight:600}.i{font-size:12px}"
    plain = "path{stroke-width:1.5;fill:none}image{image-rendering:pixelated}"
    return Picture(document(width, height, fonts + plain + styles(palette(theme), rules), body), width, height)


def _strips(opened: Expansion, rows: int, box: str, width: int, height: int) -> Iterator[str]:
    """Yield all strips as two images, one of negative and one of positive numbers. A pixel is as wide as a neuron."""
    whole = f'maskUnits="userSpaceOnUse" x="0" y="0" width="{width}" height="{height}"'
    lines = [_strips_of(opened, row) for row in range(rows)]
    for name, images in zip("np", zip(*lines, strict=True), strict=True):
        pixels = [line for image in images for line in (bytes(len(image)), *[image] * (LINES - 2), bytes(len(image)))]
        href = f'href="data:image/png;base64,{base64.b64encode(png(pixels)).decode()}" preserveAspectRatio="none"'
        yield f'<mask id="{name}" {whole}><image {box} {href}/></mask><rect class="{name}" {box} mask="url(#{name})"/>'


def _strips_of(opened: Expansion, row: int) -> tuple[bytes, bytes]:
    """Return the levels of query, key and products beside one token: those of negative and those of positive
    numbers."""
    d = len(opened.query)
    blank = bytes(d), bytes(d)
    fan, gap = (bytes(max(1, round(px * d / STRIP))) for px in (FAN, GAP))
    most_query, most_key, most_product = opened.largest
    seen = row < len(opened.keys)
    masked = seen and opened.masked[row]
    query = _levels(opened.query, most_query) if row == opened.row else blank
    key = _levels(opened.keys[row], most_key, MASKED if masked else 1.0) if seen else blank
    product = _levels(opened.products(row), most_product) if seen and not masked else blank
    negative, positive = (b"".join((q, fan, k, gap, p)) for q, k, p in zip(query, key, product, strict=True))
    return negative, positive


def _levels(values: Sequence[float], most: float, factor: float = 1.0) -> tuple[bytes, bytes]:
    """Return the levels of the negative and of the positive numbers. Small numbers stay visible, as in `strength` of
    the front end."""
    shares = [factor * (value / (most or 1)) for value in values]
    negative, positive = (
        bytes([round(LEVELS * share**0.55) if share > 0 else 0 for share in signed])
        for signed in ([-share for share in shares], shares)
    )
    return negative, positive


def _fan(first: Window, opened: Expansion, left: int, right: int) -> Iterator[str]:
    """Yield a line from the query to each key; its opacity shows the weight."""
    for col, weight in enumerate(first.weights[0][opened.row]):
        if (opacity := round(float(weight**0.6), 2)) > 0:
            start, span, fall = (opened.row + 1.5) * ROW, right - left, (col - opened.row) * ROW
            curve = f"M{left} {start:g}c{span / 2:g} 0 {span / 2:g} {fall} {span} {fall}"
            yield f'<path opacity="{opacity:g}" d="{curve}"/>'


def _headings(strips: Sequence[int], numbers: Sequence[int], scale: float) -> Iterator[str]:
    """Yield the headings of the columns."""
    for x, text in zip(strips, ("Query q", "Key k", "q × k"), strict=True):
        yield f'<text class="i" x="{x}" y="16">{text}</text>'
    for x, text in zip(numbers, (f"q·k×{scale:.3g}", "weight"), strict=True):
        yield f'<text class="i" x="{x}" y="16" text-anchor="end">{text}</text>'


def _numbers(first: Window, opened: Expansion, x: int) -> Iterator[str]:
    """Yield the scaled dot product and the weight of each token."""
    for col, weight in enumerate(first.weights[0][opened.row]):
        masked = opened.masked[col]
        score = "masked" if masked else f"{opened.scale * sum(opened.products(col)):.2f}".replace("-", "−")
        for at, text in ((x, score), (x + NUMBER, f"{weight:.2f}")):
            pale = " s" if masked or text == "0.00" else ""
            yield f'<text class="i{pale}" x="{at}" y="{(col + 1) * ROW + 16}" text-anchor="end">{text}</text>'


def _tokens(side: Side, x: int, anchor: str, opened: int | None) -> Iterator[str]:
    """Yield the texts of one column of tokens."""
    for position, text in enumerate(side.texts):
        kind = "o" if position == opened else "s" if side.special[position] else ""
        style = f' class="{kind}"' if kind else ""
        yield f'<text x="{x}" y="{(position + 1) * ROW + 16}"{anchor}{style}>{escape(text)}</text>'
