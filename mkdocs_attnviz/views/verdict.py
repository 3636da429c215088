"""The verdict on a claim (`expect`): whether its value is within its bounds, and what is if it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mkdocs_attnviz.block.claims import Claim, number_of, precision_of
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import BlockError, Problem
from mkdocs_attnviz.views.figure_data import ClaimData
from mkdocs_attnviz.views.measure import Answer, Measured, Other, Untestable

FUZZ = 1e-9
"""The tolerance of comparisons, for numbers that binary fractions cannot represent."""
COMPARED = 5000
"""The largest number of other places that are looked at for one that fits a claim."""


@dataclass(frozen=True)
class Verdict:
    """A claim that was tested."""

    number: int
    """The position of the claim in the block's list."""
    text: str
    """The claim in words, as a sentence without its full stop."""
    holds: bool
    value: str
    """The true value, or the reason why there is none."""
    is_measured: bool = True
    """False if there is no true value."""
    problem: Problem | None = None
    """The warning, if the claim does not hold."""

    def warning(self, block: Block) -> BlockError:
        """Return the warning about a claim that does not hold, with the line of the claim."""
        assert self.problem is not None, "only claims that do not hold have a warning"  # noqa: S101
        return block.told(self.problem, self.number)

    @property
    def sentence(self) -> str:
        """The claim and the true value, for readers of the page."""
        return f"Claimed: {self.text}{'; it is ' if self.is_measured else '. It cannot be tested: '}{self.value}."

    @property
    def data(self) -> ClaimData:
        """The claim as the figure's data have it."""
        return {"text": self.text, "holds": self.holds, "value": self.value}


def untestable(number: int, claim: Claim, why: str) -> Verdict:
    """Return a claim that cannot be tested, which counts as one that does not hold."""
    reason = why.removesuffix(".")
    problem = Problem("claim", "expect", f"`expect` claims {claim.written}, which cannot be tested: {reason}.")
    return Verdict(number, claim.written, holds=False, value=reason, is_measured=False, problem=problem)


def _untrue(number: int, said: str, true: str, instead: str) -> Verdict:
    """Return a claim that does not hold. `instead` is the end of the warning: what holds elsewhere."""
    problem = Problem("claim", "expect", f"`expect` claims that {said}; it is {true}{instead}.")
    return Verdict(number, _capital(said), holds=False, value=true, problem=problem)


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def verdict(number: int, claim: Claim, measured: Measured) -> Verdict:
    """Return the claim with its true value."""
    if isinstance(measured.value, Answer):
        return _verdict_on_answer(number, claim, measured, measured.value)
    low, high = _interval(claim, measured)
    least, most = _possible(measured)
    is_possible = low <= most and least <= high
    said = f"{measured.subject} {_bound_words(claim, measured)}"
    true = _shown(measured.value, low, high)
    if measured.beyond:
        true = f"{_rounded(measured.value)} or {measured.beyond}"
        if is_possible and not (low <= least and most <= high):
            return untestable(number, claim, f"{measured.subject} is {true}. {measured.advice}".strip())
    if is_possible:
        return Verdict(number, _capital(said), holds=True, value=true if measured.beyond else _rounded(measured.value))
    return _untrue(number, said, true, _nearest(measured, low, high))


def _verdict_on_answer(number: int, claim: Claim, measured: Measured, answer: Answer) -> Verdict:
    """Return a claim about what is the strongest, with the true answer."""
    wanted = claim.is_ or ""
    quoted = wanted if wanted.isdecimal() else f"“{wanted}”"
    said = f"{measured.subject} is {quoted}"
    true = answer.name if answer.value is None else f"{answer.name} ({_rounded(answer.value)})"
    try:
        if answer.is_named(wanted):
            return Verdict(number, _capital(said), holds=True, value=true)
    except Untestable as error:
        return _untrue(number, said, true, f". {_capital(str(error).removesuffix('.'))}")
    return _untrue(number, said, true, _elsewhere(measured, wanted, quoted))


def _elsewhere(measured: Measured, wanted: str, quoted: str) -> str:
    """Return where an answer would be right, as the end of a sentence."""
    fitting = [
        (other, other.value)
        for other in _others(measured)
        if isinstance(other.value, Answer) and other.value.is_named(wanted)
    ]
    if not fitting:
        return ""
    best, answer = min(fitting, key=lambda pair: (pair[0].distance, -(pair[1].value or 0.0)))
    value = "" if answer.value is None else f" ({_rounded(answer.value)})"
    return f"; {best.where} it is {quoted}{value}"


