"""Predictions at each position: the likeliest tokens, and probability and rank of the token that stands there.

A model that writes predicts each token from those before it. A masked language model predicts `[MASK]`; if a text has
none, each token is masked in turn (Salazar et al. 2020, "Masked Language Model Scoring"). A classifier predicts
classes, a token classifier each token's labels, a question answering model answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.encoding import json_blob, round_digits
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens, pretty
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing import answers

AT_ONCE = 16
"""The number of copies of a text, each with one token masked, that go through a model together."""
LOGITS = 1 << 26
"""The limit of logits in one such batch: a quarter of a gigabyte. A single copy may exceed it."""


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example; `parameters` has `top_k`.

    Raises:
        Unusable: the model predicts nothing.
    """
    loaded, examples, parameters = context.loaded, context.examples, context.parameters
    with torch.inference_mode():
        return [_entry(loaded, example, parameters["top_k"]) for example in examples]


def _entry(loaded: Loaded, example: Example, top_k: int) -> Entry:
    task = loaded.task
    if task is None:
        raise Unusable(loaded.predicts_nothing)
    sequences = example.sequences()
    meta: dict[str, Any] = {"sequences": sequences, "task": task}
    if task in OF_TASK:
        return Entry(meta, {"predictions": json_blob(OF_TASK[task](loaded, example, top_k))})
    predicted = predictions(loaded, example, task)
    text = example.target if example.target is not None and task == "target" else example.text
    mask = loaded.tokenizer.mask_token_id if task == "masked" else None
    actual = [None if token == mask else token for token in text.ids]
    lists = _described(loaded, predicted, [*actual, None], top_k)
    meta["predicted"] = "text" if text is example.text else "target"
    return Entry(meta, {"predictions": json_blob(lists)})


def predictions(loaded: Loaded, example: Example, task: str) -> dict[int, torch.Tensor]:
    """Return the logits, (V,), by the position that they predict, which may be one beyond the last."""
    if task == "masked":
        return dict(_masked(loaded, example.text))
    logits = loaded.logits(collate(loaded, [example]))[0]  # (T, V)
    return {position + 1: row for position, row in enumerate(logits)}


def _masked(loaded: Loaded, text: Tokens) -> Iterator[tuple[int, torch.Tensor]]:
    mask = loaded.tokenizer.mask_token_id
    if mask is None:
        raise WrongValue(
            "text", f"The tokenizer of model {loaded.ref.name!r} has no mask token, so that nothing can be predicted."
        )
    inputs = collate(loaded, [Example(text)])
    masked = [position for position, token in enumerate(text.ids) if token == mask]
    if masked:
        logits = loaded.logits(inputs)[0]
        yield from ((position, logits[position].clone()) for position in masked)
        return
    positions = [position for position in range(len(text.ids)) if position not in text.special]
    logits_per_copy = len(text.ids) * loaded.model.config.get_text_config().vocab_size
    step = max(1, min(AT_ONCE, LOGITS // logits_per_copy))
    for start in range(0, len(positions), step):
        part = positions[start : start + step]
        copies = {name: value.repeat(len(part), 1) for name, value in inputs.items()}
        copies["input_ids"][torch.arange(len(part)), torch.tensor(part)] = mask
        logits = loaded.logits(copies)  # (B, T, V)
        yield from ((position, logits[number, position].clone()) for number, position in enumerate(part))


def _described(
    loaded: Loaded, predicted: Mapping[int, torch.Tensor], actual: Sequence[int | None], top_k: int
) -> dict[str, Any]:
    """Return lists by position; None stands where nothing is predicted, or no token is known to compare with."""
    length = max([len(actual), *(position + 1 for position in predicted)])
    names: dict[int, int] = {}
    lists: dict[str, list[Any]] = {name: [None] * length for name in ("top", "probabilities", "actual", "entropy")}
    for position, logits in predicted.items():
        logs = torch.log_softmax(logits, -1)
        probabilities = logs.exp()
        top = probabilities.topk(min(top_k, len(probabilities)))
        ids = top.indices.tolist()
        lists["top"][position] = [names.setdefault(token, len(names)) for token in ids]
        lists["probabilities"][position] = [round_digits(value) for value in top.values.tolist()]
        lists["entropy"][position] = round_digits(float(-(probabilities * logs.nan_to_num(neginf=0)).sum()))
        token = actual[position] if position < len(actual) else None
        if token is not None:
            rank = 1 + int((logits > logits[token]).sum())
            lists["actual"][position] = [round_digits(float(probabilities[token])), rank]
    return {"vocabulary": pretty(loaded.tokenizer, list(names)), **lists}


def _classes(loaded: Loaded, example: Example, top_k: int) -> dict[str, Any]:
    logits = loaded.logits(collate(loaded, [example]))[0]
    config = loaded.model.config
    several = config.problem_type == "multi_label_classification" or len(logits) == 1
    probabilities = logits.sigmoid() if several else logits.softmax(-1)
    top = probabilities.topk(min(top_k, len(probabilities)))
    return _one_place([str(config.id2label[index]) for index in top.indices.tolist()], top.values.tolist())


def _answers(loaded: Loaded, example: Example, top_k: int) -> dict[str, Any]:
    logits = loaded.logits(collate(loaded, [example]))[0]  # (T, 2)
    best = answers.likeliest(logits, answers.allowed(example.text), top_k)
    return _one_place([answers.words(example.text, answer) for answer in best], [answer.probability for answer in best])


def _one_place(names: list[str], probabilities: list[float]) -> dict[str, Any]:
    """Return the predictions for a text as a whole, in the form of a single position."""
    return {
        "vocabulary": names,
        "top": [list(range(len(names)))],
        "probabilities": [[round_digits(value) for value in probabilities]],
        "actual": [None],
        "entropy": [None],
    }


def _labels(loaded: Loaded, example: Example, top_k: int) -> dict[str, Any]:
    """Return the likeliest labels of each token that is not special. The right label is not known."""
    length = len(example.text.ids)
    lists: dict[str, list[Any]] = {name: [None] * length for name in ("top", "probabilities", "actual", "entropy")}
    labels = loaded.model.config.id2label
    logits = loaded.logits(collate(loaded, [example]))[0]  # (T, labels)
    for position in range(length):
        if position not in example.text.special:
            probabilities = logits[position].softmax(-1)
            top = probabilities.topk(min(top_k, len(probabilities)))
            lists["top"][position] = top.indices.tolist()
            lists["probabilities"][position] = [round_digits(value) for value in top.values.tolist()]
            lists["entropy"][position] = round_digits(float(torch.special.entr(probabilities).sum()))
    return {"vocabulary": [str(labels[number]) for number in range(logits.shape[-1])], **lists}


OF_TASK: Mapping[str, Callable[[Loaded, Example, int], dict[str, Any]]] = {
    "classes": _classes,
    "answer": _answers,
    "labels": _labels,
}
"""Functions for tasks whose outputs are no tokens, by task."""
