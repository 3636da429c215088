"""Where a block stands in its page's file. Only for messages: what is not found has no line."""

from __future__ import annotations

import re

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
