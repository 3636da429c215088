"""Text → token ids, and the tokens as a reader should see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.token_version import TOKEN_VERSION
from mkdocs_attnviz.models.inputs.characters import Shown, shown
from mkdocs_attnviz.models.inputs.marks import Marks, marks_of
from mkdocs_attnviz.models.inputs.word_boundaries import different_texts


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
    """As BertViz's `prettify_tokens` has them, and bytes decoded."""
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
    texts: list[str] | None = None
    """What each token adds to the text of its word; None where that is the token itself."""
    date: str | None = None
    """The day that a chat template was given for today, where it asked for it."""
    usual: int | None = None
    """The length that the tokenizer names for its model, where there are more tokens than that."""

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
    how = {"truncation": False, "verbose": False, "add_special_tokens": add_special_tokens}
    try:
        encoded = tokenizer(text, text_pair, return_special_tokens_mask=True, **how)
    except Exception:  # a tokenizer's own code, of which this may be the only part that fails
        encoded = tokenizer(text, text_pair, **how)
    ids = list(encoded["input_ids"])
    if not ids:
        raise WrongValue("text", "The text gives no tokens.")
    type_ids = encoded.get("token_type_ids")
    apart = sorted({*special(tokenizer, ids), *_put_around(encoded, ids)})
    read = in_sequence(tokenizer, ids, apart)
    return Tokens(
        ids=ids,
        type_ids=None if type_ids is None else list(type_ids),
        tokens=names(tokenizer, ids),
        pretty=[token.pretty for token in read],
        special=apart,
        sentence_b_start=None if text_pair is None else _sentence_b_start(encoded, type_ids),
        words=_words(tokenizer, encoded, ids, apart),
        spans=_spans(encoded, text, text_pair),
        texts=[token.text for token in read],
    )


def continued(tokenizer: Any, text: Tokens, ids: list[int]) -> Tokens:
    """A text and the `ids` that a model has written after it."""
    whole, start = [*text.ids, *ids], len(text.ids)
    apart = [*text.special, *(start + position for position in special(tokenizer, ids))]
    marked = words_by_marks(tokenizer, whole, apart)
    follows = start < len(whole) and None not in (marked[start], text.words[-1]) and marked[start] == marked[start - 1]
    first = next((word for word in marked[start:] if word is not None), 0)
    last = max((word for word in text.words if word is not None), default=-1)
    written = [None if word is None else word - first + last + (not follows) for word in marked[start:]]
    read = in_sequence(tokenizer, whole, apart)
    return Tokens(
        ids=whole,
        type_ids=None if text.type_ids is None else [*text.type_ids, *[0] * len(ids)],
        tokens=names(tokenizer, whole),
        pretty=[token.pretty for token in read],
        special=apart,
        sentence_b_start=None,
        words=[*text.words, *written],
        generated=start,
        texts=[token.text for token in read],
        date=text.date,
    )


def names(tokenizer: Any, ids: list[int]) -> list[str]:
    """As the vocabulary has them; a model may know more ids than its tokenizer."""
    found = tokenizer.convert_ids_to_tokens(ids)
    decoded = {n for n, name in zip(ids, found, strict=True) if isinstance(name, str) and "�" in name}
    if decoded:  # each by itself, so that a byte cannot be told any more
        spelled = {token_id: name for name, token_id in tokenizer.get_vocab().items() if token_id in decoded}
        found = [spelled.get(token_id, name) for token_id, name in zip(ids, found, strict=True)]
    return [
        f"‹{n}›" if name is None else name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
        for n, name in zip(ids, found, strict=True)
    ]


def pretty(tokenizer: Any, ids: list[int]) -> list[str]:
    """Return each token by itself, as a reader should see it; a part of a character as its bytes."""
    return [one.pretty for content in _contents(tokenizer, ids) for one in shown([content])]


def in_sequence(tokenizer: Any, ids: list[int], apart: Sequence[int]) -> list[Shown]:
    """Return tokens that follow one another, as a reader should see them; `apart` are the positions of special ones."""
    return marks_of(tokenizer).read(names(tokenizer, ids), set(apart), _contents(tokenizer, ids))


def _contents(tokenizer: Any, ids: list[int]) -> list[bytes]:
    """Return the bytes of each token. What was added to a vocabulary is written as itself, not in its alphabet."""
    marks = marks_of(tokenizer)
    added = special_ids(tokenizer) | set(_added(tokenizer))
    raw = tokenizer.convert_ids_to_tokens(ids)
    plain = Marks(space=marks.space)
    return [
        token if isinstance(token, bytes) else (plain if token_id in added else marks).content(name)
        for token_id, name, token in zip(ids, names(tokenizer, ids), raw, strict=True)
    ]


def special(tokenizer: Any, ids: list[int]) -> list[int]:
    """Return the positions of special tokens."""
    known = special_ids(tokenizer)
    return [position for position, token_id in enumerate(ids) if token_id in known]


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of all special tokens: those with a role, such as `[CLS]`, and those that were added as special
    without one, such as Llama 3's `<|eot_id|>` and M2M100's languages."""
    added = _added(tokenizer)
    languages = getattr(tokenizer, "id_to_lang_token", {})
    return {*tokenizer.all_special_ids, *languages, *(one for one, token in added.items() if token.special)}


def _put_around(encoded: Any, ids: list[int]) -> list[int]:
    """Return the positions of tokens that the tokenizer has put before, between or after the texts."""
    mask = encoded.get("special_tokens_mask") or []
    return [position for position, flag in enumerate(mask) if flag] if len(mask) == len(ids) else []


def _added(tokenizer: Any) -> Mapping[int, Any]:
    """Return what was added to the vocabulary; mistral-common's tokenizers do not tell."""
    try:
        found: Mapping[int, Any] = tokenizer.added_tokens_decoder
    except (AttributeError, NotImplementedError):
        return {}
    return found


def words_by_marks(tokenizer: Any, ids: list[int], apart: Sequence[int]) -> list[int | None]:
    """Return the word that each token is a piece of, by the marks of the tokenizer's vocabulary."""
    return marks_of(tokenizer).words(names(tokenizer, ids), apart)


def target_words(tokenizer: Any, labels: list[int], text: str) -> tuple[list[int | None], Spans | None]:
    """The word each label is a piece of, and where it stands, if `text` is what the labels say."""
    encoded = tokenizer(text_target=text, truncation=False, verbose=False)
    if list(encoded["input_ids"]) != labels:
        return [None] * len(labels), None
    return _words(tokenizer, encoded, labels, special(tokenizer, labels)), _spans(encoded, text)


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
        raise WrongValue(
            "text_pair", "`text_pair` gives no tokens of its own, or this tokenizer does not tell the two texts apart."
        )
    return int(sequence_ids.index(1))


def _words(tokenizer: Any, encoded: Any, ids: list[int], apart: Sequence[int]) -> list[int | None]:
    """As the tokenizer counts words; by the marks of its vocabulary where it does not, or takes a text for one word."""
    marks = words_by_marks(tokenizer, ids, apart)
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
    """Word numbers of the second text follow on those of the first."""
    words, sequences = encoded.word_ids(), encoded.sequence_ids()
    first = 1 + max((word for word, which in zip(words, sequences, strict=True) if which == 0), default=-1)
    return [
        None if which is None or word is None else word + first * which
        for word, which in zip(words, sequences, strict=True)
    ]
