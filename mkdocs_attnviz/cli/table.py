"""What the command prints: columns, sizes, ages."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

from mkdocs_attnviz import byte_sizes

NARROW = 10
"""Letters that a column keeps on a narrow terminal."""
GAP = "  "


def lines(rows: Sequence[Sequence[str]], right: str = "") -> Iterator[str]:
    """Rows as aligned columns, cut to the terminal's width if they go to one; the first row is of headings.

    `right` names the columns that are set to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sys.stdout.isatty():
        _narrow(widths, shutil.get_terminal_size().columns - len(GAP) * (len(widths) - 1))
    to_right = [heading in right.split() for heading in rows[0]]
    for row in rows:
        cells = [_cut(cell, width) for cell, width in zip(row, widths, strict=True)]
        columns = zip(cells, widths, to_right, strict=True)
        yield GAP.join(cell.rjust(width) if end else cell.ljust(width) for cell, width, end in columns).rstrip()


def _narrow(widths: list[int], room: int) -> None:
    """Take from the widest column until all fit."""
    while sum(widths) > room and max(widths) > NARROW:
        widths[widths.index(max(widths))] -= 1


def _cut(text: str, width: int) -> str:
    """The end of a path, and of a model's name, says more than its beginning."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def count(number: int, noun: str) -> str:
    if noun.endswith("y") and number != 1:
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size(number: int | None) -> str:
    """Return a number of bytes for a table's cell, which is empty if it is not known."""
    return "" if number is None else byte_sizes.shown(number)


def age(seconds: float | None) -> str:
    """`3 h`: whole units, the largest of which there is one."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"
