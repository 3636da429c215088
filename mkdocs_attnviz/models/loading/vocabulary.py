"""A model's tokenizer, refused where it has no vocabulary: transformers makes one up that knows no word."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import transformers

from mkdocs_attnviz.models.errors import Unusable, said
from mkdocs_attnviz.models.identity.reference import ModelRef

FILES = ("tokenizer.json", "vocab*", "*.model", "*.spm", "*merges*", "*.tiktoken", "tekken.json", "*bpe*", "dict*.txt")
"""Names of files that hold vocabularies."""


def tokenizer(ref: ModelRef, **where: Any) -> Any:
    """Return the model's tokenizer.

    Raises:
        Unusable: there are no files of one, or not all that it needs.
        Exception: transformers cannot read it.
    """
    try:
        found = transformers.AutoTokenizer.from_pretrained(ref.path, **where)
    except ImportError as error:
        raise Unusable(f"The tokenizer of model {ref.name!r} needs a library: {said(error)}.") from error
    except Exception as error:
        if not ref.local:
            raise
        raise Unusable(_unread(ref, error)) from error
    if _knows_no_words(found):
        raise Unusable(_none(ref))
    return found


def _unread(ref: ModelRef, error: Exception) -> str:
    """Return why the tokenizer in a directory cannot be read."""
    names = {file.name for file in Path(ref.path).iterdir()}
    files = sorted(name for name in names for pattern in FILES if fnmatch(name, pattern))
    if not files:
        return _none(ref)
    if files == ["vocab.json"]:
        return f"Model {ref.name!r} has half a tokenizer: beside its vocab.json there is no merges.txt."
    return f"The tokenizer of model {ref.name!r} cannot be read from {', '.join(files)}: {said(error)}."


def _none(ref: ModelRef) -> str:
    return (
        f"Model {ref.name!r} has no tokenizer: beside its weights there is no vocabulary, such as tokenizer.json; "
        "save it there with `tokenizer.save_pretrained`."
    )


def _knows_no_words(found: Any) -> bool:
    """Return whether a tokenizer has special tokens alone, or one piece beside them: what transformers makes up."""
    special = {*found.all_special_tokens, *found.get_added_vocab()}
    return len(set(found.get_vocab()) - special) < 2
