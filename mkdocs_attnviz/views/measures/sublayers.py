"""The measures of the sublayers view: parameters, and what the loss becomes without a sublayer or after an exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from mkdocs_attnviz.block.claims import EMBEDDINGS, Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable

CALLED = {
    "s": "self-attention",
    "f": "feed-forward",
    "c": "cross-attention",
    "m": "state space or recurrent",
    "e": "mixture of experts",
    "o": "something else",
}
"""The names of the kinds of sublayers."""


class Found(NamedTuple):
    """A sublayer of an entry, with its place."""

    stack: str
    number: int
    """Its number within the strips of its stack."""
    sublayer: Mapping[str, Any]
    swap: float | None
    """The change of the loss if its unit is exchanged with the next; None if that was not measured."""

    @property
    def name(self) -> str:
        """The sublayer in words."""
        layer = "" if self.sublayer["layer"] is None else f" of layer {self.sublayer['layer']}"
        stack = "" if self.stack in ("", "self") else f" of the {self.stack}"
        return f"the {CALLED[self.sublayer['kind']]} sublayer{layer}{stack}"

    def is_named(self, written: str) -> bool:
        """Return whether a text such as `f 0` or `f` means this sublayer."""
        kind, layer = self.sublayer["kind"], self.sublayer["layer"]
        return " ".join(written.split()) in (kind, f"{kind} {layer}")


def _every(block: Block, entry: Entry) -> list[Found]:
    """Return all sublayers that were measured.

    Raises:
        WrongValue: the block has an order of its own, and no model.
    """
    if "strips" not in entry.meta:
        raise WrongValue("expect", f"`expect` needs a model; {block.subject} is drawn as it stands.")
    every = []
    for stack, units in entry.meta["strips"].items():
        flat = [(unit, sublayer) for unit in units for sublayer in unit["sublayers"]]
        every += [Found(stack, index, sublayer, unit.get("swap")) for index, (unit, sublayer) in enumerate(flat)]
    return every


def _chosen(block: Block, entry: Entry, chosen: Selectors) -> list[Found]:
    """Return the sublayers that a claim's selectors fit.

    Raises:
        WrongValue: there is none.
    """
    every = _every(block, entry)
    fitting = [
        each
        for each in every
        if chosen.stack in (None, each.stack)
        and chosen.layer in (None, each.sublayer["layer"])
        and chosen.sublayer in (None, each.sublayer["kind"])
    ]
    if chosen.layer == EMBEDDINGS or not fitting:
        there = ", ".join(dict.fromkeys(f"{each.sublayer['kind']} {each.sublayer['layer']}" for each in every))
        wanted = f"{chosen.sublayer or 'any'} in layer {chosen.layer}"
        raise WrongValue("expect", f"`expect` names the sublayer {wanted}; {block.subject} has {there}.")
    return fitting


def _left_out(found: Found) -> float | None:
    value: float | None = found.sublayer.get("zero")
    return value


def _exchanged(found: Found) -> float | None:
    return found.swap


def _parameters(found: Found) -> float:
    return float(found.sublayer["parameters"])


def _measured(
    block: Block,
    _: Any,
    entry: Entry,
    chosen: Selectors,
    take: Callable[[Found], float | None],
    words: str,
    how: str,
) -> Measured:
    """Return a number of one sublayer.

    Raises:
        WrongValue: the selectors fit none, or several.
        Untestable: it was not measured.
    """
    fitting = _chosen(block, entry, chosen)
    if len(fitting) > 1:
        names = ", ".join(each.name for each in fitting[:4])
        raise WrongValue(
            "expect", f"A claim is about one sublayer, and its selectors fit {names}; add `layer` or `stack`."
        )
    value = take(fitting[0])
    if value is None:
        raise Untestable(f"{words[0].upper()}{words[1:]} {fitting[0].name} was not measured{how}.")

    def others() -> Iterator[Other]:
        for other in _every(block, entry):
            number = take(other)
            if other != fitting[0] and number is not None:
                yield Other(
                    other.name, number, abs(other.number - fitting[0].number) + 100 * (other.stack != fitting[0].stack)
                )

    return Measured(f"{words} {fitting[0].name}", value, others=others)


def _strongest(block: Block, _: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the sublayer without which the loss rises most.

    Raises:
        Untestable: none was left out.
    """
    known = [each for each in _chosen(block, entry, chosen) if _left_out(each) is not None]
    if not known:
        raise Untestable("No sublayer was left out; that needs `ablate: zero`.")
    best = max(known, key=lambda each: each.sublayer["zero"])
    where = "" if chosen.stack is None else f" of the {chosen.stack}"
    answer = Answer(best.name, best.is_named, best.sublayer["zero"])
    return Measured(f"the sublayer{where} without which the loss rises most", answer)


def _loss(block: Block, _: Any, entry: Entry, __: Selectors) -> Measured:
    """Return the loss of the whole model.

    Raises:
        Untestable: it was not measured.
    """
    if not entry.meta.get("loss"):
        raise Untestable(f"The loss of {block.subject} was not measured; that needs `ablate`.")
    return Measured(f"the loss of {block.subject}", entry.meta["loss"]["value"])


def _of_one(says: str, take: Callable[[Found], float | None], words: str, how: str = "") -> Measure[Any]:
    """Return a measure of one sublayer."""
    measured = partial(_measured, take=take, words=words, how=how)
    return Measure(says, measured, needs=("sublayer",), takes=("layer", "stack"))


MEASURES: dict[str, Measure[Any]] = {
    "left_out": _of_one(
        "How far the loss rises, in nats a token, when the sublayer is left out.",
        _left_out,
        "the Δ loss without",
        "; that needs `ablate: zero`",
    ),
    STRONGEST: Measure(
        "The sublayer without which the loss rises most: `is: s 0` is the self-attention of layer 0.",
        _strongest,
        takes=("sublayer", "layer", "stack"),
        answers=True,
    ),
    "exchanged": _of_one(
        "How far the loss rises when the sublayer changes places with the next one.",
        _exchanged,
        "the Δ loss after an exchange of",
        " with the next one",
    ),
    "parameters": _of_one("The number of its parameters.", _parameters, "the parameters of"),
    "loss": Measure("The loss of the whole model, in nats a token.", _loss),
}
"""The measures of the sublayers view."""
