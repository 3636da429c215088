"""Neuron view: how one head's weights come about, from queries and keys to softmax.

After BertViz's neuron view, for every architecture whose queries and keys can be captured. What else enters the score
(relative positions, a soft cap, a sink) is a column of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views.attention import state_checks
from mkdocs_attnviz.views.attention.options import AttentionOptions, data, select
from mkdocs_attnviz.views.attention.sentence import sentence
from mkdocs_attnviz.views.attention.window import Window, window
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.state_checks import position
from mkdocs_attnviz.views.svg.document import height_of, visible
from mkdocs_attnviz.views.svg.lines import picture as lines
from mkdocs_attnviz.views.svg.neuron import expansion, picture
from mkdocs_attnviz.views.view import ATTENTION_SCRIPT, View

SCORES = Capture("scores", 2, run="mkdocs_attnviz.models.captures.scores:capture")


class Options(AttentionOptions):
    """None of its own; of several `heads` the first is shown."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Raises BlockError where the options do not fit, or queries and keys are not there."""
    found = select(block, options, entry)
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
    opened = _expanded(block, first, causal=entry.meta["stacks"][found.stack]["causal"])
    made["options"]["expanded"] = None if opened is None else first.rows.groups[opened][0]
    rows = max(first.rows.total, first.cols.total) + 1  # its headings are two lines
    said = sentence(block, entry, found, first)
    if opened is None:
        return Drawing(made, lines(first, block.theme), said, height_of(rows))
    said += f" Expanded: “{visible(first.rows.texts[opened].strip()) or 'a space'}”."
    return Drawing(made, picture(first, expansion(entry, found, first, opened), block.theme), said, height_of(rows))


def _expanded(block: Block, first: Window, *, causal: bool) -> int | None:
    """Return which row of the window is expanded at first; None for lines alone.

    It is what the block's `state` says, or the row with the largest weight between words. A `state` that selects a
    token on the left is about lines. In a causal model the first token, to which heads turn that find nothing, is no
    word.
    """
    state = dict(part.partition("=")[::2] for part in (block.state or "").split("&"))
    if "expanded" in state or state.get("selected", "").startswith("left"):
        wanted = [n for n, group in enumerate(first.rows.groups) if str(group[0]) == state.get("expanded")]
        return wanted[0] if wanted else None
    return -max(_largest(first, causal=causal))[1]


def _largest(first: Window, *, causal: bool) -> Iterator[tuple[tuple[bool, float], int]]:
    """Yield each row's largest weight to a word; rows that are no words come last."""
    rows, cols = (
        [not (special or (causal and n == 0)) for n, special in enumerate(side.special)]
        for side in (first.rows, first.cols)
    )
    for row, weights in enumerate(first.weights[0]):
        to_words = (weight for weight, is_word in zip(weights, cols, strict=True) if is_word)
        yield (rows[row], max(to_words, default=0.0)), -row


def _neurons(meta: dict[str, Any], name: str) -> dict[str, Any]:
    terms = [{"name": term, "blob": f"{name}/term/{n}"} for n, term in enumerate(meta["terms"])]
    shared = {part: meta[part] for part in ("d", "kv_heads", "scale")}
    return shared | {"q": {"blob": f"{name}/q"}, "k": {"blob": f"{name}/k"}, "terms": terms}


VIEW = View(
    "neuron",
    Options,
    SCORES,
    draw,
    script=ATTENTION_SCRIPT,
    state=("stack", "layer", "head", "filter", "expanded", "selected"),
    checks={"expanded": position, "selected": state_checks.selected},
)
