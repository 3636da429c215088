"""An index of all heads of a model over many texts: where each looks, what it finds, and which heads are alike.

Everything is measured on the device from the weights in full precision, while the texts stream through the model; only
sums stay in memory, and the few texts that tell most about each head run a second time for their weights. Each text
counts once. The formulas are in `head_measures`, `head_map`, `head_relations`, `head_examples` and `head_probe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import encoding
from mkdocs_attnviz.models.captures.attention import quantised, tokens
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.head_examples import PATTERNS, Clearest, chosen, pattern_of
from mkdocs_attnviz.models.captures.head_map import cells, divergences, place
from mkdocs_attnviz.models.captures.head_measures import Masks, Sides
from mkdocs_attnviz.models.captures.head_probe import Features, Probe, Score, features
from mkdocs_attnviz.models.captures.head_relations import RelationSums, Words, counted_relations
from mkdocs_attnviz.models.inputs.corpus import Corpus, Reading
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Layer, Stack, forward

DIGITS = 6
"""The number of significant digits of a stored number."""
TOGETHER = 64
"""The number of texts that are added to the sums at once."""
MAP_TEXTS = 200
"""The number of texts, from the first, over which heads are compared: all pairs of heads cost more than the model."""
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


def _merged(batches: Sequence[BatchSums]) -> BatchSums:
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


class StackSums:
    """Running sums of one stack over the texts."""

    def __init__(self, stack: Stack, relations: dict[str, int]) -> None:
        self.layers = stack.layers
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
            self._add(_merged(self.waiting))
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
        self.clearest.add(np.concatenate(self._clarity(batch)), batch.numbers, batch.sizes)

    def _clarity(self, batch: BatchSums) -> list[Numbers]:
        """Return how clear each pattern is in each text, (patterns, heads, texts), and add what was found."""
        absent = np.full((len(batch.numbers), self.heads), -np.inf)
        measures = [
            np.where(batch.known[name][:, None], batch.values[name], absent) if name in batch.values else absent
            for name in PATTERNS
        ]
        clarity = [np.stack(measures).transpose(0, 2, 1)]
        size = len(self.relations.relations)
        if batch.words is None or batch.found is None:
            return [*clarity, np.full((2 * size, self.heads, len(batch.numbers)), -np.inf)]
        right, total = self.relations.add(batch.numbers, batch.words, batch.found, batch.counts)
        total = total[:, None, :, None]
        scores = np.where(total > 0, 2 * right - total, -np.inf)  # found minus missed
        if "special" in batch.values:  # of equals, the text in which least goes to special tokens
            scores = scores - 0.5 * batch.values["special"][:, None, None]
        return [*clarity, scores.transpose(1, 2, 3, 0).reshape(2 * size, self.heads, -1)]

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
        names = [*PATTERNS, *(f"{name}/{way}" for way in ways for name in self.relations.relations)]
        means, relations = self.means(), self.found
        return [self.clearest.of(names.index(pattern_of(head, means, relations)), head) for head in range(self.heads)]


def capture(context: Context) -> list[Entry]:
    """Return one entry with the index of all heads over the texts of the corpus.

    Raises:
        Unusable: the model has no weights of tokens by tokens.
    """
    corpus, loaded = context.corpus, context.loaded
    assert corpus is not None  # noqa: S101 — for the type checker: the capture is declared with `corpus=True`
    relations = counted_relations(corpus.texts)
    stacks: dict[str, StackSums] = {}
    read = 0
    train = bool(context.parameters.get("probe")) and bool(relations)

    def measure(batch: Sequence[Reading]) -> tuple[AttentionMap, int, dict[str, BatchSums]]:
        return measured(loaded, batch, relations, train=train)

    with ThreadPoolExecutor(1) as beside:  # a batch is added while the next one runs
        adding: list[Future[None]] = []
        for attention_map, count, sums in corpus.stream(measure):
            read += count
            _wait(adding)
            for name in sums:
                if name not in stacks:
                    stacks[name] = StackSums(attention_map.stacks[name], relations if name in ANNOTATED else {})
            adding = [beside.submit(stacks[name].add, part) for name, part in sums.items()]
        _wait(adding)
    for sums_of_stack in stacks.values():
        sums_of_stack.flush()
    _test_probes(corpus, loaded, stacks)
    telling = _telling(corpus, stacks)
    numbers = sorted({number for heads in telling.values() for texts in heads for number in texts})
    places = {number: at for at, number in enumerate(numbers)}
    examples, weights = _examples(corpus, loaded, numbers, telling)
    meta = {name: _stack_meta(sums, telling[name], places) for name, sums in stacks.items()}
    index = corpus.told() | {"tokens": read, "stacks": meta}
    return [Entry({"heads": index, "examples": examples}, _blobs(stacks, telling, weights))]


def _wait(adding: Sequence[Future[None]]) -> None:
    for future in adding:
        future.result()


def measured(
    loaded: Loaded, batch: Sequence[Reading], relations: dict[str, int], *, train: bool = False
) -> tuple[AttentionMap, int, dict[str, BatchSums]]:
    """Run a batch and return the model's map, the batch's number of tokens, and what it adds to each stack.

    With `train`, sentences with an even number also give features to train a probe with.
    """
    attention_map = find_attention_map(loaded, batch[0].example)
    masks = {name: Masks(_sides(loaded, batch, stack)) for name, stack in attention_map.stacks.items()}
    words = Words.of(batch, relations, loaded.device) if relations else None
    values: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in masks}
    halves: dict[str, list[torch.Tensor]] = {name: [] for name in masks}
    found: dict[str, list[npt.NDArray[np.bool_]]] = {name: [] for name in masks}
    learned = [number for number, reading in enumerate(batch) if train and reading.number % 2 == 0]
    clean_layers: dict[str, list[torch.Tensor]] = {name: [] for name in masks}
    compared = [number for number, reading in enumerate(batch) if reading.number < MAP_TEXTS]

    def keep(name: str, layer: Layer, weights: torch.Tensor) -> None:  # noqa: ARG001
        clean = masks[name].clean(weights)
        values[name].append(masks[name].measured(clean))
        if compared:
            halves[name].append(cells(clean, masks[name], compared))
        if words is not None and name in ANNOTATED and len(words.scored):
            found[name].append(words.found(clean))
            if learned:
                clean_layers[name].append(clean)

    _run(loaded, batch, attention_map, keep)
    sums = {}
    for name, masks_of_stack in masks.items():
        heads = sum(layer.heads for layer in attention_map.stacks[name].layers)
        distances = divergences(halves.pop(name)) if compared else np.zeros((heads, heads))
        sums[name] = BatchSums(
            [reading.number for reading in batch],
            [len(side.ids) for side in masks_of_stack.sides.cols],
            masks_of_stack.uniform_entropy,
            {
                key: torch.cat([layer[key] for layer in values[name]], 1).double().cpu().numpy()
                for key in values[name][0]
            },
            {key: known.cpu().numpy() for key, known in masks_of_stack.known.items()},
            len(compared),
            distances,
            words if found[name] else None,
            np.concatenate(found[name], 2) if found[name] else None,
            [len(reading.source.parse.words) if reading.source.parse else 0 for reading in batch],
            [features(batch, words, clean_layers[name]).some(learned)] if words and clean_layers[name] else [],
        )
    return attention_map, sum(len(reading.example.text.ids) for reading in batch), sums


def _test_probes(corpus: Corpus, loaded: Loaded, stacks: Mapping[str, StackSums]) -> None:
    """Train a probe for each stack that has kept features, and test it on the sentences with an odd number."""
    probes = {name: sums.probe for name, sums in stacks.items() if sums.probe.kept}
    if not probes:
        return
    for probe in probes.values():
        probe.train()

    def test(batch: Sequence[Reading]) -> dict[str, Score]:
        attention_map = find_attention_map(loaded, batch[0].example)
        words = Words.of(batch, {}, loaded.device)
        masks = {name: Masks(_sides(loaded, batch, attention_map.stacks[name])) for name in probes}
        layers: dict[str, list[torch.Tensor]] = {name: [] for name in probes}

        def keep(name: str, layer: Layer, weights: torch.Tensor) -> None:  # noqa: ARG001
            if name in probes:
                layers[name].append(masks[name].clean(weights))

        _run(loaded, batch, attention_map, keep)
        everything = range(len(batch))
        return {name: probes[name].tested(features(batch, words, layers[name]).some(everything)) for name in probes}

    for name in probes:
        stacks[name].score = Score()
    for scores in corpus.stream(test, range(1, len(corpus.texts), 2)):
        for name, score in scores.items():
            total = stacks[name].score
            if total is not None:
                total.add(score)


def _sides(loaded: Loaded, batch: Sequence[Reading], stack: Stack) -> Sides:
    rows, cols = ([tokens(reading.example, side) for reading in batch] for side in (stack.rows, stack.cols))
    ids = (loaded.tokenizer.cls_token_id, loaded.tokenizer.sep_token_id)
    return Sides(rows, cols, stack.rows == stack.cols, stack.causal, *ids, loaded.device)


def _run(loaded: Loaded, batch: Sequence[Reading], attention_map: AttentionMap, keep: KeepLayer) -> None:
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


def _telling(corpus: Corpus, stacks: Mapping[str, StackSums]) -> dict[str, list[list[int]]]:
    """Return the numbers of the texts that tell most about each head, by stack."""
    if corpus.single:
        return {name: [[0]] * sums.heads for name, sums in stacks.items()}
    candidates = [some for sums in stacks.values() for some in sums.candidates()]
    picked = iter(chosen(candidates))
    return {name: [next(picked) for _ in range(sums.heads)] for name, sums in stacks.items()}


Steps = dict[tuple[str, int, int], encoding.Steps]
"""The quantised weights, (cols, rows), of a head in a text, by stack, head counted over all layers, and text."""


def _examples(
    corpus: Corpus, loaded: Loaded, numbers: Sequence[int], telling: Mapping[str, list[list[int]]]
) -> tuple[list[dict[str, Any]], Steps]:
    """Run the texts with these numbers once more, and return their tokens and the weights of the heads they tell of."""

    def weights_of(batch: Sequence[Reading]) -> tuple[dict[int, dict[str, Any]], Steps]:
        attention_map = find_attention_map(loaded, batch[0].example)
        steps: Steps = {}
        first = dict.fromkeys(attention_map.stacks, 0)

        def keep(name: str, layer: Layer, weights: torch.Tensor) -> None:
            stack, heads = attention_map.stacks[name], telling[name][first[name] : first[name] + layer.heads]
            for place_in_batch, reading in enumerate(batch):
                rows, cols = (len(tokens(reading.example, side).ids) for side in (stack.rows, stack.cols))
                told = [head for head, texts in enumerate(heads) if reading.number in texts]
                if told:
                    some = quantised(weights[place_in_batch, told, :rows, :cols].clone()).transpose(1, 2).cpu().numpy()
                    steps.update(
                        {(name, first[name] + head, reading.number): one for head, one in zip(told, some, strict=True)}
                    )
            first[name] += layer.heads

        _run(loaded, batch, attention_map, keep)
        return {
            reading.number: {"line": reading.source.line, "sequences": reading.example.sequences()} for reading in batch
        }, steps

    examples: dict[int, dict[str, Any]] = {}
    weights: Steps = {}
    for some, steps in corpus.stream(weights_of, numbers):
        examples |= some
        weights |= steps
    return [examples[number] for number in numbers], weights


def _stack_meta(sums: StackSums, telling: list[list[int]], places: Mapping[int, int]) -> dict[str, Any]:
    def by_layer(values: Any) -> list[list[float]]:
        numbers = iter(np.asarray(values).tolist())
        return [[_rounded(next(numbers)) for _ in range(layer.heads)] for layer in sums.layers]

    texts = iter(telling)
    shared = any(layer.kv_heads < layer.heads for layer in sums.layers)
    points, stress = place(sums.distances) if sums.map_texts and sums.heads > 2 else (None, None)
    relations = {
        name: {
            "count": relation["count"],
            "offset": relation["offset"],
            "baseline": _rounded(relation["baseline"]),
            **{
                way: {part: by_layer(values) for part, values in relation[way].items()}
                for way in ("forward", "backward")
            },
        }
        for name, relation in sums.found.items()
    }
    return {
        "layers": [layer.layer for layer in sums.layers],
        "heads": [layer.heads for layer in sums.layers],
        **({"kv_heads": [layer.kv_heads for layer in sums.layers]} if shared else {}),
        "measures": {name: by_layer(values) for name, values in sums.means().items()},
        "uniform_entropy": _rounded(sums.uniform / sums.texts),
        "map": None if points is None else [[_rounded(x), _rounded(y)] for x, y in points.tolist()],
        "map_texts": sums.map_texts,
        "stress": None if stress is None else _rounded(stress),
        "relations": relations,
        "probe": _probe_meta(sums.score),
        "telling": [[[places[number] for number in next(texts)] for _ in range(layer.heads)] for layer in sums.layers],
    }


def _probe_meta(score: Score | None) -> dict[str, Any] | None:
    """Return the accuracy of a probe on the sentences that it was not trained on, beside its baseline."""
    if score is None or not score.words:
        return None
    return {
        "uas": _rounded(score.right / score.words),
        "baseline": _rounded(score.baseline / score.words),
        "sentences": score.sentences,
    }


def _rounded(value: float) -> float:
    return encoding.round_digits(value, DIGITS)


def _blobs(stacks: Mapping[str, StackSums], telling: Mapping[str, list[list[int]]], weights: Steps) -> dict[str, bytes]:
    """Return the weights of each layer's heads in the texts that tell of them, one after another."""
    blobs = {}
    for name, sums in stacks.items():
        head = 0
        for layer in sums.layers:
            parts = []
            for _ in range(layer.heads):
                parts += [np.ascontiguousarray(weights[name, head, number]).tobytes() for number in telling[name][head]]
                head += 1
            blobs[f"telling/{name}/{layer.layer}"] = encoding.deflated(b"".join(parts))
    return blobs
