"""The attention calls of a forward pass, each with its weights, queries, keys and values.

Transformers' own eager attention function is wrapped for the time of one forward pass. It computes the weights with
whatever the model adds to its scores (soft caps, biases, sinks). The caller reads what it needs at once. In place of
the weights the model gets one number expanded to the same shape, which takes no memory, so only one layer's weights
exist at a time. The number is the call's own: if the model returns `attentions`, it tells which call is which layer
(`attention_map`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_utils import AttentionInterface


@dataclass
class Call:
    """A call of one layer's attention, just computed. The receiver owns `weights` and may overwrite them."""

    weights: torch.Tensor
    """Attention weights, (B, heads, Tq, Tk)."""
    module: torch.nn.Module | None = None
    query: torch.Tensor | None = None
    """Queries, (B, heads, Tq, d), after rotary embeddings."""
    key: torch.Tensor | None = None
    """Keys, (B, kv_heads, Tk, d)."""
    value: torch.Tensor | None = None
    """Values, (B, kv_heads, Tk, dv)."""
    output: torch.Tensor | None = None
    """The attention's output, (B, Tq, heads, dv)."""
    scale: float = 1.0
    mask: torch.Tensor | None = None
    """A tensor added to the scores, broadcast to (B, heads, Tq, Tk): a bias, and very large negative numbers."""
    bias: torch.Tensor | None = None
    """A position bias that the model adds by itself."""
    softcap: float | None = None
    scores: torch.Tensor | None = None
    """The input of the softmax, (B, heads, Tq, Tk), if it was seen."""


Keep = Callable[[Call], None]


@contextmanager
def recording(keep: Keep) -> Iterator[None]:
    """Pass each attention call to `keep` inside the `with` block; the model gets its number in place of the weights."""
    original = AttentionInterface.get_interface
    count = 0

    def get_interface(self: AttentionInterface, implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        attend = original(self, implementation, default)

        def record(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            output, weights, *rest = attend(*args, **kwargs)
            if weights is None or weights.ndim != 4:
                return output, weights, *rest
            number = torch.tensor(float(count), device=weights.device).expand(weights.shape)  # stride 0: no memory
            count += 1
            keep(_call(weights, output, *args, **kwargs))
            return output, number, *rest

        return record

    AttentionInterface.get_interface = get_interface
    try:
        yield
    finally:
        AttentionInterface.get_interface = original


def _call(
    weights: torch.Tensor,
    output: torch.Tensor,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> Call:
    """Return the call of an eager attention function; the arguments have the names that transformers gives them."""
    mask = kwargs.get("attention_mask", mask)
    scale = kwargs.get("scaling")
    if scale is None:
        scale = getattr(module, "scaling", None)
    if scale is None:
        scale = query.shape[-1] ** -0.5
    return Call(
        weights,
        module,
        query,
        key,
        value,
        output,
        float(scale),
        mask,
        kwargs.get("position_bias"),
        kwargs.get("softcap"),
    )
