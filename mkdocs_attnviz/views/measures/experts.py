"""The measures of the experts view: which experts a token goes to, and how many tokens each expert gets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.router_choices import STEPS, RouterChoices, in_layers
from mkdocs_attnviz.views.token_places import token

FIRST = ("self", "encoder", "decoder")


class OneLayer:
    """The mixture of one layer, and what a claim names in it."""

    def __init__(self, block: Block, options: Any, entry: Entry, chosen: Selectors) -> None:
        """Find the mixture.

        Raises:
            WrongValue: there is no such stack, part, layer or expert.
        """
        mixtures: list[Mapping[str, Any]] = entry.meta["mixtures"]
        stacks = [stack for stack in FIRST if any(about["stack"] == stack for about in mixtures)]
        self.stack = chosen.stack or options.stack or stacks[0]
        if self.stack not in stacks:
            raise WrongValue("expect", f"`stack` is {self.stack}; {block.subject} has {', '.join(stacks)}.")
        parts = sorted({str(about["part"]) for about in mixtures if about["stack"] == self.stack}, reverse=True)
        part = chosen.part or options.part or parts[0]
        if part not in parts:
            raise WrongValue("expect", f"`part` is {part}; {block.subject} has {', '.join(parts)}.")
        group = [about for about in mixtures if (about["stack"], about["part"]) == (self.stack, part)]
        self.layers = {int(about["layer"]): RouterChoices(entry, about) for about in group}
        first = max(self.layers) if options.layer is None else options.layer
        self.layer = first if chosen.layer is None else chosen.layer
        if self.layer not in self.layers:
            known = in_layers(list(self.layers))
            raise WrongValue("expect", f"`layer` is {self.layer}; the mixtures of {block.subject} are in {known}.")
        self.choices = self.layers[int(self.layer)]
        expert = options.expert if chosen.expert is None else chosen.expert
        self.expert = self.choices.counts.index(max(self.choices.counts)) if expert is None else expert
        if self.expert >= self.choices.experts:
            last = self.choices.experts - 1
            raise WrongValue("expect", f"`expert` is {self.expert}; layer {self.layer} has experts 0 to {last}.")
        sequences = entry.meta["sequences"]
        self.sequence = sequences["target" if self.stack == "decoder" else "text"]

    def token(self, written: str) -> tuple[int, str]:
        """Return the position and the name of a token of the text."""
        return token(self.sequence, written, "token")

    def beside(self) -> Iterator[tuple[int, RouterChoices]]:
        """Yield the mixtures of the other layers."""
        for number, choices in self.layers.items():
            if number != self.layer:
                yield number, choices


def _load(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the share of a layer's choices that fell on an expert."""
    found = OneLayer(block, options, entry, chosen)

    def others() -> Iterator[Other]:
        for expert, share in enumerate(found.choices.load):
            if expert != found.expert:
                yield Other(f"expert {expert} of the same layer", share, 1)
        for number, choices in found.beside():
            if found.expert < choices.experts:
                yield Other(f"expert {found.expert} of layer {number}", choices.load[found.expert], 2)

    subject = f"the share of the choices in layer {found.layer} that fell on expert {found.expert}"
    even = 1 / found.choices.experts
    return Measured(subject, found.choices.load[found.expert], baseline=even, others=others)


