"""The marks of a vocabulary: how it writes spaces, pieces of words, and bytes.

`Ġ` is a space in GPT-2's vocabulary and a Maltese letter in any other. So a character counts as a mark only if the
tokenizer itself tells it: a fast one by its parts, a slow one by the way it joins tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, Literal
from weakref import WeakKeyDictionary

from mkdocs_attnviz.byte_alphabet import gpt2_alphabet
from mkdocs_attnviz.models.inputs.characters import TokenText, token_texts

Alphabet = Literal["", "gpt2", "latin1"]
BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>|<\|byte(\d{1,3})\|>")
HEX_TOKEN = re.compile(r"(?:[0-9a-f]{2})+")


@cache
def _alphabet(name: Alphabet) -> Mapping[str, int]:
    """Return the byte of each character of an alphabet; Latin-1 is ByT5's."""
    return gpt2_alphabet() if name == "gpt2" else {chr(byte): byte for byte in range(0x100)}


@dataclass(frozen=True)
class Marks:
    """The marks in the tokens of one vocabulary."""

    space: str = ""
    """The character that stands for a space, such as SentencePiece's `▁`."""
    piece: str = ""
    """The beginning of a token that continues a word, such as WordPiece's `##`."""
    unfinished: str = ""
    """The end of a token whose word continues, such as CTRL's `@@`."""
    word_end: str = ""
    """The end of a token that ends a word, such as XLM's `</w>`."""
    alphabet: Alphabet = ""
    """The alphabet of bytes that tokens are written in; '' if there is none."""
    byte_tokens: bool = False
    """True if `<0x0A>` is a byte."""
    hexadecimal: bool = False
    """True if all tokens are bytes in hexadecimal digits, as MyT5's are."""
    joined: bool = False
    """True if tokens are joined without spaces, so that a space is a token of its own."""

    def content(self, token: str) -> bytes:
        """Return the UTF-8 bytes that a token adds to a text; those of pieces of words include their marks."""
        byte = BYTE_TOKEN.fullmatch(token) if self.byte_tokens else None
        if byte:
            return bytes([int(byte[1], 16) if byte[1] else int(byte[2]) % 256])
        if self.hexadecimal and HEX_TOKEN.fullmatch(token):
            return bytes.fromhex(token)
        token = token.removesuffix(self.word_end)
        letters = _alphabet(self.alphabet) if self.alphabet else {}
        if letters and all(letter in letters for letter in token):
            return bytes(letters[letter] for letter in token)
        return (token.replace(self.space, " ") if self.space else token).encode("utf-8", "surrogatepass")

    def read(self, tokens: Sequence[str], special: Collection[int], contents: Sequence[bytes]) -> list[TokenText]:
        """Return consecutive tokens as a reader should see them, given the bytes that each adds to the text.

        No character spans a special token.
        """
        texts: list[TokenText] = []
        for apart, group in groupby(range(len(tokens)), lambda n: n in special):
            positions = list(group)
            together = [[contents[n]] for n in positions] if apart else [[contents[n] for n in positions]]
            texts += [text for run in together for text in token_texts(run)]
        if not (self.piece or self.unfinished):
            return texts
        return [self._unmarked(token, text) for token, text in zip(tokens, texts, strict=True)]

    def _unmarked(self, token: str, text: TokenText) -> TokenText:
        """Return what a token adds to a text without the mark of a piece of a word."""
        if self.piece and token.startswith(self.piece):
            return TokenText(text.pretty, text.text.removeprefix(self.piece))
        if self.unfinished and token.endswith(self.unfinished):
            return TokenText(text.pretty, text.text.removesuffix(self.unfinished))
        return text

    def words(self, tokens: Sequence[str], special: Sequence[int]) -> list[int | None]:
        """Return the index of each token's word: None for special tokens, and None for all if no token has a mark."""
        apart, words, word = set(special), list[int | None](), -1
        marked = self.joined or any(self._marked(token) for n, token in enumerate(tokens) if n not in apart)
        for n, token in enumerate(tokens):
            if n in apart or not marked:
                words.append(None)
                continue
            word += not (n > 0 and words[-1] is not None and self._continues(tokens[n - 1], token))
            words.append(word)
        return words

    def _continues(self, before: str, token: str) -> bool:
        """Return whether `token` is a further piece of the word that the token `before` belongs to."""
        if self.piece:
            return token.startswith(self.piece)
        if self.unfinished:
            return before.endswith(self.unfinished)
        if self.word_end:
            return not before.endswith(self.word_end)
        return not (self._space and token.startswith(self._space))

    @property
    def _space(self) -> str:
        return "Ġ" if self.alphabet == "gpt2" else self.space

    def _marked(self, token: str) -> bool:
        start = self.piece or self._space
        end = self.unfinished or self.word_end
        return (bool(start) and token.startswith(start)) or (bool(end) and token.endswith(end))


_known: WeakKeyDictionary[Any, tuple[int, Marks]] = WeakKeyDictionary()
"""The size of a tokenizer's vocabulary and its marks, which take 3 ms to find: more than to run a sentence."""


