"""What a model held likely at each position: probability and rank of the token that stands there, and the likeliest.

Of a model that writes, each token is predicted from those before it. Of a masked language model a `[MASK]` is; where a
text has none, each token is masked in turn (Salazar et al. 2020, "Masked Language Model Scoring"). Of a classifier it
is the classes; of one that labels tokens, each token's labels; of one that answers questions, the answers.
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
"""Copies of a text with one token masked that go through a model together, at most."""
LOGITS = 1 << 26
"""Numbers that come out then, at most, if a single copy has no more: a quarter of a gigabyte."""


def capture(context: Context) -> list[Entry]:
    """One entry for each example; `parameters` has `top_k`.

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
    if task in TOGETHER:
        return Entry(meta, {"predictions": json_blob(TOGETHER[task](loaded, example, top_k))})
    predicted = predictions(loaded, example, task)
    text = example.target if example.target is not None and task == "target" else example.text
    mask = loaded.tokenizer.mask_token_id if task == "masked" else None
    given = [None if token == mask else token for token in text.ids]
    found = _described(loaded, predicted, [*given, None], top_k)
    meta["predicted"] = "text" if text is example.text else "target"
    return Entry(meta, {"predictions": json_blob(found)})


def predictions(loaded: Loaded, example: Example, task: str) -> dict[int, torch.Tensor]:
    """Logits by the position that they predict, each (V,). What follows the last position is predicted, too."""
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
    each = len(text.ids) * loaded.model.config.get_text_config().vocab_size
    step = max(1, min(AT_ONCE, LOGITS // each))
    for start in range(0, len(positions), step):
        part = positions[start : start + step]
        copies = {name: value.repeat(len(part), 1) for name, value in inputs.items()}
        copies["input_ids"][torch.arange(len(part)), torch.tensor(part)] = mask
        logits = loaded.logits(copies)  # (B, T, V)
        yield from ((position, logits[number, position].clone()) for number, position in enumerate(part))


def _described(
    loaded: Loaded, predicted: Mapping[int, torch.Tensor], actual: Sequence[int | None], top_k: int
) -> dict[str, Any]:
    """Lists by position; null where nothing is predicted, and where no token is given to compare with."""
    length = max([len(actual), *(position + 1 for position in predicted)])
    names: dict[int, int] = {}
    found: dict[str, list[Any]] = {name: [None] * length for name in ("top", "probabilities", "actual", "entropy")}
    for position, logits in predicted.items():
        logs = torch.log_softmax(logits, -1)
        probabilities = logs.exp()
        top = probabilities.topk(min(top_k, len(probabilities)))
        ids = top.indices.tolist()
        found["top"][position] = [names.setdefault(token, len(names)) for token in ids]
        found["probabilities"][position] = [round_digits(value) for value in top.values.tolist()]
        found["entropy"][position] = round_digits(float(-(probabilities * logs.nan_to_num(neginf=0)).sum()))
        token = actual[position] if position < len(actual) else None
        if token is not None:
            rank = 1 + int((logits > logits[token]).sum())
            found["actual"][position] = [round_digits(float(probabilities[token])), rank]
    return {"vocabulary": pretty(loaded.tokenizer, list(names)), **found}


def _classes(loaded: Loaded, example: Example, top_k: int) -> dict[str, Any]:
    logits = loaded.logits(collate(loaded, [example]))[0]
    config = loaded.model.config
    several = config.problem_type == "multi_label_classification" or len(logits) == 1
    probabilities = logits.sigmoid() if several else logits.softmax(-1)
    top = probabilities.topk(min(top_k, len(probabilities)))
    return _one_place([str(config.id2label[index]) for index in top.indices.tolist()], top.values.tolist())


def _answers(loaded: Loaded, example: Example, top_k: int) -> dict[str, Any]:
    logits = loaded.logits(collate(loaded, [example]))[0]  # (T, 2)
    found = answers.likeliest(logits, answers.allowed(example.text), top_k)
    return _one_place([answers.words(example.text, each) for each in found], [each.probability for each in found])


def _one_place(names: list[str], probabilities: list[float]) -> dict[str, Any]:
    """Return what is predicted of a text as a whole, as if of one position."""
    return {
        "vocabulary": names,
        "top": [list(range(len(names)))],
        "probabilities": [[round_digits(value) for value in probabilities]],
        "actual": [None],
        "entropy": [None],
    }


def _labels(loaded: Loaded, example: Example, top_k: int) -> dict[str, Any]:
    """Return the likeliest labels of each token that is not special; which is right, the text does not say."""
    length = len(example.text.ids)
    found: dict[str, list[Any]] = {name: [None] * length for name in ("top", "probabilities", "actual", "entropy")}
    labels = loaded.model.config.id2label
    logits = loaded.logits(collate(loaded, [example]))[0]  # (T, labels)
    for position in range(length):
        if position not in example.text.special:
            probabilities = logits[position].softmax(-1)
            top = probabilities.topk(min(top_k, len(probabilities)))
            found["top"][position] = top.indices.tolist()
            found["probabilities"][position] = [round_digits(value) for value in top.values.tolist()]
            found["entropy"][position] = round_digits(float(torch.special.entr(probabilities).sum()))
    return {"vocabulary": [str(labels[number]) for number in range(logits.shape[-1])], **found}


TOGETHER: Mapping[str, Callable[[Loaded, Example, int], dict[str, Any]]] = {
    "classes": _classes,
    "answer": _answers,
    "labels": _labels,
}
"""What is predicted of tokens that are all there, by task."""
