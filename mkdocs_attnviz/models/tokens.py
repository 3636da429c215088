"""Text → token ids, and the tokens as a reader should see them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mkdocs_attnviz.models.arrays import words_of


@dataclass(frozen=True)
class Spans:
    """Tokens as stretches of a text."""

    text: str
    """A pair's texts one after the other."""
    spans: list[tuple[int, int] | None]
    """Characters from … to below …, white space at their ends left out; None for a token that a tokenizer adds."""


@dataclass(frozen=True)
class Tokens:
    """One tokenised input of T tokens."""

    ids: list[int]
    type_ids: list[int] | None
    tokens: list[str]
    """As the vocabulary has them (`convert_ids_to_tokens`)."""
    pretty: list[str]
    """As BertViz's `prettify_tokens` has them, and bytes of byte-level vocabularies decoded."""
    special: list[int]
    """Positions of special tokens."""
    sentence_b_start: int | None
    words: list[int | None]
    """The word each token is a piece of, counted through both texts; None for special tokens."""
    next: list[str] | None = None
    """For what a decoder reads: the token that it is to write at each position, as a reader should see it."""
    labels: list[int] | None = None
    """The ids of those."""
    generated: int | None = None
    """Position of the first token that the model has written itself."""
    spans: Spans | None = None
    """Where each token stands in what was read; None where the tokenizer does not tell."""
    date: str | None = None
    """The day that a chat template was given for today, where it asked for it."""
    usual: int | None = None
    """The length that the tokenizer names for its model, where there are more tokens than that."""

    def meta(self) -> dict[str, Any]:
        more = {"next": self.next, "generated": self.generated, "date": self.date, "usual": self.usual}
        return {name: value for name, value in more.items() if value is not None} | {
            "tokens": self.tokens,
            "pretty": self.pretty,
            "special": self.special,
            "sentence_b_start": self.sentence_b_start,
            "words": self.words,
        }


@dataclass(frozen=True)
class Example:
    """What one forward pass reads."""

    text: Tokens
    target: Tokens | None = None
    """What the decoder of an encoder–decoder reads: the tokens that it has written so far, at each position."""
    more: tuple[Example, ...] = ()
    """Further texts, each read by itself."""
    other: Example | None = None
    """What a second model reads of the same."""

    def sequences(self) -> dict[str, dict[str, Any]]:
        """What an entry says of the tokens; those of the second text are `text-2` and `target-2`."""
        target = {} if self.target is None else {"target": self.target.meta()}
        more = {
            f"{name}-{number}": meta
            for number, example in enumerate(self.more, 2)
            for name, meta in example.sequences().items()
        }
        return {"text": self.text.meta()} | target | more


def tokenize(tokenizer: Any, text: str, text_pair: str | None, *, add_special_tokens: bool = True) -> Tokens:
    """Token ids with special tokens as the tokenizer adds them, nothing cut off.

    Raises:
        ValueError: the text gives no token, or a pair cannot be told apart.
    """
    encoded = tokenizer(text, text_pair, truncation=False, verbose=False, add_special_tokens=add_special_tokens)
    ids = list(encoded["input_ids"])
    if not ids:
        raise ValueError("The text gives no tokens.")
    type_ids = encoded.get("token_type_ids")
    return Tokens(
        ids=ids,
        type_ids=None if type_ids is None else list(type_ids),
        tokens=names(tokenizer, ids),
        pretty=pretty(tokenizer, ids),
        special=special(tokenizer, ids),
        sentence_b_start=None if text_pair is None else _sentence_b_start(encoded, type_ids),
        words=_words(tokenizer, encoded, ids),
        spans=_spans(encoded, text, text_pair),
    )


def continued(tokenizer: Any, text: Tokens, ids: list[int]) -> Tokens:
    """A text and the `ids` that a model has written after it."""
    whole = [*text.ids, *ids]
    last = max((word for word in text.words if word is not None), default=-1)
    written = words_of(names(tokenizer, whole), special(tokenizer, whole))[len(text.ids) :]
    first = next((word for word in written if word is not None), 0)
    follows = bool(ids) and not names(tokenizer, ids)[0].startswith(("Ġ", "▁")) and text.words[-1] is not None
    return Tokens(
        ids=whole,
        type_ids=None if text.type_ids is None else [*text.type_ids, *[0] * len(ids)],
        tokens=names(tokenizer, whole),
        pretty=pretty(tokenizer, whole),
        special=special(tokenizer, whole),
        sentence_b_start=None,
        words=[*text.words, *(None if word is None else word - first + last + (not follows) for word in written)],
        generated=len(text.ids),
        date=text.date,
    )


