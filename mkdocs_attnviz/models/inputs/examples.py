"""An author's inputs as a model reads them, including the decoder's side of an encoder–decoder.

A decoder reads the tokens it has written so far. The author gives them (`text_target`: teacher forcing, with ids as the
model itself makes them from labels), or they are the model's own greedy output. One forward pass over them gives the
same attention as step-by-step generation.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.errors import too_long
from mkdocs_attnviz.models.inputs.conversations import apply_chat_template, turns
from mkdocs_attnviz.models.inputs.generation import generate
from mkdocs_attnviz.models.inputs.languages import KEYS, language_options, set_languages
from mkdocs_attnviz.models.inputs.tokens import (
    Example,
    Spans,
    Tokens,
    append_generated,
    in_sequence,
    special_positions,
    target_words,
    token_names,
    tokenize,
)
from mkdocs_attnviz.models.loading import lengths
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.loading.special_tokens import special_ids

GIVES = {"classes": "classes", "labels": "labels", "answer": "answers"}
"""The results of models with a classification head, by task, as messages name them."""

TOGETHER = 4
"""The number of `max_tokens` that further texts may have in all; they are in memory together."""


def example(loaded: Loaded, inputs: Mapping[str, Any], max_tokens: int, other: Loaded | None = None) -> Example:
    """Return the tokens of a block's texts, including those that the model generates if it is asked to.

    A second model, `other`, reads the same. If only one of the two has a decoder, the decoder reads nothing, since
    there is nothing to compare it with.

    Raises:
        ValueError: a text is too long for the site or the model, or is no input for this model.
    """
    how = {name: value for name, value in inputs.items() if name in ("generate", *KEYS)}
    more = _further(loaded, how, inputs.get("more_texts", ()), max_tokens)
    decoding = other is None or (loaded.encoder_decoder and other.encoder_decoder)
    with set_languages(loaded, inputs):
        read = _example(loaded, inputs, max_tokens, decoding=decoding)
    if other is None:
        return replace(read, more=tuple(more))
    with set_languages(other, inputs, required=False):
        beside = _example(other, inputs, max_tokens, decoding=decoding)
    return replace(read, more=tuple(more), other=beside)


def _further(loaded: Loaded, how: Mapping[str, Any], texts: Sequence[str], max_tokens: int) -> list[Example]:
    """Return the further texts as examples.

    Raises:
        ValueError: the model cannot read one of them (named by its number), or they are too long in all.
    """
    examples = []
    for number, text in enumerate(texts, 2):
        try:
            with set_languages(loaded, how):
                examples.append(_example(loaded, {**how, "text": text}, max_tokens, decoding=True))
        except ValueError as error:
            raise WrongValue("more_texts", f"`more_texts`, text {number}: {error}") from None
    total, limit = sum(len(further.text.ids) for further in examples), TOGETHER * max_tokens
    if total > limit:
        raise WrongValue(
            "more_texts",
            f"`more_texts` has {total} tokens in all; {TOGETHER} times `max_tokens`, {limit}, are the most.",
        )
    return examples


def _example(loaded: Loaded, inputs: Mapping[str, Any], max_tokens: int, *, decoding: bool) -> Example:
    """Return one text as an example; `decoding` tells whether a decoder reads anything.

    Raises:
        ValueError: the text is too long, or a key does not fit the model.
    """
    text = _checked(loaded, "text", text_tokens(loaded, inputs), max_tokens)
    target_text, generate = inputs.get("text_target"), inputs.get("generate")
    if not loaded.encoder_decoder and generate is not None:
        text = _checked(loaded, "text", _continue_text(loaded, text, inputs), max_tokens)
    if not loaded.encoder_decoder:
        if target_text is not None:
            raise WrongValue(
                "text_target",
                f"Model {loaded.ref.name!r} has no decoder beside an encoder; `text_target` is for models that turn "
                "one text into another.",
            )
        return Example(text)
    if loaded.reads_again:
        for key in ("text_target", "generate"):
            if key in inputs:
                raise WrongValue(
                    key,
                    f"Model {loaded.ref.name!r} gives a text {GIVES[loaded.task or '']} and writes none, "
                    f"so no `{key}`.",
                )
        return Example(text)
    if not decoding:
        return Example(text)
    target = (
        _generated_target(loaded, text, max_tokens, inputs)
        if target_text is None
        else target_tokens(loaded, target_text)
    )
    return Example(text, _checked(loaded, "target", target, max_tokens))


def text_tokens(loaded: Loaded, inputs: Mapping[str, Any]) -> Tokens:
    """Return the tokens of a text, or of a conversation as the chat template writes it, with special tokens.

    Raises:
        ValueError: the tokenizer has no chat template, or the conversation does not fit it.
    """
    if "chat" not in inputs:
        return tokenize(loaded.tokenizer, inputs["text"], inputs.get("text_pair"))
    if not getattr(loaded.tokenizer, "chat_template", None):
        raise WrongValue(
            "chat", f"`chat` needs a chat template, and the tokenizer of model {loaded.ref.name!r} has none."
        )
    try:
        text, date = apply_chat_template(loaded.tokenizer, inputs)
    except Exception as error:  # the template may raise anything
        raise WrongValue(
            "chat", f"`chat` does not fit the chat template of model {loaded.ref.name!r}: {error}"
        ) from None
    read = tokenize(loaded.tokenizer, text, None, add_special_tokens=False)
    return replace(read, date=date, turns=_turns(loaded, inputs, read))


def _turns(loaded: Loaded, inputs: Mapping[str, Any], read: Tokens) -> list[tuple[str, int]] | None:
    """Return the turns of a conversation, each with the position of its first token; None if they are not known."""
    if read.spans is None:
        return None
    ends = [-1 if span is None else span[1] for span in read.spans.spans]
    found = []
    for role, start in turns(loaded.tokenizer, inputs, read.spans.text):
        found.append((role, next((n for n, end in enumerate(ends) if end > start), len(ends))))
    return found or None


def _checked(loaded: Loaded, what: str, read: Tokens, max_tokens: int) -> Tokens:
    """Return the input, with the length that the model was made for if the input is longer.

    Raises:
        ValueError: it is too long, or has a token that the model does not know.
    """
    key = "text" if what == "text" else "text_target"
    tokens, limit = len(read.ids), loaded.longest if what == "text" else loaded.longest_target
    if problem := too_long(tokens, max_tokens, what):
        raise WrongValue(key, problem)
    if limit is not None and tokens > limit:
        raise WrongValue(key, f"The {what} has {tokens} tokens; model {loaded.ref.name!r} reads at most {limit}.")
    rows = lengths.rows(loaded.model)
    unknown = [] if rows is None else [at for at, token in enumerate(read.ids) if token >= rows]
    if unknown:
        at = unknown[0]
        raise WrongValue(
            "text",
            f"The tokenizer of model {loaded.ref.name!r} gives {read.tokens[at]!r} the number {read.ids[at]}, and the "
            f"model knows tokens 0 to {(rows or 0) - 1}: its tokenizer and its weights do not belong together.",
        )
    usual = lengths.usual(loaded.tokenizer)
    return replace(read, usual=usual) if usual is not None and tokens > usual else read


def target_tokens(loaded: Loaded, text: str) -> Tokens:
    """Return the decoder's input for an output that the author gives.

    Raises:
        ValueError: the output gives no tokens.
    """
    labels = list(loaded.tokenizer(text_target=text, truncation=False, verbose=False)["input_ids"])
    if not labels:
        raise WrongValue("text_target", "`text_target` gives no tokens.")
    return _target(loaded, shift_right(loaded, labels), labels, text)


def _continue_text(loaded: Loaded, text: Tokens, inputs: Mapping[str, Any]) -> Tokens:
    """Return a text with its continuation by the model.

    Raises:
        ValueError: the model does not write, or the text leaves no room.
    """
    if not loaded.model.can_generate():
        kind = loaded.model.config.model_type
        raise WrongValue(
            "generate", f"`generate` needs a model that writes, which {loaded.ref.name!r} ({kind}) is not."
        )
    room = (loaded.longest or 10**9) - len(text.ids)
    if room < 1:
        raise WrongValue(
            "text", f"The text has {len(text.ids)} tokens, and model {loaded.ref.name!r} can have no more."
        )
    written = _generated(loaded, text, inputs, _limited(room, inputs["generate"]))
    return append_generated(loaded.tokenizer, text, written[len(text.ids) :])


def _limited(room: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `generate` with no more new tokens than there is room for."""
    limits = {name: min(how[name], room) for name in ("min_new_tokens", "max_new_tokens") if name in how}
    return {**how, **limits}


