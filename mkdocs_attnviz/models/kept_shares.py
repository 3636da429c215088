"""The share of each head's weight that remains where a layer is stored or shipped in part. It needs NumPy, not torch.

A stored byte tells a small weight badly: in a long text, bytes of 0 to 2 may hold a tenth of a head's weight. So shares
are sums of the model's own weights. A layer has too many of these to keep them until it is encoded. Its bytes are all
counted, and the mean weight of each byte is that of some rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.models.encoding import Floats, Steps, quantised
from mkdocs_attnviz.models.reduction import WEIGHT

ROWS = 16
"""The largest number of rows of a layer from which the mean weights are taken."""
ALL, MOST = 1 - 1e-9, 0.999
"""The share from which on nothing is missing, and the largest that is told of a head that is not whole."""
Masses = npt.NDArray[np.float64]


def sampled_rows(rows: int) -> list[int]:
    """Return the rows from which the mean weights are taken, evenly spaced, the first and the last among them."""
    return sorted({round(float(row)) for row in np.linspace(0, rows - 1, min(rows, ROWS))})


def mean_weights(sample: Floats) -> Masses:
    """Return the mean of the weights that are stored as each byte, (heads, 256), from those of the `sampled_rows` of a
    layer, (heads, n, cols). A byte without any weight has the one that it stands for."""
    return np.stack([_means(weights) for weights in sample])


@dataclass(frozen=True)
class StepMasses:
    """The number of weights that are stored as each byte, and their sum, each (heads, 256)."""

    counts: npt.NDArray[np.int64]
    sums: Masses

    @classmethod
    def of(cls, steps: Steps, means: Masses) -> StepMasses:
        """Count the bytes of a layer, (heads, cols, rows), whose weights have these `mean_weights`."""
        counts = np.stack([_histogram(head) for head in steps])
        return cls(counts, counts * means)

    def through(self, table: bytes) -> StepMasses:
        """Return the masses after each byte is replaced by that in a table of 256 bytes.

        A product of matrices would do the same, but BLAS reserves tens of megabytes for it in each thread.
        """
        moved = np.frombuffer(table, np.uint8)
        counts = np.stack([np.bincount(moved, head, minlength=256).astype(np.int64) for head in self.counts])
        return StepMasses(counts, np.stack([np.bincount(moved, head, minlength=256) for head in self.sums]))

    @property
    def means(self) -> Masses:
        """The mean weight that each byte stands for, (heads, 256)."""
        return self.sums / np.maximum(self.counts, 1)

    def shares(self, kept: Masses | None = None) -> list[float]:
        """Return the share of each head's weight that is kept: that of all weights but those stored as zero, or `kept`,
        (heads,). A head without any weight keeps all of it.

        Only a share of all is told as 1, since a head that keeps 1 counts as whole.
        """
        kept = self.sums[:, 1:].sum(axis=1) if kept is None else kept
        totals = self.sums.sum(axis=1)
        found = np.divide(kept, totals, out=np.ones_like(kept), where=totals > 0)
        return [1.0 if share >= ALL else round(min(MOST, share), 3) for share in found.tolist()]


def _histogram(steps: Steps) -> npt.NDArray[np.int64]:
    """Return how often each byte occurs, (256,). Pairs of bytes are counted, which takes half the time."""
    every = steps.ravel(order="K")
    pairs = np.bincount(every[: every.size // 2 * 2].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    last = np.bincount(every[every.size // 2 * 2 :], minlength=256)
    counts: npt.NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1) + last
    return counts


def _means(weights: Floats) -> Masses:
    """Return the means of one head's weights, (n, cols)."""
    places = quantised(weights[None])[0].T.ravel()
    counts, sums = np.bincount(places, minlength=256), np.bincount(places, weights.ravel(), minlength=256)
    return np.where(counts > 0, sums / np.maximum(counts, 1), WEIGHT)
