"""The deletion of tokens: which can be taken out, what stands in their place, and what the model then says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.explained_outputs import Explained, Output, probabilities

AT_ONCE = 32
"""The number of texts that go through a model together."""
REPLACEMENTS = ("mask", "pad", "unk")
"""The special tokens that may stand in a token's place; the first that a vocabulary has is taken by default."""
REMOVED = "remove"


@dataclass(frozen=True)
class Replacement:
    """The substitute for a token that is taken out."""

    kind: str
    """One of `REPLACEMENTS`, or `remove` if the token is removed and the text becomes shorter."""
    token: int | None
    name: str | None


def replacement_of(loaded: Loaded, kind: str | None) -> Replacement:
    """Return the replacement of a kind, or by default the first that the vocabulary has.

    Raises:
        ValueError: the vocabulary has no such token.
    """
    tokenizer = loaded.tokenizer
    for name in REPLACEMENTS if kind is None else (kind,):
        token = getattr(tokenizer, f"{name}_token_id", None)
        if token is not None:
            return Replacement(name, int(token), str(getattr(tokenizer, f"{name}_token", name)))
    if kind in REPLACEMENTS:
        raise WrongValue(
            "replacement", f"`replacement` is {kind}, and the tokenizer of model {loaded.ref.name!r} has no such token."
        )
    return Replacement(REMOVED, None, None)


class Deletion:
    """The probability of an output if tokens of the text are taken out."""

    def __init__(self, loaded: Loaded, explained: Explained, replacement: Replacement) -> None:
        """Raises ValueError if no token can be taken out, or none would be left."""
        self.loaded = loaded
        self.explained = explained
        self.replacement = replacement
        text, output = explained.output.reads.text, explained.output
        masked = output.index if loaded.task == "masked" else None
        self.positions = [at for at in range(len(text.ids)) if at not in text.special and at != masked]
        """The positions of the text's tokens that can be taken out: neither special ones nor the masked one."""
        if not self.positions:
            raise WrongValue("text", "The text has no token that could be taken out.")
        if replacement.kind == REMOVED:
            self._check_removal(len(text.ids))

    def _check_removal(self, length: int) -> None:
        if self.loaded.task == "answer":
            raise WrongValue(
                "replacement",
                f"`replacement` is remove, and an answer of model {self.loaded.ref.name!r} is a position of the text, "
                "which would move: it must be mask, pad or unk.",
            )
        if len(self.positions) == length:
            raise WrongValue(
                "replacement",
                f"If all tokens are removed, nothing is left that model {self.loaded.ref.name!r} could read, and its "
                "vocabulary has no special token to stand in their place.",
            )

    def probabilities(self, masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Return the output's probability for each mask, (V, n), true for each of `positions` that is taken out."""
        found = np.empty(len(masks))
        for rows, output, examples in self._batches(masks):
            with torch.inference_mode():
                logits = output.choose(self.loaded.logits(collate(self.loaded, examples)))
                found[rows] = probabilities(self.loaded, logits)[:, self.explained.token].double().cpu().numpy()
        return found

    def _batches(self, masks: npt.NDArray[np.bool_]) -> Iterator[tuple[list[int], Output, list[Example]]]:
        """Yield texts of one length whose output is at one position, `AT_ONCE` at most, and their rows in `masks`."""
        groups: dict[tuple[int, int], list[int]] = {}
        for row, mask in enumerate(masks):
            groups.setdefault(self._shape(mask), []).append(row)
        for (_, before), rows in groups.items():
            for start in range(0, len(rows), AT_ONCE):
                some = rows[start : start + AT_ONCE]
                examples = [self._without(masks[row]) for row in some]
                yield some, self.explained.output.without(examples[0], before), examples

    def _shape(self, mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
        """Return how many tokens are removed, and how many before the output. Replaced tokens are still there."""
        if self.replacement.kind != REMOVED:
            return 0, 0
        at = self.explained.output.row or 0
        removed = [position for position, out in zip(self.positions, mask, strict=True) if out]
        return len(removed), sum(position < at for position in removed)

    def _without(self, mask: npt.NDArray[np.bool_]) -> Example:
        reads = self.explained.output.reads
        out = {position for position, flag in zip(self.positions, mask, strict=True) if flag}
        ids: Sequence[Any] = reads.text.ids
        if self.replacement.token is not None:
            replaced = [self.replacement.token if at in out else token for at, token in enumerate(ids)]
            return replace(reads, text=replace(reads.text, ids=replaced))
        left = [at for at in range(len(ids)) if at not in out]
        types = reads.text.type_ids
        shorter = replace(
            reads.text, ids=[ids[at] for at in left], type_ids=None if types is None else [types[at] for at in left]
        )
        return replace(reads, text=shorter)
