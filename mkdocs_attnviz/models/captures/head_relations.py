"""The accuracy with which a head finds a word's head or dependent in a treebank (Clark et al. 2019).

Attention to a word is the sum over its tokens, attention from it the mean. A word's weight to itself counts as nothing,
and special tokens are left out. `forward`, the word that a word looks at most is taken for its head; `backward`, the
word that looks most at a word. An accuracy stands beside that of the best fixed offset from −3 to 2 for its relation,
and has a 95% interval: the percentiles of a bootstrap over sentences, in which each sentence counts as often as a
Poisson variable says, so that only running sums are kept. Roots and punctuation are left out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.models.captures.corpus import Reading
from mkdocs_attnviz.models.inputs.corpus_text import CorpusText

Numbers = npt.NDArray[np.float64]
OFFSETS = range(-3, 3)
LEFT_OUT = ("root", "punct")
"""The relations, without subtypes, that are not counted."""
ALL = "all"
"""The name of all counted relations together."""
RESAMPLES, SEED = 200, 0
"""The number of the bootstrap's samples, and the seed of each sentence's counts beside its number."""
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Words:
    """The words of a batch of B texts and the tokens they are made of."""

    gather: torch.Tensor
    """1 for each token of a word, (B, W, T)."""
    counts: torch.Tensor
    """The number of tokens of each word, (B, W); 0 if there is no such word, or no token of it."""
    scored: npt.NDArray[np.int64]
    """The words whose heads are looked for, as rows of text in the batch, word, head and relation, (D, 4)."""

    @classmethod
    def of(cls, batch: Sequence[Reading], relations: dict[str, int], device: torch.device) -> Words:
        """Return the words of a batch; `relations` has the number of each relation that counts."""
        alignments = [word_tokens(reading) for reading in batch]
        longest = max(len(reading.example.text.ids) for reading in batch)
        gather = torch.zeros((len(batch), max(map(len, alignments), default=0) or 1, longest))
        gather[_places(alignments)] = 1
        scored = []
        for number, (reading, words) in enumerate(zip(batch, alignments, strict=True)):
            parse = reading.source.parse
            if parse is not None and words:
                scored += [
                    (number, word, head - 1, relations[relation])
                    for word, (head, relation) in enumerate(zip(parse.heads, parse.relations, strict=True))
                    if relation in relations and head > 0 and words[word] and words[head - 1]
                ]
        gather = gather.to(device)
        return cls(gather, gather.sum(2), np.array(scored, np.int64).reshape(-1, 4))

    def weights(self, attention: torch.Tensor) -> torch.Tensor:
        """Return attention from word to word, (B, H, W, W), from clean token-level attention (B, H, T, T)."""
        return self._by_word(attention).permute(0, 3, 1, 2)

    def _by_word(self, attention: torch.Tensor) -> torch.Tensor:
        """Return attention from word to word, (B, W, W, H).

        Heads come last, since maxima over words are then taken of whole rows of heads, which is several times as fast.
        """
        gather = self.gather.to(attention)
        rows = gather / self.counts.clamp(min=1)[..., None]
        batch, heads, size, _ = attention.shape
        from_words = torch.bmm(rows, attention.permute(0, 2, 3, 1).reshape(batch, size, size * heads))  # (B, W, T·H)
        return torch.stack(
            [
                torch.bmm(to_words.expand(len(to_words), *to_words.shape), weights.view(-1, size, heads))
                for to_words, weights in zip(gather, from_words, strict=True)  # of one text, (W, T) and (W, T·H)
            ]
        )

    def found(self, attention: torch.Tensor) -> npt.NDArray[np.bool_]:
        """Return whether each head finds the head of each scored word, forward and backward, (2, D, H)."""
        words = self._by_word(attention)
        words.diagonal(dim1=1, dim2=2).zero_()
        text, word, head = torch.from_numpy(self.scored[:, :3].T.copy()).to(words.device)
        weights = torch.stack([words[text, word, head], words[text, head, word]])
        most = torch.stack([words.amax(2)[text, word], words.amax(1)[text, word]])
        both: npt.NDArray[np.bool_] = ((weights >= most) & (weights > 0)).cpu().numpy()
        return both


def _places(alignments: Sequence[Sequence[Sequence[int]]]) -> tuple[torch.Tensor, ...]:
    """Return the indices of all words' tokens in a tensor of texts, words and tokens."""
    places = [
        (number, word, token)
        for number, words in enumerate(alignments)
        for word, tokens in enumerate(words)
        for token in tokens
    ]
    return torch.tensor(places, dtype=torch.long).reshape(-1, 3).unbind(1)


def word_tokens(reading: Reading) -> list[list[int]]:
    """Return the positions of each word's tokens; no word has any if the tokenizer does not tell tokens' places.

    A token belongs to the word that most of its characters are in. A word that has none so shares those that it
    overlaps.
    """
    parse, spans = reading.source.parse, reading.example.text.spans
    if parse is None or spans is None:
        return []
    starts, ends = zip(*parse.words, strict=True)
    owned: list[list[int]] = [[] for _ in parse.words]
    touched: list[list[int]] = [[] for _ in parse.words]
    for token, span in enumerate(spans.spans):
        if span is None:
            continue
        first = bisect_right(ends, span[0])
        if first + 1 < len(starts) and starts[first] <= span[0] < span[1] <= min(ends[first], starts[first + 1]):
            owned[first].append(token)  # within one word, as nearly always
            continue
        overlaps = [
            (min(ends[word], span[1]) - max(starts[word], span[0]), -word)
            for word in range(first, bisect_left(starts, span[1], first))
        ]
        for overlap, word in overlaps:
            if overlap > 0:
                touched[-word].append(token)
        if overlaps:
            owned[-max(overlaps)[1]].append(token)
    return [own or others for own, others in zip(owned, touched, strict=True)]


