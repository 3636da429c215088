"""Source and target language of models that translate between many: NLLB, mBART, M2M100, PLBart, SeamlessM4T.

Their tokenizers put the language's own token beside a text, and their decoders begin with that of the target language.
A tokenizer that is not told reads every text as English, so a block says it, unless the model's own files do.
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
"""What tokenizers take for the source language, and write into their files, where nobody has said any."""
CODE = re.compile(r"(?:__)?([a-z]{2,8}(?:_[A-Za-z]{2,4})?)(?:__)?")
"""A language's token: `deu_Latn`, `de_DE`, `__de__`, `__java__`."""


@contextmanager
def speaking(loaded: Loaded, inputs: Mapping[str, Any], *, required: bool = True) -> Iterator[None]:
    """While this lasts, the tokenizer reads and writes the block's languages.

    Raises:
        ValueError: the model has no such language; it has none to choose from; or the source language is not said.
    """
    tokenizer = loaded.tokenizer
    if not several(tokenizer):
        given = next((key for key in KEYS if key in inputs), None)
        if given and required:
            raise WrongValue(
                given,
                f"`{given}` is for models that translate between many languages, and the tokenizer of model "
                f"{loaded.ref.name!r} has none to choose from.",
            )
        yield
        return
    before = {key: getattr(tokenizer, f"_{key}", getattr(tokenizer, key, None)) for key in KEYS}
    wanted = {key: inputs.get(key) or _told(tokenizer, key) for key in KEYS}
    if wanted["src_lang"] is None:
        raise WrongValue(
            "text",
            f"Model {loaded.ref.name!r} reads many languages, and does not say which one the text is in; give it a "
            f"`src_lang`, like {_like(tokenizer)}.",
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


def several(tokenizer: Any) -> bool:
    """Return whether a tokenizer marks its texts with a language that can be chosen."""
    return hasattr(tokenizer, "set_src_lang_special_tokens")


def started(loaded: Loaded, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `generate` that make the decoder begin with the target language.

    Raises:
        ValueError: the target language is neither said nor fixed by the model's files.
    """
    tokenizer, config = loaded.tokenizer, loaded.model.generation_config
    if not several(tokenizer):
        return {}
    code = inputs.get("tgt_lang") or _told(tokenizer, "tgt_lang")
    if code is None:
        if getattr(config, "forced_bos_token_id", None) is not None:
            return {}
        raise WrongValue(
            "text",
            f"Model {loaded.ref.name!r} writes many languages, and does not say which; give it a `tgt_lang`, like "
            f"{_like(tokenizer)}.",
        )
    found = token(loaded, "tgt_lang", code)
    if getattr(config, "text_decoder_lang_to_code_id", None):  # SeamlessM4T, whose `generate` asks for the language
        return {"tgt_lang": code.strip("_")}
    if loaded.model.config.model_type in ("mbart", "plbart") and _ends_with(tokenizer, code, found):
        return {"decoder_start_token_id": found}
    return {"forced_bos_token_id": found}


def token(loaded: Loaded, key: str, code: str) -> int:
    """Return the id of a language's token. Raises: ValueError: the model has no such language."""
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
    """Return the languages of a tokenizer as it is given them, and the ids of their tokens."""
    own = getattr(tokenizer, "lang_code_to_token", None)
    if own is not None:  # M2M100
        return {code: int(tokenizer.convert_tokens_to_ids(name)) for code, name in own.items()}
    special = {str(name) for name in tokenizer.all_special_tokens}
    special |= {str(name) for name in tokenizer.get_added_vocab()} | set(getattr(tokenizer, "lang_code_to_id", ()))
    found = {}
    for name in special:
        match = CODE.fullmatch(name)
        if match and (name.startswith("__") or "_" in name):
            found[name] = found[match[1]] = int(tokenizer.convert_tokens_to_ids(name))
    return found


def _told(tokenizer: Any, key: str) -> str | None:
    """The language that a tokenizer's own files fix."""
    told = getattr(tokenizer, "init_kwargs", {}).get(key)
    fixed = isinstance(told, str) and told and not (key == "src_lang" and told in DEFAULTS)
    return told if fixed else None


def _like(tokenizer: Any) -> str:
    known = sorted(codes(tokenizer), key=lambda code: (not code.startswith(("de", "fr", "en")), code))
    return ", ".join(known[:3])


def _ends_with(tokenizer: Any, code: str, found: int) -> bool:
    """Return whether a target's language stands after it, so that its decoder begins with that token alone."""
    tokenizer.set_tgt_lang_special_tokens(code)
    try:
        return bool(tokenizer.suffix_tokens and tokenizer.suffix_tokens[-1] == found)
    finally:
        tokenizer.set_src_lang_special_tokens(tokenizer.src_lang)
