"""The measures of the factors view: how strong a factor is at a token, and where it is the strongest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other
from mkdocs_attnviz.views.measures.rounding import around
from mkdocs_attnviz.views.svg.token_flow import json_of
from mkdocs_attnviz.views.token_places import joined, places, token


class Factors:
    """The factors of an entry, and all tokens that they are of."""

    def __init__(self, entry: Entry, chosen: Selectors) -> None:
        """Read the factors.

        Raises:
            WrongValue: there is no such factor.
        """
        self.strengths: list[list[float]] = json_of(entry.blobs["factors"])["strengths"]
        name, sequences = entry.meta["sequence"], entry.meta["sequences"]
        texts = [name, *(other for other in sequences if other.startswith(f"{name}-"))]
        self.sequence: Mapping[str, Any] = joined([sequences[text] for text in texts])
        self.number = None if chosen.factor is None else chosen.factor - 1
        if self.number is not None and self.number >= len(self.strengths):
            raise WrongValue("expect", f"`factor` is {chosen.factor}; there are factors 1 to {len(self.strengths)}.")

    def name(self, at: int) -> str:
        """Return a token as sentences quote it."""
        return places(self.sequence, str(at), "token")[0].name


def _strength(_: Block, __: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return how strong a factor is at a token."""
    factors = Factors(entry, chosen)
    assert factors.number is not None, "the measure needs a factor"  # noqa: S101
    at, name = token(factors.sequence, chosen.token or "", "token")

    def others() -> Iterator[Other]:
        for number, row in enumerate(factors.strengths):
            if number != factors.number:
                yield Other(f"factor {number + 1}", row[at], 1)
        for other, value in enumerate(factors.strengths[factors.number or 0]):
            if other != at:
                yield Other(f"the same factor at {factors.name(other)}", value, 2)

    value = factors.strengths[factors.number][at]
    subject = f"the strength of factor {factors.number + 1} at {name}"
    return Measured(subject, value, *around(value), others=others)


def _strongest(_: Block, __: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the token at which a factor is the strongest, or the strongest factor of a token.

    Raises:
        WrongValue: the claim names both or neither.
    """
    factors = Factors(entry, chosen)
    if (factors.number is None) == (chosen.token is None):
        raise WrongValue("expect", "`strongest` names `factor` or `token`: what is looked for is the other one.")
    if factors.number is None:
        at, name = token(factors.sequence, chosen.token or "", "token")
        column = [row[at] for row in factors.strengths]
        best = max(range(len(column)), key=column.__getitem__)
        answer = Answer(f"factor {best + 1}", lambda written: written == str(best + 1), column[best])
        return Measured(f"the strongest factor at {name}", answer)

    def peak(number: int) -> Answer:
        row = factors.strengths[number]
        best = max(range(len(row)), key=row.__getitem__)
        is_named = lambda written: any(best in each.positions for each in places(factors.sequence, written, "is"))  # noqa: E731
        return Answer(factors.name(best), is_named, row[best])

    def others() -> Iterator[Other]:
        for number in range(len(factors.strengths)):
            if number != factors.number:
                yield Other(f"for factor {number + 1}", peak(number))

    return Measured(
        f"the token at which factor {factors.number + 1} is the strongest", peak(factors.number), others=others
    )


def _explained(_: Block, __: Any, entry: Entry, ___: Selectors) -> Measured:
    """Return the share of the squared activations that the factors hold."""
    value = entry.meta["explained"]
    return Measured("the share of the squared activations that the factors hold", value, *around(value))


MEASURES: dict[str, Measure[Any]] = {
    "strength": Measure(
        "The strength of `factor` at `token`; tokens of several texts count through.",
        _strength,
        needs=("factor", "token"),
    ),
    "explained": Measure("The share of the squared activations that the factors hold together.", _explained),
    STRONGEST: Measure(
        "With `factor`, the token at which it is the strongest; with `token`, the factor that is the strongest there.",
        _strongest,
        takes=("factor", "token"),
        answers=True,
    ),
}
"""The measures of the factors view."""
