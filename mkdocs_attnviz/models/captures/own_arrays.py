"""Entries from own arrays, in the same form as those of captures. NumPy only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.block.defaults import ENTRY_SIZE
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.encoding import Floats, Rollout, joined_overview, pooled, quantised, scaled_blob
from mkdocs_attnviz.models.entry_budget import EntryBudget, encode_layer, encode_rollout, reduction_of
from mkdocs_attnviz.models.inputs.marks import guess_marks
from mkdocs_attnviz.models.inputs.word_boundaries import different_texts, split
from mkdocs_attnviz.models.kept_shares import mean_weights, sampled_rows

SIDES = {
    "self": ("text", "text"),
    "encoder": ("text", "text"),
    "decoder": ("target", "target"),
    "cross": ("target", "text"),
}
"""The sequences of each stack's rows and columns."""
SIDE_NAMES = {"text": "text (`tokens` or `encoder_tokens`)", "target": "output (`decoder_tokens`)"}
SPECIAL = re.compile(r"\[(CLS|SEP|PAD|MASK|UNK|BOS|EOS)\]|</?(s|pad|unk|mask|bos|eos)>|<\|[^|]*\|>")
IDENTITY = 1e-3
"""The largest difference between the softmax of the scores and the weights."""


@dataclass(frozen=True)
class LayerTensors:
    """The tensors of one layer; `neurons` holds queries (heads, rows, d) and keys (kv_heads, cols, d)."""

    weights: Floats
    norms: Floats | None = None
    neurons: tuple[Floats, Floats] | None = None
    scale: float | None = None
    """The factor of query · key; None for 1/√d."""


@dataclass(frozen=True)
class TokenRow:
    """The tokens of one sequence. A field that is None is derived from the tokens as far as possible."""

    tokens: Sequence[str]
    special: Sequence[int] | None = None
    sentence_b_start: int | None = None
    words: Sequence[int | None] | None = None

    def meta(self) -> dict[str, Any]:
        # half of a surrogate pair cannot be encoded
        tokens = [str(token).encode("utf-8", "replace").decode() for token in self.tokens]
        special = [n for n, token in enumerate(tokens) if SPECIAL.fullmatch(token)]
        special = special if self.special is None else list(self.special)
        marks = guess_marks([token for n, token in enumerate(tokens) if n not in special])
        contents = [token.encode() if n in special else marks.content(token) for n, token in enumerate(tokens)]
        read = marks.read(tokens, set(special), contents)
        words = marks.words(tokens, special) if self.words is None else list(self.words)
        pretty, texts = [token.pretty for token in read], [token.text for token in read]
        meta = {
            "tokens": tokens,
            "pretty": pretty,
            "special": special,
            "sentence_b_start": self.sentence_b_start,
            "words": words,
        }
        if different := different_texts(words, pretty, texts):
            meta["texts"] = different
        return meta if self.words is not None else meta | {"words": split(meta)}

    def check(self) -> None:
        """Check the tokens.

        Raises:
            ValueError: there are none, or a field does not fit their number.
        """
        count, start = len(self.tokens), self.sentence_b_start
        if count == 0:
            raise WrongValue("tensors", "There are no tokens.")
        if start is not None and not 0 < start < count:
            raise WrongValue("sentence_b_start", f"`sentence_b_start` is {start}; it must be from 1 to {count - 1}.")
        if self.words is not None and len(self.words) != count:
            raise WrongValue(
                "tensors", f"There are {len(self.words)} `words` for {count} tokens; each token needs one."
            )


Shape = tuple[int, int, int]
"""The number of heads, rows and columns of a layer."""


def entry(
    stacks: Mapping[str, Mapping[int, LayerTensors]],
    sequences: Mapping[str, TokenRow],
    entry_size: int = ENTRY_SIZE,
    shapes: Sequence[Shape] | None = None,
) -> Entry:
    """Return an entry of own tensors of at most about `entry_size` bytes; `stacks` has them by stack and layer.

    Only one layer is in memory at a time if the mappings read each layer when it is asked for, and the `shapes` of all
    layers are given.

    Raises:
        ValueError: shapes and tokens do not fit, or weights are no probabilities.
    """
    blobs: dict[str, bytes] = {}
    if shapes is None:
        every = [layer.weights.shape for layers in stacks.values() for layer in layers.values()]
        shapes = [shape for shape in every if len(shape) == 3]
    budget = EntryBudget(entry_size, shapes)
    meta = {name: _stack(name, layers, sequences, blobs, budget) for name, layers in stacks.items()}
    used = {side for stack in meta.values() for side in (stack["rows"], stack["cols"])}
    about = {"sequences": {name: sequences[name].meta() for name in sorted(used)}, "stacks": meta}
    return Entry(about | reduction_of(meta, entry_size), blobs)


def _stack(
    name: str,
    layers: Mapping[int, LayerTensors],
    sequences: Mapping[str, TokenRow],
    blobs: dict[str, bytes],
    budget: EntryBudget,
) -> dict[str, Any]:
    rows, cols = SIDES[name]
    for side in (rows, cols):
        if side not in sequences:
            raise WrongValue("tensors", f"There is {name} attention, but no tokens of the {SIDE_NAMES[side]}.")
        sequences[side].check()
    shape = (len(sequences[rows].tokens), len(sequences[cols].tokens))
    square = rows == cols
    causal = square and shape[0] > 1
    room = budget.rollout_room(len(layers)) if budget.is_large else float("inf")
    rollout = Rollout()
    overview, rollouts = [], {}
    described: dict[int, dict[str, Any]] = {}
    with_neurons = []
    for number in layers:
        layer = layers[number]
        _check(f"{name} layer {number}", layer, shape)
        steps = quantised(layer.weights)
        sample = layer.weights[:, sampled_rows(shape[0])]
        means = mean_weights(sample) if budget.needs_means(shape[1]) else None
        stored = encode_layer(steps, budget, means)
        blobs |= {f"{name}/{number}{end}": blob for end, blob in stored.blobs.items()}
        if layer.norms is not None:
            blobs[f"{name}/{number}/values"] = scaled_blob(layer.norms)
        overview.append(pooled(steps))
        if square:
            rollouts[f"{name}/{number}/rollout"] = encode_rollout(rollout.add(steps), room)
        causal = causal and not np.triu(layer.weights, 1).any()
        about = {"layer": number, "heads": len(layer.weights), "values": layer.norms is not None, "rollout": square}
        described[number] = about | stored.meta
        with_neurons += [number] if layer.neurons is not None else []
    blobs[f"{name}/overview"] = joined_overview(overview)
    blobs |= rollouts
    for number in with_neurons:  # what they mean depends on whether all layers are causal
        described[number]["neurons"] = _neurons(f"{name}/{number}", layers[number], causal, blobs)
    return {"rows": rows, "cols": cols, "causal": bool(causal), "layers": list(described.values())}


def _check(what: str, layer: LayerTensors, shape: tuple[int, int]) -> None:
    actual = layer.weights.shape
    if len(actual) != 3:
        raise WrongValue(
            "tensors", f"The attention of {what} must have the shape (heads, rows, cols); it has {actual}."
        )
    if actual[1:] != shape:
        raise WrongValue(
            "tensors",
            f"The attention of {what} is {actual[1]} × {actual[2]}, but there are {shape[0]} and {shape[1]} tokens.",
        )
    if layer.norms is not None and layer.norms.shape != (actual[0], shape[1]):
        raise WrongValue(
            "tensors", f"The norms of {what} must have the shape {(actual[0], shape[1])}; it is {layer.norms.shape}."
        )
    if layer.norms is not None and not bool((layer.norms >= 0).all() and np.isfinite(layer.norms).all()):
        raise WrongValue("tensors", f"The norms of {what} must be numbers from 0; some are not.")


def _neurons(name: str, layer: LayerTensors, causal: bool, blobs: dict[str, bytes]) -> dict[str, Any]:
    """Encode queries and keys, and return their description.

    A term is added if the softmax of the scores does not give the weights.

    Raises:
        ValueError: shapes do not fit, or numbers are not finite.
    """
    assert layer.neurons is not None  # noqa: S101 — for the type checker
    query, key = layer.neurons
    heads, rows, cols = layer.weights.shape
    if query.shape[:2] != (heads, rows) or key.shape[1:] != (cols, query.shape[2]) or heads % len(key):
        raise WrongValue(
            "tensors",
            f"Queries and keys of {name} must have the shapes (heads, rows, d) and (heads, cols, d); "
            f"they are {query.shape} and {key.shape}, with weights {layer.weights.shape}.",
        )
    scale = 1 / math.sqrt(query.shape[2]) if layer.scale is None else layer.scale
    if not (math.isfinite(scale) and np.isfinite(query).all() and np.isfinite(key).all()):
        raise WrongValue("tensors", f"Queries, keys and scale of {name} must be finite numbers; some are not.")
    if np.abs(layer.weights.sum(axis=2) - 1).max() > IDENTITY:
        raise WrongValue(
            "tensors",
            f"Each row of {name} must add up to one where queries and keys are given, since a softmax does; what goes "
            "to no token needs a column of its own.",
        )
    blobs[f"{name}/q"] = scaled_blob(query.transpose(0, 2, 1).reshape(-1, rows))
    blobs[f"{name}/k"] = scaled_blob(key.transpose(0, 2, 1).reshape(-1, cols))
    scores = scale * query @ np.repeat(key, heads // len(key), axis=0).transpose(0, 2, 1)
    allowed = np.tril(np.ones((rows, cols), bool)) if causal else np.ones((rows, cols), bool)
    terms = []
    if np.abs(softmax(np.where(allowed, scores, -np.inf)) - layer.weights).max() > IDENTITY:
        blobs[f"{name}/term/0"] = _residual(scores, layer.weights)
        terms.append("other")
    return {"d": query.shape[2], "kv_heads": len(key), "scale": scale, "terms": terms}


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _residual(scores: Floats, weights: Floats) -> bytes:
    """Return the term log p − score, masked where p is 0.

    Softmax ignores a constant of a row, so the term is zero where the weight is largest.
    """
    masked = weights <= 0
    rest = np.log(np.where(masked, 1, weights)) - scores
    strongest = weights.argmax(axis=-1)[..., None]
    rest -= np.take_along_axis(rest, strongest, axis=-1)
    heads = len(weights)
    return scaled_blob(rest.reshape(heads, -1), masked.reshape(heads, -1))


def without_batch(array: npt.NDArray[Any], dimensions: int) -> Floats:
    """Return an array as 32-bit numbers, without the batch dimension of one that transformers adds."""
    one = array[0] if array.ndim == dimensions + 1 and len(array) == 1 else array
    return one.astype(np.float32)


def as_array(tensor: Any) -> Floats:
    """Return a NumPy array of a tensor of torch (on any device, of any precision) or of anything that NumPy reads."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().float().cpu().numpy()
    return np.asarray(tensor, np.float32)
