"""What attention scores are made of: queries, keys, and all else that enters the softmax.

For each layer and head, softmax over tokens of q·k·scale + Σ terms is the weight, within 1e-3; that is checked for each
layer of each text, here. What enters beside q·k is taken from where the model's attention function gets it (a mask's
finite part, a soft cap, a sink's share); what cannot be named so is the difference to the score itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import encoding
from mkdocs_attnviz.models.captures.attention import Making, Stacked, entries, making, quantised, tokens
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import Stack, forward

TOLERANCE = 1e-3
MASKING = -1e4 + 100
"""A score as low as this is a mask; no model learns it."""
SMALLEST = 1e-30
LEAST = 1e-4
"""Of the largest product: a term that is smaller everywhere is none."""
ROUNDING = 0.1
"""In half precision a score is rounded by some hundredths: then the weights shown are those of the exact scores."""
NAMES = {
    "bloom": "ALiBi",
    "deberta": "disentangled position",
    "deberta-v2": "disentangled position",
    "mpnet": "relative position bias",
    "mpt": "ALiBi",
}
"""What differs from q·k in models that compute their scores in code of their own."""
ALIBI = {"bloom", "falcon", "mpt"}


@dataclass
class Part:
    """One layer of one example."""

    weights: torch.Tensor
    """(heads, rows, cols)"""
    query: torch.Tensor
    """(heads, rows, d)"""
    key: torch.Tensor
    """(kv_heads, cols, d)"""
    scale: float
    masked: torch.Tensor
    """(heads or 1, rows, cols): what is not looked at."""
    terms: dict[str, torch.Tensor] = field(default_factory=dict)
    """(heads, rows, cols)"""


Explained = tuple[dict[str, Any], dict[str, bytes]]
"""A layer of one example: what `meta` says of it, and its blobs by the end of their name."""


def capture(context: Context) -> list[Entry]:
    """One entry for each example: for each layer weights, queries, keys and terms.

    Raises:
        Unusable: the model has no weights of tokens by tokens, or none that come from queries and keys.
    """
    loaded, examples = context.loaded, context.examples
    found = find_attention_map(loaded, examples[0])
    wanted = {layer.call: stack for stack in found.stacks.values() for layer in stack.layers}
    kept: dict[int, list[Explained]] = {}
    count = 0

    def keep(call: Call) -> None:
        nonlocal count
        if count in wanted:
            kept[count] = _explained(loaded, call, wanted[count], examples)
        count += 1

    forward(loaded, collate(loaded, examples), found, keep, operands=True)
    return entries(found, examples, lambda name, number: _stack(found.stacks[name], number, kept))


def _explained(loaded: Loaded, call: Call, stack: Stack, examples: Sequence[Example]) -> list[Explained]:
    """The call of each example. The model waits for it, so that no more than one layer's scores exist at a time."""
    parts = [_part(loaded, call, stack, number, example) for number, example in enumerate(examples)]
    being_made = [(_meta(part, stack), _blobs(part)) for part in parts]
    return [(meta, {end: made() for end, made in blobs.items()}) for meta, blobs in being_made]


def _part(loaded: Loaded, call: Call, stack: Stack, number: int, example: Example) -> Part:
    """The call's part of one example, explained.

    Raises:
        Unusable: there are no queries and keys.
    """
    if call.query is None or call.key is None or call.weights.shape[1] % call.key.shape[1]:
        kind = loaded.model.config.model_type
        raise Unusable(
            f"Model {loaded.ref.name!r} ({kind}) computes its attention without queries and keys that could be shown."
        )
    rows, cols = (len(tokens(example, name).ids) for name in (stack.rows, stack.cols))

    def cut(scores: torch.Tensor | None) -> torch.Tensor | None:
        if scores is None:
            return None
        scores = (
            scores.expand(call.weights.shape)
            if scores.ndim == 4
            else scores.expand(call.weights.shape[1:])[None].expand(call.weights.shape)
        )
        return scores[number, :, :rows, :cols].float()

    weights = call.weights[number, :, :rows, :cols].float()
    query = call.query.expand(call.weights.shape[0], -1, -1, -1)[number, :, :rows].float()
    key = call.key.expand(call.weights.shape[0], -1, -1, -1)[number, :, :cols].float()
    part = Part(weights, query, key, call.scale, weights < 0)
    _explain(part, call, cut, loaded.model.config.model_type)
    if stack.sink:
        _add_sink(part)
    return part


