"""The strongest weights of each row of a large matrix, and what they leave out.

A page cannot have all weights of a long text: 4,000 tokens have eight million in each head. Of each row, the strongest
are kept, and the share of the row that they hold. A file of `ROWS` rows has, one after the other, little-endian:

- the largest |weight| of each row, float32;
- the share of the row's |weights| that is kept, in steps of 1/255, and the share that goes to a sink, one byte each;
- the number of weights that are kept, one byte;
- the distance of each weight's column from the one before it in its row: first all low bytes, then all high bytes;
- each weight's step, round(255·√(|weight| / largest)), one byte;
- its sign, one byte (1 for negative ones), if the matrix is signed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

ROWS = 512
"""The number of rows in one file, about 60 kB of a long text."""
MOST = 255
"""The largest number of weights that are kept of a row."""
LARGEST = 1 << 16
"""The largest number of columns."""


@dataclass(frozen=True)
class Strongest:
    """The strongest weights of a matrix, n of each row. A step of zero is no weight."""

    columns: npt.NDArray[np.int64]
    """Columns, (rows, n), in ascending order."""
    steps: npt.NDArray[np.uint8]
    """Steps, (rows, n)."""
    negative: npt.NDArray[np.bool_] | None
    """True for negative weights, (rows, n); None if the matrix is not signed."""
    most: npt.NDArray[np.float32]
    """The largest |weight|, (rows,)."""
    kept: npt.NDArray[np.uint8]
    """The share of each row's |weights| that is kept, in steps of 1/255, (rows,)."""
    sink: npt.NDArray[np.uint8]
    """The share of each row that goes to no column, in steps of 1/255, (rows,)."""

    def files(self) -> Iterator[bytes]:
        """Yield the deflated files."""
        for start in range(0, len(self.most), ROWS):
            part = slice(start, start + ROWS)
            taken = self.steps[part] > 0
            before = _before(self.columns[part], taken)
            distances = (self.columns[part] - before)[taken]
            parts = [
                self.most[part].astype("<f4"),
                self.kept[part],
                self.sink[part],
                taken.sum(axis=1).astype(np.uint8),
                (distances & 255).astype(np.uint8),
                (distances >> 8).astype(np.uint8),
                self.steps[part][taken],
            ]
            if self.negative is not None:
                parts.append(self.negative[part][taken].astype(np.uint8))
            yield zlib.compress(b"".join(each.tobytes() for each in parts), 6)


def _before(columns: npt.NDArray[np.int64], taken: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the column of the last weight that is taken before each one of its row; 0 for the first."""
    last = np.maximum.accumulate(np.where(taken, columns, 0), axis=1)
    return np.concatenate([np.zeros_like(last[:, :1]), last[:, :-1]], axis=1)


def strongest(matrix: torch.Tensor, count: int, *, signed: bool = False, sink: bool = False) -> Strongest:
    """Return the `count` strongest weights of each row of a matrix, (rows, cols)."""
    sizes = matrix.abs() if signed else matrix
    values, columns = sizes.topk(min(count, matrix.shape[1]), dim=-1)
    most, total = values[:, :1], sizes.sum(-1)
    columns, order = columns.sort(-1)
    values = values.gather(-1, order)
    steps = (255 * (values / most.clamp_min(1e-30)).sqrt()).round()
    steps = torch.where(most > 0, steps, 0.0)
    kept = torch.where(steps > 0, values, 0.0).sum(-1) / total.clamp_min(1e-30)
    lost = (1 - total).clamp(0, 1) if sink else torch.zeros_like(total)
    return Strongest(
        columns.cpu().numpy(),
        steps.to(torch.uint8).cpu().numpy(),
        (matrix.gather(-1, columns) < 0).cpu().numpy() if signed else None,
        most[:, 0].float().cpu().numpy(),
        _share(torch.where(total > 0, kept, 1.0)),
        _share(lost),
    )


def _share(share: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Return shares in steps of 1/255."""
    steps: npt.NDArray[np.uint8] = (255 * share.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
    return steps


def received(matrix: torch.Tensor, *, own: bool, causal: bool) -> bytes:
    """Encode the mean of each column over the rows that can see it, without its own row if rows and columns are the
    same tokens (`own`): the float32 of the largest, then uint16 in steps round(65535·√(mean / largest))."""
    matrix = matrix.abs()
    rows, cols = matrix.shape
    sums, counts = matrix.sum(0), torch.full([cols], float(rows), device=matrix.device)
    if own:
        sums = sums - matrix.diagonal()
        counts = torch.arange(rows - 1, -1, -1, device=matrix.device).float() if causal else counts - 1
    means = (sums / counts.clamp_min(1)).clamp_min(0).float()
    most = means.max()
    steps = (65535 * (means / most.clamp_min(1e-30)).sqrt()).round().cpu().numpy()
    return zlib.compress(np.float32(most.cpu()).astype("<f4").tobytes() + steps.astype("<u2").tobytes(), 6)
