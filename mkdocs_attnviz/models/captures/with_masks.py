"""The captures of attention, with the masks that the model gave to its attention function.

A mask is added only if it is more than causal, or more than none: a sliding window, chunks. Most entries therefore have
none, and a figure shades by `causal` alone what is not allowed. The masks cost hardly more than a look at an argument.
A model that masks inside its own code has none of them here; the mask view probes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.modeling_utils import AttentionInterface

from mkdocs_attnviz.cache.blobs import with_more
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures import attention as attention_weights
from mkdocs_attnviz.models.captures import scores as attention_scores
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.mask_runs import runs_blob
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import Stack
from mkdocs_attnviz.models.probing.attention_masks import MASKING

Allowed = torch.Tensor | None
"""The allowed pairs of tokens of each text, (B, heads or 1, Tq, Tk); None if the call had no mask."""


SEVERAL = 8
"""The largest number of different masks that are held at a time."""


def attention(context: Context) -> list[Entry]:
    """Return the entries of `captures.attention`, with masks."""
    return _with_masks(context, attention_weights.capture)


def scores(context: Context) -> list[Entry]:
    """Return the entries of `captures.scores`, with masks."""
    return _with_masks(context, attention_scores.capture)


def _with_masks(context: Context, capture: Callable[[Context], Sequence[Entry]]) -> list[Entry]:
    with _mask_arguments() as calls:
        entries = list(capture(context))
    attention_map = find_attention_map(context.loaded, context.examples[0])
    if attention_map.way != "interface" or len(calls) < attention_map.calls:
        return entries
    last = calls[len(calls) - attention_map.calls :]  # those before are of the short pass that looks for layers
    for number, entry in enumerate(entries):
        masks: dict[str, bytes] = {}
        for name, stack in attention_map.stacks.items():
            masks |= _add(entry, name, stack, [last[layer.call] for layer in stack.layers], number)
        entries[number] = Entry(entry.meta, with_more(entry.blobs, masks))
    return entries


def _add(entry: Entry, name: str, stack: Stack, calls: Sequence[Allowed], number: int) -> dict[str, bytes]:
    """Add to an entry's layers which mask they have, and return the masks; none if they say no more than `causal`."""
    lengths = [len(entry.meta["sequences"][side]["tokens"]) for side in (stack.rows, stack.cols)]
    usual = np.tri(*lengths, dtype=np.bool_) if stack.causal else np.ones(lengths, np.bool_)
    masks = [_of_text(allowed, number, lengths, usual) for allowed in calls]
    if all((mask == usual).all() for mask in masks):
        return {}
    numbers: dict[bytes, int] = {}
    for layer, mask in zip(entry.meta["stacks"][name]["layers"], masks, strict=True):
        blob = runs_blob(mask)
        layer["mask"] = numbers.setdefault(blob, len(numbers))
    return {f"{name}/mask/{place}": blob for blob, place in numbers.items()}


def _of_text(
    allowed: Allowed, number: int, lengths: Sequence[int], usual: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return the pairs that are allowed to one text, by any head."""
    if allowed is None:
        return usual
    text = allowed[number if allowed.shape[0] > 1 else 0].any(0)
    return text[: lengths[0], : lengths[1]].expand(*lengths).cpu().numpy() & usual


@contextmanager
def _mask_arguments() -> Iterator[list[Allowed]]:
    """Keep the mask of each call of an attention function inside the `with` block.

    Layers mostly share one tensor, so that hardly any memory is needed. A mask that the weights contradict is no mask.
    """
    original = AttentionInterface.get_interface
    calls: list[Allowed] = []
    known: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def get_interface(self: AttentionInterface, implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        attend = original(self, implementation, default)

        def kept(module: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            given = kwargs.get("attention_mask", args[0] if args else None)
            result = attend(module, query, key, value, *args, **kwargs)
            weights = result[1]
            if weights is not None and weights.ndim == 4:
                calls.append(_true(_allowed(given, known), weights))
            return result

        return kept

    AttentionInterface.get_interface = get_interface
    try:
        yield calls
    finally:
        AttentionInterface.get_interface = original


def _allowed(mask: Any, known: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> Allowed:
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4:
        return None
    if id(mask) not in known:
        if len(known) > SEVERAL:
            known.clear()
        known[id(mask)] = mask, mask if mask.dtype == torch.bool else mask > MASKING
    return known[id(mask)][1]


def _true(allowed: Allowed, weights: torch.Tensor) -> Allowed:
    """Return a mask if there are no weights where it forbids them."""
    if allowed is None or allowed.shape[2:] != weights.shape[2:]:
        return None
    outside = (weights.amax(1, keepdim=True) > 0) & ~allowed.any(1, keepdim=True)
    return None if bool(outside.any()) else allowed
