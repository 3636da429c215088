"""The tables that commands print: columns, sizes, ages."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

from mkdocs_attnviz import byte_sizes

NARROW = 10
"""The number of letters that a column keeps on a narrow terminal."""
GAP = "  "
"""The text between two columns."""


def lines(rows: Sequence[Sequence[str]], right: str = "") -> Iterator[str]:
    """Yield the rows as aligned columns, cut to the width of the terminal if there is one. The first row has the
    headings.

    `right` has the names of the columns that are aligned to the right.
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
    """Make the widest column narrower until all columns fit."""
    while sum(widths) > room and max(widths) > NARROW:
        widths[widths.index(max(widths))] -= 1


def _cut(text: str, width: int) -> str:
    """Return a text cut at its beginning, because the end of a path or a model's name is more specific."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural if needed."""
    if noun.endswith("y") and number != 1:
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size(number: int | None) -> str:
    """Return a number of bytes as a text; it is empty if the number is not known."""
    return "" if number is None else byte_sizes.shown(number)


def age(seconds: float | None) -> str:
    """Return a duration as a text in whole units of the largest possible size, such as `3 h`."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"
