"""A sentence through a model that has just been loaded: what it gives, and whether it runs on text alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from mkdocs_attnviz.models import memory
from mkdocs_attnviz.models.problems import Unusable
from mkdocs_attnviz.models.reference import ModelRef

SENTENCE = "the cat sat on a mat"
"""Some tokens of any vocabulary: which part of a mixture of experts runs depends on them."""

OTHER_INPUTS = ("pixel_", "image", "visual", "video", "audio", "input_features", "input_values")
"""Beginnings of what models call inputs that are no text."""


def outputs(model: Any, tokenizer: Any) -> Mapping[str, Any]:
    """Return what the model gives for a short sentence.

    Raises:
        Exception: it does not run on that.
    """
    encoded = tokenizer(SENTENCE, return_tensors="pt", verbose=False)
    taken = _taken(model)
    inputs = {name: value.to(model.device) for name, value in encoded.items() if name in taken}
    if "decoder_input_ids" in taken:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    was = model.training
    try:
        with torch.inference_mode():
            found: Mapping[str, Any] = model.eval()(**inputs, return_dict=True)
            return found
    finally:
        model.train(was)


def check(ref: ModelRef, model: Any, tokenizer: Any) -> None:
    """Raise if a model that also reads pictures or sound does not run without them.

    Raises:
        Unusable: it does not.
    """
    others = [name for name in _taken(model) if name.startswith(OTHER_INPUTS)]
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


def _taken(model: Any) -> list[str]:
    """Return the names of what the model's forward takes, in order."""
    return list(inspect.signature(model.forward).parameters)
