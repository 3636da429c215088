"""A cache entry, and the file format that it is kept in.

An entry is what one capture of one input by one model produced.

File format: `attnviz 1 SHA256\n`, where the digest is over all that follows; one line of JSON; the blobs, one
after another. `head -2` shows what a file holds. Where entries are signed, the digest is followed by a space and an
HMAC-SHA256 of the same, made with a key that only trusted machines have.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mkdocs_attnviz.cache.entry_schema import LARGEST_JSON

MAGIC = b"attnviz 1 "
SIGNING_KEY = "ATTNVIZ_SIGNING_KEY"
"""The environment variable with the key that entries are signed with."""
SHORTEST_KEY = 32


class DamagedEntry(Exception):
    """A file that is no whole entry; the message says what is wrong with it."""


@dataclass(frozen=True)
class Entry:
    """`meta` is JSON; `blobs` are deflated (zlib) arrays of bytes, one a layer, whose names and shapes `meta` tells."""

    meta: Mapping[str, Any]
    blobs: Mapping[str, bytes]
    derived: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What has been worked out of `meta` while a figure is drawn, so that it is worked out once. No file has it."""

    def to_bytes(self, signing_key: bytes = b"") -> bytes:
        """Return the entry as a file holds it; with a key, signed."""
        sizes = [[name, len(blob)] for name, blob in self.blobs.items()]
        header = json.dumps({"meta": self.meta, "blobs": sizes}, sort_keys=True).encode()
        content = b"".join([header, b"\n", *self.blobs.values()])
        signature = b" " + _signature(signing_key, content) if signing_key else b""
        return b"".join([MAGIC, hashlib.sha256(content).hexdigest().encode(), signature, b"\n", content])

    @classmethod
    def from_bytes(cls, data: bytes, signing_key: bytes = b"") -> Entry:
        """Return the entry in `data`; with a key, only if it is signed with it.

        Raises:
            DamagedEntry: truncated, altered or foreign.
        """
        first, _, content = data.partition(b"\n")
        if not first.startswith(MAGIC):
            raise DamagedEntry("it is not an entry of this version of attnviz")
        digest, _, signature = first[len(MAGIC) :].partition(b" ")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise DamagedEntry("its content does not match its digest")
        if signing_key and not hmac.compare_digest(_signature(signing_key, content), signature):
            raise DamagedEntry(f"it is not signed with the key in {SIGNING_KEY}")
        header, _, rest = content.partition(b"\n")
        if len(header) > LARGEST_JSON:
            raise DamagedEntry("its header is none of ours")
        try:
            described = json.loads(header)
            meta, sizes = dict(described["meta"]), dict(described["blobs"])
            if not all(type(size) is int and size >= 0 for size in sizes.values()):
                raise ValueError
            ends = list(itertools.accumulate(sizes.values(), initial=0))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DamagedEntry("its header is none of ours") from None
        if ends[-1] != len(rest):
            raise DamagedEntry("its header tells other sizes than it has")
        return cls(meta, {name: rest[end - sizes[name] : end] for name, end in zip(sizes, ends[1:], strict=True)})


def signing_key(environment: Mapping[str, str]) -> bytes:
    """Return the key that entries are signed with; empty if there is none.

    Raises:
        ValueError: it is too short to keep anybody out.
    """
    key = environment.get(SIGNING_KEY, "").strip().encode("utf-8", "surrogateescape")
    if 0 < len(key) < SHORTEST_KEY:
        raise ValueError(
            f"{SIGNING_KEY} has {len(key)} characters, and it needs {SHORTEST_KEY}; `openssl rand -hex 32` makes one."
        )
    return key


def _signature(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).hexdigest().encode()
