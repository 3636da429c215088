r"""A cache entry, and the file format in which it is stored.

An entry is the result of one capture of one input by one model.

File format: `attnviz 1 SHA256\n`, where the digest covers everything after this line; then one line of JSON; then the
blobs, one after another. `head -2` shows what a file contains. In a signed entry, the digest is followed by a space and
an HMAC-SHA256 of the same bytes, made with a key that only trusted machines have.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from mkdocs_attnviz.cache.blobs import CHUNK, DamagedEntry, FileBlobs, Place, sizes
from mkdocs_attnviz.cache.entry_schema import LARGEST_JSON

MAGIC = b"attnviz 1 "
SIGNING_KEY = "ATTNVIZ_SIGNING_KEY"
"""The name of the environment variable that contains the key for signing entries."""
SHORTEST_KEY = 32
__all__ = ["DamagedEntry", "Entry", "signing_key"]
"""The smallest number of characters that a signing key may have."""


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
        stream = io.BytesIO()
        self.write(stream, signing_key)
        return stream.getvalue()

    def write(self, stream: IO[bytes], signing_key: bytes = b"") -> None:
        """Write the content of the entry's file, blob by blob. The first line is written last, in its place."""
        listed = [[name, size] for name, size in sizes(self.blobs).items()]
        header = json.dumps({"meta": self.meta, "blobs": listed}, sort_keys=True).encode()
        sums = _Sums(signing_key)
        stream.write(sums.first_line())
        for part in itertools.chain([header, b"\n"], map(self.blobs.__getitem__, self.blobs)):
            sums.update(part)
            stream.write(part)
        stream.seek(0)
        stream.write(sums.first_line())
        stream.seek(0, os.SEEK_END)

    @classmethod
    def from_bytes(cls, data: bytes, signing_key: bytes = b"") -> Entry:
        """Return the entry in `data`. If there is a key, the entry must be signed with it.

        Raises:
            DamagedEntry: if the data are truncated, altered or of another format.
        """
        first, _, content = data.partition(b"\n")
        if not first.startswith(MAGIC):
            raise DamagedEntry("it is not an entry of this version of attnviz")
        sums = _Sums(signing_key)
        sums.update(content)
        sums.check(first)
        header, _, rest = content.partition(b"\n")
        meta, listed = _read_header(header)
        ends = list(itertools.accumulate(listed.values(), initial=0))
        if ends[-1] != len(rest):
            raise DamagedEntry("its header gives other sizes than its content has")
        return cls(meta, {name: rest[end - listed[name] : end] for name, end in zip(listed, ends[1:], strict=True)})

    @classmethod
    def open(cls, file: IO[bytes], size: int, signing_key: bytes = b"") -> Entry:
        """Return the entry in a file of `size` bytes, whose blobs stay there until they are asked for. Its digest is
        checked now, and then that of each blob whenever it is read.

        Raises:
            DamagedEntry: if the data are truncated, altered or of another format.
        """
        first = file.readline(len(MAGIC) + 2 * 64 + 2)
        if not first.startswith(MAGIC):
            raise DamagedEntry("it is not an entry of this version of attnviz")
        header, sums = file.readline(LARGEST_JSON + 1), _Sums(signing_key)
        sums.update(header)
        unread: DamagedEntry | None = None
        try:
            meta, listed = _read_header(header.removesuffix(b"\n"))
        except DamagedEntry as error:
            unread, listed = error, {"": size}
        places, start = {}, len(first) + len(header)
        for name, length in listed.items():
            digest, left = hashlib.sha256(), length
            while left and (chunk := file.read(min(left, CHUNK))):
                sums.update(chunk)
                digest.update(chunk)
                left -= len(chunk)
            places[name] = Place(start, length, digest.digest())
            start += length
        while chunk := file.read(CHUNK):
            sums.update(chunk)
        sums.check(first)
        if unread is not None:
            raise unread
        if start != size:
            raise DamagedEntry("its header gives other sizes than its content has")
        return cls(meta, FileBlobs(file, places))


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


def _read_header(header: bytes) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the `meta` of an entry and the sizes of its blobs.

    Raises:
        DamagedEntry: if it is no header.
    """
    try:
        if len(header) > LARGEST_JSON:
            raise ValueError
        read = json.loads(header)
        meta, listed = dict(read["meta"]), dict(read["blobs"])
        if not all(type(size) is int and size >= 0 for size in listed.values()):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DamagedEntry("its header is not that of an entry") from None
    return meta, listed


class _Sums:
    """The digest of an entry's content, and its signature if there is a key."""

    def __init__(self, key: bytes) -> None:
        self.digest = hashlib.sha256()
        self.signature = hmac.new(key, digestmod=hashlib.sha256) if key else None

    def update(self, part: bytes) -> None:
        self.digest.update(part)
        if self.signature is not None:
            self.signature.update(part)

    def first_line(self) -> bytes:
        """Return the first line of the entry's file. Its length depends only on whether there is a key."""
        signature = "" if self.signature is None else f" {self.signature.hexdigest()}"
        return MAGIC + f"{self.digest.hexdigest()}{signature}\n".encode()

    def check(self, first: bytes) -> None:
        """Check the first line of an entry's file.

        Raises:
            DamagedEntry: if the content is another one, or is not signed with the key.
        """
        digest, _, signature = first.removesuffix(b"\n")[len(MAGIC) :].partition(b" ")
        if self.digest.hexdigest().encode() != digest:
            raise DamagedEntry("its content does not match its digest")
        if self.signature is not None and not hmac.compare_digest(self.signature.hexdigest().encode(), signature):
            raise DamagedEntry(f"it is not signed with the key in {SIGNING_KEY}")
