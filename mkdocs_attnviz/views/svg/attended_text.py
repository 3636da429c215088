"""A static picture of running text with coloured marks: some lines around the mark that is chosen."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.direction import levels, visual_order
from mkdocs_attnviz.views.svg.document import CAP, document, escape_words, palette, styles
from mkdocs_attnviz.views.svg.text_colours import colour_rules, level_of, name_of
from mkdocs_attnviz.views.visible_tokens import visible

COLUMNS, NARROW = 84, 38
"""The number of characters in a line: of the picture, and of a figure on a phone."""
CHARACTER, LINE = 8, 24
"""The width of a character and the height of a line, in px."""
LINES, BEFORE = 14, 8
"""The number of lines in the picture, and of those before the mark that is chosen."""
HIGHEST = 480
"""The largest height in px of the interactive text, as in `frontend/src/charts/running-text.css`."""


class Section(NamedTuple):
    """A part of the text with a label, such as a speaker's turn."""

    label: str
    start: int
    """Its first mark."""


class _Cell(NamedTuple):
    """A character."""

    text: str
    mark: int
    """The mark that it belongs to; -1 for a gap."""
    pale: bool


@dataclass(frozen=True)
class _Line:
    cells: Sequence[_Cell]
    label: str = ""
    from_right: bool = False

    @property
    def marks(self) -> set[int]:
        return {cell.mark for cell in self.cells}


def attended_text(
    text: Mapping[str, Sequence[str]],
    sections: Sequence[Section],
    shares: Mapping[int, float],
    chosen: int | None,
    special: Collection[int],
    theme: str,
) -> Picture:
    """Return the picture. `text` has the `texts` of marks and the `gaps` before them, `shares` the share of the full
    colour of marks, from -1 to 1."""
    every = list(_lines(text, sections, set(special)))
    at = next((n for n, line in enumerate(every) if chosen is not None and chosen in line.marks), 0)
    first = max(0, min(at - BEFORE, len(every) - LINES))
    shown, rest = every[first : first + LINES], len(every) - first - LINES
    body = list(_note(f"… {first} lines before", 0)) if first else []
    top = LINE if first else 0
    for line in shown:
        body += _drawn(line, top, shares, chosen)
        top += LINE
    if rest > 0:
        body += _note(f"… {rest} more lines", top)
        top += LINE
    style = "text{font:13px ui-monospace,Menlo,Consolas,monospace;white-space:pre}" + styles(palette(theme), _rules)
    return Picture(document(CHARACTER * COLUMNS, top, style, body), CHARACTER * COLUMNS, top)


def _note(text: str, top: int) -> Iterator[str]:
    yield f'<text class="p" x="0" y="{top + 17}">{text}</text>'


