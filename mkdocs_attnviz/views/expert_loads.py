"""The figure of the load of experts over a corpus, and of the tokens that each expert gets most of.

One text says little about the balance of experts. Fedus et al. 2022, "Switch Transformers", train routers with a loss
that is least if all experts get as many tokens; Muennighoff et al. 2024, "OLMoE", list the tokens that are peculiar to
an expert.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from typing_extensions import TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.expert_balance import balance_loss, in_words, percent, unevenness
from mkdocs_attnviz.views.expert_options import Options, Part, chosen, notes_on_mixtures
from mkdocs_attnviz.views.figure_data import Blob, Drawn
from mkdocs_attnviz.views.router_loads import RouterLoads, router_loads, sequence_of
from mkdocs_attnviz.views.svg.expert_loads import (
    CONTROLS,
    height_of_bars,
    height_of_rows,
    load_picture,
    tokens_picture,
)
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.token_flow import PANEL
from mkdocs_attnviz.views.visible_tokens import called

NAMED = 3
"""The number of tokens of an expert that the sentence names."""


class LoadData(TypedDict):
    """One mixture of experts, and what its router did over the corpus."""

    stack: str
    part: Part
    layer: int
    experts: int
    top_k: int
    tokens: int
    """The number of tokens that are counted."""
    entropy: float | None
    """The mean entropy of the router's distribution, in bits; null if the distribution is unknown."""


class LoadsState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    show: Literal["load", "tokens"]
    stack: str
    part: Part
    layer: int
    """The layer whose experts' tokens are shown."""
    expert: int | None
    """The expert that alone is in full colour."""


class LoadsFigure(Drawn):
    """The load of experts over a corpus."""

    mixtures: list[LoadData]
    loads: Blob
    """JSON: `vocabulary`, by stack the texts of tokens and how often each occurs; and `mixtures`, of each in their
    order the number of tokens that each expert got (`counts`), the mean `probabilities` or null, and for each expert
    its `tokens`: pairs of a place in the vocabulary and how often the token went there."""
    texts: int
    notes: list[str]
    initial: LoadsState


def draw_loads(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of loads, of a corpus.

    Raises:
        BlockError: if the model has no such stack, part, layer or expert.
    """
    meta = entry.meta["loads"]
    included, group, layer = chosen(block, options, meta["mixtures"])
    every = {_place(each.about): each for each in router_loads(entry)}
    routers, shown = ([every[_place(about)] for about in some] for some in (included, group))
    first = next(each for each in shown if each.about["layer"] == layer)
    show = cast(Literal["load", "tokens"], options.show or "load")
    data: LoadsFigure = {
        "view": "experts",
        "theme": block.theme,
        "mixtures": [_mixture(each) for each in routers],
        "loads": {"content": _content(meta, routers, pretty=options.prettify_tokens)},
        "texts": meta["texts"],
        "notes": list(_notes(meta, included)),
        "initial": {
            "show": show,
            "stack": first.about["stack"],
            "part": first.about["part"],
            "layer": layer,
            "expert": options.expert,
        },
    }
    height = height_of_bars(len(shown)) if show == "load" else height_of_rows(first.experts + 1)
    picture = _picture(block, options, shown, first)
    sentence = _sentence(block, options, meta, shown, first)
    return Drawing(data, picture, sentence, f"{height} + {CONTROLS}", PANEL + 24, wraps=False)


def _place(about: Mapping[str, Any]) -> tuple[str, str, int]:
    return about["stack"], about["part"], about["layer"]


def _mixture(router: RouterLoads) -> LoadData:
    about = router.about
    return {
        "stack": about["stack"],
        "part": about["part"],
        "layer": about["layer"],
        "experts": router.experts,
        "top_k": about["top_k"],
        "tokens": router.tokens,
        "entropy": router.mean_entropy,
    }


def _content(meta: Mapping[str, Any], routers: Sequence[RouterLoads], *, pretty: bool) -> bytes:
    """Return what the script reads: JSON, deflated."""
    names = {each.about["stack"]: meta["vocabulary"][sequence_of(each.about["stack"])] for each in routers}
    content = {
        "vocabulary": {
            stack: {"tokens": known["pretty" if pretty else "tokens"], "occurrences": known["occurrences"]}
            for stack, known in names.items()
        },
        "mixtures": [
            {"counts": each.counts, "probabilities": each.probabilities, "tokens": each.listed} for each in routers
        ],
    }
    return zlib.compress(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), 9)


def _picture(block: Block, options: Options, shown: Sequence[RouterLoads], first: RouterLoads) -> Picture:
    if options.show == "tokens":
        picture = tokens_picture(first, block.theme, options.expert, pretty=options.prettify_tokens)
        legend = f"Experts of layer {first.about['layer']} and their tokens · depth: share of a token that went there"
        return with_legend(picture, block.theme, legend)
    known = any(each.probabilities is not None for each in shown)
    tick = " · tick: mean probability" * known
    legend = f"Bar: share of all choices{tick} · dashed: equal shares · CV: coefficient of variation"
    return with_legend(load_picture(shown, block.theme, options.expert, ticks=True), block.theme, legend)


def _notes(meta: Mapping[str, Any], mixtures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield sentences about what is counted, and what the picture does not show."""
    names, special = ", ".join(meta["special_tokens"]), meta["special"]
    yield f"not counted: padding{f', and {special:,} special tokens ({names})' if special else ''}"
    yield f"listed with an expert: tokens that occur {meta['least']} times or more"
    if out := meta["left_out_count"]:
        yield f"texts of the corpus that the model cannot read, and that are left out: {out:,}"
    yield from notes_on_mixtures(mixtures)
    if dropped := sum(about["dropped"] for about in mixtures):
        yield f"without an expert: {dropped:,} {'time' if dropped == 1 else 'times'} a token was dropped or skipped"


def _sentence(
    block: Block, options: Options, meta: Mapping[str, Any], shown: Sequence[RouterLoads], first: RouterLoads
) -> str:
    """Return a sentence about the load of the layer that is shown first, and about one expert's tokens."""
    layer, texts = first.about["layer"], f"{meta['texts']:,} text{'s' * (meta['texts'] > 1)}"
    sentence = (
        f"The load of the experts that {in_words(shown)} of {block.model} chose for {first.tokens:,} tokens of "
        f"{texts}: {first.about['top_k']} of {first.experts} for each. {unevenness(first)}"
    )
    loss = balance_loss(first)
    if loss is not None and first.mean_entropy is not None:
        sentence += f" The mean entropy of its router is {first.mean_entropy:.2f} bits, its balance loss {loss:.3g}."
    dropped = sum(each.dropped for each in shown)
    if dropped:
        sentence += f" {dropped:,} of {first.tokens * len(shown):,} times a token got no expert."
    expert = options.expert if options.expert is not None else 0
    if (options.show == "tokens" or options.expert is not None) and expert < first.experts:
        sentence += _most_of(first, expert, layer, pretty=options.prettify_tokens)
    return sentence


def _most_of(router: RouterLoads, expert: int, layer: int, *, pretty: bool) -> str:
    """Return a sentence about the tokens that an expert gets the largest shares of; empty if there are none."""
    tokens = router.tokens_of(expert)[:NAMED]
    if not tokens:
        return ""
    said = ", ".join(f"“{called(each.pretty if pretty else each.token)}” ({percent(each.share)})" for each in tokens)
    return f" The tokens of which expert {expert} of layer {layer} gets most: {said}."
