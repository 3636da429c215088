"""A text's tokens set as running text: functions that views of tokens share, and their static picture."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mkdocs_attnviz.block.fields import Options
from mkdocs_attnviz.block.values import key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST_JSON, inflated
from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.figure_data import Stretch, TokenSequence
from mkdocs_attnviz.views.svg.direction import is_right_to_left, levels, visual_order
from mkdocs_attnviz.views.svg.document import CAP, document, escape, palette, styles
from mkdocs_attnviz.views.visible_tokens import visible

WIDTH, ROW, CHARACTER = 680, 44, 8
WIDE, NARROW, LINE, LETTER = 700, 345, 40, 7
"""The layout of running text in the page, in px: line length on a desktop, line length on a phone, line height, and
width of a letter."""
LIST = 240
"""The height in px of ten lines below the first line of a read-out. The page reserves it."""
PANEL = 64
"""The height in px of the controls and one line of read-out, in views of other things than attention."""
ROWS = 12
"""The number of lines in a static picture."""
TEXT, STRIP, BAR = 22, 28, 12
"""The sizes in px: the height of a token's text, the height of the bars below it, and the width of a bar."""
NARROWEST, NOTED = 24, 36
"""The smallest width in px of a token, and of a token with a percentage below it."""


class Likeliest(Options):
    """The block keys of views that show likely tokens."""

    top_k: int = key(
        "a number from 1 to 100",
        "How many of the likeliest tokens are kept for each position.",
        default=10,
        ge=1,
        le=100,
    )

    def parameters(self) -> dict[str, Any]:
        return {"top_k": self.top_k}


def json_of(blob: bytes) -> Any:
    """Return the value of a deflated JSON text.

    Raises:
        ValueError or RecursionError: if the blob is not a deflated JSON text.
    """
    return json.loads(inflated(blob, LARGEST_JSON, most=True))


def sequences(entry: Entry, *, pretty: bool) -> dict[str, TokenSequence]:
    """Return every sequence of the entry as the figure shows it."""
    return {
        name: {"tokens": meta["pretty" if pretty else "tokens"], "special": meta["special"], "sentence_b_start": None}
        for name, meta in entry.meta["sequences"].items()
    }


def texts(entry: Entry) -> list[Stretch]:
    """Return the parts of the texts that are shown, in reading order: the input of the model, and its output."""
    meta = entry.meta["sequences"]
    length, generated = len(meta["text"]["tokens"]), meta["text"].get("generated")
    if "target" in meta:
        target = len(meta["target"]["tokens"])
        parts = [("text", "Input", 0, length), ("target", "Output", 1, target)]
    elif generated is not None:
        parts = [("text", "Input", 0, generated), ("text", "Written by the model", generated, length)]
    else:
        parts = [("text", "", 0, length)]
    return [
        {"name": name, "heading": heading, "start": start, "end": end}
        for name, heading, start, end in parts
        if end > start
    ]


class Bars(NamedTuple):
    """The range of the bars that share one base line below the tokens, as fractions of the full colour's value."""

    least: float
    most: float

    @property
    def zero(self) -> int:
        """The distance in px from the top of the bars to their base line."""
        return round(STRIP * self.most / (self.most - self.least)) if self.least else STRIP

    def of(self, share: float, middle: float, y: float) -> Iterator[str]:
        """Yield the bar of a token. `middle` is its x position, and `y` is the top of the space for bars."""
        tall = STRIP * abs(share) / ((self.most - self.least) or 1.0)
        top = y + (self.zero - tall if share > 0 else self.zero + 1)
        kind = "n" if share < 0 else "f"
        if share:
            yield f'<rect class="{kind}" x="{middle - BAR / 2:g}" y="{top:.4g}" width="{BAR}" height="{tall:.3g}"/>'


def picture(
    shown: Sequence[Mapping[str, Any]],
    tokens: Mapping[str, Mapping[str, Any]],
    share: Callable[[str, int], float],
    theme: str,
    note: Callable[[str, int], str | None] = lambda _name, _position: None,
    bars: Bars | None = None,
) -> Picture:
    """Return a picture of the tokens. The opacity of each token's background is its `share`, from -1 to 1; negative
    values have the other colour.

    With `bars`, each share is a bar instead. The `note` is written below a token, or its position if there is no note.
    """
    body: list[str] = []
    top, rows_left = 0, ROWS if bars is None else ROWS // 2
    for part in shown:
        if not rows_left:
            break
        every = tokens[part["name"]]
        stretch = range(part["start"], part["end"])
        words = [every["tokens"][position] for position in stretch]
        special = {at for at, position in enumerate(stretch) if position in every["special"]}
        notes = [note(part["name"], position) for position in stretch]
        strip = STRIP + 2 if bars and any(notes) else 0
        placed, rows = lines(words, special, _room(part["heading"]), NOTED if any(notes) else NARROWEST)
        if part["heading"]:
            body.append(_heading(part["heading"], top + 14, from_right=is_right_to_left(words)))
        for at, (x, line, width) in enumerate(placed):
            if line < rows_left:
                name, position = part["name"], part["start"] + at
                y, middle, value = top + line * (ROW + strip), x + width / 2, share(name, position)
                if bars is None:
                    body.append(_ground(x, y, width, value))
                elif notes[at]:
                    body += bars.of(value, middle, y + TEXT)
                    body.append(f'<rect class="p" x="{x}" y="{y + TEXT + bars.zero}" width="{width + 2}" height="1"/>')
                below = notes[at] or str(position + part.get("offset", 0))
                body += _token(escape(words[at]), middle, y, below, y + 34 + strip)
        top += min(rows, rows_left) * (ROW + strip)
        rows_left -= min(rows, rows_left)
    style = "text{font:13px system-ui,sans-serif}" + styles(palette(theme), _rules)
    return Picture(document(WIDTH, top, style, body), WIDTH, top)


