"""Two tokenisations of one text → samples that correspond, so that what two models hold can be compared.

Where both cut the text alike, a sample is a token. Elsewhere it is a stretch of the text at whose ends both have a
boundary: a word that one model reads as one token and another in three pieces is one sample of each. Tokens that a
tokenizer adds, and white space, stand for no stretch; where the two differ in anything, they are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.models.inputs.tokens import Spans, Tokens

Samples = list[tuple[list[int], list[int]]]
"""For each sample the positions of its tokens, in the one tokenisation and in the other."""
Place = tuple[int, int] | None


class Unlike(ValueError):
    """Nothing corresponds; the message completes a sentence that begins with what was to be aligned."""


def aligned(one: Tokens, other: Tokens) -> Samples:
    """Samples in the order of the text, none without a token of each.

    Raises:
        Unlike: it cannot be known what corresponds.
    """
    if one.spans is None or other.spans is None:
        if one.pretty != other.pretty:
            raise Unlike("their tokens differ, and a tokenizer does not tell where in the text its tokens stand")
        return _one_by_one(len(one.ids))
    if one.spans.text != other.spans.text:
        raise Unlike("each has written another; `text_target` gives both the same")
    places, others = (_without_space(each) for each in (one.spans, other.spans))
    if places == others:
        return _one_by_one(len(places))
    edges = _common_edges(len(one.spans.text), places, others)
    first, second = (_by_stretch(edges, each) for each in (places, others))
    return [(first[stretch], second[stretch]) for stretch in sorted(first.keys() & second.keys())]


def _one_by_one(tokens: int) -> Samples:
    return [([position], [position]) for position in range(tokens)]


def _without_space(spans: Spans) -> list[Place]:
    """Places counted in characters that are no white space, which tokenizers count to one word or another."""
    before = np.cumsum([0, *(not character.isspace() for character in spans.text)])
    return [None if span is None else (int(before[span[0]]), int(before[span[1]])) for span in spans.spans]


def _common_edges(length: int, *several: Sequence[Place]) -> npt.NDArray[np.intp]:
    """Where no token of any tokenisation lies on both sides. Tokens may overlap: bytes of one character do."""
    free = np.ones(length + 1, dtype=bool)
    for start, end in (place for places in several for place in places if place is not None):
        free[start + 1 : end] = False
    return np.flatnonzero(free)


def _by_stretch(edges: npt.NDArray[np.intp], places: Sequence[Place]) -> dict[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for position, place in enumerate(places):
        if place is not None and place[0] < place[1]:
            found[int(np.searchsorted(edges, place[0], side="right")) - 1].append(position)
    return found
