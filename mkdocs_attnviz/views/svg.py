"""What static pictures share: row height, colours, and text that is safe in SVG."""

from __future__ import annotations

import html
import json
import unicodedata
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

ROW = 24


class Palette(NamedTuple):
    """Colours of a picture; `dark` takes over where the page is dark, None where the block forces a scheme."""

    base: dict[str, Any]
    dark: dict[str, Any] | None


@cache
def palette(theme: str) -> Palette:
    """`static/palette.json`, which the front end is built from too."""
    schemes = json.loads((resources.files("mkdocs_attnviz") / "static" / "palette.json").read_text("utf-8"))
    return Palette(schemes["light"], schemes["dark"]) if theme == "auto" else Palette(schemes[theme], None)


def visible(token: str) -> str:
    """White space and control characters made visible; those that XML forbids would break a picture."""
    return "".join(_visible(character) for character in token)


def _visible(character: str) -> str:
    if character == " ":
        return "·"
    if character in "\n\t":
        return {"\n": "⏎", "\t": "⇥"}[character]
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    return "�" if unicodedata.category(character) in ("Cc", "Cs", "Cn") else character


def escape(token: str) -> str:
    return html.escape(visible(token))