def _room(heading: str) -> int:
    """Return the width in px of a heading at the beginning of the first line."""
    return 8 * len(heading) + 12 if heading else 0


def _heading(text: str, y: int, *, from_right: bool) -> str:
    """Return the SVG text of a heading."""
    place = f'x="{WIDTH}" text-anchor="end"' if from_right else 'x="0"'
    return f'<text class="p" {place} y="{y}" font-size="12">{html.escape(text)}</text>'


def lines(
    words: Sequence[str], special: Collection[int], room: int = 0, least: int = NARROWEST
) -> tuple[list[tuple[int, int, int]], int]:
    """Return x, line and width of each token, and the number of lines, in the direction of the text.

    The first line begins after `room` px. A token is at least `least` px wide.
    """
    base, deep = levels(words, special)
    widths = [max(least, CHARACTER * len(visible(word) or "∅") + 10) for word in words]
    broken: list[list[int]] = [[]]
    x = room
    for at, width in enumerate(widths):
        if x and x + width > WIDTH:
            broken.append([])
            x = 0
        broken[-1].append(at)
        x += width + 2
    placed = {}
    for line, indices in enumerate(broken):
        taken = sum(widths[at] + 2 for at in indices) + (room if line == 0 else 0)
        x = WIDTH + 2 - taken if base else room if line == 0 else 0
        for at in (indices[i] for i in visual_order([deep[at] for at in indices])):
            placed[at] = (x, line, widths[at])
            x += widths[at] + 2
    return [placed[at] for at in range(len(words))], len(broken) if words else int(room > 0)


def _ground(x: int, y: int, width: int, share: float) -> str:
    """Return the SVG background of a token."""
    kind, opacity = "n" if share < 0 else "f", f"{min(1.0, abs(share)) * 0.6:.2g}"
    return f'<rect class="{kind}" opacity="{opacity}" x="{x}" y="{y}" width="{width}" height="22"/>' if share else ""


def _token(text: str, middle: float, y: int, note: str, below: int) -> list[str]:
    """Return the SVG texts of a token and its note."""
    return [
        f'<text x="{middle:g}" y="{y + 16}" text-anchor="middle">{text or "∅"}</text>',
        f'<text class="p s" x="{middle:g}" y="{below}" text-anchor="middle">{note}</text>',
    ]


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    negative, positive = scheme["signed"]
    inks = f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.f{{fill:{positive}}}.n{{fill:{negative}}}"
    return f"{inks}.s{{font-size:10px}}"


def height(
    shown: Sequence[Mapping[str, Any]],
    tokens: Mapping[str, Mapping[str, Any]],
    below: int = 0,
    most: int = 480,
    strip: int = 0,
    least: int = NARROWEST,
) -> str:
    """Return the CSS height of running text of at most `most` px, plus `below` px.

    A narrow figure has more lines; a text that fits one line has them only if the figure is narrower than the text.
    Below each token there are `strip` px for bars. A token is at least `least` px wide.
    """
    lengths = [_length(tokens[part["name"]]["tokens"][part["start"] : part["end"]], least) for part in shown]
    wide, narrow = (min(most, _height(shown, lengths, width, LINE + strip)) for width in (WIDE, NARROW))
    edge = min(600, max(lengths, default=600))
    return f"min({wide}px + clamp(0px,({edge}px - 100cqw)*99,{narrow - wide}px),{CAP}) + {below}px"


def _length(texts: Sequence[str], least: int) -> int:
    """Return about how many px tokens take in one line, found without laying them out."""
    return sum(max(least, LETTER * len(text) + 8) + 2 for text in texts)


def _height(shown: Sequence[Mapping[str, Any]], lengths: Sequence[int], width: int, line: int) -> int:
    """Return an estimate in px, made without laying out the tokens. Outputs that are not inputs have no bars."""
    total = 8
    for part, length in zip(shown, lengths, strict=True):
        strip = 0 if part["name"] == "outputs" else line - LINE
        total += (LINE + strip) * -(-length // width) + (24 if part["heading"] else 0)
    return total
