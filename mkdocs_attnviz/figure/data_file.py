"""The form of a data file: deflated bytes inside a script, with an overhead of 2%.

A page from a server fetches the file and reads its bytes. A page from disk cannot fetch. There the file runs as a
script that hands over its string, and `charset="x-user-defined"` turns each byte of the string into one character.

`=` is followed by a byte XOR 64, which stands for the byte alone, or by a comma, which stands between two parts. So the
string contains no quote, backslash or end of a line but its own, whatever character set a server declares: the bytes of
a stranger's entry never become code.
"""

from __future__ import annotations

from collections.abc import Iterable

ESCAPED = b'=\n\r"\\'
"""The bytes that are escaped. `=` comes first, because it is part of every escape."""


def data_file(parts: Iterable[bytes]) -> bytes:
    """Return the content of a data file."""
    return b'attnvizData("' + b"=,".join(map(_escaped, parts)) + b'")\n'


def _escaped(part: bytes) -> bytes:
    for byte in ESCAPED:
        part = part.replace(bytes([byte]), bytes([ESCAPED[0], byte ^ 64]))
    return part
