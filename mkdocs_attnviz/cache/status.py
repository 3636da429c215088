"""How a block stands: are the tensors here that its figure is drawn from? Nothing is run, fetched or written.

Entries of this machine are read whole and drawn from, so that what is `cached` here is certain to be drawn by a build
elsewhere. Of the shared cache only the list is read: a build checks what it fetches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError, Problem, trace
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.cache.folder import StoreError
from mkdocs_attnviz.cache.key import file_name
from mkdocs_attnviz.cache.store import Store
from mkdocs_attnviz.figure import Alert
from mkdocs_attnviz.models.engine.client import ModelFailed
from mkdocs_attnviz.models.identity.reference import ModelRef, moved, resolve
from mkdocs_attnviz.pipeline import Build
from mkdocs_attnviz.views import OPTIONS

State = Literal["cached", "shared", "missing", "damaged", "bad"]
"""`shared`: only in the shared cache. `bad`: the block itself is wrong."""
STATES: tuple[State, ...] = get_args(State)
GOOD = ("cached", "shared")
NOT_HELD = "The cache does not hold its tensors."


@dataclass(frozen=True)
class Standing:
    """One block of a site."""

    source: Source
    where: str
    """`page.md:12`: of the block, or of what is wrong in it."""
    state: State
    block: Block | None = None
    """None where it cannot be read."""
    models: tuple[ModelRef, ...] = ()
    """That it is drawn from, in the block's order; empty where one is not known."""
    key: str | None = None
    """Of its entry; None where that cannot be known."""
    size: int | None = None
    """Bytes of its entry, on this machine or else in the shared cache."""
    changed: float | None = None
    """When its entry was written on this machine, in seconds since 1970."""
    lacking: tuple[str, ...] = ()
    """Keys of what it is drawn from and is not on this machine: of a changed model, and of the model as it is."""
    problem: Problem | None = None
    """Why no figure can be drawn; None if one can."""


def standings(build: Build, sources: Sequence[Source]) -> list[Standing]:
    """Where each block stands. The build is one that may not run models."""
    found = [_here(build, source) for source in sources]
    url = build.settings.cache_url
    if url is None or not any(_elsewhere(each) for each in found):
        return found
    try:
        sizes = Store(url, build.log).sizes()
    except StoreError as error:
        unread = Problem("missing", "", NOT_HELD, advice=str(error))
        return [replace(each, problem=unread) if _elsewhere(each) else each for each in found]
    return [_shared(each, sizes) if _elsewhere(each) else each for each in found]


def _elsewhere(standing: Standing) -> bool:
    """Whether its entry may be in the shared cache alone."""
    return bool(standing.lacking)


def _shared(standing: Standing, sizes: Mapping[str, int]) -> Standing:
    if any(key not in sizes for key in standing.lacking):
        return standing
    size = sizes.get(standing.key or "", standing.size)
    return replace(standing, state="shared", size=size, problem=None)


def _here(build: Build, source: Source) -> Standing:
    """As far as this machine can tell."""
    plan = build.plan(source)
    if isinstance(plan, Alert):
        return _without_plan(plan)
    known = Standing(source, source.where(), "cached", plan.block, plan.request.models)
    entries: list[Entry] = []
    lacking: list[str] = []
    for request in reversed(plan.requests):  # the block's own last, which is the one that is told
        key, parts = request.key, request.key_parts
        known = replace(known, key=key, size=None, changed=None)
        try:
            about = build.cache.path(key).stat()
        except OSError:
            lacking.append(key)
            continue
        known = replace(known, size=about.st_size, changed=about.st_mtime)
        entry = build.cache.get(key, parts)
        if entry is None:
            name = f"{build.settings.cache_dir}/{file_name(key)}"
            return replace(known, state="damaged", problem=_damaged(f"Its cache entry {name} is damaged."))
        entries.insert(0, entry)
    if lacking:
        return replace(known, state="missing", lacking=tuple(lacking), problem=Problem("missing", "", NOT_HELD))
    try:
        build.figure(plan, entries)
    except DamagedEntry as error:
        name = f"{build.settings.cache_dir}/{file_name(plan.request.key)}"
        problem = _damaged(f"Nothing can be drawn from its cache entry {name}.", trace(error))
        return replace(known, state="damaged", problem=problem)
    except BlockError as error:
        return replace(known, state="bad", where=source.where(error), problem=error.problem)
    return known


def _without_plan(alert: Alert) -> Standing:
    """A block that is wrong, or a model of which nobody has looked up."""
    source, error = alert.source, alert.error
    block = None
    with contextlib.suppress(BlockError):
        block = parse(source, OPTIONS)
    if error.problem.kind != "missing" or block is None:
        return Standing(source, source.where(error), "bad", block, problem=error.problem)
    problem = replace(error.problem, advice="")  # that it may not be looked up is our own doing
    return Standing(source, source.where(), "missing", block, problem=problem)


def _damaged(message: str, detail: str = "") -> Problem:
    return Problem("missing", "", message, detail)


def unlocked(build: Build, found: Sequence[Standing]) -> list[str]:
    """Models whose entries the blocks use and that the lock file does not know, by their names there."""
    drawn = [model for each in found if each.state in GOOD for model in each.models]
    used = {part.reference for model in drawn for part in model.parts}
    return sorted(used - set(build.lock.known))


def moved_on_hub(build: Build, found: Sequence[Standing]) -> Iterator[Problem]:
    """Yield for each branch that its hub has elsewhere now how it has moved, or why the hub could not be asked."""
    known = [each for each in found if each.block is not None and each.models]
    pairs = [pair for each in known if each.block for pair in zip(each.block.models, each.models, strict=True)]
    for named, drawn in {model.reference: (named, model) for named, model in pairs}.values():
        model = drawn.base or drawn  # an adapter's base may be the hub's, itself it is a directory
        if not (model.identity or "").startswith("commit:"):
            continue
        branch = resolve(named.name, named.revision, build.settings, build.base, update=True)
        branch = branch.base or branch
        if branch.identity is not None:  # it is pinned
            continue
        try:
            commit = build.worker.hub_commit(branch)
        except ModelFailed as error:
            yield error.problem
        else:
            if commit != model.revision:
                yield moved(branch.path, branch.revision or "main", commit, model.revision or "")
