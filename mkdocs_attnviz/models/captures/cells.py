"""Single units over running text: cells and gates of recurrent networks, the residual stream, neurons, states.

It follows Karpathy, Johnson, Fei-Fei 2015, "Visualizing and Understanding Recurrent Networks": text coloured by one
unit, the fraction of time that gates are saturated, and units that follow something in the text.

A layer may have thousands of units, so only some of each are stored: those that follow what is looked for, or those
that vary most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.activations import record_activations
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.similarity import representations
from mkdocs_attnviz.models.captures.unit_search import Correlations, Search, search
from mkdocs_attnviz.models.encoding import Floats, json_blob, round_digits, signed_bytes_blob
from mkdocs_attnviz.models.inputs.text_masks import mask
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.inputs.word_boundaries import texts_of
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.recurrent import has_recurrent_modules, recurrent_layers
from mkdocs_attnviz.models.probing.states import recurrent_states

GATES = ("forget", "input", "output", "reset", "update")
BOUNDED = ("cell", "hidden", *GATES)
"""The parts whose values are usually between −1 and 1."""
LEFT, RIGHT = 0.1, 0.9
"""The bounds below and above which a gate is saturated, as in Karpathy et al. (2015), section 4.2."""
SEQUENCES = {"self": "text", "encoder": "text", "decoder": "target"}
"""The sequence that the layers of each stack read."""


@dataclass(frozen=True)
class LayerUnits:
    """The units of one layer."""

    layer: int
    name: str
    """A name of the layer in words, or an empty text where its number says enough."""
    parts: Mapping[str, Floats]
    """The values of each part, (T, units)."""

    @property
    def units(self) -> int:
        return int(next(iter(self.parts.values())).shape[1])


Source = Callable[[Loaded, Example, Mapping[str, Any]], list[LayerUnits]]


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example.

    `parameters` has `source` (`recurrent`, `residual`, `neurons`, `state`, or None for the first that the model has),
    `stack`, `layers`, `units`, `keep` and `find`.

    Raises:
        Unusable: the model has no such units.
        ValueError: `find` finds nothing, or there is no such stack or layer.
    """
    loaded, parameters = context.loaded, context.parameters
    source = parameters["source"] or ("recurrent" if has_recurrent_modules(loaded.model) else "residual")
    entries = []
    for example in context.examples:
        layers = SOURCES[source](loaded, example, parameters)
        decoder = parameters["stack"] == "decoder" and example.target is not None
        tokens = example.target if decoder and example.target is not None else example.text
        sequences = example.sequences()
        entries.append(entry(sequences, pieces_of(tokens), tokens.tokens, _included(layers, parameters), parameters))
    return entries


def _recurrent(loaded: Loaded, example: Example, _: Mapping[str, Any]) -> list[LayerUnits]:
    """Return cells and gates; the cell as its tanh, which is what the hidden state has of it."""
    layers = recurrent_layers(loaded, example)
    is_plain = len({layer.module for layer in layers}) == 1 and not any(layer.backward for layer in layers)
    found = []
    for number, layer in enumerate(layers):
        parts = {part: values.cpu().numpy() for part, values in layer.parts.items()}
        if "cell" in parts:
            parts["cell"] = np.tanh(parts["cell"])
        found.append(LayerUnits(number, "" if is_plain else layer.name, parts))
    return found


def _residual(loaded: Loaded, example: Example, parameters: Mapping[str, Any]) -> list[LayerUnits]:
    """Return the output of each layer, as transformers' `hidden_states` have it, without the embeddings."""
    stacks = {
        stack: {layer: state.astype(np.float32) for layer, state in enumerate(states[1:])}
        for stack, states in representations(loaded, example).items()
    }
    return _of_stack("residual", stacks, parameters)


def _neurons(loaded: Loaded, example: Example, parameters: Mapping[str, Any]) -> list[LayerUnits]:
    """Return the feed-forward neurons of each layer."""
    return _of_stack("neurons", record_activations(loaded, example), parameters)


def _state(loaded: Loaded, example: Example, parameters: Mapping[str, Any]) -> list[LayerUnits]:
    """Return the recurrent states that transformers hands out."""
    states = recurrent_states(loaded, example, parameters["layers"])
    return [LayerUnits(layer, "", {"state": state.numpy()}) for layer, state in states.items()]


SOURCES: Mapping[str, Source] = {
    "recurrent": _recurrent,
    "residual": _residual,
    "neurons": _neurons,
    "state": _state,
}
"""The functions that find units in a model."""


def _of_stack(part: str, stacks: Mapping[str, Mapping[int, Floats]], parameters: Mapping[str, Any]) -> list[LayerUnits]:
    """Return the layers of the stack that is asked for, or of the first.

    Raises:
        ValueError: there is no such stack.
    """
    stack = parameters["stack"] or next(iter(stacks))
    if stack not in stacks:
        raise WrongValue("stack", f"`stack` is {stack!r}; the model has {' and '.join(stacks)}.")
    return [LayerUnits(layer, "", {part: values}) for layer, values in stacks[stack].items()]


def _included(layers: list[LayerUnits], parameters: Mapping[str, Any]) -> list[LayerUnits]:
    """Return the layers of `include_layers`, or all.

    Raises:
        ValueError: there is no such layer, or none is left.
    """
    wanted, known = parameters["layers"], [each.layer for each in layers]
    for number in wanted or ():
        if number not in known:
            numbers = ", ".join(map(str, known)) or "none"
            raise WrongValue("include_layers", f"`include_layers` has layer {number}; the layers are {numbers}.")
    if not layers:
        raise Unusable("The model has no layers whose units can be shown.")
    return [each for each in layers if wanted is None or each.layer in wanted]


