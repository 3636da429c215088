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
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

from mkdocs_attnviz.models.batches import Failed, Message, Take, batches, failure, refusal, run, said
from mkdocs_attnviz.models.client import read_message, write_message
from mkdocs_attnviz.models.reference import ModelRef
from mkdocs_attnviz.models.request import TENSORS

if TYPE_CHECKING:
    from mkdocs_attnviz.models.load import Loaded
    from mkdocs_attnviz.models.tokens import Example

KEPT = 2  # models that stay loaded under `serve`


def main() -> None:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between our messages
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    serve(sys.stdin.buffer, output)


def serve(jobs: IO[bytes], output: IO[bytes]) -> None:
    """Answer jobs until the other end is closed. The hub is asked without torch, if nothing has needed that yet."""
    shelf: Shelf | None = None
    try:
        while True:
            job, _ = read_message(jobs)
            if job["op"] == "resolve":
                write_message(output, _resolve(job))
                continue
            shelf = shelf or Shelf()
            if job["op"] == "capture":  # else `warm`, which is no more than that
                for message, data in _capture(shelf, job):
                    write_message(output, message, data)
    except (EOFError, BrokenPipeError):
        return


class Shelf:
    """The models in memory, the one used last at the end. Imports torch when it is made."""

    def __init__(self) -> None:
        self.problem = ""
        self.loaded: OrderedDict[tuple[ModelRef, str, bool], Loaded] = OrderedDict()
        try:
            self.load = _quiet_import()
            self.memory = importlib.import_module("mkdocs_attnviz.models.memory")
        except ImportError as error:
            self.problem = (
                f"Running a model needs torch and transformers ({error}); "
                "install them with `pip install 'mkdocs-attnviz[torch]'`, or build where the cache is complete."
            )

    def get(self, ref: ModelRef, device: str, *, head: bool, attention: bool) -> Loaded:
        """The model with its head, or without; `attention` tells whether it must have some. Raises: Unusable."""
        key = (ref, device, head)
        if key in self.loaded and attention:
            self.load.check_attention(ref.name, self.loaded[key].model.config)
        if key not in self.loaded:
            if len(self.loaded) >= KEPT:
                self.loaded.popitem(last=False)
                self.memory.free()
            if ref.device_map:  # which is made for the memory that is free
                self.keep_only(None)
            try:
                self.loaded[key] = self.load.load(ref, device, head=head, attention=attention)
            except self.load.TooLarge:
                if not self.loaded:
                    raise
        if key not in self.loaded:  # it does not fit beside others
            self.keep_only(None)
            self.loaded[key] = self.load.load(ref, device, head=head, attention=attention)
        self.loaded.move_to_end(key)
        return self.loaded[key]

    def keep_only(self, kept: Loaded | None) -> bool:
        """Give back the memory of the others; whether there were any."""
        others = [key for key, loaded in self.loaded.items() if loaded is not kept]
        for key in others:
            del self.loaded[key]
        if others:
            self.memory.free()
        return bool(others)


def _quiet_import() -> ModuleType:
    load = importlib.import_module("mkdocs_attnviz.models.load")
    load.transformers.logging.set_verbosity_error()
    load.transformers.logging.disable_progress_bar()
    return load


def _resolve(job: dict[str, Any]) -> dict[str, Any]:
    """Needs huggingface_hub alone."""
    ref = ModelRef(**job["model"])
    try:
        hub = importlib.import_module("mkdocs_attnviz.models.hub")
    except ImportError as error:
        return {
            "error": f"Model {ref.name!r} has to be looked up on the hub, which needs huggingface_hub ({error}); "
            "install it with `pip install huggingface_hub`, or give the model's commit as `revision`."
        }
    try:
        return {"commit": hub.resolve_commit(ref)}
    except hub.NoCommit as error:
        return {"error": str(error)}


def _capture(shelf: Shelf, job: dict[str, Any]) -> Iterator[Message]:
    if shelf.problem:
        yield {"event": "failed", "error": shelf.problem}, b""
        return
    if job["capture"] == TENSORS.name:
        yield from _read(job)
        return
    try:
        loaded = shelf.get(ModelRef(**job["model"]), job["device"], head=job["head"], attention=job["attention"])
        take = importlib.import_module(f"mkdocs_attnviz.models.{job['capture']}").capture
        if job["parameters"]:
            take = functools.partial(take, parameters=job["parameters"])
        yield from _captured(shelf, loaded, take, job)
        yield {"event": "done"}, b""
    except shelf.load.Unusable as error:
        yield {"event": "failed", "error": str(error)}, b""


def _captured(shelf: Shelf, loaded: Loaded, take: Take, job: dict[str, Any]) -> Iterator[Message]:
    """With the job's interventions at work in the model. Raises: Unusable."""
    indices = [index for index, _ in job["inputs"]]
    with contextlib.ExitStack() as stack:
        if job["interventions"]:
            intervening = importlib.import_module("mkdocs_attnviz.models.interventions").intervening
            yield {"event": "running", "indices": indices[:1]}, b""  # on that, to find heads and neurons
            try:
                stack.enter_context(intervening(loaded, job["interventions"], (inputs for _, inputs in job["inputs"])))
            except shelf.load.Unusable:
                raise
            except Exception as error:
                failed = failure(shelf, loaded, None, error)
                yield from (refusal(index, failed) for index in indices)
                return
        yield from _answers(shelf, loaded, take, job)


def _answers(shelf: Shelf, loaded: Loaded, take: Take, job: dict[str, Any]) -> Iterator[Message]:
    """Raises: Unusable."""
    read = importlib.import_module("mkdocs_attnviz.models.inputs").example
    examples: dict[int, Example] = {}
    for index, inputs in job["inputs"]:
        if loaded.encoder_decoder or "generate" in inputs:  # which may run the model: for what it writes
            yield {"event": "running", "indices": [index]}, b""
        try:
            examples[index] = read(loaded, inputs, job["max_tokens"])
        except Exception as error:
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
    from mkdocs_attnviz.models.tensors import capture_file

    for index, _ in job["inputs"]:
        start = time.perf_counter()
        yield {"event": "running", "indices": [index]}, b""
        try:
            entry = capture_file(Path(job["model"]["path"]))
        except Exception as error:
            yield refusal(index, Failed(said(error)))
        else:
            yield {"event": "captured", "index": index, "seconds": time.perf_counter() - start}, entry.to_bytes()
    yield {"event": "done"}, b""
