"""Words within a tokenizer's groups, by Unicode's rules for word boundaries (UAX 29).

A tokenizer that splits only at spaces takes a Japanese sentence as one word, and `mat.` as another. Tokens are never
cut, so words begin only where tokens do. A space belongs to the following word, as in GPT-2's vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate, groupby
from typing import Any

SHARE = re.compile(r"‹\d+/\d+›")
LATER_PIECE = re.compile(r"(?s).‹(?!1/)\d+/\d+›")
"""The start of a token that begins within a character."""

Words = list[int | None]


def texts_of(sequence: Mapping[str, Any]) -> list[str]:
    """Return the text that each token of an entry's sequence adds to its word, without marks of pieces."""
    known, words, pretty = sequence.get("texts", {}), sequence["words"], sequence["pretty"]
    return [known.get(str(n), _unmarked(token, goes_on=_goes_on(words, n))) for n, token in enumerate(pretty)]


def characters_of(sequence: Mapping[str, Any], position: int) -> str:
    """Return the characters of a token of an entry's sequence; a character of which it holds only a share is whole."""
    pretty = str(sequence["pretty"][position])
    return SHARE.sub("", pretty) if str(position) in sequence.get("texts", {}) else pretty


def different_texts(words: Words, pretty: Sequence[str], texts: Sequence[str]) -> dict[str, str]:
    """Return the texts that `texts_of` cannot derive by itself, by position (a string, as in JSON)."""
    return {
        str(n): text
        for n, (token, text) in enumerate(zip(pretty, texts, strict=True))
        if text != _unmarked(token, goes_on=_goes_on(words, n))
    }


def _unmarked(token: str, *, goes_on: bool) -> str:
    return token[2:] if goes_on and token.startswith("##") and len(token) > 2 else token


def _goes_on(words: Words, n: int) -> bool:
    return n > 0 and words[n] is not None and words[n] == words[n - 1]


def split(sequence: Mapping[str, Any]) -> Words:
    """Return the word index of each token of an entry's sequence: the tokenizer's words, split at word boundaries."""
    texts, words = texts_of(sequence), sequence["words"]
    inside = {int(n) for n in sequence.get("texts", {}) if LATER_PIECE.match(sequence["pretty"][int(n)])}
    second, word_indices, word = sequence["sentence_b_start"], Words(), -1
    for (number, _), group in groupby(range(len(words)), lambda n: (words[n], second is not None and n >= second)):
        positions = list(group)
        if number is None:
            word_indices += [None] * len(positions)
            continue
        starts = _starts([texts[n] for n in positions])
        for n, start in zip(positions, starts, strict=True):
            word += (start and n not in inside) or n == positions[0]
            word_indices.append(word)
    return word_indices


def _starts(texts: Sequence[str]) -> list[bool]:
    """Return for each of the consecutive texts whether a word begins there."""
    whole = "".join(texts)
    starts = boundaries(whole)
    offsets = list(accumulate(map(len, texts), initial=0))[:-1]
    return [
        bool(text) and offset in starts and whole[offset - 1 : offset] != " "
        for text, offset in zip(texts, offsets, strict=True)
    ]


def boundaries(text: str) -> set[int]:
    """Return the positions of the word boundaries in a text.

    Most texts are one word of ASCII letters and digits, perhaps after a space. There is no boundary inside such a word
    (UAX 29, rules WB5 and WB8 to WB10), so no figure of such words waits for the package `regex` to be imported.
    """
    word = text.removeprefix(" ")
    if word.isascii() and (word.isalnum() or len(text) == 1):
        return {0, len(text) - len(word), len(text)}
    return {match.start() for match in _boundary().finditer(text)}


@cache
def _boundary() -> Any:
    """Return the pattern of a word boundary."""
    import regex  # it takes 10 ms

    return regex.compile(r"(?w)\b")


def joined(sequence: Mapping[str, Any], words: Words) -> dict[int, str]:
    """Return words whose text differs from that of their tokens joined, by the position of their first token."""
    pretty, texts = sequence["pretty"], texts_of(sequence)
    word_texts = {}
    for number, group in groupby(range(len(words)), lambda n: words[n]):
        positions = list(group)
        plain = "".join(_unmarked(pretty[n], goes_on=n != positions[0]) for n in positions)
        text = "".join(texts[n] for n in positions)
        if number is not None and len(positions) > 1 and text != plain:
            word_texts[positions[0]] = text
    return word_texts
