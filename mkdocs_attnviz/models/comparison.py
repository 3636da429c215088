"""The comparison of two entries of the same input and the same model.

Batches, threads and devices change the last bits of numbers. So numbers are compared with a tolerance, texts exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST_JSON, LARGEST_LAYER, LARGEST_TABLE, inflated
from mkdocs_attnviz.models.router_comparison import mixture_of, routers_differ
from mkdocs_attnviz.models.strongest_comparison import Apart, most_apart
from mkdocs_attnviz.weight_rounding import intervals

STEPS = 4  # of 255: the tolerance of a stored weight
SHARE = 0.02  # of the largest number of the same list or array: the tolerance of a number
NOT_COMPARED = ("key", "made_with")
ADDED = ("kv_heads", "causal", "learned_sink")
"""Parts of a header that entries of earlier versions lack, though their keys are the same."""
SHARES = ("rounding", "tables", "strongest", "kept")
"""Parts of a layer of attention that say how its weights are stored."""
UNSTABLE = ("cluster",)
"""Lists whose order may change with a last bit."""
PAIRED = {"top": ("probabilities", "values")}
"""Lists of names or numbers, the likeliest first, each with the lists of their values."""


def difference(stored: Entry, computed: Entry) -> str:
    """Return the first difference between an entry and a new computation of it, as `part: difference`; '' if they
    agree.
    """
    one, other = (
        {name: _without_shares(name, value) for name, value in entry.meta.items() if name not in NOT_COMPARED}
        for entry in (stored, computed)
    )
    if not any("/mask/" in name for name in stored.blobs):  # an entry of an older version has none
        other = _without_masks(other)
        computed = Entry(computed.meta, {name: blob for name, blob in computed.blobs.items() if "/mask/" not in name})
    if where := _unlike(one, other):
        return f"its header has another {where}"
    if stored.blobs.keys() != computed.blobs.keys():
        return f"it has other parts ({', '.join(sorted(stored.blobs.keys() ^ computed.blobs.keys())[:3])})"
    for name in stored.blobs:
        try:
            if "/mask/" in name or name.partition("/")[0] in other.get("masks", {}):
                how = _masks_differ(stored.blobs[name], computed.blobs[name])
            elif (mixture := mixture_of(name, other)) is not None:
                how = routers_differ(name, mixture, stored.blobs[name], computed.blobs[name])
            elif _is_of_units(name, computed):
                how = _units_differ(name, stored, computed)
            elif "/strongest/" in name:
                how = _strongest_differ(name, stored, computed)
            elif _groups(name, other) == 0:
                how = _steps_differ(name, stored, computed)
            else:
                how = _blob_differs(name, other, stored.blobs[name], computed.blobs[name])
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError, IndexError):
            how = "nothing that can be read"
        if how:
            return f"{name} has {how}"
    return ""


def _without_masks(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header of attention without what it says of masks."""
    if not isinstance(stacks := meta.get("stacks"), Mapping):
        return dict(meta)
    without = {
        name: {
            **stack,
            "layers": [{part: layer[part] for part in layer if part != "mask"} for layer in stack["layers"]],
        }
        for name, stack in stacks.items()
    }
    return {**meta, "stacks": without}


def _blob_differs(name: str, meta: Mapping[str, Any], stored: bytes, computed: bytes) -> str:
    if stored == computed:
        return ""
    groups = _groups(name, meta)
    if groups is None:
        where = _unlike(_comparable(_json(stored)), _comparable(_json(computed)))
        return f"another {where}" if where else ""
    return _values_differ(stored, computed, groups)


def _masks_differ(stored: bytes, computed: bytes) -> str:
    """Compare masks, which have no last bits."""
    one, other = (inflated(blob, LARGEST_TABLE, most=True) for blob in (stored, computed))
    return "other pairs of tokens" if one != other else ""


def _is_of_units(name: str, entry: Entry) -> bool:
    """Return whether a blob has the values of units of the cells view, or the list of these units."""
    return f"{name}/units" in entry.blobs or (name.endswith("/units") and name.removesuffix("/units") in entry.blobs)


def _units_differ(name: str, stored: Entry, computed: Entry) -> str:
    """Compare values or correlations unit by unit.

    The order of units, and which of two similar ones is kept, may change with a last bit.
    """
    one, other = _rows_of_units(name, stored), _rows_of_units(name, computed)
    common = one.keys() & other.keys()
    if len(one) != len(other) or len(other) - len(common) > max(1, SHARE * len(other)):
        return "other units"
    for unit in sorted(common):
        if one[unit].shape != other[unit].shape:
            return "values of another number of tokens"
        most, scale = float(np.abs(one[unit] - other[unit]).max(initial=0)), float(np.abs(other[unit]).max(initial=0))
        if not most <= SHARE * scale + 1e-3:
            return f"values of unit {unit} that are off by up to {most:.3g}"
    return ""


