"""A static picture of running text that is coloured by units: its first lines, as they are written."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import CAP, document, palette, styles
from mkdocs_attnviz.views.svg.text_colours import colour_rules, level_of, name_of
from mkdocs_attnviz.views.unit_values import Colours
from mkdocs_attnviz.views.visible_tokens import visible

COLUMNS = 84
"""The number of characters in a line; a longer one is broken."""
CHARACTER, LINE, STRIP, MASK = 8, 24, 10, 6
"""The sizes in px: the width of a character, and the heights of a line, of a unit's strip below it, and of the strip of
what is looked for."""
NARROW = 38
"""The number of characters in a line on a phone."""
HIGHEST = 480
"""The largest height in px of the interactive text, as in `frontend/src/charts/running-text.css`."""
LINES = 16
"""The number of lines in the static picture."""


class _Cell(NamedTuple):
    """A character, or what stands in its place."""

    text: str
    token: int
    pale: bool


def running_text(
    tokens: Sequence[str],
    rows: Sequence[Sequence[float]],
    colours: Sequence[Colours],
    theme: str,
) -> Picture:
    """Return a picture of the first lines, coloured by the first of `rows`; the others are strips below each line."""
    every = list(_lines(tokens))
    shown = every[:LINES]
    step = LINE + STRIP * (len(rows) - 1)
    body: list[str] = []
    for number, line in enumerate(shown):
        top = number * step
        for row, (values, scale) in enumerate(zip(rows, colours, strict=True)):
            y, height = (top, LINE) if row == 0 else (top + LINE + STRIP * (row - 1), STRIP - 1)
            body += _rectangles([_level(values[cell.token], scale) for cell in line], y, height)
        body += _text(line, top + 17)
    height = step * len(shown) + (LINE if len(every) > len(shown) else 0)
    if len(every) > len(shown):
        body.append(f'<text class="p" x="0" y="{height - 6}">… {len(every) - len(shown)} more lines</text>')
    style = "text{font:13px ui-monospace,Menlo,Consolas,monospace;white-space:pre}" + styles(palette(theme), _rules)
    return Picture(document(CHARACTER * COLUMNS, height, style, body), CHARACTER * COLUMNS, height)


def height_of_text(text: str, line: int) -> str:
    """Return the CSS height of a text with lines of so many px, estimated without laying it out.

    A longer text scrolls within the figure. In a narrow figure there are more lines.
    """
    wide, narrow = (min(HIGHEST, line * _count(text, columns)) for columns in (COLUMNS, NARROW))
    return f"min({wide}px + clamp(0px,(600px - 100cqw)*99,{narrow - wide}px),{CAP})"


def _count(text: str, columns: int) -> int:
    """Return the number of lines in which a text stands."""
    return sum(1 + max(0, len(each) - 1) // columns for each in text.split("\n"))


def _lines(tokens: Sequence[str]) -> Iterator[list[_Cell]]:
    """Yield the lines of the text: each ends with a line break, or where it is full."""
    line: list[_Cell] = []
    for token, text in enumerate(tokens):
        for character in text:
            cell = _Cell(_shown(character), token, character.isspace())
            if _width([*line, cell]) > COLUMNS:
                end = _end_of_word(line)
                yield line[:end]
                line = line[end:]
            line.append(cell)
            if character == "\n":
                yield line
                line = []
    if line:
        yield line


def _end_of_word(line: Sequence[_Cell]) -> int:
    """Return where a full line is broken: behind its last white space, if that is in its second half."""
    last = next((at for at in range(len(line) - 1, COLUMNS // 2, -1) if line[at].pale), len(line) - 1)
    return last + 1


def _shown(character: str) -> str:
    """Return the sign of a character; a tab takes one column, like everything else."""
    return "⏎" if character == "\n" else visible(character)


def _width(line: Sequence[_Cell]) -> int:
    """Return the number of columns that a line takes."""
    return sum(map(_columns, line))


def _columns(cell: _Cell) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in cell.text)


def _level(value: float, scale: Colours) -> int:
    return level_of(value / scale.most)


def _rectangles(levels: Sequence[int], y: int, height: int) -> Iterator[str]:
    """Yield a rectangle for each run of characters with the same colour."""
    start = 0
    for at in range(1, len(levels) + 1):
        if at < len(levels) and levels[at] == levels[start]:
            continue
        if level := levels[start]:
            place = f'x="{start * CHARACTER}" y="{y}" width="{(at - start) * CHARACTER}" height="{height}"'
            yield f'<rect class="{name_of(level)}" {place}/>'
        start = at


def _text(line: Sequence[_Cell], y: int) -> Iterator[str]:
    """Yield the characters of a line: runs of the same ink, each with its own place."""
    start = 0
    for at in range(1, len(line) + 1):
        if at < len(line) and line[at].pale == line[start].pale:
            continue
        content = html.escape("".join(cell.text for cell in line[start:at]))
        ink = ' class="p"' if line[start].pale else ""
        width = CHARACTER * (at - start)
        how = f'x="{start * CHARACTER}" y="{y}" textLength="{width}" lengthAdjust="spacingAndGlyphs"'
        yield f"<text{ink} {how}>{content}</text>"
        start = at


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['text']};fill-opacity:0.45}}{colour_rules(scheme)}"
