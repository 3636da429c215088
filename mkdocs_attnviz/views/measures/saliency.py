"""The measures of the saliency view: what a token of the input adds to an output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.measures.predictions import LAST
from mkdocs_attnviz.views.measures.rounding import in_row
from mkdocs_attnviz.views.saliency_options import ATTENTION
from mkdocs_attnviz.views.token_places import joined, place, places, same_text, token
from mkdocs_attnviz.views.visible_tokens import called


def method_of(entry: Entry, written: str | None, key: str) -> int:
    """Return the number of a method that a claim names; of a figure with one method, it need not be named.

    Raises:
        WrongValue: the figure has no such method, or several and none is named.
    """
    known = [str(each["method"]) for each in entry.meta["methods"]]
    if written is None and len(known) == 1:
        return 0
    if written not in known:
        told = "is not given" if written is None else f"is {written!r:.60}"
        raise WrongValue("expect", f"`{key}` {told}; the methods of this figure are {', '.join(known)}.")
    return known.index(written)


class Attributions:
    """The attributions of the inputs to one output."""

    def __init__(self, options: Any, entry: Entry, chosen: Selectors) -> None:
        """Find the output.

        Raises:
            Untestable: there is no such output.
            WrongValue: there is no such method.
        """
        self.outputs = entry.meta["outputs"]
        number = self._output(chosen.position)
        self.output = self.outputs[number]
        sequences = entry.meta["sequences"]
        names = [name for name in ("text", "target") if name in sequences]
        self.sequence: Mapping[str, Any] = joined([sequences[name] for name in names])
        inputs = [(name, position) for name in names for position in range(len(sequences[name]["tokens"]))]
        self.method = None if "methods" not in entry.meta else method_of(entry, chosen.method, "method")
        """The number of the method, if the figure compares several."""
        if self.method is not None:
            methods = entry.meta["methods"]
            self.way = str(methods[self.method]["method"])
            self.values = scaled(entry.blobs["attributions"], len(methods), len(inputs))[self.method]
            self.read = list(range(methods[self.method]["known"]))
            self.explain = options.explain.replace("_", "-")
            return
        if chosen.method is not None:
            raise WrongValue("expect", f"`method` is {chosen.method}, and the figure has one method: {options.method}.")
        self.way = str(options.method)
        self.values = scaled(entry.blobs["attributions"], len(self.outputs), len(inputs))[number]
        read = {"next": {"text": self.output["index"]}, "target": {"target": self.output["index"]}}
        limits = read.get(entry.meta["task"], {})
        self.read = [n for n, (name, position) in enumerate(inputs) if position < limits.get(name, position + 1)]
        """The inputs that the model had read when it gave this output, by number."""
        self.explain = options.explain.replace("_", "-")

    def _output(self, written: str | None) -> int:
        if written is None:
            return 0
        if written == LAST:
            return len(self.outputs) - 1
        if written.isdecimal():
            numbers = [n for n, output in enumerate(self.outputs) if output["index"] == int(written)]
        else:
            numbers = [n for n, output in enumerate(self.outputs) if same_text(written, output["token"])]
        if len(numbers) != 1:
            known = ", ".join(f"{output['index']} (“{called(output['token'])}”)" for output in self.outputs[:10])
            raise Untestable(f"`position` is {written!r}; the outputs are {known}.")
        return numbers[0]

    def check_read(self, positions: tuple[int, ...], written: str) -> None:
        """Raise Untestable if these tokens had not been read."""
        if not set(positions) <= {*self.read}:
            raise Untestable(f"`token` is {written!r}, which the model had not read when it gave this output.")

    @property
    def ranked(self) -> list[int]:
        """The inputs that had been read, what adds most first."""
        return sorted(self.read, key=lambda number: -self.values[number])

    @property
    def whole(self) -> float:
        """The sum of the absolute values of all attributions."""
        return sum(abs(self.values[number]) for number in self.read) or 1.0

    def told(self, name: str) -> str:
        """Return what the number of a token is, in words. Attention is a weight, which adds nothing."""
        output = f"“{called(self.output['token'])}”"
        if self.way in ATTENTION:
            return f"the {self.way.replace('_', '-')} weight of {name} for {output}"
        by = "" if self.method is None else f" by {self.way}"
        return f"what {name} adds to the {self.explain} of {output}{by}"

    def name(self, number: int) -> str:
        """Return a token as sentences quote it."""
        return places(self.sequence, str(number), "token")[0].name


def _attribution(_: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return what a token or a word adds to an output."""
    found = Attributions(options, entry, chosen)
    it = place(found.sequence, chosen.token or "", "token")
    found.check_read(it.positions, chosen.token or "")
    value = sum(found.values[number] for number in it.positions)
    low, high = in_row(value, found.values)
    half = (high - low) / 2 * len(it.positions)

    def others() -> Iterator[Other]:
        for number in found.read:
            if number not in it.positions:
                yield Other(found.name(number), found.values[number])

    return Measured(found.told(it.name), value, value - half, value + half, others=others)


