"""A pass of a model that hands out each of its attention calls, by its attention map."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from typing import Any

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.loading.attention_limits import limit
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call, Keep, recording
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Layer, Stack
from mkdocs_attnviz.models.probing.function_tracer import watching

Slots = dict[str, dict[int, torch.Tensor]]
"""The attention weights that a model returns, by stack and position."""
OUTPUTS = {"encoder_attentions": "encoder", "decoder_attentions": "decoder", "cross_attentions": "cross"}
IDS = {"text": "input_ids", "target": "decoder_input_ids"}
UNEVEN = 0.05
"""The largest difference between a row's sum of weights and one that rounding explains, if there is no sink."""


class _AllSeen(Exception):
    """The end of a pass of which only the attention is wanted."""


def forward(
    loaded: Loaded,
    inputs: dict[str, torch.Tensor],
    attention_map: AttentionMap,
    keep: Keep,
    *,
    operands: bool,
    to_the_end: bool = True,
) -> None:
    """Run the model once and pass every attention call to `keep`, including those that belong to no stack.

    Without `to_the_end`, the pass ends at its last attention. A model of six layers takes a tenth less time so.

    Raises:
        ValueError: the model computes its attention in another way than in its short pass.
    """
    count = 0
    moved = hasattr(loaded.model, "hf_device_map")  # accelerate moves a layer's weights out again when it has run
    layers = {layer.call: (stack, layer) for stack in attention_map.stacks.values() for layer in stack.layers}

    def counted(call: Call) -> None:
        nonlocal count
        if count in layers:
            _check(loaded, inputs, call, *layers[count])
        keep(call)
        count += 1
        if count == attention_map.calls and not (to_the_end or moved):
            raise _AllSeen

    with torch.inference_mode():
        if attention_map.way == "outputs":
            slots = handed_out(run(loaded, inputs, attentions=True))
            with suppress(_AllSeen):
                for weights in (weights for stack in slots.values() for weights in stack.values()):
                    counted(Call(weights.clone()))
        else:
            with suppress(_AllSeen), way_of(attention_map.way, counted, operands=operands):
                run(loaded, inputs, attentions=False)
    if count != attention_map.calls:
        raise WrongValue(
            "text", _another_way(loaded, inputs, "computes its attention in another way than on a short one")
        )


def _check(loaded: Loaded, inputs: dict[str, torch.Tensor], call: Call, stack: Stack, layer: Layer) -> None:
    """Check that a call gives distributions over tokens, (B, H, Tq, Tk), as it did in the short pass.

    Raises:
        ValueError: it does not.
    """
    rows, cols = (inputs[IDS[name]].shape[1] for name in (stack.rows, stack.cols))
    if tuple(call.weights.shape[1:]) != (layer.heads, rows, cols):
        shape = " × ".join(map(str, call.weights.shape[-2:]))
        what = f"has weights of {shape} in layer {layer.layer}, which is no matrix of its {rows} by {cols} tokens"
        raise WrongValue("text", _another_way(loaded, inputs, what))
    if stack.sink:
        return
    off = call.weights.sum(-1, dtype=torch.float32).sub_(1).abs_()  # (B, H, Tq)
    mask = inputs.get(IDS[stack.rows].replace("input_ids", "attention_mask"))
    uneven = float(off.amax()) > UNEVEN
    if uneven and mask is not None:  # it may be padding alone
        uneven = float((off * mask.to(off)[:, None]).amax()) > UNEVEN
    if uneven:
        raise WrongValue(
            "text", _another_way(loaded, inputs, f"has weights in layer {layer.layer} that do not sum to one")
        )


def _another_way(loaded: Loaded, inputs: dict[str, torch.Tensor], what: str) -> str:
    """Return a sentence about a text whose attention is computed in another way than that of a short one."""
    known = limit(loaded.model.config)
    shown = "" if known is None else f"; its attention can be shown {known.words}"
    model = f"model {loaded.ref.name!r} ({loaded.model.config.model_type})"
    return f"On a text of {inputs['input_ids'].shape[1]} tokens, {model} {what}{shown}."


def way_of(way: str, keep: Keep, *, operands: bool) -> AbstractContextManager[None]:
    return recording(keep) if way == "interface" else watching(keep, operands=operands)


def run(loaded: Loaded, inputs: dict[str, torch.Tensor], *, attentions: bool) -> Any:
    asked = {"output_attentions": True} if attentions else {}
    return loaded.model(**inputs, **asked, return_dict=True)


def handed_out(outputs: Any) -> Slots:
    """Return the attention weights among a model's outputs, by stack and position."""
    named = {"attentions": "self"} | OUTPUTS
    if any(outputs.get(name) is not None for name in OUTPUTS):
        named = OUTPUTS
    slots = {
        stack: {place: slot for place, slot in enumerate(outputs.get(name) or ()) if isinstance(slot, torch.Tensor)}
        for name, stack in named.items()
    }
    return {stack: by_place for stack, by_place in slots.items() if by_place}