def _rows_of_units(name: str, entry: Entry) -> dict[int, npt.NDArray[np.float64]]:
    """Return the values of each unit, (T,), or its two correlations."""
    values = name.removesuffix("/units")
    lists = _json(entry.blobs[f"{values}/units"])
    units, count = lists["units"], len(lists["units"])
    if name != values:
        columns = [lists[key] for key in ("chosen", "told") if key in lists]
        rows = np.array(columns, np.float64).reshape(len(columns), count).T
    else:
        content = inflated(entry.blobs[name], LARGEST_TABLE, most=True)
        scales = np.frombuffer(content[: 4 * count], "<f4")[:, None].astype(np.float64)
        rows = np.frombuffer(content[4 * count :], np.int8).reshape(count, -1) * scales
    return dict(zip(units, rows, strict=True))


def _json(blob: bytes) -> Any:
    return json.loads(inflated(blob, LARGEST_JSON, most=True))


def _groups(name: str, meta: Mapping[str, Any]) -> int | None:
    """Return the number of scaled rows of a blob; 0 for weights, None for JSON."""
    stack, _, rest = name.partition("/")
    if stack in meta.get("stacks", {}):
        number, _, part = rest.partition("/")
        if number == "overview" or part in ("", "rollout"):
            return 0
        layer = next(layer for layer in meta["stacks"][stack]["layers"] if str(layer["layer"]) == number)
        neurons = layer.get("neurons") or {"d": 1, "kv_heads": 1}
        return int(
            {"q": layer["heads"] * neurons["d"], "k": neurons["kv_heads"] * neurons["d"]}.get(part, layer["heads"])
        )
    if stack in meta.get("similar", {}):
        return int(meta["similar"][stack]["layers"])
    if name == "attributions":
        return len(meta["outputs"])
    layers = meta.get("layers", [])
    kept_neurons = (
        {
            f"{layer['stack']}.{layer['layer']}": layer["kept"]
            for layer in layers
            if isinstance(layer, dict) and "kept" in layer
        }
        if isinstance(layers, list)
        else {}
    )
    return kept_neurons.get(name)


