"""The norm of what each attention head moves: ‖v_j · W_O^h‖ for each head and token (Kobayashi et al. 2020).

W_O is found by running the model: it is the first linear layer whose input is the output of an attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers.pytorch_utils import Conv1D

from mkdocs_attnviz.models.probing.attention_calls import Call


@dataclass
class Projection:
    """A linear layer that an attention's output goes through."""

    linear: torch.nn.Module
    heads: int
    scales: torch.Tensor | None = None
    """The factors, (heads,), by which an intervention multiplies each head's slice of the input."""
    _gram: torch.Tensor | None = None

    def gram(self) -> torch.Tensor:
        """Return W_h · W_hᵀ of each head, (heads, dv, dv). Norms through it cost T·dv² per head instead of T·dv·D."""
        if self._gram is None:
            with _present(self.linear):
                weight = self.linear.weight
                assert isinstance(weight, torch.Tensor)  # noqa: S101 — for the type checker: `projecting` checks it
                weight = (weight if isinstance(self.linear, Conv1D) else weight.T).float()  # (heads·dv, D)
                split = weight.reshape(self.heads, -1, weight.shape[1])
                self._gram = split @ split.transpose(1, 2)
        return self._gram


def _present(linear: torch.nn.Module) -> AbstractContextManager[None]:
    """Load the layer's weights inside the `with` block; accelerate may load them only for the layer's own pass."""
    if not getattr(linear.weight, "is_meta", False):
        return nullcontext()
    from accelerate.utils import align_module_device

    aligned: AbstractContextManager[None] = align_module_device(linear)
    return aligned


def norms(value: torch.Tensor, projection: Projection) -> torch.Tensor:
    """Return the norm of each token's value after the output projection: (B, kv_heads, T, dv) → (B, heads, T)."""
    value = value.float().repeat_interleave(projection.heads // value.shape[1], dim=1)
    lengths = ((value @ projection.gram()) * value).sum(-1).clamp_(min=0).sqrt_()
    return lengths if projection.scales is None else lengths * projection.scales.abs().to(lengths)[:, None]


@contextmanager
def projecting(calls: list[Call], projections: dict[int, Projection]) -> Iterator[None]:
    """Find the output projection of each call while a model runs, and add it to `projections`.

    The input of each linear layer is compared with the outputs of the calls made just before.
    """
    pending: dict[int, torch.Tensor] = {}
    seen = 0

    def look(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal seen
        for number in range(seen, len(calls)):
            call = calls[number]
            pending.clear()
            if call.output is not None and call.output.ndim == 4 and _reproduced(call):
                pending[number] = call.output
        seen = len(calls)
        if not pending or not isinstance(module, torch.nn.Linear | Conv1D) or not args:
            return
        for number, output in list(pending.items()):
            if _is(args[0], output) and _dense(module, args[0].shape[-1]):
                projections[number] = Projection(module, output.shape[2])
                pending.clear()

    hook = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()


def _reproduced(call: Call) -> bool:
    """Return whether the output is weights times values, and nothing else is added."""
    if call.value is None or call.output is None or call.weights.shape[1] % call.value.shape[1]:
        return False
    value = call.value.float().repeat_interleave(call.weights.shape[1] // call.value.shape[1], dim=1)
    if value.ndim != 4 or value.shape[2] != call.weights.shape[3]:
        return False
    expected = (call.weights.float() @ value).transpose(1, 2)
    output = call.output.float()
    close = 1e-2 * float(output.abs().max()) + 1e-6
    return expected.shape == output.shape and torch.allclose(expected, output, atol=close)


def _is(inputs: object, output: torch.Tensor) -> bool:
    """Return whether a linear layer's input is that output, with its heads side by side."""
    if not isinstance(inputs, torch.Tensor) or inputs.numel() != output.numel():
        return False
    return inputs.shape[-1] == output.shape[2] * output.shape[3] and torch.equal(inputs.reshape(output.shape), output)


def _dense(module: torch.nn.Module, width: int) -> bool:
    """Return whether a layer's weights are plain numbers, not packed as in quantised models."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)  # noqa: S101 — for the type checker
    return (
        weight.is_floating_point()
        and weight.ndim == 2
        and weight.shape[0 if isinstance(module, Conv1D) else 1] == width
    )
