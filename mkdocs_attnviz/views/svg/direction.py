"""The order in which a text's tokens stand on a line: the Unicode bidirectional algorithm (UAX 9) over whole tokens.

`frontend/src/direction.ts` does the same in the browser; both are tested with `frontend/test/direction.json`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from itertools import groupby

STRONG = {"L": "L", "R": "R", "AL": "R"}
NUMBERS = ("EN", "AN")


def _letters(text: str) -> list[str]:
    """The directions of a text's letters."""
    return [STRONG[kind] for each in text if (kind := unicodedata.bidirectional(each)) in STRONG and each.isalpha()]


def _kind(token: str) -> str | None:
    """`L`, `R`, `number`, or None for a token that has no direction."""
    for kind in _letters(token):
        return kind
    return "number" if any(unicodedata.bidirectional(each) in NUMBERS for each in token) else None


def is_right_to_left(texts: Sequence[str]) -> bool:
    """Return whether most letters are read from right to left; a name in front does not decide it."""
    kinds = [kind for text in texts for kind in _letters(text)]
    return 2 * kinds.count("R") > len(kinds)


def levels(tokens: Sequence[str], special: Collection[int]) -> tuple[int, list[int]]:
    """Return the text's level, 0 or 1, and that of each token; odd levels are read from right to left."""
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
    if kind == "number":
        return 2
    if kind is not None:
        return 1 if kind == "R" else 2 * base
    left, right = (int(each != "L") for each in around)
    return base + 1 if left == right != base else base  # rules N1 and N2


def _neighbours(kinds: Sequence[str | None], first: str) -> list[str]:
    """Return for each token the last direction before it."""
    found = []
    for kind in kinds:
        found.append(first)
        first = kind or first
    return found


def visual_order(levels: Sequence[int]) -> list[int]:
    """Return the indices of one line's tokens as they stand from left to right (rule L2)."""
    order = list(range(len(levels)))
    for level in range(max(levels, default=0), 0, -1):
        runs = [(high, list(run)) for high, run in groupby(order, lambda i: levels[i] >= level)]  # noqa: B023
        order = [i for high, run in runs for i in (run[::-1] if high else run)]
    return order
