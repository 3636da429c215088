"""The part of the index of heads that comes from one batch of texts: its measures, the relations found, its distances.

Layers are small and a batch has many, so that a tensor operation costs more than its numbers. The weights of successive
layers are therefore kept until there are enough of them, and are measured together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.models.captures.attention import tokens
from mkdocs_attnviz.models.captures.corpus import Reading
from mkdocs_attnviz.models.captures.head_map import cells, divergences
from mkdocs_attnviz.models.captures.head_measures import Masks, Sides
from mkdocs_attnviz.models.captures.head_probe import Features, features
from mkdocs_attnviz.models.captures.head_relations import Words
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Layer, Stack
from mkdocs_attnviz.models.probing.attention_pass import forward

MAP_TEXTS = 200
"""The number of texts, from the first, over which heads are compared: all pairs of heads cost more than the model."""
AT_ONCE = 1 << 21
"""The number of weights that are measured together, if no single layer has more."""
ANNOTATED = ("self", "encoder")
"""The stacks whose rows and columns are the tokens of the annotated text."""

Numbers = npt.NDArray[np.float64]
KeepLayer = Callable[[str, Layer, torch.Tensor], None]
"""A function that gets the stack, the layer and the weights (B, H, Tq, Tk) of a call."""


@dataclass
class BatchSums:
    """The sums that one batch of texts adds to one stack, on the processor."""

    numbers: list[int]
    sizes: list[int]
    """The number of each text's columns, in tokens."""
    uniform: list[float]
    values: dict[str, Numbers]
    """The measures of each text and head, (B, heads)."""
    known: dict[str, npt.NDArray[np.bool_]]
    """The texts that have the measure, (B) of booleans."""
    compared: int
    """The number of texts over which heads are compared."""
    distances: Numbers
    words: Words | None = None
    found: npt.NDArray[np.bool_] | None = None
    counts: list[int] = field(default_factory=list)
    """The number of words of each text."""
    features: list[Features] = field(default_factory=list)
    """The features of the sentences that train the probe, if there is one."""


