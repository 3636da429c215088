"""The line below a static picture that says what its colours mean, as below the interactive figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import HEADS, document, escape_words, palette, styles

STEPS = 12
"""The number of squares of a scale."""
SQUARE, SPACE, CHARACTER = 8, 14, 7.1
"""The width in px of a square and of the gap between the parts, and the mean width of a character."""
LINE, DOWN, BELOW = 18, 22, 6
"""The height in px of a line, the distance of the first base line from the picture, and the space below the last."""
NARROWEST = 440
"""The smallest width in px at which the line is broken."""
MOST_HEADS = 16
"""The largest number of heads whose colours are explained."""


class Scale(NamedTuple):
    """The colours of a picture as a row of squares between two values."""

    low: str
    high: str
    power: float = 1.0
    """The power of a share of the way that gives the opacity of its colour."""
    deepest: float = 1.0
    """The opacity at the end."""
    colour: str = "signed"
    """The colour: that of signed values, `text`, or a head's number."""
    signed: bool = False
    """True if the scale begins with negative values, in a colour of their own; no colour is then in the middle."""

    def shades(self) -> Iterator[tuple[bool, float]]:
        """Yield for each square whether its values are negative, and its opacity."""
        for step in range(STEPS):
            share = step / (STEPS - 1)
            way = 2 * share - 1 if self.signed else share
            yield way < 0, self.deepest * abs(way) ** self.power


def with_legend(
    picture: Picture, theme: str, text: str, scale: Scale | None = None, heads: Sequence[int] = ()
) -> Picture:
    """Return a picture with a legend below it. Several `heads` have squares in their colours.

    The parts of `text` are separated by " · "; between them it may be broken.
    """
    heads = tuple(heads) if 1 < len(heads) <= MOST_HEADS else ()
    width = max(picture.width, NARROWEST)
    body, style, tall = _legend(theme, text, scale, heads, width)
    height = picture.height + tall
    placed = f'<g transform="translate(0 {picture.height})">{body}</g>'
    return Picture(document(width, height, style, (picture.svg, placed)), width, height)


@lru_cache(maxsize=1000)
def _legend(theme: str, text: str, scale: Scale | None, heads: tuple[int, ...], width: int) -> tuple[str, str, int]:
    """Return a legend of this width as SVG, with its CSS and its height in px."""
    x, y, body = 0.0, DOWN, list[str]()
    for part, room in [*([_scale(scale)] if scale else []), *([_heads(heads)] if heads else [])]:
        body.append(_placed(part, x, y))
        x += room + SPACE
    if x and x + CHARACTER * len(text.split(" · ")[0]) > width:
        x, y = 0.0, y + LINE
    line, *others = _lines(text, (width - x) / CHARACTER, width / CHARACTER)
    body.append(_placed(_text(line), x, y))
    for other in others:
        y += LINE
        body.append(_placed(_text(other), 0, y))
    return "".join(body), _style(theme, scale, heads), y + BELOW


def _placed(part: str, x: float, y: int) -> str:
    """Return a part of a legend at its place."""
    return f'<g transform="translate({x:g} {y})">{part}</g>'


def _lines(text: str, first: float, others: float) -> list[str]:
    """Return the parts of a text in lines of so many characters. A part that is longer is not broken."""
    lines, room = [""], first
    for part in text.split(" · "):
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if lines[-1] and len(longer) > room:
            lines.append(part)
            room = others
        else:
            lines[-1] = longer
    return lines


def _scale(scale: Scale) -> tuple[str, float]:
    """Return the squares of a scale between its values, and their width in px."""
    start, end = CHARACTER * len(scale.low) + 6, STEPS * SQUARE
    squares = "".join(
        f'<rect class="{"less" if negative else "more"}" x="{start + SQUARE * n:g}" y="-9" width="{SQUARE}" '
        f'height="10" fill-opacity="{shade:.2g}"/>'
        for n, (negative, shade) in enumerate(scale.shades())
    )
    ends = f"{_text(scale.low)}{squares}{_text(scale.high, start + end + 6)}"
    return ends, start + end + 6 + CHARACTER * len(scale.high)


def _heads(heads: Sequence[int]) -> tuple[str, float]:
    """Return a square in the colour of each head, and the width of all in px."""
    squares = "".join(
        f'<rect class="head{head % HEADS}" x="{50 + 32 * n}" y="-9" width="10" height="10"/>'
        f"{_text(str(head), 63 + 32 * n)}"
        for n, head in enumerate(heads)
    )
    return f"{_text('Heads')}{squares}", 50 + 32 * len(heads)


def _text(text: str, x: float = 0) -> str:
    """Return the SVG of a text."""
    return f'<text class="legend" x="{x:g}">{escape_words(text)}</text>'


def _style(theme: str, scale: Scale | None, heads: Sequence[int]) -> str:
    """Return the CSS of a legend. Its classes are its own, because the picture's rules are those of the whole file."""

    def rules(scheme: dict[str, Any]) -> str:
        """Return the CSS colours of a scheme."""
        found = [f".legend{{fill:{scheme['pale']}}}"]
        if scale is not None:
            less, more = scheme["signed"]
            colours = {"signed": more, "text": scheme["text"]}
            colour = colours.get(scale.colour) or scheme["heads"][int(scale.colour) % HEADS]
            found.append(f".more{{fill:{colour}}}.less{{fill:{less}}}")
        found += [f".head{number}{{fill:{scheme['heads'][number]}}}" for number in sorted({n % HEADS for n in heads})]
        return "".join(found)

    return ".legend{font:12px system-ui,sans-serif;text-anchor:start}" + styles(palette(theme), rules)
