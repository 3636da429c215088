"""Neuron view: how one head's weights come about, from queries and keys to softmax.

After BertViz's neuron view, for every architecture whose queries and keys can be captured. What else enters the score
(relative positions, a soft cap, a sink) is a column of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.request import SCORES
from mkdocs_attnviz.views.attention.options import Choice, data, shown
from mkdocs_attnviz.views.attention.sentence import sentence
from mkdocs_attnviz.views.attention.window import window
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.svg.document import height_of
from mkdocs_attnviz.views.svg.lines import picture

CAPTURE = SCORES


class Options(Choice):
    """None of its own; of several `heads` the first is shown."""


def draw(block: Block, entry: Entry) -> Drawing:
    """Raises BlockError where the options do not fit, or queries and keys are not there."""
    found = shown(block, entry)
    found = replace(found, heads=found.heads[:1])
    made = data("neuron", block, entry, found, parts=())
    for name in found.stacks:
        layers = {layer["layer"]: layer for layer in entry.meta["stacks"][name]["layers"]}
        for layer in made["stacks"][name]["layers"]:
            neurons = layers[layer["layer"]].get("neurons")
            if neurons is None:
                raise block.wrong("view", f"The neuron view needs queries and keys, and {block.subject} has none.")
            layer["neurons"] = _neurons(neurons, f"{name}/{layer['layer']}")
    first = window(block, entry, found)
    rows = max(first.rows.total, first.cols.total) + 1  # its headings are two lines
    return Drawing(made, picture(first, block.theme), sentence(block, entry, found, first), height_of(rows))


def _neurons(meta: dict[str, Any], name: str) -> dict[str, Any]:
    terms = [{"name": term, "blob": f"{name}/term/{n}"} for n, term in enumerate(meta["terms"])]
    shared = {part: meta[part] for part in ("d", "kv_heads", "scale")}
    return shared | {"q": {"blob": f"{name}/q"}, "k": {"blob": f"{name}/k"}, "terms": terms}
