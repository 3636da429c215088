"""Running sums of the index of heads over the texts of a corpus."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.models.captures.head_batch import BatchSums, merged
from mkdocs_attnviz.models.captures.head_examples import PATTERNS, Clearest, pattern_of
from mkdocs_attnviz.models.captures.head_probe import Probe, Score
from mkdocs_attnviz.models.captures.head_relations import RelationSums
from mkdocs_attnviz.models.probing.attention_map import Stack

TOGETHER = 64
"""The number of texts that are added to the sums at once."""

Numbers = npt.NDArray[np.float64]


class StackSums:
    """Running sums of one stack over the texts."""

    def __init__(self, stack: Stack, relations: dict[str, int]) -> None:
        self.layers, self.causal, self.sink = stack.layers, stack.causal, stack.sink
        self.heads = sum(layer.heads for layer in stack.layers)
        self.waiting: list[BatchSums] = []
        self.texts, self.uniform = 0, 0.0
        self.sums: dict[str, Numbers] = {}
        self.counts: dict[str, int] = {}
        self.distances = np.zeros((self.heads, self.heads))
        self.map_texts = 0
        self.relations = RelationSums(relations, self.heads)
        self.probe = Probe()
        self.score: Score | None = None
        """The result of the probe, if there is one."""
        self.clearest = Clearest(len(PATTERNS) + 2 * len(relations), self.heads)

    def add(self, batch: BatchSums) -> None:
        """Add a batch of texts; some batches wait until they are added together, which takes less time."""
        self.waiting.append(batch)
        if sum(len(some.numbers) for some in self.waiting) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Add the batches that wait."""
        if self.waiting:
            self._add(merged(self.waiting))
        self.waiting = []

    def _add(self, batch: BatchSums) -> None:
        self.texts += len(batch.numbers)
        self.uniform += sum(batch.uniform)
        for name, values in batch.values.items():
            known = batch.known[name]
            self.sums[name] = self.sums.get(name, 0.0) + np.where(known[:, None], values, 0).sum(0)
            self.counts[name] = self.counts.get(name, 0) + int(known.sum())
        self.distances += batch.distances
        self.map_texts += batch.compared
        for features_of_batch in batch.features:
            self.probe.add(features_of_batch)
        self.clearest.add(self._clarity(batch), batch.numbers, batch.sizes)

    def _clarity(self, batch: BatchSums) -> npt.NDArray[np.float32]:
        """Return how clear each pattern is in each text, (patterns, heads, texts), and add what was found."""
        clarity = np.full((len(self.clearest.ranks), self.heads, len(batch.numbers)), -np.inf, np.float32)
        for number, name in enumerate(PATTERNS):
            if name in batch.values:
                known = batch.known[name]
                clarity[number][:, known] = batch.values[name][known].T
        if batch.words is None or batch.found is None:
            return clarity
        found = self.relations.add(batch.numbers, batch.words, batch.found, batch.counts)
        scores = 2.0 * found.right - found.total[:, None, None]  # found minus missed
        if "special" in batch.values:  # of equals, the text in which least goes to special tokens
            scores = scores - 0.5 * batch.values["special"][found.texts][:, None]
        by_relation = clarity[len(PATTERNS) :].reshape(-1, 2, self.heads, len(batch.numbers))
        by_relation[found.relations, :, :, found.texts] = scores
        return clarity

    def means(self) -> dict[str, Numbers]:
        """Return the mean of each measure over the texts that have it, (heads)."""
        return {name: total / self.counts[name] for name, total in self.sums.items() if self.counts[name]}

    @cached_property
    def found(self) -> dict[str, dict[str, Any]]:
        """The accuracies for each relation, once all texts are added."""
        return self.relations.told()

    def candidates(self) -> list[list[int]]:
        """Return the texts in which each head's pattern is clearest, the clearest first."""
        ways = ("forward", "backward")
        names = [*PATTERNS, *(f"{name}/{way}" for name in self.relations.relations for way in ways)]
        means, relations = self.means(), self.found
        return [self.clearest.of(names.index(pattern_of(head, means, relations)), head) for head in range(self.heads)]