def _steps_differ(name: str, stored: Entry, computed: Entry) -> str:
    """Compare weights. Steps may differ by the rounding of both entries, and by `STEPS`."""
    if stored.blobs[name] == computed.blobs[name]:
        return ""
    size = len(inflated(computed.blobs[name], LARGEST_LAYER, most=True))
    one, other = (np.frombuffer(inflated(entry.blobs[name], size), np.uint8) for entry in (stored, computed))
    pairs = np.flatnonzero(np.bincount(one.astype(np.uint16) * 256 + other))
    apart = _apart(name, stored, computed)
    return _off(round(float(apart(pairs // 256, pairs % 256).max(initial=0))))


def _strongest_differ(name: str, stored: Entry, computed: Entry) -> str:
    """Compare the strongest weights of each row of a layer, all at once with those of the first group."""
    layer, _, group = name.partition("/strongest/")
    if group != "0" or all(
        stored.blobs[each] == computed.blobs[each] for each in stored.blobs if each.startswith(f"{layer}/strongest/")
    ):
        return ""
    stack, _, number = layer.partition("/")
    about, sequences = computed.meta["stacks"][stack], computed.meta["sequences"]
    heads = next(each["heads"] for each in about["layers"] if str(each["layer"]) == number)
    rows, cols = (len(sequences[about[side]]["tokens"]) for side in ("rows", "cols"))
    return _off(most_apart(layer, stored, computed, (heads, rows, cols), _apart(name, stored, computed)))


def _apart(name: str, stored: Entry, computed: Entry) -> Apart:
    """Return a function that tells by how many steps the weights of two stored bytes differ at least."""
    spans = [np.array(intervals(_rounding(name, entry.meta)), np.float32) for entry in (stored, computed)]
    (low, high), (other_low, other_high) = (span.T for span in spans)

    def apart(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        gaps: npt.NDArray[np.float32] = np.maximum(low[one] - other_high[other], other_low[other] - high[one]) + 1
        return gaps

    return apart


def _off(steps: int) -> str:
    return f"weights that are off by up to {steps} of 255 steps" if steps > STEPS else ""


def _rounding(name: str, meta: Mapping[str, Any]) -> int:
    """Return the rounding of a blob's weights."""
    stack, _, rest = name.partition("/")
    layers = {str(layer["layer"]): layer for layer in meta["stacks"][stack]["layers"]}
    return int(layers.get(rest.partition("/")[0], {}).get("rounding", 0))


def _without_shares(name: str, value: Any) -> Any:
    """Return a part of a header without the rounding of weights and the shares that parts of a layer keep. Entries of
    earlier versions lack them or have worse ones, and they follow from the weights, which are compared."""
    if name != "stacks" or not isinstance(value, Mapping):
        return value
    return {
        stack: {
            **about,
            "layers": [{part: layer[part] for part in layer if part not in SHARES} for layer in about["layers"]],
        }
        for stack, about in value.items()
    }


def _values_differ(stored: bytes, computed: bytes, groups: int) -> str:
    size = len(inflated(computed, LARGEST_TABLE * 16, most=True))
    decoded = []
    for blob in (stored, computed):
        content = inflated(blob, size)
        scales = np.frombuffer(content[: 4 * groups], "<f4")[:, None]
        steps = np.frombuffer(content[4 * groups :], "<i2").reshape(groups, -1)
        decoded.append((steps * scales, steps == -32768))
    (one, masked), (other, masked_too) = decoded
    if (masked != masked_too).any():
        return "values in other places"
    scale = float(np.abs(np.where(masked, 0, other)).max(initial=0))
    most = float(np.nan_to_num(np.abs(np.where(masked, 0, one - other)), nan=np.inf).max(initial=0))
    return f"values that are off by up to {most:.3g}" if most > SHARE * scale + 1e-6 else ""


def _comparable(value: Any) -> Any:
    """Return JSON with numbers replaced by the names they stand for, and each name paired with its value."""
    if not isinstance(value, dict):
        return value
    names = value.get("vocabulary")
    comparable = {name: part for name, part in value.items() if name not in ("vocabulary", *UNSTABLE)}
    if "actual" in comparable:
        comparable["actual"] = _floats(comparable["actual"])  # a list of probabilities and ranks
    for first, seconds in PAIRED.items():
        for second in seconds:
            if first in comparable and second in comparable:
                comparable[first] = _paired(comparable[first], comparable.pop(second), names)
    return comparable


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(part) for part in value]
    return float(value) if type(value) is int else value


def _paired(first: Any, second: Any, names: Any) -> Any:
    """Turn nested lists of numbers and of their values into nested lists of mappings from name to value."""
    if isinstance(first, list) and first and not isinstance(first[0], int):
        return [_paired(one, other, names) for one, other in zip(first, second, strict=True)]
    if not isinstance(first, list):
        return first
    return _Top({names[at] if names else str(at): value for at, value in zip(first, second, strict=True)})


class _Top(dict[str, float]):
    """The likeliest names with their values. Names at the end may differ between two runs if they are
    equally likely.
    """


def _unlike(one: Any, other: Any, room: float = 0.0) -> str:
    """Return the name of the part that differs, or ''. `room` is the absolute tolerance of numbers."""
    if isinstance(one, _Top) and isinstance(other, _Top):
        return "" if _same_top(one, other) else "list of what is likeliest"
    if isinstance(one, dict) and isinstance(other, dict):
        other = {name: value for name, value in other.items() if name in one or name not in ADDED}
        if one.keys() != other.keys():
            return f"`{min(one.keys() ^ other.keys())}`"
        return next((f"`{name}`" for name in one if _unlike(one[name], other[name], room)), "")
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return "length"
        numbers = [abs(value) for value in other if isinstance(value, float)]
        room = max([room, *(SHARE * number for number in numbers if math.isfinite(number))])
        return next((f"{at}" for at, pair in enumerate(zip(one, other, strict=True)) if _unlike(*pair, room)), "")
    if isinstance(one, float) or isinstance(other, float):
        return "" if _close(one, other, room) else "number"
    return "" if type(one) is type(other) and one == other else "value"


def _close(one: Any, other: Any, room: float) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other))
    return numbers and math.isclose(one, other, rel_tol=SHARE, abs_tol=max(room, 1e-4))


def _same_top(one: _Top, other: _Top) -> bool:
    if len(one) != len(other):
        return False
    least = min(other.values(), key=abs, default=0.0)
    return all(_close(value, other.get(name, least), 0.0) for name, value in one.items())
