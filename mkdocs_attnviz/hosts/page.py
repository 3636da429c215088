"""Where a block stands in its page's file. Only for messages: what is not found has no line."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property

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
