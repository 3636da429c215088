"""The parts that the scripts which train the example site's models share: one thread, one loop, a tokenizer of words.

Each script has its own texts, architecture and scores. It finds this file because it puts the folder above its own on
Python's path.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
"""The special tokens of `word_tokenizer`, in the order of their numbers."""
Losses = Iterator[tuple[torch.Tensor, str]]
"""The losses of all steps, each with the text that a report of the step has."""


def reproduce() -> None:
    """Make the result depend on seeds alone: one thread, deterministic algorithms."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    disable_progress_bar()


def descend(
    losses: Losses, optimizer: torch.optim.Optimizer, *, steps: int, rising: int = 100, falling: float = 0.5, every: int
) -> None:
    """Take so many steps down the gradients of losses, and report each `every`-th one.

    The learning rate goes up for the first `rising` steps, is level, and goes down to 2% over the last part, `falling`.
    """
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, 1, max(0.02, (steps - step) / (falling * steps)))
    )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    start = time.monotonic()
    for step in range(1, steps + 1):
        loss, told = next(losses)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        if step % every == 0:
            print(f"step {step:5}   {told}   {time.monotonic() - start:4.0f} s", flush=True)


def adamw(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimizer of all models but that of characters."""
    return torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.98), weight_decay=0.01)


def word_tokenizer(words: Sequence[str], length: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of one token per word, lower case, between [CLS] and [SEP]."""
    numbers = {token: number for number, token in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, numbers[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=length,
        model_input_names=["input_ids", "attention_mask"],
    )


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the padded inputs of a batch of texts."""
    return dict(tokenizer(list(texts), padding=True, return_tensors="pt"))
