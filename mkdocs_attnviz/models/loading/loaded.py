"""A model in memory, with all that captures ask about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import tokenizers
import torch
import transformers
from transformers.models.auto import modeling_auto

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.errors import Lacking as Lacking
from mkdocs_attnviz.models.errors import TooLarge as TooLarge
from mkdocs_attnviz.models.errors import Unusable as Unusable
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.inputs.tokens import special_ids
from mkdocs_attnviz.models.loading import lengths
from mkdocs_attnviz.models.loading.isolation import Isolation
from mkdocs_attnviz.models.loading.model_class import TASKS

if TYPE_CHECKING:
    from mkdocs_attnviz.models.probing.attention_map import AttentionMap


VERSIONS = {
    "torch": torch.__version__.partition("+")[0],  # whatever device it was built for
    "transformers": transformers.__version__,
    "tokenizers": tokenizers.__version__,
}
"""What a capture may depend on beside the model's own files."""


@dataclass
class Loaded:
    ref: ModelRef
    model: Any
    tokenizer: Any
    device: torch.device
    batches: bool | None = None
    """Whether a padded batch gives what single texts give; None until it was tried."""
    made_with: Mapping[str, str] = field(default_factory=lambda: VERSIONS)
    """Versions of what ran it."""
    attention_map: AttentionMap | None = None
    """Which of the model's attention calls is which layer; None until a text was run."""
    fits: int | None = None
    """Texts × tokens² that one batch may have; None until memory ran out."""
    trained_for: str | None = None
    """What the model predicts, as `TASKS` has it, where its own code says so; None where its class tells."""

    def __post_init__(self) -> None:
        self.isolation = Isolation(self.model)

    @property
    def encoder_decoder(self) -> bool:
        return (
            bool(getattr(self.model.config, "is_encoder_decoder", False)) and self.model.get_encoder() is not self.model
        )

    @property
    def task(self) -> str | None:
        """What the model predicts, as `TASKS` has it; None for one that predicts nothing by itself."""
        name = next((each.__name__ for each in type(self.model).__mro__ if each.__name__ in TASKS), "")
        task = self.trained_for or TASKS.get(name) or ("next" if self.model.can_generate() else None)
        if task == "next" and self.reads_ahead:
            return "masked" if name in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values() else None
        return task

    @cached_property
    def reads_ahead(self) -> bool:
        """Whether its predictions at a token change with what stands after it (XLM, XLNet, a BERT that is no decoder):
        those are of no next token, whatever the class is called."""
        special = special_ids(self.tokenizer)
        try:
            size = self.model.config.get_text_config().vocab_size
            some = list(islice((token for token in range(size) if token not in special), 4))
            ids = torch.tensor([some[:3], [*some[:2], some[3]]], device=self.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, return_dict=True).logits[:, :2]
        except Exception:  # of a model that reads more than ids, or a longer text; no proof
            return False
        rounding = max(1e-3, 2 * torch.finfo(logits.dtype).eps)  # of the largest; true cases lie far above it
        one, other = logits.float()
        return float((one - other).abs().max()) > rounding * float(one.abs().max())

    @property
    def predicts_nothing(self) -> str:
        """A sentence, for where `task` is None."""
        why = "predicts neither tokens nor classes"
        if self.reads_ahead:
            why = f"({type(self.model).__name__}) predicts no next token: what it says of one depends on what follows"
        return f"Model {self.ref.name!r} {why}."

    def numbers(self, values: torch.Tensor) -> torch.Tensor:
        """`values` of a pass in 32 bits. Raises: ValueError: some are NaN, as where numbers of 16 bits overflow."""
        if bool(values.isnan().any()):
            less = f"; it runs in {values.dtype}, and may do better with `dtype: float32`" * (values.element_size() < 4)
            raise WrongValue("text", f"Model {self.ref.name!r} gives values that are no numbers for this text{less}.")
        return values.float()

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of collated inputs, in 32 bits. Raises: ValueError: as `numbers`."""
        return self.numbers(self.logits_of(self.model(**inputs, return_dict=True)))

    def logits_of(self, outputs: Any) -> torch.Tensor:
        """Return the logits that a model gives; of one that answers questions, those of an answer's first and of its
        last token, (B, T, 2)."""
        if self.task == "answer":
            return torch.stack([outputs.start_logits, outputs.end_logits], -1)
        found: torch.Tensor = outputs.logits
        return found

    @property
    def reads_again(self) -> bool:
        """Return whether the decoder beside an encoder reads the text itself, one token on, and writes nothing."""
        return self.encoder_decoder and self.task in ("classes", "labels", "answer")

    @property
    def pad(self) -> int:
        return self.tokenizer.pad_token_id or 0

    @cached_property
    def longest(self) -> int | None:
        """The most tokens the model can read, where it has a limit."""
        return lengths.longest(self.model)

    @cached_property
    def longest_target(self) -> int | None:
        """The most tokens its decoder can read, where it has a limit."""
        return lengths.longest(self.model, target=True)
