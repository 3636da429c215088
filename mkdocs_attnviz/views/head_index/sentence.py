"""The sentence about an index of heads, and the notes on how its numbers were computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mkdocs_attnviz.views.head_index.measures import OTHER, HeadIndex, Relation, direction

TOLD, ENOUGH = 3, 20
"""The largest number of relations in a sentence, and the smallest number of words that a relation there has."""


def sentence(model: str, meta: Mapping[str, Any], index: HeadIndex, stack: str) -> str:
    """Return a sentence with the kinds of heads, and the heads that find a relation best."""
    where = f"the {stack} of {model}" if stack else model
    description = f"{len(index.places)} heads of {where} over {_texts(meta)}."
    counts = Counter(index.kind)
    kinds = [f"{count} to {_the(index.kinds[kind])}" for kind, count in sorted(counts.items()) if kind < OTHER - 1]
    if kinds:
        description += f" Heads that attend mostly to one thing: {', '.join(kinds)}."
    if broad := counts[OTHER - 1]:
        description += f" Broad heads: {broad}."
    told = [_best(index, relation) for relation in _clearest(index)]
    if told:
        description += f" Best heads for relations: {'; '.join(told)}."
    if index.probe:
        description += f" A parser of attention alone: {index.probe['uas']:.0%} of heads of words found."
    return description


def _texts(meta: Mapping[str, Any]) -> str:
    """Return the numbers of texts and tokens."""
    texts = "one text" if meta["texts"] == 1 else f"{meta['texts']} texts"
    return f"{texts}, {meta['tokens']:,} tokens"


def _the(kind: str) -> str:
    """Return what heads of a kind attend to, as a sentence has it."""
    return f"the {kind}" if kind.endswith("token") else kind


def _clearest(index: HeadIndex) -> list[Relation]:
    """Return the relations that a head finds best, compared with the best fixed offset."""

    def gain(relation: Relation) -> float:
        head, way = index.best(relation)
        return direction(relation, way)["accuracy"][head] - relation["baseline"]

    frequent = [relation for relation in index.relations if relation["count"] >= ENOUGH and gain(relation) > 0]
    return sorted(frequent, key=gain, reverse=True)[:TOLD]


def _best(index: HeadIndex, relation: Relation) -> str:
    """Return a relation with its best head in words."""
    head, way = index.best(relation)
    layer, number = index.places[head]
    found = direction(relation, way)["accuracy"][head]
    return (
        f"{relation['name']} layer {layer}, head {number}, {found:.0%} of {relation['count']} words "
        f"(offset {relation['offset']:+d}: {relation['baseline']:.0%})"
    )


def notes(meta: Mapping[str, Any], index: HeadIndex) -> str:
    """Return how the numbers were computed, and what was left out."""
    parts = [f"Over {_texts(meta)}", *(["each text counts once"] if meta["texts"] > 1 else [])]
    if count := meta["left_out_count"]:
        first = meta["left_out"][0]
        place = "" if first["line"] is None else f"line {first['line']}: "
        parts.append(f"left out: {count}, the first one because {place}{first['why']}")
    if index.relations:
        parts.append(
            "accuracy: how often the word that gets most of a word's attention is the right one; of all heads and both "
            "directions the best was chosen on the same texts"
        )
    if index.stress is not None:
        parts.append("map: the nearer two heads, the more alike their attention (Jensen–Shannon)")
    if index.probe:
        probe = index.probe
        parts.append(
            f"a parser of attention alone, trained on one half of the sentences, finds {probe['uas']:.1%} of heads of "
            f"words in the other half; always the next word: {probe['baseline']:.1%}"
        )
    return "; ".join(parts) + "."
