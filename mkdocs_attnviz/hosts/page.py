"""The page that is being rendered, and where a block stands in it: what is not found has no line.

A larger host, such as MkDocs, announces its page here (`host`). While it does, every Markdown instance of the process
leaves its blocks waiting for that host, whoever made the instance and with whatever settings: mkdocstrings converts
docstrings with instances of its own, and so do markdown-exec and many a hook.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from markdown import Markdown

OPENING = re.compile(r"[\s>]*(`{3,}|~{3,})\s*(\{\s*)?\.?attention\b")
CLOSING = re.compile(r"(`{3,}|~{3,})\Z")


class SourcePage:
    """The page that is being rendered."""

    def __init__(self) -> None:
        self.begin(None, "")

    def begin(self, path: str | None, text: str) -> None:
        self.path, self._index = path, Index(text)
        self._seen: dict[str, int] = {}

    def line(self, text: str) -> int | None:
        """Number of the last line that reads so."""
        return self._index.last.get(_bare(text))

    def line_with(self, text: str) -> int | None:
        """Return the number of the first line that has this text in it."""
        return next((number for number, line in enumerate(self._index.lines, 1) if text in line), None)

    def line_of(self, body: str) -> int | None:
        """Line of the fence around `body`, counted from 1; equal blocks are told apart by their order."""
        wanted = _joined(body.splitlines())
        before = self._seen[wanted] = self._seen.get(wanted, -1) + 1
        found = self._index.fences.get(wanted, ())
        return found[before] if before < len(found) else None


class Index:
    """The lines of a page by what they say. Each table is made once, in one pass, when it is first asked for."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()

    @cached_property
    def last(self) -> dict[str, int]:
        """The number of the last line that reads so, without indentation and quote marks."""
        return {_bare(line): number for number, line in enumerate(self.lines, 1)}

    @cached_property
    def fences(self) -> dict[str, list[int]]:
        """The numbers of all lines that open a fence around this body.

        Where several fences are opened before one is closed, the first of them and the last count: a parser gives up
        the others or reads them as text, and to index each one's body would take quadratic time.
        """
        closings: dict[str, list[int]] = {}
        openings: dict[tuple[str, int], list[int]] = {}
        for number, line in enumerate(self.lines):
            if mark := CLOSING.match(_bare(line)):
                closings.setdefault(mark[1], []).append(number)
        for number, line in enumerate(self.lines):
            if (opening := OPENING.match(line)) and (marks := closings.get(opening[1])):
                place = bisect_right(marks, number)
                if place < len(marks):
                    openings.setdefault((opening[1], marks[place]), []).append(number)
        found: dict[str, list[int]] = {}
        for (_, end), begins in openings.items():
            for begin in sorted({begins[0], begins[-1]}):
                found.setdefault(_joined(self.lines[begin + 1 : end]), []).append(begin + 1)
        return {body: sorted(numbers) for body, numbers in found.items()}


def _joined(lines: list[str]) -> str:
    return "\n".join(map(_bare, lines))


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
