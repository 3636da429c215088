"""The tokens of a text that an author names: by text, by number, or as `the#2`, the second of several.

Texts are compared with tokens as the vocabulary has them and as a reader sees them, so that `the` finds `Ġthe` and
`▁the`. A word of several tokens is found by its whole text. Capitals and accents do not count if nothing else fits,
because many vocabularies have none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mkdocs_attnviz.models.inputs import word_boundaries
from mkdocs_attnviz.models.inputs.word_boundaries import characters_of
from mkdocs_attnviz.views.measure import Untestable
from mkdocs_attnviz.views.visible_tokens import called

OCCURRENCE = re.compile(r"(?s)(.+)#([1-9]\d{0,5})")
Tokens = Mapping[str, Any]
"""A sequence of an entry: its `tokens`, `pretty`, `words` and so on."""


@dataclass(frozen=True)
class Place:
    """A token, or the tokens of a word."""

    positions: tuple[int, ...]
    name: str
    """The token as a sentence quotes it, with its position if its text occurs more than once."""


def spellings(sequence: Tokens, position: int) -> set[str]:
    """Return the texts by which an author may name one token."""
    token, pretty, whole = sequence["tokens"][position], sequence["pretty"][position], characters_of(sequence, position)
    return {token, pretty, pretty.strip(), whole, whole.strip()} - {""}


def places(sequence: Tokens, written: str, key: str) -> list[Place]:
    """Return the tokens that an author means, of which there are several if their text occurs more than once.

    Raises:
        Untestable: the text has no such token. `key` is the author's key.
    """
    count = len(sequence["tokens"])
    if written.isdecimal():
        if int(written) >= count:
            raise Untestable(f"`{key}` is {written}; the tokens are 0 to {count - 1}.")
        return [_place(sequence, (int(written),), numbered=False)]
    found = _occurrences(sequence, written)
    if found:
        return [_place(sequence, positions, numbered=len(found) > 1) for positions in found]
    match = OCCURRENCE.fullmatch(written)
    found = _occurrences(sequence, match[1]) if match else []
    if match and found:
        if int(match[2]) > len(found):
            raise Untestable(f"`{key}` is {written!r}; the text has “{match[1]}” {_times(len(found))}.")
        return [_place(sequence, found[int(match[2]) - 1], numbered=True)]
    raise Untestable(f"`{key}` is {written!r:.80}, which the text does not have.")


def place(sequence: Tokens, written: str, key: str) -> Place:
    """Return the one token or word that an author means.

    Raises:
        Untestable: the text has no such token, or several.
    """
    found = places(sequence, written, key)
    if len(found) > 1:
        listed = ", ".join(f"{written}#{n} at {each.positions[0]}" for n, each in enumerate(found[:6], 1))
        raise Untestable(f"`{key}` is {written!r}, which the text has {_times(len(found))}: {listed}.")
    return found[0]


def token(sequence: Tokens, written: str, key: str) -> tuple[int, str]:
    """Return the position and the name of the one token that an author means.

    Raises:
        Untestable: the text has no such token, or several, or it is a word of several tokens.
    """
    found = place(sequence, written, key)
    if len(found.positions) > 1:
        numbers = ", ".join(map(str, found.positions))
        raise Untestable(f"`{key}` is {written!r}, a word of several tokens; write the number of one: {numbers}.")
    return found.positions[0], found.name


def joined(sequences: list[Tokens]) -> Tokens:
    """Return several sequences one after the other as one; their words stay apart."""
    if len(sequences) == 1:
        return sequences[0]
    whole: dict[str, Any] = {"tokens": [], "pretty": [], "special": [], "words": [], "texts": {}}
    whole["sentence_b_start"] = None
    for sequence in sequences:
        start = len(whole["tokens"])
        first = 1 + max((word for word in whole["words"] if word is not None), default=-1)
        whole["words"] += [None if word is None else word + first for word in word_boundaries.split(sequence)]
        whole["special"] += [start + position for position in sequence["special"]]
        whole["texts"] |= {str(start + int(n)): text for n, text in sequence.get("texts", {}).items()}
        for name in ("tokens", "pretty"):
            whole[name] += sequence[name]
    return whole


def same_text(written: str, name: str) -> bool:
    """Return whether a text of an author's means a token of the vocabulary that is named so."""
    return written in (name, name.strip()) or _plain(written) == _plain(name.strip())


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _place(sequence: Tokens, positions: tuple[int, ...], *, numbered: bool) -> Place:
    pretty = sequence["pretty"]
    text = _word(sequence, positions) if len(positions) > 1 else pretty[positions[0]]
    repeated = numbered or (len(positions) == 1 and pretty.count(pretty[positions[0]]) > 1)
    return Place(positions, f"“{called(text)}”{f' ({positions[0]})' if repeated else ''}")


def _word(sequence: Tokens, positions: tuple[int, ...]) -> str:
    """Return the text of a word of several tokens."""
    texts = word_boundaries.texts_of(sequence)
    return "".join(texts[position] for position in positions)


def _occurrences(sequence: Tokens, text: str) -> list[tuple[int, ...]]:
    """Return the positions of each token or word of this text: words before pieces of words, exact before similar."""
    words = _words(sequence)
    whole = {group[0] for group in words if len(group) == 1}
    for same in (_exact, _similar):
        is_same = same(text)
        tokens = [n for n in range(len(sequence["tokens"])) if any(map(is_same, spellings(sequence, n)))]
        one = [(n,) for n in tokens if n in whole]
        several = [group for group in words if len(group) > 1 and is_same(_word(sequence, group).strip())]
        if found := sorted([*one, *several]) or [(n,) for n in tokens]:
            return found
    return []


def _words(sequence: Tokens) -> list[tuple[int, ...]]:
    """Return the positions of each word's tokens; a token that belongs to no word counts as one."""
    count = len(sequence["tokens"])
    words = sequence.get("words")
    numbers = word_boundaries.split(sequence) if words is not None else [None] * count
    groups = groupby(range(count), lambda n: (numbers[n], n if numbers[n] is None else None))
    return [tuple(group) for _, group in groups]


def _exact(text: str) -> Callable[[str], bool]:
    return lambda spelling: spelling == text


def _similar(text: str) -> Callable[[str], bool]:
    plain = _plain(text)
    return lambda spelling: _plain(spelling) == plain


def _plain(text: str) -> str:
    """Return a text without capitals and accents."""
    return "".join(part for part in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(part))
