"""The measures of views of attention: a weight from one token to another, and the strongest weights.

Weights are those of single heads as they are stored, whatever combination of layers or heads the figure begins with. A
claim is compared with all weights that round to the stored one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import AttentionOptions, WeightOptions
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other
from mkdocs_attnviz.views.measures.sinks import SINK, SINK_MEASURE, strongest_sink
from mkdocs_attnviz.views.measures.stored_weights import SUBJECTS, Kind, Weights
from mkdocs_attnviz.views.token_places import Place, places


def _kind(options: AttentionOptions, chosen: Selectors, kind: Kind | None) -> Kind:
    """Return the kind of weights: the one that the claim names, or else the one that the figure begins with."""
    if kind is not None:
        return kind
    if chosen.measure in ("weight", "value_weighted", "rollout"):
        return chosen.measure  # type: ignore[return-value]
    if chosen.measure not in (None, "rank"):
        raise WrongValue(
            "expect", f"`measure` is {chosen.measure!r}; it must be weight, value_weighted, rollout or sink."
        )
    if isinstance(options, WeightOptions) and options.across_layers == "rollout":
        return "rollout"
    return "value_weighted" if isinstance(options, WeightOptions) and options.value_weighted else "weight"


@dataclass(frozen=True)
class Chosen:
    """The weight that a claim is about: the largest one between tokens of the texts that it names."""

    weights: Weights
    head: int
    pairs: list[tuple[Place, Place]]
    start: Place
    end: Place

    @property
    def where(self) -> str:
        """The two tokens and the head in words, as the end of a phrase."""
        return f"from {self.start.name} to {self.end.name} in {self.weights.where(self.weights.layer, self.head)}"


def _chosen(
    block: Block, options: AttentionOptions, entry: Entry, chosen: Selectors, kind: Kind | None = None
) -> Chosen:
    """Return the weight that a claim is about.

    Raises:
        WrongValue: the model has no such layer or head, or the claim names no head and the figure shows several.
    """
    weights = Weights(block, options, entry, chosen, _kind(options, chosen, kind))
    starts, ends = places(weights.rows, chosen.from_ or "", "from"), places(weights.cols, chosen.to or "", "to")
    head = weights.head
    if head is None:
        raise WrongValue("expect", "A claim about a weight names a `head`, unless the figure shows only one.")
    pairs = [(start, end) for start in starts for end in ends]
    best = max(pairs, key=lambda pair: weights.of(weights.layer, head, *pair).value)
    return Chosen(weights, head, pairs, *best)


def _weight(
    block: Block, options: AttentionOptions, entry: Entry, chosen: Selectors, kind: Kind | None = None
) -> Measured:
    """Return the weight from one token to another."""
    it = _chosen(block, options, entry, chosen, kind)
    weights, head, start = it.weights, it.head, it.start
    found = weights.of(weights.layer, head, start, it.end)

    def others() -> Iterator[Other]:
        """Yield the same weight of other heads, and the weights of the same head between other tokens."""
        for layer, other, distance in weights.everywhere():
            best = max(weights.of(layer, other, *pair).value for pair in it.pairs)
            yield Other(weights.where(layer, other), best, distance)
        same = weights.where(weights.layer, head)
        for other_end in weights.every("to"):
            value = weights.of(weights.layer, head, start, other_end).value
            yield Other(f"{same} from {start.name} to {other_end.name}", value, 3)

    return Measured(f"{SUBJECTS[weights.kind]} {it.where}", found.value, found.low, found.high, others=others)


def _rank(block: Block, options: AttentionOptions, entry: Entry, chosen: Selectors) -> Measured:
    """Return the place of a weight among those of the same token, the largest first. Of equal stored weights, any may
    be the largest."""
    it = _chosen(block, options, entry, chosen)
    weights = it.weights

    def ranks(layer: int, head: int, end: Place) -> tuple[int, int]:
        """Return the first and the last place that a weight may have."""
        row = [weights.of(layer, head, it.start, place).value for place in weights.every("to")]
        value = weights.of(layer, head, it.start, end).value
        first = 1 + sum(other > value for other in row)
        return first, max(first, sum(other >= value for other in row))

    def others() -> Iterator[Other]:
        """Yield the rank in other heads, and those of other tokens."""
        for layer, head, distance in weights.everywhere():
            yield Other(weights.where(layer, head), ranks(layer, head, it.end)[0], distance)
        for end in weights.every("to"):
            yield Other(f"the weight to {end.name}", ranks(weights.layer, it.head, end)[0], 3)

    first, last = ranks(weights.layer, it.head, it.end)
    return Measured(f"the rank of {SUBJECTS[weights.kind]} {it.where}", first, first, last, others=others)


def _strongest(block: Block, options: AttentionOptions, entry: Entry, chosen: Selectors) -> Measured:
    """Return the token that a token attends to most, or from which it is attended to most, or the head that does so.

    Raises:
        WrongValue: the claim names neither `from` nor `to`.
    """
    if chosen.measure == SINK:
        return strongest_sink(block, options, entry, chosen)
    weights = Weights(block, options, entry, chosen, _kind(options, chosen, None))
    if chosen.from_ is None and chosen.to is None:
        raise WrongValue("expect", "`strongest` names `from` or `to`: what is looked for is the other one.")
    if chosen.from_ is not None and chosen.to is not None:
        return _strongest_head(weights, chosen)
    side, other_side = ("from", "to") if chosen.from_ is not None else ("to", "from")
    sequence = weights.rows if side == "from" else weights.cols
    fixed = places(sequence, (chosen.from_ or chosen.to) or "", side)
    searched = weights.every(other_side)
    head = weights.head
    if head is None:
        raise WrongValue("expect", "`strongest` names a `head`, unless the figure shows only one.")

    def answer(layer: int, head: int) -> Answer:
        """Return the strongest token of a head. Tokens whose stored weights are equal are all accepted."""
        values: dict[Place, float] = {}
        for place in searched:
            pairs = [(one, place) if side == "from" else (place, one) for one in fixed]
            values[place] = max(weights.of(layer, head, *pair).value for pair in pairs)
        most = max(values.values())
        best = [place for place, value in values.items() if value == most]
        where = weights.cols if side == "from" else weights.rows
        positions = {place.positions[0] for place in best}
        is_named = lambda text: any(positions & {*place.positions} for place in places(where, text, "is"))  # noqa: E731
        return Answer(best[0].name, is_named, most)

    def others() -> Iterator[Other]:
        for layer, other, distance in weights.everywhere():
            yield Other(f"in {weights.where(layer, other)}", answer(layer, other), distance)

    name = " or ".join(place.name for place in fixed[:3])
    verb = f"what {name} attends to most" if side == "from" else f"what attends most to {name}"
    found = answer(weights.layer, head)
    return Measured(f"{verb} in {weights.where(weights.layer, head)}", found, others=others)


def _strongest_head(weights: Weights, chosen: Selectors) -> Measured:
    """Return the head of a layer that has the largest weight from one token to another."""
    if weights.kind == "rollout" or chosen.head is not None:
        raise WrongValue("expect", "`strongest` with `from` and `to` looks for a head, so that it names none.")
    starts, ends = places(weights.rows, chosen.from_ or "", "from"), places(weights.cols, chosen.to or "", "to")
    pairs = [(start, end) for start in starts for end in ends]

    def answer(layer: int) -> Answer:
        """Return the strongest head of a layer. Heads whose stored weights are equal are all accepted."""
        heads = range(weights.layers[layer]["heads"])
        values = [max(weights.of(layer, head, *pair).value for pair in pairs) for head in heads]
        best = [head for head, value in enumerate(values) if value == max(values)]
        return Answer(f"head {best[0]}", lambda text: text.isdecimal() and int(text) in best, max(values))

    def others() -> Iterator[Other]:
        for layer in weights.layers:
            if layer != weights.layer:
                yield Other(f"in {weights.where(layer, None)}", answer(layer), 1)

    between = f"from {starts[0].name} to {ends[0].name}"
    subject = f"the head of {weights.where(weights.layer, None)} with the largest weight {between}"
    return Measured(subject, answer(weights.layer), others=others)


WHERE = ("stack", "layer", "head")
WEIGHT_MEASURE: Measure[Any] = Measure(
    "The weight with which the token `from` attends to the token `to`; with `value_weighted: true` or "
    "`across_layers: rollout` in the block, what the figure shows in its place.",
    _weight,
    needs=("from", "to"),
    takes=WHERE,
)
STRONGEST_MEASURE: Measure[Any] = Measure(
    "With `from`, the token that it attends to most; with `to`, the one that attends most to it; with both, the head "
    "of the layer in which the weight is largest; with `measure: sink`, the head whose sink has the largest share, of "
    "a `layer` or of all, written as `2·8` for head 8 of layer 2.",
    _strongest,
    takes=("from", "to", *WHERE, "measure"),
    answers=True,
)
RANK_MEASURE: Measure[Any] = Measure(
    "The rank of this weight among all weights of the token `from`; 1 is the largest.",
    _rank,
    needs=("from", "to"),
    takes=WHERE,
)
MEASURES: dict[str, Measure[Any]] = {
    "weight": WEIGHT_MEASURE,
    "rank": RANK_MEASURE,
    SINK: SINK_MEASURE,
    STRONGEST: STRONGEST_MEASURE,
}
"""The measures of every view of attention."""
WEIGHT_MEASURES: dict[str, Measure[Any]] = {
    **MEASURES,
    "value_weighted": Measure(
        "The same, weighed by the length of what is passed on.",
        partial(_weight, kind="value_weighted"),
        needs=("from", "to"),
        takes=WHERE,
    ),
    "rollout": Measure(
        "Attention rollout up to `layer`.", partial(_weight, kind="rollout"), needs=("from", "to"), takes=WHERE[:2]
    ),
}
"""The measures of views that show weights in several ways."""
