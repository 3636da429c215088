"""Interventions: heads and neurons that are scaled while a model runs, also while it writes. A scale of 0 removes one.

A head's output is its slice of the input of W_O, the linear layer behind the attention (`output_projection` finds it).
Scaling that slice scales what the head adds to the residual stream, and nothing else. A neuron of a feed-forward layer
is one number of the input of its down-projection (`feed_forward`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers.pytorch_utils import Conv1D

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import listed
from mkdocs_attnviz.models.inputs.examples import target_tokens, text_tokens
from mkdocs_attnviz.models.inputs.languages import set_languages
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map, probe
from mkdocs_attnviz.models.probing.attention_map import AttentionMap
from mkdocs_attnviz.models.probing.feed_forward import Projections, down_projections
from mkdocs_attnviz.models.probing.output_projection import Projection

Interventions = Sequence[Mapping[str, Any]]
"""Interventions as plain JSON; the keys are those of `block_fields.Intervention`."""
Scales = dict[int, float]
"""The scale of each head or neuron, by its number."""


@contextmanager
def intervening(loaded: Loaded, interventions: Interventions, several: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """Scale heads and neurons inside the `with` block.

    `several` are inputs; the first one that the model can read is used to find where its heads and neurons are.

    Raises:
        ValueError: the model has no such layer, head or neuron, or can read none of the inputs.
        Unusable: it does not show where its heads or neurons are.
    """
    with ExitStack() as stack:
        if interventions:
            _ = loaded.task  # it is found by running the model, so before the model is changed
            read = _readable(loaded, several)
            heads = [intervention for intervention in interventions if intervention.get("heads") is not None]
            neurons = [intervention for intervention in interventions if intervention.get("neurons") is not None]
            places = [*_heads(loaded, heads, find_attention_map(loaded, read))] if heads else []
            short = probe(loaded, read)  # the author's input may be longer than the model reads
            places += [*_neurons(loaded, neurons, down_projections(loaded, short))] if neurons else []
            for place in places:  # all places are found before anything is changed
                _scale(stack, loaded, place)
        yield


def _readable(loaded: Loaded, several: Iterable[Mapping[str, Any]]) -> Example:
    """Return the first of the inputs that the model can read; it is only needed to run the model once.

    Raises:
        ValueError: the model can read none of the inputs; the message is about the last.
        Unusable: its decoder reads the text again.
    """
    problem: ValueError = WrongValue("text", "There is no text to look at the model with.")
    for inputs in several:
        try:
            with set_languages(loaded, inputs):
                return _read(loaded, inputs)
        except ValueError as error:
            problem = error
    raise problem


def _read(loaded: Loaded, inputs: Mapping[str, Any]) -> Example:
    """Return one input as tokens, with the target's if the model has a decoder.

    Raises:
        ValueError: the model cannot read it.
        Unusable: its decoder reads the text again.
    """
    text = text_tokens(loaded, inputs)
    if not loaded.encoder_decoder:
        return Example(text)
    if loaded.reads_again:
        raise Unusable(
            f"`interventions` does not reach into model {loaded.ref.name!r}, a classifier whose decoder reads the text "
            "again.",
            "interventions",
        )
    target = inputs.get("text_target") or inputs.get("text") or inputs["chat"][0]["content"]
    return Example(text, target_tokens(loaded, target))


@dataclass
class _Place:
    """A linear layer whose input is scaled in the `use`-th of its `uses` calls in each forward pass."""

    linear: torch.nn.Module
    factors: torch.Tensor
    use: int
    uses: int
    projection: Projection | None = None


def _heads(loaded: Loaded, interventions: Interventions, attention_map: AttentionMap) -> Iterator[_Place]:
    """Yield the output projections whose inputs are scaled.

    Raises:
        ValueError: the model has no such layer or head.
        Unusable: the output projection of a layer is not known.
    """
    stacks = {name: {layer.layer: layer for layer in stack.layers} for name, stack in attention_map.stacks.items()}
    for place, scales in _by_place(loaded, interventions, "heads", stacks).items():
        layer = stacks[place.stack][place.layer]
        place.check("head", scales, layer.heads)
        projection = attention_map.projections.get(layer.call)
        if projection is None:
            raise Unusable(
                f"`interventions` scales heads, and where those of {place.where} go on to could not be found.",
                "interventions",
            )
        uses = [call for call, other in sorted(attention_map.projections.items()) if other.linear is projection.linear]
        factors = _factors(scales, layer.heads)
        yield _Place(projection.linear, factors, uses.index(layer.call), len(uses), projection)


def _neurons(loaded: Loaded, interventions: Interventions, projections: Projections) -> Iterator[_Place]:
    """Yield the down-projections whose inputs are scaled.

    Raises:
        ValueError: the model has no such layer or neuron.
    """
    for place, scales in _by_place(loaded, interventions, "neurons", projections).items():
        layers = projections[place.stack]
        linear = layers[place.layer]
        count = int(linear.nx if isinstance(linear, Conv1D) else linear.in_features)  # type: ignore[arg-type]
        place.check("neuron", scales, count)
        uses = [layer for layer, other in sorted(layers.items()) if other is linear]
        yield _Place(linear, _factors(scales, count), uses.index(place.layer), len(uses))


class _Where(NamedTuple):
    stack: str
    layer: int
    where: str
    """Stack, layer and model in words, for messages."""

    def check(self, what: str, numbers: Iterable[int], count: int) -> None:
        beyond = next((number for number in numbers if number >= count), None)
        if beyond is not None:
            raise WrongValue(
                "interventions",
                f"`interventions` names {what} {beyond}; the {what}s of {self.where} are 0 to {count - 1}.",
            )


def _by_place(
    loaded: Loaded, interventions: Interventions, what: str, stacks: Mapping[str, Mapping[int, Any]]
) -> dict[_Where, Scales]:
    """Return the scales for each layer of each stack. A head or neuron that is named twice is scaled twice.

    Raises:
        ValueError: there is no such stack or layer.
    """
    scales_of: dict[_Where, Scales] = defaultdict(dict)
    for intervention in interventions:
        stack, layer = _stack(loaded, intervention.get("stack"), what, stacks), intervention["layer"]
        model = f"model {loaded.ref.name!r}"
        if layer not in stacks[stack]:
            of = model if len(stacks) == 1 else f"the {stack} of {model}"
            raise WrongValue(
                "interventions",
                f"`interventions` names layer {layer}; the layers with {what} of {of} are {listed(stacks[stack])}.",
            )
        name = f"layer {layer}" if len(stacks) == 1 else f"{stack} layer {layer}"
        scales = scales_of[_Where(stack, layer, f"{name} of {model}")]
        for number in intervention[what]:
            scales[number] = scales.get(number, 1.0) * intervention["scale"]
    return scales_of


def _stack(loaded: Loaded, name: str | None, what: str, stacks: Mapping[str, Any]) -> str:
    there = f"model {loaded.ref.name!r} has {what} in {', '.join(stacks)}."
    if name is None and len(stacks) > 1:
        raise WrongValue(
            "interventions",
            f"Without `stack`, or with `self`, `interventions` does not say which `stack` it means; {there}",
        )
    if name is not None and name not in stacks:
        raise WrongValue("interventions", f"`interventions` names the stack {name!r}; {there}")
    return name or next(iter(stacks))


def _factors(scales: Scales, count: int) -> torch.Tensor:
    factors = torch.ones(count)
    for number, scale in scales.items():
        factors[number] = scale
    return factors


def _scale(stack: ExitStack, loaded: Loaded, place: _Place) -> None:
    """Register hooks that scale a module's input until `stack` is closed.

    A module may serve several layers (ALBERT), so its calls are counted from the start of each forward pass.
    """
    count = 0

    def restart(*_: Any) -> None:
        nonlocal count
        count = 0

    def scale(_: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal count
        count += 1
        if (count - 1) % place.uses != place.use:
            return None
        inputs = args[0]  # (…, heads · dv) or (…, neurons)
        factors = place.factors.repeat_interleave(inputs.shape[-1] // len(place.factors))
        return inputs * factors.to(inputs), *args[1:]

    for hook in (loaded.model.register_forward_pre_hook(restart), place.linear.register_forward_pre_hook(scale)):
        stack.callback(hook.remove)
    if place.projection is not None:  # the stored norms of a scaled head are scaled, too
        place.projection.scales = place.factors
        stack.callback(setattr, place.projection, "scales", None)
