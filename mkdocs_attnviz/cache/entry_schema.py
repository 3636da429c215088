"""The form that an entry must have before anything is made of it, and what its deflated parts may inflate to.

An entry's checksum tells that nothing has happened to it since it was written, not who wrote it. A header may say
anything: numbers of the wrong kind, a million heads, a layer whose bytes are not there. What is looked at here is
cheap: no part is inflated for it, since deflate makes nothing smaller than a thousandth.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

LARGEST = 1 << 30
"""Bytes of an entry; of a larger one no page can be made."""
LARGEST_LAYER = 1 << 28
"""Weights of one layer, as many as bytes; a browser holds a few of them."""
LARGEST_JSON = 32 << 20
"""Bytes that a deflated JSON text may inflate to."""
LARGEST_TABLE = 64 << 20
"""Bytes of a part whose size no header tells."""
DEFLATE = 1032
"""Bytes that one byte of a deflated stream stands for, at most."""

Count = Annotated[int, Field(ge=1, le=1 << 20)]
Number = Annotated[int, Field(ge=0, le=1 << 20)]


class _Strict(BaseModel):
    """Fields that an entry may have; what it has beside them is for the view that asks for it."""

    model_config = ConfigDict(strict=True, extra="ignore", defer_build=True)


class _Sequence(_Strict):
    tokens: Annotated[list[str], Field(max_length=1 << 20)]
    pretty: list[str] | None = None
    special: list[Number] | None = None
    words: list[Number | None] | None = None
    sentence_b_start: Number | None = None
    generated: Number | None = None


class _Neurons(_Strict):
    d: Count
    kv_heads: Annotated[int, Field(ge=1, le=1024)]
    scale: Annotated[float, Field(allow_inf_nan=False)]
    terms: Annotated[list[str], Field(max_length=64)]


class _Layer(_Strict):
    layer: Number
    heads: Annotated[int, Field(ge=1, le=1024)]
    values: bool = False
    rollout: bool = False
    neurons: _Neurons | None = None


class _Stack(_Strict):
    rows: str
    cols: str
    causal: bool
    layers: Annotated[list[_Layer], Field(min_length=1, max_length=4096)]


class _Meta(_Strict):
    sequences: dict[str, _Sequence] | None = None
    stacks: Annotated[dict[str, _Stack], Field(min_length=1)] | None = None
    made_with: dict[str, str] | None = None


def fault(meta: Mapping[str, Any], blobs: Mapping[str, bytes]) -> str:
    """Return what is wrong with an entry, to follow `it`; '' if nothing is, as far as that is seen from outside."""
    try:
        read = _Meta.model_validate(meta)
    except ValidationError as error:
        first = error.errors()[0]
        return f"has a header with a wrong `{'.'.join(map(str, first['loc']))}`"
    except RecursionError:
        return "has a header that is nested without end"
    for name, sequence in (read.sequences or {}).items():
        if not _fits(sequence):
            return f"has a header whose sequence {name!r:.60} does not fit its tokens"
    try:
        for blob, size in _sizes(read):
            if blob not in blobs:
                return f"lacks its part {blob!r:.60}"
            if len(blobs[blob]) * DEFLATE < size:
                return f"has a part {blob!r:.60} that cannot be of the size its header tells"
    except KeyError as error:
        return f"has a header that names the unknown sequence {error.args[0]!r:.60}"
    return "has more weights in a layer than a figure can show" if _too_large(read) else ""


def unusable(meta: Mapping[str, Any], blobs: Mapping[str, bytes]) -> str:
    """Return why no figure can be made of what was captured, as a sentence; '' if one can."""
    size = sum(map(len, blobs.values())) + LARGEST_JSON
    if size > LARGEST:
        return f"What was captured has {size >> 20} MB, and an entry can have {LARGEST >> 20} MB; use a shorter text."
    wrong = fault(meta, blobs)
    if not wrong:
        return ""
    with suppress(ValidationError, KeyError):
        if why := _too_large(_Meta.model_validate(meta)):
            return why
    return f"No figure can be made of what was captured: it {wrong}."


def _too_large(read: _Meta) -> str:
    for name, stack in (read.stacks or {}).items():
        rows, cols = _lengths(read, stack)
        for layer in stack.layers:
            if layer.heads * rows * cols > LARGEST_LAYER:
                return (
                    f"The attention of one layer ({name}) has {layer.heads} × {rows} × {cols} weights, and a figure "
                    f"can show {LARGEST_LAYER:,}; use a shorter text."
                )
    return ""


def _fits(sequence: _Sequence) -> bool:
    """Return whether what is said of tokens is said of these."""
    count = len(sequence.tokens)
    places = [*(sequence.special or ()), sequence.sentence_b_start or 0]
    alike = all(len(each) == count for each in (sequence.pretty, sequence.words) if each is not None)
    return alike and all(place < count for place in places) and (sequence.generated or 0) <= count


def _lengths(read: _Meta, stack: _Stack) -> tuple[int, int]:
    """Rows and columns. Raises: KeyError: there is no such sequence."""
    sequences = read.sequences or {}
    return len(sequences[stack.rows].tokens), len(sequences[stack.cols].tokens)


def _sizes(read: _Meta) -> Iterator[tuple[str, int]]:
    """Yield each part of attention, by its name, and its inflated size in bytes. Raises: KeyError: as `_lengths`."""
    for name, stack in (read.stacks or {}).items():
        rows, cols = _lengths(read, stack)
        for layer in stack.layers:
            blob, heads = f"{name}/{layer.layer}", layer.heads
            yield blob, heads * rows * cols
            if layer.values:
                yield f"{blob}/values", heads * (4 + 2 * cols)
            if layer.rollout:
                yield f"{blob}/rollout", rows * rows
            if layer.neurons is not None:
                yield f"{blob}/q", heads * layer.neurons.d * (4 + 2 * rows)
                yield f"{blob}/k", layer.neurons.kv_heads * layer.neurons.d * (4 + 2 * cols)
                yield from (
                    (f"{blob}/term/{n}", heads * (4 + 2 * rows * cols)) for n in range(len(layer.neurons.terms))
                )


def inflated(blob: bytes, size: int, *, most: bool = False) -> bytes:
    """Return the `size` bytes that a deflated part holds; with `most`, up to so many.

    Raises:
        ValueError: it holds others, or is no deflated part.
    """
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(blob, size + 1)
    except zlib.error:
        raise ValueError("A part of the entry is not deflated.") from None
    if len(content) > size or not stream.eof or stream.unused_data or (len(content) < size and not most):
        raise ValueError(f"A part of the entry does not hold {'up to ' * most}{size} bytes.")
    return content