def height_of(text: Mapping[str, Sequence[str]], sections: Sequence[Section]) -> str:
    """Return the CSS height of the interactive text, estimated without laying it out."""
    whole = "".join(part for pair in zip(text["gaps"], text["texts"], strict=True) for part in pair)
    labels = sum(bool(section.label) for section in sections)
    wide, narrow = (
        min(HIGHEST, LINE * (labels + sum(1 + max(0, _columns(each) - 1) // columns for each in whole.split("\n"))))
        for columns in (COLUMNS, NARROW)
    )
    return f"min({wide}px + clamp(0px,(600px - 100cqw)*99,{narrow - wide}px),{CAP})"


def _lines(text: Mapping[str, Sequence[str]], sections: Sequence[Section], special: set[int]) -> Iterator[_Line]:
    """Yield the lines of all sections, each after its label."""
    count = len(text["texts"])
    for section, end in zip(sections, [*(each.start for each in sections[1:]), count], strict=True):
        paragraph: list[_Cell] = []
        label = section.label
        for mark in range(section.start, end):
            gap = text["gaps"][mark].lstrip() if mark == section.start else text["gaps"][mark]
            for character, owner in [*((each, -1) for each in gap), *((each, mark) for each in text["texts"][mark])]:
                pale = character.isspace() or owner in special
                paragraph.append(_Cell(_shown(character), owner, pale))
                if character == "\n":
                    if owner < 0:
                        paragraph.pop()
                    yield from _wrapped(paragraph, label)
                    paragraph, label = [], ""
        if paragraph or label:
            yield from _wrapped(paragraph, label)


def _wrapped(paragraph: Sequence[_Cell], label: str) -> Iterator[_Line]:
    """Yield a label and the lines of a paragraph, broken where they are full."""
    if label:
        yield _Line([], label)
    from_right = _from_right(paragraph)
    line: list[_Cell] = []
    width = 0
    for cell in paragraph:
        wide = _columns(cell.text)
        if width + wide > COLUMNS:
            end = next((n for n in range(len(line), COLUMNS // 2, -1) if line[n - 1].text == " "), len(line))
            yield _Line(line[:end], from_right=from_right)
            line = line[end:]
            width = sum(_columns(each.text) for each in line)
        line.append(cell)
        width += wide
    yield _Line(line, from_right=from_right)


def _shown(character: str) -> str:
    """Return the sign of a character; a space is one, since marks show where words end."""
    return {"\n": "⏎", " ": " "}.get(character) or visible(character)


def _from_right(cells: Sequence[_Cell]) -> bool:
    """Return whether a paragraph begins on the right: its first letter decides, as in a browser (`dir="auto"`)."""
    kinds = (unicodedata.bidirectional(cell.text[0]) for cell in cells if not cell.pale)
    return next((kind in ("R", "AL") for kind in kinds if kind in ("L", "R", "AL")), False)


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


class _Run(NamedTuple):
    """Characters of one mark in one line."""

    text: str
    mark: int
    pale: bool


def _drawn(line: _Line, top: int, shares: Mapping[int, float], chosen: int | None) -> Iterator[str]:
    """Yield the SVG of a line: colours first, then the text."""
    if line.label:
        yield f'<text class="r" x="0" y="{top + 17}">{escape_words(line.label)}</text>'
        return
    runs = [
        _Run("".join(cell.text for cell in cells), mark, pale)
        for (mark, pale), cells in groupby(line.cells, lambda cell: (cell.mark, cell.pale))
    ]
    placed = list(_placed(runs, from_right=line.from_right))
    for x, run in placed:
        width = CHARACTER * _columns(run.text)
        share = shares.get(run.mark, 0.0)
        if level := level_of(share):
            yield f'<rect class="{name_of(level)}" x="{x}" y="{top}" width="{width}" height="{LINE}"/>'
        if run.mark == chosen and chosen is not None:
            yield f'<rect class="o" x="{x + 1}" y="{top + 1}" width="{width - 2}" height="{LINE - 2}"/>'
    colored = {run.mark for _, run in placed if level_of(shares.get(run.mark, 0.0))}
    placed = [(x, run._replace(pale=run.pale and run.mark not in colored)) for x, run in placed]
    for x, text, pale in _joined(placed):
        if text.strip():
            width = CHARACTER * _columns(text)
            ink = ' class="p"' if pale else ""
            how = f'x="{x}" y="{top + 17}" textLength="{width}" lengthAdjust="spacingAndGlyphs"'
            yield f"<text{ink} {how}>{html.escape(text)}</text>"


def _placed(runs: Sequence[_Run], *, from_right: bool) -> Iterator[tuple[int, _Run]]:
    """Yield each run with the left end of its place, from left to right."""
    order = list(range(len(runs)))
    if any(_is_right(run.text) for run in runs):
        order = visual_order(levels([run.text for run in runs], ())[1])
    x = CHARACTER * (COLUMNS - sum(_columns(run.text) for run in runs)) if from_right else 0
    for n in order:
        yield x, runs[n]
        x += CHARACTER * _columns(runs[n].text)


def _joined(placed: Sequence[tuple[int, _Run]]) -> Iterator[tuple[int, str, bool]]:
    """Yield neighbouring runs as one text where their inks are the same; right-to-left ones stay apart."""
    for (pale, _), group in groupby(placed, lambda each: (each[1].pale, each[0] if _is_right(each[1].text) else -1)):
        runs = list(group)
        yield runs[0][0], "".join(run.text for _, run in runs), pale


def _is_right(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    text, pale = scheme["text"], scheme["pale"]
    own = f".r{{fill:{pale};font-weight:600}}.o{{fill:none;stroke:{text};stroke-width:2}}"
    return f"text{{fill:{text}}}.p{{fill:{pale}}}{own}{colour_rules(scheme)}"
