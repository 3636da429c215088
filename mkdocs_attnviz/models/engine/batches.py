"""Texts through a model in batches: in smaller ones where memory runs out, one by one where a text is at fault.

Free of torch itself: what runs the model is given.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mkdocs_attnviz.block.problem import Problem, WrongValue, trace
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import errors

if TYPE_CHECKING:
    from mkdocs_attnviz.models.engine.worker import Shelf
    from mkdocs_attnviz.models.inputs.tokens import Example
    from mkdocs_attnviz.models.loading.loaded import Loaded

MATRIX_BUDGET = 1 << 21  # tokens² of one batch: bounds a batch's memory as texts get longer
BEYOND = re.compile(r"index (\d+ )?(is )?out of (range|bounds)|device-side assert", re.IGNORECASE)
Message = tuple[dict[str, Any], bytes]
"""To the build's end: an event, and an entry's bytes."""
Take = Callable[["Loaded", Sequence["Example"]], Sequence[Entry]]
"""A capture with its parameters: of a loaded model and examples."""


def batches(examples: dict[int, Example], batch_size: int, loaded: Loaded) -> Iterator[dict[int, Example]]:
    """Texts of like length together: padding is work for nothing. No larger than what has turned out to fit."""
    batch: dict[int, Example] = {}
    longest = 0
    for index, example in sorted(examples.items(), key=lambda item: _length(item[1])):
        longest = max(longest, *_length(example))
        full = len(batch) == batch_size or (len(batch) + 1) * longest**2 > (loaded.fits or MATRIX_BUDGET)
        if batch and full:
            yield batch
            batch, longest = {}, max(_length(example))
        batch[index] = example
    if batch:
        yield batch


def _length(example: Example) -> tuple[int, int]:
    """Of its text and what is written, the longest where there are several."""
    several = [example, *example.more]
    return max(len(each.text.ids) for each in several), max(
        len(each.target.ids) if each.target else 0 for each in several
    )


@dataclass(frozen=True)
class Failed:
    """Why a text or a batch gave nothing. Not the exception itself, whose frames hold the tensors of the pass."""

    problem: Problem
    memory: bool = False
    """Whether it ran out: then less at a time may do."""


def run(shelf: Shelf, loaded: Loaded, take: Take, batch: dict[int, Example]) -> Iterator[Message]:
    """One batch; in parts where the model cannot be trusted with padding, or the batch fails.

    Raises:
        Unusable: it is not for its texts that the model fails.
    """
    indices = list(batch)
    if loaded.isolation.varies:
        loaded.batches = False
    if len(batch) > 1 and loaded.batches is False:
        for index in indices:
            yield from run(shelf, loaded, take, {index: batch[index]})
        return
    yield {"event": "running", "indices": indices}, b""
    start = time.perf_counter()
    made = _made(shelf, loaded, take, batch)
    if made is None:
        yield from run(shelf, loaded, take, batch)
    elif isinstance(made, Failed):
        yield from _run_less(shelf, loaded, take, batch, made)
    else:
        seconds = (time.perf_counter() - start) / len(batch)
        for index, entry in zip(indices, made, strict=True):
            entry = Entry({**entry.meta, "made_with": loaded.made_with}, entry.blobs)
            yield {"event": "captured", "index": index, "seconds": seconds}, entry.to_bytes()


def _made(shelf: Shelf, loaded: Loaded, take: Take, batch: dict[int, Example]) -> Sequence[Entry] | Failed | None:
    """A batch's entries; None if it turns out that this model's texts have to be run one by one.

    Raises:
        Unusable: as `run`.
    """
    examples = list(batch.values())
    try:
        entries = take(loaded, examples)
        if loaded.isolation.varies:
            loaded.batches = False
        if loaded.batches is None and "stacks" in entries[0].meta and (padded := _padded(batch)) is not None:
            loaded.batches = _alike(entries[padded], take(loaded, [examples[padded]])[0])
        return None if loaded.batches is False and len(batch) > 1 else entries
    except shelf.load.Unusable:
        raise
    except BaseException as error:
        if not costs_a_text(error):
            raise
        return failure(shelf, loaded, examples[-1], error)


def _run_less(shelf: Shelf, loaded: Loaded, take: Take, batch: dict[int, Example], failed: Failed) -> Iterator[Message]:
    """A batch that has failed: in halves where memory ran out, and halves of these; else one by one."""
    step = 1
    if failed.memory:
        shelf.memory.free()
        if shelf.keep_needed():  # with more memory than before it may do as it is
            yield from run(shelf, loaded, take, batch)
            return
    if len(batch) == 1:
        yield refusal(next(iter(batch)), failed)
        return
    if failed.memory:
        step = (len(batch) + 1) // 2
        half = step * max(max(_length(example)) for example in batch.values()) ** 2
        loaded.fits = min(half, loaded.fits or half)
    for part in batches(batch, step, loaded):
        yield from run(shelf, loaded, take, part)


def costs_a_text(error: BaseException) -> bool:
    """Whether one text is at fault, and the process is sound: also after a panic in Rust, which is no `Exception`."""
    return isinstance(error, Exception) or panicked(error)


def panicked(error: BaseException) -> bool:
    """Return whether the error is a panic in a library that is written in Rust, as tokenizers is."""
    return type(error).__name__ == "PanicException"


def failure(shelf: Shelf, loaded: Loaded, example: Example | None, error: BaseException) -> Failed:
    if shelf.memory.ran_out(error):
        return Failed(Problem("text", "text", shelf.memory.too_long(loaded, example, error), trace(error)), memory=True)
    return Failed(problem_of(error))


def _padded(batch: dict[int, Example]) -> int | None:
    """Which of a batch is padded most, on both sides of an encoder–decoder if any is; None if none is."""
    lengths = [_length(example) for example in batch.values()]
    most = [max(side) for side in zip(*lengths, strict=True)]
    padding = [[long - short for long, short in zip(most, each, strict=True)] for each in lengths]
    chosen = max(range(len(padding)), key=lambda number: (min(padding[number]), sum(padding[number])))
    return chosen if any(padding[chosen]) else None


def _alike(batched: Entry, single: Entry) -> bool:
    """Whether a batch's text that is padded most came out as it does alone, to one step of 255."""
    weights = [f"{name}/{layer['layer']}" for name, stack in single.meta["stacks"].items() for layer in stack["layers"]]
    return all(_largest_step(batched.blobs[name], single.blobs[name]) <= 1 for name in weights)


def _largest_step(one: bytes, other: bytes) -> int:
    import numpy as np

    first, second = (np.frombuffer(zlib.decompress(blob), np.uint8).astype(np.int16) for blob in (one, other))
    return int(np.abs(first - second).max(initial=0))


def problem_of(error: BaseException) -> Problem:
    """Return the record of an exception that one text costs; of one that nobody foresaw, with its traceback."""
    if isinstance(error, WrongValue):
        detail = "" if error.__cause__ is None else trace(error)
        return Problem("text", error.key, f"{errors.said(error, longest=2000)}.", detail)
    return Problem("text", "text", _unforeseen(error), trace(error))


def _unforeseen(error: BaseException) -> str:
    """Return what the exception of a library tells an author, in one line without the names of Python's classes."""
    cause = "tokenizer" if panicked(error) else "model"
    message = errors.said(error)
    if BEYOND.search(message):
        return (
            f"The {cause} failed on this text: one of its tokens, or of their positions, is beyond what the model has "
            f"vectors for ({message})."
        )
    return f"The {cause} failed on this text: {message}."


def refusal(index: int, failed: Failed) -> Message:
    return {"event": "refused", "index": index, "problem": failed.problem.to_json()}, b""