def marks_of(tokenizer: Any) -> Marks:
    """Return the marks of a tokenizer of transformers."""
    size = len(tokenizer)
    if tokenizer not in _known or _known[tokenizer][0] != size:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        _known[tokenizer] = size, _by_joining(tokenizer) if backend is None else _by_parts(tokenizer, backend)
    return _known[tokenizer][1]


def guess_marks(tokens: Sequence[str]) -> Marks:
    """Return the marks that tokens without a tokenizer seem to have; the first marks that are found decide."""
    if any(token.startswith("##") and len(token) > 2 for token in tokens):
        return Marks(piece="##")
    if any(token.startswith("▁") for token in tokens):
        return Marks(space="▁", byte_tokens=True)
    if any(token.startswith("Ġ") for token in tokens):
        return Marks(alphabet="gpt2") if _are_bytes(tokens) else Marks(space="Ġ")
    if any(token.endswith("</w>") for token in tokens):
        return Marks(word_end="</w>")
    if any(token.endswith("@@") and len(token) > 2 for token in tokens):
        return Marks(unfinished="@@")
    return Marks()


def _are_bytes(tokens: Sequence[str]) -> bool:
    """Return whether tokens in GPT-2's alphabet are UTF-8 together."""
    marks = Marks(alphabet="gpt2")
    try:
        b"".join(map(marks.content, tokens)).decode()
    except UnicodeDecodeError:
        return False
    return True


def _by_parts(tokenizer: Any, backend: Any) -> Marks:
    """Return the marks of a fast tokenizer, read from its normalizer, pre-tokenizer, model and decoder."""
    model = backend.model
    decoder = list(_parts(backend.decoder))
    parts = [*_parts(backend.normalizer), *_parts(backend.pre_tokenizer), *decoder]
    types = {part["type"] for part in parts}
    spaces = [part["replacement"] for part in parts if part["type"] == "Metaspace"]
    spaces += [part["pattern"]["String"] for part in decoder if _replaces(part) and part["content"] == " "]
    spaces += [part["content"] for part in parts if _replaces(part) and part["pattern"]["String"] == " "]
    ends = [part["suffix"] for part in decoder if part["type"] == "BPEDecoder"]
    prefixes = [part["prefix"] for part in decoder if part["type"] == "WordPiece"]
    fallback = "ByteFallback" in types or bool(getattr(model, "byte_fallback", False))
    return Marks(
        space=next((space for space in spaces if len(space) == 1 and not space.isspace()), ""),
        piece=getattr(model, "continuing_subword_prefix", None) or next(iter(prefixes), ""),
        word_end=getattr(model, "end_of_word_suffix", None) or next(iter(ends), ""),
        alphabet="gpt2" if "ByteLevel" in types else "",
        byte_tokens=fallback or _has_all_bytes(tokenizer),
    )


def _replaces(part: Mapping[str, Any]) -> bool:
    return part["type"] == "Replace" and "String" in part["pattern"]


def _parts(component: Any) -> Iterator[dict[str, Any]]:
    """Yield the description of a component of a fast tokenizer, and of those within it.

    A component that is written in Python has no description.
    """
    try:
        waiting = [] if component is None else [json.loads(component.__getstate__())]
    except Exception:  # a foreign component may raise anything
        waiting = []
    while waiting:
        part = waiting.pop()
        yield part
        waiting += [
            value for values in part.values() if isinstance(values, list) for value in values if _is_part(value)
        ]


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and "type" in value


def _by_joining(tokenizer: Any) -> Marks:
    """Return the marks of a slow tokenizer, found by letting it join tokens."""

    def join(*tokens: str) -> str:
        try:
            return str(tokenizer.convert_tokens_to_string(list(tokens))).strip()
        except Exception:  # a tokenizer's own code gets tokens that it may not know
            return ""

    joined = join("a", "b") == "ab"
    sentencepiece = any(hasattr(tokenizer, name) for name in ("sp_model", "spm_source"))
    return Marks(
        space="▁" * (sentencepiece or join("▁a", "▁b") == "a b"),
        piece=next((mark for mark in ("##", "@@") if not joined and join("a", f"{mark}b") == "ab"), ""),
        unfinished="@@" * (not joined and join("a@@", "b") == "ab"),
        word_end="</w>" * (join("a</w>", "b</w>") == "a b"),
        alphabet="" if join("Ã", "©") != "é" else "gpt2" if join("aĠb") == "a b" else "latin1",
        byte_tokens=_has_all_bytes(tokenizer) or join("<0xC3>", "<0xA9>") == "é",
        hexadecimal=join("c3", "a9") == "é",
        joined=joined or join("c3", "a9") == "é",
    )


def _has_all_bytes(tokenizer: Any) -> bool:
    """Return whether the vocabulary has a token such as `<0x0A>` for every byte."""
    try:
        known = [
            tokenizer.convert_tokens_to_ids([form.format(byte) for byte in range(0x100)])
            for form in ("<0x{:02X}>", "<|byte{}|>")
        ]
    except Exception:  # a tokenizer's own code may raise anything
        return False
    return any(len(set(ids)) == 0x100 and None not in ids for ids in known)
