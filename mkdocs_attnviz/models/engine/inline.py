"""The worker's code in the build's own process, for a debugger: `ATTNVIZ_WORKER=inline`.

It runs the same code in the same order from the same jobs; only the pipe is missing. So the protection of a separate
process is missing, too: a crash ends the build, no time limit holds, and a model's own code sees the whole environment.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs_attnviz.block.problem import Problem
from mkdocs_attnviz.models.engine.client import ModelFailed, Worker
from mkdocs_attnviz.models.identity.reference import ModelRef

CHOICE = "ATTNVIZ_WORKER"
"""The variable that chooses where models run: `inline`, or unset for a separate process."""


def local_worker(timeout: float, environment: Mapping[str, str]) -> Worker:
    """Return the worker that runs models on this machine.

    Raises:
        ValueError: the variable has any other value.
    """
    choice = environment.get(CHOICE, "")
    if choice not in ("", "inline"):
        raise ValueError(f"The variable {CHOICE} is {choice!r}; it must be inline, or not be set.")
    return InlineWorker(timeout) if choice else Worker(timeout)


class InlineWorker(Worker):
    """A worker without a process. Its models stay in memory until it is closed."""

    kept: Any = None
    """The models in memory; None until the first is needed."""

    def start(self) -> None:
        """Do nothing: in the same process, nothing could be done meanwhile."""

    def close(self) -> None:
        """Forget the models."""
        self.kept = None

    def hub_commit(self, model: ModelRef) -> str:
        """Return the commit of a model, by asking the hub.

        Raises:
            ModelFailed: there is no such model or revision, or the hub cannot be reached.
        """
        answer = _end().resolve({"model": model.to_dict()})
        if "problem" in answer:
            raise ModelFailed(Problem.from_json(answer["problem"]))
        return str(answer["commit"])

    def messages(self, job: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield all messages of the worker's code about a `capture_job`, except notes on its progress."""
        self.kept = self.kept or _end().LoadedModels(self.note)
        job = job | {"folder": str(self.folder or tempfile.gettempdir())}
        yield from _end().capture(self.kept, json.loads(json.dumps(job)))  # in the form that it has after a pipe


def _end() -> Any:
    """Return the worker's end of the pipe, which imports torch once a model is needed."""
    return importlib.import_module("mkdocs_attnviz.models.engine.worker")