def _weight(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the weight of an expert at a token, as the model uses it; 0 if the token did not go to it."""
    found = OneLayer(block, options, entry, chosen)
    at, name = found.token(chosen.token or "")
    weights, half = found.choices.weights(at), found.choices.weight_step / 2
    value = weights.get(found.expert, 0.0)

    def others() -> Iterator[Other]:
        for expert, weight in weights.items():
            if expert != found.expert:
                yield Other(f"expert {expert} of the same layer", weight, 1)

    subject = f"the weight of expert {found.expert} at {name} in layer {found.layer}"
    bounds = (value - half, value + half) if found.expert in weights else (0.0, 0.0)
    return Measured(subject, value, *bounds, others=others)


def _probability(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the probability that the router gives an expert at a token.

    Raises:
        Untestable: the router's distribution is unknown.
    """
    found = OneLayer(block, options, entry, chosen)
    at, name = found.token(chosen.token or "")
    _check_scores(found)
    subject = f"the probability of expert {found.expert} at {name} in layer {found.layer}"
    value, stored = found.choices.probability(at, found.expert), found.choices.distribution(at)
    if value is None:
        return Measured(subject, stored[-1][1], beyond="less")

    def others() -> Iterator[Other]:
        for expert, probability in stored:
            if expert != found.expert:
                yield Other(f"expert {expert} of the same layer", probability, 1)

    return Measured(subject, value, value - 0.5 / STEPS, value + 0.5 / STEPS, others=others)


def _entropy(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the entropy of the router's distribution in bits, at a token or on average.

    Raises:
        Untestable: the router's distribution is unknown.
    """
    found = OneLayer(block, options, entry, chosen)
    _check_scores(found)
    at, name = (None, "over all tokens") if chosen.token is None else found.token(chosen.token)

    def value(choices: RouterChoices) -> float:
        if at is not None:
            return choices.entropy(at)
        return math.fsum(choices.entropy(token) for token in range(choices.tokens)) / choices.tokens

    def others() -> Iterator[Other]:
        for number, choices in found.beside():
            if choices.has_scores:
                yield Other(f"layer {number}", value(choices), 1)

    what = f"the entropy of the router at {name}" if at is not None else "the router's mean entropy"
    own, half = value(found.choices), found.choices.entropy_step / 2
    return Measured(f"{what} in layer {found.layer}, in bits,", own, own - half, own + half, others=others)


def _check_scores(found: OneLayer) -> None:
    if not found.choices.has_scores:
        raise Untestable(f"the router's distribution in layer {found.layer} cannot be read.")


def _variation(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the coefficient of variation of a layer's load."""
    found = OneLayer(block, options, entry, chosen)

    def others() -> Iterator[Other]:
        for number, choices in found.beside():
            yield Other(f"layer {number}", choices.variation, 1)

    subject = f"the coefficient of variation of the load in layer {found.layer}"
    return Measured(subject, found.choices.variation, others=others)


def _strongest(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the expert with the largest weight at a token, or without a token the one with the largest load.

    Raises:
        Untestable: the token was dropped.
    """
    found = OneLayer(block, options, entry, chosen)

    def answer(choices: RouterChoices, at: int | None) -> Answer | None:
        values = dict(enumerate(choices.load)) if at is None else choices.weights(at)
        if not values:
            return None
        best = max(values, key=values.__getitem__)
        return Answer(f"expert {best}", lambda written: written == str(best), values[best])

    at, name = (None, "") if chosen.token is None else found.token(chosen.token)
    own = answer(found.choices, at)
    if own is None:
        raise Untestable(f"{name} got no expert in layer {found.layer}.")

    def others() -> Iterator[Other]:
        for number, choices in found.beside():
            other = answer(choices, at)
            if other is not None:
                yield Other(f"in layer {number}", other, 1)

    what = "with the most tokens" if at is None else f"with the largest weight at {name}"
    return Measured(f"the expert {what} in layer {found.layer}", own, others=others)


PLACE = ("stack", "part", "layer")
MEASURES: dict[str, Measure[Any]] = {
    "load": Measure(
        "The share of all choices in `layer` that fell on `expert`. Its baseline is an equal share.",
        _load,
        takes=(*PLACE, "expert"),
        has_baseline=True,
    ),
    "routing_weight": Measure(
        "The weight of `expert` at `token`, as the model uses it; 0 if the token did not go there.",
        _weight,
        needs=("token",),
        takes=(*PLACE, "expert"),
    ),
    "probability": Measure(
        "The probability that the router gives `expert` at `token`.",
        _probability,
        needs=("token",),
        takes=(*PLACE, "expert"),
    ),
    "entropy": Measure(
        "The entropy of the router's distribution in bits, at `token` or as the mean of all tokens.",
        _entropy,
        takes=(*PLACE, "token"),
    ),
    "variation": Measure(
        "The coefficient of variation of the load in `layer`; 0 if all experts get the same.",
        _variation,
        takes=PLACE,
    ),
    STRONGEST: Measure(
        "The expert with the largest weight at `token`, or without a token the one with the most tokens.",
        _strongest,
        takes=(*PLACE, "token"),
        answers=True,
    ),
}
"""The measures of the experts view."""
