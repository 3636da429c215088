"""A capture: what a view needs from a model's pass over a text. A view declares it, and a worker runs it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs_attnviz.models.errors import blame, error_message
from mkdocs_attnviz.plugins import is_ours, packages

if TYPE_CHECKING:
    from mkdocs_attnviz.cache.entry import Entry
    from mkdocs_attnviz.models.captures.context import Context

OURS = "mkdocs_attnviz.models.captures."
"""The package of our own captures."""


@dataclass(frozen=True)
class Capture:
    """A kind of entry, with the function that makes it."""

    name: str
    """A name that no other capture of its package has; it is a part of the cache key."""
    version: int
    """A number that is raised when the same input gives another entry, so that old entries are no longer found."""
    run: str
    """The function, as `module:function`, from a `Context` to one entry per example. Only a worker imports it."""
    head: bool = False
    """True if it needs the head that the model was trained with, which turns its last vectors into predictions."""
    head_for: tuple[str, ...] = ()
    """The parameters with any of which it needs that head."""
    attention: bool = True
    """True if it needs attention weights, which not every model has."""
    reads_file: bool = False
    """True if it reads an author's own file in place of a model; its function takes the file's path and the
    parameters."""
    stored: str = ""
    """The precision of its stored numbers, in a few words for readers; empty if that is not known."""
    corpus: bool = False
    """True if it reads many texts (`Context.corpus`) and returns one entry for all of them. A block of its view may
    then have `corpus` in place of `text`; a single text is a corpus of one."""

    @property
    def identity(self) -> str:
        """The name in cache keys; that of another package's capture begins with the package, so that it is unique."""
        module = self.run.partition(":")[0]
        return self.name if is_ours(module) else f"{module.partition('.')[0]}/{self.name}"


WEIGHTS = "weights in 8 bits on a square-root scale, within 0.004"
"""The precision of stored attention weights, in words."""
TENSORS = Capture("tensors", 1, run=f"{OURS}tensors:capture_file", reads_file=True, stored=WEIGHTS)
"""The reading of attention weights from an author's own file."""


def file_function(run: str) -> Callable[[Path, Mapping[str, Any], int], Entry]:
    """Import the function of a capture that reads an author's own file, and return it. All such captures are ours. Its
    last argument is the number of bytes that the entry may have.

    Raises:
        ValueError: it is none of our captures.
    """
    module, _, name = run.partition(":")
    if not module.startswith(OURS):
        raise ValueError(f"`{run}` is none of our captures, and only those read files.")
    read: Callable[[Path, Mapping[str, Any], int], Entry] = getattr(importlib.import_module(module), name)
    return read


def function(run: str) -> Callable[[Context], Sequence[Entry]]:
    """Import the function that `run` names as `module:function`, and return it.

    Raises:
        ValueError: it is neither one of our captures nor in a package that has registered a view, or it cannot be
            imported.
    """
    module, _, name = run.partition(":")
    package = module.partition(".")[0]
    if not module.startswith(OURS) and (is_ours(module) or package not in packages()):
        raise ValueError(f"`{run}` is no capture of a view that is installed here.")
    try:
        capture: Callable[[Context], Sequence[Entry]] = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ValueError(f"The capture `{run}` cannot be imported: {error_message(error)}.") from error
    return capture if is_ours(module) else _checked(capture, run)


def _checked(capture: Callable[[Context], Sequence[Entry]], run: str) -> Callable[[Context], Sequence[Entry]]:
    """Return another package's capture, wrapped so that it raises ValueError if its entries cannot be stored."""
    from mkdocs_attnviz.cache.entry import Entry

    def checked(context: Context) -> Sequence[Entry]:
        try:
            entries = capture(context)
        except Exception as error:
            blame(error, f"capture `{run}`")
            raise
        count, wanted = len(entries), len(context.examples) if context.corpus is None else 1
        if count != wanted:
            what = "a corpus" if context.corpus is not None else f"{wanted} examples"
            raise ValueError(f"{run} returned {count} entries for {what}")
        for entry in entries:
            if not isinstance(entry, Entry) or not all(isinstance(blob, bytes) for blob in entry.blobs.values()):
                raise ValueError(f"{run} returned what is no entry, or an entry whose blobs are not bytes")
            try:
                json.dumps(entry.meta)
            except TypeError as error:
                raise ValueError(f"{run} returned an entry whose meta is not plain JSON: {error}") from error
        return entries

    return checked
