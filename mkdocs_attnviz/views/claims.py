"""The test of a block's claims (`expect`): which measure of its view each is about, and the verdict."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from mkdocs_attnviz.block.claims import Claim, number_of
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import BlockError, Problem, WrongValue, trace
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.errors import error_message
from mkdocs_attnviz.plugins import is_ours
from mkdocs_attnviz.views.measure import STRONGEST, AnyMeasure, Untestable
from mkdocs_attnviz.views.verdict import Verdict, untestable, verdict
from mkdocs_attnviz.views.view import AnyView


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
            found.append(untestable(number, claim, str(error)))
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
        nameless = {name: each for name, each in view.measures.items() if not (each.answers or each.must_be_named)}
        fitting = (name for name, each in nameless.items() if each.fits(given))
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
        return verdict(number, claim, measure.take(block, block.options, entry, claim.selectors))
    except (BlockError, WrongValue, Untestable):
        raise
    except Exception as error:
        if is_ours(getattr(measure.take, "func", measure.take).__module__):  # `func` of a partial function
            raise
        message = f"Measure `{name}` of view `{view.name}` has failed: {error_message(error)}."
        raise block.told(Problem("block", "expect", message, trace(error)), number) from error
