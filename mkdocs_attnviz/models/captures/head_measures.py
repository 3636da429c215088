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

import torch

from mkdocs_attnviz.models.inputs.tokens import Tokens

PUNCTUATION = frozenset(".,。，、．،۔।")
"""Full stops and commas of several scripts."""
SMOOTHING = 1e-4
"""The share of uniform attention in the weights of which the entropy is taken."""
SQUARE = ("self", "previous", "next", "distance", "induction", "duplicate", "previous_token")
"""The measures that only exist if rows and columns are the same tokens."""
NAMES = ("first", "special", "cls", "sep", "punctuation", *SQUARE)
"""The measures that are weighted sums of a text's attention."""


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
        self.row_counts = torch.tensor([len(tokens.ids) for tokens in sides.rows], device=device)
        self.col_counts = torch.tensor([len(tokens.ids) for tokens in sides.cols], device=device)
        row, col = (torch.arange(int(counts.max()), device=device) for counts in (self.row_counts, self.col_counts))
        self.rows = row < self.row_counts[:, None]
        """The rows that are tokens of a text and no padding, (B, Tq)."""
        self.cols = col < self.col_counts[:, None]
        self.pairs = self.rows[:, :, None] & self.cols[:, None]
        self.padded = not bool(self.pairs.all())
        self.known: dict[str, torch.Tensor] = {}
        """The texts that have a measure, (B) of booleans, by the measure's name."""
        masks = self._columns()
        if sides.square:
            masks |= self._diagonals(row) | self._repeated(row)
        self.texts = torch.arange(len(sides.rows), device=device)
        self.places_of_cls = self._places_of_cls()
        """The first position of the token CLS in each text, (B); −1 if there is none."""
        self.names = list(masks)
        self.weights = torch.stack([masks[name] for name in self.names], 1).flatten(2)  # (B, K, Tq·Tk)

    def _places_of_cls(self) -> torch.Tensor:
        first = [next(iter(_positions(tokens, self.sides.cls)), -1) for tokens in self.sides.rows]
        places = torch.tensor(first, device=self.sides.device)
        self.known |= {"entropy": torch.ones_like(places, dtype=torch.bool), "entropy_cls": places >= 0}
        return places

    def _columns(self) -> dict[str, torch.Tensor]:
        """Return the masks of columns, (B, Tq, Tk), divided by the number of rows."""
        sides, size = self.sides, self.cols.shape[1]
        columns = {
            "first": [[0]] * len(sides.cols),
            "special": [tokens.special for tokens in sides.cols],
            "cls": [_positions(tokens, sides.cls) for tokens in sides.cols],
            "sep": [_positions(tokens, sides.sep) for tokens in sides.cols],
            "punctuation": [_punctuation(tokens) for tokens in sides.cols],
        }
        masks = {}
        for name, positions in columns.items():
            chosen = torch.tensor(
                [[float(place in some) for place in range(size)] for some in map(frozenset, positions)],
                device=sides.device,
            )
            masks[name] = self._per_row(chosen[:, None].expand(self.pairs.shape))
            always = name in ("first", "punctuation")
            self.known[name] = torch.ones_like(self.row_counts, dtype=torch.bool) if always else chosen.any(1)
        return masks

    def _diagonals(self, at: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the masks that depend on the distance between two tokens, (B, T, T)."""
        distance = at[None, :] - at[:, None]  # (T, T), columns minus rows
        everywhere = torch.ones_like(self.row_counts, dtype=torch.bool)
        some = self.row_counts > 1
        self.known |= dict.fromkeys(("self", "previous", "next", "distance"), everywhere) | {"previous_token": some}
        diagonals = {"self": distance == 0, "previous": distance == -1, "next": distance == 1}
        masks = {name: self._per_row(diagonal.expand(self.pairs.shape)) for name, diagonal in diagonals.items()}
        masks["distance"] = self._per_row(distance.abs().expand(self.pairs.shape))
        masks["previous_token"] = (
            masks["previous"] * (self.row_counts / (self.row_counts - 1).clamp(min=1))[:, None, None]
        )
        return masks

    def _repeated(self, at: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the masks of repeated tokens, (B, T, T), divided by the number of rows that have any."""
        ids = torch.tensor([_ordinary_ids(tokens, len(at)) for tokens in self.sides.rows], device=self.sides.device)
        same = (ids[:, :, None] == ids[:, None]) & (ids >= 0)[:, None]
        earlier = same & (at[:, None] > at[None, :])
        after = torch.zeros_like(earlier)
        after[:, :, 1:] = earlier[:, :, :-1]
        masks = {}
        for name, pattern in (("duplicate", earlier), ("induction", after)):
            rows = pattern.any(2).sum(1)  # (B)
            self.known[name] = rows > 0
            masks[name] = pattern / rows.clamp(min=1)[:, None, None]
        return masks

    def _per_row(self, mask: torch.Tensor) -> torch.Tensor:
        """Return a mask without padding, divided by the number of rows."""
        return torch.where(self.pairs, mask, 0) / self.row_counts[:, None, None]

    @property
    def uniform_entropy(self) -> list[float]:
        """The mean entropy over a text's rows if a head looks everywhere alike, in nats; a causal one looks back."""
        counts = zip(self.row_counts.tolist(), self.col_counts.tolist(), strict=True)
        if not self.sides.causal:
            return [math.log(cols) for _, cols in counts]
        return [math.lgamma(rows + 1) / rows for rows, _ in counts]  # the mean of ln 1, ln 2, …

    def clean(self, weights: torch.Tensor) -> torch.Tensor:
        """Return attention weights (B, H, Tq, Tk) as 32-bit numbers, with zeros in place of padding."""
        weights = weights.float()
        return weights.masked_fill(~self.pairs[:, None], 0) if self.padded else weights

    def measured(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the measures of each head of one layer, each (B, H), from clean weights."""
        values = torch.bmm(weights.flatten(2), self.weights.transpose(1, 2))  # (B, H, K)
        rows = self._row_entropies(weights)
        return dict(zip(self.names, values.unbind(2), strict=True)) | {
            "entropy": (rows * self.rows[:, None]).sum(2) / self.row_counts[:, None],
            "entropy_cls": rows[self.texts, :, self.places_of_cls],
        }

    def _row_entropies(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the entropy of each row, (B, H, Tq)."""
        smooth = (weights * (1 - SMOOTHING)).add_((SMOOTHING / self.col_counts)[:, None, None, None])
        terms = smooth.log().mul_(smooth)
        if self.padded:
            terms = terms.mul_(self.cols[:, None, None])
        return -terms.sum(3)


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
