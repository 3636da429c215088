"""Tokens put together, so that their numbers can be summed: words, sentences, and passages that an author marks.

A group is a stretch of tokens. Together the groups are the whole text, so that sums over groups add up to those over
tokens. A special token is a group of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from typing_extensions import TypedDict

from mkdocs_attnviz.models.inputs.word_boundaries import split, texts_of

ENDS = re.compile(r"[.!?…。！？؟।]+[\"'”’»)\]]*$|\n\s*$")
"""The end of a sentence: its last mark, with quotes and brackets that close after it; or the end of a line."""
CLOSING = re.compile(r"[.!?…。！？؟।\"'”’»)\]\s]+")
"""Tokens that still belong to a sentence that has ended."""
NO_SPACE = re.compile(r" (?=[.,;:!?…’'”»)\]])|(?<=[([“«’']) |(?<=[\u3000-\u9fff]) (?=[\u3000-\u9fff])")
"""Spaces that joining words has put where none is written: before punctuation, and between Chinese characters."""
LONGEST = 40
"""The largest number of characters of a group's text in a figure."""


class Groups(TypedDict):
    """Groups of consecutive tokens."""

    starts: list[int]
    """The first token of each group; a group ends where the next one begins."""
    texts: dict[int, str]
    """The texts of groups of several tokens, by the group's number; long ones lack their middle."""
    marked: list[int]
    """The groups that the author has marked, by number; with sentences and words there are none."""


def words(sequence: Mapping[str, Any]) -> list[int]:
    """Return the first token of each word of an entry's sequence."""
    numbers = split(sequence)
    return [at for at, number in enumerate(numbers) if at == 0 or number is None or number != numbers[at - 1]]


def sentences(sequence: Mapping[str, Any]) -> list[int]:
    """Return the first token of each sentence of an entry's sequence."""
    texts, special = texts_of(sequence), set(sequence["special"])
    starts, ended = [0], False
    for at in range(1, len(texts)):
        ended = ended or ENDS.search(texts[at - 1]) is not None
        closes = CLOSING.fullmatch(texts[at]) is not None
        within = texts[at][:1].isdigit()  # 3.14
        apart = at in special or at - 1 in special or at == sequence["sentence_b_start"]
        if apart or (ended and not closes and not within):
            starts.append(at)
        ended = ended and closes
    return starts


def passages(sequence: Mapping[str, Any], wanted: Sequence[str]) -> tuple[list[int], list[int], list[str]]:
    """Return the groups that passages cut a text into: their first tokens, the numbers of the groups that are passages,
    and the passages that are not in the text.

    Letters are compared without case, accents and white space, as many vocabularies read them. A passage ends with the
    token that holds its last letter; passages that overlap an earlier one are cut off by it.
    """
    letters, owners = [], []
    for at, text in enumerate(texts_of(sequence)):
        plain = "" if at in sequence["special"] else _plain(text)
        letters.append(plain)
        owners += [at] * len(plain)
    whole = "".join(letters)
    length = len(letters)
    marks: list[int | None] = [None] * length
    missing = []
    for number, passage in enumerate(wanted):
        plain = _plain(passage)
        found = whole.find(plain) if plain else -1
        if found < 0:
            missing.append(passage)
            continue
        for at in range(owners[found], owners[found + len(plain) - 1] + 1):
            marks[at] = number if marks[at] is None else marks[at]
    special = set(sequence["special"])
    starts = [at for at in range(length) if at == 0 or marks[at] != marks[at - 1] or {at, at - 1} & special]
    return starts, [n for n, at in enumerate(starts) if marks[at] is not None], missing


def _plain(text: str) -> str:
    """Return the letters of a text without case, accents and white space."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join("" if unicodedata.combining(letter) or letter.isspace() else letter for letter in apart).casefold()


def grouped(sequence: Mapping[str, Any], starts: Sequence[int], count: int, marked: Iterable[int] = ()) -> Groups:
    """Return groups of the first `count` tokens of a sequence."""
    texts, numbers = texts_of(sequence), split(sequence)
    spaced = any(letter.isspace() for text in texts for letter in text)
    kept = [start for start in starts if start < count]
    ends = pairwise([*kept, count])
    shown = {
        n: _short(_words(texts, numbers, start, end), spaced=spaced)
        for n, (start, end) in enumerate(ends)
        if end - start > 1
    }
    return {"starts": kept, "texts": shown, "marked": [number for number in marked if number < len(kept)]}


def _words(texts: Sequence[str], numbers: Sequence[int | None], start: int, end: int) -> list[str]:
    """Return the words of a stretch of tokens, each put together from its pieces."""
    joined: list[str] = []
    for at in range(start, end):
        if at > start and numbers[at] is not None and numbers[at] == numbers[at - 1]:
            joined[-1] += texts[at]
        else:
            joined.append(texts[at])
    return joined


def _short(texts: Sequence[str], *, spaced: bool) -> str:
    """Return the text of a group; without its middle if it is long. `spaced`: tokens hold the spaces between words."""
    text = ("" if spaced else " ").join(texts).strip()
    text = text if spaced else NO_SPACE.sub("", text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 2 // 3].rstrip()} … {text[-LONGEST // 4 :].lstrip()}"
