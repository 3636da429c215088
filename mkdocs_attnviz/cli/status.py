"""The status of each block: whether the cache has the tensors for its figure. Nothing is run, fetched or written.

Entries on this machine are read completely and drawn, so a build elsewhere can certainly draw what is `cached` here.
The shared cache is only listed, because a build checks every entry that it fetches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import BlockError, Problem, trace
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.cache.folder import StoreError
from mkdocs_attnviz.cache.key import file_name
from mkdocs_attnviz.cache.store import Store
from mkdocs_attnviz.figure.alert import Alert
from mkdocs_attnviz.models.engine.client import ModelFailed
from mkdocs_attnviz.models.identity.reference import ModelRef, moved, resolve
from mkdocs_attnviz.pipeline import Build
from mkdocs_attnviz.views import block_of
from mkdocs_attnviz.views.figure_data import Provenance
from mkdocs_attnviz.views.verdict import Verdict

State = Literal["cached", "shared", "missing", "damaged", "bad"]
"""The status of a block. `shared`: the entry is only in the shared cache. `bad`: the block itself has an error."""
STATES: tuple[State, ...] = get_args(State)
GOOD = ("cached", "shared")
"""The states in which a build can draw the block without running a model."""
NOT_HELD = "The cache does not hold its tensors."


@dataclass(frozen=True)
class BlockStatus:
    """A record of one block of a site and its status."""

    source: Source
    where: str
    """The place of the block, or of the error in it: `page.md:12`."""
    state: State
    block: Block | None = None
    """The parsed block, or None if it has an error."""
    models: tuple[ModelRef, ...] = ()
    """The models this figure is drawn from, in block order; empty if any of them is unresolved."""
    key: str | None = None
    """The key of the cache entry, or None if a model is unresolved."""
    size: int | None = None
    """The size of the entry in bytes, on this machine or else in the shared cache."""
    site_size: int | None = None
    """The number of bytes that the figure adds to a site, or None if it cannot be drawn on this machine."""
    changed: float | None = None
    """The time when the entry was written on this machine, in seconds since 1970."""
    lacking: tuple[str, ...] = ()
    """The keys of entries that are not on this machine. A block with interventions needs two: one of the changed model
    and one of the unchanged model."""
    provenance: Provenance | None = None
    """The origin of the figure, or None if it cannot be drawn from entries on this machine."""
    problem: Problem | None = None
    """The reason why no figure can be drawn, or None if it can be drawn."""
    claims: tuple[Verdict, ...] = ()
    """The claims about the figure, tested; empty if it cannot be drawn from entries on this machine."""


def block_statuses(build: Build, sources: Sequence[Source]) -> list[BlockStatus]:
    """Return the status of each block. The build must be one that may not run models."""
    statuses = [_here(build, source) for source in sources]
    url = build.settings.cache_url
    if url is None or not any(_elsewhere(each) for each in statuses):
        return statuses
    try:
        sizes = Store(url, build.log).sizes()
    except StoreError as error:
        unread = Problem("missing", "", NOT_HELD, advice=str(error))
        return [replace(each, problem=unread) if _elsewhere(each) else each for each in statuses]
    return [_shared(each, sizes) if _elsewhere(each) else each for each in statuses]


def _elsewhere(status: BlockStatus) -> bool:
    """Return whether the entry may be in the shared cache only."""
    return bool(status.lacking)


def _shared(status: BlockStatus, sizes: Mapping[str, int]) -> BlockStatus:
    """Return the block's status after looking up its missing entries in the list of the shared cache."""
    if any(key not in sizes for key in status.lacking):
        return status
    size = sizes.get(status.key or "", status.size)
    return replace(status, state="shared", size=size, problem=None)


def _here(build: Build, source: Source) -> BlockStatus:
    """Return the status of a block, judged by the files on this machine."""
    plan = build.plan(source)
    if isinstance(plan, Alert):
        return _without_plan(plan)
    models = () if plan.request is None else plan.request.models
    status = BlockStatus(source, source.where(), "cached", plan.block, models)
    entries: list[Entry] = [] if plan.entry is None else [plan.entry]
    lacking: list[str] = []
    for request in reversed(plan.requests):  # the block's own entry comes last, because the status shows that one
        key, parts = request.key, request.key_parts
        status = replace(status, key=key, size=None, changed=None)
        try:
            about = build.cache.path(key).stat()
        except OSError:
            lacking.append(key)
            continue
        status = replace(status, size=about.st_size, changed=about.st_mtime)
        entry = build.cache.get(key, parts)
        if entry is None:
            name = f"{build.settings.cache_dir}/{file_name(key)}"
            return replace(status, state="damaged", problem=_damaged(f"Its cache entry {name} is damaged."))
        entries.insert(0, entry)
    if lacking:
        return replace(status, state="missing", lacking=tuple(lacking), problem=Problem("missing", "", NOT_HELD))
    try:
        figure = build.figure(plan, entries)
    except DamagedEntry as error:
        name = "" if status.key is None else f"{build.settings.cache_dir}/{file_name(status.key)}"
        problem = _damaged(f"Nothing can be drawn from its cache entry {name}.", trace(error))
        return replace(status, state="damaged", problem=problem)
    except BlockError as error:
        return replace(status, state="bad", where=source.where(error), problem=error.problem)
    return replace(status, claims=figure.claims, provenance=figure.provenance, site_size=figure.site_size)


def _without_plan(alert: Alert) -> BlockStatus:
    """Return the status of a block that has an error, or whose model has not been looked up."""
    source, error = alert.source, alert.error
    block = None
    with contextlib.suppress(BlockError):
        block = block_of(source)
    if error.problem.kind != "missing" or block is None:
        return BlockStatus(source, source.where(error), "bad", block, problem=error.problem)
    problem = replace(error.problem, advice="")  # this command never looks models up, so the advice does not apply
    return BlockStatus(source, source.where(), "missing", block, problem=problem)


def _damaged(message: str, detail: str = "") -> Problem:
    """Return the problem of an entry that cannot be used."""
    return Problem("missing", "", message, detail)


def unlocked(build: Build, statuses: Sequence[BlockStatus]) -> list[str]:
    """Return the names of models that the blocks use but the lock file does not contain."""
    drawn = [model for status in statuses if status.state in GOOD for model in status.models]
    used = {part.reference for model in drawn for part in model.parts}
    return sorted(used - set(build.lock.known))


def moved_on_hub(build: Build, statuses: Sequence[BlockStatus]) -> Iterator[Problem]:
    """Yield a problem for each branch that has moved on its hub, or whose hub could not be asked."""
    known = [status for status in statuses if status.block is not None and status.models]
    pairs = [pair for status in known if status.block for pair in zip(status.block.models, status.models, strict=True)]
    for named, drawn in {model.reference: (named, model) for named, model in pairs}.values():
        model = drawn.base or drawn  # an adapter is a directory, but its base model may be on the hub
        if not (model.identity or "").startswith("commit:"):
            continue
        branch = resolve(named.name, named.revision, build.settings, build.base, update=True)
        branch = branch.base or branch
        if branch.identity is not None:  # the block pins a commit
            continue
        try:
            commit = build.worker.hub_commit(branch)
        except ModelFailed as error:
            yield error.problem
        else:
            if commit != model.revision:
                yield moved(branch.path, branch.revision or "main", commit, model.revision or "")
