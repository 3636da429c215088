"""A text's tokens as text: what views of tokens share, and their static picture."""

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
from mkdocs_attnviz.views.svg.document import CAP, document, escape, palette, styles, visible

WIDTH, ROW, CHARACTER = 680, 44, 8
WIDE, NARROW, LINE, LETTER = 700, 345, 40, 7
"""Of a line that is set as text: how long it is on a desk, and on a phone; how high; how wide a letter is."""
LIST = 240
"""px of the ten lines that a read-out may have below its first, which the page keeps room for."""
PANEL = 64
"""px around what is not drawn of attention: controls, and a line of read-out."""
ROWS = 12
"""As many as a static picture shows."""
TEXT, STRIP, BAR = 22, 28, 12
"""px of a token's text, of the room for bars below it, and of a bar's width."""
NARROWEST, NOTED = 24, 36
"""px of a token at least, and of one with a percentage below it."""


class Likeliest(Options):
    """Of views of what a model held likely."""

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
    """Return the value of a deflated JSON text. Raises: ValueError, RecursionError: it is none."""
    return json.loads(inflated(blob, LARGEST_JSON, most=True))


def sequences(entry: Entry, *, pretty: bool) -> dict[str, TokenSequence]:
    """Every sequence of the entry, as the figure shows it."""
    return {
        name: {"tokens": meta["pretty" if pretty else "tokens"], "special": meta["special"], "sentence_b_start": None}
        for name, meta in entry.meta["sequences"].items()
    }


def texts(entry: Entry) -> list[Stretch]:
    """The stretches that are shown, in the order of reading: what the model reads, and what it writes."""
    meta = entry.meta["sequences"]
    length, generated = len(meta["text"]["tokens"]), meta["text"].get("generated")
    if "target" in meta:
        target = len(meta["target"]["tokens"])
        found = [("text", "Input", 0, length), ("target", "Output", 1, target)]
    elif generated is not None:
        found = [("text", "Input", 0, generated), ("text", "Written by the model", generated, length)]
    else:
        found = [("text", "", 0, length)]
    return [
        {"name": name, "heading": heading, "start": start, "end": end}
        for name, heading, start, end in found
        if end > start
    ]


class Bars(NamedTuple):
    """The range of the bars that stand on one line below the tokens, as shares of what their colour stands for."""

    least: float
    most: float

    @property
    def zero(self) -> int:
        """How many pixels of their room are above the line."""
        return round(STRIP * self.most / (self.most - self.least)) if self.least else STRIP

    def of(self, share: float, middle: float, y: float) -> Iterator[str]:
        """Yield the bar of a token whose middle is there; `y` is the top of its room."""
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
    """The tokens, each on a ground whose opacity is its `share`, from -1 to 1; negative ones in the other colour.

    With `bars` each share is a bar instead. Below a token stands its `note`, or where it has none its position.
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
    """The pixels that a heading takes at the beginning of the first line."""
    return 8 * len(heading) + 12 if heading else 0


def _heading(text: str, y: int, *, from_right: bool) -> str:
    place = f'x="{WIDTH}" text-anchor="end"' if from_right else 'x="0"'
    return f'<text class="p" {place} y="{y}" font-size="12">{html.escape(text)}</text>'


def lines(
    words: Sequence[str], special: Collection[int], room: int = 0, least: int = NARROWEST
) -> tuple[list[tuple[int, int, int]], int]:
    """Return x, line and width of each token, and the number of lines, set in the direction of the text.

    The first line begins after `room` pixels. A token is at least `least` pixels wide.
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
    for line, there in enumerate(broken):
        taken = sum(widths[at] + 2 for at in there) + (room if line == 0 else 0)
        x = WIDTH + 2 - taken if base else room if line == 0 else 0
        for at in (there[i] for i in visual_order([deep[at] for at in there])):
            placed[at] = (x, line, widths[at])
            x += widths[at] + 2
    return [placed[at] for at in range(len(words))], len(broken) if words else int(room > 0)


def _ground(x: int, y: int, width: int, share: float) -> str:
    kind, opacity = "n" if share < 0 else "f", f"{min(1.0, abs(share)) * 0.6:.2g}"
    return f'<rect class="{kind}" opacity="{opacity}" x="{x}" y="{y}" width="{width}" height="22"/>' if share else ""


def _token(text: str, middle: float, y: int, note: str, below: int) -> list[str]:
    return [
        f'<text x="{middle:g}" y="{y + 16}" text-anchor="middle">{text or "∅"}</text>',
        f'<text class="p s" x="{middle:g}" y="{below}" text-anchor="middle">{note}</text>',
    ]


def _rules(scheme: dict[str, Any]) -> str:
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
    """CSS height of a flow of at most so many pixels, and of so many `below`: on a phone it has more lines.

    A token has room for a `strip` of so many pixels, and is at least so many wide.
    """
    wide, narrow = (min(most, _height(shown, tokens, width, LINE + strip, least)) for width in (WIDE, NARROW))
    return f"min({wide}px + clamp(0px,(600px - 100cqw)*99,{narrow - wide}px),{CAP}) + {below}px"


def _height(
    shown: Sequence[Mapping[str, Any]], tokens: Mapping[str, Mapping[str, Any]], width: int, line: int, least: int
) -> int:
    """Pixels, found without laying the tokens out. Outputs that are no inputs have no strip."""
    total = 8
    for part in shown:
        texts = tokens[part["name"]]["tokens"][part["start"] : part["end"]]
        length = sum(max(least, LETTER * len(text) + 8) + 2 for text in texts)
        strip = 0 if part["name"] == "outputs" else line - LINE
        total += (LINE + strip) * -(-length // width) + (24 if part["heading"] else 0)
    return total
