"""The context of a capture: a model in memory, examples to read, and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.defaults import ENTRY_SIZE
from mkdocs_attnviz.models.captures.corpus import Corpus
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.loaded import Loaded


@dataclass(frozen=True)
class Context:
    """The arguments of a capture."""

    loaded: Loaded
    """The block's model, changed by the block's `interventions` while the capture runs."""
    examples: Sequence[Example]
    """The inputs, tokenized; a capture returns one entry for each, in this order. Empty if there is a corpus."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The parameters from the view's options (`Options.parameters`), as plain JSON."""
    other: Loaded | None = None
    """The model that the block's own is compared with, if the view's options name one (`Options.second`)."""
    corpus: Corpus | None = None
    """The texts, for a capture that reads many of them (`Capture.corpus`) and returns one entry; otherwise None."""
    folder: Path | None = None
    """The folder for the blobs of a large entry while it is made (`cache.blobs.Spool`); None for that of the system."""
    entry_size: int = ENTRY_SIZE
    """The number of bytes that an entry may have."""
