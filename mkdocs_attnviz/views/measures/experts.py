"""The measures of the experts view: which experts a token goes to, and how many tokens each expert gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.expert_balance import Router, balance_loss, in_layers, load, load_entropy, variation
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.router_choices import STEPS, RouterChoices
from mkdocs_attnviz.views.router_loads import RouterLoads, routers_of, sequence_of
from mkdocs_attnviz.views.token_places import token

FIRST = ("self", "encoder", "decoder")


class OneLayer:
    """The mixture of one layer, and what a claim names in it."""

    def __init__(self, block: Block, options: Any, entry: Entry, chosen: Selectors) -> None:
        """Find the mixture.

        Raises:
            WrongValue: there is no such stack, part, layer or expert.
        """
        routers = routers_of(entry)
        stacks = [stack for stack in FIRST if any(each.about["stack"] == stack for each in routers)]
        self.stack = chosen.stack or options.stack or stacks[0]
        if self.stack not in stacks:
            raise WrongValue("expect", f"`stack` is {self.stack}; {block.subject} has {', '.join(stacks)}.")
        parts = sorted({str(each.about["part"]) for each in routers if each.about["stack"] == self.stack}, reverse=True)
        part = chosen.part or options.part or parts[0]
        if part not in parts:
            raise WrongValue("expect", f"`part` is {part}; {block.subject} has {', '.join(parts)}.")
        group = [each for each in routers if (each.about["stack"], each.about["part"]) == (self.stack, part)]
        self.layers = {int(each.about["layer"]): each for each in group}
        first = max(self.layers) if options.layer is None else options.layer
        self.layer = first if chosen.layer is None else chosen.layer
        if self.layer not in self.layers:
            known = in_layers(list(self.layers))
            raise WrongValue("expect", f"`layer` is {self.layer}; the mixtures of {block.subject} are in {known}.")
        self.router = self.layers[int(self.layer)]
        expert = options.expert if chosen.expert is None else chosen.expert
        self.expert = self.router.counts.index(max(self.router.counts)) if expert is None else expert
        if self.expert >= self.router.experts:
            last = self.router.experts - 1
            raise WrongValue("expect", f"`expert` is {self.expert}; layer {self.layer} has experts 0 to {last}.")
        self._sequences = entry.meta.get("sequences", {})

    @property
    def choices(self) -> RouterChoices:
        """The choices for each token of a text.

        Raises:
            Untestable: the figure is that of a corpus.
        """
        if not isinstance(self.router, RouterChoices):
            raise Untestable("a corpus has no single token to look at; `token_share` is about all that are alike.")
        return self.router

    def token(self, written: str) -> tuple[int, str]:
        """Return the position and the name of a token of the text."""
        return token(self._sequences[sequence_of(self.stack)], written, "token")

    def beside(self) -> Iterator[tuple[int, Router]]:
        """Yield the mixtures of the other layers."""
        for number, router in self.layers.items():
            if number != self.layer:
                yield number, router


def _load(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the share of a layer's choices that fell on an expert."""
    found = OneLayer(block, options, entry, chosen)

    def others() -> Iterator[Other]:
        for expert, share in enumerate(load(found.router)):
            if expert != found.expert:
                yield Other(f"expert {expert} of the same layer", share, 1)
        for number, router in found.beside():
            if found.expert < router.experts:
                yield Other(f"expert {found.expert} of layer {number}", load(router)[found.expert], 2)

    subject = f"the share of the choices in layer {found.layer} that fell on expert {found.expert}"
    even = 1 / found.router.experts
    return Measured(subject, load(found.router)[found.expert], baseline=even, others=others)


