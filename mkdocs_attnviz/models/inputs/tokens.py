"""The tokenisation of texts, and tokens as a reader should see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.token_version import TOKEN_VERSION
from mkdocs_attnviz.models.inputs.characters import TokenText, token_texts
from mkdocs_attnviz.models.inputs.marks import Marks, marks_of
from mkdocs_attnviz.models.inputs.word_boundaries import different_texts
from mkdocs_attnviz.models.loading.special_tokens import added_tokens, special_ids


@dataclass(frozen=True)
class Spans:
    """The tokens of an input as spans of its text."""

    text: str
    """The text; for a pair, both texts one after the other."""
    spans: list[tuple[int, int] | None]
    """Start and end of each token in characters, end exclusive, without white space at the ends; None
    for added tokens.
    """


@dataclass(frozen=True)
class Tokens:
    """One tokenised input of T tokens."""

    ids: list[int]
    type_ids: list[int] | None
    tokens: list[str]
    """Tokens as the vocabulary has them (`convert_ids_to_tokens`)."""
    pretty: list[str]
    """Tokens as BertViz's `prettify_tokens` gives them, with bytes decoded."""
    special: list[int]
    """The positions of special tokens."""
    sentence_b_start: int | None
    words: list[int | None]
    """The index of each token's word, counted through both texts; None for special tokens."""
    next: list[str] | None = None
    """The token that a decoder is to write at each position, as a reader should see it; None for an encoder's text."""
    labels: list[int] | None = None
    """The ids of the tokens in `next`."""
    generated: int | None = None
    """The position of the first token that the model wrote itself."""
    spans: Spans | None = None
    """The place of each token in the text; None if the tokenizer does not tell it."""
    texts: list[str] | None = None
    """The text that each token adds to its word; None if it is always the token itself."""
    date: str | None = None
    """The date that a chat template got as today's, if it asked for it."""
    usual: int | None = None
    """The length that the tokenizer names for its model, if the text is longer."""
    turns: list[tuple[str, int]] | None = None
    """The role of each turn of a conversation, and the position of its first token."""

    def meta(self) -> dict[str, Any]:
        more: dict[str, Any] = {"next": self.next, "generated": self.generated, "date": self.date}
        more["usual"] = self.usual
        if self.texts is not None:
            more["texts"] = different_texts(self.words, self.pretty, self.texts) or None
        return {name: value for name, value in more.items() if value is not None} | {
            "version": TOKEN_VERSION,
            "tokens": self.tokens,
            "pretty": self.pretty,
            "special": self.special,
            "sentence_b_start": self.sentence_b_start,
            "words": self.words,
        }


@dataclass(frozen=True)
class Example:
    """The input of one forward pass."""

    text: Tokens
    target: Tokens | None = None
    """The decoder's input in an encoder–decoder: at each position, the tokens that it has written so far."""
    more: tuple[Example, ...] = ()
    """Further texts, each read by itself."""
    other: Example | None = None
    """The same input as a second model reads it."""

    def sequences(self) -> dict[str, dict[str, Any]]:
        """Return the tokens as an entry stores them; those of the second text are `text-2` and `target-2`."""
        target = {} if self.target is None else {"target": self.target.meta()}
        more = {
            f"{name}-{number}": meta
            for number, example in enumerate(self.more, 2)
            for name, meta in example.sequences().items()
        }
        return {"text": self.text.meta()} | target | more


