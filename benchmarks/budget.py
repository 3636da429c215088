"""Figures of 32 layers × 32 heads within the default budget: their bytes, and the errors of all weights that they ship.

    python benchmarks/budget.py [TOKENS…]

The weights are random but peaked, as a causal model's are. Only one layer of them is in memory at a time.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.models.encoding import Floats
from mkdocs_attnviz.pipeline import Pipeline, Plan
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.attention.weights import layer_of

LAYERS, HEADS = 32, 32
LOG = logging.getLogger("budget")


class Peaked(Mapping[int, LayerTensors]):
    """The layers of a causal model whose scores are random, each made when it is asked for."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def __getitem__(self, number: int) -> LayerTensors:
        weights = np.empty((HEADS, self.tokens, self.tokens), np.float32)
        for head in range(HEADS):
            weights[head] = self.head(number, head)
        return LayerTensors(weights)

    def head(self, layer: int, head: int) -> Floats:
        """Return the weights of one head, (rows, cols)."""
        random = np.random.default_rng([layer, head])
        scores = 3 * random.standard_normal((self.tokens, self.tokens), np.float32)
        scores[np.triu_indices(self.tokens, 1)] = -np.inf
        powers: Floats = np.exp(scores - scores.max(-1, keepdims=True))
        powers /= powers.sum(-1, keepdims=True)
        return powers

    def __iter__(self) -> Iterator[int]:
        return iter(range(LAYERS))

    def __len__(self) -> int:
        return LAYERS


def measure(tokens: int) -> None:
    """Print what an entry and its figure take, and the largest error of the weights that are shipped."""
    layers = Peaked(tokens)
    start = time.perf_counter()
    row = TokenRow([f"t{n}" for n in range(tokens)])
    made = entry({"self": layers}, {"text": row}, shapes=[(HEADS, tokens, tokens)] * LAYERS)
    encoded = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "m").mkdir()
        (folder / "m" / "config.json").write_text("{}")
        with Pipeline(Settings(max_tokens=tokens), folder, LOG).build() as build:
            source = Source("model: ./m\ntext: random\nlayer: 5\nhead: 3")
            plan = build.plan(source)
            assert isinstance(plan, Plan)
            assert plan.request is not None
            Cache(folder / ".attnviz", LOG).put(plan.request.key, plan.request.key_parts, made)
            start = time.perf_counter()
            (figure,) = build.render([source])
            drawn = time.perf_counter() - start
            size = figure.site_size  # type: ignore[attr-defined]
            print(
                f"{LAYERS} × {HEADS} × {tokens}: encoded in {encoded:.0f} s, entry {len(made.to_bytes()) / 1e6:.1f} MB"
            )
            print(f"  site {size / 1e6:.2f} MB, drawn in {drawn:.1f} s")
            print(f"  {figure.drawing.data.get('shipped')}")  # type: ignore[attr-defined]
    print(f"  largest error of a weight that is stored: {_largest_error(made, layers):.5f}")


def _largest_error(made: object, layers: Peaked) -> float:
    """Return the largest error over all weights that the entry has."""
    largest = 0.0
    for layer in layers:
        stored = layer_of(made, "self", layer, HEADS)  # type: ignore[arg-type]
        for head in range(HEADS):
            steps = np.frombuffer(stored.steps(head), np.uint8).reshape(layers.tokens, layers.tokens).T
            error = np.abs(np.square(steps / np.float32(255)) - layers.head(layer, head))[steps > 0]
            largest = max(largest, float(error.max(initial=0)))
    return largest


if __name__ == "__main__":
    for count in map(int, sys.argv[1:] or ["512", "2048"]):
        measure(count)
