"""PNG of our pictures, by resvg. It finds a font for each script, and needs no library of the system.

A PNG says in a text chunk which SVG it was drawn from. So anybody can tell whether it is up to date, although two
machines with different fonts draw different bytes.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

from mkdocs_attnviz.hosts.named_fonts import with_named_fonts
from mkdocs_attnviz.hosts.renderers import is_installed, renderer

RESVG = "resvg_py"
SCALE = 2
"""The number of pixels for each CSS pixel, for screens of high density."""
HEAD = 33
"""The number of bytes before the second chunk: the signature, and the chunk with width and height."""
KEYWORD = b"attnviz\0"
"""The beginning of our text chunk."""


def digest(svg: str) -> str:
    """Return the name of an SVG's content."""
    return hashlib.sha256(svg.encode()).hexdigest()


def is_available() -> bool:
    """Return whether resvg can be imported."""
    return is_installed(RESVG)


def draw(svg: str, scale: int = SCALE) -> bytes:
    """Return an SVG as PNG, with a note which SVG it was. `scale` is the number of pixels for each CSS pixel.

    Raises:
        NoRenderer: if resvg is not installed.
    """
    content = bytes(renderer(RESVG).svg_to_bytes(svg_string=with_named_fonts(svg), zoom=scale))
    chunk = b"tEXt" + KEYWORD + digest(svg).encode()
    noted = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:HEAD] + noted + content[HEAD:]


def drawn_from(content: bytes) -> str | None:
    """Return the digest of the SVG that a PNG was drawn from, or None if it does not say."""
    start = HEAD + 4
    if content[start : start + 4 + len(KEYWORD)] != b"tEXt" + KEYWORD:
        return None
    (size,) = struct.unpack(">I", content[HEAD:start])
    return content[start + 4 + len(KEYWORD) : start + 4 + size].decode("ascii", "replace")
