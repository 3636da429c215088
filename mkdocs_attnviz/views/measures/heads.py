"""The measures of the heads view: each number of a head, and how often it finds a grammatical relation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import STACKS, numbered
from mkdocs_attnviz.views.head_index.measures import NAMES, HeadIndex, Relation
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other

Way = Literal["better", "forward", "backward"]
WAYS: dict[Way, str] = {
    "better": "in its better direction",
    "forward": "from the dependent to its head",
    "backward": "from the head to the dependent",
}
WHERE = ("stack", "layer", "head")
TWO_NUMBERS = re.compile(r"\s*(\d+)\s*[·,.\-]\s*(\d+)\s*")


def _index(block: Block, options: Any, entry: Entry, chosen: Selectors) -> tuple[HeadIndex, str]:
    """Return the heads of the stack that a claim is about, and its name after "of the"; empty if there is only one.

    Raises:
        WrongValue: the model has no such stack.
    """
    stacks = [name for name in STACKS if name in entry.meta["heads"]["stacks"]]
    name = chosen.stack or options.stack or stacks[0]
    if name not in stacks:
        raise WrongValue("expect", f"`stack` is {name}; {block.subject} has {', '.join(stacks)}.")
    return HeadIndex(entry, name), f" of the {name}" if len(stacks) > 1 else ""


def _head(index: HeadIndex, options: Any, chosen: Selectors, block: Block) -> int:
    """Return the number of the head that a claim is about, among all heads.

    Raises:
        WrongValue: the claim names no head, and neither does the figure; or there is no such head.
    """
    layer = options.layer if chosen.layer is None else chosen.layer
    head = options.head if chosen.head is None else chosen.head
    if layer is None or head is None:
        raise WrongValue("expect", "A claim about a head names its `layer` and its `head`.")
    if layer not in index.layers:
        raise WrongValue("expect", f"`layer` is {layer}; {block.subject} has {numbered('layer', index.layers)}.")
    if (layer, head) not in index.places:
        known = numbered("head", [number for of_layer, number in index.places if of_layer == layer])
        raise WrongValue("expect", f"`head` is {head}; layer {layer} has {known}.")
    return index.places.index((layer, head))


def _relation(index: HeadIndex, chosen: Selectors) -> Relation:
    """Return the relation that a claim is about.

    Raises:
        WrongValue: the texts have no such relation.
    """
    for relation in index.relations:
        if relation["name"] == chosen.relation:
            return relation
    known = ", ".join(relation["name"] for relation in index.relations) or "none; they are read from CoNLL-U"
    raise WrongValue("expect", f"`relation` is {chosen.relation!r}; the texts have {known}.")


def _called(index: HeadIndex, head: int, where: str) -> str:
    """Return a head in words."""
    layer, number = index.places[head]
    return f"head {number} of layer {layer}{where}"


def _measured(index: HeadIndex, values: Sequence[float | None], head: int, subject: str, where: str) -> Measured:
    """Return a head's value, with those of all other heads, of the same layer first."""
    value = values[head]
    name = _called(index, head, where)
    if value is None:
        raise WrongValue("expect", f"{subject[0].upper()}{subject[1:]} of {name} is not known from these texts.")
    own, _ = index.places[head]

    def others() -> Iterator[Other]:
        for other, (layer, _) in enumerate(index.places):
            found = values[other]
            if other != head and found is not None:
                yield Other(_called(index, other, where), found, 1 if layer == own else 2)

    return Measured(f"{subject} of {name}", value, others=others)


