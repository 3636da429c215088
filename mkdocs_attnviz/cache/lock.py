"""The lock file: which weights the figures of a site are drawn from, for each model that its pages name.

A branch moves, a directory changes, and a machine that only publishes holds no weights at all. What is written here
keeps a site at one commit of a hub's model until somebody moves it on purpose, tells when a model has changed since
its figures were computed, and lets a machine without a model find its figures in the cache.

It is YAML that a person can read and review. Only a build that may run models writes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from mkdocs_attnviz.block.plain_yaml import plain_yaml
from mkdocs_attnviz.block.problem import BlockError, Problem
from mkdocs_attnviz.cache.files import read_regular, user_folder, write_atomically
from mkdocs_attnviz.log import Log

VERSION = 1
LARGEST = 1 << 20  # bytes; five thousand models have less
PACKAGES = ("torch", "transformers", "tokenizers")
"""Packages whose versions may stand beside a model's identity."""
PACKAGE_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,39}")
LONGEST_WAIT = 60.0  # seconds; what it waits for takes a hundredth of one, unless somebody has stopped it
HEADER = "# Which weights the figures of this site are drawn from. Written by attnviz; commit it.\n"


@dataclass(frozen=True)
class Locked:
    identity: str
    """`commit:MODEL@COMMIT` or `sha256:DIGEST`, as in the cache's keys."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """Versions of torch, transformers and tokenizers that last ran it."""


class Lock:
    """What the file holds, and what this build adds to it."""

    def __init__(self, path: Path, log: Log) -> None:
        self.path, self.log = path, log
        self.known: dict[str, Locked] = {}
        self.moved: dict[str, Problem] = {}
        """How models are elsewhere now than the file says, by their references."""
        self.problem = ""
        """Why the file could not be read; it is then left as it is."""
        self._saved: dict[str, Locked] = {}

    def read(self) -> None:
        """What the file says now; it may have changed since the last build."""
        self.known, self.moved, self.problem = {}, {}, ""
        self.known = self._there()
        self._saved = dict(self.known)

    def get(self, reference: str) -> Locked | None:
        return self.known.get(reference)

    def moves(self, reference: str, how: Problem) -> None:
        """Note that a model is not what the file says, and tell it once."""
        if reference not in self.moved:
            self.moved[reference] = how
            self.log.info(how.sentences)

    def record(self, reference: str, identity: str, made_with: Mapping[str, str]) -> None:
        made_with = known_versions(made_with)
        before = self.known.get(reference)
        if before and before.identity == identity and (changes := _changes(before.made_with, made_with)):
            self.log.info("%s was last run with other versions: %s", reference, changes)
        self.known[reference] = Locked(identity, dict(made_with) or (before.made_with if before else {}))

    def save(self) -> None:
        """Write what is new, beside what another build may have written meanwhile."""
        new = {name: locked for name, locked in self.known.items() if self._saved.get(name) != locked}
        if not new or self.problem:
            return
        try:
            with _alone(self.path.parent):
                self._write(self._there() | new)
            self._saved = dict(self.known)
        except OSError as error:
            self.log.info("The lock file %s cannot be written (%s).", self.path, error.strerror)

    def forget(self, references: set[str]) -> None:
        """Take references out of the file. Raises: OSError."""
        if self.problem:
            return
        with _alone(self.path.parent):
            there = self._there()
            kept = {name: locked for name, locked in there.items() if name not in references}
            if kept != there:
                self._write(kept)
        self.known = {name: locked for name, locked in self.known.items() if name not in references}
        self._saved = {name: locked for name, locked in self._saved.items() if name not in references}

    def _there(self) -> dict[str, Locked]:
        """What is in the file; one that cannot be read is told, and left as it is."""
        try:
            return _read(read_regular(self.path, LARGEST).decode())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, yaml.YAMLError, RecursionError, BlockError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            reason = " ".join(why.split()).rstrip(".")
            self.problem = f"The lock file {self.path} cannot be read ({reason}); mend it, or delete it to begin anew."
            self.log.warning(self.problem)
            return {}

    def _write(self, known: Mapping[str, Locked]) -> None:
        if not self.problem:
            write_atomically(self.path, _text(known).encode())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Between reading a file in `folder` and writing it, no other build of this user's does the same.

    The system's lock goes with its process. Where none can be had, or it does not come, we go on without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = user_folder() / "locks"
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):  # one that does not come in time is an OSError, too
            place.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(place / f"{name}.lock", timeout=LONGEST_WAIT, poll_interval=0.01))
        yield


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = [name for name in now if name in before and before[name] != now[name]]
    return ", ".join(f"{name} {before[name]}, now {now[name]}" for name in changed)


def known_versions(made_with: object) -> dict[str, str]:
    """Return what an entry says of the packages that made it, as far as it can be versions."""
    told = made_with if isinstance(made_with, Mapping) else {}
    versions = {name: told[name] for name in PACKAGES if isinstance(told.get(name), str)}
    return {name: version for name, version in versions.items() if PACKAGE_VERSION.fullmatch(version)}


def _read(text: str) -> dict[str, Locked]:
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
    models = {
        name: {"identity": known[name].identity, **dict(sorted(known[name].made_with.items()))}
        for name in sorted(known)
    }
    return HEADER + yaml.safe_dump(
        {"version": VERSION, "models": models}, sort_keys=False, allow_unicode=True, width=sys.maxsize
    )
