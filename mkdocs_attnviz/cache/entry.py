r"""A cache entry, and the file format in which it is stored.

An entry is the result of one capture of one input by one model.

File format: `attnviz 1 SHA256\n`, where the digest covers everything after this line; then one line of JSON; then the
blobs, one after another. `head -2` shows what a file contains. In a signed entry, the digest is followed by a space and
an HMAC-SHA256 of the same bytes, made with a key that only trusted machines have.
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
"""The name of the environment variable that contains the key for signing entries."""
SHORTEST_KEY = 32
"""The smallest number of characters that a signing key may have."""


class DamagedEntry(Exception):
    """An error that says why a file is not a complete entry."""


@dataclass(frozen=True)
class Entry:
    """An entry: `meta` is JSON; `blobs` are byte arrays deflated with zlib, usually one for each layer. `meta` gives
    their names and shapes."""

    meta: Mapping[str, Any]
    blobs: Mapping[str, bytes]
    derived: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """Values computed from `meta` while a figure is drawn, kept so that they are computed once. They are not stored in
    the file."""

    def to_bytes(self, signing_key: bytes = b"") -> bytes:
        """Return the content of the entry's file, signed if there is a key."""
        sizes = [[name, len(blob)] for name, blob in self.blobs.items()]
        header = json.dumps({"meta": self.meta, "blobs": sizes}, sort_keys=True).encode()
        content = b"".join([header, b"\n", *self.blobs.values()])
        signature = b" " + _signature(signing_key, content) if signing_key else b""
        return b"".join([MAGIC, hashlib.sha256(content).hexdigest().encode(), signature, b"\n", content])

    @classmethod
    def from_bytes(cls, data: bytes, signing_key: bytes = b"") -> Entry:
        """Return the entry in `data`. If there is a key, the entry must be signed with it.

        Raises:
            DamagedEntry: if the data are truncated, altered or of another format.
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
            raise DamagedEntry("its header is not that of an entry")
        try:
            data_json = json.loads(header)
            meta, sizes = dict(data_json["meta"]), dict(data_json["blobs"])
            if not all(type(size) is int and size >= 0 for size in sizes.values()):
                raise ValueError
            ends = list(itertools.accumulate(sizes.values(), initial=0))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DamagedEntry("its header is not that of an entry") from None
        if ends[-1] != len(rest):
            raise DamagedEntry("its header gives other sizes than its content has")
        return cls(meta, {name: rest[end - sizes[name] : end] for name, end in zip(sizes, ends[1:], strict=True)})


def signing_key(environment: Mapping[str, str]) -> bytes:
    """Return the key for signing entries; it is empty if there is none.

    Raises:
        ValueError: if the key is too short to be safe.
    """
    key = environment.get(SIGNING_KEY, "").strip().encode("utf-8", "surrogateescape")
    if 0 < len(key) < SHORTEST_KEY:
        raise ValueError(
            f"{SIGNING_KEY} has {len(key)} characters, and it needs {SHORTEST_KEY}; `openssl rand -hex 32` makes one."
        )
    return key


def _signature(key: bytes, content: bytes) -> bytes:
    """Return the HMAC-SHA256 of the content in hexadecimal digits."""
    return hmac.new(key, content, hashlib.sha256).hexdigest().encode()
