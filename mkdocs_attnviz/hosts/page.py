"""The page that is being rendered, and where a block stands in it: what is not found has no line.

A larger host, such as MkDocs, announces its page here (`host`). While it does, every Markdown instance of the process
leaves its blocks waiting for that host, whoever made the instance and with whatever settings: mkdocstrings converts
docstrings with instances of its own, and so do markdown-exec and many a hook.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from markdown import Markdown

OPENING = re.compile(r"[\s>]*(`{3,}|~{3,})\s*(\{\s*)?\.?attention\b")


class SourcePage:
    """The page that is being rendered."""

    def __init__(self) -> None:
        self.begin(None, "")

    def begin(self, path: str | None, text: str) -> None:
        self.path, self.lines = path, text.splitlines()
        self._seen: dict[str, int] = {}

    def line(self, text: str) -> int | None:
        """Number of the last line that reads so."""
        return max((number for number, line in enumerate(self.lines, 1) if _bare(line) == _bare(text)), default=None)

    def line_of(self, body: str) -> int | None:
        """Line of the fence around `body`, counted from 1; equal blocks are told apart by their order."""
        wanted = [_bare(line) for line in body.splitlines()]
        before = self._seen[body] = self._seen.get(body, -1) + 1
        for number, line in enumerate(self.lines):
            opening = OPENING.match(line)
            if not opening:
                continue
            inside = [_bare(text) for text in self.lines[number + 1 : number + 2 + len(wanted)]]
            if inside[:-1] == wanted and inside[-1] == opening[1]:
                if not before:
                    return number + 1
                before -= 1
        return None


def _bare(line: str) -> str:
    """A line without the indentation and the quote marks of what it stands in."""
    return line.strip(" \t>\r")


_hosts: list[SourcePage] = []


def host(page: SourcePage) -> None:
    """Announce that a larger host renders `page`, and will draw all blocks itself."""
    unhost(page)
    _hosts.append(page)


def unhost(page: SourcePage) -> None:
    """Announce that the host of `page` is done; it does no harm to say so twice."""
    _hosts[:] = [other for other in _hosts if other is not page]


@contextmanager
def hosting(page: SourcePage) -> Iterator[None]:
    """Host `page` until the context is left."""
    host(page)
    try:
        yield
    finally:
        unhost(page)


def hosted() -> SourcePage | None:
    """Return the page of the larger host at work, or None where Markdown stands alone."""
    return _hosts[-1] if _hosts else None


DOCSTRING = "mkdocstrings_ids"
"""A processor that Markdown has where mkdocstrings converts a docstring with it; it knows the object's name."""
EXECUTED = "markdown_exec_ids"
"""A processor that Markdown has where markdown-exec converts with it what a code block has printed."""


def is_part(md: Markdown) -> bool:
    """Return whether `md` converts a part of a page, which goes into that page's own conversion."""
    return DOCSTRING in md.treeprocessors or EXECUTED in md.treeprocessors


def object_of(md: Markdown) -> str | None:
    """Return the full name of the object whose docstring `md` converts, or None if it converts none."""
    outer: Any = getattr(md, "_original_md", None)  # markdown-exec's name for the instance around its own
    if DOCSTRING in md.treeprocessors:
        prefix: str = getattr(md.treeprocessors[DOCSTRING], "id_prefix", "")
        return prefix.removesuffix("--") or None
    return None if outer is None else object_of(outer)
