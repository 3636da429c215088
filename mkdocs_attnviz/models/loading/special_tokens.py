"""The special tokens of a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of all special tokens.

    They have a role, such as `[CLS]`, or were added as special without one, such as Llama 3's `<|eot_id|>` and M2M100's
    languages.
    """
    added = added_tokens(tokenizer)
    languages = getattr(tokenizer, "id_to_lang_token", {})
    return {*tokenizer.all_special_ids, *languages, *(token_id for token_id, token in added.items() if token.special)}


def added_tokens(tokenizer: Any) -> Mapping[int, Any]:
    """Return the tokens that were added to the vocabulary; none if the tokenizer does not tell, as mistral-common's."""
    try:
        tokens_by_id: Mapping[int, Any] = tokenizer.added_tokens_decoder
    except (AttributeError, NotImplementedError):
        return {}
    return tokens_by_id
