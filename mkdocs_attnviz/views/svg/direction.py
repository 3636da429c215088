"""The visual order of a line's tokens: the Unicode bidirectional algorithm (UAX 9) applied to whole tokens.

`frontend/src/lib/direction.ts` does the same in the browser; both are tested with `frontend/test/direction.json`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from itertools import groupby

STRONG = {"L": "L", "R": "R", "AL": "R"}
"""The direction of letters of each bidirectional class."""
NUMBERS = ("EN", "AN")
"""The bidirectional classes of digits."""


def _letters(text: str) -> list[str]:
    """Return the directions of the letters in a text."""
    return [
        STRONG[kind] for letter in text if (kind := unicodedata.bidirectional(letter)) in STRONG and letter.isalpha()
    ]


def _kind(token: str) -> str | None:
    """Return `L`, `R` or `number`, or None for a token that has no direction."""
    for kind in _letters(token):
        return kind
    return "number" if any(unicodedata.bidirectional(character) in NUMBERS for character in token) else None


def is_right_to_left(texts: Sequence[str]) -> bool:
    """Return whether more than half of all letters are read from right to left. A Latin name at the beginning does not
    decide it."""
    kinds = [kind for text in texts for kind in _letters(text)]
    return 2 * kinds.count("R") > len(kinds)


def levels(tokens: Sequence[str], special: Collection[int]) -> tuple[int, list[int]]:
    """Return the level of the text, 0 or 1, and the level of each token. Odd levels are read from right to left."""
    base = int(is_right_to_left([token for i, token in enumerate(tokens) if i not in special]))
    own = "R" if base else "L"
    strong, kinds = own, []
    for i, token in enumerate(tokens):
        kind = None if i in special else _kind(token)
        if kind == "number" and strong == "L":  # rule W7
            kind = "L"
        strong = kind if kind in ("L", "R") else strong
        kinds.append(kind)
    before, after = _neighbours(kinds, own), _neighbours(kinds[::-1], own)[::-1]
    return base, [_level(kind, base, around) for kind, *around in zip(kinds, before, after, strict=True)]


def _level(kind: str | None, base: int, around: Sequence[str]) -> int:
    """Return the level of a token between two neighbours with these directions."""
    if kind == "number":
        return 2
    if kind is not None:
        return 1 if kind == "R" else 2 * base
    left, right = (int(direction != "L") for direction in around)
    return base + 1 if left == right != base else base  # rules N1 and N2


def _neighbours(kinds: Sequence[str | None], first: str) -> list[str]:
    """Return for each token the last direction before it."""
    directions = []
    for kind in kinds:
        directions.append(first)
        first = kind or first
    return directions


def visual_order(levels: Sequence[int]) -> list[int]:
    """Return the indices of one line's tokens from left to right (rule L2)."""
    order = list(range(len(levels)))
    for level in range(max(levels, default=0), 0, -1):
        runs = [(high, list(run)) for high, run in groupby(order, lambda i: levels[i] >= level)]  # noqa: B023
        order = [i for high, run in runs for i in (run[::-1] if high else run)]
    return order
