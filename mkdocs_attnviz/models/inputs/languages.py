"""The source and target language of multilingual models: NLLB, mBART, M2M100, PLBart, SeamlessM4T.

Their tokenizers add a token for the language to a text, and their decoders begin with that of the target language.
Without a setting, a tokenizer reads every text as English. So a block must name the language, unless the model's own
files do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.loading.loaded import Loaded

KEYS = ("src_lang", "tgt_lang")
DEFAULTS = {"en", "en_XX", "eng", "eng_Latn", "__en_XX__", "__eng__"}
"""The source languages that tokenizers assume by default and write into their files."""
CODE = re.compile(r"(?:__)?([a-z]{2,8}(?:_[A-Za-z]{2,4})?)(?:__)?")
"""The form of a language's token: `deu_Latn`, `de_DE`, `__de__`, `__java__`."""


@contextmanager
def set_languages(loaded: Loaded, inputs: Mapping[str, Any], *, required: bool = True) -> Iterator[None]:
    """Set the tokenizer to the block's languages inside the `with` block.

    Raises:
        ValueError: the model has no such language or no choice of languages, or the source language is not given.
    """
    tokenizer = loaded.tokenizer
    if not has_languages(tokenizer):
        key_given = next((key for key in KEYS if key in inputs), None)
        if key_given and required:
            raise WrongValue(
                key_given,
                f"`{key_given}` is for models that translate between many languages, and the tokenizer of model "
                f"{loaded.ref.name!r} has none to choose from.",
            )
        yield
        return
    before = {key: getattr(tokenizer, f"_{key}", getattr(tokenizer, key, None)) for key in KEYS}
    wanted = {key: inputs.get(key) or _fixed_language(tokenizer, key) for key in KEYS}
    if wanted["src_lang"] is None:
        raise WrongValue(
            "text",
            f"Model {loaded.ref.name!r} reads many languages, and does not say which one the text is in; give it a "
            f"`src_lang`, like {_example_codes(tokenizer)}.",
        )
    try:
        for key, code in wanted.items():
            if code is not None:
                token(loaded, key, code)
                setattr(tokenizer, key, code)
        tokenizer.set_src_lang_special_tokens(tokenizer.src_lang)
        yield
    finally:
        for key, code in before.items():
            setattr(tokenizer, f"_{key}" if hasattr(tokenizer, f"_{key}") else key, code)
        tokenizer.set_src_lang_special_tokens(tokenizer.src_lang)


def has_languages(tokenizer: Any) -> bool:
    """Return whether a tokenizer marks its texts with one of several languages."""
    return hasattr(tokenizer, "set_src_lang_special_tokens")


def language_options(loaded: Loaded, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `generate` that make the decoder begin with the target language.

    Raises:
        ValueError: the target language is neither given nor fixed by the model's files.
    """
    tokenizer, config = loaded.tokenizer, loaded.model.generation_config
    if not has_languages(tokenizer):
        return {}
    code = inputs.get("tgt_lang") or _fixed_language(tokenizer, "tgt_lang")
    if code is None:
        if getattr(config, "forced_bos_token_id", None) is not None:
            return {}
        raise WrongValue(
            "text",
            f"Model {loaded.ref.name!r} writes many languages, and does not say which; give it a `tgt_lang`, like "
            f"{_example_codes(tokenizer)}.",
        )
    token_id = token(loaded, "tgt_lang", code)
    if getattr(config, "text_decoder_lang_to_code_id", None):  # the `generate` of SeamlessM4T takes the language itself
        return {"tgt_lang": code.strip("_")}
    if loaded.model.config.model_type in ("mbart", "plbart") and _ends_with(tokenizer, code, token_id):
        return {"decoder_start_token_id": token_id}
    return {"forced_bos_token_id": token_id}


def token(loaded: Loaded, key: str, code: str) -> int:
    """Return the id of a language's token.

    Raises:
        ValueError: the model has no such language.
    """
    known = codes(loaded.tokenizer)
    if code in known:
        return known[code]
    near = difflib.get_close_matches(code, known, n=3, cutoff=0.5) or sorted(known)[:3]
    raise WrongValue(
        key,
        f"`{key}` is {code!r}, which is none of the {len(known)} languages of model {loaded.ref.name!r}; its codes are "
        f"like {', '.join(near)}.",
    )


def codes(tokenizer: Any) -> dict[str, int]:
    """Return the ids of a tokenizer's language tokens, by the codes of the languages."""
    own = getattr(tokenizer, "lang_code_to_token", None)
    if own is not None:  # M2M100
        return {code: int(tokenizer.convert_tokens_to_ids(name)) for code, name in own.items()}
    special = {str(name) for name in tokenizer.all_special_tokens}
    special |= {str(name) for name in tokenizer.get_added_vocab()} | set(getattr(tokenizer, "lang_code_to_id", ()))
    ids = {}
    for name in special:
        match = CODE.fullmatch(name)
        if match and (name.startswith("__") or "_" in name):
            ids[name] = ids[match[1]] = int(tokenizer.convert_tokens_to_ids(name))
    return ids


def _fixed_language(tokenizer: Any, key: str) -> str | None:
    """Return the language that a tokenizer's own files fix, or None."""
    language = getattr(tokenizer, "init_kwargs", {}).get(key)
    fixed = isinstance(language, str) and language and not (key == "src_lang" and language in DEFAULTS)
    return language if fixed else None


def _example_codes(tokenizer: Any) -> str:
    known = sorted(codes(tokenizer), key=lambda code: (not code.startswith(("de", "fr", "en")), code))
    return ", ".join(known[:3])


def _ends_with(tokenizer: Any, code: str, token_id: int) -> bool:
    """Return whether the language token follows a target text, so that the decoder begins with that token alone."""
    tokenizer.set_tgt_lang_special_tokens(code)
    try:
        return bool(tokenizer.suffix_tokens and tokenizer.suffix_tokens[-1] == token_id)
    finally:
        tokenizer.set_src_lang_special_tokens(tokenizer.src_lang)
