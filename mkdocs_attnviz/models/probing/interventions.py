"""Heads and neurons scaled while a model runs, the steps of its own writing included: 0 takes them out.

What a head moves is its slice of the input of W_O, the linear layer that the attention's output goes through (`norms`
finds it): scaling that slice scales what the head adds to the residual stream, and nothing else. A neuron of a
feed-forward layer is one number of the input of its down-projection (`feed_forward`).
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
from mkdocs_attnviz.models.inputs.languages import speaking
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_discovery import anatomy, probe
from mkdocs_attnviz.models.probing.attention_map import Anatomy
from mkdocs_attnviz.models.probing.feed_forward import Projections, down_projections
from mkdocs_attnviz.models.probing.output_projection import Projection

Interventions = Sequence[Mapping[str, Any]]
"""As `part.Intervention` has them, in plain JSON."""
Scales = dict[int, float]
"""By head, or by neuron."""


@contextmanager
def intervening(loaded: Loaded, interventions: Interventions, several: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """While this lasts, the model runs with them. `several` are inputs; one that it can read shows it as it is.

    Raises:
        ValueError: the model has no such layer, head or neuron, or can read none of the inputs.
        Unusable: it does not show where its heads or neurons are.
    """
    with ExitStack() as stack:
        if interventions:
            _ = loaded.task  # which is found out by running the model as it is
            read = _readable(loaded, several)
            heads = [each for each in interventions if each.get("heads") is not None]
            neurons = [each for each in interventions if each.get("neurons") is not None]
            places = [*_heads(loaded, heads, anatomy(loaded, read))] if heads else []
            short = probe(loaded, read)  # the author's may be longer than the model reads
            places += [*_neurons(loaded, neurons, down_projections(loaded, short))] if neurons else []
            for place in places:  # all are found before anything is changed
                _scale(stack, loaded, place)
        yield


def _readable(loaded: Loaded, several: Iterable[Mapping[str, Any]]) -> Example:
    """Something to look at the model with, for which it need not write.

    Raises:
        ValueError: why it cannot read the last of the inputs, where it can read none.
        Unusable: its decoder reads the text again.
    """
    problem: ValueError = WrongValue("text", "There is no text to look at the model with.")
    for inputs in several:
        try:
            with speaking(loaded, inputs):
                return _read(loaded, inputs)
        except ValueError as error:
            problem = error
    raise problem


def _read(loaded: Loaded, inputs: Mapping[str, Any]) -> Example:
    """Raises: ValueError, Unusable."""
    text = text_tokens(loaded, inputs)
    if not loaded.encoder_decoder:
        return Example(text)
    if loaded.reads_again:
        raise Unusable(
            f"`interventions` does not reach into model {loaded.ref.name!r}, a classifier whose decoder reads the text "
            "again.",
            "interventions",
        )
    said = inputs.get("text_target") or inputs.get("text") or inputs["chat"][0]["content"]
    return Example(text, target_tokens(loaded, said))


@dataclass
class _Place:
    """A linear layer whose input is scaled in the `use`-th of its `uses` calls of a pass."""

    linear: torch.nn.Module
    factors: torch.Tensor
    use: int
    uses: int
    projection: Projection | None = None


def _heads(loaded: Loaded, interventions: Interventions, found: Anatomy) -> Iterator[_Place]:
    """Raises: ValueError, Unusable."""
    stacks = {name: {layer.layer: layer for layer in stack.layers} for name, stack in found.stacks.items()}
    for place, scales in _by_place(loaded, interventions, "heads", stacks).items():
        layer = stacks[place.stack][place.layer]
        place.check("head", scales, layer.heads)
        projection = found.projections.get(layer.call)
        if projection is None:
            raise Unusable(
                f"`interventions` scales heads, and where those of {place.where} go on to could not be found.",
                "interventions",
            )
        uses = [call for call, each in sorted(found.projections.items()) if each.linear is projection.linear]
        factors = _factors(scales, layer.heads)
        yield _Place(projection.linear, factors, uses.index(layer.call), len(uses), projection)


def _neurons(loaded: Loaded, interventions: Interventions, found: Projections) -> Iterator[_Place]:
    """Raises: ValueError."""
    for place, scales in _by_place(loaded, interventions, "neurons", found).items():
        layers = found[place.stack]
        linear = layers[place.layer]
        count = int(linear.nx if isinstance(linear, Conv1D) else linear.in_features)  # type: ignore[arg-type]
        place.check("neuron", scales, count)
        uses = [layer for layer, each in sorted(layers.items()) if each is linear]
        yield _Place(linear, _factors(scales, count), uses.index(place.layer), len(uses))


class _Where(NamedTuple):
    stack: str
    layer: int
    where: str
    """Both and the model, as messages say it."""

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
    """What is scaled in each layer of each stack; what is named twice is scaled twice.

    Raises:
        ValueError: there is no such stack or layer.
    """
    found: dict[_Where, Scales] = defaultdict(dict)
    for each in interventions:
        stack, layer = _stack(loaded, each.get("stack"), what, stacks), each["layer"]
        model = f"model {loaded.ref.name!r}"
        if layer not in stacks[stack]:
            of = model if len(stacks) == 1 else f"the {stack} of {model}"
            raise WrongValue(
                "interventions",
                f"`interventions` names layer {layer}; the layers with {what} of {of} are {listed(stacks[stack])}.",
            )
        name = f"layer {layer}" if len(stacks) == 1 else f"{stack} layer {layer}"
        scales = found[_Where(stack, layer, f"{name} of {model}")]
        for number in each[what]:
            scales[number] = scales.get(number, 1.0) * each["scale"]
    return found


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
    """A module may serve several layers (ALBERT): its calls are counted from the beginning of each pass."""
    count = 0

    def restart(*_: Any) -> None:
        nonlocal count
        count = 0

    def scale(_: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal count
        count += 1
        if (count - 1) % place.uses != place.use:
            return None
        given = args[0]  # (…, heads · dv) or (…, neurons)
        each = place.factors.repeat_interleave(given.shape[-1] // len(place.factors))
        return given * each.to(given), *args[1:]

    for hook in (loaded.model.register_forward_pre_hook(restart), place.linear.register_forward_pre_hook(scale)):
        stack.callback(hook.remove)
    if place.projection is not None:  # what a head adds is scaled, and so are the norms of it
        place.projection.scales = place.factors
        stack.callback(setattr, place.projection, "scales", None)
