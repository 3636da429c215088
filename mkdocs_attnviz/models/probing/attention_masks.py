"""The attention masks of a model on a text: which token may attend to which, layer by layer.

A weight does not tell it, since the weight of an allowed pair may be rounded to zero. Where a model uses transformers'
attention interface, its own attention function is therefore called a second time, with zeros as queries and with all
finite numbers of its mask as zeros: nothing is preferred then, so that the weight of a pair is zero only if the pair is
masked, by the mask or within the function. Of a model that computes its attention in code of its own, the input of the
softmax tells it. Everything else is probed by gradients (`attention_gradients`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.modeling_utils import AttentionInterface

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_gradients import probed
from mkdocs_attnviz.models.probing.attention_map import SEQUENCES, AttentionMap, Stack
from mkdocs_attnviz.models.probing.attention_pass import forward

Allowed = npt.NDArray[np.bool_]
"""The allowed pairs of tokens, (rows, cols)."""
MASKING = -1e4 + 100
"""The limit below which a score counts as a mask; no model learns scores as low as this."""
CROSS = re.compile("cross|encoder_attn|encdec", re.IGNORECASE)
"""The names of modules of cross-attention, which is not probed."""


@dataclass(frozen=True)
class LayerMask:
    """The mask of one layer for one text."""

    layer: int
    name: str
    """The name of the layer's attention module; '' if it is not known."""
    allowed: Allowed
    """The pairs that at least one head allows."""
    heads_differ: bool = False


@dataclass(frozen=True)
class StackMasks:
    """The masks of one stack of a model for one text."""

    rows: str
    cols: str
    layers: list[LayerMask]
    how: str = "masks"
    """The source: `masks`; `weights`, if a pair counts as allowed where its weight is not zero; or `gradients`."""


def find_masks(loaded: Loaded, examples: list[Example]) -> list[dict[str, StackMasks]]:
    """Return the masks of each example, by stack.

    Raises:
        Unusable: the model has no attention, or none that tells its mask.
        ValueError: it computes the attention of this text in a way that cannot be followed.
    """
    try:
        found = _seen(loaded, examples)
    except (Unusable, WrongValue) as error:
        found = [probed_masks(loaded, example) for example in examples]
        if not all(found):
            raise error from None
        return found
    whole = "encoder" if loaded.encoder_decoder else "self"
    if all(whole in masks for masks in found):
        return found
    return [probed_masks(loaded, example) | masks for example, masks in zip(examples, found, strict=True)]


def probed_masks(loaded: Loaded, example: Example) -> dict[str, StackMasks]:
    """Return the masks of one example as gradients tell them, without cross-attention."""
    masks: dict[str, StackMasks] = {}
    lengths = {name: len(sequence["tokens"]) for name, sequence in example.sequences().items()}
    for name, allowed in probed(loaded, collate(loaded, [example])).items():
        stack = "self" if not loaded.encoder_decoder else "encoder" if re.search(r"\bencoder\b", name) else "decoder"
        rows, cols = SEQUENCES[stack]
        if allowed.shape[0] < lengths[rows] or allowed.shape[1] < lengths[cols] or CROSS.search(name):
            continue
        layers = masks.setdefault(stack, StackMasks(rows, cols, [], how="gradients")).layers
        layers.append(LayerMask(_number(name, len(layers)), name, allowed[: lengths[rows], : lengths[cols]]))
    return masks


def _number(name: str, otherwise: int) -> int:
    found = re.search(r"(?:^|\.)(\d+)(?=\.|$)", name)
    return int(found[1]) if found else otherwise


def _seen(loaded: Loaded, examples: list[Example]) -> list[dict[str, StackMasks]]:
    """Return the masks that attention calls tell, of each example."""
    attention_map = find_attention_map(loaded, examples[0])
    wanted = {layer.call: stack for stack in attention_map.stacks.values() for layer in stack.layers}
    names = _module_names(loaded)
    found: dict[int, list[tuple[Allowed, bool]]] = {}
    called: dict[int, str] = {}
    count = 0

    def keep(call: Call) -> None:
        nonlocal count
        if count in wanted:
            called[count] = next(iter(names.get(id(call.module), [])), "")
            found[count] = _of_examples(call, neutral(), wanted[count], examples)
        count += 1

    with _neutral_calls() as neutral:
        forward(loaded, collate(loaded, examples), attention_map, keep, operands=True)
    return [_stacks(attention_map, found, called, number) for number in range(len(examples))]


def _stacks(
    attention_map: AttentionMap, found: dict[int, list[tuple[Allowed, bool]]], called: dict[int, str], number: int
) -> dict[str, StackMasks]:
    return {
        name: StackMasks(
            stack.rows,
            stack.cols,
            [LayerMask(layer.layer, called[layer.call], *found[layer.call][number]) for layer in stack.layers],
            "weights" if attention_map.way == "outputs" else "masks",
        )
        for name, stack in attention_map.stacks.items()
    }


def _module_names(loaded: Loaded) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for name, module in loaded.model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return names


def _of_examples(
    call: Call, neutral: torch.Tensor | None, stack: Stack, examples: list[Example]
) -> list[tuple[Allowed, bool]]:
    """Return the pairs that a call allows to each example, and whether its heads differ in them."""
    allowed = call.weights > 0  # (B, H, Tq, Tk)
    if neutral is not None:
        allowed |= neutral
    elif call.scores is not None:
        allowed |= call.scores > MASKING
    pairs = []
    for number, example in enumerate(examples):
        lengths = {name: len(sequence["tokens"]) for name, sequence in example.sequences().items()}
        cut = allowed[number, :, : lengths[stack.rows], : lengths[stack.cols]]
        some = cut.any(0)
        pairs.append((some.cpu().numpy(), bool((cut != some).any())))
    return pairs


@contextmanager
def _neutral_calls() -> Iterator[Callable[[], torch.Tensor | None]]:
    """Call each attention function of the interface a second time inside the `with` block, with nothing to prefer.

    Yields a function that returns which pairs the last call allows, (B, H, Tq, Tk), or None if there was no such call.
    """
    original = AttentionInterface.get_interface
    last: list[torch.Tensor] = []

    def get_interface(self: AttentionInterface, implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        attend = original(self, implementation, default)

        def twice(module: torch.nn.Module, query: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            zeros = [_flat(value) if number == 2 else value for number, value in enumerate(args)]
            named = {name: _flat(value) if name in FLAT else value for name, value in kwargs.items()}
            weights = attend(module, torch.zeros_like(query), *zeros, **named)[1]
            last[:] = [] if weights is None or weights.ndim != 4 else [weights > 0]
            return attend(module, query, *args, **kwargs)

        return twice

    AttentionInterface.get_interface = get_interface
    try:
        yield lambda: last.pop() if last else None
    finally:
        AttentionInterface.get_interface = original


FLAT = ("attention_mask", "position_bias")
"""The arguments of attention functions that are added to the scores."""


def _flat(value: Any) -> Any:
    """Return a mask without what is added to allowed pairs: position biases, ALiBi."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    return torch.where(value > MASKING, torch.zeros_like(value), value)
