"""A comparison of a site's entries with what its models give when they are run once more.

An entry can be written by anybody, and its checksum then fits. Only the model tells whether its numbers are true.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.status import Standing
from mkdocs_attnviz.models.engine.client import Captured, Engine
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.pipeline import Build, Plan


@dataclass(frozen=True)
class Recomputed:
    """What came of computing one entry once more."""

    source: Source
    """The first block that is drawn from it."""
    problem: str = ""
    """How it differs, or why that cannot be known, as a sentence; empty if it holds what the model gives."""
    detail: str = ""
    """The traceback of what kept it from being computed, if something unforeseen did."""


def recomputed(build: Build, found: Sequence[Standing], sample: int | None, engine: Engine) -> list[Recomputed]:
    """Compute the entries of these blocks that are here once more, or `sample` of them that chance chooses."""
    wanted: dict[str, tuple[Source, Request]] = {}
    for each in found:
        plan = build.plan(each.source)
        if each.state == "cached" and isinstance(plan, Plan):
            for request in plan.requests:
                wanted.setdefault(request.key, (each.source, request))
    chosen = list(wanted.values())
    if sample is not None and sample < len(chosen):
        chosen = random.SystemRandom().sample(chosen, sample)
    return list(_compared(build, chosen, engine))


def _compared(build: Build, chosen: Sequence[tuple[Source, Request]], engine: Engine) -> Iterator[Recomputed]:
    here: list[tuple[Source, Request]] = []
    for source, request in chosen:
        why = next((model.absent for model in request.models if model.absent), "")
        if why:
            yield Recomputed(source, f"Its entry cannot be computed once more. {why}")
        else:
            here.append((source, request))
    settings = build.settings
    answers = engine.capture(
        [request for _, request in here],
        device=settings.device,
        batch_size=settings.batch_size,
        max_tokens=settings.max_tokens,
    )
    from mkdocs_attnviz.models.comparison import difference

    for answer in answers:
        source, request = here[answer.index]
        if not isinstance(answer, Captured):
            why = answer.problem.sentences
            yield Recomputed(source, f"Its entry cannot be computed once more. {why}", answer.problem.detail)
            continue
        stored = build.cache.get(request.key, request.key_parts)
        where = "it is gone" if stored is None else difference(stored, answer.entry)
        problem = f"Its entry {request.key[:10]}… does not hold what the model gives: {where}." if where else ""
        yield Recomputed(source, problem)
