"""Norms of what an attention moves: ‖v_j · W_O^h‖ for each head and token (Kobayashi et al. 2020).

W_O is found by running: the first linear layer whose input is the output of an attention.
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
    """The linear layer that an attention's output goes through."""

    linear: torch.nn.Module
    heads: int
    scales: torch.Tensor | None = None
    """(heads,): what an intervention multiplies each head's share of its input by."""
    _gram: torch.Tensor | None = None

    def gram(self) -> torch.Tensor:
        """W_h · W_hᵀ of each head, (heads, dv, dv): norms through it cost T·dv² a head, not T·dv·D."""
        if self._gram is None:
            with _present(self.linear):
                weight = self.linear.weight
                assert isinstance(weight, torch.Tensor)  # noqa: S101 — for the type checker: `projecting` chose it so
                weight = (weight if isinstance(self.linear, Conv1D) else weight.T).float()  # (heads·dv, D)
                split = weight.reshape(self.heads, -1, weight.shape[1])
                self._gram = split @ split.transpose(1, 2)
        return self._gram


def _present(linear: torch.nn.Module) -> AbstractContextManager[None]:
    """While this lasts, the layer has its weights: accelerate may fetch them for the layer's own pass alone."""
    if not getattr(linear.weight, "is_meta", False):
        return nullcontext()
    from accelerate.utils import align_module_device

    found: AbstractContextManager[None] = align_module_device(linear)
    return found


def norms(value: torch.Tensor, projection: Projection) -> torch.Tensor:
    """(B, kv_heads, T, dv) → (B, heads, T)"""
    value = value.float().repeat_interleave(projection.heads // value.shape[1], dim=1)
    found = ((value @ projection.gram()) * value).sum(-1).clamp_(min=0).sqrt_()
    return found if projection.scales is None else found * projection.scales.abs().to(found)[:, None]


@contextmanager
def projecting(calls: list[Call], projections: dict[int, Projection]) -> Iterator[None]:
    """While this lasts, linear layers are compared with the outputs of the calls made so far; those found are noted."""
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
    """Whether the output is weights times values, and nothing else comes in."""
    if call.value is None or call.output is None or call.weights.shape[1] % call.value.shape[1]:
        return False
    value = call.value.float().repeat_interleave(call.weights.shape[1] // call.value.shape[1], dim=1)
    if value.ndim != 4 or value.shape[2] != call.weights.shape[3]:
        return False
    made = (call.weights.float() @ value).transpose(1, 2)
    given = call.output.float()
    return made.shape == given.shape and torch.allclose(made, given, atol=1e-2 * float(given.abs().max()) + 1e-6)


def _is(given: object, output: torch.Tensor) -> bool:
    """Whether a linear layer's input is that output, its heads side by side."""
    if not isinstance(given, torch.Tensor) or given.numel() != output.numel():
        return False
    return given.shape[-1] == output.shape[2] * output.shape[3] and torch.equal(given.reshape(output.shape), output)


def _dense(module: torch.nn.Module, width: int) -> bool:
    """Not packed, as those of quantised models are."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)  # noqa: S101 — for the type checker
    return (
        weight.is_floating_point()
        and weight.ndim == 2
        and weight.shape[0 if isinstance(module, Conv1D) else 1] == width
    )
