"""The token of the vocabulary that an author names in a block, read in the same way for every key and view."""

from __future__ import annotations

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.inputs.tokens import token_names
from mkdocs_attnviz.models.loading.loaded import Loaded


def token_of(loaded: Loaded, key: str, text: str) -> int:
    """Return the token that a text is: as it stands, or with a space before it, or as the vocabulary names it.

    In a vocabulary that marks where words begin, `the` as it stands is the word, not the piece inside other words.

    Raises:
        WrongValue: the text is no token, or several; `key` is the block's key that has it.
    """
    tokenizer = loaded.tokenizer
    input_key = "text_target" if loaded.encoder_decoder else "text"
    token_lists = {}
    for tried in (text, f" {text}"):
        ids = list(tokenizer(**{input_key: tried}, add_special_tokens=False, verbose=False)["input_ids"])
        known = tokenizer.unk_token_id not in ids or text == tokenizer.unk_token
        if len(ids) == 1 and known:
            return int(ids[0])
        token_lists[tried] = ", ".join(map(repr, token_names(tokenizer, ids)))
    named = tokenizer.get_vocab().get(text)
    if named is not None:
        return int(named)
    plain, spaced = token_lists.values()
    also = f", and with a space before it as {spaced}" if spaced != plain else ""
    raise WrongValue(
        key,
        f"`{key}` has {text!r}, which is not one token of the vocabulary of model {loaded.ref.name!r}: it is read as "
        f"{plain}{also}.",
    )
