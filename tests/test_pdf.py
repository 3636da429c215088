"""Pictures as PDF: text stays text in every script, and a heat map keeps its cells."""

from __future__ import annotations

from collections.abc import Iterator

import pypdfium2
import pytest

from mkdocs_attnviz.hosts import pdf
from mkdocs_attnviz.hosts.named_fonts import with_named_fonts
from mkdocs_attnviz.views.svg.document import palette
from mkdocs_attnviz.views.svg.heatmap import heat_map, small_multiples

TOKENS = ["−5", "→", "猫", "قطة", "חתול", "кошка", "<pad>"]
GRID = [bytes(15 if row == col else 5 for col in range(len(TOKENS))) for row in range(len(TOKENS))]
SCALE = 4
"""Pixels for each CSS pixel."""


def page_of(svg: str) -> pypdfium2.PdfPage:
    """Return the only page of a picture."""
    document = pypdfium2.PdfDocument(pdf.draw(svg))
    assert len(document) == 1
    return document[0]


def pixels(page: pypdfium2.PdfPage) -> list[list[tuple[int, ...]]]:
    """Return rows of colours."""
    bitmap = page.render(scale=SCALE * 96 / 72, rev_byteorder=True)
    content, step = bytes(bitmap.buffer), bitmap.n_channels
    rows = (content[start : start + bitmap.width * step] for start in range(0, len(content), bitmap.stride))
    return [[tuple(row[at : at + 3]) for at in range(0, len(row), step)] for row in rows]


def test_tokens_of_every_script_are_text():
    drawn = heat_map(GRID, TOKENS, TOKENS, "auto", 0)
    page = page_of(drawn.svg)
    assert page.get_size() == (drawn.width * 0.75, drawn.height * 0.75)
    text = page.get_textpage().get_text_range()
    assert [token for token in TOKENS if token not in text] == []
    assert "attends to →" in text
    assert pdf.missing_glyphs(drawn.svg) == ""
    assert pdf.draw(drawn.svg) == pdf.draw(drawn.svg)
    assert not list(page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE])), "cells are shapes, not pixels"


def cells(size: int) -> Iterator[tuple[int, int]]:
    """Yield row and column of each cell."""
    return ((row, col) for row in range(size) for col in range(size))


def test_the_cells_of_all_heads_are_flat():
    """The picture of all heads is an image of a pixel for each cell, which must not be smoothed."""
    side = 6
    grid = [bytes(15 if row == col else 0 for col in range(side)) for row in range(side)]
    drawn = small_multiples({0: {0: grid, 1: grid}}, "auto")
    shown = pixels(page_of(drawn.svg))
    cell = 48 * SCALE / (side + 1)  # one pixel of the image is the gap between two heads
    head = palette("light").base["heads"][0]
    colours = {True: tuple(bytes.fromhex(head[1:])), False: (255, 255, 255)}
    for row, col in cells(side):
        top, left = 40 * SCALE + row * cell, 40 * SCALE + col * cell
        inside = {
            shown[y][x]
            for y in range(round(top + 2), round(top + cell - 2))
            for x in range(round(left + 2), round(left + cell - 2))
        }
        assert inside == {colours[row == col]}, (row, col)


def test_what_no_font_has_is_named():
    drawn = heat_map(GRID, ["\U000f1234", *TOKENS[1:]], TOKENS, "auto", 0)
    assert pdf.missing_glyphs(drawn.svg).startswith("No font here has \U000f1234, so a PDF shows boxes. Install a font")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("text{font:13px system-ui,sans-serif}", "text{font:13px Segoe UI,"),
        (".a{font-family:monospace}", ".a{font-family:DejaVu Sans Mono,"),
        (".a{font-family:Noto Sans}", ".a{font-family:Noto Sans}"),
        ("<text>system-ui: sans-serif</text>", "<text>system-ui: sans-serif</text>"),
    ],
)
def test_fonts_have_names(given, named):
    assert with_named_fonts(given).startswith(named)
