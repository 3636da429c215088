"""The parts of attention scores: queries, keys, and everything else that enters the softmax.

For each layer and head, the softmax over tokens of q·k·scale + Σ terms gives the weights within 1e-3. This is checked
here for each layer of each text. Terms besides q·k are read from the arguments of the model's attention function (the
finite part of a mask, a soft cap, a sink's share). If that does not explain the score, the term is the difference from
the score itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mkdocs_attnviz.cache.blobs import Spool
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import encoding, entry_budget
from mkdocs_attnviz.models.captures.attention import (
    PendingBlob,
    Told,
    entry,
    quantised,
    shapes,
    start_encoding,
    tokens,
)
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.entry_budget import EncodedLayer as Encoded
from mkdocs_attnviz.models.entry_budget import EntryBudget
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.kept_shares import mean_weights, sampled_rows
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Stack
from mkdocs_attnviz.models.probing.attention_pass import forward

TOLERANCE = 1e-3
MASKING = -1e4 + 100
"""The limit below which a score counts as a mask; no model learns scores as low as this."""
SMALLEST = 1e-30
LEAST = 1e-4
"""The smallest term that is stored, as a share of the largest product of query and key."""
ROUNDING = 0.1
"""The largest difference of a weight from the softmax of the scores in half precision.

Scores are rounded by some hundredths there. The weights shown are then those of the exact scores.
"""
NAMES = {
    "bloom": "ALiBi",
    "deberta": "disentangled position",
    "deberta-v2": "disentangled position",
    "mpnet": "relative position bias",
    "mpt": "ALiBi",
}
"""The name of the term besides q·k, for models that compute their scores in code of their own."""
ALIBI = {"bloom", "falcon", "mpt"}


@dataclass
class LayerScores:
    """The scores of one layer of one example."""

    weights: torch.Tensor
    """Weights, (heads, rows, cols)."""
    query: torch.Tensor
    """Queries, (heads, rows, d)."""
    key: torch.Tensor
    """Keys, (kv_heads, cols, d)."""
    scale: float
    masked: torch.Tensor
    """Masked pairs of tokens, (heads or 1, rows, cols)."""
    terms: dict[str, torch.Tensor] = field(default_factory=dict)
    """Terms by name, each (heads, rows, cols)."""


WEIGHTS = 0.5
"""The share of an entry's size that is for weights; the rest is for queries, keys and other terms."""
EncodedLayer = tuple[dict[str, Any], list[str]]
"""The `meta` of one layer of one example, and the ends of the names of its blobs."""


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example, with weights, queries, keys and terms of each layer.

    Raises:
        Unusable: the model has no weights of tokens by tokens, or none from queries and keys.
    """
    loaded, examples = context.loaded, context.examples
    attention_map = find_attention_map(loaded, examples[0])
    wanted = {
        layer.call: (stack, f"{name}/{layer.layer}")
        for name, stack in attention_map.stacks.items()
        for layer in stack.layers
    }
    spools = [Spool(context.folder) for _ in examples]
    layers: dict[int, list[EncodedLayer]] = {}
    size = context.entry_size
    budgets = [EntryBudget(int(size * WEIGHTS), shapes(attention_map, example)) for example in examples]
    count = 0

    def keep(call: Call) -> None:
        nonlocal count
        if count in wanted:
            stack, name = wanted[count]
            parts = [_part(loaded, call, stack, number, example) for number, example in enumerate(examples)]
            layers[count] = _encode_layer(parts, stack, name, spools, budgets)
        count += 1

    forward(loaded, collate(loaded, examples), attention_map, keep, operands=True)
    return [
        entry(attention_map, example, _told(attention_map, number, layers), spool, size)
        for number, (example, spool) in enumerate(zip(examples, spools, strict=True))
    ]


def _encode_layer(
    parts: Sequence[LayerScores], stack: Stack, name: str, spools: Sequence[Spool], budgets: Sequence[EntryBudget]
) -> list[EncodedLayer]:
    """Put the blobs of a layer of each example into its spool. The model waits, so only one layer's scores exist at a
    time.
    """
    metas = [_meta(part, stack) for part in parts]
    pending = [_blobs(part, budget) for part, budget in zip(parts, budgets, strict=True)]
    encoded = []
    for spool, meta, (weights, blobs) in zip(spools, metas, pending, strict=True):
        layer = weights()
        for end, blob in layer.blobs.items():
            spool.add(f"{name}{end}", blob)
        for end, wait in blobs.items():
            spool.add(f"{name}{end}", wait())
        encoded.append((meta | layer.meta, [*layer.blobs, *blobs]))
    return encoded


def _part(loaded: Loaded, call: Call, stack: Stack, number: int, example: Example) -> LayerScores:
    """Return the scores of one example, with their terms.

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
    part = LayerScores(weights, query, key, call.scale, weights < 0)
    _add_terms(part, call, cut, loaded.model.config.model_type)
    if stack.sink:
        _add_sink(part)
    return part


