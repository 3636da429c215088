"""What static pictures share: row height, colours, and text that is safe in SVG."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

from mkdocs_attnviz.views.drawing import Picture

ROW = 24


CAP = "max(60svh,200px,min((100cqw - 600px)*99,(100svh - 500px)*99))"
"""In a narrow figure or a low window what scrolls takes at most 60% of the window, as in `parts/controls.css`."""
UNCAPPED = 200  # px that any window has


def height_of(rows: int) -> str:
    """CSS height of a list of tokens: longer ones scroll within the figure."""
    return capped(ROW * min(rows, 24))


def capped(height: int) -> str:
    """CSS height of what scrolls within the figure where it is higher than the window has room for."""
    return f"min({height}px,{CAP})" if height > UNCAPPED else f"{height}px"


class Palette(NamedTuple):
    """Colours of a picture; `dark` takes over where the page is dark, None where the block forces a scheme."""

    base: dict[str, Any]
    dark: dict[str, Any] | None


@cache
def palette(theme: str) -> Palette:
    """`static/palette.json`, which the front end is built from too."""
    schemes = json.loads((resources.files("mkdocs_attnviz") / "static" / "palette.json").read_text("utf-8"))
    return Palette(schemes["light"], schemes["dark"]) if theme == "auto" else Palette(schemes[theme], None)


HEADS = len(palette("light").base["heads"])
"""How many heads have colours of their own; those of further ones repeat."""


MARKS = {" ": "·", "\n": "⏎", "\t": "⇥", "\x7f": "␡", "\xa0": "⍽"}
STEERING = re.compile(r"[\x00-\x20\x7f-\xa0\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Spaces, control characters, and marks that steer the direction of text, as `INVISIBLE` in `frontend/src/token.ts`."""
ZERO_WIDTH = re.compile(
    r"[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""Unicode's Default_Ignorable_Code_Point: a token of nothing else would be an empty place."""


def visible(token: str) -> str:
    """Return a token with signs for what cannot be seen, what steers the text around it, and what XML forbids."""
    if ZERO_WIDTH.fullmatch(token):
        return " ".join(map(_code_point, token))
    return "".join(map(_visible, token))


def _visible(character: str) -> str:
    if character.isalnum():
        return character
    if mark := MARKS.get(character):
        return mark
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if STEERING.match(character):
        return _code_point(character)
    return "�" if unicodedata.category(character) in ("Cs", "Cn") else character


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def called(token: str) -> str:
    """Return what a sentence calls a token: without spaces at its ends, which most tokens of some models have."""
    return visible(token.strip(" ")) or ("a space" if token else "∅")


@lru_cache(maxsize=10_000)
def escape(token: str) -> str:
    return html.escape(visible(token))


def styles(colours: Palette, rules: Callable[[dict[str, Any]], str]) -> str:
    """CSS for both schemes, or for the one that the block forces.

    With a background: where a page declares no scheme, a picture follows the system's, which may not be the page's.
    """

    def all_rules(scheme: dict[str, Any]) -> str:
        return f"svg{{background:{scheme['background']}}}{rules(scheme)}"

    dark = "" if colours.dark is None else f"@media(prefers-color-scheme:dark){{{all_rules(colours.dark)}}}"
    return all_rules(colours.base) + dark


def document(width: int, height: int, style: str, body: Iterable[str]) -> str:
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}><style>{style}</style>{"".join(body)}</svg>'


TITLE = 28


def titled(picture: Picture, title: str, theme: str) -> Picture:
    """A picture under a line that says what it is of."""
    width, height = max(picture.width, min(680, 7 * len(title))), picture.height + TITLE
    style = ".title{font:12px system-ui,sans-serif}" + styles(
        palette(theme), lambda scheme: f".title{{fill:{scheme['text']}}}"
    )
    within = picture.svg.replace("<svg ", f'<svg y="{TITLE}" ', 1)
    return Picture(
        document(width, height, style, [f'<text class="title" y="14">{escape_words(title)}</text>', within]),
        width,
        height,
    )


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Return the pictures as one, each below the one before it."""
    width, height, body = max(picture.width for picture in pictures), 0, list[str]()
    for picture in pictures:
        body.append(picture.svg.replace("<svg ", f'<svg y="{height}" ', 1))
        height += picture.height
    return Picture(document(width, height, "", body), width, height)


def escape_words(text: str) -> str:
    """A text that is no token: its spaces are spaces."""
    return " ".join(map(escape, text.split(" ")))
