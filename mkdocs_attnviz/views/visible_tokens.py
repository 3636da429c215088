"""Tokens as readers see them, with signs for what is invisible."""

from __future__ import annotations

import re
import unicodedata

MARKS = {" ": "·", "\n": "⏎", "\t": "⇥", "\x7f": "␡", "\xa0": "⍽"}
"""The signs for invisible characters."""
STEERING = re.compile(r"[\x00-\x20\x7f-\xa0\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Spaces, control characters, and marks that change the direction of text, like `INVISIBLE` in
`frontend/src/lib/token.ts`."""
ZERO_WIDTH = re.compile(
    r"[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""Unicode's Default_Ignorable_Code_Point. A token made only of these would be invisible."""


def visible(token: str) -> str:
    """Return a token with signs in place of invisible characters, direction marks, and characters that XML forbids."""
    if ZERO_WIDTH.fullmatch(token):
        return " ".join(map(_code_point, token))
    return "".join(map(_visible, token))


def _visible(character: str) -> str:
    """Return the visible sign of a character, or the character itself."""
    if character.isalnum():
        return character
    if mark := MARKS.get(character):
        return mark
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if STEERING.match(character):
        return _code_point(character)
    return "�" if unicodedata.category(character) in ("Cs", "Cn") else character


def _code_point(character: str) -> str:
    """Return the code point of a character, such as U+00AD."""
    return f"U+{ord(character):04X}"


def called(token: str) -> str:
    """Return a token as sentences quote it: without spaces at its ends, which most tokens of some models have."""
    return visible(token.strip(" ")) or ("a space" if token else "∅")
