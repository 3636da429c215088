"""The keys of cache entries, made from content alone, and the names of their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

SUFFIX = ".attnviz"
"""The ending of an entry's file name."""


KeyParts = Sequence[tuple[str, str | None]]
"""The named parts that a key is made from, in order."""


def entry_key(parts: KeyParts) -> str:
    """Return the key of an entry: the SHA-256 of its named parts, in their order."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def file_name(key: str) -> str:
    """Return the path of an entry's file, relative to its folder."""
    return f"{key[:2]}/{key}{SUFFIX}"
