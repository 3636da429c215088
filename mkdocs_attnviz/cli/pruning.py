"""The search for unused files: entries, temporary files of interrupted builds, and models in the lock file.

A block that cannot be read may use any entry. So may a block whose model cannot be looked up on this machine. In both
cases nothing counts as unused.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.key import SUFFIX, file_name
from mkdocs_attnviz.cache.store import Store
from mkdocs_attnviz.figure.alert import Alert
from mkdocs_attnviz.pipeline import Build, Plan

LEFT_AFTER = 3600.0  # seconds; writing a file never takes this long
ENTRY = re.compile(rf"([0-9a-f]{{64}}){re.escape(SUFFIX)}")


@dataclass(frozen=True)
class Unused:
    """One item that no block of a site uses."""

    kind: Literal["entry", "temporary", "shared", "model"]
    name: str
    """The path of a file beginning with `cache_dir`; in the shared cache, the path below its URL; for a model, its name
    in the lock file."""
    size: int | None = None
    """The size of the file in bytes."""
    changed: float | None = None
    """The time of the last change, in seconds since 1970."""
    path: Path | None = None
    key: str = ""


def unused(build: Build, sources: Sequence[Source], *, shared: bool = False) -> list[Unused]:
    """Return what is not used by these blocks, which must be all blocks of the site.

    Raises:
        Missing or the error that the build's `fatal` makes: if it is not known what a block uses.
        StoreError: if the shared cache cannot be listed.
    """
    _refuse_links(build)
    plans = _plans(build, sources)
    requests = [request for plan in plans for request in plan.requests]
    keys = {request.key for request in requests}
    models = {part.reference for request in requests for model in request.models for part in model.parts}
    files = [*_entries(build.cache.folder, keys), *_left_over(build.cache.folder)]
    within = build.settings.cache_dir
    items = [replace(each, name=f"{within}/{each.name}") for each in files]
    if shared and build.settings.cache_url is not None:
        sizes = Store(build.settings.cache_url, build.log).sizes()
        items += [Unused("shared", file_name(key), sizes[key], key=key) for key in sorted(set(sizes) - keys)]
    return items + [Unused("model", name) for name in sorted(set(build.lock.known) - models)]


def _refuse_links(build: Build) -> None:
    """Raise an error if the cache folder lies behind a link inside the site. Anybody may have added that link, and
    pruning must not remove files elsewhere."""
    folder, base = build.cache.folder, build.base
    for each in (folder, *folder.parents):
        if each != base and each.is_relative_to(base) and each.is_symlink():
            raise build.fatal(
                f"Nothing is pruned, because {each.relative_to(base).as_posix()} is a link to another folder; "
                "name that folder as `cache_dir`."
            )


def _plans(build: Build, sources: Sequence[Source]) -> list[Plan]:
    """Return the plans of all blocks. Raise an error if there is a block that cannot be planned."""
    plans = [build.plan(source) for source in sources]
    unknown = [plan for plan in plans if isinstance(plan, Alert)]
    if unknown:
        first = unknown[0]
        why = f"no commit of its model is known here; `{build.command}` asks the hub."
        raise build.fatal(
            f"Nothing is pruned, because it is not known what {len(unknown)} block{'s' * (len(unknown) > 1)} may use. "
            + (f"{first.source.where()}: {why}" if first.error.problem.kind == "missing" else first.message)
        )
    if build.lock.problem:
        raise build.fatal(f"Nothing is pruned. {build.lock.problem}")
    return [plan for plan in plans if isinstance(plan, Plan)]


def _entries(folder: Path, used: set[str]) -> Iterator[Unused]:
    """Yield the entries in the folder that are not in `used`."""
    for path in sorted(folder.glob(f"??/*{SUFFIX}")):
        name = ENTRY.fullmatch(path.name)
        if name and name[1] not in used and _is_within(path):
            yield _file("entry", folder, path)


def _left_over(folder: Path) -> Iterator[Unused]:
    """Yield temporary files of interrupted builds. Recent files are skipped, because a running build may still write
    them."""
    for path in sorted([*folder.glob(".*.tmp"), *folder.glob("??/.*.tmp")]):
        if not _is_within(path):
            continue
        item = _file("temporary", folder, path)
        if item.changed is not None and time.time() - item.changed > LEFT_AFTER:
            yield item


def _is_within(path: Path) -> bool:
    """Return whether a path is a regular file that no link leads to. Other files are not ours to remove."""
    return not path.is_symlink() and path.is_file() and not path.parent.is_symlink()


def _file(kind: Literal["entry", "temporary"], folder: Path, path: Path) -> Unused:
    """Return a record of this file, with its size and the time of its last change."""
    name = path.relative_to(folder).as_posix()
    try:
        about = path.stat()
    except OSError:  # the file has been removed in the meantime
        return Unused(kind, name, path=path)
    return Unused(kind, name, about.st_size, about.st_mtime, path)


def remove(build: Build, items: Sequence[Unused]) -> None:
    """Remove the files, entries and lock file records in `found`.

    Raises:
        OSError or StoreError: if something cannot be removed; the remaining items are then kept.
    """
    for path in (each.path for each in items if each.path is not None):
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder is not empty
            path.parent.rmdir()
    if build.settings.cache_url is not None:
        store = Store(build.settings.cache_url, build.log)
        for each in items:
            if each.kind == "shared":
                store.remove(each.key)
    if models := {each.name for each in items if each.kind == "model"}:
        build.lock.forget(models)
