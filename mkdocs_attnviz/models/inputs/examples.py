"""Author's inputs → what a model reads, the decoder's side of an encoder–decoder included.

A decoder reads what it has written so far. That is either given (`text_target`: teacher forcing, the ids as the model
itself makes them from labels) or the model's own greedy output. One forward pass over it gives the same attention as
writing it step by step does.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.engine.request import too_long
from mkdocs_attnviz.models.inputs.conversations import written_out
from mkdocs_attnviz.models.inputs.generation import generated
from mkdocs_attnviz.models.inputs.languages import KEYS, speaking, started
from mkdocs_attnviz.models.inputs.tokens import (
    Example,
    Spans,
    Tokens,
    continued,
    in_sequence,
    names,
    special,
    special_ids,
    target_words,
    tokenize,
)
from mkdocs_attnviz.models.loading import lengths
from mkdocs_attnviz.models.loading.loaded import Loaded

GIVES = {"classes": "classes", "labels": "labels", "answer": "answers"}
"""What models with a head for it give a text, by their task."""

TOGETHER = 4
"""So many times what one text may have, further texts may have together: they are held in memory together."""


def example(loaded: Loaded, inputs: Mapping[str, Any], max_tokens: int, other: Loaded | None = None) -> Example:
    """The tokens that a block's texts give, and those that the model writes where it is to; what a second model,
    `other`, makes of the same. A decoder beside a model without one has nothing to be compared with, and reads nothing.

    Raises:
        ValueError: too long for the site or the model, or a text that this model does not read.
    """
    how = {name: value for name, value in inputs.items() if name in ("generate", *KEYS)}
    more = _further(loaded, how, inputs.get("more_texts", ()), max_tokens)
    decoding = other is None or (loaded.encoder_decoder and other.encoder_decoder)
    with speaking(loaded, inputs):
        read = _example(loaded, inputs, max_tokens, decoding=decoding)
    if other is None:
        return replace(read, more=tuple(more))
    with speaking(other, inputs, required=False):
        beside = _example(other, inputs, max_tokens, decoding=decoding)
    return replace(read, more=tuple(more), other=beside)


def _further(loaded: Loaded, how: Mapping[str, Any], texts: Sequence[str], max_tokens: int) -> list[Example]:
    """Raises: ValueError: with the number of the text that is at fault; all together are too long."""
    found = []
    for number, text in enumerate(texts, 2):
        try:
            with speaking(loaded, how):
                found.append(_example(loaded, {**how, "text": text}, max_tokens, decoding=True))
        except ValueError as error:
            raise WrongValue("more_texts", f"`more_texts`, text {number}: {error}") from None
    total, limit = sum(len(each.text.ids) for each in found), TOGETHER * max_tokens
    if total > limit:
        raise WrongValue(
            "more_texts",
            f"`more_texts` has {total} tokens in all; {TOGETHER} times `max_tokens`, {limit}, are the most.",
        )
    return found


def _example(loaded: Loaded, inputs: Mapping[str, Any], max_tokens: int, *, decoding: bool) -> Example:
    """Raises: ValueError."""
    text = _checked(loaded, "text", text_tokens(loaded, inputs), max_tokens)
    given, generate = inputs.get("text_target"), inputs.get("generate")
    if not loaded.encoder_decoder and generate is not None:
        text = _checked(loaded, "text", _written_on(loaded, text, inputs), max_tokens)
    if not loaded.encoder_decoder:
        if given is not None:
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
    target = _written(loaded, text, max_tokens, inputs) if given is None else target_tokens(loaded, given)
    return Example(text, _checked(loaded, "target", target, max_tokens))


def text_tokens(loaded: Loaded, inputs: Mapping[str, Any]) -> Tokens:
    """What the model reads: a text, or a conversation as its chat template writes it, special tokens included."""
    if "chat" not in inputs:
        return tokenize(loaded.tokenizer, inputs["text"], inputs.get("text_pair"))
    if not getattr(loaded.tokenizer, "chat_template", None):
        raise WrongValue(
            "chat", f"`chat` needs a chat template, and the tokenizer of model {loaded.ref.name!r} has none."
        )
    try:
        text, date = written_out(loaded.tokenizer, inputs)
    except Exception as error:  # the template's own: it may raise anything
        raise WrongValue(
            "chat", f"`chat` does not fit the chat template of model {loaded.ref.name!r}: {error}"
        ) from None
    return replace(tokenize(loaded.tokenizer, text, None, add_special_tokens=False), date=date)


def _checked(loaded: Loaded, what: str, read: Tokens, max_tokens: int) -> Tokens:
    """Return what the model reads, with the length that it was made for if it is longer.

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
    """The decoder's side for an output that the author gives."""
    labels = list(loaded.tokenizer(text_target=text, truncation=False, verbose=False)["input_ids"])
    if not labels:
        raise WrongValue("text_target", "`text_target` gives no tokens.")
    return _target(loaded, shifted(loaded, labels), labels, text)


def _written_on(loaded: Loaded, text: Tokens, inputs: Mapping[str, Any]) -> Tokens:
    """A text with what a decoder writes after it."""
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
    written = _generated(loaded, text, inputs, _at_most(room, inputs["generate"]))
    return continued(loaded.tokenizer, text, written[len(text.ids) :])


