"""PDF of our pictures, by Typst. It draws vectors, embeds a font for each script, keeps the cells of a heat map sharp,
and needs no library of the system.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from mkdocs_attnviz.hosts.named_fonts import with_named_fonts
from mkdocs_attnviz.hosts.renderers import is_installed, renderer

TYPST = "typst"
PAGE = b"""#set document(date: none)
#set page(width: auto, height: auto, margin: 0pt, fill: none)
#image(bytes(sys.inputs.svg), format: "svg")
"""
"""The document: one page that is as large as the picture, and always the same bytes for the same picture and fonts."""
VERSION = "1.5"
"""The version of PDF that every TeX can include."""
STRICT = "a-2u"
"""A standard that forbids characters without a glyph, so Typst lists them."""
NO_GLYPH = re.compile(r'the text `"(.*)"` could not be displayed')
ESCAPED = re.compile(r"\\u\{([0-9a-f]+)\}")
TRANSLUCENT = re.compile(r'(<(?:rect|circle|path)\b[^>]*?) opacity=("[^"]*")')
"""A shape with an opacity, which Typst draws as a picture in the picture: ten times the bytes, and
seams."""
LISTED = 10
"""The number of characters that a message names."""


def is_available() -> bool:
    """Return whether Typst can be imported."""
    return is_installed(TYPST)


def draw(svg: str) -> bytes:
    """Return an SVG as PDF.

    Raises:
        NoRenderer: if Typst is not installed.
    """
    return _compiled(svg, VERSION)


def missing_glyphs(svg: str) -> str:
    """Return a message about the characters for which no font has a glyph, so that the PDF has boxes; empty if there
    are none.

    Raises:
        NoRenderer: if Typst is not installed.
    """
    if svg.isascii():
        return ""
    typst, diagnostics = renderer(TYPST), ""
    try:
        _compiled(svg, STRICT)
    except typst.TypstError as error:
        diagnostics = error.diagnostic
    found = [text for text in dict.fromkeys(map(_unescaped, NO_GLYPH.findall(diagnostics))) if text]
    if not found:
        return ""
    listed = " ".join(found[:LISTED]) + " …" * (len(found) > LISTED)
    return (
        f"No font here has {listed}, so a PDF shows boxes. Install a font for this script, such as Debian's "
        "fonts-noto-cjk or fonts-noto-core."
    )


def _unescaped(text: str) -> str:
    """Return a text as it is, in which Typst has written some characters as their code points."""
    return ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


@cache
def _fonts() -> Any:
    """Return the fonts of the system, which take ten times as long to find as a picture to draw."""
    return renderer(TYPST).Fonts()


def _compiled(svg: str, standard: str) -> bytes:
    """Return a PDF of a standard."""
    inputs = {"svg": TRANSLUCENT.sub(r"\1 fill-opacity=\2 stroke-opacity=\2", with_named_fonts(svg))}
    return bytes(renderer(TYPST).compile(PAGE, sys_inputs=inputs, font_paths=_fonts(), pdf_standards=[standard]))
