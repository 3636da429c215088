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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mkdocs_attnviz.block.defaults import ENTRY_SIZE
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.own_arrays import SIDES, LayerTensors, Shape, TokenRow, entry, without_batch
from mkdocs_attnviz.models.encoding import Floats

NAME = re.compile(r"(self|encoder|decoder|cross)\.(\d+)(?:\.(query|key|norms))?")


def capture_file(path: Path, _: Mapping[str, Any] = MappingProxyType({}), entry_size: int = ENTRY_SIZE) -> Entry:
    """Return the entry of a `.safetensors` file; this capture has no parameters.

    Raises:
        ValueError: it is no such file, or its names, shapes and tokens do not fit.
    """
    with _opened(path) as file:
        stacks, metadata = _stacks(path, file)
        shapes = [shape for layers in stacks.values() for shape in layers.shapes()]
        return entry(stacks, metadata.sequences(), entry_size, shapes)


def read_layers(path: Path) -> tuple[dict[str, dict[int, LayerTensors]], Metadata]:
    """Return the layers of each stack of a `.safetensors` file, and its metadata.

    Raises:
        ValueError: it is no such file, a name is unknown, or there are no weights.
    """
    with _opened(path) as file:
        stacks, metadata = _stacks(path, file)
        return {stack: dict(layers) for stack, layers in stacks.items()}, metadata


def _stacks(path: Path, file: Any) -> tuple[dict[str, _Layers], Metadata]:
    metadata = Metadata(file.metadata() or {}, path.name)
    scale = metadata.value("scale", float)
    parts = _parts(file.keys())
    return {stack: _Layers(file, stack, layers, scale) for stack, layers in parts.items()}, metadata


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a `.safetensors` file, whose tensors are read when they are asked for.

    Raises:
        ValueError: it is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WrongValue("tensors", f"{path.name} is no whole safetensors file: {error}.") from error


def read_file(path: Path) -> tuple[dict[str, Floats], Metadata]:
    """Return the tensors of a `.safetensors` file, and its metadata.

    Raises:
        ValueError: it is no such file.
    """
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118
        return arrays, Metadata(file.metadata() or {}, path.name)


def _parts(names: Iterable[str]) -> dict[str, dict[int, set[str]]]:
    """Return which tensors a file has of each layer of each stack: `weights`, `query`, `key`, `norms`.

    Raises:
        ValueError: a name is no such tensor's, or one is missing.
    """
    parts: dict[str, dict[int, set[str]]] = {}
    for name in names:
        match = NAME.fullmatch(name)
        if match is None:
            allowed = "self.0, cross.2, self.0.query, self.0.key, self.0.norms"
            raise WrongValue("tensors", f"The file has a tensor {name!r}; names are like {allowed}.")
        parts.setdefault(match[1], {}).setdefault(int(match[2]), set()).add(match[3] or "weights")
    if not parts:
        raise WrongValue("tensors", "The file has no tensors; it needs at least one like self.0.")
    for stack, layers in parts.items():
        for number, tensors in layers.items():
            _check_layer(f"{stack}.{number}", tensors)
    return {
        stack: dict(sorted(layers.items()))
        for stack, layers in sorted(parts.items(), key=lambda item: list(SIDES).index(item[0]))
    }


def _check_layer(name: str, tensors: set[str]) -> None:
    if "weights" not in tensors:
        raise WrongValue("tensors", f"The file has {name}.{min(tensors)}, but no weights {name}.")
    if ("query" in tensors) != ("key" in tensors):
        raise WrongValue("tensors", f"The file must have both {name}.query and {name}.key, or none of them.")


class _Layers(Mapping[int, LayerTensors]):
    """The layers of a stack in a file; each is read whenever it is asked for."""

    def __init__(self, file: Any, stack: str, layers: Mapping[int, set[str]], scale: float | None) -> None:
        self._file, self._stack, self._layers_of_file, self._scale = file, stack, layers, scale

    def __getitem__(self, number: int) -> LayerTensors:
        tensors = {part: self._read(number, part) for part in self._layers_of_file[number]}
        neurons = (tensors["query"], tensors["key"]) if "query" in tensors else None
        return LayerTensors(tensors["weights"], tensors.get("norms"), neurons, self._scale)

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers_of_file)

    def __len__(self) -> int:
        return len(self._layers_of_file)

    def _read(self, number: int, part: str) -> Floats:
        name = f"{self._stack}.{number}"
        tensor = self._file.get_tensor(name if part == "weights" else f"{name}.{part}")
        return without_batch(tensor.float().numpy(), 2 if part == "norms" else 3)

    def shapes(self) -> Iterator[Shape]:
        """Yield the shape of the weights of each layer, without reading them. Other shapes than (heads, rows, cols),
        with or without a batch of one in front, are left out."""
        for number in self:
            shape = tuple(self._file.get_slice(f"{self._stack}.{number}").get_shape())
            if len(shape) in (3, 4):
                yield shape[-3:]


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