def _number(name: str, block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return one of a head's numbers."""
    index, where = _index(block, options, entry, chosen)
    if name not in index.values:
        raise WrongValue("expect", f"`measure` is {name!r}, which these heads do not have.")
    title = index.measure(name)["title"]
    return _measured(index, index.values[name], _head(index, options, chosen, block), f"the {title}", where)


def _accuracy(way: Way, block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return how often a head finds a relation, beside the best fixed offset."""
    index, where = _index(block, options, entry, chosen)
    relation = _relation(index, chosen)
    values = index.values[relation["name"]] if way == "better" else relation[way]["accuracy"]
    subject = f"the accuracy for `{relation['name']}` {WAYS[way]}"
    found = _measured(index, values, _head(index, options, chosen, block), subject, where)
    return Measured(found.subject, found.value, baseline=relation["baseline"], others=found.others)


def _count(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the number of words that have a relation."""
    index, _ = _index(block, options, entry, chosen)
    relation = _relation(index, chosen)

    def others() -> Iterator[Other]:
        return (Other(f"`{other['name']}`", other["count"]) for other in index.relations if other is not relation)

    return Measured(f"the number of words with `{relation['name']}`", relation["count"], others=others)


def _baseline(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the accuracy of the best fixed offset."""
    index, _ = _index(block, options, entry, chosen)
    relation = _relation(index, chosen)
    return Measured(f"the accuracy of the best fixed offset for `{relation['name']}`", relation["baseline"])


def _attachment(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the accuracy of the parser that sees nothing but attention."""
    index, _ = _index(block, options, entry, chosen)
    if index.probe is None:
        raise WrongValue("expect", "`measure` is 'uas', but the block does not ask for a parser (`probe: true`).")
    subject = "the share of words whose head a parser of attention alone finds"
    return Measured(subject, index.probe["uas"], baseline=index.probe["baseline"])


def _strongest(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the head with the largest value of a measure or a relation, of all heads or of one layer.

    Raises:
        WrongValue: the claim names neither a measure nor a relation, or one that is not there.
    """
    index, where = _index(block, options, entry, chosen)
    name = _relation(index, chosen)["name"] if chosen.relation is not None else chosen.measure
    if name is None or name not in index.values:
        known = ", ".join(measure["name"] for measure in index.measures)
        raise WrongValue("expect", f"`strongest` names a `relation`, or as its `measure` one of {known}.")
    values = index.values[name]

    def answer(layer: int | None) -> Answer:
        """Return the strongest head of a layer, or of all. Heads with equal values are all accepted."""
        within = [head for head, (of_layer, _) in enumerate(index.places) if layer in (None, of_layer)]
        most = max((value for head in within if (value := values[head]) is not None), default=0.0)
        best = [index.places[head] for head in within if values[head] == most]
        found = _called(index, index.places.index(best[0]), where) if layer is None else f"head {best[0][1]}"

        def is_named(text: str) -> bool:
            both = TWO_NUMBERS.fullmatch(text)
            if both is not None:
                return (int(both[1]), int(both[2])) in best
            return layer is not None and text.isdecimal() and (layer, int(text)) in best

        return Answer(found, is_named, most)

    def others() -> Iterator[Other]:
        for layer in index.layers:
            if layer != chosen.layer:
                yield Other(f"in layer {layer}", answer(layer), 1)

    if chosen.layer is not None and chosen.layer not in index.layers:
        raise WrongValue("expect", f"`layer` is {chosen.layer}; {block.subject} has {numbered('layer', index.layers)}.")
    title = index.measure(name)["title"]
    of_layer = "" if chosen.layer is None else f" of layer {chosen.layer}"
    return Measured(f"the head{of_layer} with the largest value of “{title}”", answer(chosen.layer), others=others)


MEASURES: dict[str, Measure[Any]] = {
    "accuracy": Measure(
        "How often the head finds the other word of `relation`, in the direction in which it is better.",
        partial(_accuracy, "better"),
        needs=("relation",),
        takes=WHERE,
        has_baseline=True,
    ),
    "forward": Measure(
        "The same, from the dependent to its head.",
        partial(_accuracy, "forward"),
        needs=("relation",),
        takes=WHERE,
        has_baseline=True,
    ),
    "backward": Measure(
        "The same, from the head to the dependent.",
        partial(_accuracy, "backward"),
        needs=("relation",),
        takes=WHERE,
        has_baseline=True,
    ),
    "count": Measure("The number of words with `relation`.", _count, needs=("relation",), takes=("stack",)),
    "baseline": Measure(
        "The accuracy of the best fixed offset for `relation`.", _baseline, needs=("relation",), takes=("stack",)
    ),
    "uas": Measure(
        "The share of words whose head the parser of `probe` finds.", _attachment, takes=("stack",), has_baseline=True
    ),
    **{
        name: Measure(f"The head's {title}.", partial(_number, name), takes=WHERE)
        for name, (title, _) in NAMES.items()
        if name != "layer"
    },
    STRONGEST: Measure(
        "With `relation` or `measure`, the head with the largest value, written as `2·8` for head 8 of layer 2; with "
        "`layer` also, the head of that layer.",
        _strongest,
        takes=("stack", "layer", "relation", "measure"),
        answers=True,
    ),
}
"""The measures of the heads view."""
