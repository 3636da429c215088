"""What a figure costs a build whose cache holds it: counted in calls, as a clock tells little on a shared machine."""

import logging
import sys

import numpy as np
import pytest

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.figure import AssetFolder
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.models.inputs import word_boundaries
from mkdocs_attnviz.pipeline import Pipeline, Plan
from mkdocs_attnviz.settings import Settings

TOKENS = ["[CLS]", "the", "cat", "sat", "on", "the", "mat", "and", "slept", "long", "and", "well", "[SEP]"]
LAYERS, HEADS = 6, 12
MOST = {"head": 4_200, "model": 8_100, "matrix": 3_200}
"""Calls of functions, a tenth more than there were in November 2026 with Python 3.11."""


def plan_and_cache(folder, view):
    """A block's plan, and a cache that holds its entry: random weights of the shape that a small BERT has."""
    log = logging.getLogger("test")
    (folder / "m").mkdir()
    (folder / "m" / "config.json").write_text("{}")
    pipeline = Pipeline(Settings(), folder, log)
    plan = pipeline.plan(Source(f"model: ./m\ntext: whatever\nview: {view}"))
    assert isinstance(plan, Plan), plan
    scores = np.random.default_rng(5).normal(0, 2, (LAYERS, HEADS, len(TOKENS), len(TOKENS)))
    given = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    made = entry({"self": {n: LayerTensors(layer) for n, layer in enumerate(given)}}, {"text": TokenRow(TOKENS)})
    Cache(folder / ".attnviz", log).put(plan.request.key, plan.request.key_parts, made)
    return pipeline, plan


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
    pipeline, plan = plan_and_cache(tmp_path, view)

    def draw():
        (figure,) = pipeline.render([plan.source])
        figure.html("x", AssetFolder(tmp_path / "assets", "assets"))

    draw()  # what all figures share is made with the first
    assert calls(draw) <= MOST[view]


def test_words_are_found_once_for_each_figure(tmp_path, monkeypatch):
    pipeline, plan = plan_and_cache(tmp_path, "head")
    split, seen = word_boundaries.split, []
    monkeypatch.setattr(word_boundaries, "split", lambda sequence: seen.append(1) or split(sequence))
    pipeline.render([plan.source])
    assert len(seen) == 1
