"""Entries, their keys and the folder they are kept in.

An entry is what one capture of one input by one model produced. Its key is made from content alone, so there is
no index, nothing is ever stale, and two builds may write the same folder at once: both write the same thing.

File format: `attnviz 1 SHA256\n`, where the digest is over all that follows; one line of JSON; the blobs, one
after another. `head -2` shows what a file holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"attnviz 1 "
SUFFIX = ".attnviz"

Log = logging.Logger | logging.LoggerAdapter[Any]
"""A host's own logger: what is said there counts for its strict mode."""


class DamagedEntry(Exception):
    """A file that is no whole entry; the message says what is wrong with it."""


@dataclass(frozen=True)
class Entry:
    """`meta` is JSON; `blobs` are deflated (zlib) arrays of bytes, one a layer, whose names and shapes `meta` tells."""

    meta: Mapping[str, Any]
    blobs: Mapping[str, bytes]

    def to_bytes(self) -> bytes:
        sizes = [[name, len(blob)] for name, blob in self.blobs.items()]
        header = json.dumps({"meta": self.meta, "blobs": sizes}, sort_keys=True).encode()
        content = b"".join([header, b"\n", *self.blobs.values()])
        return b"".join([MAGIC, hashlib.sha256(content).hexdigest().encode(), b"\n", content])

    @classmethod
    def from_bytes(cls, data: bytes) -> Entry:
        """The entry in `data`.

        Raises:
            DamagedEntry: truncated, altered or foreign.
        """
        first, _, content = data.partition(b"\n")
        if not first.startswith(MAGIC):
            raise DamagedEntry("it is not an entry of this version of attnviz")
        if hashlib.sha256(content).hexdigest().encode() != first[len(MAGIC) :]:
            raise DamagedEntry("its content does not match its digest")
        header, _, rest = content.partition(b"\n")
        described = json.loads(header)
        blobs, start = {}, 0
        for name, size in described["blobs"]:
            blobs[name] = rest[start : start + size]
            start += size
        return cls(described["meta"], blobs)


KeyParts = Sequence[tuple[str, str | None]]


def key(parts: KeyParts) -> str:
    """The name of an entry: SHA-256 of its named parts, in their order."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


class Cache:
    """A folder of entries. What cannot be written is kept in memory, so that a build never fails for its cache."""

    def __init__(self, folder: Path, log: Log) -> None:
        self.folder = folder
        self.log = log
        self._unwritten: dict[str, Entry] = {}
        self._told: set[str] = set()

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def has(self, key: str) -> bool:
        """Whether there is an entry, whole or not; cheap."""
        try:
            return key in self._unwritten or self.path(key).is_file()
        except OSError:
            return False

    def get(self, key: str, parts: KeyParts) -> Entry | None:
        """The entry, if it is here whole. A damaged one counts as missing and is replaced when it is next computed."""
        if key in self._unwritten:
            return self._unwritten[key]
        try:
            entry = Entry.from_bytes(self.path(key).read_bytes())
            if [list(part) for part in parts] != entry.meta.get("key"):
                raise DamagedEntry("it belongs to another input")
            return entry
        except FileNotFoundError:
            return None
        except (DamagedEntry, OSError) as error:
            self._tell_once(f"Cache entry {self.path(key)} is not used: {error}.")
            return None

    def put(self, key: str, parts: KeyParts, entry: Entry) -> Entry:
        entry = Entry({**entry.meta, "key": [list(part) for part in parts]}, entry.blobs)
        try:
            write_atomically(self.path(key), entry.to_bytes())
        except OSError as error:
            self._unwritten[key] = entry
            self._tell_once(
                f"The cache {self.folder} cannot be written ({error.strerror}); what is computed is not kept."
            )
        return entry

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self.log.info(message)


def write_atomically(path: Path, content: bytes) -> None:
    """Readers see the old file or the whole new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(name, 0o644)  # noqa: PTH101 — mkstemp makes it private, and a cache may be shared
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise
