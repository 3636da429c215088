"""The logit lens: the predictions that a model would make if one of its layers were the last.

The vectors of each layer go through the model's own final norm and head, see `unembedding` (nostalgebraist 2020,
"interpreting GPT: the logit lens"). Each position of a model that writes predicts the next token; in a masked language
model it predicts its own token. Entropy and KL divergence are in nats. The divergence is KL(model ‖ layer): the loss
when the layer's distribution is used in place of the model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.encoding import json_blob, round_digits
from mkdocs_attnviz.models.inputs.tokens import Example, pretty
from mkdocs_attnviz.models.inputs.vocabulary_token import token_of
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.unembedding import Unembedding

AT_ONCE = 64
"""The number of positions that are computed together: with a vocabulary of 250,000, each takes a megabyte."""
LEAST = -1000.0
"""The least log-probability; it keeps tokens that a model forbids finite."""


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example; `parameters` has `top_k`, `final_norm` and `watch`.

    Raises:
        Unusable: the model predicts no tokens, or not from the vectors of its last layer.
        ValueError: a token to watch is none of the vocabulary, or there is no final norm to leave out.
    """
    loaded, examples, parameters = context.loaded, context.examples, context.parameters
    if loaded.task not in ("next", "target", "masked"):
        if loaded.task is None:
            raise Unusable(loaded.predicts_nothing)
        what = {"labels": "labels of tokens", "answer": "answers"}.get(loaded.task, "classes")
        raise Unusable(f"The logit lens needs a model that predicts tokens, and {loaded.ref.name!r} predicts {what}.")
    watched = [token_of(loaded, "watch", text) for text in parameters["watch"]]
    with torch.inference_mode():
        return [_entry(loaded, example, watched, parameters) for example in examples]


def _entry(loaded: Loaded, example: Example, watched: list[int], parameters: Mapping[str, Any]) -> Entry:
    unembedding = Unembedding(loaded, example)
    norm, raw = unembedding.norm(), not parameters["final_norm"]
    if raw and norm is None:
        raise WrongValue(
            "final_norm",
            f"`final_norm` is false; model {loaded.ref.name!r} ({loaded.model.config.model_type}) has no norm between "
            "its last layer and its head that could be left out.",
        )
    told = _Told(unembedding.own, _actual(loaded, example), watched, parameters["top_k"])
    rows: dict[str, list[Any]] = {name: [] for name in ("top", "probabilities", "entropy", "kl", "actual", "watched")}
    for vectors in unembedding.vectors:
        logits = loaded.checked_values(unembedding.logits(vectors, norm if raw else None))
        for name, row in told.of(logits).items():
            rows[name].append(row)
    lens = {"vocabulary": pretty(loaded.tokenizer, list(told.vocabulary)), **rows}
    return Entry(_meta(loaded, example, unembedding, watched, norm is not None), {"lens": json_blob(lens)})


def _meta(
    loaded: Loaded, example: Example, unembedding: Unembedding, watched: list[int], normed: bool
) -> dict[str, Any]:
    sequences = example.sequences()
    return {
        "sequences": sequences,
        "task": loaded.task,
        "layers": len(unembedding.calls),
        "final_norm": normed,
        "vocabulary": unembedding.own.shape[-1],
        "watch": pretty(loaded.tokenizer, watched),
    }


def _actual(loaded: Loaded, example: Example) -> list[int | None]:
    """Return the actual token at the place that each position predicts; None for a mask, since its token is unknown."""
    if example.target is not None:
        following = example.target.labels
        return [*example.target.ids[1:], None] if following is None else list(following)
    ids = example.text.ids
    if loaded.task == "masked":
        return [None if token == loaded.tokenizer.mask_token_id else token for token in ids]
    return [*ids[1:], None]


@dataclass(frozen=True)
class _Told:
    """The things that are told of the predictions of every layer."""

    own: torch.Tensor
    """The logits of the model itself, of shape (T, V)."""
    actual: Sequence[int | None]
    """The actual token of each position, or None."""
    watched: Sequence[int]
    top_k: int
    vocabulary: dict[int, int] = field(default_factory=dict)
    """The indices of token ids in the entry's names; it grows."""

    def of(self, logits: torch.Tensor) -> dict[str, list[Any]]:
        """Return the lists of one layer, with an element for each position."""
        lists: dict[str, list[Any]] = {}
        for start in range(0, len(logits), AT_ONCE):
            for name, values in self._of(logits, slice(start, start + AT_ONCE)).items():
                lists.setdefault(name, []).extend(values)
        return lists

    def _of(self, logits: torch.Tensor, part: slice) -> dict[str, list[Any]]:
        """Return the lists of some positions."""
        logits, actual, vocabulary = logits[part], self.actual[part], self.vocabulary
        logs, own_logs = (numbers.log_softmax(-1).clamp(min=LEAST) for numbers in (logits, self.own[part]))  # (T, V)
        probabilities, own_probabilities = logs.exp(), own_logs.exp()
        top = probabilities.topk(min(self.top_k, probabilities.shape[-1]))
        known = torch.tensor([0 if token is None else token for token in actual], device=logits.device)
        ranked = [
            None if token is None else pair
            for token, pair in zip(actual, _ranked(logits, probabilities, known), strict=True)
        ]
        followed = [_ranked(logits, probabilities, torch.full_like(known, token)) for token in self.watched]
        return {
            "top": [[vocabulary.setdefault(token, len(vocabulary)) for token in ids] for ids in top.indices.tolist()],
            "probabilities": [list(map(round_digits, values)) for values in top.values.tolist()],
            "entropy": list(map(round_digits, (-(probabilities * logs).sum(-1)).tolist())),
            "kl": list(map(round_digits, (own_probabilities * (own_logs - logs)).sum(-1).clamp(min=0).tolist())),
            "actual": ranked,
            "watched": [list(pairs) for pairs in zip(*followed, strict=True)] if followed else [[] for _ in ranked],
        }


def _ranked(logits: torch.Tensor, probabilities: torch.Tensor, ids: torch.Tensor) -> list[list[float]]:
    """Return probability and rank, counted from 1, of one token per position."""
    ids = ids[:, None]  # (T, 1)
    ranks = 1 + (logits > logits.gather(-1, ids)).sum(-1)
    values = probabilities.gather(-1, ids)[:, 0]
    return [[round_digits(value), rank] for value, rank in zip(values.tolist(), ranks.tolist(), strict=True)]
