"""The worker process: reads jobs from its standard input, writes entries to its standard output, ends with its input.

The only module that is run by itself; `client` starts it and is its other end.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from mkdocs_attnviz.block.problem import Problem, trace
from mkdocs_attnviz.models import errors
from mkdocs_attnviz.models.engine import capture as captures
from mkdocs_attnviz.models.engine.batches import (
    Failed,
    Message,
    Take,
    batches,
    costs_a_text,
    failure,
    problem_of,
    refusal,
    run,
)
from mkdocs_attnviz.models.engine.capture import TENSORS
from mkdocs_attnviz.models.engine.client import read_message, write_message
from mkdocs_attnviz.models.engine.downloads import Tell, loading
from mkdocs_attnviz.models.engine.environment import knowing
from mkdocs_attnviz.models.engine.watchdog import ends_with_build
from mkdocs_attnviz.models.identity.reference import ModelRef

if TYPE_CHECKING:
    from mkdocs_attnviz.cache.entry import Entry
    from mkdocs_attnviz.models.inputs.tokens import Example
    from mkdocs_attnviz.models.loading.loaded import Loaded

KEPT = 2  # models that stay loaded under `serve`; as many as one job may need


def main() -> None:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between our messages
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with ends_with_build(sys.stdin.fileno()):
        serve(sys.stdin.buffer, output)


def serve(jobs: IO[bytes], output: IO[bytes]) -> None:
    """Answer jobs until the other end is closed. The hub is asked without torch, if nothing has needed that yet."""
    shelf: Shelf | None = None
    try:
        while True:
            job, _ = read_message(jobs)
            with knowing(job.pop("secrets", {})):
                if job["op"] == "resolve":
                    write_message(output, resolve(job))
                    continue
                shelf = shelf or Shelf(functools.partial(write_message, output))
                if job["op"] == "capture":  # else `warm`, which is no more than that
                    for message, data in capture(shelf, job):
                        write_message(output, message, data)
    except (EOFError, BrokenPipeError):
        return


class Copy(NamedTuple):
    """A model as it is in memory."""

    ref: ModelRef
    device: str
    head: bool
    """Whether with the head that it was trained with."""
    apart: bool
    """Whether it is a second one of its kind, beside one that is changed."""


class Shelf:
    """The models in memory, the one used last at the end. Imports torch when it is made."""

    def __init__(self, tell: Tell = lambda _: None) -> None:
        self.tell = tell
        self.problem: Problem | None = None
        """Why no model can run here."""
        self.loaded: OrderedDict[Copy, Loaded] = OrderedDict()
        self.needed: list[Copy] = []
        """By the job at hand."""
        try:
            self.load = _quiet_import()
            self.memory = importlib.import_module("mkdocs_attnviz.models.loading.memory")
        except ImportError as error:
            why = (
                f"Running a model needs torch and transformers ({error}); "
                "install them with `pip install 'mkdocs-attnviz[torch]'`, or build where the cache is complete."
            )
            self.problem = Problem("model", "model", why, trace(error))
        except Exception as error:  # of whatever library they load
            why = f"Running a model needs torch and transformers, which cannot be imported ({errors.said(error)})."
            self.problem = Problem("model", "model", why, trace(error))

    def get(
        self, refs: Mapping[str, ModelRef], device: str, *, head: bool, attention: bool, changed: bool
    ) -> dict[str, Loaded]:
        """The models of a job by the keys that name them, all in memory at once; with their heads, or without.

        `attention` tells whether they must have some, `changed` whether the block's own is to be changed while it runs:
        one that is compared with itself is then there twice.

        Raises:
            Unusable: with the key of the one that is at fault.
        """
        found: dict[str, Loaded] = {}
        self.needed = []
        for key in sorted(refs, key=lambda key: bool(refs[key].device_map)):  # which takes all memory that is left
            apart = changed and key != "model" and refs[key] == refs["model"]
            try:
                found[key] = self._get(Copy(refs[key], device, head, apart), attention)
            except self.load.Unusable as error:
                error.key = key
                if found and isinstance(error, self.load.TooLarge):
                    there = ", ".join(repr(loaded.ref.name) for loaded in found.values())
                    both = f"Models that are compared are in memory together, and {there} is there already."
                    error.args = (f"{error} {both}",)
                raise
        return found

    def _get(self, copy: Copy, attention: bool) -> Loaded:
        """Raises: Unusable."""
        self.needed.append(copy)
        if attention and copy in self.loaded:
            self.load.check_attention(copy.ref.name, self.loaded[copy].model.config)
        if copy not in self.loaded:
            spare = [each for each in self.loaded if each not in self.needed]
            if spare and len(self.loaded) >= KEPT:
                del self.loaded[spare[0]]
                self.memory.free()
            if copy.ref.device_map:  # which is made for the memory that is free
                self.keep_needed()
            try:
                self._load(copy, attention)
            except self.load.TooLarge:
                if all(each in self.needed for each in self.loaded):
                    raise
        if copy not in self.loaded:  # it does not fit beside others
            self.keep_needed()
            self._load(copy, attention)
        self.loaded.move_to_end(copy)
        return self.loaded[copy]

    def _load(self, copy: Copy, attention: bool) -> None:
        """Raises: Unusable."""
        source = replace(copy.ref.base or copy.ref, name=copy.ref.name)  # of an adapter, what may have to be downloaded
        with loading(source, self.tell):
            self.loaded[copy] = self.load.load(copy.ref, copy.device, head=copy.head, attention=attention)

    def keep_needed(self) -> bool:
        """Give back the memory of what the job at hand does not use; whether there was any."""
        others = [copy for copy in self.loaded if copy not in self.needed]
        for copy in others:
            del self.loaded[copy]
        if others:
            self.memory.free()
        return bool(others)


def _quiet_import() -> ModuleType:
    load = importlib.import_module("mkdocs_attnviz.models.loading.load")
    load.transformers.logging.set_verbosity_error()
    load.transformers.logging.disable_progress_bar()
    return load


def resolve(job: dict[str, Any]) -> dict[str, Any]:
    """Return the commit of a hub's model, or the problem with it. Needs huggingface_hub alone."""
    ref = ModelRef.from_dict(job["model"])
    try:
        hub = importlib.import_module("mkdocs_attnviz.models.identity.hub")
    except ImportError as error:
        why = (
            f"Model {ref.name!r} has to be looked up on the hub, which needs huggingface_hub ({error}); "
            "install it with `pip install huggingface_hub`, or give the model's commit as `revision`."
        )
        return {"problem": Problem("model", "model", why, trace(error)).to_json()}
    try:
        return {"commit": hub.resolve_commit(ref)}
    except hub.NoCommit as error:
        return {"problem": Problem("model", "model", str(error), trace(error)).to_json()}


