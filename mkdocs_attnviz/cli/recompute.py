"""A comparison of stored entries with the values that the models compute now.

Anybody can write an entry with a correct checksum. Only the model can show whether the numbers are true.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cli.status import BlockStatus
from mkdocs_attnviz.models.engine.client import Captured, Engine
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.pipeline import Build, Plan


@dataclass(frozen=True)
class Recomputed:
    """The result of computing one entry again."""

    source: Source
    """The first block that is drawn from the entry."""
    problem: str = ""
    """A sentence that says how the entry differs, or why it could not be compared; empty if it agrees."""
    detail: str = ""
    """The traceback of an unexpected error, or an empty text."""


def recomputed(build: Build, statuses: Sequence[BlockStatus], sample: int | None, engine: Engine) -> list[Recomputed]:
    """Compute the entries of these blocks again and compare them. With `sample`, compute a random selection of that
    size."""
    wanted: dict[str, tuple[Source, Request]] = {}
    for status in statuses:
        plan = build.plan(status.source)
        if status.state == "cached" and isinstance(plan, Plan):
            for request in plan.requests:
                wanted.setdefault(request.key, (status.source, request))
    chosen = list(wanted.values())
    if sample is not None and sample < len(chosen):
        chosen = random.SystemRandom().sample(chosen, sample)
    return list(_compared(build, chosen, engine))


def _compared(build: Build, chosen: Sequence[tuple[Source, Request]], engine: Engine) -> Iterator[Recomputed]:
    """Yield the result of the comparison for each chosen entry."""
    computable: list[tuple[Source, Request]] = []
    for source, request in chosen:
        why = next((model.absent for model in request.models if model.absent), "")
        if why:
            yield Recomputed(source, f"Its entry cannot be computed again. {why}")
        else:
            computable.append((source, request))
    settings = build.settings
    answers = engine.capture(
        [request for _, request in computable],
        device=settings.device,
        batch_size=settings.batch_size,
        max_tokens=settings.max_tokens,
    )
    from mkdocs_attnviz.models.comparison import difference

    for answer in answers:
        source, request = computable[answer.index]
        if not isinstance(answer, Captured):
            why = answer.problem.sentences
            yield Recomputed(source, f"Its entry cannot be computed again. {why}", answer.problem.detail)
            continue
        stored = build.cache.get(request.key, request.key_parts)
        where = "it is gone" if stored is None else difference(stored, answer.entry)
        problem = f"Its entry {request.key[:10]}… does not hold what the model gives: {where}." if where else ""
        yield Recomputed(source, problem)
