"""A folder that stores cache entries.

An entry's key depends on content alone. So the folder needs no index, no entry becomes stale, and two builds may write
to the same folder at once because they write the same bytes. A `store` that machines share may stand behind the folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from mkdocs_attnviz.cache.blobs import IN_MEMORY, sizes
from mkdocs_attnviz.cache.content import Content, entry_of, write
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST, fault
from mkdocs_attnviz.cache.files import open_regular, replacing, write_atomically
from mkdocs_attnviz.cache.key import SUFFIX, KeyParts, file_name
from mkdocs_attnviz.log import Log

MARKS = {
    # Git changes no line ending in an entry and shows no differences, and reviews fold it.
    ".gitattributes": f"*{SUFFIX} binary linguist-generated\n",
    ".gitignore": "*.tmp\n",  # files of an interrupted build
}
"""The files in the cache folder that are addressed to git: name to content."""


KEPT_OPEN = 4
"""The number of large entries whose files stay open."""


class StoreError(Exception):
    """An error of the shared cache; its message is one sentence."""


class Store(Protocol):
    """A place behind the folder, shared with other machines."""

    def fetch(self, keys: Sequence[str], folder: Path | None = None) -> Iterator[tuple[str, Content]]: ...
    def put(self, key: str, content: Content) -> None: ...


class Cache:
    """A folder of entries. An entry that cannot be written stays in memory, so that a build never fails because of its
    cache.

    With a `store`, `fetch` copies missing entries from there. With `push`, computed entries are also copied to the
    store. A store that still fails after its own retries is not used again until the next build.

    `outdated` returns why an entry of an earlier version can no longer be used; such an entry counts as damaged.
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
        """Open the cache. With a `signing_key`, entries are signed, and entries without a valid signature are not
        used."""
        self.folder, self.log = folder, log
        self.store, self.push, self.signing_key, self.outdated = store, push, signing_key, outdated
        self._unwritten: dict[str, Entry] = {}
        self._large: dict[tuple[str, int, int, int], Entry] = {}
        """The last large entries, by their files' paths, numbers, times and sizes."""
        self._bad: set[str] = set()
        """The keys of entries in this folder that cannot be drawn. They count as missing until they are written
        again."""
        self._failed: set[str] = set()
        """The names of the methods of the store that have failed in this build: `fetch`, `put`."""
        self._logged: set[str] = set()
        """The messages that this build has logged already."""

    def begin(self) -> None:
        """Start a new build: try the store again, and log every message again."""
        self._failed.clear()
        self._large.clear()
        self._logged.clear()
        self._bad.clear()

    def path(self, key: str) -> Path:
        """Return the path of an entry's file."""
        return self.folder / file_name(key)

    def has(self, key: str) -> bool:
        """Return whether the cache has this entry, without checking whether it is damaged."""
        if key in self._unwritten:
            return True
        # A text instead of a Path, which takes longer than the look-up itself; each figure is looked up three times.
        return key not in self._bad and os.path.isfile(f"{self.folder}/{file_name(key)}")  # noqa: PTH113

    def get(self, key: str, parts: KeyParts) -> Entry | None:
        """Return the entry, or None if it is missing or damaged. A damaged entry is replaced when it is computed
        again."""
        if key in self._unwritten:
            return self._unwritten[key]
        if key in self._bad:
            return None
        try:
            return self._read(self.path(key), parts)
        except FileNotFoundError:
            return None
        except (DamagedEntry, OSError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            self._log_once(f"Cache entry {self.path(key)} is not used: {why}.")
            return None

    def discard(self, key: str) -> None:
        """Treat an intact entry that cannot be drawn as missing."""
        self._unwritten.pop(key, None)
        self._bad.add(key)
        self._log_once(f"Cache entry {self.path(key)} is not used: its parts do not fit together.")

    def put(self, key: str, parts: KeyParts, entry: Entry) -> Entry:
        """Store an entry, also in the shared cache if `push` is set, and return it with its key."""
        entry = Entry({**entry.meta, "key": [list(part) for part in parts]}, entry.blobs)
        self._write(key, entry, lambda stream: entry.write(stream, self.signing_key))
        if self.store is not None and self.push and "put" not in self._failed:
            try:
                self.store.put(key, self.content(key, entry))
            except StoreError as error:
                self._failed.add("put")
                self._log_once(f"{error} New entries stay in the folder of this machine.", logging.WARNING)
        return entry

    def content(self, key: str, entry: Entry) -> Content:
        """Return the content of an entry's file: the file itself if the entry is large and could be written."""
        is_large = sum(sizes(entry.blobs).values()) > IN_MEMORY
        return self.path(key) if is_large and key not in self._unwritten else entry.to_bytes(self.signing_key)

    def fetch(self, wanted: Mapping[str, KeyParts]) -> set[str]:
        """Copy entries from the store into the folder. Return the keys of those that arrived undamaged."""
        if self.store is None or not wanted or "fetch" in self._failed:
            return set()
        fetched = set()
        try:
            for key, content in self.store.fetch(list(wanted), self.folder):
                try:
                    self._receive(key, wanted[key], content)
                    fetched.add(key)
                except (DamagedEntry, OSError) as error:
                    self._log_once(f"Entry {file_name(key)} of the shared cache is not used: {error}.")
        except StoreError as error:
            self._failed.add("fetch")
            self._log_once(str(error), logging.WARNING)
        return fetched

    def _receive(self, key: str, parts: KeyParts, content: Content) -> None:
        """Check an entry of the store, and write it to the folder.

        Raises:
            DamagedEntry: if the entry is damaged, outdated or has other key parts.
        """
        entry = self._checked(entry_of(content, self.signing_key), parts)
        self._write(key, entry, partial(write, content))

    def _write(self, key: str, entry: Entry, write: Callable[[IO[bytes]], None]) -> None:
        """Write an entry to the folder, or keep it in memory if it cannot be written."""
        try:
            with contextlib.suppress(OSError):  # the entry matters more than the files for git
                self._mark()
            with replacing(self.path(key)) as stream:
                write(stream)
            self._unwritten.pop(key, None)
            self._bad.discard(key)
        except OSError as error:
            self._unwritten[key] = entry
            self._log_once(
                f"The cache {self.folder} cannot be written ({error.strerror}); what is computed is not kept."
            )

    def _mark(self) -> None:
        """Write the files for git into a new cache folder."""
        for name, text in MARKS.items():
            if not (self.folder / name).exists():
                write_atomically(self.folder / name, text.encode())

    def _read(self, path: Path, parts: KeyParts) -> Entry:
        """Return the entry in a file. The blobs of a large one stay there; the last few are not checked again while
        their files stay the same.

        Raises:
            DamagedEntry: if the entry is damaged, outdated or has other key parts.
            OSError: if the file cannot be read.
        """
        file, size = open_regular(path, LARGEST)
        if size <= IN_MEMORY:
            with file:
                return self._checked(Entry.from_bytes(file.read(size), self.signing_key), parts)
        about = os.fstat(file.fileno())
        state = (str(path), about.st_ino, about.st_mtime_ns, size)
        if (known := self._large.get(state)) is not None:
            file.close()
            return self._checked(known, parts)
        try:
            entry = self._checked(Entry.open(file, size, self.signing_key), parts)
        except BaseException:
            file.close()
            raise
        self._large = dict([*self._large.items(), (state, entry)][-KEPT_OPEN:])
        return entry

    def _checked(self, entry: Entry, parts: KeyParts) -> Entry:
        """Return the entry after checking it.

        Raises:
            DamagedEntry: if the entry is outdated or has other key parts.
        """
        if [list(part) for part in parts] != entry.meta.get("key"):
            raise DamagedEntry("it belongs to another input")
        if wrong := fault(entry.meta, entry.blobs):
            raise DamagedEntry(f"it {wrong}")
        if why := self.outdated(entry):
            raise DamagedEntry(why)
        return entry

    def _log_once(self, message: str, level: int = logging.INFO) -> None:
        """Log a message unless this build has logged it already."""
        if message not in self._logged:
            self._logged.add(message)
            self.log.log(level, message)