def capture(shelf: Shelf, job: dict[str, Any]) -> Iterator[Message]:
    """Yield all that there is to say about a `capture_job`; the last is `done` or `failed`."""
    if shelf.problem:
        yield _failed(shelf.problem)
        return
    if job["capture"] == TENSORS.name:
        yield from _read(job)
        return
    models: Mapping[str, Loaded] = {}
    try:
        capture = captures.function(job["run"])
    except Exception as error:
        yield _failed(Problem("model", "view", f"{errors.said(error)}.", trace(error)))
        return
    try:
        refs = {key: ModelRef.from_dict(model) for key, model in job["models"].items()}
        needs = {name: job[name] for name in ("head", "attention")}
        models = shelf.get(refs, job["device"], **needs, changed=bool(job["interventions"]))
        context = importlib.import_module("mkdocs_attnviz.models.captures.context").Context

        def take(loaded: Loaded, examples: Sequence[Example]) -> Sequence[Entry]:
            return capture(context(loaded, examples, job["parameters"], models.get("other")))

        yield from _captured(shelf, models, take, job)
        yield {"event": "done"}, b""
    except shelf.load.Unusable as error:
        yield _failed(error.problem, loaded=bool(models) or isinstance(error, shelf.load.Lacking))
    except BaseException as error:
        if not costs_a_text(error):
            raise
        name = job["models"]["model"]["name"]
        why = f"Model {name!r} cannot be used: a library that reads it failed ({errors.said(error)})."
        yield _failed(Problem("model", "model", why, trace(error)), loaded=bool(models))


def _failed(problem: Problem, *, loaded: bool = False) -> Message:
    """The job's end: nothing more is answered of it. `loaded` tells that its models are, and may do for others."""
    return {"event": "failed", "problem": problem.to_json(), "loaded": loaded}, b""


def _captured(shelf: Shelf, models: Mapping[str, Loaded], take: Take, job: dict[str, Any]) -> Iterator[Message]:
    """With the job's interventions at work in the block's own model. Raises: Unusable."""
    loaded = models["model"]
    indices = [index for index, _ in job["inputs"]]
    with contextlib.ExitStack() as stack:
        if job["interventions"]:
            intervening = importlib.import_module("mkdocs_attnviz.models.probing.interventions").intervening
            yield {"event": "running", "indices": indices[:1]}, b""  # on that, to find heads and neurons
            try:
                stack.enter_context(intervening(loaded, job["interventions"], (inputs for _, inputs in job["inputs"])))
            except shelf.load.Unusable:
                raise
            except BaseException as error:
                if not costs_a_text(error):
                    raise
                failed = failure(shelf, loaded, None, error)
                yield from (refusal(index, failed) for index in indices)
                return
        yield from _answers(shelf, models, take, job)


def _answers(shelf: Shelf, models: Mapping[str, Loaded], take: Take, job: dict[str, Any]) -> Iterator[Message]:
    """Raises: Unusable."""
    loaded, other = models["model"], models.get("other")
    read = importlib.import_module("mkdocs_attnviz.models.inputs.examples").example
    examples: dict[int, Example] = {}
    for index, inputs in job["inputs"]:
        yield {"event": "running", "indices": [index]}, b""  # a tokenizer may fail in ways that end this process
        try:
            examples[index] = read(loaded, inputs, job["max_tokens"], other)
        except BaseException as error:
            if not costs_a_text(error):
                raise
            failed = failure(shelf, loaded, None, error)
        else:
            continue
        if failed.memory:
            shelf.memory.free()
        yield refusal(index, failed)
    for batch in batches(examples, job["batch_size"], loaded):
        yield from run(shelf, loaded, take, batch)


def _read(job: dict[str, Any]) -> Iterator[Message]:
    """An author's own file, which needs no model; several views of it are one input."""
    from mkdocs_attnviz.models.captures.tensors import capture_file

    for index, _ in job["inputs"]:
        start = time.perf_counter()
        yield {"event": "running", "indices": [index]}, b""
        try:
            entry = capture_file(Path(job["models"]["model"]["path"]))
        except BaseException as error:
            if not costs_a_text(error):
                raise
            yield refusal(index, Failed(problem_of(error)))
        else:
            yield {"event": "captured", "index": index, "seconds": time.perf_counter() - start}, entry.to_bytes()
    yield {"event": "done"}, b""
