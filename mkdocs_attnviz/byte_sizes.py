"""The text of a number of bytes, for the command's tables, for progress, and for messages about memory."""

from __future__ import annotations

import re

UNLIMITED = 1 << 60
"""The number of bytes that stands for a size without limit."""
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([kmg]?b)?", re.IGNORECASE)


def shown(size: float) -> str:
    """Return a number of bytes as `812 B`, `3.4 MB`, `268 MB` or `15.4 GB`; a kB is 1000 bytes.

    Gigabytes always have a decimal: what is free is compared with what is needed.
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= 0.9995 * factor:  # 999,600 bytes are 1.0 MB, not 1000 kB
            decimals = int(unit == "GB" or size < 9.95 * factor)
            return f"{size / factor:.{decimals}f} {unit}"
    return f"{size:.0f} B"


def read(text: object) -> int | None:
    """Return the number of bytes that an author has written, like `10 MB`, `500 kB`, `2000000` or `unlimited`; None if
    it is no such size."""
    if str(text).strip().lower() == "unlimited":
        return UNLIMITED
    match = SIZE.fullmatch(str(text).strip())
    size = 0 if match is None else int(float(match[1]) * UNITS[(match[2] or "").lower()])
    return min(size, UNLIMITED) if size >= 1 else None
