"""The characters that the bytes of tokens make together.

A character outside ASCII may be spread over several tokens. Each of them is shown as the whole character and its share:
`é‹1/2›`, `é‹2/2›`. Bytes that make no character are shown as they are: `‹C3›`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple


class TokenText(NamedTuple):
    """One token as a reader should see it."""

    pretty: str
    text: str
    """The text that the token adds; a character in several tokens is added by the first of them."""


@dataclass(frozen=True)
class _Unit:
    """A character, or a byte that belongs to none, with its range of bytes."""

    text: str
    start: int
    end: int


def token_texts(tokens: Sequence[bytes]) -> list[TokenText]:
    """Return the texts of consecutive tokens, given the bytes of each."""
    try:
        return [TokenText(text, text) for text in map(bytes.decode, tokens)]  # whole characters, as nearly always
    except UnicodeDecodeError:
        return _shared_characters(tokens)


def _shared_characters(tokens: Sequence[bytes]) -> list[TokenText]:
    """Return the texts of consecutive tokens of which some hold parts of characters, or bytes that make none."""
    ends = list(accumulate(map(len, tokens)))
    # lists of pieces: a token may have a million characters
    pretty, text = ([list[str]() for _ in tokens] for _ in range(2))
    first = 0  # the token that the unit begins in
    for unit in _units(b"".join(tokens)):
        while ends[first] <= unit.start:
            first += 1
        last = first
        while ends[last] < unit.end:
            last += 1
        holders = [n for n in range(first, last + 1) if tokens[n]]
        text[first].append(unit.text)
        for number, n in enumerate(holders, 1):
            pretty[n].append(unit.text if len(holders) == 1 else f"{unit.text}‹{number}/{len(holders)}›")
    return [TokenText(*map("".join, pieces)) for pieces in zip(pretty, text, strict=True)]


def _units(content: bytes) -> Iterator[_Unit]:
    start = 0
    while start < len(content):
        end = start + _length(content[start])
        try:
            character = content[start:end].decode()
        except UnicodeDecodeError:
            end, character = start + 1, f"‹{content[start]:02X}›"
        yield _Unit(character, start, end)
        start = end


def _length(lead: int) -> int:
    """Return the number of bytes of a character that begins with the byte `lead`."""
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
