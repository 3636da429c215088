"""A model's tokenizer. It is refused if it has no vocabulary: transformers then makes one up that knows no word."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import transformers

from mkdocs_attnviz.models.errors import Unusable, error_message
from mkdocs_attnviz.models.identity.reference import ModelRef

FILES = ("tokenizer.json", "vocab*", "*.model", "*.spm", "*merges*", "*.tiktoken", "tekken.json", "*bpe*", "dict*.txt")
"""Patterns of the names of vocabulary files."""


def tokenizer(ref: ModelRef, **where: Any) -> Any:
    """Return the model's tokenizer.

    Raises:
        Unusable: there are no files of one, or some of its files are missing.
        Exception: transformers cannot read it.
    """
    try:
        tokenizer_found = transformers.AutoTokenizer.from_pretrained(ref.path, **where)
    except ImportError as error:
        raise Unusable(f"The tokenizer of model {ref.name!r} needs a library: {error_message(error)}.") from error
    except Exception as error:
        if not ref.local:
            raise
        raise Unusable(_unread(ref, error)) from error
    if _knows_no_words(tokenizer_found):
        raise Unusable(_none(ref))
    return tokenizer_found


def _unread(ref: ModelRef, error: Exception) -> str:
    """Return a sentence that says why the tokenizer in a directory cannot be read."""
    names = {file.name for file in Path(ref.path).iterdir()}
    files = sorted(name for name in names for pattern in FILES if fnmatch(name, pattern))
    if not files:
        return _none(ref)
    if files == ["vocab.json"]:
        return f"Model {ref.name!r} has half a tokenizer: beside its vocab.json there is no merges.txt."
    return f"The tokenizer of model {ref.name!r} cannot be read from {', '.join(files)}: {error_message(error)}."


def _none(ref: ModelRef) -> str:
    return (
        f"Model {ref.name!r} has no tokenizer: beside its weights there is no vocabulary, such as tokenizer.json; "
        "save it there with `tokenizer.save_pretrained`."
    )


def _knows_no_words(tokenizer: Any) -> bool:
    """Return whether a tokenizer has only special tokens, or one piece besides them, as one that
    transformers makes up.
    """
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    return len(set(tokenizer.get_vocab()) - special) < 2
