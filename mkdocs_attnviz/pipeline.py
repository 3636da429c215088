"""Blocks → figures: the whole program on one page.

    source ─ parse ─▶ block ─ plan ─▶ request ─ cache or worker ─▶ entry ─ view ─▶ drawing ─▶ figure

All blocks that are handed over together are planned together: each model is loaded once for them, and only for what
the cache does not hold. A block that fails becomes an alert; it costs no other block anything.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mkdocs_attnviz import cache
from mkdocs_attnviz.block import Block, BlockError, Source, parse
from mkdocs_attnviz.cache import Cache, Entry, Log
from mkdocs_attnviz.figure import Alert, Assets, Figure, Rendered, fill, sources
from mkdocs_attnviz.models.client import Captured, ModelFailed, Worker
from mkdocs_attnviz.models.reference import ModelRef, resolve
from mkdocs_attnviz.models.request import Request, too_long
from mkdocs_attnviz.progress import Progress
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS


@dataclass(frozen=True)
class Plan:
    """A valid block and what it needs."""

    source: Source
    block: Block
    request: Request


@dataclass(frozen=True)
class Outcome:
    """What came of a capture in this build."""

    seconds: float = 0.0
    error: str = ""
    """Why there is no entry."""
    blame: str = "text"
    """The key of the block that is at fault."""


class Pipeline:
    """The blocks of one site. `base` is the folder that relative directories start from."""

    def __init__(self, settings: Settings, base: Path, log: Log) -> None:
        self.settings, self.base, self.log = settings, base, log
        self.cache = Cache(base / os.path.expanduser(settings.cache_dir), log)  # noqa: PTH111 — pathlib's may raise
        self.worker = Worker()
        self._models: dict[tuple[str, str | None], ModelRef | str] = {}
        self._plans: dict[str, Plan | Alert] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._told: set[str] = set()

    def begin(self) -> None:
        """A new build: models may have changed since the last one, and everything is told again."""
        self._models.clear()
        self._plans.clear()
        self._outcomes.clear()
        self._told.clear()

    def render(self, sources: Sequence[Source]) -> list[Rendered]:
        """A figure or an alert for each source."""
        return [self._draw(plan) if isinstance(plan, Plan) else self._alert(plan) for plan in self.prepare(sources)]

    def fill(self, text: str, assets: Assets) -> str:
        """A page's HTML with all its waiting blocks drawn, planned together."""
        waiting = sources(text)
        if not waiting:
            return text
        rendered = dict(zip((source.to_json() for source in waiting), self.render(waiting), strict=True))
        return fill(text, lambda source: rendered[source.to_json()], assets, self._alert)

    def prepare(self, sources: Sequence[Source]) -> list[Plan | Alert]:
        """Compute what `render` will need, so that the blocks of many pages go through each model together.

        Raises nothing that is about one block: that becomes its alert.
        """
        plans = [self._plan(source) for source in sources]
        self._compute(plan.request for plan in plans if isinstance(plan, Plan) and not self._has(plan.request))
        return plans

    def cached(self, sources: Sequence[Source]) -> bool:
        """Whether `render` would need no worker; if it would, one is started now, to be ready by then."""
        plans = [self._plan(source, ask_hub=False) for source in sources]
        if all(isinstance(plan, Alert) or self._has(plan.request) for plan in plans):
            return True
        self.worker.start()
        return False

    def close(self) -> None:
        self.worker.close()

    def _plan(self, source: Source, *, ask_hub: bool = True) -> Plan | Alert:
        """The source's plan, made once a build; it is not settled while its model is to be looked up on the hub."""
        key = source.to_json()
        if key in self._plans:
            return self._plans[key]
        plan = self._new_plan(source, ask_hub)
        if isinstance(plan, Alert) or plan.request.model.identity is not None:
            self._plans[key] = plan
        return plan

    def _new_plan(self, source: Source, ask_hub: bool) -> Plan | Alert:
        try:
            block = parse(source, OPTIONS)
            model = self._model(block, ask_hub)
        except Exception as error:
            return Alert(source, self._own_fault(error))
        inputs = {"text": block.text} | ({"text_pair": block.text_pair} if block.text_pair is not None else {})
        return Plan(source, block, Request(VIEWS[block.view].CAPTURE, model, inputs))

    def _model(self, block: Block, ask_hub: bool) -> ModelRef:
        """The block's model, looked up once a build."""
        name = (block.model, block.revision)
        if name not in self._models:
            try:
                self._models[name] = resolve(*name, self.settings, self.base)
            except BlockError as error:
                self._models[name] = error.message
        known = self._models[name]
        if isinstance(known, ModelRef) and known.identity is None and ask_hub:
            known = self._models[name] = self._ask_hub(known)
        if isinstance(known, str):
            raise block.wrong("model", known)
        return known

    def _ask_hub(self, model: ModelRef) -> ModelRef | str:
        self.log.info("looking up model %s on the hub", model.name)
        try:
            return model.at_commit(self.worker.hub_commit(model))
        except ModelFailed as error:
            return str(error)

    def _has(self, request: Request) -> bool:
        return request.model.identity is not None and self.cache.has(cache.key(request.key_parts()))

    def _compute(self, requests: Iterable[Request]) -> None:
        """Fill the cache; what fails is remembered for the rest of the build."""
        missing = {cache.key(request.key_parts()): request for request in requests}
        missing = {key: request for key, request in missing.items() if key not in self._outcomes}
        with Progress(len(missing), self.log) as progress:
            for group in _by_model(missing):
                self._run(group, progress)

    def _run(self, group: Mapping[str, Request], progress: Progress) -> None:
        """Requests that one loaded model answers."""
        keys, requests, settings = list(group), list(group.values()), self.settings
        self.log.info("running model %s on %d text%s", requests[0].model.name, len(keys), "s" * (len(keys) > 1))
        try:
            for answer in self.worker.capture(
                requests, device=settings.device, batch_size=settings.batch_size, max_tokens=settings.max_tokens
            ):
                key = keys[answer.index]
                if isinstance(answer, Captured):
                    self.cache.put(key, requests[answer.index].key_parts(), answer.entry)
                    self._outcomes[key] = Outcome(answer.seconds)
                else:
                    self._outcomes[key] = Outcome(error=answer.message)
                progress.advance()
        except ModelFailed as error:
            for key in keys:
                self._outcomes.setdefault(key, Outcome(error=str(error), blame="model"))

    def _draw(self, plan: Plan) -> Rendered:
        try:
            entry, note = self._entry(plan)
            self._check_length(plan.block, entry)
            drawing = VIEWS[plan.block.view].draw(plan.block, entry)
        except Exception as error:
            return self._alert(Alert(plan.source, self._own_fault(error)))
        self._tell(plan, note)
        return Figure(plan.block, drawing, entry)

    def _entry(self, plan: Plan) -> tuple[Entry, str]:
        """The plan's entry and how it was come by; one that is damaged in the cache is computed here."""
        start = time.perf_counter()
        parts = plan.request.key_parts()
        key = cache.key(parts)
        self.log.debug("key %s = %s", key, parts)
        entry = self.cache.get(key, parts)
        if entry is None:
            self._compute([plan.request])
            entry = self.cache.get(key, parts)
        outcome = self._outcomes.get(key)
        if entry is None:
            outcome = outcome or Outcome(error="Its cache entry cannot be read.")
            raise plan.block.wrong(outcome.blame, outcome.error)
        cached = f"cached ({1000 * (time.perf_counter() - start):.1f} ms)"
        return entry, cached if outcome is None else f"computed ({outcome.seconds:.2f} s)"

    def _check_length(self, block: Block, entry: Entry) -> None:
        """The limit holds for what an earlier build has captured, too."""
        for sequence in entry.meta["sequences"].values():
            if problem := too_long(len(sequence["tokens"]), self.settings.max_tokens):
                raise block.wrong("text", problem)

    def _own_fault(self, error: Exception) -> BlockError:
        """What nobody foresaw costs one block, not the build."""
        if isinstance(error, BlockError):
            return error
        self.log.debug("%s", "".join(traceback.format_exception(error)))
        return BlockError(
            f"This is a fault of attnviz: {type(error).__name__}: {error}. `-v` shows more; please report it."
        )

    def _tell(self, plan: Plan, note: str) -> None:
        if self._first_time("drawn", plan.source):
            where, block = plan.source.where() or "block", plan.block
            self.log.info("%s: %s, %s view: %s", where, block.model, block.view, note)

    def _alert(self, alert: Alert) -> Alert:
        if self._first_time("alert", alert.source):
            self.log.warning(alert.message)
        return alert

    def _first_time(self, kind: str, source: Source) -> bool:
        """A page may be filled more than once in a build (blog excerpts, print pages); each block is told once."""
        text = kind + json.dumps([source.body, dict(source.header)])
        whole = kind + source.to_json()
        known = whole in self._told or (source.page is None and text in self._told)
        self._told |= {whole, text}
        return not known


def _by_model(requests: Mapping[str, Request]) -> list[dict[str, Request]]:
    """Requests that one loaded model and one capture can answer, in the order of their first."""
    groups: dict[tuple[object, ...], dict[str, Request]] = {}
    for key, request in requests.items():
        same = (request.capture, replace(request.model, name=""))
        groups.setdefault(same, {})[key] = request
    return list(groups.values())