def _share(_: Block, options: Any, entry: Entry, chosen: Selectors, of: Literal["all", "largest"]) -> Measured:
    """Return an attribution as a share of the sum of all absolute values, or of the attribution that is the largest."""
    found = Attributions(options, entry, chosen)
    it = place(found.sequence, chosen.token or "", "token")
    found.check_read(it.positions, chosen.token or "")
    value = sum(found.values[number] for number in it.positions)
    whole = found.whole if of == "all" else abs(found.values[found.ranked[0]]) or 1.0
    low, high = in_row(value, found.values)
    half = (high - low) / 2 * len(it.positions)

    def others() -> Iterator[Other]:
        for number in found.read:
            if number not in it.positions:
                yield Other(found.name(number), found.values[number] / whole)

    named = "the share" if of == "all" else "the share of the largest"
    subject = f"{named} of {found.told(it.name)}"
    return Measured(subject, value / whole, (value - half) / whole, (value + half) / whole, others=others)


def _rank(_: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the place of a token among all tokens, what adds most first."""
    found = Attributions(options, entry, chosen)
    number, name = token(found.sequence, chosen.token or "", "token")
    found.check_read((number,), chosen.token or "")
    ranked = found.ranked

    def others() -> Iterator[Other]:
        for rank, other in enumerate(ranked, 1):
            if other != number:
                yield Other(found.name(other), rank)

    subject = f"the rank of {found.told(name)}"
    return Measured(subject, ranked.index(number) + 1, others=others)


def _strongest(_: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the token that adds most to an output."""
    found = Attributions(options, entry, chosen)
    best = found.ranked[0]
    is_named = lambda written: any(best in each.positions for each in places(found.sequence, written, "is"))  # noqa: E731
    answer = Answer(found.name(best), is_named, found.values[best])
    return Measured(f"the largest of {found.told('each token')}", answer)


MEASURES: dict[str, Measure[Any]] = {
    "attribution": Measure(
        "What `token` adds to the output at `position` (default: the first); of a word of several tokens, the sum.",
        _attribution,
        needs=("token",),
        takes=("position", "method"),
    ),
    "share": Measure(
        "The same as a share of the absolute values of all attributions together.",
        partial(_share, of="all"),
        needs=("token",),
        takes=("position", "method"),
    ),
    "of_largest": Measure(
        "The same as a share of what the token adds that adds most.",
        partial(_share, of="largest"),
        needs=("token",),
        takes=("position", "method"),
    ),
    "rank": Measure("The rank of `token`: 1 is what adds most.", _rank, needs=("token",), takes=("position", "method")),
    STRONGEST: Measure("The token that adds most.", _strongest, takes=("position", "method"), answers=True),
}
"""The measures of the saliency view."""
