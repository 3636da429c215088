"""A parser that sees nothing but attention, as Clark et al. (2019) train one, to tell what all heads know together.

The head of word i is word j with a probability proportional to exp(Σ w·A[i, j] + u·A[j, i]) over all heads of the
model, and the root with exp(b + Σ r·A[i, first] + s·A[i, last]), for the first and the last special token. Sentences
with an even number train it, up to a limit of memory, and it is tested on the others. Beside it stands the baseline of
the paper: every word's head is the next word. Punctuation is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mkdocs_attnviz.models.captures.corpus import Reading
from mkdocs_attnviz.models.captures.head_relations import Words

LARGEST = 256 << 20
"""The number of bytes of attention that are kept to train with; the sentences after that are not trained on."""
PENALTY = 1e-3
"""The weight of the squared parameters in the loss, which keeps it from growing without end on few sentences."""
STEPS = 100
"""The number of steps of the optimizer (L-BFGS) at most."""
UNSCORED = -100
"""The head of a word that does not count; PyTorch's loss ignores it."""


@dataclass
class Features:
    """The attention of all heads between the words of B sentences, and the words' gold heads."""

    maps: torch.Tensor
    """Attention from word to word, (B, heads, W, W)."""
    ends: torch.Tensor
    """Attention to the first and to the last special token, (B, heads, 2, W); zeros if there are none."""
    gold: torch.Tensor
    """The number of each word's head, counted from 1, 0 for the root, (B, W); `UNSCORED` for others."""
    known: torch.Tensor
    """The words that have tokens, (B, W) of booleans."""

    @property
    def size(self) -> int:
        return int(self.maps.nbytes + self.ends.nbytes)

    def some(self, texts: Sequence[int]) -> Features:
        """Return the features of some sentences, in half precision on the processor."""
        maps, ends = (part[list(texts)].half().cpu() for part in (self.maps, self.ends))
        return Features(maps, ends, self.gold[list(texts)].cpu(), self.known[list(texts)].cpu())


def features(batch: Sequence[Reading], words: Words, layers: Sequence[torch.Tensor]) -> Features:
    """Return the features of a batch, from the clean attention (B, H, T, T) of each layer."""
    device = layers[0].device
    longest = words.counts.shape[1]
    gold = torch.full((len(batch), longest), UNSCORED, device=device)
    ends = torch.zeros((len(batch), layers[0].shape[-1], 2), device=device)
    for number, reading in enumerate(batch):
        parse, special = reading.source.parse, reading.example.text.special
        if parse is None:
            continue
        for word, (head, relation) in enumerate(zip(parse.heads, parse.relations, strict=True)):
            if relation.partition(":")[0] != "punct":
                gold[number, word] = head
        if special:
            ends[number, special[0], 0] = ends[number, special[-1], 1] = 1
    known = words.counts > 0
    from_words = words.gather.to(device) / words.counts.clamp(min=1)[..., None]
    to_ends = [(from_words[:, None] @ layer @ ends[:, None]).transpose(2, 3) for layer in layers]
    return Features(
        torch.cat([words.weights(layer) for layer in layers], 1),
        torch.cat(to_ends, 1),
        torch.where(known, gold, UNSCORED),
        known,
    )


@dataclass
class Score:
    """The number of words whose heads a parser has found."""

    words: int = 0
    right: int = 0
    baseline: int = 0
    """The number of words whose head is the next word."""
    sentences: int = 0

    def add(self, other: Score) -> None:
        self.words += other.words
        self.right += other.right
        self.baseline += other.baseline
        self.sentences += other.sentences


class Probe:
    """A parser over the attention of all heads of a stack. It is trained once, on the features that it was given."""

    def __init__(self) -> None:
        self.kept: list[Features] = []
        self.size = 0
        self.weights: torch.Tensor | None = None

    def add(self, some: Features) -> None:
        """Keep the features of sentences to train with, as long as there is room."""
        if self.size < LARGEST and len(some.gold):
            self.kept.append(some)
            self.size += some.size

    def train(self) -> None:
        """Find the parameters with the least cross-entropy; the kept features are dropped."""
        heads = self.kept[0].maps.shape[1]
        weights = torch.zeros(4 * heads + 1, requires_grad=True)
        words = sum(int((some.gold != UNSCORED).sum()) for some in self.kept)
        optimizer: Any = torch.optim.LBFGS([weights], max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe")

        def loss() -> Any:
            optimizer.zero_grad()
            penalty = PENALTY * weights.square().sum() / max(words, 1)
            torch.autograd.backward(penalty)
            value = float(penalty.detach())
            for some in self.kept:  # one after another, so that only one is in memory in full precision
                logits = _logits(some, weights)
                part = torch.nn.functional.cross_entropy(logits.flatten(0, 1), some.gold.flatten(), reduction="sum")
                torch.autograd.backward(part / max(words, 1))
                value += float(part.detach()) / max(words, 1)
            return torch.tensor(value)

        with torch.inference_mode(mode=False), torch.enable_grad():
            optimizer.step(loss)
        self.weights, self.kept = weights.detach(), []

    def tested(self, some: Features) -> Score:
        """Return how many heads of the sentences' words the parser finds."""
        assert self.weights is not None  # noqa: S101 — for the type checker: it has been trained
        counted = some.gold != UNSCORED
        guesses = _logits(some, self.weights).argmax(2)
        following = torch.arange(2, some.gold.shape[1] + 2).expand(some.gold.shape)
        return Score(
            int(counted.sum()),
            int((counted & (guesses == some.gold)).sum()),
            int((counted & (following == some.gold)).sum()),
            len(some.gold),
        )


def _logits(some: Features, weights: torch.Tensor) -> torch.Tensor:
    """Return the score of each word's head, (B, W, 1 + W); the root comes first."""
    heads = some.maps.shape[1]
    maps, ends = some.maps.float(), some.ends.float()
    there, back, first, last, root = weights.split_with_sizes([heads, heads, heads, heads, 1])
    scores = torch.einsum("bkij,k->bij", maps, there) + torch.einsum("bkji,k->bij", maps, back)
    itself = torch.eye(scores.shape[1], dtype=torch.bool)
    scores = scores.masked_fill(itself | ~some.known[:, None], -1e9)
    of_root = torch.einsum("bkei,ek->bi", ends, torch.stack([first, last])) + root
    return torch.cat([of_root[..., None], scores], 2)
