"""Static pictures of figures as files named by their content: SVG, PDF made of it by CairoSVG, PNG by resvg."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any, Literal

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.hosts import png

Format = Literal["svg", "pdf", "png"]


class NoConverter(Exception):
    """An error that says that nothing here can make a format of SVG."""


def picture_bytes(svg: str, format: Format) -> bytes:
    """Return a picture in a format.

    Raises:
        NoConverter: if resvg or CairoSVG is not installed, or the system lacks the Cairo library.
    """
    if format == "svg":
        return svg.encode()
    if format == "png":
        try:
            return png.draw(svg)
        except png.NoRenderer:
            raise NoConverter("PNG needs resvg: `pip install 'attnviz[png]'`") from None
    try:
        cairosvg: Any = importlib.import_module("cairosvg")
    except (ImportError, OSError):  # OSError: the system's library is missing
        message = "PDF needs CairoSVG and the system's Cairo library: `pip install 'attnviz[pdf]'`"
        raise NoConverter(message) from None
    return bytes(cairosvg.svg2pdf(bytestring=svg.encode()))


class PictureFolder:
    """A folder of pictures in one format, which pages reach under `url`."""

    def __init__(self, folder: Path, url: str, format: Format) -> None:
        self.folder, self.url, self.format = folder, url, format

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
                write_atomically(path, picture_bytes(svg, self.format))
        except OSError as error:
            raise BlockError(f"Its picture {name} cannot be written ({error.strerror}).") from None
        return name
