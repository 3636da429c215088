"""The number of tokens that a model can read, which its tables of positions limit.

A tokenizer's `model_max_length` is no limit of the model. T5 was trained with 512 tokens and reads any number; such a
text is drawn, and the figure says so.
"""

from __future__ import annotations

from typing import Any

import torch

POSITIONS = ("position_embedding", "embed_positions", "wpe", "positions_embed")
"""Parts of the names of modules that hold a vector for each position."""
NAMES = ("max_position_embeddings", "max_encoder_position_embeddings", "max_seq_len")
TARGET_NAMES = ("max_decoder_position_embeddings", "max_position_embeddings")


def longest(model: Any, *, target: bool = False) -> int | None:
    """Return the largest number of tokens of a text, or of a decoder's input (`target`); None if there is no limit."""
    config = model.config.get_text_config(**({"decoder": True} if target else {}))
    names = TARGET_NAMES if target else NAMES
    limits = [value for name in names if isinstance(value := getattr(config, name, None), int) and value > 0]
    if not limits:
        return None
    room = limits[0] - _unused(model, limits[0])
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "dynamic":  # the frequencies are stretched to fit
        return int(room * rope.get("factor", 1))
    if config.model_type == "prophetnet" and target:  # its predictions are one position further on
        return room - 1
    if config.model_type == "led" and not target:  # LED pads a text to whole windows
        windows = config.attention_window
        window = max(windows) if isinstance(windows, list) else windows
        return room // window * window or None
    return room


def usual(tokenizer: Any) -> int | None:
    """Return the length that a tokenizer names for its model; None if it names none."""
    length = tokenizer.model_max_length
    return length if isinstance(length, int) and 0 < length < 10**9 else None


def _unused(model: Any, positions: int) -> int:
    """Return how many of a position table's rows come before the first token's.

    RoBERTa and similar models count positions from the padding token's id: they read 512 tokens with 514 rows.
    """
    for name, module in model.named_modules():
        padding, weight = getattr(module, "padding_idx", None), getattr(module, "weight", None)
        if padding is None or not isinstance(weight, torch.Tensor) or not any(part in name for part in POSITIONS):
            continue
        if len(weight) == positions:
            return int(padding) + 1
    return 0


def rows(model: Any) -> int | None:
    """Return the number of tokens that a model has input embeddings for; None if it has no single table of them."""
    try:
        weight = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        return None
    return len(weight) if isinstance(weight, torch.Tensor) and weight.ndim == 2 else None
