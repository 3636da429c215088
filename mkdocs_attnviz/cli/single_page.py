"""A page that is read by itself, from a file or from standard input, without the tool that builds its site."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cli.arguments import log
from mkdocs_attnviz.cli.site import COMMON, Reader, Site
from mkdocs_attnviz.figure.placeholders import placeholder
from mkdocs_attnviz.hosts.page import OPENING

STDIN = "standard input"
"""The name of standard input as a page."""
BARE_BLOCK = re.compile(r"""^[ \t{"']*(model|text|tensors)["']?\s*:""", re.MULTILINE)
"""A pattern for a block without a fence."""


def title_and_body(site: Site, page: str, text: str) -> tuple[str, str]:
    """Return the title of a page, and its HTML with placeholders for its blocks. The page `-` is standard input, which
    may also be the lines of a single block."""
    if page == "-" and BARE_BLOCK.search(text) and not any(map(OPENING.match, text.splitlines())):
        return "Attention", placeholder(Source(text, page=STDIN))
    images = {"pymdownx.b64": {"base_path": str(Path(page).parent)}}
    reader = Reader(site, COMMON | images, log)
    body, meta = reader.read(text, STDIN if page == "-" else page)
    headings: list[dict[str, Any]] = getattr(reader.markdown, "toc_tokens", [])
    title = meta.get("title") or next((html.unescape(heading["name"]) for heading in headings), Path(page).stem)
    return str(title), body
