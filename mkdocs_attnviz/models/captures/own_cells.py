"""Units over running text from an author's own `.safetensors` file.

Names in the file are `PART.LAYER`, each with the shape (T, units): `cell.0`, `hidden.1`, `residual.5`. The values of
`cell` are the cells themselves; their tanh is shown. The file's metadata has `tokens`, a JSON list of texts, which put
together are the text; a token in the JSON list `special` is none of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mkdocs_attnviz.block.defaults import ENTRY_SIZE
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.cells import LayerUnits, entry
from mkdocs_attnviz.models.captures.own_arrays import without_batch
from mkdocs_attnviz.models.captures.tensors import read_file
from mkdocs_attnviz.models.encoding import Floats

NAME = re.compile(r"(cell|hidden|forget|input|output|reset|update|residual|neurons|state)\.(\d+)")


def capture_file(path: Path, parameters: Mapping[str, Any], _: int = ENTRY_SIZE) -> Entry:
    """Return the entry of a `.safetensors` file; `parameters` are those of the capture of cells.

    Raises:
        ValueError: it is no such file, its names, shapes and tokens do not fit, or `find` finds nothing.
    """
    arrays, metadata = read_file(path)
    tokens, special = metadata.value("tokens", list), metadata.value("special", list) or []
    if not tokens:
        raise WrongValue("tensors", f"{path.name} has no `tokens` in its metadata; they must be a JSON list of texts.")
    texts = [str(token) for token in tokens]
    pieces = [None if text in special else text for text in texts]
    positions = [position for position, piece in enumerate(pieces) if piece is None]
    sequences = {"text": {"tokens": texts, "pretty": texts, "special": positions, "words": [None] * len(texts)}}
    layers = _layers(arrays, len(texts))
    wanted = parameters["layers"]
    return entry(sequences, pieces, texts, [each for each in layers if not wanted or each.layer in wanted], parameters)


def _layers(arrays: Mapping[str, Floats], tokens: int) -> list[LayerUnits]:
    """Return the layers of the file.

    Raises:
        ValueError: a name or a shape does not fit.
    """
    parts: dict[int, dict[str, Floats]] = {}
    for name, array in arrays.items():
        match = NAME.fullmatch(name)
        if match is None:
            raise WrongValue(
                "tensors", f"The file has a tensor {name!r}; names are like cell.0, forget.0, residual.3 or state.1."
            )
        values = without_batch(array, 2)
        if values.ndim != 2 or len(values) != tokens:
            raise WrongValue(
                "tensors", f"The tensor {name} must have the shape ({tokens}, units); it has {tuple(array.shape)}."
            )
        if not np.isfinite(values).all():
            raise WrongValue("tensors", f"The tensor {name} has values that are no numbers.")
        parts.setdefault(int(match[2]), {})[match[1]] = np.tanh(values) if match[1] == "cell" else values
    if not parts:
        raise WrongValue("tensors", "The file has no tensors; it needs at least one like cell.0.")
    return [LayerUnits(layer, "", parts[layer]) for layer in sorted(parts)]
