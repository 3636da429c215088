"""A mistake in a block, as a sentence for its author."""

from __future__ import annotations


class BlockError(Exception):
    """What is wrong with one block, as one sentence for its author.

    `line` counts from 0 within the block's body; None means the block as a whole. `missing` tells that nothing is
    wrong but that the cache lacks its tensors and no model may be run here.
    """

    def __init__(self, message: str, line: int | None = None, *, missing: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.missing = missing