def _explain(part: Part, call: Call, cut: Any, kind: str) -> None:
    """Add the terms that lead from q·k to the weights."""
    product = _product(part)
    total = product
    scores = cut(call.scores)
    if scores is not None:
        part.masked = scores < MASKING
        rounded = 2 * torch.finfo(call.query.dtype).eps if call.query is not None else 0
        _add(part, NAMES.get(kind, "other"), scores - product, max(LEAST, rounded))
    else:
        if call.softcap is not None:
            capped = call.softcap * torch.tanh(total / call.softcap)
            _add(part, "soft cap", capped - total)
        mask, bias = cut(call.mask), cut(call.bias)
        if mask is not None:
            part.masked = mask < MASKING
            _add(part, "ALiBi" if kind in ALIBI else "relative position bias", mask)
        if bias is not None:
            part.masked = part.masked | (bias < MASKING)
            _add(part, "relative position bias", bias)
    made = _total(part).softmax(-1) * part.weights.sum(-1, keepdim=True)
    distance = float((made - part.weights).abs().amax())
    if call.weights.element_size() < 4 and distance <= ROUNDING:
        part.weights = made
    elif distance > TOLERANCE:
        part.terms.clear()
        part.masked = part.weights <= SMALLEST
        _add(part, "other", torch.log(part.weights.clamp(min=SMALLEST)) - product)


def _product(part: Part) -> torch.Tensor:
    key = part.key.repeat_interleave(part.query.shape[0] // part.key.shape[0], dim=0)
    return part.query @ key.transpose(1, 2) * part.scale


def _add(part: Part, name: str, term: torch.Tensor, least: float = LEAST) -> None:
    """What is the same for all tokens of a row changes no weight, and is left out; so is what is but rounding."""
    open_ = ~part.masked
    count = open_.sum(-1, keepdim=True).clamp(min=1)
    term = torch.where(open_, term, 0)
    term = torch.where(open_, term - term.sum(-1, keepdim=True) / count, 0)
    if float(term.abs().amax()) > least * max(1.0, float(_product(part).abs().amax())):
        part.terms[name] = part.terms[name] + term if name in part.terms else term


def _total(part: Part) -> torch.Tensor:
    """All that goes into the softmax; a row that looks nowhere stays finite."""
    total = _product(part)
    for term in part.terms.values():
        total = total + term
    return total.masked_fill(part.masked, -1e9)


def _add_sink(part: Part) -> None:
    """One column more, which no query or key has a part in: its score follows from what it takes."""
    total = _total(part)
    share = part.weights.sum(-1)
    rest = (1 - share).clamp(min=0)
    score = torch.logsumexp(total, -1) + torch.log(rest / share.clamp(min=SMALLEST))  # (heads, rows)
    part.weights = torch.cat([part.weights, rest[..., None]], -1)
    part.key = torch.nn.functional.pad(part.key, (0, 0, 0, 1))
    nothing = (rest <= SMALLEST).expand(part.weights.shape[:2])[..., None]
    part.masked = torch.cat([part.masked.expand(total.shape), nothing], -1)
    part.terms = {name: torch.nn.functional.pad(term, (0, 1)) for name, term in part.terms.items()}
    sink = torch.zeros_like(part.weights)
    sink[..., -1] = torch.where(nothing[..., 0], 0, score)
    part.terms["sink"] = sink


def _meta(part: Part, stack: Stack) -> dict[str, Any]:
    """A mask that is not plainly causal becomes a term of its own, where no other carries it."""
    masked = part.masked
    if stack.causal:
        masked = masked & torch.ones(masked.shape[-2:], dtype=torch.bool, device=masked.device).tril()
    if not part.terms and bool(masked.any()):
        part.terms["mask"] = torch.zeros_like(part.weights)
    d, kv_heads = part.query.shape[2], part.key.shape[0]
    neurons = {"d": d, "kv_heads": kv_heads, "scale": part.scale, "terms": list(part.terms)}
    return {"heads": part.weights.shape[0], "neurons": neurons}


def _blobs(part: Part) -> dict[str, Making]:
    heads = part.weights.shape[0]
    steps = quantised(part.weights.clone()).transpose(1, 2).cpu().numpy()
    masked = part.masked.expand(part.weights.shape).reshape(heads, -1).cpu().numpy()
    blobs = {"": making(encoding.weights_blob, steps)}
    blobs |= {
        "/q": making(encoding.scaled_blob, _columns(part.query)),
        "/k": making(encoding.scaled_blob, _columns(part.key)),
    }
    for place, term in enumerate(part.terms.values()):
        blobs[f"/term/{place}"] = making(encoding.scaled_blob, term.reshape(heads, -1).cpu().numpy(), masked)
    return blobs


def _stack(stack: Stack, number: int, kept: dict[int, list[Explained]]) -> Stacked:
    layers: list[dict[str, Any]] = []
    blobs: dict[str, Making] = {}
    for layer in stack.layers:
        meta, made = kept[layer.call][number]
        layers.append({"layer": layer.layer, **meta})
        blobs |= {f"{layer.layer}{end}": _made(blob) for end, blob in made.items()}
    return layers, blobs


def _made(blob: bytes) -> Making:
    return lambda: blob


def _columns(vectors: torch.Tensor) -> encoding.Floats:
    """(heads, n, d) → (heads·d, n)"""
    found: encoding.Floats = np.ascontiguousarray(vectors.transpose(1, 2).flatten(0, 1).cpu().numpy())
    return found