def _weight(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the weight of an expert at a token, as the model uses it; 0 if the token did not go to it."""
    found = OneLayer(block, options, entry, chosen)
    choices = found.choices
    at, name = found.token(chosen.token or "")
    weights, half = choices.weights(at), choices.weight_step / 2
    value = weights.get(found.expert, 0.0)

    def others() -> Iterator[Other]:
        for expert, weight in weights.items():
            if expert != found.expert:
                yield Other(f"expert {expert} of the same layer", weight, 1)

    subject = f"the weight of expert {found.expert} at {name} in layer {found.layer}"
    bounds = (value - half, value + half) if found.expert in weights else (0.0, 0.0)
    return Measured(subject, value, *bounds, others=others)


def _probability(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the probability that the router gives an expert at a token, or on average.

    Raises:
        Untestable: the router's distribution is unknown.
    """
    found = OneLayer(block, options, entry, chosen)
    if chosen.token is None:
        return _mean_probability(found)
    choices = found.choices
    at, name = found.token(chosen.token)
    if not choices.has_scores:
        raise _unknown(found)
    subject = f"the probability of expert {found.expert} at {name} in layer {found.layer}"
    value, stored = choices.probability(at, found.expert), choices.distribution(at)
    if value is None:
        return Measured(subject, stored[-1][1], beyond="less")

    def others() -> Iterator[Other]:
        for expert, probability in stored:
            if expert != found.expert:
                yield Other(f"expert {expert} of the same layer", probability, 1)

    return Measured(subject, value, value - 0.5 / STEPS, value + 0.5 / STEPS, others=others)


def _mean_probability(found: OneLayer) -> Measured:
    """Return the mean probability that the router gives an expert.

    Raises:
        Untestable: it is unknown.
    """
    means = found.router.probabilities
    if means is None:
        raise _unknown(found)

    def others() -> Iterator[Other]:
        for expert, mean in enumerate(means):
            if expert != found.expert:
                yield Other(f"expert {expert} of the same layer", mean, 1)

    subject = f"the mean probability of expert {found.expert} in layer {found.layer}"
    value, half = means[found.expert], 0.5 / STEPS
    return Measured(subject, value, value - half, value + half, baseline=1 / found.router.experts, others=others)


def _entropy(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the entropy of the router's distribution in bits, at a token or on average.

    Raises:
        Untestable: the router's distribution is unknown.
    """
    found = OneLayer(block, options, entry, chosen)
    at, name = (None, "") if chosen.token is None else (found.choices, found.token(chosen.token))[1]

    def value(router: Router) -> float | None:
        if at is None:
            return router.mean_entropy
        return router.entropy(at) if isinstance(router, RouterChoices) and router.has_scores else None

    def others() -> Iterator[Other]:
        for number, router in found.beside():
            other = value(router)
            if other is not None:
                yield Other(f"layer {number}", other, 1)

    own, half = value(found.router), found.router.mean_entropy_error
    if own is None:
        raise _unknown(found)
    what = f"the entropy of the router at {name}" if at is not None else "the router's mean entropy over all tokens"
    return Measured(f"{what} in layer {found.layer}, in bits,", own, own - half, own + half, others=others)


def _unknown(found: OneLayer) -> Untestable:
    """Return the error about a distribution that is unknown, or stored in part."""
    return Untestable(f"the router's distribution in layer {found.layer} cannot be read, or is stored in part.")


def _of_layer(what: str, value: Callable[[Router], float | None]) -> Callable[..., Measured]:
    """Return the measure of a number that each layer has; `what` are the words before "in layer 3"."""

    def take(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
        found = OneLayer(block, options, entry, chosen)

        def others() -> Iterator[Other]:
            for number, router in found.beside():
                other = value(router)
                if other is not None:
                    yield Other(f"layer {number}", other, 1)

        own = value(found.router)
        if own is None:
            raise _unknown(found)
        return Measured(f"{what} in layer {found.layer}", own, others=others)

    return take


def _token_share(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the share of a token's occurrences in a corpus that went to an expert.

    Raises:
        Untestable: the figure is that of one text, or the token is not among those that are listed with experts.
    """
    found, written = OneLayer(block, options, entry, chosen), chosen.token or ""
    router = found.router
    if not isinstance(router, RouterLoads):
        raise Untestable("`token_share` is for a corpus, in which a token occurs often.")
    at = router.named(written)
    if at is None:
        raise Untestable(f"{written!r} is not among the tokens that are listed with the experts.")
    listed = {expert: router.share_of(at, expert) for expert in range(router.experts)}

    def others() -> Iterator[Other]:
        for expert, share in listed.items():
            if expert != found.expert and share:
                yield Other(f"expert {expert} of the same layer", share, 1)

    subject = f"the share of all “{written}” in layer {found.layer} that went to expert {found.expert}"
    share, even = listed[found.expert], router.about["top_k"] / router.experts
    if share is None:
        return Measured(subject, router.tokens_of(found.expert)[-1].share, beyond="less", baseline=even, others=others)
    return Measured(subject, share, baseline=even, others=others)


def _strongest(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the expert with the largest weight at a token, or without a token the one with the largest load.

    Raises:
        Untestable: the token was dropped.
    """
    found = OneLayer(block, options, entry, chosen)
    at, name = (None, "") if chosen.token is None else (found.choices, found.token(chosen.token))[1]

    def answer(router: Router) -> Answer | None:
        values = dict(enumerate(load(router)))
        if at is not None:
            values = router.weights(at) if isinstance(router, RouterChoices) else {}
        if not values:
            return None
        best = max(values, key=values.__getitem__)
        return Answer(f"expert {best}", lambda written: written == str(best), values[best])

    own = answer(found.router)
    if own is None:
        raise Untestable(f"{name} got no expert in layer {found.layer}.")

    def others() -> Iterator[Other]:
        for number, router in found.beside():
            other = answer(router)
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
        "The probability that the router gives `expert` at `token`, or as the mean of all tokens. The mean's baseline "
        "is an equal share.",
        _probability,
        takes=(*PLACE, "expert", "token"),
        has_baseline=True,
    ),
    "entropy": Measure(
        "The entropy of the router's distribution in bits, at `token` or as the mean of all tokens.",
        _entropy,
        takes=(*PLACE, "token"),
    ),
    "variation": Measure(
        "The coefficient of variation of the load in `layer`; 0 if all experts get the same.",
        _of_layer("the coefficient of variation of the load", variation),
        takes=PLACE,
    ),
    "load_entropy": Measure(
        "The entropy of the load in `layer`, in bits; largest if all experts get the same.",
        _of_layer("the entropy of the load", load_entropy),
        takes=PLACE,
    ),
    "balance_loss": Measure(
        "The load-balancing loss of Switch Transformers in `layer`: experts × Σ load × mean probability; 1 if all "
        "experts get the same.",
        _of_layer("the load-balancing loss", balance_loss),
        takes=PLACE,
    ),
    "token_share": Measure(
        "With `corpus`: the share of the occurrences of `token` that went to `expert`. Its baseline is that of equal "
        "loads.",
        _token_share,
        needs=("token",),
        takes=(*PLACE, "expert"),
        has_baseline=True,
        must_be_named=True,
    ),
    STRONGEST: Measure(
        "The expert with the largest weight at `token`, or without a token the one with the most tokens.",
        _strongest,
        takes=(*PLACE, "token"),
        answers=True,
    ),
}
"""The measures of the experts view."""
