"""Entries whose tokens an earlier version told wrongly.

What an entry says of its tokens has changed for few vocabularies and few texts, and the keys of all others must stay.
Neither a key nor a lock file knows the tokenizer, and a machine that only draws has none of its files. So an entry says
which version told its tokens, and one from before is given up only where its own tokens show that they may be wrong. It
is then computed anew under its key, like a damaged one.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from mkdocs_attnviz.cache.entry import Entry

TOKEN_VERSION = 3
OUTDATED = "an earlier version has told some of its tokens wrongly"

BYTE = re.compile(r"‹[0-9A-F]{2}›")
BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>|<\|byte\d+\|>")
LIKE_SPECIAL = re.compile(r"(?s)[<\[{]\S.*[>\]}]|\|.+\||>>.+<<|__.+__|[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")
HEXADECIMAL = re.compile(r"(?:[0-9a-f]{2})+")
NAMES = ("predictions", "lens")
"""Blobs with the names of tokens that a model held likely."""
MOST = 1 << 24
"""Bytes of such a blob that are looked at."""


def outdated(entry: Entry) -> str:
    """Return why an entry is not to be used any more, or nothing if it may be."""
    sequences = entry.meta.get("sequences")
    if not isinstance(sequences, Mapping) or _of_own_tensors(entry):
        return ""
    old = [each for each in sequences.values() if isinstance(each, Mapping) and "version" not in each]
    try:
        wrong = any(map(_wrong, old)) or (bool(old) and any(_names_bytes(entry.blobs.get(name)) for name in NAMES))
        wrong = wrong or _explains_a_piece(entry)
    except (KeyError, TypeError, AttributeError):  # no entry of ours; whoever reads it says so
        return ""
    return OUTDATED if wrong else ""


def _explains_a_piece(entry: Entry) -> bool:
    """Return whether `token` or `contrast` may have been read as a piece inside of words rather than as the word."""
    key = entry.meta.get("key")
    named = [part[1] for part in key if part[0] == "parameters"] if isinstance(key, list) else []
    if not any(isinstance(each, Mapping) and ("token" in each or "contrast" in each) for each in named):
        return False
    sequences = entry.meta["sequences"].values()
    marked = any(token.startswith("▁") for each in sequences for token in each["tokens"])
    return marked and any(each.get("version", 1) < 3 for each in sequences)


def _of_own_tensors(entry: Entry) -> bool:
    key = entry.meta.get("key")
    return isinstance(key, list) and ["capture", "tensors"] in key


def _wrong(sequence: Mapping[str, Any]) -> bool:
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
    """Return whether letters may have been taken for marks of another vocabulary."""
    from mkdocs_attnviz.models.inputs.marks import gpt2_alphabet  # few entries are so old

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
    """Return whether words may be marked at their ends, which nobody looked at."""
    return any(token.endswith(("@@", "</w>")) for token in tokens)


def _characters(tokens: Sequence[str]) -> bool:
    """Return whether tokens may be bytes or characters, which were taken for words."""
    if tokens and all(map(HEXADECIMAL.fullmatch, tokens)):
        return True
    return all(len(each) == 1 for each in tokens) and any(each.isspace() or not each.isascii() for each in tokens)


def _names_bytes(blob: bytes | None) -> bool:
    if blob is None:
        return False
    with contextlib.suppress(zlib.error):
        return BYTE_TOKEN.search(zlib.decompressobj().decompress(blob, MOST).decode("utf-8", "replace")) is not None
    return False