def _generated(
    loaded: Loaded, text: Tokens, inputs: Mapping[str, Any], how: Mapping[str, Any], **more: Any
) -> list[int]:
    return generate(loaded, collate(loaded, [Example(text)]), how, language_options(loaded, inputs) | more)


def _generated_target(loaded: Loaded, text: Tokens, max_tokens: int, inputs: Mapping[str, Any]) -> Tokens:
    """Return the decoder's input for the model's own output; by default, each token is the most likely one.

    Raises:
        ValueError: the model cannot write, or its output does not end.
    """
    how = inputs.get("generate")
    if not loaded.model.can_generate():
        raise WrongValue("text", f"Model {loaded.ref.name!r} cannot write: its decoder needs `text_target`.")
    if how is not None:
        written = _generated(loaded, text, inputs, _limited(loaded.longest_target or 10**9, how))
    else:
        most = min(max_tokens, loaded.longest_target or max_tokens)
        # An end that the model's configuration forces at the last token would hide that there was none.
        limit = {"max_length": most + 1, "max_new_tokens": None}
        written = _generated(loaded, text, inputs, limit, forced_eos_token_id=None)
        if len(written) > most and written[-1] not in _ends(loaded):
            name = loaded.ref.name
            raise WrongValue(
                "text", f"Model {name!r} has written {most} tokens and come to no end; give it a `text_target`."
            )
    apart = special_ids(loaded.tokenizer)
    output = loaded.tokenizer.decode([token for token in written if token not in apart])
    return _target(loaded, written[:-1], written[1:], output)


