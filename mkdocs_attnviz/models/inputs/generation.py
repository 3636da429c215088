"""What a model writes: transformers' `generate`, of which a block and nobody else says how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from mkdocs_attnviz.models.loading.loaded import Loaded

DECIDING = {
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
    "suppress_tokens",
}
"""What is taken from a model's `generation_config.json`: which tokens begin and end a text, or are never in it."""


def generated(
    loaded: Loaded, inputs: Mapping[str, torch.Tensor], how: Mapping[str, Any], more: Mapping[str, Any]
) -> list[int]:
    """Return what `generate` gives for one text. `how` is the block's, in plain JSON, with its `seed`."""
    options = {name: value for name, value in how.items() if name != "seed"}
    options = {"do_sample": False, "num_beams": 1} | options | dict(more)
    seed = how.get("seed") or 0
    with torch.inference_mode(), loaded.isolation.together(loaded.model, seed), _plainly(loaded.model):
        ids = loaded.model.generate(**inputs, **options)
    found: list[int] = ids[0].tolist()
    return found


@contextmanager
def _plainly(model: Any) -> Iterator[None]:
    """While this lasts, nothing in the model's own configuration says how to search, sample or return."""
    before = model.generation_config
    standard = vars(GenerationConfig())
    own = {name: value for name, value in vars(before).items() if value is not None and not name.startswith("_")}
    model.generation_config = GenerationConfig(
        **{name: value for name, value in own.items() if name in DECIDING or name not in standard}
    )
    try:
        yield
    finally:
        model.generation_config = before