def tokenize(tokenizer: Any, text: str, text_pair: str | None, *, add_special_tokens: bool = True) -> Tokens:
    """Return the tokens of a text, with special tokens as the tokenizer adds them, and nothing truncated.

    Raises:
        ValueError: the text gives no token, or the tokenizer does not tell the texts of a pair apart.
    """
    how = {"truncation": False, "verbose": False, "add_special_tokens": add_special_tokens}
    try:
        encoded = tokenizer(text, text_pair, return_special_tokens_mask=True, **how)
    except Exception:  # a tokenizer's own code may fail in this part alone
        encoded = tokenizer(text, text_pair, **how)
    ids = list(encoded["input_ids"])
    if not ids:
        raise WrongValue("text", "The text gives no tokens.")
    type_ids = encoded.get("token_type_ids")
    apart = sorted({*special_positions(tokenizer, ids), *_positions_around(encoded, ids)})
    names = token_names(tokenizer, ids)
    read = _read(tokenizer, ids, apart, names)
    return Tokens(
        ids=ids,
        type_ids=None if type_ids is None else list(type_ids),
        tokens=names,
        pretty=[token.pretty for token in read],
        special=apart,
        sentence_b_start=None if text_pair is None else _sentence_b_start(encoded, type_ids),
        words=_words(tokenizer, encoded, apart, names),
        spans=_spans(encoded, text, text_pair),
        texts=[token.text for token in read],
    )


def append_generated(tokenizer: Any, text: Tokens, ids: list[int]) -> Tokens:
    """Return the tokens of a text and of the `ids` that a model wrote after it."""
    whole, start = [*text.ids, *ids], len(text.ids)
    apart = [*text.special, *(start + position for position in special_positions(tokenizer, ids))]
    names = token_names(tokenizer, whole)
    marked = marks_of(tokenizer).words(names, apart)
    follows = start < len(whole) and None not in (marked[start], text.words[-1]) and marked[start] == marked[start - 1]
    first = next((word for word in marked[start:] if word is not None), 0)
    last = max((word for word in text.words if word is not None), default=-1)
    written = [None if word is None else word - first + last + (not follows) for word in marked[start:]]
    read = _read(tokenizer, whole, apart, names)
    return Tokens(
        ids=whole,
        type_ids=None if text.type_ids is None else [*text.type_ids, *[0] * len(ids)],
        tokens=names,
        pretty=[token.pretty for token in read],
        special=apart,
        sentence_b_start=None,
        words=[*text.words, *written],
        generated=start,
        texts=[token.text for token in read],
        date=text.date,
        turns=text.turns,
    )


def token_names(tokenizer: Any, ids: list[int]) -> list[str]:
    """Return the tokens as the vocabulary has them, or ‹id› if the tokenizer does not know an id of the model."""
    raw_names = tokenizer.convert_ids_to_tokens(ids)
    decoded = {n for n, name in zip(ids, raw_names, strict=True) if isinstance(name, str) and "�" in name}
    if decoded:  # each was decoded by itself, so the bytes are lost
        spelled = {token_id: name for name, token_id in tokenizer.get_vocab().items() if token_id in decoded}
        raw_names = [spelled.get(token_id, name) for token_id, name in zip(ids, raw_names, strict=True)]
    return [
        f"‹{n}›" if name is None else name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
        for n, name in zip(ids, raw_names, strict=True)
    ]


def pretty(tokenizer: Any, ids: list[int]) -> list[str]:
    """Return each token by itself, as a reader should see it; a part of a character is shown as its bytes."""
    contents = _contents(tokenizer, ids, token_names(tokenizer, ids))
    return [one.pretty for content in contents for one in token_texts([content])]


def in_sequence(tokenizer: Any, ids: list[int], apart: Sequence[int]) -> list[TokenText]:
    """Return consecutive tokens as a reader should see them; `apart` are the positions of special ones."""
    return _read(tokenizer, ids, apart, token_names(tokenizer, ids))


def _read(tokenizer: Any, ids: list[int], apart: Sequence[int], names: list[str]) -> list[TokenText]:
    """Return the same as `in_sequence`, given the tokens as the vocabulary has them."""
    return marks_of(tokenizer).read(names, set(apart), _contents(tokenizer, ids, names))


def _contents(tokenizer: Any, ids: list[int], names: list[str]) -> list[bytes]:
    """Return the bytes of each token, given the tokens as the vocabulary has them.

    Tokens that were added to a vocabulary are plain text, not written in the vocabulary's alphabet.
    """
    marks = marks_of(tokenizer)
    added = special_ids(tokenizer) | set(added_tokens(tokenizer))
    # the vocabulary of a slow tokenizer may have bytes
    raw = names if getattr(tokenizer, "is_fast", False) else tokenizer.convert_ids_to_tokens(ids)
    plain = Marks(space=marks.space)
    return [
        token if isinstance(token, bytes) else (plain if token_id in added else marks).content(name)
        for token_id, name, token in zip(ids, names, raw, strict=True)
    ]


