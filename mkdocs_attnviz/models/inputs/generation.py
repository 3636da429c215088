"""The text that a model writes: transformers' `generate`, with options from the block alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from mkdocs_attnviz.block.defaults import IMPLIED
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
"""The options used from a model's `generation_config.json`: tokens that begin or end a text, or never occur in it."""


def generate(
    loaded: Loaded, inputs: Mapping[str, torch.Tensor], how: Mapping[str, Any], more: Mapping[str, Any]
) -> list[int]:
    """Return the ids that `generate` gives for one text. `how` has the block's options as plain JSON,
    with its `seed`.
    """
    options = {name: value for name, value in how.items() if name != "seed"}
    options = {"do_sample": False, "num_beams": IMPLIED["num_beams"]} | options | dict(more)
    seed = int(how.get("seed", IMPLIED["seed"]))
    with torch.inference_mode(), loaded.isolation.together(loaded.model, seed), _own_settings_ignored(loaded.model):
        ids = loaded.model.generate(**inputs, **options)
    ids_of_one: list[int] = ids[0].tolist()
    return ids_of_one


@contextmanager
def _own_settings_ignored(model: Any) -> Iterator[None]:
    """Ignore the model's own settings for search, sampling and output inside the `with` block."""
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
