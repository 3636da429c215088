"""The places of blocks in files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sphinx.environment import BuildEnvironment

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.hosts.page import header_of

IN_LISTS = re.compile(r"^[\s>]*(?:(?:[-*+]|\d+[.)])\s+)*")
"""A pattern for the text before a fence in a quotation, or on the first line of a list item."""
DOCSTRING = ":docstring of "
"""The text that autodoc puts between the file and the object whose docstring it reads."""


class Place:
    """The place of a block: in the document's file, in an included file, or neither (a docstring)."""

    def __init__(self, env: BuildEnvironment, path: str | None, line: int | None, body: str) -> None:
        document = Path(env.doc2path(env.docname))
        self.cell: int | None = None
        path, _, name = (path or "").partition(DOCSTRING)
        self.object = name or None
        file = Path(path) if path and not name else document
        if file.suffix == ".ipynb":
            self.cell, line = self._cell(env, file, line, body)
        self.lines = _lines(file, self.cell, file.stat().st_mtime_ns) if file.is_file() else ()
        known = line is not None and 0 < line <= len(self.lines) and not name
        self.line = line if known else None
        self.page = os.path.relpath(file if known else document, env.srcdir).replace(os.sep, "/")

    def _cell(self, env: BuildEnvironment, file: Path, line: int | None, body: str) -> tuple[int | None, int | None]:
        """Return the number of the notebook cell that contains the block, and the line in it.

        MyST-NB numbers a cell's lines as 10,000 · cell + line + 1. nbsphinx joins all cells into one text, so the block
        is searched for; equal blocks are told apart by their order.
        """
        if line is not None and line > 10_000:
            return divmod(line - 1, 10_000)
        wanted = [text.strip() for text in body.splitlines()]
        if not wanted:
            return None, None
        seen: Any = env.temp_data.setdefault("attnviz_seen", {})
        places = [
            (cell, number)
            for cell, lines in enumerate(_cells(file, file.stat().st_mtime_ns), 1)
            for number in range(len(lines))
            if [text.strip() for text in lines[number : number + len(wanted)]] == wanted
        ]
        seen[body] = seen.get(body, 0) + 1
        return places[min(seen[body], len(places)) - 1] if places else (None, None)

    def header(self) -> tuple[dict[str, str], str | None]:
        """Return the options behind the fence's name, which MyST drops, and the problem with them, if any."""
        return header_of(IN_LISTS.sub("", self.lines[self.line - 1]) if self.line else "")

    def block(self, body: str, header: dict[str, str], problem: str | None) -> Source:
        """Return the source of the block."""
        return Source(body, header, self.page, self._above(body), problem, self.object, self.cell)

    def _above(self, body: str) -> int | None:
        """Return the number of the line above the body's first line, because options of a directive may come before
        it."""
        first = next(iter(body.splitlines()), "").strip()
        if self.line is None or not first:
            return self.line
        below = enumerate(self.lines[self.line :], self.line)
        return next((number for number, text in below if text.strip("> \t") == first), self.line)


@lru_cache(maxsize=1)
def _lines(file: Path, cell: int | None, modified: int) -> Sequence[str]:
    """Return the lines of a file, or of one cell of a notebook. The last file is cached, because a page's blocks are
    read one after another."""
    if cell is None:
        return tuple(file.read_text("utf-8", errors="replace").splitlines())
    cells = _cells(file, modified)
    return cells[cell - 1] if 0 < cell <= len(cells) else ()


@lru_cache(maxsize=1)
def _cells(notebook: Path, modified: int) -> Sequence[Sequence[str]]:
    """Return the lines of each cell of a notebook."""
    cells = json.loads(notebook.read_text("utf-8", errors="replace"))["cells"]
    return [tuple("".join(cell["source"]).splitlines()) for cell in cells]
