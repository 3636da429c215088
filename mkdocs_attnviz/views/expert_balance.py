"""Numbers that tell how evenly a router loads the experts of a mixture, over one text or over a corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mkdocs_attnviz.block.values import listed


class Router(Protocol):
    """The choices of one router, counted over tokens."""

    @property
    def about(self) -> Mapping[str, Any]:
        """The description of the mixture in the entry."""

    @property
    def experts(self) -> int:
        """The number of experts."""

    @property
    def tokens(self) -> int:
        """The number of tokens that are counted."""

    @property
    def dropped(self) -> int:
        """The number of tokens without an expert."""

    @property
    def counts(self) -> Sequence[int]:
        """The number of tokens that each expert got."""

    @property
    def probabilities(self) -> Sequence[float] | None:
        """The mean probability that the router gives each expert; None if that is unknown."""

    @property
    def mean_entropy(self) -> float | None:
        """The mean entropy of the router's distribution in bits; None if the distribution is unknown."""

    @property
    def mean_entropy_error(self) -> float:
        """The largest difference of the mean entropy from the true one, which storing has made."""


def in_layers(numbers: Sequence[int]) -> str:
    """Return layers in words: "layers 0 to 3", "layer 1"."""
    return f"layer{'s' * (len(numbers) > 1)} {listed(numbers)}"


def load(router: Router) -> list[float]:
    """Return the share of all choices that fell on each expert; they sum to 1."""
    total = sum(router.counts) or 1
    return [count / total for count in router.counts]


def variation(router: Router) -> float:
    """Return the coefficient of variation of the load: its standard deviation over its mean; 0 if all get the same."""
    mean = 1 / router.experts
    return math.sqrt(sum((share - mean) ** 2 for share in load(router)) / router.experts) / mean


def load_entropy(router: Router) -> float:
    """Return the entropy of the load in bits, which is largest if all experts get the same."""
    return -math.fsum(share * math.log2(share) for share in load(router) if share)


def balance_loss(router: Router) -> float | None:
    """Return the load-balancing loss of Fedus et al. 2022, "Switch Transformers"; None if it cannot be told.

    It is N · Σ fᵢ · Pᵢ of the share fᵢ of the choices that fell on each of N experts and the mean probability Pᵢ, and
    1 if both are equal for all experts.
    """
    if router.probabilities is None:
        return None
    pairs = zip(load(router), router.probabilities, strict=True)
    return router.experts * math.fsum(share * probability for share, probability in pairs)


def in_words(routers: Sequence[Router]) -> str:
    """Return the routers of one stack and part as the subject of a sentence: "the routers in 4 layers"."""
    about = routers[0].about
    whose = "" if about["stack"] == "self" else f" of the {about['stack']}"
    whose = " of its attention" if about["part"] == "attention" else whose
    return f"the routers in {len(routers)} layer{'s' * (len(routers) > 1)}{whose}"


def unevenness(router: Router) -> str:
    """Return a sentence about the experts of a layer that got most and least."""
    shares = load(router)
    most, least = (choose(range(router.experts), key=shares.__getitem__) for choose in (max, min))
    return (
        f"In layer {router.about['layer']}, expert {most} got {percent(shares[most])} of the choices and expert "
        f"{least} {percent(shares[least])}; equal shares are {percent(1 / router.experts)}."
    )


def percent(share: float) -> str:
    """Return a share in words, with three digits."""
    return f"{100 * share:.3g}%"
