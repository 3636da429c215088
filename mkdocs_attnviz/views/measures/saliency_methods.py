"""The measures of a figure that compares several methods: how far they agree, and how faithful each is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.measures.rounding import around
from mkdocs_attnviz.views.measures.saliency import method_of

RANDOM = "random"
"""The name that stands for random orders."""


def _several(entry: Entry) -> list[str]:
    """Return the methods of a figure.

    Raises:
        WrongValue: it has only one, which is compared with nothing.
    """
    if "methods" not in entry.meta:
        raise WrongValue(
            "expect", "This is measured of a list of methods, and the figure has one: write `method: [ … ]`."
        )
    return [str(each["method"]) for each in entry.meta["methods"]]


def _tau(_: Any, entry: Entry, one: int, other: int) -> float | None:
    tau: float | None = entry.meta["agreement"][one][other]
    return tau


def _overlap(options: Any, entry: Entry, one: int, other: int) -> float:
    """Return the share of the first tokens of two orders that are the same."""
    orders: list[list[int]] = entry.meta["orders"]
    k: int = min(options.top_k, len(entry.meta["compared"]))
    common = {*orders[one][:k]} & {*orders[other][:k]}
    return len(common) / float(k)


def _agreement(
    _: Block, options: Any, entry: Entry, chosen: Selectors, of: Callable[..., float | None], name: str
) -> Measured:
    """Return how far two methods agree.

    Raises:
        Untestable: one of them has the same number for all tokens.
    """
    known = _several(entry)
    one, other = method_of(entry, chosen.method, "method"), method_of(entry, chosen.other_method, "other_method")
    value = of(options, entry, one, other)
    if value is None:
        raise Untestable(
            f"{name} of {known[one]} and {known[other]} is not defined: one has the same number everywhere."
        )

    def others() -> Iterator[Other]:
        for third, method in enumerate(known):
            found = of(options, entry, one, third)
            if third not in (one, other) and found is not None:
                yield Other(f"{known[one]} and {method}", found)

    low, high = around(value)
    return Measured(f"{name} of {known[one]} and {known[other]}", value, low, high, others=others)


def _faithfulness(_: Block, __: Any, entry: Entry, chosen: Selectors, name: str, words: str) -> Measured:
    """Return an area, comprehensiveness or sufficiency, of a method or of random orders."""
    known, curves = _several(entry), entry.meta["curves"]
    baseline = float(curves["random"][name]["mean"])
    if chosen.method == RANDOM:
        return Measured(f"the mean {words} of random orders", baseline, *around(baseline))
    number = method_of(entry, chosen.method, "method")
    value = float(curves["methods"][number][name])

    def others() -> Iterator[Other]:
        for other, method in enumerate(known):
            if other != number:
                yield Other(method, float(curves["methods"][other][name]))

    return Measured(f"the {words} of {known[number]}", value, *around(value), baseline=baseline, others=others)


def _completeness_error(_: Block, __: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return how far the sum of a strip is from what it is to explain, as a fraction of that.

    Raises:
        Untestable: the method has no such sum.
    """
    known = _several(entry)
    number = method_of(entry, chosen.method, "method")
    about = entry.meta["methods"][number]
    if "delta" not in about:
        raise Untestable(f"{known[number]} does not claim to be complete, so that it has no completeness error.")
    whole = abs(about["value"] - about["baseline"]) or 1.0
    return Measured(f"the completeness error of {known[number]}", abs(about["delta"]) / whole)


def _of_curves(name: str, words: str, says: str, *, has_baseline: bool = False) -> Measure[Any]:
    return Measure(says, partial(_faithfulness, name=name, words=words), needs=("method",), has_baseline=has_baseline)


METHODS_MEASURES: dict[str, Measure[Any]] = {
    "agreement": Measure(
        "Kendall’s τ-b of the orders of `method` and `other_method`.",
        partial(_agreement, of=_tau, name="Kendall’s τ-b"),
        needs=("method", "other_method"),
    ),
    "overlap": Measure(
        "The share of their first `top_k` tokens that are the same.",
        partial(_agreement, of=_overlap, name="the overlap"),
        needs=("method", "other_method"),
    ),
    "comprehensiveness": _of_curves(
        "comprehensiveness",
        "comprehensiveness",
        "What the output’s probability loses without the first tokens of the order of `method`.",
        has_baseline=True,
    ),
    "sufficiency": _of_curves(
        "sufficiency", "sufficiency", "What it loses if only these tokens are left. A small value is good."
    ),
    "deletion_area": _of_curves(
        "deletion_area", "area below the deletion curve", "The area below the curve of tokens taken out. Small is good."
    ),
    "insertion_area": _of_curves(
        "insertion_area",
        "area below the insertion curve",
        "The area below the curve of tokens put back.",
        has_baseline=True,
    ),
    "completeness_error": Measure(
        "How far the sum of the strip of `method` is from the difference that it is to explain, as a share of that.",
        _completeness_error,
        needs=("method",),
    ),
}
"""The measures of figures that compare several methods."""
