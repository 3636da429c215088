"""The bytes of figures and entries: what they are, and what happens where they are more than their budget."""

import logging
from contextlib import contextmanager

import numpy as np

from mkdocs_attnviz import pipeline
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.figure import AssetFolder
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.pipeline import Pipeline, Plan
from mkdocs_attnviz.settings import Settings

LOG = logging.getLogger("test")


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def random_weights(layers=2, heads=4, tokens=64, causal=False):
    scores = np.random.default_rng(5).normal(0, 2, (layers, heads, tokens, tokens)).astype(np.float32)
    return softmax(np.where(np.tri(tokens, dtype=bool), scores, -np.inf) if causal else scores)


@contextmanager
def a_build(folder, given, *bodies, settings=None, norms=None):
    """Yield a build, and the plans of blocks whose bodies are these, drawn from one entry of the given weights."""
    (folder / "m").mkdir()
    (folder / "m" / "config.json").write_text("{}")
    tokens = [f"w{n}" for n in range(given.shape[-1])]
    layers = {n: LayerTensors(layer, None if norms is None else norms[n]) for n, layer in enumerate(given)}
    made = entry({"self": layers}, {"text": TokenRow(tokens)})
    with Pipeline(settings or Settings(), folder, LOG).build() as build:
        plans = []
        for line, body in enumerate(bodies, 1):
            plan = build.plan(Source(f"model: ./m\ntext: whatever\n{body}", page="page.md", line=line))
            assert isinstance(plan, Plan), plan
            Cache(folder / ".attnviz", LOG).put(plan.request.key, plan.request.key_parts, made)
            plans.append(plan)
        yield build, plans


def draw(build, plans):
    return build.render([plan.source for plan in plans])


# ---- bytes that are told


def test_the_size_in_the_site_is_that_of_html_and_files(tmp_path):
    with a_build(tmp_path, random_weights(), "view: head", "view: model") as (build, plans):
        for figure in draw(build, plans):
            folder = tmp_path / figure.block.view
            folder.mkdir()
            html = figure.html("attnviz-1", AssetFolder(folder, ""))
            files = sum(path.stat().st_size for path in folder.iterdir())
            assert files > 10_000
            assert figure.site_size == len(html.encode()) + files


def test_a_build_tells_its_five_heaviest_figures_once_and_warns_of_none(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(pipeline, "HEAVY", 10_000)
    caplog.set_level(logging.INFO)
    bodies = [f"include_layers: [{n % 2}]\ncaption: number {n}" for n in range(5)] + ["view: head"]
    with a_build(tmp_path, random_weights(), *bodies, "view: head\ninclude_heads: [1]") as (build, plans):
        figures = draw(build, plans)
        draw(build, plans)
    (told,) = [record for record in caplog.records if "heav" in record.message]
    assert told.levelno == logging.INFO
    heaviest = max(range(len(figures)), key=lambda n: figures[n].site_size)
    assert told.message.startswith("7 heavy figures, ")
    assert f": page.md:{heaviest + 1} ({figures[heaviest].site_size / 1000:.0f} kB), " in told.message
    assert told.message.count("page.md:") == 5


def test_a_build_without_heavy_figures_tells_nothing(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with a_build(tmp_path, random_weights(), "view: head") as (build, plans):
        draw(build, plans)
    assert not [record for record in caplog.records if "heavy" in record.message]
