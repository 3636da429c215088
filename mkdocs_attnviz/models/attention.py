"""Attention probabilities of all layers and heads, taken while the model runs.

Transformers' own eager attention function is wrapped for the time of one forward pass: it computes the weights
with whatever the model adds to its scores (soft caps, biases, sinks), they are quantised and copied away at
once, and in their place the model gets one number expanded to the same shape. So no more than one layer's
weights exist at a time, and `output_attentions`, which then carries those numbers, tells which record belongs
to which layer. A model that does not go through this function hands out its own weights in `output_attentions`,
and those are taken.

Stored are bytes round(255·√p). The step is finer where weights are small, which is where most weights of a long
text are: the error is at most 0.00392 everywhere, and 2–3 % on average for weights above 0.002.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from transformers.modeling_utils import AttentionInterface

from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.models.load import Loaded, Unusable
from mkdocs_attnviz.models.tokens import Tokens

Blobs = list["Future[bytes]"]
"""One deflated layer for each text of a batch."""

# Deflate runs beside the forward pass (zlib releases the interpreter's lock). Level 9 is twelve times slower for 10 %.
_deflaters = ThreadPoolExecutor(os.cpu_count())
_LEVEL = 6


def capture(loaded: Loaded, texts: Sequence[Tokens]) -> list[Entry]:
    """One entry for each text: blobs `self/0`, `self/1`, …, each (heads, cols, rows) of uint8.

    Cols before rows, since that compresses 5–10 % better.

    Raises:
        Unusable: the model hands out no weights of tokens by tokens.
    """
    lengths = [len(text.ids) for text in texts]
    layers, heads = _layers(loaded, _collate(loaded, texts), lengths)
    entries = []
    for number, text in enumerate(texts):
        blobs = {f"self/{layer}": blobs[number].result() for layer, blobs in enumerate(layers)}
        stack = {
            "rows": "text",
            "cols": "text",
            "layers": [{"layer": layer, "heads": count} for layer, count in enumerate(heads)],
        }
        entries.append(Entry({"sequences": {"text": text.meta()}, "stacks": {"self": stack}}, blobs))
    return entries


def _collate(loaded: Loaded, texts: Sequence[Tokens]) -> dict[str, torch.Tensor]:
    """Padded on the right, where no position before the padding can notice it."""
    longest = max(len(text.ids) for text in texts)
    pad = loaded.tokenizer.pad_token_id or 0

    def rows(lists: list[list[int]], fill: int) -> torch.Tensor:
        padded = [row + [fill] * (longest - len(row)) for row in lists]
        return torch.tensor(padded, device=loaded.device)  # (B, T)

    inputs = {
        "input_ids": rows([text.ids for text in texts], pad),
        "attention_mask": rows([[1] * len(text.ids) for text in texts], 0),
    }
    if texts[0].type_ids is not None:
        inputs["token_type_ids"] = rows([text.type_ids or [] for text in texts], 0)
    return inputs


def _layers(loaded: Loaded, inputs: dict[str, torch.Tensor], lengths: list[int]) -> tuple[list[Blobs], list[int]]:
    """Blobs and number of heads of each layer.

    Raises:
        Unusable: as `_forward`.
        ValueError: weights that are no probabilities.
    """
    records: list[tuple[Blobs, int]] = []

    def keep(weights: torch.Tensor) -> int:
        records.append((_encode(weights, lengths), weights.shape[1]))
        return len(records) - 1

    with torch.inference_mode():
        with recording(keep):
            slots = _forward(loaded, inputs)
        found = [_record(slot, len(records)) for slot in slots]
        if None in found:  # the model has made something else of our numbers, or went another way: take what it gives
            records.clear()
            found = [keep(slot) for slot in _forward(loaded, inputs)]
    chosen = [records[index] for index in found if index is not None]
    return [blobs for blobs, _ in chosen], [heads for _, heads in chosen]


def _forward(loaded: Loaded, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The model's own `attentions`, one (B, heads, T, T) a layer that has any.

    Raises:
        Unusable: there are none, or they are not tokens by tokens.
    """
    outputs = loaded.model(**inputs, output_attentions=True, return_dict=True)
    slots = [slot for slot in (outputs.get("attentions") or ()) if slot is not None]
    length = inputs["input_ids"].shape[1]
    if not slots:
        raise Unusable(f"Model {loaded.ref.name!r} ({loaded.model.config.model_type}) hands out no attention weights.")
    for slot in slots:
        if slot.ndim != 4 or slot.shape[2:] != (length, length):
            raise Unusable(
                f"The attention of model {loaded.ref.name!r} ({loaded.model.config.model_type}) is no matrix of tokens "
                f"by tokens: for {length} tokens its shape is {tuple(slot.shape)}."
            )
    return slots


@contextmanager
def recording(keep: Callable[[torch.Tensor], int]) -> Iterator[None]:
    """While this lasts, attention weights go to `keep`, and the model gets what `keep` returns in their place."""
    original = AttentionInterface.get_interface

    def get_interface(self: AttentionInterface, implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        attend = original(self, implementation, default)

        def record(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
            output, weights = attend(*args, **kwargs)
            if weights is None:
                return output, None
            number = torch.tensor(float(keep(weights)), device=weights.device)
            return output, number.expand(weights.shape)  # stride 0: no memory

        return record

    AttentionInterface.get_interface = get_interface
    try:
        yield
    finally:
        AttentionInterface.get_interface = original


def _record(slot: torch.Tensor, count: int) -> int | None:
    """The number of the record that a slot stands for; None if it is no such number."""
    if any(slot.stride()):
        return None
    number = float(slot[0, 0, 0, 0])
    return int(number) if number.is_integer() and 0 <= number < count else None


def _encode(weights: torch.Tensor, lengths: list[int]) -> Blobs:
    """Quantise on the device; deflate each text's part, its padding left out, on the processor."""
    steps = torch.sqrt(weights.float()).mul_(255).add_(0.5)  # (B, heads, Tq, Tk)
    if not bool((steps < 256.5).all()):
        raise ValueError("The model's attention weights are not numbers between 0 and 1 (NaN or out of range).")
    steps = steps.clamp_(max=255).to(torch.uint8).transpose(2, 3).cpu()
    return [
        _deflaters.submit(_deflate, steps[number, :, :length, :length].contiguous())
        for number, length in enumerate(lengths)
    ]


def _deflate(steps: torch.Tensor) -> bytes:
    return zlib.compress(steps.numpy().data, _LEVEL)
