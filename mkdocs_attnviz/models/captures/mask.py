"""The attention masks of a text, layer by layer: which token may attend to which.

Layers with the same mask share one blob.
"""

from __future__ import annotations

from typing import Any

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.mask_runs import runs_blob
from mkdocs_attnviz.models.probing.attention_masks import LayerMask, StackMasks, find_masks


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example, with the masks of all layers.

    Raises:
        Unusable: the model has no attention, or none that tells its mask.
    """
    examples = list(context.examples)
    masks = find_masks(context.loaded, examples)
    config = context.loaded.model.config.get_text_config()
    return [_entry(example, stacks, config) for example, stacks in zip(examples, masks, strict=True)]


def _entry(example: Example, stacks: dict[str, StackMasks], config: Any) -> Entry:
    meta: dict[str, Any] = {}
    blobs: dict[str, bytes] = {}
    for name, stack in stacks.items():
        numbers: dict[bytes, int] = {}
        layers = []
        for layer in stack.layers:
            blob = runs_blob(layer.allowed)
            number = numbers.setdefault(blob, len(numbers))
            blobs[f"{name}/{number}"] = blob
            layers.append({"layer": layer.layer, "mask": number} | _about(layer, config))
        meta[name] = {"rows": stack.rows, "cols": stack.cols, "how": stack.how, "layers": layers}
    return Entry({"sequences": example.sequences(), "masks": meta}, blobs)


def _about(layer: LayerMask, config: Any) -> dict[str, Any]:
    """Return what else is known of a layer: its module, whether its heads differ, and the window it was set to."""
    about: dict[str, Any] = {"name": layer.name} if layer.name else {}
    if layer.heads_differ:
        about["heads_differ"] = True
    window = _window(config, layer.layer)
    return about if window is None else about | {"window": window}


def _window(config: Any, layer: int) -> int | None:
    """Return the number of tokens that a layer's window has by the configuration; None if it is set to none."""
    kinds = getattr(config, "layer_types", None)
    kind = kinds[layer] if isinstance(kinds, list) and layer < len(kinds) else None
    if kind == "chunked_attention":
        size = getattr(config, "attention_chunk_size", None)
    elif kind == "sliding_attention" or (kind is None and getattr(config, "use_sliding_window", True)):
        size = getattr(config, "sliding_window", None)
    else:
        size = None
    return size if isinstance(size, int) and size > 0 else None
