"""The texts that tell most about each head: those in which its strongest pattern is clearest.

A head's pattern is the relation at which it beats the best fixed offset most, if by at least 0.2; or else the first of
Clark et al.'s labels that it has (next or previous token above 0.5; [CLS], [SEP], punctuation or first token above
0.6); or else induction or duplicate tokens above 0.3; or else even attention, above 3.8 nats; or else its largest
share. A pattern is clear in a text by the head's measure there; a relation by the number of words found minus those
missed, and of equals where least attention goes to special tokens. Texts of 8 to 40 tokens come first, since a long one
does not fit beside the figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.models.captures.head_relations import ALL

Numbers = npt.NDArray[np.float64]
EACH = 3
"""The number of texts for each head."""
KEPT = 16
"""The number of texts that are candidates for each pattern of each head."""
LAST = 0x7FFFFFFF
"""The largest number that a text can have."""
NO_RANK = -0x7F800001 << 32
"""The rank of a text whose score is −∞, which is no candidate."""
SHORTEST, LONGEST = 8, 40
"""The numbers of tokens of a text that is easily read beside a figure."""
BEATS, LEAST = 0.2, 20
"""The least gain of accuracy over the best offset that makes a relation a head's pattern, and its least count."""
LABELS = {"next": 0.5, "previous": 0.5, "cls": 0.6, "sep": 0.6, "punctuation": 0.6, "first": 0.6}
SCORES = {"induction": 0.3, "duplicate": 0.3, "entropy": 3.8}
SHARES = ("self", "previous", "next", "first", "special", "punctuation")
PATTERNS = (*LABELS, *SCORES, "self", "special")
"""The measures that can be patterns."""


class Clearest:
    """The texts in which each pattern of each head is clearest, so far.

    A text's score and its number are one integer: the larger is the clearer text, or the earlier of two equally clear.
    """

    def __init__(self, patterns: int, heads: int) -> None:
        self.ranks = np.full((patterns, heads, KEPT), NO_RANK)

    def add(self, scores: npt.NDArray[np.float32], numbers: Sequence[int], tokens: Sequence[int]) -> None:
        """Add texts: scores (patterns, heads, texts), −∞ for a pattern that a text does not have, the texts' numbers
        and lengths in tokens.
        """
        scores = scores - np.array([_penalty(size) for size in tokens], np.float32)
        ranks = np.concatenate([self.ranks, _ranks(scores, numbers)], 2)
        ranks.partition(-KEPT, axis=2)
        self.ranks = ranks[:, :, -KEPT:].copy()

    def of(self, pattern: int, head: int) -> list[int]:
        """Return the numbers of the texts in which a head's pattern is clearest, the clearest first."""
        ranks = np.sort(self.ranks[pattern, head])[::-1]
        return [LAST - (rank & LAST) for rank in ranks.tolist() if rank >> 32 > NO_RANK >> 32]


def _ranks(scores: npt.NDArray[np.float32], numbers: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return integers in the order of the scores, and of equal scores in the opposite order of the texts' numbers."""
    bits = scores.view(np.int32)
    ordered = bits ^ (bits >> 31 & LAST)  # of negative numbers, IEEE 754 orders the bits the other way round
    ranks: npt.NDArray[np.int64] = (ordered.astype(np.int64) << 32) | (LAST - np.array(numbers))
    return ranks


def _penalty(tokens: int) -> float:
    """Return what is subtracted from the score of a text that is too short or too long to be read beside a figure."""
    if tokens < SHORTEST:
        return 1.0
    return 0.0 if tokens <= LONGEST else 1.0 + (tokens - LONGEST) / 100


def pattern_of(head: int, measures: Mapping[str, Numbers], relations: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of a head's pattern: a measure, or a relation and its direction like `det/forward`."""
    gains = {
        f"{name}/{way}": float(relation[way]["accuracy"][head]) - relation["baseline"]
        for name, relation in relations.items()
        if name != ALL and relation["count"] >= LEAST
        for way in ("forward", "backward")
    }
    best = max(gains, key=lambda name: gains[name], default="")
    if best and gains[best] >= BEATS:
        return best
    value = {name: float(numbers[head]) for name, numbers in measures.items()}
    for name, threshold in (LABELS | SCORES).items():
        if value.get(name, 0.0) > threshold and not (name == "first" and "cls" in value):
            return name
    return max((name for name in SHARES if name in value), key=lambda name: value[name])


def chosen(candidates: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return up to three texts for each head, in the order of its candidates: those that serve most heads, so that few
    texts are shown in all.
    """
    picked: list[set[int]] = [set() for _ in candidates]
    while waiting := [head for head, some in enumerate(candidates) if len(picked[head]) < min(EACH, len(some))]:
        asked = Counter(number for head in waiting for number in candidates[head] if number not in picked[head])
        most = min(asked, key=lambda number: (-asked[number], number))
        for head in waiting:
            if most in candidates[head]:
                picked[head].add(most)
    return [[number for number in some if number in picks] for some, picks in zip(candidates, picked, strict=True)]
