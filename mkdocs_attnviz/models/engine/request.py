"""What a view may ask of a model. Torch-free: the build's process makes requests, the worker's process fulfils them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mkdocs_attnviz.cache.key import KeyParts, entry_key
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.models.identity.reference import ModelRef


def too_long(tokens: int, limit: int, what: str = "text") -> str:
    """What is wrong with a text of so many tokens; '' if nothing is."""
    return f"The {what} has {tokens} tokens; `max_tokens` is {limit}." if tokens > limit else ""


@dataclass(frozen=True)
class Request:
    """One capture of one input by one model."""

    capture: Capture
    model: ModelRef
    inputs: Mapping[str, Any]
    """`text`, or `chat`; for a pair, `text_pair`; for an encoder–decoder that is to read a given output, `text_target`;
    for a model that is to write, `generate`; for a view of several texts, `more_texts`; for a translator, `src_lang`
    and `tgt_lang`; for a conversation, `chat_date`. Plain JSON."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the capture itself lets choose. Plain JSON."""
    interventions: Sequence[Mapping[str, Any]] = ()
    """What is changed in the model while it runs. Plain JSON."""
    other: ModelRef | None = None
    """A second model, which reads the same and is left as it is: the capture compares the two."""

    @property
    def models(self) -> tuple[ModelRef, ...]:
        return (self.model,) if self.other is None else (self.model, self.other)

    @property
    def called(self) -> str:
        """Its models, at the beginning of a sentence."""
        return f"Model{'s' * (self.other is not None)} {' and '.join(repr(model.name) for model in self.models)}"

    @property
    def known(self) -> bool:
        """Whether all its models are, so that it has a key."""
        return all(model.identity is not None for model in self.models)

    @property
    def spread(self) -> bool:
        """Whether it needs all of a machine's devices."""
        return any(model.device_map for model in self.models)

    @property
    def head(self) -> bool:
        return self.capture.head or "generate" in self.inputs

    def run(self) -> dict[str, Any]:
        """How the model is loaded and run: what requests must share to be answered together."""
        return {
            "head": self.head,
            "attention": self.capture.attention,
            "parameters": dict(self.parameters),
            "interventions": list(self.interventions),
        }

    def without_interventions(self) -> Request:
        return replace(self, interventions=())

    @cached_property
    def key(self) -> str:
        """The name of its entry in the cache. Raises: ValueError: a model of it is not known yet."""
        return entry_key(self.key_parts)

    @cached_property
    def key_parts(self) -> KeyParts:
        """Everything that can change the entry, and nothing else: no device, no page, no option of a view.

        What came later than the first entries is left out where it is not given, so that those are still found.
        """
        for model in self.models:
            if model.identity is None:
                raise ValueError(f"{model.name} has no identity yet")
        names = ("chat", "generate", "more_texts", "chat_date", "src_lang", "tgt_lang")
        later = {name: self.inputs.get(name) for name in names}
        later |= {"parameters": self.parameters, "interventions": self.interventions}
        return [
            ("capture", self.capture.identity),
            ("version", str(self.capture.version)),
            ("model", self.model.identity),
            ("dtype", self.model.dtype),
            ("text", self.inputs.get("text")),
            ("text_pair", self.inputs.get("text_pair")),
            ("text_target", self.inputs.get("text_target")),
            *((name, json.dumps(value, sort_keys=True)) for name, value in later.items() if value),
            *(() if self.other is None else (("other", self.other.identity), ("other_dtype", self.other.dtype))),
        ]
