"""The alignment of two tokenisations of one text, so that two models can be compared at corresponding samples.

If both cut the text in the same way, a sample is a token. Otherwise it is a span of the text at whose ends both have a
boundary: a word that is one token for one model and three for the other is one sample. Tokens that a tokenizer adds,
and white space, cover no span; they are left out if the tokenisations differ at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.models.inputs.tokens import Spans, Tokens

Samples = list[tuple[list[int], list[int]]]
"""The positions of each sample's tokens, in the one tokenisation and in the other."""
Place = tuple[int, int] | None


class AlignmentError(ValueError):
    """Two inputs that cannot be aligned; the message continues a sentence whose subject is the two."""


def align(one: Tokens, other: Tokens) -> Samples:
    """Return the samples in text order; each has at least one token of both tokenisations.

    Raises:
        AlignmentError: it cannot be known what corresponds.
    """
    if one.spans is None or other.spans is None:
        if one.pretty != other.pretty:
            raise AlignmentError(
                "their tokens differ, and a tokenizer does not tell where in the text its tokens stand"
            )
        return _one_by_one(len(one.ids))
    if one.spans.text != other.spans.text:
        raise AlignmentError("each has written another; `text_target` gives both the same")
    places, others = (_without_space(spans) for spans in (one.spans, other.spans))
    if places == others:
        return _one_by_one(len(places))
    edges = _common_edges(len(one.spans.text), places, others)
    first, second = (_by_stretch(edges, tokenisation) for tokenisation in (places, others))
    return [(first[stretch], second[stretch]) for stretch in sorted(first.keys() & second.keys())]


def _one_by_one(tokens: int) -> Samples:
    return [([position], [position]) for position in range(tokens)]


def _without_space(spans: Spans) -> list[Place]:
    """Return the tokens' places, counted without white space, which a tokenizer may count to either
    neighbouring word.
    """
    before = np.cumsum([0, *(not character.isspace() for character in spans.text)])
    return [None if span is None else (int(before[span[0]]), int(before[span[1]])) for span in spans.spans]


def _common_edges(length: int, *several: Sequence[Place]) -> npt.NDArray[np.intp]:
    """Return the boundaries that no token of either tokenisation crosses.

    Tokens may overlap, as the bytes of one character do.
    """
    free = np.ones(length + 1, dtype=bool)
    for start, end in (place for places in several for place in places if place is not None):
        free[start + 1 : end] = False
    return np.flatnonzero(free)


def _by_stretch(edges: npt.NDArray[np.intp], places: Sequence[Place]) -> dict[int, list[int]]:
    positions: defaultdict[int, list[int]] = defaultdict(list)
    for position, place in enumerate(places):
        if place is not None and place[0] < place[1]:
            positions[int(np.searchsorted(edges, place[0], side="right")) - 1].append(position)
    return positions
