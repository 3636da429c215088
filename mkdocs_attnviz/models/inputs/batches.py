"""Batches of texts of similar length. This module needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs_attnviz.models.inputs.tokens import Example
    from mkdocs_attnviz.models.loading.loaded import Loaded

MATRIX_BUDGET = 1 << 21  # tokens² of one batch: limits a batch's memory as texts get longer


def batches(examples: dict[int, Example], batch_size: int, loaded: Loaded) -> Iterator[dict[int, Example]]:
    """Yield batches of texts of similar length, since padding is wasted work.

    No batch is larger than what has fitted into memory so far.
    """
    batch: dict[int, Example] = {}
    longest = 0
    for index, example in sorted(examples.items(), key=lambda item: length(item[1])):
        longest = max(longest, *length(example))
        full = len(batch) == batch_size or (len(batch) + 1) * longest**2 > (loaded.fits or MATRIX_BUDGET)
        if batch and full:
            yield batch
            batch, longest = {}, max(length(example))
        batch[index] = example
    if batch:
        yield batch


def length(example: Example) -> tuple[int, int]:
    """Return the number of tokens of the text and of the target; the largest if there are several."""
    several = [example, *example.more]
    texts = max(len(part.text.ids) for part in several)
    return texts, max(len(part.target.ids) if part.target else 0 for part in several)


def most_padded(batch: dict[int, Example]) -> int | None:
    """Return the index of the text with most padding, or None if none has any.

    In an encoder–decoder, a text with padding on both sides comes first.
    """
    lengths = [length(example) for example in batch.values()]
    most = [max(side) for side in zip(*lengths, strict=True)]
    padding = [[long - short for long, short in zip(most, sides, strict=True)] for sides in lengths]
    chosen = max(range(len(padding)), key=lambda number: (min(padding[number]), sum(padding[number])))
    return chosen if any(padding[chosen]) else None
