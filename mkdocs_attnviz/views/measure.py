"""The type of a measure: a number or a token of a figure that a claim (`expect`) can be about. Views declare theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.cache.entry import Entry

O = TypeVar("O", bound=Options)  # noqa: E741


class Untestable(Exception):
    """An error that says why a claim cannot be tested on this entry: the text has no such token, for example.

    The claim then counts as one that does not hold. Its message is a sentence for the author.
    """


@dataclass(frozen=True)
class Answer:
    """The token, head, layer, neuron or factor that is the strongest of all."""

    name: str
    """The answer as a sentence names it: "“the”", "head 8"."""
    is_named: Callable[[str], bool]
    """A function that returns True if what an author writes after `is` means this answer. It may raise `Untestable`."""
    value: float | None = None
    """The value by which it is the strongest."""


@dataclass(frozen=True)
class Other:
    """The same measure of something else, to tell an author what does hold."""

    where: str
    """The thing that has this value, as the subject of "has 0.76": "head 3 of layer 1"."""
    value: float | Answer
    distance: int = 0
    """The distance from the claim's own subject. What is near is told before what fits better."""


@dataclass(frozen=True)
class Measured:
    """The true value of a measure."""

    subject: str
    """The measured quantity, as the subject of a sentence: "the weight from “the” to “cat” in head 8 of layer 2"."""
    value: float | Answer
    low: float | None = None
    """The least number that may have been rounded to this value; None if it is exact."""
    high: float | None = None
    """The largest number that may have been rounded to this value; None if it is exact."""
    beyond: Literal["", "more", "less"] = ""
    """`more` if the true value is not stored and is more than `value`, `less` if it is less."""
    advice: str = ""
    """A sentence that says how to get a value that is not stored."""
    baseline: float | None = None
    """The value that the measure's baseline has, for the bound `beats_baseline_by`."""
    others: Callable[[], Iterable[Other]] = tuple
    """The same measure elsewhere. It is called only if a claim does not hold."""


@dataclass(frozen=True)
class Measure(Generic[O]):
    """A number or an answer that claims about a view's figures can be about."""

    says: str
    """A sentence about what is measured, for the documentation."""
    take: Callable[[Block, O, Entry, Selectors], Measured]
    """The function that measures. It raises `WrongValue` if a selector names something that the model does not have,
    and `Untestable` if the text has no such token."""
    needs: tuple[str, ...] = ()
    """The selectors that a claim must have, by the names of their keys."""
    takes: tuple[str, ...] = ()
    """The selectors that a claim may have besides."""
    has_baseline: bool = False
    """True if a claim may have the bound `beats_baseline_by`."""
    answers: bool = False
    """True if the value is an `Answer`: the only bound is then `is`."""
    must_be_named: bool = False
    """True if a claim is about this measure only if it has the measure's name (`measure`), whatever its selectors."""

    def fits(self, given: Iterable[str]) -> bool:
        """Return whether a claim with these selectors may be about this measure."""
        names = set(given)
        return names.issuperset(self.needs) and names.issubset({*self.needs, *self.takes})

    @property
    def signature(self) -> str:
        """The selectors in a sentence: `from, to; perhaps layer, head`."""
        more = f"perhaps {', '.join(self.takes)}" if self.takes else ""
        return "; ".join(filter(None, [", ".join(self.needs), more])) or "no selectors"


AnyMeasure = Measure[Any]
STRONGEST = "strongest"
"""The name of the measure whose answer is the strongest of all; a claim names it by the key of this name."""
