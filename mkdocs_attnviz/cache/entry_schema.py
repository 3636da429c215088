"""A check of the form of an entry and of the size of its blobs, made before anything is drawn from it.

A checksum proves that an entry has not changed since it was written. It does not prove who wrote it. A header may
contain anything: numbers of the wrong type, a million heads, a layer whose bytes are missing. This check is cheap,
because it inflates no blob: deflate never makes data smaller than about a thousandth.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mkdocs_attnviz.cache.blobs import sizes
from mkdocs_attnviz.weight_rounding import UNIT

LARGEST = 1 << 30
"""The largest size of an entry in bytes. A page cannot show a larger one."""
LARGEST_LAYER = 1 << 28
"""The largest number of weights in one layer, each of one byte. A browser keeps a few layers in memory."""
LARGEST_JSON = 32 << 20
"""The largest size in bytes of an inflated JSON text."""
LARGEST_TABLE = 64 << 20
"""The largest inflated size in bytes of a blob whose size is not given in the header."""
GROUPS = (1, 1, 2, 4, 8)
"""The number of weights of each row in each group of a layer's strongest weights."""
MOST_TABLES = 16
"""The largest number of tables whose shares a layer has."""
DEFLATE = 1032
"""The largest number of bytes that one byte of a deflated stream can stand for."""

Count = Annotated[int, Field(ge=1, le=1 << 20)]
Number = Annotated[int, Field(ge=0, le=1 << 20)]


class _Strict(BaseModel):
    """A part of the header that is checked strictly. The views check any other fields that they use."""

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
    kv_heads: Annotated[int, Field(ge=1, le=1024)] | None = None
    values: bool = False
    rollout: bool = False
    rounding: Annotated[int, Field(ge=0, le=UNIT)] = 0
    neurons: _Neurons | None = None
    strongest: Annotated[list[list[float]], Field(max_length=len(GROUPS))] | None = None
    tables: Annotated[list[list[float]], Field(max_length=MOST_TABLES)] | None = None
    kept: list[float] | None = None
    reduced: float | Literal["strongest"] | None = None

    @model_validator(mode="after")
    def _check_shares(self) -> _Layer:
        shares = [*(self.strongest or ()), *(self.tables or ()), *([] if self.kept is None else [self.kept])]
        if any(len(each) != self.heads for each in shares) or (self.reduced == "strongest" and not self.strongest):
            raise ValueError("there must be a share for each head")
        return self


class _Stack(_Strict):
    rows: str
    cols: str
    causal: bool
    layers: Annotated[list[_Layer], Field(min_length=1, max_length=4096)]


class _Meta(_Strict):
    sequences: dict[str, _Sequence] | None = None
    stacks: Annotated[dict[str, _Stack], Field(min_length=1)] | None = None
    made_with: dict[str, str] | None = None
    reduced: int | None = None


def fault(meta: Mapping[str, Any], blobs: Mapping[str, bytes]) -> str:
    """Return what is wrong with an entry, as a phrase that follows `it`; the phrase is empty if no fault can be seen
    without inflating blobs."""
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
    lengths = sizes(blobs)
    try:
        for blob, size in _sizes(read):
            if blob not in lengths:
                return f"lacks its part {blob!r:.60}"
            if lengths[blob] * DEFLATE < size:
                return f"has a part {blob!r:.60} that cannot have the size its header gives"
    except KeyError as error:
        return f"has a header that names the unknown sequence {error.args[0]!r:.60}"
    return "has more weights in a layer than a figure can show" if _too_large(read) else ""


def unusable(meta: Mapping[str, Any], blobs: Mapping[str, bytes]) -> str:
    """Return a sentence that says why no figure can be made of a capture's result; it is empty if one can."""
    size = sum(sizes(blobs).values()) + LARGEST_JSON
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
    """Return a sentence about the first layer with too many weights; it is empty if there is none."""
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
    """Return whether the lengths and positions in the header of a sequence fit its tokens."""
    count = len(sequence.tokens)
    places = [*(sequence.special or ()), sequence.sentence_b_start or 0]
    same_length = all(len(each) == count for each in (sequence.pretty, sequence.words) if each is not None)
    return same_length and all(place < count for place in places) and (sequence.generated or 0) <= count


def _lengths(read: _Meta, stack: _Stack) -> tuple[int, int]:
    """Return the numbers of rows and columns of a stack.

    Raises:
        KeyError: if the header has no sequence of this name.
    """
    sequences = read.sequences or {}
    return len(sequences[stack.rows].tokens), len(sequences[stack.cols].tokens)


def _sizes(read: _Meta) -> Iterator[tuple[str, int]]:
    """Yield the name of each blob of attention and its inflated size in bytes.

    Raises:
        KeyError: if the header lacks a sequence that a stack names.
    """
    for name, stack in (read.stacks or {}).items():
        rows, cols = _lengths(read, stack)
        for layer in stack.layers:
            blob, heads = f"{name}/{layer.layer}", layer.heads
            if layer.reduced != "strongest":
                yield blob, heads * rows * cols
            for number in range(len(layer.strongest or ())):
                yield f"{blob}/strongest/{number}", 3 * heads * rows * GROUPS[number]
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
    """Return the inflated blob, which must have `size` bytes, or at most `size` bytes if `most` is true.

    Raises:
        ValueError: if the blob has another size or is not deflated.
    """
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(blob, size + 1)
    except zlib.error:
        raise ValueError("A part of the entry is not deflated.") from None
    if len(content) > size or not stream.eof or stream.unused_data or (len(content) < size and not most):
        raise ValueError(f"A part of the entry does not hold {'up to ' * most}{size} bytes.")
    return content
