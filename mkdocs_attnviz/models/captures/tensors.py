"""Entries from an author's own `.safetensors` files, in the same form as those of captures.

Names in a file, for stack S (`self`; or `encoder`, `decoder`, `cross`) and layer L:

- `S.L`: attention weights, (heads, rows, cols), or with a batch of one in front;
- `S.L.query`, `S.L.key` (optional, for the neuron view): (heads, rows, d) and (heads or fewer, cols, d), as the scores
  are computed from them;
- `S.L.norms` (optional): (heads, cols), the norms ‖v·W_O‖ for value-weighted attention.

The file's metadata (texts) may hold:

- `tokens`, a JSON list (for an encoder–decoder `encoder_tokens` and `decoder_tokens`);
- `sentence_b_start` (optional), a number;
- `special` (optional), a JSON list of special tokens;
- `words` (optional), a JSON list with the index of each token's word;
- `scale` (optional), the factor of query · key (default 1/√d).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.own_arrays import SIDES, LayerTensors, TokenRow, entry, without_batch
from mkdocs_attnviz.models.encoding import Floats

NAME = re.compile(r"(self|encoder|decoder|cross)\.(\d+)(?:\.(query|key|norms))?")


def capture_file(path: Path, _: Mapping[str, Any] = MappingProxyType({})) -> Entry:
    """Return the entry of a `.safetensors` file; this capture has no parameters.

    Raises:
        ValueError: it is no such file, or its names, shapes and tokens do not fit.
    """
    arrays, metadata = read_file(path)
    return entry(layers_of(arrays, metadata.value("scale", float)), metadata.sequences())


def read_file(path: Path) -> tuple[dict[str, Floats], Metadata]:
    """Return the tensors of a `.safetensors` file, and its metadata.

    Raises:
        ValueError: it is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WrongValue("tensors", f"{path.name} is no whole safetensors file: {error}.") from error
    return arrays, Metadata(metadata, path.name)


def layers_of(arrays: Mapping[str, Floats], scale: float | None) -> dict[str, dict[int, LayerTensors]]:
    """Return the layers of each stack of a file.

    Raises:
        ValueError: a name is unknown, or there are no weights.
    """
    parts: dict[str, dict[int, dict[str, Floats]]] = {}
    for name, array in arrays.items():
        match = NAME.fullmatch(name)
        if match is None:
            allowed = "self.0, cross.2, self.0.query, self.0.key, self.0.norms"
            raise WrongValue("tensors", f"The file has a tensor {name!r}; names are like {allowed}.")
        values = parts.setdefault(match[1], {}).setdefault(int(match[2]), {})
        values[match[3] or "weights"] = without_batch(array, 2 if match[3] == "norms" else 3)
    if not parts:
        raise WrongValue("tensors", "The file has no tensors; it needs at least one like self.0.")
    return {
        stack: {number: _layer(f"{stack}.{number}", layers[number], scale) for number in sorted(layers)}
        for stack, layers in sorted(parts.items(), key=lambda item: list(SIDES).index(item[0]))
    }


def _layer(name: str, tensors: Mapping[str, Floats], scale: float | None) -> LayerTensors:
    if "weights" not in tensors:
        raise WrongValue("tensors", f"The file has {name}.{next(iter(tensors))}, but no weights {name}.")
    if ("query" in tensors) != ("key" in tensors):
        raise WrongValue("tensors", f"The file must have both {name}.query and {name}.key, or none of them.")
    neurons = (tensors["query"], tensors["key"]) if "query" in tensors else None
    return LayerTensors(tensors["weights"], tensors.get("norms"), neurons, scale)


class Metadata:
    """A file's metadata: texts that hold JSON."""

    def __init__(self, texts: Mapping[str, str], file: str) -> None:
        self._texts, self._file = texts, file

    def value(self, name: str, kind: type) -> Any:
        """Return the value of a name, or None if the file does not have it.

        Raises:
            ValueError: it is no JSON, or of another type than `kind`.
        """
        if name not in self._texts:
            return None
        try:
            value = json.loads(self._texts[name])
        except ValueError:
            value = None
        if not isinstance(value, (int, float) if kind is float else kind):
            raise WrongValue("tensors", f"The metadata `{name}` of {self._file} must be JSON, a {kind.__name__}.")
        return value

    def sequences(self) -> dict[str, TokenRow]:
        names = {"text": "encoder_tokens" if "encoder_tokens" in self._texts else "tokens", "target": "decoder_tokens"}
        rows = {name: self._sequence(tokens) for name, tokens in names.items() if tokens in self._texts}
        if not rows:
            raise WrongValue(
                "tensors", f"{self._file} has no `tokens` in its metadata; they must be a JSON list of texts."
            )
        return rows

    def _sequence(self, name: str) -> TokenRow:
        tokens, special = self.value(name, list), self.value("special", list)
        positions = None if special is None else [n for n, token in enumerate(tokens) if token in special]
        if name == "decoder_tokens":
            return TokenRow(tokens, positions)
        return TokenRow(tokens, positions, self.value("sentence_b_start", int), self.value("words", list))
