"""The page that is being rendered, and the lines of its blocks. A block that is not found has no line.

A larger host, such as MkDocs, registers its page here (`host`). Until it ends, all Markdown instances in the process
leave their blocks as placeholders for that host, whoever created the instance and with whatever settings. For example
mkdocstrings, markdown-exec and many hooks convert docstrings with their own instances.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown import Markdown

NAME = "attention"
"""The language of our fences."""
OPENING = re.compile(r"[\s>]*(`{3,}|~{3,})\s*(\{\s*)?\.?attention\b")
"""A pattern for the opening line of our fence."""
CLOSING = re.compile(r"(`{3,}|~{3,})\Z")
"""A pattern for the closing line of a fence."""
OPTION = re.compile(r"""(?P<key>[a-zA-Z][a-zA-Z0-9_]*)(?:=(?P<quote>"|')(?P<value>.*?)(?P=quote))?""")
"""A pattern for an option in the header of a fence: a word, or `key="value"` with quotes."""
HEADER = re.compile(rf"\.?{NAME}(?P<options>(?:[ \t]+{OPTION.pattern}(?=[ \t]|$))*)$")
"""A pattern for the header of our fence: its name, and options."""
_IN_BRACES = re.compile(rf"(?:\.?{NAME}(?=[ \t]))?[ \t]*\{{(.*)\}}$")
"""A pattern for a header whose options are in braces, which belong to other tools."""
WITH_QUOTES = (
    'The fence\'s header {!r} cannot be read; write key="value" with quotes, or move the options into the block as '
    "`key: value` lines."
)
"""The message about a header that cannot be read."""


def header_of(line: str) -> tuple[dict[str, str], str | None]:
    """Return the options in the opening line of our fence, as SuperFences reads them, and the problem with them, if
    any. A line that does not open our fence has no options."""
    opening = OPENING.match(line)
    if opening is None:
        return {}, None
    text = line[opening.end(1) :].strip()
    if header := HEADER.match(text):
        options = [(option["key"], option["value"]) for option in OPTION.finditer(header["options"])]
        return {key: key if value is None else value for key, value in options}, None
    braces = _IN_BRACES.match(text)
    rest = (braces[1] if braces else re.sub(rf"^\.?{NAME}\b", "", text)).strip()
    return {}, WITH_QUOTES.format(rest) if rest else None


class SourcePage:
    """The page that is being rendered."""

    def __init__(self) -> None:
        self.begin(None, "")

    def begin(self, path: str | None, text: str) -> None:
        """Begin a page with this path and text."""
        self.path, self._index = path, Index(text)
        self._seen: dict[str, int] = {}

    def line(self, text: str) -> int | None:
        """Return the number of the last line that equals this text, or None."""
        return self._index.last.get(_bare(text))

    def line_with(self, text: str) -> int | None:
        """Return the number of the first line that contains this text, or None."""
        return next((number for number, line in enumerate(self._index.lines, 1) if text in line), None)

    def line_of(self, body: str) -> int | None:
        """Return the line number, counted from 1, of the fence around `body`, or None. Equal blocks are told apart by
        their order."""
        wanted = _joined(body.splitlines())
        before = self._seen[wanted] = self._seen.get(wanted, -1) + 1
        lines = self._index.fences.get(wanted, ())
        return lines[before] if before < len(lines) else None


class Index:
    """An index of a page's lines by their text. Each table is made in one pass when it is first used."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()

    @cached_property
    def last(self) -> dict[str, int]:
        """The number of the last line with each text, without indentation and quote marks."""
        return {_bare(line): number for number, line in enumerate(self.lines, 1)}

    @cached_property
    def fences(self) -> dict[str, list[int]]:
        """The numbers of the opening lines of all fences with each body.

        If several fences are opened before one is closed, only the first and the last count. A parser ignores the
        others or reads them as text, and indexing all their bodies would take quadratic time.
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
        lines_by_body: dict[str, list[int]] = {}
        for (_, end), begins in openings.items():
            for begin in sorted({begins[0], begins[-1]}):
                lines_by_body.setdefault(_joined(self.lines[begin + 1 : end]), []).append(begin + 1)
        return {body: sorted(numbers) for body, numbers in lines_by_body.items()}


def _joined(lines: list[str]) -> str:
    """Return the lines as one text, without indentation and quote marks."""
    return "\n".join(map(_bare, lines))


def _bare(line: str) -> str:
    """Return a line without indentation and quote marks."""
    return line.strip(" \t>\r")


_hosts: list[SourcePage] = []
"""The pages of the larger hosts at work, innermost last."""


def host(page: SourcePage) -> None:
    """Register a page of a larger host that will draw all blocks itself."""
    unhost(page)
    _hosts.append(page)


def unhost(page: SourcePage) -> None:
    """Remove the page of a larger host. It may be removed already."""
    _hosts[:] = [other for other in _hosts if other is not page]


@contextmanager
def hosting(page: SourcePage) -> Iterator[None]:
    """Host `page` until the context ends."""
    host(page)
    try:
        yield
    finally:
        unhost(page)


def hosted() -> SourcePage | None:
    """Return the page of the larger host at work, or None."""
    return _hosts[-1] if _hosts else None


DOCSTRING = "mkdocstrings_ids"
"""The name of the processor in an instance with which mkdocstrings converts a docstring. It knows the object's name."""
EXECUTED = "markdown_exec_ids"
"""The name of the processor in an instance with which markdown-exec converts the output of a code block."""


def is_part(md: Markdown) -> bool:
    """Return whether `md` converts a part of a page, which becomes part of that page's own conversion."""
    return DOCSTRING in md.treeprocessors or EXECUTED in md.treeprocessors


def object_of(md: Markdown) -> str | None:
    """Return the full name of the object whose docstring `md` converts, or None if it does not convert a docstring."""
    outer: Any = getattr(md, "_original_md", None)  # markdown-exec's name for the instance around its own
    if DOCSTRING in md.treeprocessors:
        prefix: str = getattr(md.treeprocessors[DOCSTRING], "id_prefix", "")
        return prefix.removesuffix("--") or None
    return None if outer is None else object_of(outer)
