"""The converters of our pictures for Sphinx' builders that take no SVG, such as LaTeX and Texinfo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms.images import ImageConverter
from sphinx.util import logging

from mkdocs_attnviz.hosts import pdf, png

SVG = "image/svg+xml"
log = logging.getLogger(__name__)


class _OwnPictures(ImageConverter):
    """A converter of our pictures alone, for sites without another converter."""

    default_priority = 210  # after others

    def match(self, node: nodes.image) -> bool:
        """Return whether the image is one of ours."""
        return "attnviz" in node and super().match(node)

    def convert(self, _from: str | os.PathLike[str], _to: str | os.PathLike[str]) -> bool:
        """Convert a file."""
        Path(_to).write_bytes(self.draw(Path(_from).read_text("utf-8")))
        return True

    def draw(self, svg: str) -> bytes:
        """Return the content of the file."""
        raise NotImplementedError


class ToPdf(_OwnPictures):
    """A converter to PDF, for LaTeX."""

    conversion_rules = [(SVG, "application/pdf")]  # noqa: RUF012 — Sphinx declares it so

    def is_available(self) -> bool:
        """Return whether Typst is installed."""
        return pdf.is_available()

    def draw(self, svg: str) -> bytes:
        """Return a PDF. Characters that no font has are a warning."""
        if message := pdf.missing_glyphs(svg):
            log.warning("%s", message, once=True, type="attnviz", subtype="font")
        return pdf.draw(svg)


class ToPng(_OwnPictures):
    """A converter to PNG, for Texinfo, and for LaTeX without Typst."""

    default_priority = 220  # after PDF
    conversion_rules = [(SVG, "image/png")]  # noqa: RUF012 — Sphinx declares it so

    def is_available(self) -> bool:
        """Return whether resvg is installed."""
        return png.is_available()

    def draw(self, svg: str) -> bytes:
        """Return a PNG that is as large as the picture, because these builders take a pixel for a unit of length."""
        return png.draw(svg, scale=1)


CONVERTERS: Sequence[type[ImageConverter]] = (ToPdf, ToPng)
"""Our converters, in the order in which they are tried."""
