"""Texts that go into pages: without characters that XML forbids, and without this machine's folders."""

from __future__ import annotations

import re
from pathlib import Path

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Control characters, halves of surrogate pairs and characters that Unicode will never have."""
ABSOLUTE = re.compile(r"(?<![\w.~:/\\])(?:/|[A-Za-z]:[/\\])(?:[^\s/\\'\"`<>:;,()]+[/\\])+[^\s/\\'\"`<>:;,()]*")
"""A path from the root of a disk; in a URL it has a colon or a word before it."""


def printable(text: str) -> str:
    """Return the text with a visible sign in place of each character that XML, and so an EPUB, does not allow."""
    return UNPRINTABLE.sub(lambda match: _sign(match[0]), text)


def _sign(character: str) -> str:
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "�"


def without_folders(text: str, base: Path, written: str = "") -> str:
    """Return a message as it may be published: paths below `base` are told from there, of others only the end.

    A path that stands in the page itself (`written`) stays as its author knows it.
    """
    for folder in sorted({str(base), str(base.absolute()), str(base.resolve())}, key=len, reverse=True):
        if len(Path(folder).parts) > 1 and Path(folder).is_absolute() and folder not in written:
            text = re.sub(rf"{re.escape(folder)}[/\\](?=[\w.])", "", text)
            text = re.sub(rf"{re.escape(folder)}(?![\w-]|\.\w)", "the site's folder", text)
    return ABSOLUTE.sub(lambda match: match[0] if match[0] in written else _end(match[0]), text)


def _end(path: str) -> str:
    """The last part of a path, if the path leads anywhere on this machine; else it is none."""
    root = re.match(r"(?:[A-Za-z]:)?[/\\][^/\\]+", path)
    if root is None or not Path(root[0]).exists():
        return path
    return "…/" + re.split(r"[/\\]", path.rstrip("/"))[-1]
