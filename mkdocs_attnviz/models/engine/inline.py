"""The worker's code in the build's own process, for a debugger: `ATTNVIZ_WORKER=inline`.

It is what the worker process does, in the same order, from the same jobs: only the pipe is missing. What a process of
its own is for is missing, too: a crash ends the build, no time limit holds, and a model's own code sees the whole
environment.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs_attnviz.block.problem import Problem
from mkdocs_attnviz.models.engine.client import ModelFailed, Worker
from mkdocs_attnviz.models.identity.reference import ModelRef

CHOICE = "ATTNVIZ_WORKER"
"""The variable that says where models run: `inline`, or left out, in a process of their own."""


def local_worker(timeout: float, environment: Mapping[str, str]) -> Worker:
    """Return what runs models on this machine.

    Raises:
        ValueError: the environment asks for something else than there is.
    """
    choice = environment.get(CHOICE, "")
    if choice not in ("", "inline"):
        raise ValueError(f"The variable {CHOICE} is {choice!r}; it must be inline, or not be set.")
    return InlineWorker(timeout) if choice else Worker(timeout)


class InlineWorker(Worker):
    """A worker that is no process. Its models stay in memory until it is closed."""

    shelf: Any = None
    """The models in memory, once the first was needed."""

    def start(self) -> None:
        """Start nothing: nobody could do something else meanwhile."""

    def close(self) -> None:
        """Forget the models."""
        self.shelf = None

    def hub_commit(self, model: ModelRef) -> str:
        """Ask the hub, as `Worker.hub_commit`.

        Raises:
            ModelFailed: there is no such model or revision, or the hub cannot be reached.
        """
        answer = _end().resolve({"model": model.to_dict()})
        if "problem" in answer:
            raise ModelFailed(Problem.from_json(answer["problem"]))
        return str(answer["commit"])

    def messages(self, job: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield all that the worker's code says about a `capture_job`, but for notes on how far it is."""
        self.shelf = self.shelf or _end().Shelf(self.note)
        yield from _end().capture(self.shelf, json.loads(json.dumps(job)))  # as it comes through a pipe


def _end() -> Any:
    """The worker's end of the pipe, which imports torch when it is first asked for a model."""
    return importlib.import_module("mkdocs_attnviz.models.engine.worker")