def names(tokenizer: Any, ids: list[int]) -> list[str]:
    """As the vocabulary has them; a model may know more ids than its tokenizer."""
    return [
        f"‹{n}›" if name is None else name for n, name in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
    ]


def pretty(tokenizer: Any, ids: list[int]) -> list[str]:
    special = set(tokenizer.all_special_ids)
    byte_level = _byte_level(tokenizer)
    return [
        _decoded(tokenizer, token) if byte_level and token_id not in special else _spaced(token)
        for token_id, token in zip(ids, names(tokenizer, ids), strict=True)
    ]


def special(tokenizer: Any, ids: list[int]) -> list[int]:
    known = set(tokenizer.all_special_ids)
    return [position for position, token_id in enumerate(ids) if token_id in known]


def target_words(tokenizer: Any, labels: list[int], text: str) -> tuple[list[int | None], Spans | None]:
    """The word each label is a piece of, and where it stands, if `text` is what the labels say."""
    encoded = tokenizer(text_target=text, truncation=False, verbose=False)
    if list(encoded["input_ids"]) != labels:
        return [None] * len(labels), None
    return _words(tokenizer, encoded, labels), _spans(encoded, text)


def _spans(encoded: Any, text: str, text_pair: str | None = None) -> Spans | None:
    """By the tokenizer's own offsets, which slow ones do not have. Some count the space before a word to it."""
    if not encoded.is_fast:
        return None
    whole, starts = text + (text_pair or ""), (0, len(text))
    found: list[tuple[int, int] | None] = []
    for sequence, (start, end) in zip(encoded.sequence_ids(), encoded.encodings[0].offsets, strict=True):
        if sequence is None:
            found.append(None)
            continue
        first, last = start + starts[sequence], end + starts[sequence]
        said = whole[first:last]
        first += len(said) - len(said.lstrip())
        found.append((first, max(first, last - (len(said) - len(said.rstrip())))))
    return Spans(whole, found)


def _sentence_b_start(encoded: Any, type_ids: list[int] | None) -> int:
    """Position of B's first token: what the tokenizer says of the pair, else the token types."""
    sequence_ids = encoded.sequence_ids() if encoded.is_fast else (type_ids or [])
    if 1 not in sequence_ids:
        raise ValueError("`text_pair` gives no tokens of its own, or this tokenizer does not tell the two texts apart.")
    return int(sequence_ids.index(1))


def _words(tokenizer: Any, encoded: Any, ids: list[int]) -> list[int | None]:
    """As the tokenizer counts words; by the marks of its vocabulary where it does not, or takes a text for one word."""
    marks = words_of(names(tokenizer, ids), special(tokenizer, ids))
    counted = _counted(encoded) if encoded.is_fast else None
    if counted is None:
        return marks
    joined = any(
        one is not None and one == before and mark != mark_before
        for (before, one), (mark_before, mark) in zip(pairwise(counted), pairwise(marks), strict=True)
    )
    return marks if joined and any(word is not None for word in marks) else counted


def _counted(encoded: Any) -> list[int | None]:
    """Word numbers of the second text follow on those of the first."""
    words, sequences = encoded.word_ids(), encoded.sequence_ids()
    first = 1 + max((word for word, which in zip(words, sequences, strict=True) if which == 0), default=-1)
    return [
        None if which is None or word is None else word + first * which
        for word, which in zip(words, sequences, strict=True)
    ]


def _spaced(token: str) -> str:
    return token.replace("Ġ", " ").replace("▁", " ").replace("</w>", "")


def _decoded(tokenizer: Any, token: str) -> str:
    """A token of a byte-level vocabulary; a part of a character as its bytes."""
    text = str(tokenizer.convert_tokens_to_string([token]))
    return text if text and "�" not in text else "".join(f"‹{byte:02X}›" for byte in _bytes(token))


def _byte_level(tokenizer: Any) -> bool:
    """Whether tokens are written in GPT-2's alphabet of one character a byte."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    return "ByteLevel" in repr(decoder)


def _bytes(token: str) -> bytes:
    """GPT-2's alphabet read backwards: printable Latin-1 stands for itself, the rest follows from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}
    return b"".join(bytes([alphabet[c]]) if c in alphabet else c.encode() for c in token)
