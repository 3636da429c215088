"""The cells and gates of the recurrent networks of `torch.nn` inside a model: LSTM, GRU and plain RNN.

`torch.nn` hands out hidden states only, and cells of the last step only. So the inputs of each module are recorded
while the model runs, and every step is computed again from them and from the module's weights, by the formulas in
torch's own documentation. Modules are found by walking through the model, layers and directions by their weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

GATES = {
    "LSTM": ("input", "forget", "candidate", "output"),
    "GRU": ("reset", "update", "candidate"),
    "RNN": ("hidden",),
}
"""The parts of the stacked weights of each kind, in torch's order."""
PARTS = {
    "LSTM": ("cell", "hidden", "forget", "input", "output"),
    "GRU": ("hidden", "reset", "update"),
    "RNN": ("hidden",),
}
"""The parts that are shown of each kind. A candidate is none: the cell or the hidden state says what became of it."""
ROUNDING = 1e-3
"""The largest difference between a module's own output and the one that is computed again."""

Steps = Mapping[str, torch.Tensor]
"""The parts of one layer in one direction, each (T, units)."""


@dataclass
class RecurrentLayer:
    """One layer of a recurrent module, in one direction."""

    module: str
    """The name of the module in the model."""
    kind: str
    """`LSTM`, `GRU` or `RNN`."""
    layer: int
    """The number of the layer within its module."""
    backward: bool
    """True if it reads the text from its end."""
    parts: Steps

    @property
    def name(self) -> str:
        """The name of the layer in words, such as "lstm, layer 1, backward"."""
        return f"{self.module}, layer {self.layer}{', backward' if self.backward else ''}"


@dataclass(frozen=True)
class _Weights:
    """The weights of one layer in one direction, as torch stacks them: (gates × units, inputs)."""

    from_input: torch.Tensor
    from_hidden: torch.Tensor
    bias_of_input: torch.Tensor | None = None
    bias_of_hidden: torch.Tensor | None = None
    projection: torch.Tensor | None = None

    @property
    def units(self) -> int:
        return self.from_input.shape[0]


@dataclass
class _Call:
    """One run of a module."""

    input: torch.Tensor
    """(T, inputs)"""
    state: Sequence[torch.Tensor]
    """The state before the first step: hidden, and cell of an LSTM; each (layers × directions, units), or none."""
    output: torch.Tensor
    """(T, directions × units)"""


@dataclass
class _Recorded:
    module: nn.Module
    calls: list[_Call] = field(default_factory=list)


def kind_of(module: nn.Module) -> str | None:
    """Return `LSTM`, `GRU` or `RNN`, or None for a module that is not recurrent."""
    kinds = {"LSTM": (nn.LSTM, nn.LSTMCell), "GRU": (nn.GRU, nn.GRUCell), "RNN": (nn.RNN, nn.RNNCell)}
    return next((kind for kind, classes in kinds.items() if isinstance(module, classes)), None)


def has_recurrent_modules(model: nn.Module) -> bool:
    """Return whether a model has a recurrent module of `torch.nn`."""
    return any(kind_of(module) for module in model.modules())


def recurrent_layers(loaded: Loaded, example: Example) -> list[RecurrentLayer]:
    """Return the recurrent layers that read each token of the text, in the order in which they run.

    Raises:
        Unusable: no recurrent module reads each token once, or one computes something else than torch documents.
    """
    recorded = _record(loaded, example)
    layers = []
    for name, each in recorded.items():
        if sum(len(call.input) for call in each.calls) == len(example.text.ids):
            layers += _layers(loaded, name, each)
    if not layers:
        known = ", ".join(recorded) or "none runs"
        raise Unusable(
            f"Model {loaded.ref.name!r} has no recurrent module of torch.nn (LSTM, GRU, RNN) that reads each token of "
            f"the text once; its recurrent modules: {known}."
        )
    return layers


def _record(loaded: Loaded, example: Example) -> dict[str, _Recorded]:
    """Run the model, and return the calls of its recurrent modules by the modules' names."""
    recorded: dict[str, _Recorded] = {}
    handles = []

    def hook(name: str) -> Any:
        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = args[0] if args else kwargs["input"]
            state = args[1] if len(args) > 1 else kwargs.get("hx")
            call = _call(module, given, state, output)
            recorded.setdefault(name, _Recorded(module)).calls.append(call)

        return look

    for name, module in loaded.model.named_modules():
        if kind_of(module):
            handles.append(module.register_forward_hook(hook(name), with_kwargs=True))
    try:
        with torch.inference_mode():
            loaded.model(**collate(loaded, [example]))
    finally:
        for handle in handles:
            handle.remove()
    return recorded


def _call(module: nn.Module, given: Any, state: Any, output: Any) -> _Call:
    """Return one run of a module over the first text of a batch."""
    states = () if state is None else state if isinstance(state, tuple) else (state,)
    if not isinstance(module, nn.RNNBase):  # a cell is called once for each step
        hidden = output[0] if isinstance(output, tuple) else output
        one = [part[:1] if part.dim() == 2 else part[None] for part in states]
        return _Call(_row(given), one, _row(hidden))
    before = [part[:, 0] if part.dim() == 3 else part for part in states]
    return _Call(_unpadded(module, given), before, _unpadded(module, output[0]))


