"""What a view may ask of a model. Torch-free: the build's process makes requests, the worker's process fulfils them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mkdocs_attnviz.cache import KeyParts
from mkdocs_attnviz.models.reference import ModelRef


@dataclass(frozen=True)
class Capture:
    """One kind of thing taken from a forward pass; `name` is the module in this folder that takes it."""

    name: str
    version: int
    """Goes up when the same input would give another entry: the old ones are then no longer found."""


ATTENTION = Capture("attention", 3)
SCORES = Capture("scores", 2)
TENSORS = Capture("tensors", 1)
"""No model runs: an author's own file is read."""


def too_long(tokens: int, limit: int, what: str = "text") -> str:
    """What is wrong with a text of so many tokens; '' if nothing is."""
    return f"The {what} has {tokens} tokens; `max_tokens` is {limit}." if tokens > limit else ""


@dataclass(frozen=True)
class Request:
    """One capture of one input by one model."""

    capture: Capture
    model: ModelRef
    inputs: Mapping[str, str]
    """`text`; for a pair, `text_pair`; for an encoder–decoder that is to read a given output, `text_target`."""

    def key_parts(self) -> KeyParts:
        """Everything that can change the entry, and nothing else: no device, no page, no option of a view."""
        if self.model.identity is None:
            raise ValueError(f"{self.model.name} has no identity yet")
        return [
            ("capture", self.capture.name),
            ("version", str(self.capture.version)),
            ("model", self.model.identity),
            ("dtype", self.model.dtype),
            ("text", self.inputs["text"]),
            ("text_pair", self.inputs.get("text_pair")),
            ("text_target", self.inputs.get("text_target")),
        ]
