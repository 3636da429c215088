"""An index of all heads of a model over many texts: where each looks, what it finds, and which heads are alike.

Everything is measured on the device from the weights in full precision, while the texts stream through the model; only
sums stay in memory, and the few texts that tell most about each head run a second time for their weights. Each text
counts once. The formulas are in `head_measures`, `head_map`, `head_relations`, `head_examples` and `head_probe`;
`head_batch` applies them to a batch, and `head_sums` adds up the batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models import encoding
from mkdocs_attnviz.models.captures.attention import quantised, tokens
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Corpus, Reading
from mkdocs_attnviz.models.captures.head_batch import ANNOTATED, BatchSums, measured, run_batch, sides
from mkdocs_attnviz.models.captures.head_examples import chosen
from mkdocs_attnviz.models.captures.head_map import place
from mkdocs_attnviz.models.captures.head_measures import Masks
from mkdocs_attnviz.models.captures.head_probe import Score, features
from mkdocs_attnviz.models.captures.head_relations import Words, counted_relations
from mkdocs_attnviz.models.captures.head_sums import StackSums
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Layer

DIGITS = 6
"""The number of significant digits of a stored number."""


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

    for attention_map, count, sums in corpus.stream(measure):
        read += count
        for name, part in sums.items():
            if name not in stacks:
                stacks[name] = StackSums(attention_map.stacks[name], relations if name in ANNOTATED else {})
            stacks[name].add(part)
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
        masks = {name: Masks(sides(loaded, batch, attention_map.stacks[name])) for name in probes}
        layers: dict[str, list[torch.Tensor]] = {name: [] for name in probes}

        def keep(name: str, layer: Layer, weights: torch.Tensor) -> None:  # noqa: ARG001
            if name in probes:
                layers[name].append(masks[name].clean(weights.float()))

        run_batch(loaded, batch, attention_map, keep)
        everything = range(len(batch))
        return {name: probes[name].tested(features(batch, words, layers[name]).some(everything)) for name in probes}

    for name in probes:
        stacks[name].score = Score()
    for scores in corpus.stream(test, range(1, len(corpus.texts), 2)):
        for name, score in scores.items():
            total = stacks[name].score
            if total is not None:
                total.add(score)


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

        run_batch(loaded, batch, attention_map, keep)
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
        "causal": sums.causal,
        **({"learned_sink": True} if sums.sink else {}),
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
