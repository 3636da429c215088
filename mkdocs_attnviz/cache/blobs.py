"""The blobs of an entry that is too large for memory: they lie in a file, and each is read when it is asked for.

A capture adds blobs to a `Spool` as soon as they are encoded. A small spool stays in memory. A larger one is a file
that belongs to the process that has it, until `FileBlobs.hand_over` gives it to another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

IN_MEMORY = 8 << 20
"""The number of bytes up to which the blobs of an entry stay in memory."""
CHUNK = 1 << 20
"""The number of bytes that are read at once."""


class DamagedEntry(Exception):
    """An error that says why a file is not a complete entry."""


class Place(NamedTuple):
    """The place of a blob in a file."""

    start: int
    size: int
    digest: bytes = b""
    """The SHA-256 of the blob, which is checked whenever it is read; empty if nobody else can write the file."""


class FileBlobs(Mapping[str, bytes]):
    """Blobs in a file. A file with a `path` is removed when nobody needs the blobs any more."""

    def __init__(self, file: IO[bytes], places: Mapping[str, Place], path: Path | None = None) -> None:
        self.file, self.places, self.path = file, dict(places), path
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end, file, path)

    def __getitem__(self, name: str) -> bytes:
        place = self.places[name]
        with self._lock:
            self.file.seek(place.start)
            blob = self.file.read(place.size)
        if len(blob) < place.size or (place.digest and hashlib.sha256(blob).digest() != place.digest):
            raise DamagedEntry(f"its part {name!r:.60} has changed since it was checked")
        return blob

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def append(self, name: str, blob: bytes) -> None:
        """Write one more blob to the end of the file."""
        self.places[name] = Place(self.file.seek(0, os.SEEK_END), len(blob))
        self.file.write(blob)

    def hand_over(self) -> Path:
        """Close the file, and return its path for another process, which is to remove it."""
        self._end.detach()
        self.file.close()
        assert self.path is not None  # noqa: S101 — for the type checker: only a spool is handed over
        return self.path


def _end(file: IO[bytes], path: Path | None) -> None:
    file.close()
    if path is not None:
        path.unlink(missing_ok=True)


def sizes(blobs: Mapping[str, bytes]) -> dict[str, int]:
    """Return the size of each blob in bytes, without reading any from a file."""
    if isinstance(blobs, FileBlobs):
        return {name: place.size for name, place in blobs.places.items()}
    return dict(zip(blobs, map(len, blobs.values()), strict=True))


class Spool:
    """Blobs that are added one by one, in memory while they are few and else in a file in `folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._kept: dict[str, bytes] = {}
        self._file: FileBlobs | None = None
        self._size = 0

    def add(self, name: str, blob: bytes) -> None:
        """Add a blob."""
        self._size += len(blob)
        if self._file is None and self._size <= IN_MEMORY:
            self._kept[name] = blob
            return
        if self._file is None:
            self._file = FileBlobs(*temporary(self.folder))
            for kept in list(self._kept):
                self._file.append(kept, self._kept.pop(kept))
        self._file.append(name, blob)

    def blobs(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return the blobs in the order of `names`, which are those of all."""
        if self._file is None:
            return {name: self._kept[name] for name in names}
        self._file.file.flush()
        self._file.places = {name: self._file.places[name] for name in names}
        return self._file


def with_more(blobs: Mapping[str, bytes], more: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return blobs of an entry that is being made, with some more at the end; those in a file stay there."""
    if not isinstance(blobs, FileBlobs):
        return {**blobs, **more}
    for name, blob in more.items():
        blobs.append(name, blob)
    blobs.file.flush()
    return blobs


def spooled(blobs: Mapping[str, bytes], folder: Path) -> FileBlobs | None:
    """Return blobs in a file, which is made if they are many; None if they are few and in memory."""
    if isinstance(blobs, FileBlobs):
        return blobs
    if sum(map(len, blobs.values())) <= IN_MEMORY:
        return None
    spool = Spool(folder)
    for name, blob in blobs.items():
        spool.add(name, blob)
    large = spool.blobs(list(blobs))
    assert isinstance(large, FileBlobs)  # noqa: S101 — for the type checker: they are many
    return large


def temporary(folder: Path | None) -> tuple[IO[bytes], dict[str, Place], Path]:
    """Return a new file in `folder`, or where this machine keeps temporary files if that cannot be written."""
    for place in (*([folder] if folder is not None else []), Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".tmp", f".{os.getpid()}-", place)  # `attnviz prune` knows these names
            return os.fdopen(handle, "w+b"), {}, Path(name)
    raise OSError("There is no folder for temporary files.")
