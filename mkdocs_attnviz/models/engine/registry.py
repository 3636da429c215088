"""The models of one build, each looked up once: on this machine, in the lock file, on the hub."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.fields import Block, Named
from mkdocs_attnviz.block.problem import BlockError, Problem
from mkdocs_attnviz.cache.lock import Lock
from mkdocs_attnviz.log import Log
from mkdocs_attnviz.models.engine.client import ModelFailed, Worker
from mkdocs_attnviz.models.identity.reference import ModelRef, resolve, resolve_tensors
from mkdocs_attnviz.settings import Settings


class Registry:
    """A registry of the models of one build.

    With `update`, hubs are asked for their branches' current commits, and the lock file is updated.
    """

    def __init__(
        self, settings: Settings, base: Path, lock: Lock, worker: Worker, log: Log, *, update: bool = False
    ) -> None:
        self.settings, self.base, self.log = settings, base, log
        self.lock, self.worker, self.update = lock, worker, update
        self._known: dict[tuple[str, str, str | None, str], ModelRef | BlockError] = {}
        """Looked-up models by key (`model` or `tensors`), name, revision and the words for the revision in messages."""
        self._not_on_hub: dict[ModelRef, BlockError] = {}
        """Errors of models that hubs do not know, or that could not be looked up there."""

    def begin(self, *, goes_on: bool = False) -> None:
        """Forget what was looked up, since directories and branches may have changed since the last build.

        In a build that continues another (`goes_on`), hubs are not asked again about models they did not know.
        """
        self._known.clear()
        if not goes_on:
            self._not_on_hub.clear()
        self.lock.read()

    def get(self, block: Block, *, ask_hub: bool) -> list[ModelRef]:
        """Return the block's models, in block order.

        With `ask_hub`, every model has an identity; without, it is None for a model that only the hub can identify.

        Raises:
            BlockError: there is no such model, or it cannot be identified here.
        """
        return [self._get(block, named, ask_hub) for named in block.models]

    def _get(self, block: Block, named: Named, ask_hub: bool) -> ModelRef:
        called = named.revision_key if named.revision is not None else "revision"
        place = ("tensors" if named.key == "tensors" else "model", named.name, named.revision, f"`{called}`")
        if place not in self._known:
            self._known[place] = self._look_up(*place)
        known = self._known[place]
        if isinstance(known, ModelRef) and known.identity is None and ask_hub:
            known = self._known[place] = self._ask_hub(known)
        if isinstance(known, BlockError):
            problem = known.problem
            raise block.told(replace(problem, key=named.revision_key if problem.key == "revision" else named.key))
        return known

    def wants(self, model: ModelRef) -> bool:
        """Return whether the lock file lacks the model or its base, or has another identity for it."""
        known = [(self.lock.get(part.reference), part.identity) for part in model.parts]
        return any(locked is None or locked.identity != identity for locked, identity in known)

    def record(self, model: ModelRef, made_with: Mapping[str, str]) -> None:
        """Record in the lock file that figures of this build are drawn from the model."""
        for part in model.parts:
            if part.identity is not None:
                self.lock.record(part.reference, part.identity, made_with)

    def _look_up(self, key: str, name: str, revision: str | None, revision_called: str) -> ModelRef | BlockError:
        locked = {reference: known.identity for reference, known in self.lock.known.items()}
        try:
            if key == "tensors":
                ref = resolve_tensors(name, self.settings, self.base, locked)
            else:
                how: dict[str, Any] = {"update": self.update, "revision_called": revision_called}
                ref = resolve(name, revision, self.settings, self.base, locked, **how)
        except BlockError as error:
            return error
        for part in ref.parts:
            if part.moved:
                self.lock.moves(part.reference, part.moved)
        return ref

    def _ask_hub(self, model: ModelRef) -> ModelRef | BlockError:
        if model.base is not None:  # only the base's commit is unknown
            base = self._ask_hub(model.base)
            return base if isinstance(base, BlockError) else model.over(base)
        alias = self._nearest_alias(model.name)
        if self.settings.on_missing != "run":
            hint = f" (did you mean the alias `{alias}`?)" if alias else ""
            unknown = f"No commit of model {model.name!r} is known here{hint}."
            forbidden = f"`on_missing` forbids to ask the hub for one. {self._no_folder(model)}"
            return BlockError(Problem("missing", "model", unknown, advice=forbidden))
        if model in self._not_on_hub:
            return self._not_on_hub[model]
        self.log.info("looking up model %s on the hub", model.name)
        try:
            return model.at_commit(self.worker.hub_commit(model))
        except ModelFailed as error:
            hint = f" Did you mean the alias `{alias}`?" if alias else ""
            failed = BlockError(replace(error.problem, advice=f"{self._no_folder(model)}{hint}"))
            self._not_on_hub[model] = failed
            return failed

    def _no_folder(self, model: ModelRef) -> str:
        """Return a sentence that names the site's folder: in a monorepo, the author may mean the folder of another
        site.
        """
        return f"There is no directory {model.path!r} in {self.base.resolve().name!r}, where directories start from."

    def _nearest_alias(self, name: str) -> str | None:
        """Return the site's alias that `name` may be a misspelling of, or None."""
        aliases = {alias.lower(): alias for alias in self.settings.models}
        if name in self.settings.models:
            return None
        return next((aliases[near] for near in difflib.get_close_matches(name.lower(), aliases, n=1)), None)