def _row(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[:1] if tensor.dim() == 2 else tensor[None]


def _unpadded(module: nn.RNNBase, given: Any) -> torch.Tensor:
    """Return the first text of a batch, (T, width)."""
    if isinstance(given, nn.utils.rnn.PackedSequence):
        padded, lengths = nn.utils.rnn.pad_packed_sequence(given, batch_first=True)
        first: torch.Tensor = padded[0, : int(lengths[0])]
        return first
    one: torch.Tensor = given if given.dim() == 2 else given[0] if module.batch_first else given[:, 0]
    return one


def _layers(loaded: Loaded, name: str, recorded: _Recorded) -> list[RecurrentLayer]:
    """Return the layers of one module, over all its calls.

    Raises:
        Unusable: the module's own output is another than the one computed again.
    """
    module, kind = recorded.module, kind_of(recorded.module) or ""
    whole: dict[tuple[int, bool], list[Steps]] = {}
    for call in recorded.calls:
        current, output = call.input.float(), call.input
        directions = 2 if getattr(module, "bidirectional", False) else 1
        for layer in range(getattr(module, "num_layers", 1)):
            found = []
            for direction in range(directions):
                weights = _weights(module, layer, direction)
                before = [part[layer * directions + direction].float() for part in call.state]
                steps = (
                    _backward(kind, weights, current, before, module)
                    if direction
                    else run(kind, weights, current, before, getattr(module, "nonlinearity", "tanh"))
                )
                whole.setdefault((layer, bool(direction)), []).append(steps)
                found.append(steps["hidden"])
            output = current = torch.cat(found, -1)
        if not bool(((output - call.output.float()).abs() <= ROUNDING).all()):
            raise Unusable(
                f"The gates of {name!r} in model {loaded.ref.name!r} cannot be computed from its weights: its output "
                f"is another than that of torch.nn.{kind}."
            )
    return [
        RecurrentLayer(
            name, kind, layer, backward, {part: torch.cat([steps[part] for steps in several]) for part in PARTS[kind]}
        )
        for (layer, backward), several in whole.items()
    ]


def _weights(module: nn.Module, layer: int, direction: int) -> _Weights:
    """Return the weights of one layer in one direction as 32-bit numbers."""
    end = f"_l{layer}{'_reverse' if direction else ''}" if isinstance(module, nn.RNNBase) else ""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    found = [getattr(module, f"{name}{end}", None) for name in names]
    tensors = [None if tensor is None else tensor.detach().float() for tensor in found]
    return _Weights(*tensors)  # type: ignore[arg-type]


def _backward(
    kind: str, weights: _Weights, given: torch.Tensor, before: Sequence[torch.Tensor], module: nn.Module
) -> Steps:
    """Return the steps of a layer that reads from the end, in the order of the text."""
    steps = run(kind, weights, given.flip(0), before, getattr(module, "nonlinearity", "tanh"))
    return {part: values.flip(0) for part, values in steps.items()}


def run(
    kind: str, weights: _Weights, given: torch.Tensor, before: Sequence[torch.Tensor], nonlinearity: str = "tanh"
) -> Steps:
    """Return each step of one layer that reads `given`, (T, inputs), from the state `before`.

    The formulas are those of `torch.nn.LSTM`, `torch.nn.GRU` and `torch.nn.RNN`.
    """
    units = weights.units // len(GATES[kind])
    size = units if weights.projection is None else weights.projection.shape[0]
    hidden = before[0] if before else given.new_zeros(size)
    cell = before[1] if len(before) > 1 else given.new_zeros(units)
    parts: dict[str, list[torch.Tensor]] = {}
    with torch.inference_mode():
        from_input = nn.functional.linear(given, weights.from_input, weights.bias_of_input)  # (T, gates × units)
        for row in from_input:
            from_hidden = nn.functional.linear(hidden, weights.from_hidden, weights.bias_of_hidden)
            one, other = torch.split(row, units), torch.split(from_hidden, units)
            step = _STEP[kind](one, other, hidden, cell, nonlinearity)
            if weights.projection is not None:
                step["hidden"] = weights.projection @ step["hidden"]
            hidden, cell = step["hidden"], step.get("cell", cell)
            for part, value in step.items():
                parts.setdefault(part, []).append(value)
    return {part: torch.stack(values) for part, values in parts.items()}


Gates = Sequence[torch.Tensor]
Step = dict[str, torch.Tensor]


def _lstm(one: Gates, other: Gates, _hidden: torch.Tensor, cell: torch.Tensor, _nonlinearity: str) -> Step:
    entered, forgot, candidate, output = (a + b for a, b in zip(one, other, strict=True))
    gates = {"input": entered.sigmoid(), "forget": forgot.sigmoid(), "output": output.sigmoid()}
    new = gates["forget"] * cell + gates["input"] * candidate.tanh()
    return {**gates, "cell": new, "hidden": gates["output"] * new.tanh()}


def _gru(one: Gates, other: Gates, hidden: torch.Tensor, _cell: torch.Tensor, _nonlinearity: str) -> Step:
    reset, update = ((a + b).sigmoid() for a, b in zip(one[:2], other[:2], strict=True))
    candidate = (one[2] + reset * other[2]).tanh()
    return {"reset": reset, "update": update, "hidden": (1 - update) * candidate + update * hidden}


def _rnn(one: Gates, other: Gates, _hidden: torch.Tensor, _cell: torch.Tensor, nonlinearity: str) -> Step:
    total = one[0] + other[0]
    return {"hidden": total.relu() if nonlinearity == "relu" else total.tanh()}


_STEP = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
