"""The parts that all static pictures share: row height, colours, and text that is safe in SVG."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.visible_tokens import visible

ROW = 24
"""The height in px of a row of tokens."""


CAP = "max(60svh,200px,min((100cqw - 600px)*99,(100svh - 500px)*99))"
"""The largest CSS height of a part that scrolls: 60% of the window if the figure is narrow or the window low, as in
`controls/controls.css`."""
UNCAPPED = 200
"""The height in px that fits every window."""


def height_of(rows: int) -> str:
    """Return the CSS height of a list of tokens. Longer lists scroll inside the figure."""
    return capped(ROW * min(rows, 24))


def capped(height: int) -> str:
    """Return the CSS height of a part that scrolls inside the figure if it is too high for the window."""
    return f"min({height}px,{CAP})" if height > UNCAPPED else f"{height}px"


class Palette(NamedTuple):
    """The colours of a picture. `dark` is used on a dark page; it is None if the block forces a scheme."""

    base: dict[str, Any]
    dark: dict[str, Any] | None


@cache
def palette(theme: str) -> Palette:
    """Return the colours in `static/palette.json`, which the front end uses too."""
    schemes = json.loads((resources.files("mkdocs_attnviz") / "static" / "palette.json").read_text("utf-8"))
    return Palette(schemes["light"], schemes["dark"]) if theme == "auto" else Palette(schemes[theme], None)


HEADS = len(palette("light").base["heads"])
"""The number of heads with different colours; the colours of further heads repeat."""


@lru_cache(maxsize=10_000)
def escape(token: str) -> str:
    """Return a token as visible text, escaped for SVG."""
    return html.escape(visible(token))


def styles(colours: Palette, rules: Callable[[dict[str, Any]], str]) -> str:
    """Return the CSS for both colour schemes, or for the scheme that the block forces.

    It sets a background: if a page declares no scheme, a picture follows the scheme of the system, which may differ
    from the page.
    """

    def all_rules(scheme: dict[str, Any]) -> str:
        """Return the CSS for one scheme."""
        return f"svg{{background:{scheme['background']}}}{rules(scheme)}"

    dark = "" if colours.dark is None else f"@media(prefers-color-scheme:dark){{{all_rules(colours.dark)}}}"
    return all_rules(colours.base) + dark


def document(width: int, height: int, style: str, body: Iterable[str]) -> str:
    """Return a complete SVG document."""
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}><style>{style}</style>{"".join(body)}</svg>'


TITLE = 28
"""The height in px of a title line."""


def titled(picture: Picture, title: str, theme: str) -> Picture:
    """Return a picture with a title line above it."""
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


MARGIN = 12
"""The width in px of the margin around a picture that stands by itself."""


def framed(picture: Picture, theme: str) -> Picture:
    """Return a picture with a margin and a background of its own, for a place whose colours are not known. `theme` is
    `light` or `dark`. The background is a rectangle, because few programs but browsers draw that of a style."""
    width, height = picture.width + 2 * MARGIN, picture.height + 2 * MARGIN
    background = f'<rect width="{width}" height="{height}" fill="{palette(theme).base["background"]}"/>'
    within = picture.svg.replace("<svg ", f'<svg x="{MARGIN}" y="{MARGIN}" ', 1)
    return Picture(document(width, height, "", [background, within]), width, height)


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Return one picture with all pictures one below the other."""
    width, height, body = max(picture.width for picture in pictures), 0, list[str]()
    for picture in pictures:
        body.append(picture.svg.replace("<svg ", f'<svg y="{height}" ', 1))
        height += picture.height
    return Picture(document(width, height, "", body), width, height)


def escape_words(text: str) -> str:
    """Return a text escaped for SVG, with its spaces unchanged."""
    return " ".join(map(escape, text.split(" ")))
