"""Attention masks probed by gradients, for models whose attention is never a matrix of tokens by tokens.

Longformer, BigBird or LongT5 compute their attention in bands and blocks. What they allow still shows from outside: the
output of an attention module at one token has a gradient with respect to exactly those tokens that it may attend to.
A pair of tokens whose weight is rounded to zero counts as not allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_pass import IDS, run
from mkdocs_attnviz.models.probing.function_tracer import is_attention

PROJECTIONS = 2
"""The smallest number of linear layers within an attention module: keys (perhaps also queries), and values."""


def probed(loaded: Loaded, inputs: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which token may attend to which, (rows, cols), by the name of each attention module, for one text."""
    passes = _Passes(loaded.model)
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            run(loaded, inputs, attentions=False)
    finally:
        passes.remove()
    found = {}
    for name, call in passes.calls.items():
        tokens = [inputs[key].shape[1] for key in IDS.values() if key in inputs]
        allowed = _allowed(call, tokens)
        if allowed is not None:
            found[name] = allowed
    return found


@dataclass
class _Pass:
    """A pass through an attention module."""

    states: torch.Tensor
    projected: list[torch.Tensor] = field(default_factory=list)
    """The outputs of its own linear layers: queries, keys, values."""
    output: torch.Tensor | None = None


class _Passes:
    """Hooks that keep each attention module's input, its output and those of its own linear layers."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.calls: dict[str, _Pass] = {}
        self.hooks = []
        for name, module in model.named_modules():
            linear = [child for child in module.children() if _is_linear(child)]
            if is_attention(module) and len(linear) >= PROJECTIONS:
                self.hooks.append(module.register_forward_pre_hook(self._reads(name), with_kwargs=True))
                self.hooks += [child.register_forward_hook(self._projects(name)) for child in linear]
                self.hooks.append(module.register_forward_hook(self._returns(name)))

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def _reads(self, name: str) -> Any:
        def keep(_: Any, args: Any, kwargs: Any) -> None:
            states = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
            self.calls.pop(name, None)
            if states is not None and states.is_floating_point():
                self.calls[name] = _Pass(_with_gradient(states))

        return keep

    def _projects(self, name: str) -> Any:
        def keep(_: Any, __: Any, output: torch.Tensor) -> None:
            if name in self.calls:
                self.calls[name].projected.append(_with_gradient(output))

        return keep

    def _returns(self, name: str) -> Any:
        def keep(_: Any, __: Any, output: Any) -> None:
            if name in self.calls:
                self.calls[name].output = output[0] if isinstance(output, tuple | list) else output

        return keep


def _with_gradient(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.requires_grad else tensor.requires_grad_()


def _is_linear(module: torch.nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim == 2 and not isinstance(module, torch.nn.Embedding)


def _allowed(call: _Pass, tokens: list[int]) -> npt.NDArray[np.bool_] | None:
    """Return which of the text's tokens may attend to which, (tokens, tokens); None if it cannot be told.

    The module may read more tokens than the text has, those of a padding before or behind it.
    """
    rows, states = _two(call.output), _two(call.states)
    if rows is None or states is None or not rows.requires_grad or rows.shape[0] != states.shape[0]:
        return None
    length = states.shape[0]
    count = max((each for each in tokens if each <= length), default=0)
    dependence = _Dependence(rows, [call.states, *call.projected], length)
    for row in range(count):
        dependence.read(row)
    seen = (dependence.allowed & ~np.eye(length, dtype=bool)).any(0)
    start = int(seen.argmax()) if seen.any() else 0  # the padding before the text
    if start > length - count:
        return None
    for row in range(count, count + start):
        dependence.read(row)
    text = slice(start, start + count)
    return dependence.with_own()[text, text]


class _Dependence:
    """The dependence of an attention module's output at some rows on the tokens that the module reads.

    A query, and whatever follows the attention, is read by its own row alone. So the numbers of a projection that any
    other row reads are those of keys and values, and only these tell whether a row attends to itself.
    """

    def __init__(self, output: torch.Tensor, sources: list[torch.Tensor], length: int) -> None:
        self.output = output
        self.sources = [part for part in sources if (two := _two(part)) is not None and two.shape[0] == length]
        self.weighting = torch.rand(output.shape[1], device=output.device, dtype=output.dtype) + 0.5
        self.allowed = np.zeros((length, length), np.bool_)
        self.own: dict[int, torch.Tensor] = {}
        self.shared: torch.Tensor | None = None

    def read(self, row: int) -> None:
        """Find the tokens that a row depends on."""
        goal = (self.output[row] * self.weighting).sum()
        grads = torch.autograd.grad(goal, self.sources, retain_graph=True, allow_unused=True)
        states, *projected = [_used(grad, part) for grad, part in zip(grads, self.sources, strict=True)]
        used = torch.cat(projected, 1) if projected else states  # (tokens, numbers)
        self.own[row] = used[row].clone()
        used[row] = False
        self.shared = used.any(0) if self.shared is None else self.shared | used.any(0)
        self.allowed[row] = (used.any(1) | states.any(1)).cpu().numpy()

    def with_own(self) -> npt.NDArray[np.bool_]:
        """Return the dependence, with that of each row on the keys and values of its own token."""
        shared = self.shared
        for row, numbers in self.own.items():
            some = numbers & shared if shared is not None and bool(shared.any()) else numbers
            self.allowed[row, row] = bool(some.any())
        return self.allowed


def _used(grad: torch.Tensor | None, source: torch.Tensor) -> torch.Tensor:
    """Return which numbers of each token have a gradient, (tokens, numbers)."""
    found = _two(source if grad is None else grad)
    assert found is not None, "sources have two axes"  # noqa: S101 — for the type checker
    return torch.zeros_like(found, dtype=torch.bool) if grad is None else found != 0


def _two(tensor: Any) -> torch.Tensor | None:
    """Return a tensor of one text as (tokens, numbers); None if it has other axes."""
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        return None
    axes = [size for size in tensor.shape[:-1] if size > 1]
    return tensor.reshape(-1, tensor.shape[-1]) if len(axes) <= 1 else None
