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
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.cache.folder import StoreError
from mkdocs_attnviz.cache.key import file_name
from mkdocs_attnviz.cache.store import Store
from mkdocs_attnviz.figure import Alert
from mkdocs_attnviz.models.engine.client import ModelFailed
from mkdocs_attnviz.models.identity.reference import MOVED, ModelRef, resolve
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.views import OPTIONS

State = Literal["cached", "shared", "missing", "damaged", "bad"]
"""`shared`: only in the shared cache. `bad`: the block itself is wrong."""
STATES: tuple[State, ...] = get_args(State)
GOOD = ("cached", "shared")


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
    problem: str = ""
    """Why no figure can be drawn, in a sentence."""


def standings(pipeline: Pipeline, sources: Sequence[Source]) -> list[Standing]:
    """Where each block stands. The pipeline is one that may not run models, and has begun."""
    found = [_here(pipeline, source) for source in sources]
    url = pipeline.settings.cache_url
    if url is None or not any(_elsewhere(each) for each in found):
        return found
    try:
        sizes = Store(url, pipeline.log).sizes()
    except StoreError as error:
        return [replace(each, problem=f"{each.problem} {error}") if _elsewhere(each) else each for each in found]
    return [_shared(each, sizes) if _elsewhere(each) else each for each in found]


def _elsewhere(standing: Standing) -> bool:
    """Whether its entry may be in the shared cache alone."""
    return bool(standing.lacking)


def _shared(standing: Standing, sizes: Mapping[str, int]) -> Standing:
    if any(key not in sizes for key in standing.lacking):
        return standing
    size = sizes.get(standing.key or "", standing.size)
    return replace(standing, state="shared", size=size, problem="")


def _here(pipeline: Pipeline, source: Source) -> Standing:
    """As far as this machine can tell."""
    plan = pipeline.plan(source)
    if isinstance(plan, Alert):
        return _without_plan(plan)
    known = Standing(source, source.where(), "cached", plan.block, plan.request.models)
    entries: list[Entry] = []
    lacking: list[str] = []
    for request in reversed(plan.requests):  # the block's own last, which is the one that is told
        key, parts = request.key, request.key_parts
        known = replace(known, key=key, size=None, changed=None)
        try:
            about = pipeline.cache.path(key).stat()
        except OSError:
            lacking.append(key)
            continue
        known = replace(known, size=about.st_size, changed=about.st_mtime)
        entry = pipeline.cache.get(key, parts)
        if entry is None:
            name = f"{pipeline.settings.cache_dir}/{file_name(key)}"
            return replace(known, state="damaged", problem=f"Its cache entry {name} is damaged.")
        entries.insert(0, entry)
    if lacking:
        problem = "The cache does not hold its tensors."
        return replace(known, state="missing", lacking=tuple(lacking), problem=problem)
    try:
        pipeline.figure(plan, entries)
    except DamagedEntry:
        name = f"{pipeline.settings.cache_dir}/{file_name(plan.request.key)}"
        return replace(known, state="damaged", problem=f"Nothing can be drawn from its cache entry {name}.")
    except BlockError as error:
        return replace(known, state="bad", where=source.where(error), problem=error.message)
    return known


def _without_plan(alert: Alert) -> Standing:
    """A block that is wrong, or a model of which nobody has looked up."""
    source, error = alert.source, alert.error
    block = None
    with contextlib.suppress(BlockError):
        block = parse(source, OPTIONS)
    if not error.missing or block is None:
        return Standing(source, source.where(error), "bad", block, problem=error.message)
    problem = f"{error.message.partition(',')[0]}."  # which model it is; that it may not be looked up is our own doing
    return Standing(source, source.where(), "missing", block, problem=problem)


def unlocked(pipeline: Pipeline, found: Sequence[Standing]) -> list[str]:
    """Models whose entries the blocks use and that the lock file does not know, by their names there."""
    drawn = [model for each in found if each.state in GOOD for model in each.models]
    used = {part.reference for model in drawn for part in model.parts}
    return sorted(used - set(pipeline.lock.known))


def moved_on_hub(pipeline: Pipeline, found: Sequence[Standing]) -> Iterator[str]:
    """For each branch that its hub has elsewhere now: how, in a sentence, or that it could not be asked."""
    known = [each for each in found if each.block is not None and each.models]
    pairs = [pair for each in known if each.block for pair in zip(each.block.models, each.models, strict=True)]
    for named, drawn in {model.reference: (named, model) for named, model in pairs}.values():
        model = drawn.base or drawn  # an adapter's base may be the hub's, itself it is a directory
        if not (model.identity or "").startswith("commit:"):
            continue
        branch = resolve(named.name, named.revision, pipeline.settings, pipeline.base, update=True)
        branch = branch.base or branch
        if branch.identity is not None:  # it is pinned
            continue
        try:
            commit = pipeline.worker.hub_commit(branch)
        except ModelFailed as error:
            yield str(error)
        else:
            if commit != model.revision:
                yield MOVED.format(branch.path, branch.revision or "main", commit, model.revision)
