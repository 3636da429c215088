"""What no block of a site uses any more: entries, what killed builds have left, models in the lock file.

A block that cannot be read, or whose model nobody can look up here, may use any entry: then nothing counts as unused.
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
from mkdocs_attnviz.figure import Alert
from mkdocs_attnviz.pipeline import Build, Plan

LEFT_AFTER = 3600.0  # seconds; no file takes so long to be written
ENTRY = re.compile(rf"([0-9a-f]{{64}}){re.escape(SUFFIX)}")


@dataclass(frozen=True)
class Unused:
    kind: Literal["entry", "temporary", "shared", "model"]
    name: str
    """A file's path, as `cache_dir` begins it; in the shared cache that below its URL; a name in the lock file."""
    size: int | None = None
    """Bytes."""
    changed: float | None = None
    """Seconds since 1970."""
    path: Path | None = None
    key: str = ""


def unused(build: Build, sources: Sequence[Source], *, shared: bool = False) -> list[Unused]:
    """What these blocks, which are all of the site, do not use.

    Raises:
        Missing, or what the build's `fatal` makes: it cannot be known.
        StoreError: the shared cache cannot be listed.
    """
    _refuse_links(build)
    plans = _plans(build, sources)
    requests = [request for plan in plans for request in plan.requests]
    keys = {request.key for request in requests}
    models = {part.reference for request in requests for model in request.models for part in model.parts}
    files = [*_entries(build.cache.folder, keys), *_left(build.cache.folder)]
    within = build.settings.cache_dir
    found = [replace(each, name=f"{within}/{each.name}") for each in files]
    if shared and build.settings.cache_url is not None:
        sizes = Store(build.settings.cache_url, build.log).sizes()
        found += [Unused("shared", file_name(key), sizes[key], key=key) for key in sorted(set(sizes) - keys)]
    return found + [Unused("model", name) for name in sorted(set(build.lock.known) - models)]


def _refuse_links(build: Build) -> None:
    """A link in the site's folder, which anybody may have brought, must not lead to what is removed elsewhere."""
    folder, base = build.cache.folder, build.base
    for each in (folder, *folder.parents):
        if each != base and each.is_relative_to(base) and each.is_symlink():
            raise build.fatal(
                f"Nothing is pruned, since {each.relative_to(base).as_posix()} is a link to another folder; "
                "name that folder as `cache_dir`."
            )


def _plans(build: Build, sources: Sequence[Source]) -> list[Plan]:
    plans = [build.plan(source) for source in sources]
    unknown = [plan for plan in plans if isinstance(plan, Alert)]
    if unknown:
        first = unknown[0]
        why = f"no commit of its model is known here; `{build.command}` asks the hub."
        raise build.fatal(
            f"Nothing is pruned, since what {len(unknown)} block{'s' * (len(unknown) > 1)} may use is not known. "
            + (f"{first.source.where()}: {why}" if first.error.problem.kind == "missing" else first.message)
        )
    if build.lock.problem:
        raise build.fatal(f"Nothing is pruned. {build.lock.problem}")
    return [plan for plan in plans if isinstance(plan, Plan)]


def _entries(folder: Path, used: set[str]) -> Iterator[Unused]:
    for path in sorted(folder.glob(f"??/*{SUFFIX}")):
        name = ENTRY.fullmatch(path.name)
        if name and name[1] not in used and _is_within(path):
            yield _file("entry", folder, path)


def _left(folder: Path) -> Iterator[Unused]:
    """Of builds that were killed; a build that runs now keeps its own."""
    for path in sorted([*folder.glob(".*.tmp"), *folder.glob("??/.*.tmp")]):
        if not _is_within(path):
            continue
        found = _file("temporary", folder, path)
        if found.changed is not None and time.time() - found.changed > LEFT_AFTER:
            yield found


def _is_within(path: Path) -> bool:
    """Return whether a file is a file, and lies where its path says; one that a link leads to is not ours to remove."""
    return not path.is_symlink() and path.is_file() and not path.parent.is_symlink()


def _file(kind: Literal["entry", "temporary"], folder: Path, path: Path) -> Unused:
    name = path.relative_to(folder).as_posix()
    try:
        about = path.stat()
    except OSError:  # gone meanwhile
        return Unused(kind, name, path=path)
    return Unused(kind, name, about.st_size, about.st_mtime, path)


def remove(build: Build, found: Sequence[Unused]) -> None:
    """Raises: OSError or StoreError: something cannot be removed; the rest is then left."""
    for path in (each.path for each in found if each.path is not None):
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are in it
            path.parent.rmdir()
    if build.settings.cache_url is not None:
        store = Store(build.settings.cache_url, build.log)
        for each in found:
            if each.kind == "shared":
                store.remove(each.key)
    if models := {each.name for each in found if each.kind == "model"}:
        build.lock.forget(models)