def merged(batches: Sequence[BatchSums]) -> BatchSums:
    """Return several batches of a stack as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    words = found = None
    if any(part.words is not None for part in batches):
        nothing = np.zeros((2, 0, len(first.distances)), bool)  # of a batch without a word that counts
        scored = [np.zeros((0, 4), np.int64) if part.words is None else part.words.scored for part in batches]
        starts = np.cumsum([0, *(len(part.numbers) for part in batches[:-1])])
        shifted = [rows + np.array([start, 0, 0, 0]) for start, rows in zip(starts, scored, strict=True)]
        words = Words(torch.empty(0), torch.empty(0), np.concatenate(shifted))
        found = np.concatenate([nothing if part.found is None else part.found for part in batches], 1)
    return BatchSums(
        [number for part in batches for number in part.numbers],
        [size for part in batches for size in part.sizes],
        [value for part in batches for value in part.uniform],
        {name: np.concatenate([part.values[name] for part in batches]) for name in first.values},
        {name: np.concatenate([part.known[name] for part in batches]) for name in first.known},
        sum(part.compared for part in batches),
        np.sum([part.distances for part in batches], axis=0),
        words,
        found,
        [count for part in batches for count in part.counts],
        [some for part in batches for some in part.features],
    )


class _StackMeasures:
    """The measures of one stack in one batch; `add` gets its layers one after another."""

    def __init__(self, masks: Masks, words: Words | None, compared: Sequence[int], *, learn: bool) -> None:
        self.masks, self.words, self.compared, self.learn = masks, words, compared, learn
        self.waiting: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        """The measures of the heads so far, each (K, B, H)."""
        self.halves: list[torch.Tensor] = []
        self.found: list[npt.NDArray[np.bool_]] = []
        self.learned: list[torch.Tensor] = []
        """The clean weights of the layers, if a probe is trained on them."""

    def add(self, weights: torch.Tensor) -> None:
        """Add the weights of a layer, (B, H, Tq, Tk)."""
        self.waiting.append(weights)
        if sum(some.numel() for some in self.waiting) >= AT_ONCE:
            self.measure()

    def measure(self) -> None:
        """Measure the layers that wait."""
        if not self.waiting:
            return
        device = self.masks.sides.device
        clean = self.masks.clean(torch.cat([some.to(device, torch.float32) for some in self.waiting], 1))
        self.waiting = []
        self.values.append(torch.stack(list(self.masks.measured(clean).values())))
        if self.compared:
            self.halves.append(cells(clean, self.masks, self.compared))
        if self.words is not None and len(self.words.scored):
            self.found.append(self.words.found(clean))
            if self.learn:
                self.learned.append(clean)

    def sums(self, batch: Sequence[Reading]) -> BatchSums:
        """Return the sums of all layers; `batch` has the texts."""
        self.measure()
        masks, learned = self.masks, [number for number, reading in enumerate(batch) if reading.number % 2 == 0]
        values = torch.cat(self.values, 2).double().cpu().numpy()  # (K, B, heads)
        heads = values.shape[2]
        known = torch.stack(list(masks.known.values())).cpu().numpy()
        some_found = bool(self.found)
        halves, self.halves = self.halves, []
        return BatchSums(
            [reading.number for reading in batch],
            [len(side.ids) for side in masks.sides.cols],
            masks.uniform_entropy,
            dict(zip(masks.measures, values, strict=True)),
            dict(zip(masks.known, known, strict=True)),
            len(self.compared),
            divergences(halves) if self.compared else np.zeros((heads, heads)),
            self.words if some_found else None,
            np.concatenate(self.found, 2) if some_found else None,
            [len(reading.source.parse.words) if reading.source.parse else 0 for reading in batch],
            [features(batch, self.words, self.learned).some(learned)] if self.words and self.learned else [],
        )


def measured(
    loaded: Loaded, batch: Sequence[Reading], relations: dict[str, int], *, train: bool = False
) -> tuple[AttentionMap, int, dict[str, BatchSums]]:
    """Run a batch and return the model's map, the batch's number of tokens, and what it adds to each stack.

    With `train`, sentences with an even number also give features to train a probe with.
    """
    attention_map = find_attention_map(loaded, batch[0].example)
    words = Words.of(batch, relations, loaded.device) if relations else None
    compared = [number for number, reading in enumerate(batch) if reading.number < MAP_TEXTS]
    learn = train and any(reading.number % 2 == 0 for reading in batch)
    stacks = {
        name: _StackMeasures(
            Masks(sides(loaded, batch, stack)), words if name in ANNOTATED else None, compared, learn=learn
        )
        for name, stack in attention_map.stacks.items()
    }

    def keep(name: str, layer: Layer, weights: torch.Tensor) -> None:  # noqa: ARG001
        stacks[name].add(weights)

    run_batch(loaded, batch, attention_map, keep)
    sums = {name: measures.sums(batch) for name, measures in stacks.items()}
    return attention_map, sum(len(reading.example.text.ids) for reading in batch), sums


def sides(loaded: Loaded, batch: Sequence[Reading], stack: Stack) -> Sides:
    """Return the tokens that the rows and columns of a stack stand for."""
    rows, cols = ([tokens(reading.example, side) for reading in batch] for side in (stack.rows, stack.cols))
    ids = (loaded.tokenizer.cls_token_id, loaded.tokenizer.sep_token_id)
    return Sides(rows, cols, stack.rows == stack.cols, stack.causal, *ids, loaded.device)


def run_batch(loaded: Loaded, batch: Sequence[Reading], attention_map: AttentionMap, keep: KeepLayer) -> None:
    """Run a batch and pass the weights of each layer to `keep`."""
    wanted = {layer.call: (name, layer) for name, stack in attention_map.stacks.items() for layer in stack.layers}
    count = 0

    def kept(call: Call) -> None:
        nonlocal count
        if count in wanted:
            keep(*wanted[count], call.weights)
        count += 1

    inputs = collate(loaded, [reading.example for reading in batch])
    forward(loaded, inputs, attention_map, kept, operands=False, to_the_end=False)
