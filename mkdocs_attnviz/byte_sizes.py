"""The text of a number of bytes, for the command's tables, for progress, and for messages about memory."""

from __future__ import annotations


def shown(size: float) -> str:
    """Return a number of bytes as `812 B`, `3.4 MB`, `268 MB` or `15.4 GB`; a kB is 1000 bytes.

    Gigabytes always have a decimal: what is free is compared with what is needed.
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= 0.9995 * factor:  # 999,600 bytes are 1.0 MB, not 1000 kB
            decimals = int(unit == "GB" or size < 9.95 * factor)
            return f"{size / factor:.{decimals}f} {unit}"
    return f"{size:.0f} B"
