"""Heads that share keys and values: grouped and multi-query attention (Shazeer 2019; Ainslie et al. 2023).

Which head uses which keys is read from the model that ran. Entries of earlier versions do not know it. As in
transformers' `repeat_kv`, successive heads share keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class KeyGroup(NamedTuple):
    """The heads among those shown that share keys."""

    keys: int
    heads: list[int]


def kv_heads(layer: Mapping[str, Any]) -> int | None:
    """Return the number of heads of keys of a layer in the form of an entry's `meta`; None if no head shares its keys,
    or if the entry does not tell."""
    heads = layer["heads"]
    count = layer.get("kv_heads") or (layer.get("neurons") or {}).get("kv_heads") or heads
    return int(count) if count < heads and heads % count == 0 else None


def keys_of(head: int, heads: int, count: int) -> int:
    """Return the number of the keys that a head uses, if `heads` heads share `count` heads of keys."""
    return head * count // heads


def common_groups(layers: Iterable[Mapping[str, Any]], shown: Iterable[int]) -> list[KeyGroup]:
    """Return the groups of the heads that are shown; none if no heads share keys, or not alike in all layers."""
    shapes = {(layer["heads"], kv_heads(layer)) for layer in layers}
    if len(shapes) != 1:
        return []
    ((heads, count),) = shapes
    return [] if count is None else list(_groups(shown, heads, count))


def _groups(shown: Iterable[int], heads: int, count: int) -> Iterator[KeyGroup]:
    """Yield the groups of the heads that are shown, in ascending order."""
    by_keys: dict[int, list[int]] = {}
    for head in sorted(shown):
        by_keys.setdefault(keys_of(head, heads, count), []).append(head)
    return (KeyGroup(*group) for group in by_keys.items())


def sharing(layers: Iterable[Mapping[str, Any]]) -> str:
    """Return the end of a sentence that says how many heads share keys; empty if none do."""
    sizes = sorted({layer["heads"] // count for layer in layers if (count := kv_heads(layer))})
    if not sizes:
        return ""
    return f", {' or '.join(map(str, sizes))} of which share keys and values"
