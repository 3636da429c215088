"""The measures of views of predictions: how likely the model held a token in a place, and which is the likeliest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.measures.rounding import around
from mkdocs_attnviz.views.svg.token_flow import Likeliest, json_of
from mkdocs_attnviz.views.token_places import same_text, token
from mkdocs_attnviz.views.visible_tokens import called

LAST = "last"
"""The word for the last place at which something is predicted: what follows a text."""
WHOLE = {"classes": "class", "answer": "answer"}
"""The names of what is predicted for a text as a whole, by task."""
MORE = "A larger `top_k` keeps more tokens."
Default = Callable[[Block, Any, "Predictions", Selectors], tuple[int, str]]
"""The place that a claim is about if it names none, and the text of the claim's token there."""


class Predictions:
    """The predictions of an entry, by position."""

    def __init__(self, entry: Entry) -> None:
        self.task: str = entry.meta["task"]
        self.lists: dict[str, Any] = json_of(entry.blobs["predictions"])
        self.sequence: Mapping[str, Any] = entry.meta["sequences"][entry.meta.get("predicted", "text")]
        self.positions = [position for position, top in enumerate(self.lists["top"]) if top]
        if not self.positions:
            raise Untestable("the text has no token that is predicted.")

    def position(self, written: str) -> int:
        """Return the position that an author means.

        Raises:
            Untestable: nothing is predicted there.
        """
        if written == LAST:
            return self.positions[-1]
        position = int(written) if written.isdecimal() else token(self.sequence, written, "position")[0]
        if position not in self.positions:
            raise Untestable(f"`position` is {written}; predicted is what stands at {ranges(self.positions)}.")
        return position

    def at(self, position: int) -> str:
        """Return a position in words, as the end of a phrase; empty for a text as a whole."""
        return "" if self.task in WHOLE else f" at {position}"

    def likely(self, position: int) -> list[tuple[str, float]]:
        """Return the likeliest tokens at a position, with their probabilities."""
        names = [self.lists["vocabulary"][number] for number in self.lists["top"][position]]
        return list(zip(names, self.lists["probabilities"][position], strict=True))

    def of(self, written: str, position: int) -> tuple[str, float, int] | None:
        """Return name, probability and rank of an author's token at a position; None if they are not stored."""
        return found_token(written, self.likely(position), self._actual(position))

    def _actual(self, position: int) -> tuple[str, float, int] | None:
        """Return the token that stands at a position, with the probability and rank that the model gave it."""
        actual = self.lists["actual"][position]
        if actual is None or position >= len(self.sequence["pretty"]):
            return None
        return self.sequence["pretty"][position], actual[0], actual[1]


def found_token(
    written: str, likely: Sequence[tuple[str, float]], *known: tuple[str, float, int] | None
) -> tuple[str, float, int] | None:
    """Return the likeliest token of this text among those that are listed and those that are known besides."""
    listed = [(name, probability, rank) for rank, (name, probability) in enumerate(likely, 1)]
    candidates = [*listed, *(each for each in known if each is not None)]
    for same in (lambda name: name == written, lambda name: same_text(written, name)):
        fitting = [each for each in candidates if same(each[0])]
        if fitting:
            return max(fitting, key=lambda each: (each[1], -each[2]))
    return None


def ranges(positions: Sequence[int]) -> str:
    """Return positions as text: [1, 2, 3, 7] gives `1 to 3, 7`."""
    gaps = [(one, later) for one, later in pairwise(positions) if later > one + 1]
    starts, ends = [positions[0], *(later for _, later in gaps)], [*(one for one, _ in gaps), positions[-1]]
    return ", ".join(f"{one}" if one == last else f"{one} to {last}" for one, last in zip(starts, ends, strict=True))


Number = Literal["probability", "rank"]


def measured(
    number: Number,
    written: str,
    place: str,
    found: tuple[str, float, int] | None,
    likely: Sequence[tuple[str, float]],
    others: Callable[[], Iterator[tuple[str, tuple[str, float, int], int]]],
) -> Measured:
    """Return probability or rank of a token, which may be less or more than of all that are stored.

    `place` follows the name of the token; `others` yields other tokens and places, with their distance.
    """

    def elsewhere() -> Iterator[Other]:
        for where, (_, probability, rank), distance in others():
            yield Other(where, probability if number == "probability" else rank, distance)

    subject = f"the {number} of “{called(written if found is None else found[0])}”{place}"
    if found is None:
        least = likely[-1][1] if number == "probability" else len(likely) + 1
        beyond: Literal["less", "more"] = "less" if number == "probability" else "more"
        return Measured(subject, least, beyond=beyond, advice=MORE, others=elsewhere)
    if number == "rank":
        return Measured(subject, found[2], others=elsewhere)
    return Measured(subject, found[1], *around(found[1]), others=elsewhere)


