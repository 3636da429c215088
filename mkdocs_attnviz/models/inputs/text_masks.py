"""Masks of a text, one number for each token: an author looks for quotations, brackets, the line or words.

A number is true after its token was read, as the state of a recurrent network is: an opening bracket counts as inside,
a closing one as outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import regex

from mkdocs_attnviz.block.problem import WrongValue

Numbers = npt.NDArray[np.float64]

OPENING, CLOSING = "([{", ")]}"
QUOTES: Mapping[str, str] = {"“": "”", "„": "“", "«": "»", "»": "«", "「": "」", "『": "』"}
"""The closing mark of each opening quotation mark. The straight mark `"` opens and closes."""
SECONDS = 10
"""The longest time in seconds that a regular expression may search."""


def mask(find: str | Sequence[str], pieces: Sequence[str | None]) -> Numbers:
    """Return the number of each token, (T,); NaN for a token that is no part of the text.

    `find` is `quotes`, `bracket_depth`, `line_position`, a regular expression, or a list of spans of the text. `pieces`
    has the text of each token, None for special tokens; put together they are the text.

    Raises:
        ValueError: a span does not occur in the text, or the expression takes too long.
    """
    text = "".join(piece or "" for piece in pieces)
    ends = list(accumulate(len(piece or "") for piece in pieces))
    if isinstance(find, str) and find in FOLLOWED:
        after = [0.0, *FOLLOWED[find](text)]
        values = [after[end] for end in ends]
    else:
        inside = np.zeros(len(text) + 1)
        for start, end in _matches(find, text):
            inside[start:end] = 1
        starts = [0, *ends[:-1]]
        values = [float(inside[start : max(end, start + 1)].any()) for start, end in zip(starts, ends, strict=True)]
    return np.array([np.nan if piece is None else value for piece, value in zip(pieces, values, strict=True)])


def _matches(find: str | Sequence[str], text: str) -> list[tuple[int, int]]:
    """Return start and end of each match.

    Raises:
        ValueError: a span does not occur in the text, or the expression takes too long.
    """
    if isinstance(find, str):
        try:
            return [match.span() for match in regex.finditer(find, text, timeout=SECONDS)]
        except TimeoutError:
            raise WrongValue(
                "find", f"The regular expression in `find`, {find!r:.60}, takes more than {SECONDS} seconds."
            ) from None
    found = []
    for span in find:
        places = [match.span() for match in regex.finditer(regex.escape(span), text)]
        if not places:
            raise WrongValue("find", f"`find` has the span {span!r:.60}, which does not occur in the text.")
        found += places
    return found


def _quotes(text: str) -> list[float]:
    """Return for each character whether a quotation is open after it. An empty line ends a quotation."""
    after, closing = [], ""
    for at, character in enumerate(text):
        if closing:
            if character == closing or text[at - 1 : at + 1] == "\n\n":
                closing = ""
        elif character == '"':
            closing = '"'
        else:
            closing = QUOTES.get(character, "")
        after.append(float(bool(closing)))
    return after


def _bracket_depth(text: str) -> list[float]:
    """Return how many round, square and curly brackets are open after each character."""
    depth, after = 0, []
    for character in text:
        depth += character in OPENING
        depth = max(0, depth - (character in CLOSING))
        after.append(float(depth))
    return after


def _line_position(text: str) -> list[float]:
    """Return how many characters of its line have been read after each character."""
    position, after = 0, []
    for character in text:
        position = 0 if character == "\n" else position + 1
        after.append(float(position))
    return after


FOLLOWED: Mapping[str, Callable[[str], list[float]]] = {
    "quotes": _quotes,
    "bracket_depth": _bracket_depth,
    "line_position": _line_position,
}
"""The functions of a text that have a name, each with one number for each character."""
