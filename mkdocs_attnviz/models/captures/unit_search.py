"""The search for units that follow something in a text: ranked on one half of the text, told on the other.

Among many units one will correlate with anything. So a unit is chosen by its correlation on the first half of the
tokens, and the correlation that is told is that on the second half. Beside it stands what the same procedure finds for
the same mask shifted along the text, as often as there are units (at most 500 times): a shifted mask has the rhythm of
the real one, but says nothing of the text. Correlations are Pearson's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.block.problem import WrongValue

Numbers = npt.NDArray[np.float64]
MOST_SHIFTS = 500
SEED = 0
LEAST_TOKENS = 20
"""The smallest number of tokens in which units are searched."""


@dataclass(frozen=True)
class Correlations:
    """The correlations of the units of one layer with a mask, each (units,)."""

    chosen: Numbers
    """The correlations on the first half of the tokens, by which units are ranked."""
    told: Numbers
    """The correlations on the second half, which are told."""


@dataclass
class Search:
    """The search among the units of several layers."""

    looked_at: int
    layers: Mapping[int, Correlations]
    shifted: list[float] = field(default_factory=list)
    """A number for each shifted mask: the |correlation| on the second half of the unit that is best on the first."""

    @property
    def best(self) -> tuple[int, int]:
        """The layer and the number of the unit with the largest |correlation| on the first half."""
        tops = {layer: int(np.abs(each.chosen).argmax()) for layer, each in self.layers.items()}
        best = max(tops, key=lambda layer: abs(self.layers[layer].chosen[tops[layer]]))
        return best, tops[best]


def search(mask: Numbers, layers: Mapping[int, npt.NDArray[np.floating]]) -> Search:
    """Return the search for a mask, (T,), among units, (T, units) by layer. Tokens without a number are left out.

    Raises:
        ValueError: the text is too short, or the mask is the same throughout one of its halves.
    """
    counted = ~np.isnan(mask)
    known = mask[counted]
    if len(known) < LEAST_TOKENS:
        raise WrongValue("find", f"`find` needs {LEAST_TOKENS} tokens or more; the text has {len(known)}.")
    middle = len(known) // 2
    for half, name in ((known[:middle], "first"), (known[middle:], "second")):
        if half.min() == half.max():
            value = "nothing" if half[0] == 0 else "the same at every token"
            raise WrongValue(
                "find",
                f"`find` gives {value} in the {name} half of the text; units are ranked on one half and told on the "
                "other, so that both need some of it.",
            )
    units = sum(values.shape[1] for values in layers.values())
    masks = np.stack([known, *_shifted(known, min(units, MOST_SHIFTS))])
    firsts, seconds = _standard(masks[:, :middle]), _standard(masks[:, middle:])
    found: dict[int, Correlations] = {}
    best, told = np.full(len(masks), -1.0), np.zeros(len(masks))
    for layer, values in layers.items():
        chosen = firsts @ _standard(values[counted][:middle].T).T  # (masks, units)
        after = seconds @ _standard(values[counted][middle:].T).T
        found[layer] = Correlations(chosen[0], after[0])
        top = np.abs(chosen).argmax(axis=1)[:, None]
        most = np.abs(np.take_along_axis(chosen, top, 1))[:, 0]
        told = np.where(most > best, np.abs(np.take_along_axis(after, top, 1))[:, 0], told)
        best = np.maximum(most, best)
    return Search(units, found, told[1:].tolist())


def _shifted(mask: Numbers, count: int) -> list[Numbers]:
    """Return the mask shifted round the text by random distances, none of them less than a tenth of the text."""
    least = max(1, len(mask) // 10)
    possible = np.arange(least, len(mask) - least + 1)
    distances = np.random.default_rng(SEED).choice(possible, min(count, len(possible)), replace=False)
    return [np.roll(mask, distance) for distance in distances]


def _standard(rows: npt.NDArray[np.floating]) -> Numbers:
    """Return rows with a mean of 0 and a length of 1; a row without any variation is 0."""
    centred = rows - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    # What is left of a constant row is rounding.
    varies = lengths > 1e-6 * np.abs(rows).max(axis=1, keepdims=True, initial=0) * np.sqrt(rows.shape[1])
    standard: Numbers = np.where(varies, centred / np.where(varies, lengths, 1), 0)
    return standard