def _others(measured: Measured) -> list[Other]:
    """Return the same measure elsewhere; of very many only the first."""
    return [other for _, other in zip(range(COMPARED), measured.others(), strict=False)]


def _nearest(measured: Measured, low: float, high: float) -> str:
    """Return what is within the bounds elsewhere, or what comes nearest to them, as the end of a sentence."""
    others = [(other, other.value) for other in _others(measured) if not isinstance(other.value, Answer)]
    if not others:
        return ""

    def worse(pair: tuple[Other, float]) -> tuple[float, ...]:
        """Return the order of preference: what fits, what is near, what is far within the bounds."""
        other, value = pair
        if not low <= value <= high:
            return (1, _misses(value, low, high), other.distance)
        inside = value if low == -math.inf else -value if high == math.inf else abs(value - (low + high) / 2)
        return (0, other.distance, inside)

    best, value = min(others, key=worse)
    if low <= value <= high:
        return f"; {best.where} has {_shown(value, low, high)}"
    if isinstance(measured.value, float | int) and _misses(value, low, high) < _misses(measured.value, low, high):
        return f"; nothing fits, the nearest is {best.where} with {_shown(value, low, high)}"
    return "; nothing comes nearer"


def _misses(value: float, low: float, high: float) -> float:
    """Return by how much a value is outside of the bounds."""
    return max(low - value, value - high, 0.0)


def _possible(measured: Measured) -> tuple[float, float]:
    """Return the least and the largest number that the true value may be."""
    assert not isinstance(measured.value, Answer), "answers are no numbers"  # noqa: S101
    if measured.beyond:
        return (measured.value, math.inf) if measured.beyond == "more" else (-math.inf, measured.value)
    low = measured.value if measured.low is None else measured.low
    high = measured.value if measured.high is None else measured.high
    return low - FUZZ * max(1.0, abs(low)), high + FUZZ * max(1.0, abs(high))


def _interval(claim: Claim, measured: Measured) -> tuple[float, float]:
    """Return the least and the largest value that the claim allows."""
    if claim.at_least is not None:
        return claim.at_least, math.inf
    if claim.at_most is not None:
        return -math.inf, claim.at_most
    if claim.between is not None:
        return claim.between
    if claim.rank is not None:
        return claim.rank, claim.rank
    if claim.beats_baseline_by is not None:
        return (measured.baseline or 0.0) + claim.beats_baseline_by, math.inf
    number, half = number_of(claim.is_ or "") or 0.0, precision_of(claim.is_ or "0")
    if half == 0.5 and abs(number) <= 1:  # `is: 1` of a share means 1.00, not all above one half
        half = 0.005
    return number - half, number + half


def _bound_words(claim: Claim, measured: Measured) -> str:
    """Return the verb and the bound: "is at least 0.5"."""
    if claim.at_least is not None:
        return f"is at least {claim.at_least:g}"
    if claim.at_most is not None:
        return f"is at most {claim.at_most:g}"
    if claim.between is not None:
        return f"is between {claim.between[0]:g} and {claim.between[1]:g}"
    if claim.beats_baseline_by is not None:
        return f"exceeds that of its baseline, {_rounded(measured.baseline or 0.0)}, by {claim.beats_baseline_by:g}"
    return f"is {claim.rank if claim.rank is not None else claim.is_}"


def _rounded(value: float) -> str:
    """Return a number with two digits, as a reader wants it; ranks and other whole numbers in full."""
    return _shown(value, -math.inf, math.inf)


def _shown(value: float, low: float, high: float) -> str:
    """Return a number with at least two digits, and as many as tell on which side of the bounds it is."""
    if not math.isfinite(value) or value == int(value):
        return f"{value:.0f}"
    within = low <= value <= high
    size = math.floor(math.log10(abs(value)))
    for digits in range(2, 9):
        text = f"{value:.{max(0, digits - 1 - size)}f}" if size > -5 else f"{value:.{digits}g}"
        if (low <= float(text) <= high) == within:
            return text
    return repr(value)
