"""The test of a block's claims (`expect`): which measure each is about, whether it holds, and what holds instead."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mkdocs_attnviz.block.claims import Claim, number_of, precision_of
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import BlockError, Problem, WrongValue, trace
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.errors import error_message
from mkdocs_attnviz.plugins import is_ours
from mkdocs_attnviz.views.figure_data import ClaimData
from mkdocs_attnviz.views.measure import STRONGEST, Answer, AnyMeasure, Measured, Other, Untestable
from mkdocs_attnviz.views.view import AnyView

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


def check_grammar(block: Block, view: AnyView) -> None:
    """Check that each claim names one measure of the view; this needs no entry.

    Raises:
        BlockError: a claim does not.
    """
    for number, claim in enumerate(block.expect or ()):
        try:
            _measure(claim, block, view)
        except WrongValue as error:
            raise _wrong(block, number, str(error)) from None


def judge(block: Block, view: AnyView, entries: Sequence[Entry]) -> list[Verdict]:
    """Return the block's claims with their true values. `entries` are the figure's own entry, and with interventions
    also that of the unchanged model.

    Raises:
        BlockError: a claim names something that the model does not have.
    """
    found = []
    for number, claim in enumerate(block.expect or ()):
        entry = entries[-1] if claim.unchanged or claim.selectors.unchanged else entries[0]
        try:
            found.append(_judged(number, claim, block, view, entry))
        except WrongValue as error:
            raise _wrong(block, number, str(error)) from None
        except Untestable as error:
            found.append(_untestable(number, claim, str(error)))
    return found


def _wrong(block: Block, number: int, message: str) -> BlockError:
    return block.told(Problem("block", "expect", message), number)


def _measure(claim: Claim, block: Block, view: AnyView) -> tuple[str, AnyMeasure]:
    """Return the name of the measure that a claim is about, and the measure.

    Raises:
        WrongValue: there is none, or the claim's bound does not fit it.
    """
    given = list(claim.selectors.given())
    if claim.strongest is not None:
        name = STRONGEST
        given += ["measure"] if claim.strongest.measure is not None else []
    elif claim.selectors.measure is not None:
        name = claim.selectors.measure
    elif claim.rank is not None:
        name = "rank"
    else:
        fitting = (name for name, each in view.measures.items() if not each.answers and each.fits(given))
        name = next(fitting, "")
    if name not in view.measures:
        raise WrongValue("expect", _no_measure(name, given, view))
    measure = view.measures[name]
    if not measure.fits(given):
        called = f"`{name}` of the {view.name} view"
        raise WrongValue("expect", f"{called} is selected by {measure.signature}; the claim has {_listed(given)}.")
    if (claim.unchanged or claim.selectors.unchanged) and not block.interventions:
        raise WrongValue("expect", "`unchanged` needs a block with `interventions`; this one changes nothing.")
    _check_bound(claim, name, measure)
    return name, measure


def _no_measure(name: str, given: Sequence[str], view: AnyView) -> str:
    """Return a sentence about a claim that names no measure of its view."""
    known = "; ".join(f"{name} ({each.signature})" for name, each in view.measures.items())
    if not known:
        return f"The {view.name} view has no measures, so that nothing can be claimed of it."
    if name:
        near = difflib.get_close_matches(name, view.measures, n=1)
        hint = f" (did you mean `{near[0]}`?)" if near else ""
        return f"`{name}` is no measure of the {view.name} view{hint}; it has {known}."
    return f"A claim with {_listed(given)} names no measure of the {view.name} view; it has {known}."


def _listed(given: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in given) or "no selectors"


def _check_bound(claim: Claim, name: str, measure: AnyMeasure) -> None:
    """Raise WrongValue if the measure cannot have the claim's bound."""
    if measure.answers and claim.bound != "is":
        raise WrongValue("expect", f"`{name}` is no number; a claim says with `is` what it is.")
    if not measure.answers and claim.is_ is not None and number_of(claim.is_) is None:
        raise WrongValue("expect", f"`is` is {claim.is_!r:.80}; `{name}` is a number. Did you mean `strongest`?")
    if claim.rank is not None and name != "rank":
        raise WrongValue("expect", f"`rank` is the value of the measure rank, not of `{name}`.")
    if claim.bound == "beats_baseline_by" and not measure.has_baseline:
        raise WrongValue("expect", f"`beats_baseline_by` does not fit `{name}`, which has no baseline.")


def _judged(number: int, claim: Claim, block: Block, view: AnyView, entry: Entry) -> Verdict:
    """Return a claim with its true value.

    Raises:
        WrongValue, Untestable: as the measure raises them.
        BlockError: another package's measure has failed.
    """
    name, measure = _measure(claim, block, view)
    try:
        return _verdict(number, claim, measure.take(block, block.options, entry, claim.selectors))
    except (BlockError, WrongValue, Untestable):
        raise
    except Exception as error:
        if is_ours(getattr(measure.take, "func", measure.take).__module__):  # `func` of a partial function
            raise
        message = f"Measure `{name}` of view `{view.name}` has failed: {error_message(error)}."
        raise block.told(Problem("block", "expect", message, trace(error)), number) from error


def _untestable(number: int, claim: Claim, why: str) -> Verdict:
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


def _verdict(number: int, claim: Claim, measured: Measured) -> Verdict:
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
            return _untestable(number, claim, f"{measured.subject} is {true}. {measured.advice}".strip())
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
    if value == int(value):
        return str(int(value))
    within = low <= value <= high
    size = math.floor(math.log10(abs(value)))
    for digits in range(2, 9):
        text = f"{value:.{max(0, digits - 1 - size)}f}" if size > -5 else f"{value:.{digits}g}"
        if (low <= float(text) <= high) == within:
            return text
    return repr(value)
