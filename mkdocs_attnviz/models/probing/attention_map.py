"""The map from the attention calls of a forward pass to layers and stacks, made once per model (`attention_discovery`).

Transformers' own `attentions`, `encoder_attentions`, `decoder_attentions` and `cross_attentions` tell it: each slot
holds the number of a call. If a model returns none, the order of its calls tells it. A model that computes its
attention in code of its own is traced function by function (`function_tracer`). If the trace does not give the weights
that the model returns, the returned weights are used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mkdocs_attnviz.models.probing.output_projection import Projection

SEQUENCES = {"encoder": ("text", "text"), "decoder": ("target", "target"), "cross": ("target", "text")}
SEQUENCES |= {"self": ("text", "text")}


@dataclass
class Layer:
    call: int
    """The number of its call within a forward pass."""
    layer: int
    heads: int
    kv_heads: int
    """The number of heads of keys and values, each shared by as many heads of queries; `heads` if none is shared."""

    @property
    def meta(self) -> dict[str, int]:
        """The layer in the form of an entry's `meta`. Layers whose heads share nothing have no `kv_heads`."""
        shared = {"kv_heads": self.kv_heads} if self.kv_heads < self.heads else {}
        return {"layer": self.layer, "heads": self.heads, **shared}


@dataclass
class Stack:
    rows: str
    cols: str
    layers: list[Layer]
    causal: bool = False
    sink: bool = False
    """True if a part of the weights goes to no token."""


@dataclass
class AttentionMap:
    way: str
    """The source of the weights: `interface`, `operations` or `outputs`."""
    stacks: dict[str, Stack]
    calls: int
    """The number of calls in a forward pass, including those that belong to no stack."""
    projections: dict[int, Projection] = field(default_factory=dict)
    """The output projection of each call, by the call's number."""
