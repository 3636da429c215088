"""Text → token ids, and the tokens as a reader should see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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

    def meta(self) -> dict[str, Any]:
        return {
            "tokens": self.tokens,
            "pretty": self.pretty,
            "special": self.special,
            "sentence_b_start": self.sentence_b_start,
            "words": self.words,
        }


def tokenize(tokenizer: Any, text: str, text_pair: str | None) -> Tokens:
    """Token ids with special tokens as the tokenizer adds them, nothing cut off.

    Raises:
        ValueError: the text gives no token, or a pair cannot be told apart.
    """
    encoded = tokenizer(text, text_pair, truncation=False, verbose=False)
    ids = list(encoded["input_ids"])
    if not ids:
        raise ValueError("The text gives no tokens.")
    tokens = tokenizer.convert_ids_to_tokens(ids)
    special = set(tokenizer.all_special_ids)
    type_ids = encoded.get("token_type_ids")
    byte_level = _byte_level(tokenizer)
    return Tokens(
        ids=ids,
        type_ids=None if type_ids is None else list(type_ids),
        tokens=tokens,
        pretty=[
            _decoded(tokenizer, token) if byte_level and token_id not in special else _spaced(token)
            for token_id, token in zip(ids, tokens, strict=True)
        ],
        special=[position for position, token_id in enumerate(ids) if token_id in special],
        sentence_b_start=None if text_pair is None else _sentence_b_start(encoded, type_ids),
        words=_words(encoded, len(ids)),
    )


def _sentence_b_start(encoded: Any, type_ids: list[int] | None) -> int:
    """Position of B's first token: what the tokenizer says of the pair, else the token types."""
    sequence_ids = encoded.sequence_ids() if encoded.is_fast else (type_ids or [])
    if 1 not in sequence_ids:
        raise ValueError("`text_pair` gives no tokens of its own, or this tokenizer does not tell the two texts apart.")
    return int(sequence_ids.index(1))


def _words(encoded: Any, length: int) -> list[int | None]:
    """Word numbers of the second text follow on those of the first."""
    if not encoded.is_fast:
        return [None] * length
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
