"""The feed-forward neurons of each layer: the input of its last linear layer, after the non-linearity and any gate.

They are found by running the model, not by name. Within each numbered layer, it is the widest linear layer that writes
the layer's own width from another width and belongs to no attention and no state-space mixer.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

NO_NEURONS = re.compile(r"attention|attn|mixer|mamba|recurrentblock|deltanet|adapter|bottleneck", re.IGNORECASE)
"""Class names of modules that contain no feed-forward network of the whole layer."""

LIST = re.compile(r"\.\d+(?:\.|$)")

Projections = dict[str, dict[int, nn.Module]]


class _LinearCall(NamedTuple):
    name: str
    read: tuple[int, ...]
    written: int
    """The width of the output."""


def down_projections(loaded: Loaded, example: Example) -> Projections:
    """Return the linear layer whose input is the neurons' activations, by stack and layer.

    Stacks are `self`, or `encoder` and `decoder`. The input has the shape (1, T, N), or (T, N) in a few models. A model
    that uses one layer's weights several times has that layer several times, in the order of its calls. Layers without
    such a network are left out.

    Raises:
        Unusable: no layer has one.
    """
    modules = dict(loaded.model.named_modules())
    calls, widths = _run(loaded, example, modules)
    projections: Projections = {}
    for stack, inside, length in _stacks(loaded, example):
        layers = _layers(modules, [call for call in calls if id(modules[call.name]) in inside], widths, length)
        if layers:
            projections[stack] = layers
    if not projections:
        kind = loaded.model.config.model_type
        raise Unusable(
            f"The feed-forward neurons of model {loaded.ref.name!r} ({kind}) cannot be told apart: no layer has one "
            "network that reads every token, as in a mixture of experts, or in a model without such networks."
        )
    return projections


def activations(loaded: Loaded, example: Example, projections: Projections) -> dict[str, dict[int, torch.Tensor]]:
    """Return the neurons' activations, (T, N), by stack and layer."""
    read: dict[int, list[torch.Tensor]] = {}

    def look(module: nn.Module, args: tuple[Any, ...], _: Any) -> None:
        read.setdefault(id(module), []).append(args[0].detach().float().flatten(0, -2))

    chosen = {id(module): module for layers in projections.values() for module in layers.values()}
    with torch.inference_mode(), _hooks(dict.fromkeys(chosen.values(), look)):
        loaded.model(**collate(loaded, [example]))
    return {
        stack: {layer: read[id(module)].pop(0) for layer, module in layers.items()}
        for stack, layers in projections.items()
    }


def _run(
    loaded: Loaded, example: Example, modules: Mapping[str, nn.Module]
) -> tuple[list[_LinearCall], dict[str, int]]:
    """Return the calls of linear layers in their order, and the output width of each numbered layer."""
    calls: list[_LinearCall] = []
    widths: dict[str, int] = {}

    def linear(name: str) -> Any:
        def look(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, torch.Tensor):  # a router is a linear layer that returns more
                calls.append(_LinearCall(name, tuple(args[0].shape), output.shape[-1]))

        return look

    def layer(name: str) -> Any:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple | list) else output
            if isinstance(first, torch.Tensor):
                widths[name] = first.shape[-1]

        return look

    hooks = {module: linear(name) for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D)}
    hooks |= {modules[name]: layer(name) for name in {_layer_of(modules, name) for name in modules} if name}
    with torch.inference_mode(), _hooks(hooks):
        loaded.model(**collate(loaded, [example]))
    return calls, widths


@contextmanager
def _hooks(hooks: Mapping[nn.Module, Any]) -> Iterator[None]:
    handles = [module.register_forward_hook(look) for module, look in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stacks(loaded: Loaded, example: Example) -> Iterator[tuple[str, set[int], int]]:
    """Yield each stack's name, the ids of its modules, and the number of tokens it reads."""
    model = loaded.model
    if example.target is None or not loaded.encoder_decoder:
        yield "self", set(map(id, model.modules())), len(example.text.ids)
        return
    encoder, decoder = set(map(id, model.get_encoder().modules())), set(map(id, model.get_decoder().modules()))
    yield "encoder", encoder, len(example.text.ids)
    yield "decoder", decoder - encoder, len(example.target.ids)


def _layer_of(modules: Mapping[str, nn.Module], name: str) -> str:
    """Return the name of the numbered layer that a module lies in, or '' if there is none.

    It ends at the first number that does not name a list of layers.
    """
    parts = name.split(".")
    for end, part in enumerate(parts, 1):
        layer = ".".join(parts[:end])
        if part.isdigit() and not isinstance(modules[layer], nn.ModuleList):
            return layer
    return ""


def _layers(
    modules: Mapping[str, nn.Module], calls: list[_LinearCall], widths: Mapping[str, int], length: int
) -> dict[int, nn.Module]:
    """Return the fitting linear layer of each layer: the one with the most neurons, the last of several.

    Some layers have a narrow network beside the wide one. If there are several lists of layers, the one with most
    layers counts.
    """
    fitting: dict[str, _LinearCall] = {}
    for call in calls:
        layer = _layer_of(modules, call.name)
        width = fitting[layer].read[-1] if layer in fitting else 0
        if layer and call.read[-1] >= width and _fits(modules, layer, call, widths.get(layer), length):
            fitting[layer] = call
    last = {layer: call.name for layer, call in fitting.items()}
    lists = Counter(LIST.split(layer)[0] for layer in last)
    if not lists:
        return {}
    most = max(lists, key=lists.__getitem__)
    chosen = {name: int(layer.rpartition(".")[2]) for layer, name in last.items() if LIST.split(layer)[0] == most}
    order = [call.name for call in calls if call.name in chosen]
    if len(order) > len(set(chosen.values())):  # weights that layers share, or lists of lists
        return {layer: modules[name] for layer, name in enumerate(order)}
    return {chosen[name]: modules[name] for name in sorted(chosen, key=chosen.__getitem__)}


def _fits(modules: Mapping[str, nn.Module], layer: str, call: _LinearCall, width: int | None, length: int) -> bool:
    """Return whether a linear layer reads every token, writes the layer's own width from another, and is no
    attention's.
    """
    fits = math.prod(call.read[:-1]) == length and call.written == width != call.read[-1]
    return fits and not _apart(modules, layer, call.name) and not _mixed(modules[layer])


def _apart(modules: Mapping[str, nn.Module], layer: str, name: str) -> bool:
    """Return whether a linear layer lies in something other than a feed-forward network."""
    between = name.removeprefix(layer).split(".")[1:-1]
    names = [".".join([layer, *between[:end]]) for end in range(1, len(between) + 1)] or [layer]
    return any(NO_NEURONS.search(type(modules[part]).__name__) for part in names)


def _mixed(layer: nn.Module) -> bool:
    """Return whether a layer chooses experts for each token."""
    return any("expert" in f"{name} {type(module).__name__}".lower() for name, module in layer.named_modules())
