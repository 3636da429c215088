"""Runs of a capture over batches of texts: smaller ones if memory runs out, single texts if one of them fails.

This module needs no torch, since it gets the functions that run the model.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs_attnviz.block.problem import Problem, WrongValue, trace
from mkdocs_attnviz.cache.blobs import spooled
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import errors
from mkdocs_attnviz.models.errors import costs_a_text, panicked
from mkdocs_attnviz.models.inputs.batches import batches, length, most_padded

if TYPE_CHECKING:
    from mkdocs_attnviz.models.engine.loaded_models import LoadedModels
    from mkdocs_attnviz.models.inputs.tokens import Example
    from mkdocs_attnviz.models.loading.loaded import Loaded

BEYOND = re.compile(r"index (\d+ )?(is )?out of (range|bounds)|device-side assert", re.IGNORECASE)
Message = tuple[dict[str, Any], bytes]
"""A message to the build's end: an event, and an entry's bytes."""
RunCapture = Callable[["Loaded", Sequence["Example"]], Sequence[Entry]]
"""A capture with its parameters, as a function of a loaded model and examples."""


@dataclass(frozen=True)
class Failed:
    """A text or batch that failed. The exception is not stored, since its frames hold tensors."""

    problem: Problem
    memory: bool = False
    """True if memory ran out, so that a smaller batch may succeed."""


def run(kept: LoadedModels, loaded: Loaded, capture: RunCapture, batch: dict[int, Example]) -> Iterator[Message]:
    """Yield the messages of one batch; it is split if the model must not see padding, or if the batch fails.

    Raises:
        Unusable: the model fails for another reason than its texts.
    """
    indices = list(batch)
    if loaded.isolation.varies:
        loaded.batches = False
    if len(batch) > 1 and loaded.batches is False:
        for index in indices:
            yield from run(kept, loaded, capture, {index: batch[index]})
        return
    yield {"event": "running", "indices": indices}, b""
    start = time.perf_counter()
    outcome = _entries_of(kept, loaded, capture, batch)
    if outcome is None:
        yield from run(kept, loaded, capture, batch)
    elif isinstance(outcome, Failed):
        yield from _run_less(kept, loaded, capture, batch, outcome)
    else:
        seconds = (time.perf_counter() - start) / len(batch)
        for index, entry in zip(indices, outcome, strict=True):
            yield captured(index, entry, seconds, kept.folder)


def captured(index: int, entry: Entry, seconds: float, folder: str | None) -> Message:
    """Return the message of an entry that took some seconds. The blobs of a large entry go by a file in `folder`."""
    message = {"event": "captured", "index": index, "seconds": seconds}
    blobs = None if folder is None else spooled(entry.blobs, Path(folder))
    if blobs is None:
        return message, entry.to_bytes()
    places = [[name, place.start, place.size] for name, place in blobs.places.items()]
    return message | {"file": str(blobs.hand_over()), "blobs": places}, json.dumps(entry.meta).encode()


def _entries_of(
    kept: LoadedModels, loaded: Loaded, capture: RunCapture, batch: dict[int, Example]
) -> Sequence[Entry] | Failed | None:
    """Return a batch's entries; None if this model's texts turn out to need separate passes.

    Raises:
        Unusable: the model fails for another reason than its texts.
    """
    examples = list(batch.values())
    try:
        entries = capture(loaded, examples)
        if loaded.isolation.varies:
            loaded.batches = False
        if loaded.batches is None and "stacks" in entries[0].meta and (padded := most_padded(batch)) is not None:
            loaded.batches = _same_weights(entries[padded], capture(loaded, [examples[padded]])[0])
        return None if loaded.batches is False and len(batch) > 1 else entries
    except kept.load.Unusable:
        raise
    except BaseException as error:
        if not costs_a_text(error):
            raise
        return failure(kept, loaded, examples[-1], error)


def _run_less(
    kept: LoadedModels, loaded: Loaded, capture: RunCapture, batch: dict[int, Example], failed: Failed
) -> Iterator[Message]:
    """Run a failed batch again: in halves if memory ran out, otherwise text by text."""
    step = 1
    if failed.memory:
        kept.memory.free()
        if kept.keep_needed():  # the same batch may fit into the freed memory
            yield from run(kept, loaded, capture, batch)
            return
    if len(batch) == 1:
        yield refusal(next(iter(batch)), failed)
        return
    if failed.memory:
        step = (len(batch) + 1) // 2
        half = step * max(max(length(example)) for example in batch.values()) ** 2
        loaded.fits = min(half, loaded.fits or half)
    for part in batches(batch, step, loaded):
        yield from run(kept, loaded, capture, part)


def failure(kept: LoadedModels, loaded: Loaded, example: Example | None, error: BaseException) -> Failed:
    if kept.memory.ran_out(error):
        return Failed(Problem("text", "text", kept.memory.too_long(loaded, example, error), trace(error)), memory=True)
    return Failed(problem_of(error))


def _same_weights(batched: Entry, single: Entry) -> bool:
    """Return whether a padded text has the same weights in a batch as alone, within one step of 255."""
    weights = [f"{name}/{layer['layer']}" for name, stack in single.meta["stacks"].items() for layer in stack["layers"]]
    return all(_largest_step(batched.blobs[name], single.blobs[name]) <= 1 for name in weights)


def _largest_step(one: bytes, other: bytes) -> int:
    import numpy as np

    first, second = (np.frombuffer(zlib.decompress(blob), np.uint8).astype(np.int16) for blob in (one, other))
    return int(np.abs(first - second).max(initial=0))


def problem_of(error: BaseException) -> Problem:
    """Return the record of an exception that only one text causes; a traceback is added if the
    exception is unforeseen.
    """
    if isinstance(error, WrongValue):
        detail = "" if error.__cause__ is None else trace(error)
        return Problem("text", error.key, f"{errors.error_message(error, longest=2000)}.", detail)
    return Problem("text", "text", _unforeseen(error), trace(error))


def _unforeseen(error: BaseException) -> str:
    """Return a sentence about a library's exception, on one line and without the names of Python's classes."""
    cause = errors.blamed(error) or ("tokenizer" if panicked(error) else "model")
    message = errors.error_message(error)
    if BEYOND.search(message):
        return (
            f"The {cause} failed on this text: one of its tokens, or of their positions, is beyond what the model has "
            f"vectors for ({message})."
        )
    return f"The {cause} failed on this text: {message}."


def refusal(index: int, failed: Failed) -> Message:
    return {"event": "refused", "index": index, "problem": failed.problem.to_json()}, b""
