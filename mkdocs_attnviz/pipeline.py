"""Blocks → figures: the whole program on one page.

    source ─ parse ─▶ block ─ plan ─▶ request ─ cache or worker ─▶ entry ─ view ─▶ drawing ─▶ figure

All blocks that are handed over together are planned together: each model is loaded once for them, and only for what the
cache does not hold. A block that fails becomes an alert; it costs no other block anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mkdocs_attnviz import cache
from mkdocs_attnviz.block import Block, BlockError, Source, parse
from mkdocs_attnviz.cache import Cache, Entry, Log
from mkdocs_attnviz.figure import Alert, Figure, Rendered
from mkdocs_attnviz.models.client import Captured, ModelFailed, Worker
from mkdocs_attnviz.models.reference import ModelRef, resolve
from mkdocs_attnviz.models.request import Request
from mkdocs_attnviz.progress import Progress
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS


@dataclass(frozen=True)
class Result:
    """An entry, and how it was come by; or why there is none."""

    entry: Entry | None
    note: str
    blame: str = "text"
    """The key of the block that is at fault where there is no entry."""


class Pipeline:
    """The blocks of one site. `base` is the folder that relative directories start from."""

    def __init__(self, settings: Settings, base: Path, log: Log) -> None:
        self.settings, self.base, self.log = settings, base, log
        self.cache = Cache(base / Path(settings.cache_dir).expanduser(), log)
        self.worker = Worker()
        self._models: dict[tuple[str, str | None], ModelRef] = {}
        self._computed: dict[str, Result] = {}
        self._told: set[str] = set()

    def begin(self) -> None:
        """A new build: models may have changed since the last one, and everything is told again."""
        self._models.clear()
        self._computed.clear()
        self._told.clear()

    def render(self, sources: Sequence[Source]) -> list[Rendered]:
        """A figure or an alert for each source."""
        plans = self._resolve([self._plan(source) for source in sources])
        results = self._fetch([plan.request for plan in plans if isinstance(plan, Plan)])
        return [self._draw(plan, results) if isinstance(plan, Plan) else self._alert(plan) for plan in plans]

    def prepare(self, sources: Sequence[Source]) -> None:
        """Compute what `render` will need, so that the blocks of many pages go through each model together."""
        plans = self._resolve([self._plan(source) for source in sources])
        self._fetch([plan.request for plan in plans if isinstance(plan, Plan)])

    def cached(self, sources: Sequence[Source]) -> bool:
        """Whether `render` would need no worker; if it would, one is started now, to be ready by then."""
        for source in sources:
            plan = self._plan(source)
            if isinstance(plan, Plan) and self._cached(plan.request) is None:
                self.worker.start()
                return False
        return True

    def close(self) -> None:
        self.worker.close()

    def _plan(self, source: Source) -> Plan | Alert:
        try:
            block = parse(source, OPTIONS)
            try:
                model = self._model(block)
            except BlockError as error:
                raise block.wrong("model", error.message) from None
        except BlockError as error:
            return Alert(source, error)
        inputs = {"text": block.text} | ({"text_pair": block.text_pair} if block.text_pair is not None else {})
        return Plan(source, block, Request(VIEWS[block.view].CAPTURE, model, inputs))

    def _model(self, block: Block) -> ModelRef:
        name = (block.model, block.revision)
        if name not in self._models:
            self._models[name] = resolve(*name, self.settings, self.base)
        return self._models[name]

    def _resolve(self, plans: Sequence[Plan | Alert]) -> list[Plan | Alert]:
        """Ask the hub for the commits of models this machine has never seen."""
        unknown = {
            plan.request.model for plan in plans if isinstance(plan, Plan) and plan.request.model.identity is None
        }
        answers: dict[ModelRef, ModelRef | str] = {}
        for model in sorted(unknown, key=str):
            self.log.info("looking up model %s on the hub", model.name)
            try:
                answers[model] = model.at_commit(self.worker.hub_commit(model))
            except ModelFailed as error:
                answers[model] = str(error)

        def known(plan: Plan | Alert) -> Plan | Alert:
            if isinstance(plan, Alert) or plan.request.model not in answers:
                return plan
            answer = answers[plan.request.model]
            if isinstance(answer, str):
                return Alert(plan.source, plan.block.wrong("model", answer))
            return replace(plan, request=replace(plan.request, model=answer))

        return [known(plan) for plan in plans]

    def _fetch(self, requests: Sequence[Request]) -> dict[str, Result]:
        """Results by key."""
        results: dict[str, Result] = {}
        missing: dict[str, Request] = {}
        for request in requests:
            key = cache.key(request.key_parts())
            start = time.perf_counter()
            entry = self._cached(request)
            if key in self._computed:
                results[key] = replace(self._computed[key], entry=entry)
            elif entry is None:
                missing.setdefault(key, request)
            else:
                results[key] = Result(entry, f"cached ({1000 * (time.perf_counter() - start):.1f} ms)")
        with Progress(len(missing), self.log) as progress:
            for group in _by_model(missing):
                for key, result in self._compute(group):
                    results[key] = result
                    self._computed[key] = replace(result, entry=None)
                    progress.advance()
        return results

    def _cached(self, request: Request) -> Entry | None:
        if request.model.identity is None:
            return None
        parts = request.key_parts()
        key = cache.key(parts)
        self.log.debug("key %s = %s", key, parts)
        return self.cache.get(key, parts)

    def _compute(self, group: Mapping[str, Request]) -> Iterator[tuple[str, Result]]:
        keys, requests = list(group), list(group.values())
        model = requests[0].model
        self.log.info("running model %s on %d text%s", model.name, len(group), "s" * (len(group) > 1))
        settings = self.settings
        waiting = set(keys)
        try:
            for answer in self.worker.capture(
                requests, device=settings.device, batch_size=settings.batch_size, max_tokens=settings.max_tokens
            ):
                key = keys[answer.index]
                waiting.remove(key)
                if isinstance(answer, Captured):
                    entry = self.cache.put(key, requests[answer.index].key_parts(), answer.entry)
                    yield key, Result(entry, f"computed ({answer.seconds:.2f} s)")
                else:
                    yield key, Result(None, answer.message)
        except ModelFailed as error:
            for key in waiting:
                yield key, Result(None, str(error), blame="model")

    def _draw(self, plan: Plan, results: Mapping[str, Result]) -> Rendered:
        result = results[cache.key(plan.request.key_parts())]
        try:
            if result.entry is None:
                raise plan.block.wrong(result.blame, result.note)
            self._check_length(plan.block, result.entry)
            drawing = VIEWS[plan.block.view].draw(plan.block, result.entry)
        except BlockError as error:
            return self._alert(Alert(plan.source, error))
        if self._first_time(plan.source):
            self.log.info(
                "%s: %s, %s view: %s", plan.source.where() or "block", plan.block.model, plan.block.view, result.note
            )
        return Figure(plan.block, drawing, result.entry)

    def _check_length(self, block: Block, entry: Entry) -> None:
        """The limit holds for what an earlier build has captured, too."""
        for sequence in entry.meta["sequences"].values():
            if len(sequence["tokens"]) > self.settings.max_tokens:
                raise block.wrong(
                    "text",
                    f"The text has {len(sequence['tokens'])} tokens; `max_tokens` is {self.settings.max_tokens}.",
                )

    def _alert(self, alert: Alert) -> Alert:
        if self._first_time(alert.source):
            self.log.warning(alert.message)
        return alert

    def _first_time(self, source: Source) -> bool:
        """A page may be filled more than once in a build (blog excerpts, print pages); each block is told once."""
        known = source.to_json() in self._told
        self._told.add(source.to_json())
        return not known


@dataclass(frozen=True)
class Plan:
    """A valid block and what it needs."""

    source: Source
    block: Block
    request: Request


def _by_model(requests: Mapping[str, Request]) -> list[dict[str, Request]]:
    """Requests that one loaded model and one capture can answer, in the order of their first."""
    groups: dict[tuple[object, ...], dict[str, Request]] = {}
    for key, request in requests.items():
        same = (request.capture, replace(request.model, name=""))
        groups.setdefault(same, {})[key] = request
    return list(groups.values())
