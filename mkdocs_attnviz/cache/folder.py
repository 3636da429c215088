"""The folder that cache entries are kept in.

An entry's key is made from content alone, so there is no index, nothing is ever stale, and two builds may write the
same folder at once: both write the same thing. Behind the folder there may be a `store` that machines share.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST, fault
from mkdocs_attnviz.cache.files import read_regular, write_atomically
from mkdocs_attnviz.cache.key import SUFFIX, KeyParts, file_name
from mkdocs_attnviz.log import Log

MARKS = {
    # No line ending is changed in an entry, no difference shown line by line, and reviews fold it.
    ".gitattributes": f"*{SUFFIX} binary linguist-generated\n",
    ".gitignore": "*.tmp\n",  # of a build that was killed
}
"""What lies in the folder for git."""


class StoreError(Exception):
    """What is wrong with the shared cache, in one sentence."""


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
        if key in self._unwritten:
            return True
        # A text, since a path costs more than looking at the file, and each figure of a site is asked about thrice.
        return key not in self._bad and os.path.isfile(f"{self.folder}/{file_name(key)}")  # noqa: PTH113

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
