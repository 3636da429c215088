"""Blocks in HTML comments, for pages that are shown as they stand, such as a README on GitHub.

Such a page shows a fence as code. In a comment, a block is out of sight, and its picture stands below it:

    <!-- attention
    model: gpt2
    text: The cat sat on the mat
    -->
    (the picture, which `attnviz export --svg` writes)
    <!-- /attention -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

OPENING = re.compile(r" {0,3}<!--\s*attention\s*\Z")
"""A pattern for the line that begins a block."""
CLOSING = re.compile(r"\s*-->\s*\Z")
"""A pattern for the line that ends a block."""
END = re.compile(r" {0,3}<!--\s*/attention\s*-->\s*\Z")
"""A pattern for the line that ends what is written below a block."""
TILDES = re.compile(r"~*")


@dataclass(frozen=True)
class Commented:
    """A block in a comment. Its numbers count lines from 0."""

    first: int
    """The line that opens the comment."""
    last: int
    """The line that closes the comment."""
    end: int
    """The line after the end of what is written below the comment; `last + 1` if nothing is."""


def commented(lines: list[str]) -> Iterator[Commented]:
    """Yield the blocks in comments among the lines of a page."""
    opened = [number for number, line in enumerate(lines) if OPENING.match(line)]
    for first, following in zip(opened, [*opened[1:], len(lines)], strict=False):
        last = next((number for number in range(first + 1, following) if "-->" in lines[number]), None)
        if last is not None and CLOSING.match(lines[last]):
            end = next((number + 1 for number in range(last + 1, following) if END.match(lines[number])), last + 1)
            yield Commented(first, last, end)


def lines_of_blocks(text: str) -> set[int]:
    """Return the lines of a page, counted from 1, that open a block in a comment."""
    return {block.first + 1 for block in commented(text.splitlines(keepends=True))}


def as_fences(text: str) -> str:
    """Return a page with a fence in place of each block in a comment. Its lines keep their numbers."""
    lines = text.splitlines(keepends=True)
    for block in list(commented(lines)):
        body = lines[block.first + 1 : block.last]
        fence = "~" * max(3, 1 + max((len(run) for line in body for run in TILDES.findall(line)), default=0))
        lines[block.first] = f"{fence}attention\n"
        lines[block.last : block.end] = [f"{fence}\n", *["\n"] * (block.end - block.last - 1)]
    return "".join(lines)


def filled(text: str, below: Mapping[int, str]) -> str:
    """Return a page with new lines below its blocks in comments.

    Args:
        text: the page.
        below: the lines to write, by the line of the block, counted from 1. What stands below other blocks stays.
    """
    lines = text.splitlines(keepends=True)
    newline = "\r\n" if "\r\n" in text else "\n"
    for block in reversed(list(commented(lines))):
        if block.first + 1 in below:
            written = [*below[block.first + 1].splitlines(), "<!-- /attention -->"]
            lines[block.last] = lines[block.last].rstrip() + newline
            lines[block.last + 1 : block.end] = [line + newline for line in written]
    return "".join(lines)