def _add_terms(part: LayerScores, call: Call, cut: Any, kind: str) -> None:
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
    expected = _total(part).softmax(-1) * part.weights.sum(-1, keepdim=True)
    distance = float((expected - part.weights).abs().amax())
    if call.weights.element_size() < 4 and distance <= ROUNDING:
        part.weights = expected
    elif distance > TOLERANCE:
        part.terms.clear()
        part.masked = part.weights <= SMALLEST
        _add(part, "other", torch.log(part.weights.clamp(min=SMALLEST)) - product)


def _product(part: LayerScores) -> torch.Tensor:
    key = part.key.repeat_interleave(part.query.shape[0] // part.key.shape[0], dim=0)
    return part.query @ key.transpose(1, 2) * part.scale


def _add(part: LayerScores, name: str, term: torch.Tensor, least: float = LEAST) -> None:
    """Add a term, without each row's mean, which changes no weight. A term as small as rounding is dropped."""
    open_ = ~part.masked
    count = open_.sum(-1, keepdim=True).clamp(min=1)
    term = torch.where(open_, term, 0)
    term = torch.where(open_, term - term.sum(-1, keepdim=True) / count, 0)
    if float(term.abs().amax()) > least * max(1.0, float(_product(part).abs().amax())):
        part.terms[name] = part.terms[name] + term if name in part.terms else term


def _total(part: LayerScores) -> torch.Tensor:
    """Return the input of the softmax; a row in which everything is masked stays finite."""
    total = _product(part)
    for term in part.terms.values():
        total = total + term
    return total.masked_fill(part.masked, -1e9)


def _add_sink(part: LayerScores) -> None:
    """Add a column for the sink. It has no query or key; its score follows from its share of the weights."""
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


def _meta(part: LayerScores, stack: Stack) -> dict[str, Any]:
    """Return the layer's `meta`. A mask that is not just causal becomes a term, unless another term has it."""
    masked = part.masked
    if stack.causal:
        masked = masked & torch.ones(masked.shape[-2:], dtype=torch.bool, device=masked.device).tril()
    if not part.terms and bool(masked.any()):
        part.terms["mask"] = torch.zeros_like(part.weights)
    d, kv_heads = part.query.shape[2], part.key.shape[0]
    neurons = {"d": d, "kv_heads": kv_heads, "scale": part.scale, "terms": list(part.terms)}
    return {"heads": part.weights.shape[0], "neurons": neurons}


def _blobs(part: LayerScores, budget: EntryBudget) -> tuple[Callable[[], Encoded], dict[str, PendingBlob]]:
    """Start to encode the weights of a layer, and all other blobs of it."""
    heads = part.weights.shape[0]
    steps = quantised(part.weights.clone()).transpose(1, 2).cpu().numpy()
    masked = part.masked.expand(part.weights.shape).reshape(heads, -1).cpu().numpy()
    _, rows, cols = part.weights.shape
    sample = part.weights[:, sampled_rows(rows)]
    means = mean_weights(sample.cpu().numpy()) if budget.needs_means(cols) else None
    layer = start_encoding(entry_budget.encode_layer, np.ascontiguousarray(steps), budget, means)
    blobs = {
        "/q": start_encoding(encoding.scaled_blob, _columns(part.query)),
        "/k": start_encoding(encoding.scaled_blob, _columns(part.key)),
    }
    for place, term in enumerate(part.terms.values()):
        blobs[f"/term/{place}"] = start_encoding(encoding.scaled_blob, term.reshape(heads, -1).cpu().numpy(), masked)
    return layer, blobs


def _told(attention_map: AttentionMap, number: int, layers_by_call: dict[int, list[EncodedLayer]]) -> dict[str, Told]:
    """Return the layers of each stack of one example, and the names of their blobs."""
    told: dict[str, Told] = {}
    for name, stack in attention_map.stacks.items():
        layers, names = told[name] = [], []
        for layer in stack.layers:
            meta, ends = layers_by_call[layer.call][number]
            layers.append({**layer.meta, **meta})
            names += [f"{name}/{layer.layer}{end}" for end in ends]
    return told


def _columns(vectors: torch.Tensor) -> encoding.Floats:
    """Reshape (heads, n, d) to (heads·d, n)."""
    columns: encoding.Floats = np.ascontiguousarray(vectors.transpose(1, 2).flatten(0, 1).cpu().numpy())
    return columns
