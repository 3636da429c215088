"""The loss of a model on a text: the mean of −ln p over the tokens that it predicts, in nats.

A model that writes predicts each token of the text from those before it, an encoder–decoder each token of its target. A
masked language model predicts each token in turn from all others, by the pseudo-loss of Salazar et al. 2020, "Masked
Language Model Scoring" (https://aclanthology.org/2020.acl-main.240/).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

AT_ONCE = 16
"""The number of copies of a text, each with one token masked, that go through a model together."""
LOGITS = 1 << 26
"""The limit of logits in one such batch: a quarter of a gigabyte. A single copy may exceed it."""
NOT_COUNTED = -100


@dataclass(frozen=True)
class Batch:
    """An input of a model, and the tokens that it is to predict."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    """The token that is right at each position of the logits, (B, T); `NOT_COUNTED` where none counts."""

    @property
    def tokens(self) -> int:
        """The number of tokens that count."""
        return int((self.labels != NOT_COUNTED).sum())

    def loss(self, logits: torch.Tensor) -> float:
        """Return the sum of the losses of its tokens, in nats."""
        return float(
            cross_entropy(logits.flatten(0, 1), self.labels.flatten(), ignore_index=NOT_COUNTED, reduction="sum")
        )


def batches(loaded: Loaded, examples: Sequence[Example]) -> Iterator[Batch]:
    """Yield what the model reads for the loss of some texts: all at once, or each of them in copies with a mask.

    Raises:
        Unusable: the model predicts no tokens.
        WrongValue: the text has no token to predict.
    """
    task = loaded.task
    targets = [example.target for example in examples if example.target is not None]
    if task == "masked":
        for example in examples:
            yield from _masked(loaded, example.text)
    elif task == "next":
        yield _next(loaded, examples)
    elif task == "target" and targets:
        labels = [(target.labels or [])[: len(target.ids)] for target in targets]
        yield Batch(collate(loaded, examples), _padded(loaded, labels, max(len(target.ids) for target in targets)))
    else:
        raise Unusable(f"`ablate` needs a loss, and model {loaded.ref.name!r} predicts no tokens.", "ablate")


def _next(loaded: Loaded, examples: Sequence[Example]) -> Batch:
    texts = [example.text.ids for example in examples]
    if any(len(ids) < 2 for ids in texts):
        raise WrongValue("text", "The text has a single token, so that none is predicted; `ablate` needs two or more.")
    return Batch(collate(loaded, examples), _padded(loaded, [ids[1:] for ids in texts], max(map(len, texts))))


def _padded(loaded: Loaded, labels: Sequence[list[int]], length: int) -> torch.Tensor:
    """Return labels as (B, T), with `NOT_COUNTED` after the end of each text."""
    rows = [row + [NOT_COUNTED] * (length - len(row)) for row in labels]
    return torch.tensor(rows, device=loaded.device)


def _masked(loaded: Loaded, text: Tokens) -> Iterator[Batch]:
    mask = loaded.tokenizer.mask_token_id
    if mask is None:
        raise Unusable(f"The tokenizer of model {loaded.ref.name!r} has no mask token, so that nothing is predicted.")
    positions = [at for at, token in enumerate(text.ids) if at not in text.special and token != mask]
    if not positions:
        raise WrongValue("text", "The text has no token that could be masked and predicted.")
    inputs = collate(loaded, [Example(text)])
    logits = len(text.ids) * loaded.model.config.get_text_config().vocab_size
    step = max(1, min(AT_ONCE, LOGITS // logits))
    for start in range(0, len(positions), step):
        part = torch.tensor(positions[start : start + step], device=loaded.device)
        rows = torch.arange(len(part), device=loaded.device)
        copies = {name: value.repeat(len(part), 1) for name, value in inputs.items()}
        labels = torch.full_like(copies["input_ids"], NOT_COUNTED)
        labels[rows, part] = copies["input_ids"][rows, part]
        copies["input_ids"][rows, part] = mask
        yield Batch(copies, labels)
