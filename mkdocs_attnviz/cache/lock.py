"""The lock file: it records which weights each model had when the figures of a site were computed.

A branch can move, a directory can change, and a machine that only publishes may have no weights at all. The lock file
keeps a site at one commit of each hub model until somebody updates it. It shows when a model has changed since its
figures were computed. It lets a machine without the model find the figures in the cache.

The file is YAML that a person can read and review. Only a build that may run models writes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mkdocs_attnviz.block.plain_yaml import plain_yaml
from mkdocs_attnviz.block.problem import BlockError, Problem
from mkdocs_attnviz.cache.files import read_regular, user_folder, write_atomically
from mkdocs_attnviz.log import Log

VERSION = 1
LARGEST = 1 << 20  # bytes; enough for five thousand models
PACKAGES = ("torch", "transformers", "tokenizers")
"""The packages whose versions are recorded with a model's identity."""
PACKAGE_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,39}")
LONGEST_WAIT = 60.0  # seconds; the lock is held for about 0.01 s, unless that process is stopped
HEADER = "# Which weights the figures of this site are drawn from. Written by attnviz; commit it.\n"


@dataclass(frozen=True)
class Locked:
    """The record of one model in the lock file."""

    identity: str
    """The identity of the weights, as in cache keys: `commit:MODEL@COMMIT` or `sha256:DIGEST`."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """The versions of torch, transformers and tokenizers that last ran the model."""


class Lock:
    """The content of the lock file, and the records that this build adds."""

    def __init__(self, path: Path, log: Log) -> None:
        self.path, self.log = path, log
        self.known: dict[str, Locked] = {}
        self.moved: dict[str, Problem] = {}
        """The difference of each model from its record in the file, by the reference of the model."""
        self.problem = ""
        """The reason why the file could not be read, or an empty text. A file that could not be read is not changed."""
        self._saved: dict[str, Locked] = {}

    def read(self) -> None:
        """Read the file again, because it may have changed since the last build."""
        self.known, self.moved, self.problem = {}, {}, ""
        self.known = self._read_file()
        self._saved = dict(self.known)

    def get(self, reference: str) -> Locked | None:
        """Return the record of a model, or None if there is none."""
        return self.known.get(reference)

    def moves(self, reference: str, how: Problem) -> None:
        """Record that a model differs from the file, and log it the first time."""
        if reference not in self.moved:
            self.moved[reference] = how
            self.log.info(how.sentences)

    def record(self, reference: str, identity: str, made_with: Mapping[str, str]) -> None:
        """Add or replace the record of a model, and log it if package versions have changed."""
        made_with = known_versions(made_with)
        before = self.known.get(reference)
        if before and before.identity == identity and (changes := _changes(before.made_with, made_with)):
            self.log.info("%s was last run with other versions: %s", reference, changes)
        self.known[reference] = Locked(identity, dict(made_with) or (before.made_with if before else {}))

    def save(self) -> None:
        """Write the new records, and keep those that another build has written in the meantime."""
        new = {name: locked for name, locked in self.known.items() if self._saved.get(name) != locked}
        if not new or self.problem:
            return
        try:
            with _exclusive(self.path.parent):
                self._write(self._read_file() | new)
            self._saved = dict(self.known)
        except OSError as error:
            self.log.info("The lock file %s cannot be written (%s).", self.path, error.strerror)

    def forget(self, references: set[str]) -> None:
        """Remove the records of these models from the file.

        Raises:
            OSError: if the file cannot be written.
        """
        if self.problem:
            return
        with _exclusive(self.path.parent):
            recorded = self._read_file()
            kept = {name: locked for name, locked in recorded.items() if name not in references}
            if kept != recorded:
                self._write(kept)
        self.known = {name: locked for name, locked in self.known.items() if name not in references}
        self._saved = {name: locked for name, locked in self._saved.items() if name not in references}

    def _read_file(self) -> dict[str, Locked]:
        """Return the records in the file. If it cannot be read, log a warning and return no records."""
        try:
            return _read(read_regular(self.path, LARGEST).decode())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, yaml.YAMLError, RecursionError, BlockError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            reason = " ".join(why.split()).rstrip(".")
            self.problem = (
                f"The lock file {self.path} cannot be read ({reason}); correct it, or delete it to start again."
            )
            self.log.warning(self.problem)
            return {}

    def _write(self, known: Mapping[str, Locked]) -> None:
        """Write all records to the file, unless it could not be read."""
        if not self.problem:
            write_atomically(self.path, _text(known).encode())


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold a lock on `folder`, so that no other build of this user reads and writes the same file in between.

    The operating system releases the lock when the process ends. If the lock is not available in time, the build
    continues without it.
    """
    from filelock import FileLock  # imported late, because a build whose cache is full writes nothing

    folder.mkdir(parents=True, exist_ok=True)
    place = user_folder() / "locks"
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):  # a timeout of the lock is an OSError, too
            place.mkdir(parents=True, exist_ok=True)
            lock = FileLock(place / f"{name}.lock")
            stack.enter_context(lock.acquire(timeout=LONGEST_WAIT, poll_interval=0.01))
        yield


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return a text that names the packages whose versions differ."""
    changed = [name for name in now if name in before and before[name] != now[name]]
    return ", ".join(f"{name} {before[name]}, now {now[name]}" for name in changed)


def known_versions(made_with: object, packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of these packages in an entry's `made_with`, without anything that cannot be a version."""
    mapping = made_with if isinstance(made_with, Mapping) else {}
    versions = {name: mapping[name] for name in packages if isinstance(mapping.get(name), str)}
    return {name: version for name, version in versions.items() if PACKAGE_VERSION.fullmatch(version)}


def _read(text: str) -> dict[str, Locked]:
    """Return the records in the text of a lock file.

    Raises:
        ValueError: if the text is not a lock file of this version.
    """
    data: Any = plain_yaml(text) or {}
    if not isinstance(data, dict) or data.get("version") != VERSION or not isinstance(data.get("models"), dict):
        raise ValueError(f"it is no lock file of version {VERSION}")
    known = {}
    for reference, about in data["models"].items():
        if not isinstance(about, dict) or not isinstance(about.get("identity"), str):
            raise ValueError(f"{reference!r} has no identity")
        made_with = {str(name): str(value) for name, value in about.items() if name != "identity"}
        known[str(reference)] = Locked(about["identity"], made_with)
    return known


def _text(known: Mapping[str, Locked]) -> str:
    """Return the text of a lock file with these records."""
    models = {
        name: {"identity": known[name].identity, **dict(sorted(known[name].made_with.items()))}
        for name in sorted(known)
    }
    return HEADER + yaml.safe_dump(
        {"version": VERSION, "models": models}, sort_keys=False, allow_unicode=True, width=sys.maxsize
    )
