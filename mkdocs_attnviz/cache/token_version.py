"""The detection of entries whose tokens an earlier version recorded wrongly.

The way in which tokens are recorded has changed for a few vocabularies and texts, and all other keys must stay valid.
Neither the key nor the lock file identifies the tokenizer, and a machine that only draws has none of its files. So each
entry records the version that described its tokens. An older entry is given up only if its own tokens show that they
may be wrong. It is then computed again under the same key, like a damaged entry.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from mkdocs_attnviz.byte_alphabet import gpt2_alphabet
from mkdocs_attnviz.cache.entry import Entry

TOKEN_VERSION = 3
OUTDATED = "an earlier version recorded some of its tokens wrongly"

BYTE = re.compile(r"‹[0-9A-F]{2}›")
BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>|<\|byte\d+\|>")
LIKE_SPECIAL = re.compile(r"(?s)[<\[{]\S.*[>\]}]|\|.+\||>>.+<<|__.+__|[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")
HEXADECIMAL = re.compile(r"(?:[0-9a-f]{2})+")
NAMES = ("predictions", "lens")
"""The blobs that contain names of likely tokens. No other capture is old enough to have entries without a version."""
MOST = 1 << 24
"""The number of bytes of such a blob that are checked."""


def outdated(entry: Entry) -> str:
    """Return why an entry must not be used any more; the text is empty if it may be used."""
    sequences = entry.meta.get("sequences")
    if not isinstance(sequences, Mapping) or _of_own_tensors(entry):
        return ""
    old = [sequence for sequence in sequences.values() if isinstance(sequence, Mapping) and "version" not in sequence]
    try:
        wrong = any(map(_wrong, old)) or (bool(old) and any(_names_bytes(entry.blobs.get(name)) for name in NAMES))
        wrong = wrong or _explains_a_piece(entry)
    except (KeyError, TypeError, AttributeError):  # not an entry of ours; the caller reports it when it reads the entry
        return ""
    return OUTDATED if wrong else ""


def _explains_a_piece(entry: Entry) -> bool:
    """Return whether `token` or `contrast` may have been read as a piece inside a word rather than as the word."""
    key = entry.meta.get("key")
    parameters = [part[1] for part in key if part[0] == "parameters"] if isinstance(key, list) else []
    if not any(isinstance(item, Mapping) and ("token" in item or "contrast" in item) for item in parameters):
        return False
    sequences = entry.meta["sequences"].values()
    marked = any(token.startswith("▁") for item in sequences for token in item["tokens"])
    return marked and any(item.get("version", 1) < 3 for item in sequences)


def _of_own_tensors(entry: Entry) -> bool:
    """Return whether the entry was made from an author's own tensors."""
    key = entry.meta.get("key")
    return isinstance(key, list) and ["capture", "tensors"] in key


def _wrong(sequence: Mapping[str, Any]) -> bool:
    """Return whether an earlier version may have described the tokens of this sequence wrongly."""
    tokens, pretty = sequence["tokens"], sequence["pretty"]
    special = set(sequence["special"])
    words = [token for n, token in enumerate(tokens) if n not in special]
    unknown = all(word is None for word in sequence["words"])
    return (
        any(BYTE.search(token) for token in [*pretty, *(sequence.get("next") or [])])
        or any(map(BYTE_TOKEN.fullmatch, words))
        or any(map(LIKE_SPECIAL.fullmatch, words))
        or _foreign_marks(words)
        or (unknown and (_ends(words) or _characters(words)))
    )


def _foreign_marks(tokens: Sequence[str]) -> bool:
    """Return whether an earlier version may have taken letters for word boundary marks of another vocabulary."""
    pieces = any(token.startswith("##") for token in tokens)
    byte_level = not pieces and all(
        character in gpt2_alphabet() or character.isspace() for token in tokens for character in token
    )
    sentencepiece = any(token.startswith("▁") for token in tokens) and not pieces
    return any(
        ("Ġ" in token and not byte_level)
        or ("▁" in token and not sentencepiece)
        or ("</w>" in token and (sentencepiece or pieces or not token.endswith("</w>")))
        for token in tokens
    )


def _ends(tokens: Sequence[str]) -> bool:
    """Return whether tokens have marks at the ends of words, which earlier versions ignored."""
    return any(token.endswith(("@@", "</w>")) for token in tokens)


def _characters(tokens: Sequence[str]) -> bool:
    """Return whether tokens may be bytes or characters, which earlier versions took for words."""
    if tokens and all(map(HEXADECIMAL.fullmatch, tokens)):
        return True
    return all(len(token) == 1 for token in tokens) and any(token.isspace() or not token.isascii() for token in tokens)


def _names_bytes(blob: bytes | None) -> bool:
    """Return whether a blob contains the name of a byte token."""
    if blob is None:
        return False
    with contextlib.suppress(zlib.error):
        return BYTE_TOKEN.search(zlib.decompressobj().decompress(blob, MOST).decode("utf-8", "replace")) is not None
    return False
