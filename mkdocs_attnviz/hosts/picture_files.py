"""Static pictures of figures as files named by their content: SVG, PDF made of it by Typst, PNG by resvg."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.hosts import pdf, png
from mkdocs_attnviz.hosts.renderers import NoRenderer
from mkdocs_attnviz.log import Log

Format = Literal["svg", "pdf", "png"]


class NoConverter(Exception):
    """An error that says that nothing here can make a format of SVG."""


def picture_bytes(svg: str, format: Format, log: Log) -> bytes:
    """Return a picture in a format. Characters that no font has are logged.

    Raises:
        NoConverter: if resvg or Typst is not installed.
    """
    if format == "svg":
        return svg.encode()
    if format == "png":
        try:
            return png.draw(svg)
        except NoRenderer:
            raise NoConverter("PNG needs resvg: `pip install 'attnviz[png]'`") from None
    try:
        if message := pdf.missing_glyphs(svg):
            log.warning("%s", message)
        return pdf.draw(svg)
    except NoRenderer:
        raise NoConverter("PDF needs Typst: `pip install 'attnviz[pdf]'`") from None


class PictureFolder:
    """A folder of pictures in one format, which pages reach under `url`."""

    def __init__(self, folder: Path, url: str, format: Format, log: Log) -> None:
        self.folder, self.url, self.format, self.log = folder, url, format, log

    def write(self, svg: str) -> str:
        """Write a picture unless it is there, and return the name of its file.

        Raises:
            BlockError: if it cannot be written.
            NoConverter: if nothing here can make the format.
        """
        name = f"attnviz-{hashlib.sha256(svg.encode()).hexdigest()[:20]}.{self.format}"
        path = self.folder / name
        try:
            if not path.is_file():
                write_atomically(path, picture_bytes(svg, self.format, self.log))
        except OSError as error:
            raise BlockError(f"Its picture {name} cannot be written ({error.strerror}).") from None
        return name
