"""The entries that the figures of one build are drawn from: read from the cache, or computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mkdocs_attnviz.block.problem import Problem, trace
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import unusable
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.log import MORE, Log
from mkdocs_attnviz.models.engine.client import Captured, Engine, EngineFailed, Worker, by_model
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.progress import Progress
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.speed import Work, tokens_of

FORBIDDEN = "`on_missing` forbids to run its model here"
"""The usual reason why a missing entry is not computed."""


@dataclass(frozen=True)
class Outcome:
    """The result of a capture in this build."""

    seconds: float = 0.0
    """The time that the capture took."""
    problem: Problem | None = None
    """The reason why there is no entry, or None."""
    fetched: bool = False
    """True if the entry came from the shared cache."""


class Entries:
    """The entries that a build needs, and the outcomes of those that the cache did not have.

    `fatal` makes a host's own error from a sentence. `command` is the command that computes missing entries on a
    machine that can run models, and `why_not_run` the reason why this build computes none, if it does not. Entries that
    `earlier` builds could not compute are not tried again.
    """

    def __init__(
        self,
        settings: Settings,
        cache: Cache,
        engine: Engine,
        worker: Worker,
        log: Log,
        *,
        fatal: Callable[[str], BaseException],
        command: str,
        why_not_run: str,
        earlier: Mapping[str, Outcome],
    ) -> None:
        self.settings, self.cache, self.engine, self.worker, self.log = settings, cache, engine, worker, log
        self.fatal, self.command, self.why_not_run = fatal, command, why_not_run
        self.outcomes: dict[str, Outcome] = {key: each for key, each in earlier.items() if each.problem is not None}
        """The outcome of each capture in this build, by the entry's key."""
        self.fresh: set[str] = set()
        """The keys of computed entries whose models are not in the lock file yet."""

    def has(self, request: Request) -> bool:
        """Return whether the cache has this entry, without checking whether it is damaged."""
        return request.known and self.cache.has(request.key)

    def compute(self, requests: Iterable[Request], *, fetch: bool = True) -> None:
        """Fetch missing entries from the shared cache, and compute the rest. Failures are remembered until the build
        ends."""
        missing = {request.key: request for request in requests}
        missing = {key: request for key, request in missing.items() if key not in self.outcomes}
        fetched = self.cache.fetch({key: request.key_parts for key, request in missing.items()}) if fetch else set()
        self.outcomes |= dict.fromkeys(fetched, Outcome(fetched=True))
        missing = {key: request for key, request in missing.items() if key not in fetched}
        if self.settings.on_missing == "run":
            try:
                self._run(missing)
            except EngineFailed as error:
                self.log.log(MORE, "%s", trace(error))
                raise self.fatal(str(error)) from None
        else:
            why = (
                f"The cache does not hold this figure's tensors, and {self.why_not_run}; where it can run, compute it "
                f"with `{self.command}`."
            )
            self.outcomes |= dict.fromkeys(missing, Outcome(problem=Problem("missing", "view", why)))

    def compute_anew(self, requests: Sequence[Request]) -> bool:
        """Compute entries again that are intact but cannot be drawn, unless this build has computed them itself. Return
        whether there were any."""
        foreign = [request for request in requests if (it := self.outcomes.get(request.key)) is None or it.fetched]
        for request in foreign:
            self.cache.discard(request.key)
            self.outcomes.pop(request.key, None)
        self.compute(foreign, fetch=False)
        return bool(foreign)

    def whole(self, request: Request) -> Entry | None:
        """Return the request's entry. A damaged or missing one is fetched or computed again."""
        entry = self.cache.get(request.key, request.key_parts)
        if entry is None:
            outcome = self.outcomes.get(request.key)
            if outcome is not None and outcome.problem is None:  # the entry has disappeared since it was written
                del self.outcomes[request.key]
            self.compute([request])
            entry = self.cache.get(request.key, request.key_parts)
        return entry

    def _run(self, missing: Mapping[str, Request]) -> None:
        """Compute entries, and store them in the cache."""
        missing = self._present(missing)
        keys, requests, settings = list(missing), list(missing.values()), self.settings
        for group in by_model(requests):
            self._announce(next(iter(group.values())), len(group))
        with Progress([_work(request) for request in requests], self.log) as progress:
            self.worker.tell = progress.say
            answers = self.engine.capture(
                requests, device=settings.device, batch_size=settings.batch_size, max_tokens=settings.max_tokens
            )
            for answer in answers:
                key = keys[answer.index]
                if isinstance(answer, Captured) and (wrong := unusable(answer.entry.meta, answer.entry.blobs)):
                    self.outcomes[key] = Outcome(problem=Problem("text", "text", wrong))
                elif isinstance(answer, Captured):
                    self.cache.put(key, requests[answer.index].key_parts, answer.entry)
                    self.outcomes[key] = Outcome(answer.seconds)
                    self.fresh.add(key)
                else:
                    self.outcomes[key] = Outcome(problem=answer.problem)
                if isinstance(answer, Captured):
                    progress.advance(answer.index, tokens_of(answer.entry.meta), answer.seconds)
                else:
                    progress.advance(answer.index)

    def _present(self, missing: Mapping[str, Request]) -> dict[str, Request]:
        """Return the requests whose models can run here. The others get their outcome now."""
        present: dict[str, Request] = {}
        for key, request in missing.items():
            named = zip(("model", "other"), request.models, strict=False)
            absent = [Problem("model", name, model.absent) for name, model in named if model.absent]
            if absent:
                self.outcomes[key] = Outcome(problem=absent[0])
            else:
                present[key] = request
        return present

    def _announce(self, request: Request, texts: int) -> None:
        """Log which model runs on how many texts."""
        names = " and ".join(model.name for model in request.models)
        if request.capture.reads_file:
            self.log.info("reading %s", names)
        else:
            what = "model" if request.other is None else "models"
            self.log.info("running %s %s on %d text%s", what, names, texts, "s" * (texts > 1))


def _work(request: Request) -> Work:
    """Return a request as work whose speed is measured."""
    corpus = request.inputs.get("corpus")
    texts = [text["text"] for text in corpus["texts"]] if corpus else map(str, request.inputs.values())
    return Work(" and ".join(model.path for model in request.models), sum(map(len, texts)))
