"""Measures of what each head looks at: shares of its attention, entropy, distance, and scores of repeated tokens.

Shares, entropy and distance follow Clark, Khandelwal, Levy and Manning (2019), "What Does BERT Look At?", and the
authors' code. A share is Σ(A ∘ mask) / n for n rows; entropy is of 0.9999·A + 0.0001/n, the mean over rows, in nats;
distance is the mean of |from − to| in tokens. Punctuation is a full stop or a comma.

The scores of decoders' heads use the detection patterns of TransformerLens's `head_detector`: `previous_token` looks
one token back, `duplicate` at earlier occurrences of the same token, and `induction` at the tokens after those. A score
is the mean weight on the pattern over the rows that have one. Special tokens are no repeated tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mkdocs_attnviz.models.inputs.tokens import Tokens

PUNCTUATION = frozenset(".,。，、．،۔।")
"""Full stops and commas of several scripts."""
SMOOTHING = 1e-4
"""The share of uniform attention in the weights of which the entropy is taken."""
COLUMNS = ("first", "special", "cls", "sep", "punctuation")
"""The measures that add up the attention to some columns."""
DIAGONALS = ("self", "previous", "next", "distance", "previous_token")
"""The measures that depend on the distance between two tokens."""
REPEATED = ("duplicate", "induction")
"""The measures that look for repeated tokens."""


@dataclass(frozen=True)
class Sides:
    """The tokens that the rows and columns of a stack stand for, of each text of a batch."""

    rows: Sequence[Tokens]
    cols: Sequence[Tokens]
    square: bool
    """True if both are the same."""
    causal: bool
    cls: int | None
    """The id of the token that the tokenizer calls CLS, or None."""
    sep: int | None
    device: torch.device


class Masks:
    """The weights of all measures for a batch of B texts, so that one product with the attention gives all of them."""

    def __init__(self, sides: Sides) -> None:
        device = sides.device
        self.sides = sides
        self.row_counts, self.col_counts = (
            torch.tensor([len(tokens.ids) for tokens in side], device=device) for side in (sides.rows, sides.cols)
        )
        row, col = (torch.arange(int(counts.max()), device=device) for counts in (self.row_counts, self.col_counts))
        self.rows = row < self.row_counts[:, None]
        """The rows that are tokens of a text and no padding, (B, Tq)."""
        self.cols = col < self.col_counts[:, None]
        self.pairs = self.rows[:, :, None] & self.cols[:, None]
        self.padding = None if bool(self.pairs.all()) else ~self.pairs
        """The pairs that are no two tokens of a text, (B, Tq, Tk); None if there is no padding."""
        self.known: dict[str, torch.Tensor] = {}
        """The texts that have a measure, (B) of booleans, by the measure's name."""
        self.places_of_cls = self._places_of_cls()
        """The first position of the token CLS in each text, (B); −1 if there is none."""
        self.texts = torch.arange(len(sides.rows), device=device)
        self.row_shares = self.rows / self.row_counts[:, None]
        """The share of each row in a mean over the rows of its text, (B, Tq)."""
        self.smoothing = torch.where(self.cols, SMOOTHING / self.col_counts[:, None], 1)
        """The numbers that are added to the weights whose entropy is taken, (B, Tk): 1 for padding, as 1 ln 1 = 0."""
        self.measures = [*COLUMNS, *(DIAGONALS + REPEATED if sides.square else ()), "entropy", "entropy_cls"]
        """The names of all measures, in the order of `measured`."""
        self.weights = self._weights(row)

    def _places_of_cls(self) -> torch.Tensor:
        first = [next(iter(_positions(tokens, self.sides.cls)), -1) for tokens in self.sides.rows]
        places = torch.tensor(first, device=self.sides.device)
        self.known |= {"entropy": torch.ones_like(places, dtype=torch.bool), "entropy_cls": places >= 0}
        return places

    def _weights(self, row: torch.Tensor) -> torch.Tensor:
        """Return the weights of all measures but entropies, (B, K, Tq·Tk); `row` has the numbers of the rows."""
        per_row = (self.pairs / self.row_counts[:, None, None])[:, None]  # (B, 1, Tq, Tk)
        masks = [self._columns() * per_row]
        if self.sides.square:
            masks += [self._diagonals(row) * per_row, self._repeated(row)]
            previous = DIAGONALS.index("previous_token")
            masks[1][:, previous] *= (self.row_counts / (self.row_counts - 1).clamp(min=1))[:, None, None]
        return torch.cat(masks, 1).flatten(2)

    def _columns(self) -> torch.Tensor:
        """Return 1 for each column that a measure adds up, (B, K, 1, Tk)."""
        sides = self.sides
        chosen = np.zeros((len(sides.cols), len(COLUMNS), self.cols.shape[1]), np.float32)
        for text, tokens in enumerate(sides.cols):
            positions = ([0], tokens.special, _positions(tokens, sides.cls), _positions(tokens, sides.sep))
            for number, some in enumerate((*positions, _punctuation(tokens))):
                chosen[text, number, some] = 1
        columns = torch.from_numpy(chosen).to(sides.device)
        known = columns.any(2)
        for number, name in enumerate(COLUMNS):
            always = name in ("first", "punctuation")
            self.known[name] = torch.ones_like(known[:, 0]) if always else known[:, number]
        return columns[:, :, None]

    def _diagonals(self, row: torch.Tensor) -> torch.Tensor:
        """Return the weights that depend on the distance between two tokens, (K, T, T)."""
        distance = row[None, :] - row[:, None]  # (T, T), columns minus rows
        everywhere = torch.ones_like(self.rows[:, 0])
        self.known |= dict.fromkeys(DIAGONALS, everywhere) | {"previous_token": self.row_counts > 1}
        previous = distance == -1
        return torch.stack([distance == 0, previous, distance == 1, distance.abs(), previous])

    def _repeated(self, row: torch.Tensor) -> torch.Tensor:
        """Return the masks of repeated tokens, (B, K, T, T), divided by the number of rows that have any."""
        ids = torch.tensor([_ordinary_ids(tokens, len(row)) for tokens in self.sides.rows], device=self.sides.device)
        patterns = torch.zeros((len(ids), len(REPEATED), len(row), len(row)), device=self.sides.device)
        same = (ids[:, :, None] == ids[:, None]) & (ids >= 0)[:, None]
        patterns[:, 0] = same & (row[:, None] > row[None, :])
        patterns[:, 1, :, 1:] = patterns[:, 0, :, :-1]
        rows = patterns.any(3).sum(2)  # (B, K)
        self.known |= dict(zip(REPEATED, (rows > 0).unbind(1), strict=True))
        return patterns.div_(rows.clamp(min=1)[:, :, None, None])

    @property
    def uniform_entropy(self) -> list[float]:
        """The mean entropy over a text's rows if a head looks everywhere alike, in nats; a causal one looks back."""
        counts = zip(self.row_counts.tolist(), self.col_counts.tolist(), strict=True)
        if not self.sides.causal:
            return [math.log(cols) for _, cols in counts]
        return [math.lgamma(rows + 1) / rows for rows, _ in counts]  # the mean of ln 1, ln 2, …

    def clean(self, weights: torch.Tensor) -> torch.Tensor:
        """Return 32-bit attention weights (B, H, Tq, Tk) with zeros in place of padding, which are written in place."""
        return weights if self.padding is None else weights.masked_fill_(self.padding[:, None], 0)

    def measured(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the measures of each head, each (B, H), from clean weights."""
        sums = torch.bmm(weights.flatten(2), self.weights.transpose(1, 2))  # (B, H, K)
        rows = self._row_entropies(weights)
        mean, of_cls = torch.bmm(rows, self.row_shares[:, :, None]), rows[self.texts, :, self.places_of_cls]
        return dict(zip(self.measures, torch.cat([sums, mean, of_cls[:, :, None]], 2).unbind(2), strict=True))

    def _row_entropies(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the entropy of each row, (B, H, Tq)."""
        smooth = torch.add(self.smoothing[:, None, None], weights, alpha=1 - SMOOTHING)
        # NumPy's logarithm is three times as fast as torch's
        logarithms = torch.from_numpy(np.log(smooth.numpy())) if smooth.device.type == "cpu" else smooth.log()
        return logarithms.mul_(smooth).sum(3).neg_()


def _ordinary_ids(tokens: Tokens, size: int) -> list[int]:
    """Return the ids of `size` positions, with −1 for special tokens and padding."""
    ids = [*tokens.ids, *[-1] * (size - len(tokens.ids))]
    for place in tokens.special:
        ids[place] = -1
    return ids


def _positions(tokens: Tokens, token: int | None) -> list[int]:
    """Return the positions of a special token."""
    return [place for place in tokens.special if tokens.ids[place] == token]


def _punctuation(tokens: Tokens) -> list[int]:
    """Return the positions of full stops and commas."""
    texts = tokens.texts or tokens.pretty
    return [place for place, text in enumerate(texts) if text.strip() in PUNCTUATION]
