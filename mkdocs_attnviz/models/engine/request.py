"""Requests of views to models. This module needs no torch: the build makes requests, the worker fulfils them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mkdocs_attnviz.block.defaults import ENTRY_SIZE
from mkdocs_attnviz.cache.key import KeyParts, entry_key
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.models.identity.reference import ModelRef


@dataclass(frozen=True)
class Request:
    """One capture of one input by one model."""

    capture: Capture
    model: ModelRef
    inputs: Mapping[str, Any]
    """The inputs as plain JSON.

    Keys are `text` or `chat`; `text_pair` for a pair; `text_target` for an encoder–decoder that reads a given output;
    `generate` for a model that writes; `more_texts` for a view of several texts; `src_lang` and `tgt_lang` for a
    translator; `chat_date` for a conversation; `corpus` for many texts in place of `text` (`read_corpus`).
    """
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of the capture, as plain JSON."""
    interventions: Sequence[Mapping[str, Any]] = ()
    """Changes of the model while it runs, as plain JSON."""
    other: ModelRef | None = None
    """A second, unchanged model that reads the same input and is compared with the first."""
    entry_size: int = ENTRY_SIZE
    """The number of bytes that the entry may have. It is no part of the key: an entry that exists is used as it is."""

    @property
    def models(self) -> tuple[ModelRef, ...]:
        return (self.model,) if self.other is None else (self.model, self.other)

    @property
    def called(self) -> str:
        """The request's models in words, for the beginning of a sentence."""
        return f"Model{'s' * (self.other is not None)} {' and '.join(repr(model.name) for model in self.models)}"

    @property
    def known(self) -> bool:
        """True if all its models have an identity, so that it has a key."""
        return all(model.identity is not None for model in self.models)

    @property
    def spread(self) -> bool:
        """True if it needs all of a machine's devices."""
        return any(model.device_map for model in self.models)

    @property
    def head(self) -> bool:
        asked = any(name in self.parameters for name in self.capture.head_for)
        return self.capture.head or asked or "generate" in self.inputs

    def run(self) -> dict[str, Any]:
        """Return the settings for loading and running the model. Only requests with equal settings share a batch."""
        return {
            "head": self.head,
            "attention": self.capture.attention,
            "corpus": self.capture.corpus,
            "reads_file": self.capture.reads_file,
            "parameters": dict(self.parameters),
            "interventions": list(self.interventions),
            "entry_size": self.entry_size,
        }

    def without_interventions(self) -> Request:
        return replace(self, interventions=())

    @cached_property
    def key(self) -> str:
        """The name of its entry in the cache.

        Raises:
            ValueError: the identity of a model is not known yet.
        """
        return entry_key(self.key_parts)

    @cached_property
    def key_parts(self) -> KeyParts:
        """Everything that can change the entry, and nothing else: no device, no page, no option of a view.

        Inputs that were added later are left out if they are not given, so that the keys of older entries stay the
        same.
        """
        for model in self.models:
            if model.identity is None:
                raise ValueError(f"{model.name} has no identity yet")
        names = ("chat", "generate", "more_texts", "chat_date", "src_lang", "tgt_lang")
        later = {name: self.inputs.get(name) for name in names}
        later["corpus"] = self.inputs.get("corpus", {}).get("digest")  # the texts themselves would make the key long
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