def _ends(loaded: Loaded) -> set[int]:
    """Return the ids of tokens that end an output."""
    end = loaded.model.generation_config.eos_token_id
    return set(end) if isinstance(end, list) else {end}


def _target(loaded: Loaded, ids: list[int], labels: list[int], text: str) -> Tokens:
    """Return the decoder's side. `ids` are its input; `labels` are the tokens it is to write, one position ahead."""
    tokenizer = loaded.tokenizer
    words, spans = target_words(tokenizer, labels, text)
    follows = ids[1:] == labels[:-1]  # the input is the output so far
    apart = sorted({0, *special_positions(tokenizer, ids)})
    read, written = (
        in_sequence(tokenizer, ids, apart),
        in_sequence(tokenizer, labels, special_positions(tokenizer, labels)),
    )
    return Tokens(
        ids=ids,
        type_ids=None,
        tokens=token_names(tokenizer, ids),
        pretty=[token.pretty for token in read],
        special=apart,
        sentence_b_start=None,
        words=[None, *words[:-1]] if follows else [None] * len(ids),
        next=[token.pretty for token in written],
        labels=labels,
        spans=Spans(spans.text, [None, *spans.spans[:-1]]) if follows and spans else None,
        texts=[token.text for token in read],
    )


def shift_right(loaded: Loaded, labels: list[int]) -> list[int]:
    """Return the decoder's input ids for these labels, by the model's own code if it has any.

    Raises:
        ValueError: the model does not tell which token its decoder starts with.
    """
    label_ids = torch.tensor([labels], device=loaded.device)
    if hasattr(loaded.model, "prepare_decoder_input_ids_from_labels"):
        ids = loaded.model.prepare_decoder_input_ids_from_labels(labels=label_ids)
        return list(map(int, ids[0].tolist()))
    ids = _decoder_input(loaded, label_ids)
    if ids is not None:
        return list(map(int, ids[0].tolist()))
    config = loaded.model.config
    start = getattr(config, "decoder_start_token_id", None)
    start = getattr(config.get_text_config(decoder=True), "bos_token_id", None) if start is None else start
    if start is None:
        raise WrongValue("text", f"Model {loaded.ref.name!r} does not say with which token its decoder starts.")
    return [int(start), *labels[:-1]]


class _Reached(Exception):
    pass


def _decoder_input(loaded: Loaded, labels: torch.Tensor) -> torch.Tensor | None:
    """Return the ids that the decoder gets when the model gets labels, or None. The pass is aborted there."""
    if "labels" not in accepted_arguments(loaded.model):
        return None
    seen: list[torch.Tensor] = []

    def look(_: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is not None:
            seen.append(ids)
        raise _Reached

    hook = loaded.model.get_decoder().register_forward_pre_hook(look, with_kwargs=True)
    try:
        with torch.inference_mode():
            loaded.model(input_ids=labels, labels=labels)
    except _Reached:
        pass
    finally:
        hook.remove()
    return seen[0] if seen else None


def accepted_arguments(model: Any) -> set[str]:
    """Return the names of the arguments that the model's forward accepts."""
    return set(inspect.signature(model.forward).parameters)


def collate(loaded: Loaded, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Return one batch, padded on the right, where no earlier position is affected."""
    texts = [example.text for example in examples]
    inputs = {
        "input_ids": _rows(loaded, [text.ids for text in texts], loaded.pad),
        "attention_mask": _rows(loaded, [[1] * len(text.ids) for text in texts], 0),
    }
    if texts[0].type_ids is not None:
        inputs["token_type_ids"] = _rows(loaded, [text.type_ids or [] for text in texts], 0)
    targets = [example.target for example in examples if example.target is not None]
    if targets:
        inputs["decoder_input_ids"] = _rows(loaded, [target.ids for target in targets], loaded.pad)
        inputs["decoder_attention_mask"] = _rows(loaded, [[1] * len(target.ids) for target in targets], 0)
    arguments = accepted_arguments(loaded.model)
    return {name: value for name, value in inputs.items() if name in arguments or "kwargs" in arguments}


def _rows(loaded: Loaded, lists: list[list[int]], fill: int) -> torch.Tensor:
    longest = max(map(len, lists))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in lists], device=loaded.device)  # (B, T)
