"""A model in memory, and what captures ask about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from transformers.models.auto import modeling_auto

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.errors import Lacking as Lacking
from mkdocs_attnviz.models.errors import TooLarge as TooLarge
from mkdocs_attnviz.models.errors import Unusable as Unusable
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.loading import lengths
from mkdocs_attnviz.models.loading.isolation import Isolation
from mkdocs_attnviz.models.loading.model_class import TASKS
from mkdocs_attnviz.models.loading.special_tokens import special_ids

if TYPE_CHECKING:
    from mkdocs_attnviz.models.probing.attention_map import AttentionMap


@dataclass
class Loaded:
    ref: ModelRef
    model: Any
    tokenizer: Any
    device: torch.device
    batches: bool | None = None
    """True if a padded batch gives the same numbers as single texts; None until it was tried."""
    attention_map: AttentionMap | None = None
    """The map from the model's attention calls to layers; None until a text was run."""
    fits: int | None = None
    """The limit of texts × tokens² in one batch; None until memory ran out."""
    trained_for: str | None = None
    """The task as in `TASKS`, if the model's own code declares it; None if its class does."""

    def __post_init__(self) -> None:
        self.isolation = Isolation(self.model)

    @property
    def encoder_decoder(self) -> bool:
        return (
            bool(getattr(self.model.config, "is_encoder_decoder", False)) and self.model.get_encoder() is not self.model
        )

    @property
    def task(self) -> str | None:
        """The model's task as in `TASKS`; None if it predicts nothing by itself."""
        name = next((base.__name__ for base in type(self.model).__mro__ if base.__name__ in TASKS), "")
        task = self.trained_for or TASKS.get(name) or ("next" if self.model.can_generate() else None)
        if task == "next" and self.reads_ahead:
            return "masked" if name in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values() else None
        return task

    @cached_property
    def reads_ahead(self) -> bool:
        """True if predictions at a token depend on later tokens (XLM, XLNet, a BERT that is no decoder).

        Such a model predicts no next token, whatever its class is called.
        """
        special = special_ids(self.tokenizer)
        try:
            size = self.model.config.get_text_config().vocab_size
            some = list(islice((token for token in range(size) if token not in special), 4))
            ids = torch.tensor([some[:3], [*some[:2], some[3]]], device=self.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, return_dict=True).logits[:, :2]
        except Exception:  # the model reads more than ids, or only longer texts; this proves nothing
            return False
        # of the largest number; a model that reads ahead exceeds this by far
        rounding = max(1e-3, 2 * torch.finfo(logits.dtype).eps)
        one, other = logits.float()
        return float((one - other).abs().max()) > rounding * float(one.abs().max())

    @property
    def predicts_nothing(self) -> str:
        """A sentence that says why the model has no task."""
        why = "predicts neither tokens nor classes"
        if self.reads_ahead:
            why = f"({type(self.model).__name__}) predicts no next token: what it says of one depends on what follows"
        return f"Model {self.ref.name!r} {why}."

    def checked_values(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values of a forward pass as 32-bit numbers.

        Raises:
            ValueError: some are NaN, for example because 16-bit numbers overflow.
        """
        if bool(values.isnan().any()):
            less = f"; it runs in {values.dtype}, and may do better with `dtype: float32`" * (values.element_size() < 4)
            raise WrongValue("text", f"Model {self.ref.name!r} gives values that are no numbers for this text{less}.")
        return values.float()

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of collated inputs as 32-bit numbers.

        Raises:
            ValueError: some are NaN.
        """
        return self.checked_values(self.logits_of(self.model(**inputs, return_dict=True)))

    def logits_of(self, outputs: Any) -> torch.Tensor:
        """Return the logits among a model's outputs.

        For a question answering model they are those of an answer's first and last token, (B, T, 2).
        """
        if self.task == "answer":
            return torch.stack([outputs.start_logits, outputs.end_logits], -1)
        logits: torch.Tensor = outputs.logits
        return logits

    @property
    def reads_again(self) -> bool:
        """True if the decoder beside an encoder reads the text again, shifted by one token, and writes nothing."""
        return self.encoder_decoder and self.task in ("classes", "labels", "answer")

    @property
    def pad(self) -> int:
        return self.tokenizer.pad_token_id or 0

    @cached_property
    def longest(self) -> int | None:
        """The number of tokens the model can read, or None if it has no limit."""
        return lengths.longest(self.model)

    @cached_property
    def longest_target(self) -> int | None:
        """The number of tokens its decoder can read, or None if it has no limit."""
        return lengths.longest(self.model, target=True)
