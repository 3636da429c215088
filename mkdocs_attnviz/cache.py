"""Entries, their keys and the folder they are kept in.

An entry is what one capture of one input by one model produced. Its key is made from content alone, so there is
no index, nothing is ever stale, and two builds may write the same folder at once: both write the same thing.

Behind the folder there may be a `store` that machines share.

File format: `attnviz 1 SHA256\n`, where the digest is over all that follows; one line of JSON; the blobs, one
after another. `head -2` shows what a file holds. Where entries are signed, the digest is followed by a space and an
HMAC-SHA256 of the same, by a key that only machines have which may be believed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import itertools
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Union

from mkdocs_attnviz.entry_schema import LARGEST, LARGEST_JSON, fault

MAGIC = b"attnviz 1 "
SUFFIX = ".attnviz"
SIGNING_KEY = "ATTNVIZ_SIGNING_KEY"
"""The environment variable with the key that entries are signed with."""
SHORTEST_KEY = 32
MARKS = {
    # No line ending is changed in an entry, no difference shown line by line, and reviews fold it.
    ".gitattributes": f"*{SUFFIX} binary linguist-generated\n",
    ".gitignore": "*.tmp\n",  # of a build that was killed
}
"""What lies in the folder for git."""

Log = Union[logging.Logger, "logging.LoggerAdapter[Any]"]  # no class of Python 3.10 takes a parameter here
"""A host's own logger: what is said there counts for its strict mode."""


class DamagedEntry(Exception):
    """A file that is no whole entry; the message says what is wrong with it."""


class StoreError(Exception):
    """What is wrong with the shared cache, in one sentence."""


@dataclass(frozen=True)
class Entry:
    """`meta` is JSON; `blobs` are deflated (zlib) arrays of bytes, one a layer, whose names and shapes `meta` tells."""

    meta: Mapping[str, Any]
    blobs: Mapping[str, bytes]

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


KeyParts = Sequence[tuple[str, str | None]]


def key(parts: KeyParts) -> str:
    """The name of an entry: SHA-256 of its named parts, in their order."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def file_name(key: str) -> str:
    """Where an entry lies in its folder."""
    return f"{key[:2]}/{key}{SUFFIX}"


class Store(Protocol):
    """A place behind the folder, which other machines share."""

    def fetch(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]: ...
    def put(self, key: str, content: bytes) -> None: ...


class Cache:
    """A folder of entries. What cannot be written is kept in memory, so that a build never fails for its cache.

    Behind it there may be a `store`: `fetch` takes from there what the folder lacks, and with `push` what is computed
    goes there, too. A store that fails, after its own tries, is left alone until the next build.

    `outdated` says why an entry of an earlier version is of no use any more: it then counts as damaged.
    """

    def __init__(
        self,
        folder: Path,
        log: Log,
        store: Store | None = None,
        *,
        push: bool = False,
        signing_key: bytes = b"",
        outdated: Callable[[Entry], str] = lambda _: "",
    ) -> None:
        """With a `signing_key`, entries are signed with it, and no others are believed."""
        self.folder, self.log = folder, log
        self.store, self.push, self.signing_key, self.outdated = store, push, signing_key, outdated
        self._unwritten: dict[str, Entry] = {}
        self._bad: set[str] = set()
        """Keys of entries here of which nothing could be made; they count as missing until they are written anew."""
        self._failed: set[str] = set()
        """What the store could not do in this build: `fetch`, `put`."""
        self._told: set[str] = set()

    def begin(self) -> None:
        """A new build: the store may answer again, and everything is told again."""
        self._failed.clear()
        self._told.clear()
        self._bad.clear()

    def path(self, key: str) -> Path:
        return self.folder / file_name(key)

    def has(self, key: str) -> bool:
        """Whether there is an entry, whole or not; cheap."""
        try:
            return key in self._unwritten or (key not in self._bad and self.path(key).is_file())
        except OSError:
            return False

    def get(self, key: str, parts: KeyParts) -> Entry | None:
        """The entry, if it is here whole. A damaged one counts as missing and is replaced when it is next computed."""
        if key in self._unwritten:
            return self._unwritten[key]
        if key in self._bad:
            return None
        try:
            return self._checked(read_regular(self.path(key), LARGEST), parts)
        except FileNotFoundError:
            return None
        except (DamagedEntry, OSError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            self._tell_once(f"Cache entry {self.path(key)} is not used: {why}.")
            return None

    def discard(self, key: str) -> None:
        """Let an entry count as missing of which nothing can be made, though it is whole."""
        self._unwritten.pop(key, None)
        self._bad.add(key)
        self._tell_once(f"Cache entry {self.path(key)} is not used: its parts do not fit together.")

    def put(self, key: str, parts: KeyParts, entry: Entry) -> Entry:
        entry = Entry({**entry.meta, "key": [list(part) for part in parts]}, entry.blobs)
        content = entry.to_bytes(self.signing_key)
        self._write(key, entry, content)
        if self.store is not None and self.push and "put" not in self._failed:
            try:
                self.store.put(key, content)
            except StoreError as error:
                self._failed.add("put")
                self._tell_once(f"{error} What is computed here stays here.", logging.WARNING)
        return entry

    def fetch(self, wanted: Mapping[str, KeyParts]) -> set[str]:
        """Take entries from the store into the folder; the keys of those that came whole."""
        if self.store is None or not wanted or "fetch" in self._failed:
            return set()
        came = set()
        try:
            for key, content in self.store.fetch(list(wanted)):
                try:
                    self._write(key, self._checked(content, wanted[key]), content)
                    came.add(key)
                except DamagedEntry as error:
                    self._tell_once(f"Entry {file_name(key)} of the shared cache is not used: {error}.")
        except StoreError as error:
            self._failed.add("fetch")
            self._tell_once(str(error), logging.WARNING)
        return came

    def _write(self, key: str, entry: Entry, content: bytes) -> None:
        try:
            with contextlib.suppress(OSError):  # an entry is worth more than its marks
                self._mark()
            write_atomically(self.path(key), content)
            self._unwritten.pop(key, None)
            self._bad.discard(key)
        except OSError as error:
            self._unwritten[key] = entry
            self._tell_once(
                f"The cache {self.folder} cannot be written ({error.strerror}); what is computed is not kept."
            )

    def _mark(self) -> None:
        """A new folder is made ready to be committed."""
        for name, text in MARKS.items():
            if not (self.folder / name).exists():
                write_atomically(self.folder / name, text.encode())

    def _checked(self, content: bytes, parts: KeyParts) -> Entry:
        """Return the entry, if it is the one that is meant. Raises: DamagedEntry."""
        entry = Entry.from_bytes(content, self.signing_key)
        if [list(part) for part in parts] != entry.meta.get("key"):
            raise DamagedEntry("it belongs to another input")
        if wrong := fault(entry.meta, entry.blobs):
            raise DamagedEntry(f"it {wrong}")
        if why := self.outdated(entry):
            raise DamagedEntry(why)
        return entry

    def _tell_once(self, message: str, level: int = logging.INFO) -> None:
        if message not in self._told:
            self._told.add(message)
            self.log.log(level, message)


def read_regular(path: Path, largest: int) -> bytes:
    """Return the content of a regular file of at most `largest` bytes. No link is followed, and nothing waited for.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it is something else, or larger.
    """
    if path.is_symlink():
        raise OSError(errno.EINVAL, "it is a link", str(path))
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, os.O_RDONLY | flags)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if about.st_size > largest:
            raise OSError(errno.EFBIG, f"it is larger than {largest >> 20} MB", str(path))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(about.st_size)
    finally:
        os.close(handle)


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
