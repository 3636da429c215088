"""The cost of a figure in a build whose cache holds it, counted in calls, as a clock tells little on a shared
machine."""

import logging
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.figure.assets import AssetFolder
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.models.inputs import word_boundaries
from mkdocs_attnviz.pipeline import Pipeline, Plan
from mkdocs_attnviz.settings import Settings

TOKENS = ["[CLS]", "the", "cat", "sat", "on", "the", "mat", "and", "slept", "long", "and", "well", "[SEP]"]
LAYERS, HEADS, WIDTH = 6, 12, 32
MOST = {"head": 4_100, "model": 8_000, "matrix": 3_350, "neuron": 5_900}
"""Calls of functions, a twentieth more than there were in November 2026 with Python 3.11."""


@contextmanager
def a_build(folder, view):
    """Yield a build, and a block's plan in it, whose cache holds the entry: random weights in a small BERT's shape."""
    log = logging.getLogger("test")
    (folder / "m").mkdir()
    (folder / "m" / "config.json").write_text("{}")
    source = Source(f"model: ./m\ntext: whatever\nview: {view}")
    with Pipeline(Settings(), folder, log).build() as build:
        plan = build.plan(source)
        assert isinstance(plan, Plan), plan
        _put(folder, plan, log)
        yield build, plan


def _put(folder, plan, log):
    random = np.random.default_rng(5)
    scores = random.normal(0, 2, (LAYERS, HEADS, len(TOKENS), len(TOKENS)))
    given = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    layers = {n: LayerTensors(layer) for n, layer in enumerate(given)}
    if plan.block.view == "neuron":
        pairs = random.normal(size=(LAYERS, 2, HEADS, len(TOKENS), WIDTH))
        layers = {n: LayerTensors(given[n], neurons=tuple(pair)) for n, pair in enumerate(pairs)}
    made = entry({"self": layers}, {"text": TokenRow(TOKENS)})
    Cache(folder / ".attnviz", log).put(plan.request.key, plan.request.key_parts, made)


def calls(work) -> int:
    """Return how many functions, of Python and of C, `work` calls."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("view", MOST)
def test_a_figure_from_the_cache_takes_few_calls(tmp_path, view):
    with a_build(tmp_path, view) as (build, plan):

        def draw():
            (figure,) = build.render([plan.source])
            figure.html("x", AssetFolder(tmp_path / "assets", "assets"))

        draw()  # what all figures share is made with the first
        assert calls(draw) <= MOST[view]


def test_words_are_found_once_for_each_figure(tmp_path, monkeypatch):
    split, seen = word_boundaries.split, []
    monkeypatch.setattr(word_boundaries, "split", lambda sequence: seen.append(1) or split(sequence))
    with a_build(tmp_path, "head") as (build, plan):
        build.render([plan.source])
    assert len(seen) == 1