def _at_most(room: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """`how`, with no more new tokens than there is room for."""
    limits = {name: min(how[name], room) for name in ("min_new_tokens", "max_new_tokens") if name in how}
    return {**how, **limits}


def _generated(
    loaded: Loaded, text: Tokens, inputs: Mapping[str, Any], how: Mapping[str, Any], **more: Any
) -> list[int]:
    return generated(loaded, collate(loaded, [Example(text)]), how, started(loaded, inputs) | more)


def _written(loaded: Loaded, text: Tokens, max_tokens: int, inputs: Mapping[str, Any]) -> Tokens:
    """The decoder's side for what the model itself writes: where nothing is said, most likely token by token."""
    how = inputs.get("generate")
    if not loaded.model.can_generate():
        raise WrongValue("text", f"Model {loaded.ref.name!r} cannot write: its decoder needs `text_target`.")
    if how is not None:
        written = _generated(loaded, text, inputs, _at_most(loaded.longest_target or 10**9, how))
    else:
        most = min(max_tokens, loaded.longest_target or max_tokens)
        # Not even an end that the model's configuration forces at the last token: it would hide that there was none.
        limit = {"max_length": most + 1, "max_new_tokens": None}
        written = _generated(loaded, text, inputs, limit, forced_eos_token_id=None)
        if len(written) > most and written[-1] not in _ends(loaded):
            name = loaded.ref.name
            raise WrongValue(
                "text", f"Model {name!r} has written {most} tokens and come to no end; give it a `text_target`."
            )
    apart = special_ids(loaded.tokenizer)
    said = loaded.tokenizer.decode([token for token in written if token not in apart])
    return _target(loaded, written[:-1], written[1:], said)


def _ends(loaded: Loaded) -> set[int]:
    """Tokens that end an output."""
    end = loaded.model.generation_config.eos_token_id
    return set(end) if isinstance(end, list) else {end}


def _target(loaded: Loaded, ids: list[int], labels: list[int], text: str) -> Tokens:
    """`ids` are what the decoder reads, `labels` what it is to write there: one further on."""
    tokenizer = loaded.tokenizer
    words, spans = target_words(tokenizer, labels, text)
    follows = ids[1:] == labels[:-1]  # what is read is what was written before
    apart = sorted({0, *special(tokenizer, ids)})
    read, written = in_sequence(tokenizer, ids, apart), in_sequence(tokenizer, labels, special(tokenizer, labels))
    return Tokens(
        ids=ids,
        type_ids=None,
        tokens=names(tokenizer, ids),
        pretty=[token.pretty for token in read],
        special=apart,
        sentence_b_start=None,
        words=[None, *words[:-1]] if follows else [None] * len(ids),
        next=[token.pretty for token in written],
        labels=labels,
        spans=Spans(spans.text, [None, *spans.spans[:-1]]) if follows and spans else None,
        texts=[token.text for token in read],
    )


def shifted(loaded: Loaded, labels: list[int]) -> list[int]:
    """The ids that the model's decoder is given for these labels: by its own code where it has any for that."""
    made = torch.tensor([labels], device=loaded.device)
    if hasattr(loaded.model, "prepare_decoder_input_ids_from_labels"):
        ids = loaded.model.prepare_decoder_input_ids_from_labels(labels=made)
        return list(map(int, ids[0].tolist()))
    ids = _seen_by_the_decoder(loaded, made)
    if ids is not None:
        return list(map(int, ids[0].tolist()))
    config = loaded.model.config
    start = getattr(config, "decoder_start_token_id", None)
    start = getattr(config.get_text_config(decoder=True), "bos_token_id", None) if start is None else start
    if start is None:
        raise WrongValue("text", f"Model {loaded.ref.name!r} does not say with which token its decoder starts.")
    return [int(start), *labels[:-1]]


class _Seen(Exception):
    pass


def _seen_by_the_decoder(loaded: Loaded, labels: torch.Tensor) -> torch.Tensor | None:
    """What the decoder is given when the model is given labels; the pass ends there."""
    if "labels" not in accepted(loaded.model):
        return None
    seen: list[torch.Tensor] = []

    def look(_: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is not None:
            seen.append(ids)
        raise _Seen

    hook = loaded.model.get_decoder().register_forward_pre_hook(look, with_kwargs=True)
    try:
        with torch.inference_mode():
            loaded.model(input_ids=labels, labels=labels)
    except _Seen:
        pass
    finally:
        hook.remove()
    return seen[0] if seen else None


def accepted(model: Any) -> set[str]:
    """Names of what the model's forward takes."""
    return set(inspect.signature(model.forward).parameters)


def collate(loaded: Loaded, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Padded on the right, where no position before the padding can notice it."""
    texts = [each.text for each in examples]
    inputs = {
        "input_ids": _rows(loaded, [text.ids for text in texts], loaded.pad),
        "attention_mask": _rows(loaded, [[1] * len(text.ids) for text in texts], 0),
    }
    if texts[0].type_ids is not None:
        inputs["token_type_ids"] = _rows(loaded, [text.type_ids or [] for text in texts], 0)
    targets = [each.target for each in examples if each.target is not None]
    if targets:
        inputs["decoder_input_ids"] = _rows(loaded, [target.ids for target in targets], loaded.pad)
        inputs["decoder_attention_mask"] = _rows(loaded, [[1] * len(target.ids) for target in targets], 0)
    taken = accepted(loaded.model)
    return {name: value for name, value in inputs.items() if name in taken or "kwargs" in taken}


def _rows(loaded: Loaded, lists: list[list[int]], fill: int) -> torch.Tensor:
    longest = max(map(len, lists))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in lists], device=loaded.device)  # (B, T)
