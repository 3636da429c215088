"""A language model of characters, as transformers loads it: an embedding, an LSTM of `torch.nn` and a linear layer.

Karpathy, Johnson, Fei-Fei 2015, "Visualizing and Understanding Recurrent Networks", https://arxiv.org/abs/1506.02078
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class CharactersConfig(PreTrainedConfig):
    """The sizes of the model."""

    model_type = "characters"

    def __init__(
        self,
        vocab_size: int = 64,
        embedding_size: int = 32,
        hidden_size: int = 128,
        num_hidden_layers: int = 2,
        **rest: object,
    ) -> None:
        self.vocab_size, self.embedding_size = vocab_size, embedding_size
        self.hidden_size, self.num_hidden_layers = hidden_size, num_hidden_layers
        super().__init__(**rest)


class CharactersForCausalLM(PreTrainedModel):
    """An LSTM that predicts the next character."""

    config_class = CharactersConfig

    def __init__(self, config: CharactersConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, config.num_hidden_layers, batch_first=True)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the weights as torch.nn initialises them."""

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor | None = None,
        **_: object,
    ) -> CausalLMOutput:
        """Predict the next character at each position of `input_ids`, (B, T); the text begins from an empty state.

        An attention mask is not needed: padding stands behind the text, where nothing reads it.
        """
        hidden, _state = self.lstm(self.embedding(input_ids))
        logits = self.lm_head(hidden)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)
