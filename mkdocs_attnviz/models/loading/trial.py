"""A trial of a model that has just been loaded: its outputs for a sentence, and whether it runs on text alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from mkdocs_attnviz.models.errors import Unusable
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.loading import memory

SENTENCE = "the cat sat on a mat"
"""A sentence that any vocabulary has tokens for."""

OTHERS = 24
"""The number of other tokens besides: they decide which experts of a mixture run."""

OTHER_INPUTS = ("pixel_", "image", "visual", "video", "audio", "input_features", "input_values")
"""Beginnings of the names of inputs that are no text."""


def outputs(model: Any, tokenizer: Any) -> Mapping[str, Any]:
    """Return the model's outputs for a short sentence.

    Raises:
        Exception: the model does not run on it.
    """
    ids = _varied_ids(model, tokenizer)
    arguments = _argument_names(model)
    known = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    named = {"input_ids", *tokenizer.model_input_names}
    inputs = {name: value.to(model.device) for name, value in known.items() if name in arguments and name in named}
    if "decoder_input_ids" in arguments:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    was = model.training
    try:
        with torch.inference_mode():
            outputs_by_name: Mapping[str, Any] = model.eval()(**inputs, return_dict=True)
            return outputs_by_name
    finally:
        model.train(was)


def _varied_ids(model: Any, tokenizer: Any) -> torch.Tensor:
    """Return ids, (1, T): a short sentence with ids from the whole vocabulary inserted before its last token."""
    size = getattr(model.get_input_embeddings(), "num_embeddings", len(tokenizer))
    # An id that the model has no embedding for is another check's concern.
    ids = [min(token, size - 1) for token in tokenizer(SENTENCE, verbose=False)["input_ids"]]
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    room = OTHERS if not isinstance(longest, int) or longest < 1 else min(OTHERS, longest - len(ids) - 2)
    others = torch.linspace(0, size - 1, max(0, room)).long().tolist()
    return torch.tensor([[*ids[:-1], *others, *ids[-1:]]])


def check(ref: ModelRef, model: Any, tokenizer: Any) -> None:
    """Raise if a model that also reads pictures or sound does not run without them.

    Raises:
        Unusable: it does not.
    """
    others = [name for name in _argument_names(model) if name.startswith(OTHER_INPUTS)]
    if not others:
        return
    try:
        outputs(model, tokenizer)
    except Exception as error:
        if memory.ran_out(error):
            raise
        raise Unusable(
            f"Model {ref.name!r} ({model.config.model_type}) does not run on text alone: beside it, it reads "
            f"`{others[0]}`."
        ) from error


def _argument_names(model: Any) -> list[str]:
    """Return the names of the arguments of the model's forward, in order."""
    return list(inspect.signature(model.forward).parameters)
