"""Architectures whose attention is a matrix of tokens by tokens only up to some length, or only in some stacks.

The forward pass itself shows whether a text is too long (`attention_pass.forward`); this module only names the reason.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BANDED = {"led": ("encoder",)}
"""Stacks that return a band around each token. By chance, a band may have as many columns as there are tokens."""


class Limit(NamedTuple):
    """The length up to which an architecture computes a matrix of tokens by tokens."""

    tokens: int
    """The number of tokens of the longest text that can be shown."""
    beyond: str
    """The kind of attention for longer texts, as a noun phrase."""

    @property
    def words(self) -> str:
        return f"up to {self.tokens} tokens; it uses {self.beyond} for longer texts"


def limit(config: Any) -> Limit | None:
    """Return the length at which a model of this configuration changes its kind of attention; None if it is not known
    to.
    """
    if config.model_type in ("big_bird", "bigbird_pegasus") and config.attention_type == "block_sparse":
        return Limit((5 + 2 * config.num_random_blocks) * config.block_size, "block-sparse attention")
    if config.model_type == "deepseek_v4":
        return Limit(config.compress_rates["heavily_compressed_attention"] - 1, "summaries of its tokens, too,")
    return None


def without_matrix(config: Any) -> str:
    """Return why a model of this configuration has no attention matrix of tokens by tokens; '' if it has one."""
    if config.model_type == "nystromformer" and config.num_landmarks != config.segment_means_seq_len:
        return (
            f"it goes through {config.num_landmarks} landmarks (`num_landmarks`), each the mean of several of its "
            f"{config.segment_means_seq_len} tokens (`segment_means_seq_len`)"
        )
    return ""