def _place(
    block: Block, options: Likeliest, predictions: Predictions, chosen: Selectors, default: Default
) -> tuple[int, str]:
    """Return the position that a claim is about, and the text of its token."""
    if chosen.position is None:
        return default(block, options, predictions, chosen)
    return predictions.position(chosen.position), chosen.token or ""


def _number(
    block: Block, options: Likeliest, entry: Entry, chosen: Selectors, number: Number, default: Default
) -> Measured:
    """Return how likely a token is, or its rank among all tokens."""
    predictions = Predictions(entry)
    position, written = _place(block, options, predictions, chosen, default)
    likely, found = predictions.likely(position), predictions.of(written, position)
    if found is None and len(likely) < options.top_k:
        known = ", ".join(called(name) for name, _ in likely)
        raise Untestable(f"`token` is {written!r}; {block.subject} predicts {known}.")

    def others() -> Iterator[tuple[str, tuple[str, float, int], int]]:
        for rank, (name, probability) in enumerate(likely, 1):
            if found is None or name != found[0]:
                yield f"“{called(name)}”{predictions.at(position)}", (name, probability, rank), 1
        for other in predictions.positions:
            there = predictions.of(written, other) if other != position else None
            if there is not None:
                yield f"“{called(there[0])}”{predictions.at(other)}", there, 2

    return measured(number, written, predictions.at(position), found, likely, others)


def _strongest(block: Block, options: Likeliest, entry: Entry, chosen: Selectors, default: Default) -> Measured:
    """Return what the model holds likeliest in a place."""
    predictions = Predictions(entry)
    position, _ = _place(block, options, predictions, chosen, default)
    what = WHOLE.get(predictions.task, "label" if predictions.task == "labels" else "token")

    def answer(position: int) -> Answer:
        (name, probability), *_ = predictions.likely(position)
        return Answer(f"“{called(name)}”", partial(_is, name), probability)

    def others() -> Iterator[Other]:
        for other in predictions.positions:
            if other != position:
                yield Other(f"at {other}", answer(other), abs(other - position))

    return Measured(f"the likeliest {what}{predictions.at(position)}", answer(position), others=others)


def _is(name: str, written: str) -> bool:
    return same_text(written, name)


def _entropy(block: Block, options: Likeliest, entry: Entry, chosen: Selectors, default: Default) -> Measured:
    """Return the entropy of a prediction."""
    predictions = Predictions(entry)
    position, _ = _place(block, options, predictions, chosen, default)
    entropy = predictions.lists["entropy"]
    if entropy[position] is None:
        raise Untestable("the entropy of this prediction is not stored.")

    def others() -> Iterator[Other]:
        for other in predictions.positions:
            if other != position:
                yield Other(f"position {other}", entropy[other], abs(other - position))

    value = entropy[position]
    return Measured(f"the entropy{predictions.at(position)}", value, *around(value), others=others)


def measures(default: Default) -> dict[str, Measure[Any]]:
    """Return the measures of a view of predictions; `default` gives the place of a claim that names none."""
    number = partial(_number, default=default)
    return {
        "probability": Measure(
            "The probability of `token` at `position`.",
            partial(number, number="probability"),
            needs=("token",),
            takes=("position",),
        ),
        "rank": Measure(
            "The rank of `token` at `position`; 1 is the likeliest.",
            partial(number, number="rank"),
            needs=("token",),
            takes=("position",),
        ),
        "entropy": Measure(
            "The entropy of the prediction at `position`, in nats.",
            partial(_entropy, default=default),
            takes=("position",),
        ),
        STRONGEST: Measure(
            "The likeliest token, class or answer at `position`.",
            partial(_strongest, default=default),
            takes=("position",),
            answers=True,
        ),
    }


def where_it_stands(_: Block, __: Likeliest, predictions: Predictions, chosen: Selectors) -> tuple[int, str]:
    """Return the place in the text at which the claim's token stands, and its text.

    Raises:
        Untestable: the text has no such token, or several.
    """
    if chosen.token is None:
        return predictions.positions[-1], ""
    position = predictions.position(str(token(predictions.sequence, chosen.token, "token")[0]))
    return position, predictions.sequence["pretty"][position]
