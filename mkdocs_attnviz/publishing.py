"""Functions for texts that go into pages: they remove characters that XML forbids and folders of this machine."""

from __future__ import annotations

import re
from pathlib import Path

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""The characters that XML forbids or discourages: control characters, single surrogates and noncharacters."""
ABSOLUTE = re.compile(r"(?<![\w.~:/\\])(?:/|[A-Za-z]:[/\\])(?:[^\s/\\'\"`<>:;,()]+[/\\])+[^\s/\\'\"`<>:;,()]*")
"""A path from the root of a disk. In a URL, a colon or a word stands before such a path."""


def printable(text: str) -> str:
    """Return the text with a visible sign in place of each character that XML, and therefore EPUB, does not allow."""
    return UNPRINTABLE.sub(lambda match: _sign(match[0]), text)


def _sign(character: str) -> str:
    """Return the visible sign for a forbidden character."""
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "�"


def without_folders(text: str, base: Path, written: str = "") -> str:
    """Return a message without the names of this machine's folders: paths below `base` become relative, and other paths
    keep only their last part.

    A path that the page itself contains (`written`) stays as its author knows it.
    """
    for folder in sorted({str(base), str(base.absolute()), str(base.resolve())}, key=len, reverse=True):
        if len(Path(folder).parts) > 1 and Path(folder).is_absolute() and folder not in written:
            text = re.sub(rf"{re.escape(folder)}[/\\](?=[\w.])", "", text)
            text = re.sub(rf"{re.escape(folder)}(?![\w-]|\.\w)", "the site's folder", text)
    return ABSOLUTE.sub(lambda match: match[0] if match[0] in written else _end(match[0]), text)


def _end(path: str) -> str:
    """Return the last part of a path if its first folder exists on this machine; otherwise return the path
    unchanged."""
    root = re.match(r"(?:[A-Za-z]:)?[/\\][^/\\]+", path)
    if root is None or not Path(root[0]).exists():
        return path
    return "…/" + re.split(r"[/\\]", path.rstrip("/"))[-1]
