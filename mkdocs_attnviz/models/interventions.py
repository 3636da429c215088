"""Heads and neurons scaled while a model runs, the steps of its own writing included: 0 takes them out.

What a head moves is its slice of the input of W_O, the linear layer that the attention's output goes through (`norms`
finds it): scaling that slice scales what the head adds to the residual stream, and nothing else. A neuron of a
feed-forward layer is one number of the input of its down-projection (`feed_forward`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from mkdocs_attnviz.models.anatomy import Anatomy, Layer
from mkdocs_attnviz.models.inputs import target_tokens, text_tokens
from mkdocs_attnviz.models.load import Loaded, Unusable
from mkdocs_attnviz.models.survey import anatomy
from mkdocs_attnviz.models.tokens import Example

Interventions = Sequence[Mapping[str, Any]]
"""As `part.Intervention` has them, in plain JSON."""
Scales = dict[int, float]
"""By head, or by neuron."""


@contextmanager
def intervening(loaded: Loaded, interventions: Interventions, inputs: Mapping[str, Any]) -> Iterator[None]:
    """While this lasts, the model runs with them; `inputs` are some that it reads, to look at it first as it is.

    Raises:
        ValueError: the model has no such layer, head or neuron, or does not show where it is.
        Unusable: the model has no attention.
    """
    with ExitStack() as stack:
        if interventions:
            probe = _probe(loaded, inputs)
            heads = [each for each in interventions if each.get("heads") is not None]
            neurons = [each for each in interventions if each.get("neurons") is not None]
            if heads:
                _scale_heads(stack, loaded, heads, anatomy(loaded, probe))
            if neurons:
                _scale_neurons(stack, loaded, neurons, probe)
        yield


def _probe(loaded: Loaded, inputs: Mapping[str, Any]) -> Example:
    """Something to look at the model with, for which it need not write."""
    text = text_tokens(loaded, inputs)
    if not loaded.encoder_decoder:
        return Example(text)
    said = inputs.get("text_target") or inputs.get("text") or inputs["chat"][0]["content"]
    return Example(text, target_tokens(loaded, said))


def _scale_heads(stack: ExitStack, loaded: Loaded, interventions: Interventions, found: Anatomy) -> None:
    scales = _by_place(loaded, interventions, "heads", list(found.stacks))
    wanted: dict[int, Scales] = {}
    for (name, number), heads in scales.items():
        layer = _layer(loaded, name, number, found)
        _check_range(loaded, "head", heads, layer.heads, name, number, len(found.stacks))
        if layer.call not in found.projections:
            raise Unusable(
                f"`interventions` scales heads, and where those of {_of(loaded, name, number, len(found.stacks))} go "
                "on to could not be found."
            )
        wanted[layer.call] = heads
    for call, heads in wanted.items():
        projection = found.projections[call]
        factors = _factors(heads, projection.heads)
        projection.scales = factors
        stack.callback(setattr, projection, "scales", None)
        uses = sorted(other for other, each in found.projections.items() if each.linear is projection.linear)
        _hook(stack, loaded, projection.linear, factors, uses.index(call), len(uses))


def _scale_neurons(stack: ExitStack, loaded: Loaded, interventions: Interventions, probe: Example) -> None:
    raise NotImplementedError


def _by_place(
    loaded: Loaded, interventions: Interventions, what: str, stacks: Sequence[str]
) -> dict[tuple[str, int], Scales]:
    """What is scaled in each layer of each stack; what is named twice is scaled twice."""
    found: dict[tuple[str, int], Scales] = defaultdict(dict)
    for each in interventions:
        place = _stack(loaded, each.get("stack"), what, stacks), each["layer"]
        for number in each[what]:
            found[place][number] = found[place].get(number, 1.0) * each["scale"]
    return found


def _stack(loaded: Loaded, name: str | None, what: str, stacks: Sequence[str]) -> str:
    there = f"model {loaded.ref.name!r} has {what} in: {', '.join(stacks)}."
    if name is None and len(stacks) > 1:
        raise ValueError(f"`interventions` does not say which `stack` it means; {there}")
    if name is not None and name not in stacks:
        raise ValueError(f"`interventions` names the stack {name!r}; {there}")
    return name or stacks[0]


def _layer(loaded: Loaded, stack: str, number: int, found: Anatomy) -> Layer:
    layers = {layer.layer: layer for layer in found.stacks[stack].layers}
    if number not in layers:
        raise ValueError(no_layer(loaded, stack, number, list(layers), len(found.stacks)))
    return layers[number]


def no_layer(loaded: Loaded, stack: str, number: int, layers: Sequence[int], stacks: int) -> str:
    there = f"0 to {len(layers) - 1}" if list(layers) == list(range(len(layers))) else ", ".join(map(str, layers))
    where = f"model {loaded.ref.name!r}" if stacks == 1 else f"the {stack} stack of model {loaded.ref.name!r}"
    return f"`interventions` names layer {number}; the layers of {where} are {there}."


def _check_range(loaded: Loaded, what: str, numbers: Scales, count: int, stack: str, layer: int, stacks: int) -> None:
    beyond = next((number for number in numbers if number >= count), None)
    if beyond is not None:
        where = _of(loaded, stack, layer, stacks)
        raise ValueError(f"`interventions` names {what} {beyond}; the {what}s of {where} are 0 to {count - 1}.")


def _of(loaded: Loaded, stack: str, layer: int, stacks: int) -> str:
    name = f"layer {layer}" if stacks == 1 else f"{stack} layer {layer}"
    return f"{name} of model {loaded.ref.name!r}"


def _factors(scales: Scales, count: int) -> torch.Tensor:
    factors = torch.ones(count)
    for number, scale in scales.items():
        factors[number] = scale
    return factors


def _hook(
    stack: ExitStack, loaded: Loaded, linear: torch.nn.Module, factors: torch.Tensor, use: int, uses: int
) -> None:
    """Scale the input of the layer's `use`-th call in every pass: a module may serve several layers (ALBERT)."""
    count = 0

    def restart(*_: Any) -> None:
        nonlocal count
        count = 0

    def scale(_: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal count
        count += 1
        if (count - 1) % uses != use:
            return None
        given = args[0]
        each = factors.repeat_interleave(given.shape[-1] // len(factors)).to(given)
        return given * each, *args[1:]

    for hook in (loaded.model.register_forward_pre_hook(restart), linear.register_forward_pre_hook(scale)):
        stack.callback(hook.remove)
