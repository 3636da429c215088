"""The name of a cache entry, made from content alone, and of the file that it lies in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

SUFFIX = ".attnviz"


KeyParts = Sequence[tuple[str, str | None]]


def entry_key(parts: KeyParts) -> str:
    """The name of an entry: SHA-256 of its named parts, in their order."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def file_name(key: str) -> str:
    """Where an entry lies in its folder."""
    return f"{key[:2]}/{key}{SUFFIX}"
