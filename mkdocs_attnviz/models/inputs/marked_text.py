"""A text as it is written, cut into marks: the pieces of it that a reader can point at.

A mark is a token, or several tokens that make one character together. What stands between two tokens, such as the space
before a word of WordPiece, belongs to no mark. So the text has the spaces and line breaks that its author wrote, and a
language that is written without spaces has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from mkdocs_attnviz.models.inputs.tokens import Spans, Tokens
from mkdocs_attnviz.models.inputs.word_boundaries import LATER_PIECE, texts_of


@dataclass(frozen=True)
class MarkedText:
    """The marks of one sequence. A list has one item for each mark."""

    gaps: list[str]
    """The text between the mark before and this one."""
    texts: list[str]
    tokens: list[list[int]]
    """The positions of the tokens of each mark."""


class _Piece(NamedTuple):
    """A token's part of the text, and what stands before it."""

    gap: str
    text: str


def marked_text(tokens: Tokens, tokenizer: Any = None) -> MarkedText:
    """Return the marks of a text: as its author wrote it, if the tokenizer tells where each token stands."""
    known = tokens.spans is not None and len(tokens.spans.spans) == len(tokens.ids)
    pieces = list(_by_spans(tokens, tokens.spans) if known and tokens.spans else _by_texts(tokens, tokenizer))
    groups = list(_groups(tokens, pieces))
    return MarkedText(
        ["".join(pieces[group[0]].gap) for group in groups],
        ["".join(pieces[n].text if n == group[0] else "".join(pieces[n]) for n in group) for group in groups],
        groups,
    )


def _by_spans(tokens: Tokens, spans: Spans) -> Iterator[_Piece]:
    """Yield the pieces of the text that the author wrote; tokens that the tokenizer added are shown by name."""
    read = 0
    for position, span in enumerate(spans.spans):
        if span is None:
            yield _Piece("", tokens.tokens[position])
            continue
        end = max(read, span[1])
        start = min(max(read, span[0]), end)
        piece = spans.text[start:end]
        yield _Piece(spans.text[read:start], piece) if piece else _Piece("", spans.text[read:end])
        read = end


def _by_texts(tokens: Tokens, tokenizer: Any) -> Iterator[_Piece]:
    """Yield the pieces that the vocabulary gives; if it writes no spaces at all, those that stand between words."""
    special = set(tokens.special)
    texts = texts_of(tokens.meta()) if tokens.texts is None else tokens.texts
    spaced = any(character.isspace() for n, text in enumerate(texts) if n not in special for character in text)
    for n, text in enumerate(texts):
        if n in special:
            yield _Piece("", tokens.tokens[n])
            continue
        if not spaced:
            begins = n > 0 and n - 1 not in special and _begins_word(tokens, texts, n, tokenizer)
            yield _Piece(" " if begins else "", text)
            continue
        rest = text.lstrip()
        yield _Piece(text[: len(text) - len(rest)], rest) if rest else _Piece("", text)


def _begins_word(tokens: Tokens, texts: Sequence[str], n: int, tokenizer: Any) -> bool:
    """Return whether a space stands before a token: the tokenizer's decoder puts it there, or a word begins."""
    if _is_wide(texts[n]) and _is_wide(texts[n - 1]):
        return False
    if tokenizer is not None:
        pair = tokenizer.decode(tokens.ids[n - 1 : n + 1], clean_up_tokenization_spaces=False)
        return str(pair).endswith(f" {texts[n]}")
    words = tokens.words
    return words[n] is None or words[n - 1] is None or words[n] != words[n - 1]


def _is_wide(text: str) -> bool:
    """Return whether a text is of a script that puts no spaces between words: Chinese, Japanese, Thai and others."""
    return any("\u2e80" <= letter <= "\u9fff" or "\u0e00" <= letter <= "\u0eff" for letter in text) or any(
        "\U00020000" <= letter <= "\U0003ffff" for letter in text
    )


def _groups(tokens: Tokens, pieces: Sequence[_Piece]) -> Iterator[list[int]]:
    """Yield the positions of the tokens of each mark. A token without a text belongs to the mark whose character it
    completes, or else to the one after it."""
    special = set(tokens.special)
    group: list[int] = []
    for apart, run in groupby(range(len(pieces)), lambda n: n in special):
        group = []
        for n in run:
            completes = bool(group) and not pieces[n].text and bool(LATER_PIECE.match(tokens.pretty[n]))
            if group and not completes and (apart or any(pieces[m].text for m in group)):
                yield group
                group = []
            group.append(n)
        if group:
            yield group
