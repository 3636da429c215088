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
KEPT = 8
"""The number of texts that are candidates for each pattern of each head."""
WAITING = 128
"""The number of texts that are ranked together."""
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

    The scores of up to `WAITING` texts are kept until they are ranked together.
    """

    def __init__(self, patterns: int, heads: int) -> None:
        self.scores = np.full((patterns, heads, KEPT), -np.inf, np.float32)
        self.numbers = np.full((patterns, heads, KEPT), -1)
        self.waiting: list[tuple[Numbers, list[int]]] = []

    def add(self, scores: Numbers, numbers: Sequence[int], tokens: Sequence[int]) -> None:
        """Add a batch of texts: scores (patterns, heads, texts), the texts' numbers and lengths in tokens."""
        penalty = np.array([_penalty(size) for size in tokens])
        self.waiting.append(((scores - penalty).astype(np.float32), list(numbers)))
        if sum(len(some) for _, some in self.waiting) >= WAITING:
            self.rank()

    def rank(self) -> None:
        """Rank the waiting texts among those that were clearest before; of equals, the earlier text comes first."""
        if not self.waiting:
            return
        numbers = np.concatenate([some for _, some in self.waiting])
        order = numbers.argsort()  # the order of batches does not matter
        scores = np.concatenate([some for some, _ in self.waiting], 2)[:, :, order]
        self.waiting = []
        best = (-scores).argpartition(min(KEPT, len(order)) - 1, axis=2)[:, :, :KEPT]
        all_scores = np.concatenate([self.scores, np.take_along_axis(scores, best, 2)], 2)
        all_numbers = np.concatenate([self.numbers, numbers[order][best]], 2)
        best = np.lexsort((all_numbers, -all_scores), axis=2)[:, :, :KEPT]
        self.scores = np.take_along_axis(all_scores, best, 2)
        self.numbers = np.take_along_axis(all_numbers, best, 2)

    def of(self, pattern: int, head: int) -> list[int]:
        """Return the numbers of the texts in which a head's pattern is clearest, the clearest first."""
        self.rank()
        found = zip(self.scores[pattern, head], self.numbers[pattern, head], strict=True)
        return [int(number) for score, number in found if score > -np.inf]


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
