"""The worker process: reads jobs from its standard input, writes entries to its standard output, ends with its input.

The only module that is run by itself; `client` starts it and is its other end.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.models.client import read_message, write_message
from mkdocs_attnviz.models.reference import ModelRef
from mkdocs_attnviz.models.request import too_long

if TYPE_CHECKING:
    from mkdocs_attnviz.models.load import Loaded
    from mkdocs_attnviz.models.tokens import Tokens

KEPT = 2  # models that stay loaded under `serve`
MATRIX_BUDGET = 1 << 21  # tokens² of one batch: bounds a batch's memory as texts get longer


def main() -> None:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between our messages
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    serve(sys.stdin.buffer, output)


def serve(jobs: IO[bytes], output: IO[bytes]) -> None:
    """Answer jobs until the other end is closed."""
    shelf = Shelf()
    try:
        while True:
            job, _ = read_message(jobs)
            if job["op"] == "resolve":
                write_message(output, _resolve(shelf, job))
            else:
                for message, data in _capture(shelf, job):
                    write_message(output, message, data)
    except (EOFError, BrokenPipeError):
        return


class Shelf:
    """The models in memory, the one used last at the end. Imports torch when it is made."""

    def __init__(self) -> None:
        self.problem = ""
        self.loaded: OrderedDict[tuple[ModelRef, str], Loaded] = OrderedDict()
        try:
            self.load = _quiet_import()
        except ImportError as error:
            self.problem = (
                f"Running a model needs torch and transformers ({error}); "
                "install them with `pip install 'mkdocs-attnviz[torch]'`, or build where the cache is complete."
            )

    def get(self, ref: ModelRef, device: str) -> Loaded:
        key = (ref, device)
        if key not in self.loaded:
            while len(self.loaded) >= KEPT:
                self.loaded.popitem(last=False)
            self.loaded[key] = self.load.load(ref, device)
        self.loaded.move_to_end(key)
        return self.loaded[key]


def _quiet_import() -> ModuleType:
    load = importlib.import_module("mkdocs_attnviz.models.load")
    load.transformers.logging.set_verbosity_error()
    load.transformers.logging.disable_progress_bar()
    return load


def _resolve(shelf: Shelf, job: dict[str, Any]) -> dict[str, Any]:
    if shelf.problem:
        return {"error": shelf.problem}
    try:
        return {"commit": shelf.load.resolve_commit(ModelRef(**job["model"]))}
    except shelf.load.Unusable as error:
        return {"error": str(error)}


Message = tuple[dict[str, Any], bytes]


def _capture(shelf: Shelf, job: dict[str, Any]) -> Iterator[Message]:
    if shelf.problem:
        yield {"event": "failed", "error": shelf.problem}, b""
        return
    try:
        loaded = shelf.get(ModelRef(**job["model"]), job["device"])
        take = importlib.import_module(f"mkdocs_attnviz.models.{job['capture']}").capture
        texts: dict[int, Tokens] = {}
        for index, inputs in job["inputs"]:
            try:
                texts[index] = _tokenize(loaded, inputs, job["max_tokens"])
            except Exception as error:
                yield _refusal(index, error)
        for batch in _batches(texts, job["batch_size"]):
            yield from _run(loaded, take, batch, shelf.load.Unusable)
        yield {"event": "done"}, b""
    except shelf.load.Unusable as error:
        yield {"event": "failed", "error": str(error)}, b""


def _tokenize(loaded: Loaded, inputs: dict[str, str], max_tokens: int) -> Tokens:
    from mkdocs_attnviz.models.tokens import tokenize

    text = tokenize(loaded.tokenizer, inputs["text"], inputs.get("text_pair"))
    if problem := too_long(len(text.ids), max_tokens):
        raise ValueError(problem)
    if loaded.longest is not None and len(text.ids) > loaded.longest:
        raise ValueError(
            f"The text has {len(text.ids)} tokens; model {loaded.ref.name!r} reads at most {loaded.longest}."
        )
    return text


def _batches(texts: dict[int, Tokens], batch_size: int) -> Iterator[dict[int, Tokens]]:
    """Texts of like length together: padding is work for nothing."""
    batch: dict[int, Tokens] = {}
    for index, text in sorted(texts.items(), key=lambda item: len(item[1].ids)):
        full = len(batch) == batch_size or (len(batch) + 1) * len(text.ids) ** 2 > MATRIX_BUDGET
        if batch and full:
            yield batch
            batch = {}
        batch[index] = text
    if batch:
        yield batch


def _run(
    loaded: Loaded, take: Callable[..., list[Entry]], batch: dict[int, Tokens], unusable: type[Exception]
) -> Iterator[Message]:
    """One batch; its texts one by one where the model cannot be trusted with padding, or the batch fails."""
    indices = list(batch)
    if len(batch) > 1 and loaded.batches is False:
        for index in indices:
            yield from _run(loaded, take, {index: batch[index]}, unusable)
        return
    yield {"event": "running", "indices": indices}, b""
    start = time.perf_counter()
    try:
        entries = take(loaded, list(batch.values()))
        padded = len(batch[indices[0]].ids) < len(batch[indices[-1]].ids)
        if padded and loaded.batches is None:
            loaded.batches = _alike(entries[0], take(loaded, [batch[indices[0]]])[0])
            if not loaded.batches:
                yield from _run(loaded, take, batch, unusable)
                return
    except Exception as error:
        if isinstance(error, unusable):
            raise
        if len(batch) == 1:
            yield _refusal(indices[0], error)
            return
        for index in indices:
            yield from _run(loaded, take, {index: batch[index]}, unusable)
        return
    seconds = (time.perf_counter() - start) / len(batch)
    for index, entry in zip(indices, entries, strict=True):
        yield {"event": "captured", "index": index, "seconds": seconds}, entry.to_bytes()


def _alike(batched: Entry, single: Entry) -> bool:
    """Whether a batch's shortest text, the one padded most, came out as it does alone, to one step of 255."""
    return all(_largest_step(batched.blobs[name], blob) <= 1 for name, blob in single.blobs.items())


def _largest_step(one: bytes, other: bytes) -> int:
    import numpy as np

    first, second = (np.frombuffer(zlib.decompress(blob), np.uint8).astype(np.int16) for blob in (one, other))
    return int(np.abs(first - second).max(initial=0))


def _refusal(index: int, error: Exception) -> Message:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    message = (
        first if isinstance(error, ValueError) else f"The model failed on this text: {type(error).__name__}: {first}"
    )
    return {"event": "refused", "index": index, "error": message}, b""