def special_positions(tokenizer: Any, ids: list[int]) -> list[int]:
    """Return the positions of special tokens."""
    known = special_ids(tokenizer)
    return [position for position, token_id in enumerate(ids) if token_id in known]


def _positions_around(encoded: Any, ids: list[int]) -> list[int]:
    """Return the positions of tokens that the tokenizer added before, between or after the texts."""
    mask = encoded.get("special_tokens_mask") or []
    return [position for position, flag in enumerate(mask) if flag] if len(mask) == len(ids) else []


def target_words(tokenizer: Any, labels: list[int], text: str) -> tuple[list[int | None], Spans | None]:
    """Return the index of each label's word, and its place in `text`; None if the labels are not the
    tokens of `text`.
    """
    encoded = tokenizer(text_target=text, truncation=False, verbose=False)
    if list(encoded["input_ids"]) != labels:
        return [None] * len(labels), None
    names = token_names(tokenizer, labels)
    return _words(tokenizer, encoded, special_positions(tokenizer, labels), names), _spans(encoded, text)


def _spans(encoded: Any, text: str, text_pair: str | None = None) -> Spans | None:
    """Return the place of each token by the tokenizer's own offsets, or None for a slow tokenizer, which has none.

    White space is removed from the spans: some tokenizers count the space before a word as a part of it.
    """
    if not encoded.is_fast:
        return None
    whole, starts = text + (text_pair or ""), (0, len(text))
    spans: list[tuple[int, int] | None] = []
    for sequence, (start, end) in zip(encoded.sequence_ids(), encoded.encodings[0].offsets, strict=True):
        if sequence is None:
            spans.append(None)
            continue
        first, last = start + starts[sequence], end + starts[sequence]
        covered = whole[first:last]
        first += len(covered) - len(covered.lstrip())
        spans.append((first, max(first, last - (len(covered) - len(covered.rstrip())))))
    return Spans(whole, spans)


def _sentence_b_start(encoded: Any, type_ids: list[int] | None) -> int:
    """Return the position of the second text's first token, by the tokenizer's sequence ids or else by the token types.

    Raises:
        ValueError: it cannot be told.
    """
    sequence_ids = encoded.sequence_ids() if encoded.is_fast else (type_ids or [])
    if 1 not in sequence_ids:
        raise WrongValue(
            "text_pair", "`text_pair` gives no tokens of its own, or this tokenizer does not tell the two texts apart."
        )
    return int(sequence_ids.index(1))


def _words(tokenizer: Any, encoded: Any, apart: Sequence[int], names: list[str]) -> list[int | None]:
    """Return the index of each token's word as the tokenizer counts them; `names` are those of the vocabulary.

    The marks of its vocabulary are used if it does not count words, or takes a whole text as one word.
    """
    marks = marks_of(tokenizer).words(names, apart)
    counted = _counted(encoded) if encoded.is_fast else None
    if counted is None:
        return marks
    joined = any(
        one is not None and one == before and mark != mark_before
        for (before, one), (mark_before, mark) in zip(pairwise(counted), pairwise(marks), strict=True)
    )
    if joined and any(word is not None for word in marks):
        return marks
    return [None if n in apart else word for n, word in enumerate(counted)]


def _counted(encoded: Any) -> list[int | None]:
    """Return the tokenizer's word indices; those of the second text continue those of the first."""
    words, sequences = encoded.word_ids(), encoded.sequence_ids()
    first = 1 + max((word for word, which in zip(words, sequences, strict=True) if which == 0), default=-1)
    return [
        None if which is None or word is None else word + first * which
        for word, which in zip(words, sequences, strict=True)
    ]
