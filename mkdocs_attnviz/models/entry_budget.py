"""The budget of an entry: the forms in which it has the weights of each layer. It needs NumPy, not torch.

A large entry has the strongest weights of each row, from which figures with little room are made. If it has no room for
all weights of a layer as well, it has them reduced by a table (`reduction`), or not at all. Each layer has its share of
the room, so that it can be encoded before the next one is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mkdocs_attnviz.models.encoding import Steps, weights_blob
from mkdocs_attnviz.models.kept_shares import Masses, StepMasses
from mkdocs_attnviz.models.reduction import AFTER, LADDER, LARGE, TABLES, Reduction
from mkdocs_attnviz.models.strongest import strongest_groups
from mkdocs_attnviz.weight_rounding import rounded_steps, rounding

SHARE = 0.9
"""The share of an entry's size that is for weights and what belongs to each head."""
OVERVIEW = 300
"""The number of bytes of a head's overview."""
ROLLOUTS = 0.05
"""The share of an entry's size that is for rollouts."""
HOPELESS = 10
"""The factor by which all weights may exceed their room before no table is tried."""
STRONGEST = "strongest"
"""The word in a layer's `meta` for weights of which only the strongest are stored."""


@dataclass(frozen=True)
class EntryBudget:
    """The bytes that an entry may have for its layers, each with a shape of (heads, rows, cols)."""

    size: int
    shapes: Sequence[tuple[int, int, int]]

    @cached_property
    def weights(self) -> int:
        """The number of weights of all layers."""
        return sum(heads * rows * cols for heads, rows, cols in self.shapes)

    @property
    def is_large(self) -> bool:
        """True if the entry has the strongest weights of each row, too."""
        return self.weights >= LARGE

    def needs_means(self, cols: int) -> bool:
        """Return whether the shares that parts of a layer keep are told, which the stored bytes alone tell badly."""
        return self.is_large or rounding(cols) > 0

    def room(self, steps: Steps) -> float:
        """Return the number of bytes for the weights of a layer."""
        beside = sum(heads * (OVERVIEW + 2 * cols) for heads, _, cols in self.shapes)  # norms of values have 16 bits
        return max(self.size * SHARE - beside, self.size / 2) * steps.size / self.weights

    def rollout_room(self, layers: int) -> float:
        """Return the number of bytes for the rollout of a layer."""
        return self.size * ROLLOUTS / layers


@dataclass(frozen=True)
class EncodedLayer:
    """The weights of a layer: their blobs, by the end of their names, and what the layer's `meta` says of them."""

    blobs: dict[str, bytes]
    meta: dict[str, Any] = field(default_factory=dict)


def encode_layer(steps: Steps, budget: EntryBudget, means: Masses | None) -> EncodedLayer:
    """Encode the weights of a layer, (heads, cols, rows), within its share of the budget.

    `means` are the `kept_shares.mean_weights` of the layer, (heads, 256), if the budget needs them.
    """
    rounded = rounding(steps.shape[1])
    about: dict[str, Any] = {"rounding": rounded} if rounded else {}
    if means is None:
        return EncodedLayer({"": weights_blob(steps, rounded)}, about)
    masses = StepMasses.of(steps, means).through(rounded_steps(rounded))
    if not budget.is_large:
        return EncodedLayer({"": weights_blob(steps, rounded)}, about | _tables(masses, steps.shape[1], TABLES))
    steps = _rounded(steps)
    room = budget.room(steps)
    groups, strongest = strongest_groups(steps, masses)
    blobs = {f"/strongest/{number}": group for number, group in enumerate(groups)}
    meta = about | {"strongest": strongest}
    room -= sum(map(len, groups))
    if (whole := _whole(steps, room)) is not None:
        return EncodedLayer({"": whole} | blobs, meta | _tables(masses, steps.shape[1], LADDER))
    if _guess(steps) <= HOPELESS * room:
        for reduction in LADDER:
            reduced = _reduced(steps, reduction)
            if len(blob := weights_blob(reduced)) <= room:
                left = masses.through(reduction.table(steps.shape[1]))
                meta |= {"reduced": reduction.least, "kept": left.shares()} | _tables(left, steps.shape[1], LADDER)
                return EncodedLayer({"": blob} | blobs, meta)
    while room < 0 and len(groups) > 1:
        room += len(groups.pop())
        del blobs[f"/strongest/{len(groups)}"]
        strongest.pop()
    return EncodedLayer(blobs, meta | {"reduced": STRONGEST, "kept": strongest[-1]})


def encode_rollout(steps: Steps, room: float) -> bytes:
    """Encode a rollout within so many bytes, reduced by a table if necessary."""
    steps = _rounded(steps)
    blob = weights_blob(steps)
    for reduction in (*LADDER, *AFTER):
        if len(blob) <= room:
            break
        blob = weights_blob(_reduced(steps, reduction))
    return blob


def _whole(steps: Steps, room: float) -> bytes | None:
    """Return the encoded weights if they have room."""
    if _guess(steps) > 2 * room:
        return None
    blob = weights_blob(steps)
    return blob if len(blob) <= room else None


def _guess(steps: Steps) -> int:
    """Return about how many bytes all weights of a layer take, from one of its heads."""
    heads = len(steps)
    return heads * len(weights_blob(steps[heads // 2 : heads // 2 + 1]))


def _rounded(steps: Steps) -> Steps:
    """Return steps rounded as `weight_rounding` explains, where the text is long."""
    rounded = rounding(steps.shape[1])
    result: Steps = np.frombuffer(rounded_steps(rounded), np.uint8)[steps] if rounded else steps
    return result


def _reduced(steps: Steps, reduction: Reduction) -> Steps:
    reduced: Steps = np.frombuffer(reduction.table(steps.shape[1]), np.uint8)[steps]
    return reduced


def _tables(masses: StepMasses, cols: int, reductions: Sequence[Reduction]) -> dict[str, list[list[float]]]:
    """Return what a layer's `meta` says of tables: for each, the share of each head's weight that it keeps."""
    return {"tables": [masses.through(reduction.table(cols)).shares() for reduction in reductions]}


def reduction_of(stacks: Mapping[str, Mapping[str, Any]], size: int) -> dict[str, int]:
    """Return what an entry's `meta` says of its budget: the size to which it was reduced, or nothing if it was not."""
    layers = [layer for stack in stacks.values() for layer in stack["layers"]]
    return {"reduced": size} if any("reduced" in layer for layer in layers) else {}
