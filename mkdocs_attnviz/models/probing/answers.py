"""The answers of a question answering model: how likely each span of its text is one.

A span from token s to token e has the probability of s as an answer's first token times that of e as its last; each is
a softmax over the tokens that may be part of an answer (Devlin et al. 2019, "BERT", section 4.2).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.inputs.tokens import Tokens

FORBIDDEN = -1e4
"""The logit of a token that cannot be part of an answer."""


class Answer(NamedTuple):
    """A span of a text."""

    start: int
    """The position of its first token."""
    end: int
    """The position of its last token."""
    probability: float


def allowed(text: Tokens) -> list[int]:
    """Return the positions that may be part of an answer: those of the second text, or of the only one.

    Raises:
        ValueError: there is none.
    """
    positions = [place for place in range(text.sentence_b_start or 0, len(text.ids)) if place not in text.special]
    if not positions:
        raise WrongValue("text", "The text has no token that could be part of an answer.")
    return positions


def masked(logits: torch.Tensor, positions: list[int]) -> torch.Tensor:
    """Return logits over positions, (B, T); those of tokens that cannot be part of an answer are made very small."""
    mask = torch.full_like(logits, FORBIDDEN)
    mask[:, positions] = 0
    return torch.where(mask == 0, logits, mask)


def likeliest(logits: torch.Tensor, positions: list[int], count: int) -> list[Answer]:
    """Return the likeliest answers; `logits`, (T, 2), are those of the first and of the last token."""
    first, last = (masked(column[None], positions)[0].softmax(-1) for column in logits.unbind(-1))
    together = torch.outer(first, last).triu()  # (T, T): none ends before it begins
    length = len(together)
    top = together.flatten().topk(min(count, len(positions) * (len(positions) + 1) // 2))
    return [
        Answer(place // length, place % length, share)
        for place, share in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]


def words(text: Tokens, answer: Answer) -> str:
    """Return an answer as it stands in the text, or its tokens if the tokenizer does not tell where they stand."""
    if text.spans is not None:
        first, last = text.spans.spans[answer.start], text.spans.spans[answer.end]
        if first is not None and last is not None and last[1] > first[0]:
            return text.spans.text[first[0] : last[1]]
    return "".join(text.pretty[answer.start : answer.end + 1]).strip()