def counted_relations(texts: Sequence[CorpusText]) -> dict[str, int]:
    """Return the number of each relation that counts, by its name, in alphabetical order."""
    names = {relation for text in texts if text.parse is not None for relation in text.parse.relations}
    return {
        name: number
        for number, name in enumerate(sorted(name for name in names if name.partition(":")[0] not in LEFT_OUT))
    }


@dataclass(frozen=True)
class Found:
    """The words that the heads of a stack find, by text and relation, for the G pairs of these that occur."""

    texts: npt.NDArray[np.int64]
    """The text of each pair, by its place in the batch, (G)."""
    relations: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]
    """The number of words, (G)."""
    right: npt.NDArray[np.float32]
    """The number of words that are found, forward and backward, (G, 2, heads)."""

    @classmethod
    def of(cls, words: Words, found: npt.NDArray[np.bool_], relations: int) -> Found:
        """Return what was `found`, (2, D, heads), of a batch's words; `relations` is the number of all relations."""
        pairs = words.scored[:, 0] * relations + words.scored[:, 3]
        order = pairs.argsort(kind="stable")
        starts = np.flatnonzero(np.diff(pairs[order], prepend=-1))
        right = np.add.reduceat(found.transpose(1, 0, 2)[order].astype(np.float32), starts)
        texts, numbers = np.divmod(pairs[order][starts], relations)
        return cls(texts, numbers, np.diff(starts, append=len(order)), right)


class RelationSums:
    """Running sums of what the heads of a stack find."""

    def __init__(self, relations: dict[str, int], heads: int) -> None:
        self.relations, self.heads = relations, heads
        size = len(relations)
        self.right: Numbers = np.zeros((size, 2, heads))
        self.total: Numbers = np.zeros(size)
        self.offsets: Numbers = np.zeros((len(OFFSETS), size))
        """The number of times that each fixed offset is right, (offsets, relations)."""
        self.resampled = torch.zeros(RESAMPLES, size * 2 * heads)
        self.resampled_total = torch.zeros(RESAMPLES, size)

    def add(self, numbers: Sequence[int], words: Words, found: npt.NDArray[np.bool_], counts: Sequence[int]) -> Found:
        """Add a batch: the numbers of its texts, what was `found` (2, D, heads), and the texts' counts of words."""
        size = len(self.relations)
        text, word, head, relation = words.scored.T
        by_text = Found.of(words, found, size)
        ends = np.array(counts)[text]
        for number, offset in enumerate(OFFSETS):
            guess = np.clip(word + offset, -1, ends - 1)  # as the authors' baseline; −1 is the root
            self.offsets[number] += np.bincount(relation, guess == head, minlength=size)
        right = np.zeros((len(numbers), size, 2, self.heads), np.float32)
        total = np.zeros((len(numbers), size), np.float32)
        right[by_text.texts, by_text.relations] = by_text.right
        total[by_text.texts, by_text.relations] = by_text.total
        self.right += right.sum(0)
        self.total += total.sum(0)
        self._resample(numbers, right.reshape(len(numbers), -1), total)
        return by_text

    def _resample(self, numbers: Sequence[int], right: npt.NDArray[np.float32], total: npt.NDArray[np.float32]) -> None:
        """Add texts to the samples, each as often as its own Poisson variable says.

        The products are torch's: after one of NumPy's, its threads wait for the next in the way of the model's threads.
        """
        drawn = [np.random.default_rng((SEED, number)).poisson(1.0, RESAMPLES) for number in numbers]
        times = torch.from_numpy(np.stack(drawn, 1).astype(np.float32))
        self.resampled.addmm_(times, torch.from_numpy(right))
        self.resampled_total.addmm_(times, torch.from_numpy(total))

    def told(self) -> dict[str, dict[str, Any]]:
        """Return each relation that occurs, the most frequent first, with arrays of one number for each head."""
        named = {name: [number] for name, number in self.relations.items() if self.total[number]}
        named = dict(sorted(named.items(), key=lambda item: -self.total[item[1][0]]))
        if named:
            named = {ALL: [number for numbers in named.values() for number in numbers]} | named
        return {name: self._told(numbers) for name, numbers in named.items()}

    def _told(self, numbers: list[int]) -> dict[str, Any]:
        total, offsets = self.total[numbers].sum(), self.offsets[:, numbers].sum(1)
        best = int(offsets.argmax())
        samples = self.resampled_total.double().numpy()[:, numbers].sum(1)
        drawn = samples > 0  # a relation of one sentence is in two of three samples
        resampled = self.resampled.numpy().reshape(RESAMPLES, -1, 2, self.heads)
        shares = resampled[np.ix_(drawn, numbers)].sum(1) / samples[drawn, None, None]  # (samples, 2, heads)
        low, high = np.quantile(shares, INTERVAL, axis=0)
        right = self.right[numbers].sum(0) / total
        ways = {
            name: {"accuracy": right[way], "low": low[way], "high": high[way]}
            for way, name in enumerate(("forward", "backward"))
        }
        return {"count": int(total), "offset": OFFSETS[best], "baseline": float(offsets[best] / total)} | ways
