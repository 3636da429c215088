"""The neuron view: how one head's weights are computed, from queries and keys to softmax.

It follows BertViz's neuron view and works for every architecture whose queries and keys can be captured. Any other term
of the score (relative positions, a soft cap, a sink) has a column of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import WEIGHTS, Capture
from mkdocs_attnviz.views.attention import state_checks
from mkdocs_attnviz.views.attention.budget import ship
from mkdocs_attnviz.views.attention.figure_data import AttentionFigure, Neurons, Term
from mkdocs_attnviz.views.attention.options import AttentionOptions, data, select
from mkdocs_attnviz.views.attention.sentence import sentence
from mkdocs_attnviz.views.attention.window import Window, window
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.measures.attention import MEASURES
from mkdocs_attnviz.views.state_checks import position
from mkdocs_attnviz.views.svg.document import height_of
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.lines import picture as lines
from mkdocs_attnviz.views.svg.neuron import expansion, picture
from mkdocs_attnviz.views.view import View, own_script
from mkdocs_attnviz.views.visible_tokens import visible

SCORES = Capture(
    "scores",
    2,
    run="mkdocs_attnviz.models.captures.with_masks:scores",
    stored=f"{WEIGHTS}; queries and keys in 16 bits, scaled by dimension",
)


class Options(AttentionOptions):
    """The block keys of the neuron view; it has none of its own. It shows the first of several `heads`."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of scores.

    Raises:
        BlockError: if the options do not fit the model, or it has no queries and keys.
    """
    selection = select(block, options, entry)
    selection = replace(selection, heads=selection.heads[:1])
    figure_data = data("neuron", block, entry, selection, parts=())
    for name in selection.stacks:
        layers = {layer["layer"]: layer for layer in entry.meta["stacks"][name]["layers"]}
        for layer in figure_data["stacks"][name]["layers"]:
            neurons = layers[layer["layer"]].get("neurons")
            if neurons is None:
                raise block.wrong("view", f"The neuron view needs queries and keys, and {block.subject} has none.")
            layer["neurons"] = _neurons(neurons, f"{name}/{layer['layer']}")
    shipped = ship(figure_data, block, entry, selection)
    first = window(block, entry, selection)
    opened = _expanded(block, first, causal=entry.meta["stacks"][selection.stack]["causal"])
    figure_data["options"]["expanded"] = None if opened is None else first.rows.groups[opened][0]
    rows = max(first.rows.total, first.cols.total) + 1  # one more: the headings take two lines
    description = sentence(block, entry, selection, first) + shipped
    if opened is None:
        drawn = with_legend(lines(first, block.theme), block.theme, "Opacity = weight · left attends to right")
        return Drawing(figure_data, drawn, description, height_of(rows))
    description += f" Expanded: “{visible(first.rows.texts[opened].strip()) or 'a space'}”."
    drawn = picture(first, expansion(entry, selection, first, opened), block.theme)
    explained = "Blue = positive, orange = negative · opacity = weight · left attends to right"
    return Drawing(figure_data, with_legend(drawn, block.theme, explained), description, height_of(rows))


def _expanded(block: Block, first: Window, *, causal: bool) -> int | None:
    """Return the index of the row of the window that is expanded first, or None if only lines are shown.

    The block's `state` decides; otherwise it is the row with the largest weight between words. A `state` that selects a
    token on the left shows lines. In a causal model the first token does not count as a word, because heads that find
    nothing attend to it.
    """
    state = dict(part.partition("=")[::2] for part in (block.state or "").split("&"))
    if "expanded" in state or state.get("selected", "").startswith("left"):
        wanted = [n for n, group in enumerate(first.rows.groups) if str(group[0]) == state.get("expanded")]
        return wanted[0] if wanted else None
    return -max(_largest(first, causal=causal))[1]


def _largest(first: Window, *, causal: bool) -> Iterator[tuple[tuple[bool, float], int]]:
    """Yield each row's largest weight to a word and the negated row index. Rows that are not words sort last."""
    rows, cols = (
        [not (special or (causal and n == 0)) for n, special in enumerate(side.special)]
        for side in (first.rows, first.cols)
    )
    for row, weights in enumerate(first.weights[0]):
        to_words = (weight for weight, is_word in zip(weights, cols, strict=True) if is_word)
        yield (rows[row], max(to_words, default=0.0)), -row


def _neurons(meta: dict[str, Any], name: str) -> Neurons:
    """Return the data of a layer's queries, keys and other terms of the score."""
    terms: list[Term] = [{"name": term, "blob": f"{name}/term/{n}"} for n, term in enumerate(meta["terms"])]
    return {
        "d": meta["d"],
        "kv_heads": meta["kv_heads"],
        "scale": meta["scale"],
        "q": {"blob": f"{name}/q"},
        "k": {"blob": f"{name}/k"},
        "terms": terms,
    }


VIEW = View(
    "neuron",
    Options,
    SCORES,
    draw,
    script=own_script("neuron"),
    data=AttentionFigure,
    state=("stack", "layer", "head", "filter", "expanded", "selected"),
    checks={"expanded": position, "selected": state_checks.selected},
    measures=MEASURES,
)
