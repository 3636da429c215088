"""The way from blocks to figures: the whole program on one page.

source ─ parse ─▶ block ─ plan ─▶ request ─ cache or worker ─▶ entry ─ view ─▶ drawing ─▶ figure

All blocks that are passed together are planned together: each model is loaded once for them, and only for entries that
the cache does not have. A block that fails becomes an alert; it never affects other blocks.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mkdocs_attnviz import byte_sizes
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import BlockError, Problem, trace
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.blobs import sizes
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry, signing_key
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.cache.lock import Lock
from mkdocs_attnviz.cache.store import Store
from mkdocs_attnviz.cache.token_version import outdated
from mkdocs_attnviz.corpora import Corpora
from mkdocs_attnviz.entries import FORBIDDEN, Entries, Outcome
from mkdocs_attnviz.figure.alert import Alert, Warned
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.page import fill
from mkdocs_attnviz.figure.placeholders import sources
from mkdocs_attnviz.figure.rendered import Rendered
from mkdocs_attnviz.log import MORE, Log
from mkdocs_attnviz.models.engine.client import Engine
from mkdocs_attnviz.models.engine.inline import local_worker
from mkdocs_attnviz.models.engine.registry import Registry
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.errors import too_long
from mkdocs_attnviz.publishing import without_folders
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import VIEWS, block_of, state
from mkdocs_attnviz.views.claims import check_grammar, judge
from mkdocs_attnviz.views.drawing import room, with_short_tokens

HEAVY = 2_000_000
"""The number of bytes of data above which a figure is heavy: more than most whole pages have."""
HEAVIEST = 5
"""The number of heavy figures that a build names."""
GONE = Problem("fault", "", "Its cache entry was written and is gone again, twice in this build.")


class Missing(Exception):
    """An error that says which entries the cache lacks: the message names each block and the command that helps."""


@dataclass(frozen=True)
class Plan:
    """A valid block and the entries that it needs."""

    source: Source
    block: Block
    request: Request | None
    """The block's own request, or None if it is drawn from a key of its own, without a model."""
    before: Request | None = None
    """The request without the block's interventions, to compare with, or None."""
    entry: Entry | None = None
    """The entry of a block without a request."""

    @property
    def requests(self) -> list[Request]:
        """All requests of the block, its own first."""
        return [request for request in (self.request, self.before) if request is not None]

    @property
    def known(self) -> bool:
        """True if all models have an identity."""
        return all(request.known for request in self.requests)


class Pipeline:
    """The objects that all builds of one site share. `base` is the folder that relative directories start from.

    `warn` is called with each block that cannot be drawn, and each claim that does not hold; without it, `log` gets a
    warning with page and line. `fatal`
    makes a host's own error from a sentence. `command` is the command that computes missing entries on a machine that
    can run models. `engine` runs models and belongs to the caller; without it, a process on this machine runs them.
    With `update`, hubs are asked where their branches are now. With `in_page`, data are counted as they are inside a
    page, and not as files. `more` is the option that shows tracebacks, as it begins a sentence. `why_not_run` is the
    reason that authors read if `on_missing` is not `run`.
    """

    def __init__(
        self,
        settings: Settings,
        base: Path,
        log: Log,
        warn: Callable[[Warned], None] | None = None,
        *,
        fatal: Callable[[str], BaseException] = Missing,
        command: str = "attnviz run",
        engine: Engine | None = None,
        update: bool = False,
        in_page: bool = False,
        more: str = "`-v`",
        why_not_run: str = FORBIDDEN,
    ) -> None:
        self.settings, self.base, self.log, self.fatal, self.command = settings, base, log, fatal, command
        self.in_page, self.more, self.why_not_run = in_page, more, why_not_run
        self.warn = warn or (lambda warned: log.warning(warned.message))
        store = Store(settings.cache_url, log) if settings.cache_url else None
        try:
            key = signing_key(os.environ)
            self.worker = local_worker(settings.timeout, os.environ)
        except ValueError as error:
            raise fatal(str(error)) from None
        folder, push = _below(base, settings.cache_dir), settings.cache_push
        self.cache = Cache(folder, log, store, push=push, signing_key=key, outdated=outdated)
        self.lock = Lock(_below(base, settings.lock_file), log)
        self.engine: Engine = engine or self.worker
        self.worker.folder = self.engine.folder = folder
        self.registry = Registry(settings, base, self.lock, self.worker, log, update=update)

    @contextmanager
    def build(self, *, after: Build | None = None, warm: bool = False) -> Iterator[Build]:
        """Begin a build, which ends with the context. Blocks can only be planned or drawn in a build.

        Models may have changed since the last build, so the lock file is read again, and all messages are logged again.
        Failed blocks are tried again, unless they failed in `after`, a build that this one continues. A `warm` build
        leaves the worker process for the next one.
        """
        self.registry.begin(goes_on=after is not None)
        self.cache.begin()
        build = Build(self, after)
        try:
            yield build
        finally:
            build.end()
            self.lock.save()
            if not warm:
                self.close()

    def close(self) -> None:
        """End the worker process."""
        self.worker.close()


