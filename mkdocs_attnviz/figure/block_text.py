"""The text of a block, as pages show it."""

from __future__ import annotations

from mkdocs_attnviz.block.fields import Block


def text_of(block: Block) -> str:
    """Return all text that the block gives the model to read; it is empty if the block has its own tensors."""
    texts = (block.text, block.text_pair, block.text_target)
    return " / ".join([turn.content for turn in block.chat or ()] or [text for text in texts if text])
