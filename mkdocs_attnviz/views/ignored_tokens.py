"""The tokens that an author leaves out of a colour scale: key `ignore_tokens`."""

from __future__ import annotations

from collections.abc import Sequence

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.inputs.word_boundaries import characters_of

SPECIAL = "special"
"""The word that stands for all special tokens."""


def ignored_tokens(names: Sequence[str], entry: Entry, inputs: Sequence[tuple[str, int]]) -> list[int]:
    """Return the indices of the inputs, each a sequence's name and a position in it, that `names` names."""
    wanted = set(names)

    def is_ignored(name: str, position: int) -> bool:
        """Return whether the token at this position is one of the ignored tokens."""
        meta = entry.meta["sequences"][name]
        token, pretty, whole = meta["tokens"][position], meta["pretty"][position], characters_of(meta, position)
        is_special = SPECIAL in wanted and position in meta["special"]
        return is_special or not wanted.isdisjoint((token, pretty, pretty.strip(), whole, whole.strip()))

    return [number for number, place in enumerate(inputs) if is_ignored(*place)]