class Build:
    """One build of a site, begun and ended by `Pipeline.build`."""

    def __init__(self, pipeline: Pipeline, after: Build | None = None) -> None:
        """Begin a build. `after` is an earlier build whose failures are not tried again."""
        self.pipeline, self.command, self.fatal, self.more = pipeline, pipeline.command, pipeline.fatal, pipeline.more
        self.settings, self.base, self.log, self.warn = pipeline.settings, pipeline.base, pipeline.log, pipeline.warn
        self.cache, self.lock, self.registry = pipeline.cache, pipeline.lock, pipeline.registry
        self.worker, self.engine = pipeline.worker, pipeline.engine
        self._plans: dict[str, Plan | Alert] = {}
        self._corpora = Corpora(self.settings, self.base)
        self.entries: Entries = Entries(
            self.settings,
            self.cache,
            self.engine,
            self.worker,
            self.log,
            fatal=self.fatal,
            command=self.command,
            why_not_run=pipeline.why_not_run,
            earlier={} if after is None else after.entries.outcomes,
        )
        self._logged: set[str] = set()
        """The messages that were logged already."""
        self.alerts: list[Alert] = []
        """The blocks that could not be drawn in this build, each once."""
        self._heavy: dict[str, int] = {}
        """The sizes in the site of figures that are heavy, by the place of their block."""
        self.failed_claims: list[Warned] = []
        """The claims that do not hold in this build, each once."""
        self._ended = False

    def end(self) -> None:
        """End the build: from now on nothing can be planned."""
        self.tell_heaviest()
        self._ended = True

    def tell_heaviest(self) -> None:
        """Log which figures add most to the site, once, if any figure is heavy. It is no warning: a strict build may
        have heavy figures."""
        heaviest = sorted(self._heavy.items(), key=lambda each: -each[1])
        if heaviest:
            figures = ", ".join(f"{where} ({byte_sizes.shown(size)})" for where, size in heaviest[:HEAVIEST])
            total = byte_sizes.shown(sum(self._heavy.values()))
            count = f"{len(heaviest)} heavy figure{'s' * (len(heaviest) > 1)}, {total} of the site"
            self.log.info("%s: %s. `size` in a block, or `max_figure_size`, limits a figure.", count, figures)
            self._heavy.clear()

    def render(self, sources: Sequence[Source]) -> list[Rendered]:
        """Return a figure or an alert for each source."""
        return [self._draw(plan) if isinstance(plan, Plan) else self._alert(plan) for plan in self.prepare(sources)]

    def fill(self, text: str, assets: Assets) -> str:
        """Return a page's HTML with figures in place of its placeholders, all planned together."""
        waiting = sources(text)
        if not waiting:
            return text
        rendered = dict(zip((source.to_json() for source in waiting), self.render(waiting), strict=True))
        return fill(text, lambda source: rendered[source.to_json()], assets, self.failed)

    def prepare(self, sources: Sequence[Source]) -> list[Plan | Alert]:
        """Compute everything that `render` will need, so that the blocks of many pages go through each model together.

        A problem of one block raises no error; it becomes that block's alert.

        Raises:
            Missing or the error that `fatal` makes: if the cache lacks an entry and `on_missing` is `error`.
        """
        plans = [self._plan(source) for source in sources]
        valid = [plan for plan in plans if isinstance(plan, Plan)]
        self.entries.compute(request for plan in valid for request in plan.requests if not self.entries.has(request))
        if self.settings.on_missing == "run":
            self._record(valid)
        if self.settings.on_missing == "error":
            self._demand(plans)
        return plans

    def keys(self, sources: Sequence[Source]) -> list[str | None]:
        """Return the cache key of each figure, or None if it cannot be drawn. Missing entries are computed.

        For a figure that is drawn from two entries, both keys are joined by a space.
        """
        plans = self.prepare(sources)
        return [
            " ".join(request.key for request in plan.requests)
            if isinstance(plan, Plan) and all(map(self.entries.has, plan.requests))
            else None
            for plan in plans
        ]

    def cached(self, sources: Sequence[Source]) -> bool:
        """Return whether `render` would need no worker. If it would, start the worker now, so that it is ready by
        then."""
        plans = [self._plan(source, ask_hub=False) for source in sources]
        if all(isinstance(plan, Alert) or all(map(self.entries.has, plan.requests)) for plan in plans):
            return True
        if self.settings.on_missing == "run" and self.engine is self.worker and self.cache.store is None:
            self.worker.start()
        return False

    def plan(self, source: Source) -> Plan | Alert:
        """Return what the block needs, or an alert. Nothing is computed; a hub is asked only if `on_missing` allows
        it."""
        return self._plan(source)

    def figure(self, plan: Plan, entries: Sequence[Entry]) -> Figure:
        """Return the block's figure, drawn from the entries of its requests.

        Raises:
            BlockError: if the block asks for something that the entries do not have.
            DamagedEntry: if no figure can be made of the entries.
        """
        try:
            for entry in entries:
                self._check_length(plan.block, entry)
            entries = [with_short_tokens(entry) for entry in entries]
            view = VIEWS[plan.block.view]
            drawings = [view.drawing(plan.block, entry) for entry in entries]
            if plan.block.state is not None:
                state.check_key(plan.block, entries[0])
            before = next(zip(drawings[1:], entries[1:], strict=True), None)
            claims = tuple(judge(plan.block, view, entries))
            figure = Figure(plan.block, drawings[0], entries[0], before, claims, self.pipeline.in_page)
            figure.check_scripts()
            return figure
        except BlockError:
            raise
        except Exception as error:
            raise DamagedEntry(str(error)) from error

    def failed(self, source: Source, error: BaseException) -> Alert:
        """Report that drawing a block has raised `error`, and return the alert for its place."""
        return self._alert(Alert(source, self._own_fault(error)))

    def wrong_state(self, sources: Iterable[Source], id: str, state_of_link: str) -> str:
        """Return what is wrong with the state of a link `#id~state` to a page with these blocks; empty if no fault is
        known."""
        said = (self._wrong_state(source, id, state_of_link) for source in sources)
        return next((each for each in said if each is not None), "")

    def _wrong_state(self, source: Source, id: str, state_of_link: str) -> str | None:
        """Return what is wrong with the state of a link to a block's figure; empty if nothing is. Return None if the id
        belongs to another block."""
        plan = self._plan(source)
        if isinstance(plan, Alert):
            return "" if f"id: {id}" in source.body else None
        if plan.block.id != id:
            return None
        entry = plan.entry
        if plan.request is not None and plan.request.known:
            entry = self.cache.get(plan.request.key, plan.request.key_parts)
        if entry is None:
            return ""
        try:
            state.check(state_of_link, plan.block, entry)
        except BlockError as error:
            return error.message
        return ""

    def outcome(self, source: Source) -> Outcome | None:
        """Return the outcome of the block's capture in this build, or None if its entry was in the cache already or it
        has no model."""
        plan = self._plan(source)
        if isinstance(plan, Alert):
            return None
        outcomes = [self.entries.outcomes.get(request.key) for request in plan.requests]
        return next((outcome for outcome in outcomes if outcome is not None), None)

    def _demand(self, plans: Sequence[Plan | Alert]) -> None:
        """Raise an error if an entry is missing.

        Raises:
            Missing or the error that `fatal` makes: if an entry is missing.
        """
        lacking = [plan for plan in plans if self._lacks(plan)]
        if lacking:
            where = "".join(f"\n  {_described(plan)}" for plan in lacking)
            raise self.fatal(
                f"The cache does not hold the tensors of {len(lacking)} figure{'s' * (len(lacking) > 1)}, and "
                f"`on_missing` is `error`. Compute them where the model can run: {self.command}{where}"
            )

    def _lacks(self, plan: Plan | Alert) -> bool:
        """Return whether there is no intact entry to draw from. Errors in the block itself do not count."""
        if isinstance(plan, Alert):
            return plan.error.problem.kind == "missing"
        return any(self.entries.whole(request) is None for request in plan.requests)

    def _record(self, plans: Iterable[Plan]) -> None:
        """Record the models of the figures in the lock file."""
        for request in (request for plan in plans for request in plan.requests):
            wanted = any(map(self.registry.wants, request.models)) or request.key in self.entries.fresh
            entry = self.cache.get(request.key, request.key_parts) if wanted else None
            if entry is not None:
                for model in request.models:
                    self.registry.record(model, entry.meta.get("made_with", {}))
        self.entries.fresh.clear()
        self.lock.save()

    def _plan(self, source: Source, *, ask_hub: bool = True) -> Plan | Alert:
        """Return the source's plan, which is made once in a build. It is not kept while a model must still be looked up
        on the hub."""
        if self._ended:
            raise RuntimeError("This build has ended; another one begins with `Pipeline.build`.")
        key = source.to_json()
        if key in self._plans:
            return self._plans[key]
        plan = self._new_plan(source, ask_hub)
        if isinstance(plan, Alert) or plan.known:
            self._plans[key] = plan
        return plan

    def _new_plan(self, source: Source, ask_hub: bool) -> Plan | Alert:
        """Return a new plan for the source, or an alert."""
        try:
            return self._made_plan(source, ask_hub)
        except Exception as error:
            return Alert(source, self._own_fault(error))

    def _made_plan(self, source: Source, ask_hub: bool) -> Plan:
        """Raises: whatever the block, its view or its model is wrong with."""
        block = block_of(source)
        size = self.settings.max_figure_size if block.size is None else block.size
        block = block.model_copy(update={"size": size, "room": room(size, in_page=self.pipeline.in_page)})
        view = VIEWS[block.view]
        check_grammar(block, view)
        own = view.own_entry(block)
        if own is not None:
            return Plan(source, block, None, entry=own)
        model, *others = self.registry.get(block, ask_hub=ask_hub)
        limit = self.settings.max_entry_size
        if block.tensors is not None:
            capture = view.capture_of(block)
            _, parameters = view.asked(block) if view.file_capture else ({}, {})
            return Plan(source, block, Request(capture, model, block.inputs, parameters, entry_size=limit))
        inputs, parameters = view.asked(block)
        inputs |= self._corpora.inputs(block)
        other = others[0] if others else None
        request = Request(view.capture_of(block), model, inputs, parameters, block.changes, other, limit)
        return Plan(source, block, request, request.without_interventions() if block.changes else None)

    def _draw(self, plan: Plan) -> Rendered:
        """Return the figure of a plan, or an alert."""
        try:
            entries = self._entries(plan)
            try:
                figure = self.figure(plan, [entry for entry, _ in entries])
            except DamagedEntry as error:
                entries = self._computed_anew(plan, error)
                figure = self.figure(plan, [entry for entry, _ in entries])
        except DamagedEntry as error:
            return self.failed(plan.source, error.__cause__ or error)
        except Exception as error:
            return self.failed(plan.source, error)
        self._tell(plan, entries[0][1])
        self._tell_reduced(plan, figure.entry)
        self._weigh(plan, figure)
        self._warn_of_claims(plan, figure)
        return figure

    def _entries(self, plan: Plan) -> list[tuple[Entry, str]]:
        """Return the entries of a plan, and how each was obtained.

        Raises:
            BlockError: if there is none.
        """
        own = [] if plan.entry is None else [(plan.entry, "as it stands")]
        return own + [self._entry(plan.block, request) for request in plan.requests]

    def _computed_anew(self, plan: Plan, error: DamagedEntry) -> list[tuple[Entry, str]]:
        """Return entries computed again, in place of intact ones that cannot be drawn.

        Raises:
            DamagedEntry: if this build has computed them itself.
            BlockError: if they cannot be computed here.
        """
        if not self.entries.compute_anew(plan.requests):
            raise error
        return [self._entry(plan.block, request) for request in plan.requests]

    def _entry(self, block: Block, request: Request) -> tuple[Entry, str]:
        """Return the request's entry, and how it was obtained. An entry that is damaged in the cache is computed again.

        Raises:
            BlockError: if there is no entry.
        """
        start = time.perf_counter()
        self.log.debug("key %s = %s", request.key, request.key_parts)
        entry = self.entries.whole(request)
        outcome = self.entries.outcomes.get(request.key)
        if entry is None:
            raise block.told(_placed(block, (outcome and outcome.problem) or GONE))
        if outcome is not None and not outcome.fetched:
            return entry, f"computed ({outcome.seconds:.2f} s)"
        return entry, f"{'cached' if outcome is None else 'fetched'} ({1000 * (time.perf_counter() - start):.1f} ms)"

    def _check_length(self, block: Block, entry: Entry) -> None:
        """Check the limit of tokens, which also holds for entries of earlier builds.

        Raises:
            BlockError: if the text is too long.
        """
        for name, sequence in entry.meta.get("sequences", {}).items():
            tokens = len(sequence["tokens"]) - name.endswith("+sink")  # a sink is not a token of the text
            if problem := too_long(tokens, self.settings.max_tokens):
                raise block.wrong("text", problem)

    def _own_fault(self, error: BaseException) -> BlockError:
        """Return any error as a BlockError, so that an unexpected error affects one block and not the whole build."""
        if isinstance(error, BlockError):
            return error
        why = f"This is a fault of attnviz: {type(error).__name__}: {error}."
        advice = f"{self.more} shows more; please report it."
        return BlockError(Problem("fault", "", why, trace(error), advice))

    def _tell(self, plan: Plan, note: str) -> None:
        """Log how a figure was obtained."""
        if self._first_time("drawn", plan.source):
            where, block = plan.source.where() or "block", plan.block
            self.log.info("%s: %s, %s view: %s", where, block.names, block.view, note)

    def _tell_reduced(self, plan: Plan, entry: Entry) -> None:
        """Log once that a figure's entry does not have all weights, and how it would."""
        if "reduced" in entry.meta and plan.request is not None and self._first_time("reduced", plan.source):
            self.log.info(
                "%s: its cache entry was reduced to at most %s. To keep all weights, set `max_entry_size` higher, "
                "remove %s and run again.",
                plan.source.where() or "block",
                byte_sizes.shown(entry.meta["reduced"]),
                self.cache.path(plan.request.key),
            )

    def _weigh(self, plan: Plan, figure: Figure) -> None:
        """Remember the size in the site of a figure that is heavy. Most entries are too small to have such a figure."""
        entries = [figure.entry] if figure.before is None else [figure.entry, figure.before[1]]
        if sum(sum(sizes(entry.blobs).values()) for entry in entries) > HEAVY and figure.blob_size > HEAVY:
            self._heavy[plan.source.where() or f"block {len(self._heavy) + 1}"] = figure.site_size

    def _warn_of_claims(self, plan: Plan, figure: Figure) -> None:
        """Report each claim of a figure that does not hold, once."""
        warnings = [Warned(plan.source, each.warning(plan.block)) for each in figure.claims if not each.holds]
        if warnings and self._first_time("claims", plan.source):
            self.failed_claims += warnings
            for warned in warnings:
                self.warn(warned)

    def _alert(self, alert: Alert) -> Alert:
        """Report an alert once, and return it as it may be published."""
        published = without_folders(alert.error.message, self.base, alert.source.to_json())
        alert = replace(alert, published=published)
        if self._first_time("alert", alert.source):
            self.alerts.append(alert)
            self.warn(alert)
            if detail := alert.error.problem.detail:
                self.log.log(MORE, "%s:\n%s", alert.source.where() or "the block", detail)
        return alert

    def _first_time(self, kind: str, source: Source) -> bool:
        """Return whether the block is reported for the first time. A page may be filled more than once in a build (blog
        excerpts, print pages)."""
        text = kind + json.dumps([source.body, dict(source.header)])
        whole = kind + source.to_json()
        known = whole in self._logged or (source.page is None and text in self._logged)
        self._logged |= {whole, text}
        return not known


def _placed(block: Block, problem: Problem) -> Problem:
    """Return the problem with a key that is in the block."""
    if block.tensors is not None:
        return replace(problem, key="tensors")
    key = "text" if block.corpus is None else "corpus"
    return replace(problem, key=key) if problem.kind == "text" and problem.key not in block.lines else problem


def _described(plan: Plan | Alert) -> str:
    """Return the place of a block and its models, for a list of blocks."""
    if isinstance(plan, Alert):
        return plan.message
    where = plan.source.where() or "a block"
    return f"{where}: {plan.block.names}, {plan.block.view} view"


def _below(base: Path, path: str) -> Path:
    """Return a path that is relative to `base`, with `~` expanded."""
    return base / os.path.expanduser(path)  # noqa: PTH111 — pathlib's may raise
