"""Which attention call of a forward pass is which layer of which stack: found once per model (`survey`).

Transformers' own `attentions`, `encoder_attentions`, `decoder_attentions` and `cross_attentions` say it: in each slot
stands the number of a call. Where a model hands out none, the order of its calls says it. A model that computes its
attention in code of its own is watched operation by operation (`operations`); if that, too, does not give what the
model itself hands out, what it hands out is taken.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call, Keep, recording
from mkdocs_attnviz.models.probing.attention_limits import limit
from mkdocs_attnviz.models.probing.function_tracer import watching
from mkdocs_attnviz.models.probing.output_projection import Projection

Slots = dict[str, dict[int, torch.Tensor]]
"""What the model hands out: by stack, by place."""
OUTPUTS = {"encoder_attentions": "encoder", "decoder_attentions": "decoder", "cross_attentions": "cross"}
SEQUENCES = {"encoder": ("text", "text"), "decoder": ("target", "target"), "cross": ("target", "text")}
SEQUENCES |= {"self": ("text", "text")}
IDS = {"text": "input_ids", "target": "decoder_input_ids"}
UNEVEN = 0.05
"""How far a row's weights may sum from one, where no sink takes a part of them: rounding alone."""


@dataclass
class Layer:
    call: int
    """Which call of a forward pass it is."""
    layer: int
    heads: int


@dataclass
class Stack:
    rows: str
    cols: str
    layers: list[Layer]
    causal: bool = False
    sink: bool = False
    """Whether a part of the weights goes to no token."""


@dataclass
class Anatomy:
    way: str
    """`interface`, `operations` or `outputs`: where the weights are taken from."""
    stacks: dict[str, Stack]
    calls: int
    """How many there are in a forward pass, those included that are in no stack."""
    projections: dict[int, Projection] = field(default_factory=dict)
    """By call: what the attention's output goes to."""


def forward(loaded: Loaded, inputs: dict[str, torch.Tensor], found: Anatomy, keep: Keep, *, operands: bool) -> None:
    """One pass of the whole model; `keep` is given every call in turn, also those that belong to no stack.

    Raises:
        ValueError: the model went another way than in its short pass.
    """
    count = 0
    layers = {layer.call: (stack, layer) for stack in found.stacks.values() for layer in stack.layers}

    def counted(call: Call) -> None:
        nonlocal count
        if count in layers:
            _check(loaded, inputs, call, *layers[count])
        keep(call)
        count += 1

    with torch.inference_mode():
        if found.way == "outputs":
            slots = handed_out(run(loaded, inputs, attentions=True))
            for weights in (weights for stack in slots.values() for weights in stack.values()):
                counted(Call(weights.clone()))
        else:
            with way_of(found.way, counted, operands=operands):
                run(loaded, inputs, attentions=False)
    if count != found.calls:
        raise WrongValue(
            "text", _another_way(loaded, inputs, "computes its attention in another way than on a short one")
        )


def _check(loaded: Loaded, inputs: dict[str, torch.Tensor], call: Call, stack: Stack, layer: Layer) -> None:
    """Raise ValueError if a call is not what the short pass has shown: distributions over tokens, (B, H, Tq, Tk)."""
    rows, cols = (inputs[IDS[name]].shape[1] for name in (stack.rows, stack.cols))
    if tuple(call.weights.shape[1:]) != (layer.heads, rows, cols):
        shape = " × ".join(map(str, call.weights.shape[-2:]))
        what = f"has weights of {shape} in layer {layer.layer}, which is no matrix of its {rows} by {cols} tokens"
        raise WrongValue("text", _another_way(loaded, inputs, what))
    if stack.sink:
        return
    off = (call.weights.sum(-1, dtype=torch.float32) - 1).abs()  # (B, H, Tq)
    mask = inputs.get(IDS[stack.rows].replace("input_ids", "attention_mask"))
    if mask is not None:
        off = off * mask.to(off)[:, None]
    if float(off.amax()) > UNEVEN:
        raise WrongValue(
            "text", _another_way(loaded, inputs, f"has weights in layer {layer.layer} that do not sum to one")
        )


def _another_way(loaded: Loaded, inputs: dict[str, torch.Tensor], what: str) -> str:
    """Return the sentence for a text whose attention is not what it is for a short one."""
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
    """What the model hands out, by stack."""
    named = {"attentions": "self"} | OUTPUTS
    if any(outputs.get(name) is not None for name in OUTPUTS):
        named = OUTPUTS
    slots = {
        stack: {place: slot for place, slot in enumerate(outputs.get(name) or ()) if isinstance(slot, torch.Tensor)}
        for name, stack in named.items()
    }
    return {stack: found for stack, found in slots.items() if found}