def pieces_of(tokens: Tokens) -> list[str | None]:
    """Return the text of each token with the white space before it, as the author wrote it; None for special tokens.

    Put together, the pieces are the text. A token without characters of its own, such as the second byte of an emoji,
    has an empty piece.
    """
    special = set(tokens.special)
    if tokens.spans is None:  # what a model has written
        texts = texts_of(tokens.meta())
        return [None if position in special else text for position, text in enumerate(texts)]
    pieces: list[str | None] = []
    read = 0
    for position, span in enumerate(tokens.spans.spans):
        end = read if span is None else max(read, span[1])
        pieces.append(None if position in special else tokens.spans.text[read:end])
        read = end
    return pieces


def entry(
    sequences: Mapping[str, Any],
    pieces: Sequence[str | None],
    names: Sequence[str],
    layers: Sequence[LayerUnits],
    parameters: Mapping[str, Any],
) -> Entry:
    """Return the entry of some layers' units over a text.

    `pieces` has the text of each token, None for a special token, which is shown by its name in `names`.

    Raises:
        ValueError: `find` finds nothing in one half of the text, or a unit that is asked for does not exist.
    """
    find = parameters["find"]
    looked_for = None if find is None else mask(find, pieces)
    blobs: dict[str, bytes] = {}
    parts = list(dict.fromkeys(part for layer in layers for part in layer.parts))
    searches: dict[str, Any] = {}
    counts: dict[int, dict[str, int]] = {layer.layer: {} for layer in layers}
    for part in parts:
        values = {layer.layer: layer.parts[part] for layer in layers if part in layer.parts}
        found = None if looked_for is None else search(looked_for, values)
        if found is not None:
            searches[part] = described(found)
        for number, units in values.items():
            correlations = None if found is None else found.layers[number]
            kept = _kept(units, parameters, correlations)
            counts[number][part] = len(kept)
            blobs[f"{part}/{number}"] = _values(part, units[:, kept])
            blobs[f"{part}/{number}/units"] = json_blob(_listed(kept, correlations))
    if looked_for is not None:
        shown = np.nan_to_num(looked_for).astype(np.float32)[None]
        blobs["mask"] = signed_bytes_blob(shown, np.abs(shown).max(axis=1))
    if saturated := {layer.layer: _saturation(layer) for layer in layers if set(layer.parts) & set(GATES)}:
        blobs["saturation"] = json_blob(saturated)
    blobs["text"] = text_blob(pieces, names)
    meta = {
        "sequences": dict(sequences),
        "parts": parts,
        "layers": [
            {"layer": each.layer, "name": each.name, "units": each.units, "parts": counts[each.layer]}
            for each in layers
        ],
        "search": searches,
        "saturation": bool(saturated),
    }
    return Entry(meta, blobs)


def text_blob(pieces: Sequence[str | None], names: Sequence[str]) -> bytes:
    """Encode a text and where each token ends; a special token, whose piece is None, is written by its name."""
    texts = [name if piece is None else piece for piece, name in zip(pieces, names, strict=True)]
    return json_blob({"text": "".join(texts), "ends": _ends(texts)})


def _ends(texts: Sequence[str]) -> list[int] | None:
    """Return where each token ends, in characters, or None if each token is one character."""
    return None if all(len(text) == 1 for text in texts) else list(accumulate(map(len, texts)))


def _kept(values: Floats, parameters: Mapping[str, Any], correlations: Correlations | None) -> list[int]:
    """Return the units of (T, units) that are stored: those that correlate most, best first, or vary most, by number.

    Raises:
        ValueError: a unit that is asked for does not exist.
    """
    count, wanted = values.shape[1], parameters["units"]
    for unit in wanted:
        if unit >= count:
            raise WrongValue("units", f"Unit {unit} is not in this layer; its units are 0 to {count - 1}.")
    by = values.std(axis=0) if correlations is None else np.abs(correlations.chosen)
    order = np.argsort(-by, kind="stable").tolist()
    kept = order[: parameters["keep"]]
    kept += [unit for unit in wanted if unit not in kept]
    return sorted(kept) if correlations is None else kept


def _values(part: str, values: Floats) -> bytes:
    """Encode the values of some units, (T, units)."""
    largest = np.abs(values).max(axis=0, initial=0)
    return signed_bytes_blob(values.T, np.maximum(largest, 1) if part in BOUNDED else largest)


def _listed(kept: Sequence[int], correlations: Correlations | None) -> dict[str, Any]:
    """Return the numbers of the units that are stored, with their correlations."""
    if correlations is None:
        return {"units": list(kept)}
    return {
        "units": list(kept),
        "chosen": [round_digits(correlations.chosen[unit], 4) for unit in kept],
        "told": [round_digits(correlations.told[unit], 4) for unit in kept],
    }


def described(found: Search) -> dict[str, Any]:
    """Return what the search gave, as plain JSON."""
    layer, unit = found.best
    return {
        "looked_at": found.looked_at,
        "layer": layer,
        "unit": unit,
        "chosen": round_digits(found.layers[layer].chosen[unit], 4),
        "told": round_digits(found.layers[layer].told[unit], 4),
        "shifted": {
            "count": len(found.shifted),
            "best": round_digits(max(found.shifted), 4),
            "median": round_digits(float(np.median(found.shifted)), 4),
        },
    }


def _saturation(layer: LayerUnits) -> dict[str, list[list[float]]]:
    """Return for each gate the fractions of tokens at which each unit's gate is left-saturated and right-saturated."""
    return {
        gate: [_fractions(values < LEFT), _fractions(values > RIGHT)]
        for gate, values in layer.parts.items()
        if gate in GATES
    }


def _fractions(holds: npt.NDArray[np.bool_]) -> list[float]:
    return [round_digits(fraction, 3) for fraction in holds.mean(axis=0).tolist()]
