"""The outputs of a model that can be explained, and the number of each that is explained.

An output is a token that a decoder writes, a masked token, a class, a token's label, or the first or last token of an
answer. A token that the model writes is explained by the tokens before it alone: the model runs on those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.encoding import round_digits
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens, pretty
from mkdocs_attnviz.models.inputs.vocabulary_token import token_of
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing import answers

DIGITS = 6
"""The significant digits of numbers in an entry."""
ALL = "all"
LABELLED = ("classes", "labels")
"""Tasks whose outputs have names in the model's configuration."""
NOTHING = ("O", "LABEL_0")
"""Labels of tokens that belong to no class of interest."""
ENDS = ("start", "end")
"""The outputs of a question answering model."""

Choose = Callable[[torch.Tensor], torch.Tensor]
"""A function from the logits that the model returns to those of one output, (B, V)."""


@dataclass(frozen=True)
class Output:
    """One output of the model, and the input that produces it."""

    reads: Example
    choose: Choose
    name: str
    """The sequence that the output stands in, `text` or `target`; `outputs` if it stands in none."""
    index: int
    token: int | None = None
    """The token or class that is explained; None for the likeliest."""
    row: int | None = None
    """The position whose last vector gives the logits, counted in the sequence that the model predicts from; -1 for
    the last position, None if the model's head reads the vectors in another way."""

    def without(self, reads: Example, removed: int) -> Output:
        """Return the same output of a text that lacks `removed` tokens before it."""
        if self.row is None or self.row < 0 or not removed:
            return replace(self, reads=reads)
        return replace(self, reads=reads, row=self.row - removed, choose=_at(self.row - removed))


def _at(row: int) -> Choose:
    """Return the function that takes the logits of one position."""
    return lambda logits: logits[:, row]


@dataclass(frozen=True)
class Explained:
    """An output, and the number of it that is explained."""

    output: Output
    token: int
    """The index of the token or class, or of a token of the text for the end of an answer."""
    name: str
    probability: float
    score: Callable[[torch.Tensor], torch.Tensor]
    """A function from the model's logits to the number that is explained, (B,)."""

    def described(self) -> dict[str, Any]:
        """Return what an entry tells of the output."""
        output = self.output
        return {"name": output.name, "index": output.index, "token": self.name, "probability": self.probability}


def explained(loaded: Loaded, example: Example, parameters: Mapping[str, Any], output: Output) -> Explained:
    """Return an output with the number of it that is explained.

    Raises:
        ValueError: there is no token as the parameters name it.
    """
    contrast, _ = contrast_of(loaded, parameters, example.text)
    wanted = wanted_index(loaded, parameters.get("token"), example.text)
    with torch.no_grad():
        logits = output.choose(loaded.logits(collate(loaded, [output.reads])))[0]
    known = output.token if wanted is None else wanted
    token = int(logits.argmax()) if known is None else known
    probability = round_digits(float(probabilities(loaded, logits[None])[0, token]), DIGITS)
    score = score_of(loaded, output.choose, parameters["explain"], token, contrast)
    return Explained(output, token, name_of(loaded, token, example.text), probability, score)


# The number that is explained


def score_of(
    loaded: Loaded, choose: Choose, explain: str, token: int, contrast: int | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that is explained, from logits to (B,).

    With a contrast, it is the difference from the contrast's score (Yin & Neubig 2022, equation 4).
    """

    def score(logits: torch.Tensor) -> torch.Tensor:
        row = choose(logits)
        if explain == "probability":
            row = probabilities(loaded, row)
        elif explain == "log_probability":
            row = _log_probabilities(loaded, row)
        return row[:, token] if contrast is None else row[:, token] - row[:, contrast]

    return score


def _is_multi_label(loaded: Loaded, classes: int) -> bool:
    """Return whether each class is right or wrong independently of the others."""
    kind = getattr(loaded.model.config, "problem_type", None)
    return loaded.task == "classes" and (kind == "multi_label_classification" or classes == 1)


def probabilities(loaded: Loaded, logits: torch.Tensor) -> torch.Tensor:
    return logits.sigmoid() if _is_multi_label(loaded, logits.shape[-1]) else logits.softmax(-1)


def _log_probabilities(loaded: Loaded, logits: torch.Tensor) -> torch.Tensor:
    several = _is_multi_label(loaded, logits.shape[-1])
    return torch.nn.functional.logsigmoid(logits) if several else logits.log_softmax(-1)


def name_of(loaded: Loaded, token: int, text: Tokens) -> str:
    """Return the name of an output: a token, a class, a label, or the token at a position of the text."""
    if loaded.task in LABELLED:
        return str(loaded.model.config.id2label[token])
    if loaded.task == "answer":
        return text.pretty[token]
    return pretty(loaded.tokenizer, [token])[0]


def contrast_of(loaded: Loaded, parameters: Mapping[str, Any], text: Tokens) -> tuple[int | None, str | None]:
    """Return the index and the name of the token or class to contrast with; None for both if there is none."""
    name = parameters.get("contrast")
    if name is None:
        return None, None
    index = _index_of(loaded, "contrast", name, text)
    return index, name_of(loaded, index, text)


def wanted_index(loaded: Loaded, name: str | None, text: Tokens) -> int | None:
    """Return the index of the token or label that is explained at every output; None if the block names none.

    Raises:
        ValueError: there is no such token, or the model predicts classes.
    """
    if name is None:
        return None
    if loaded.task == "classes":
        raise WrongValue(
            "token", f"`token` is for models that predict tokens, and {loaded.ref.name!r} predicts classes: `target`."
        )
    return _index_of(loaded, "token", name, text)


def _index_of(loaded: Loaded, key: str, name: str, text: Tokens) -> int:
    """Return the index of an output that an author names.

    Raises:
        ValueError: there is none of that name.
    """
    if loaded.task in LABELLED:
        return _class(loaded, key, name)
    if loaded.task == "answer":
        return _place(key, name, answers.allowed(text))
    return token_of(loaded, key, name)


def _place(key: str, name: str, positions: Sequence[int]) -> int:
    """Return a position of the text that an author names.

    Raises:
        ValueError: no answer may begin or end there.
    """
    if name not in map(str, positions):
        raise WrongValue(
            key,
            f"`{key}` is {name!r}; it must be the position of a token that may be part of an answer: "
            f"{positions[0]} to {positions[-1]}.",
        )
    return int(name)


def _class(loaded: Loaded, key: str, name: str) -> int:
    """Return the index of a class, by its label or number.

    Raises:
        ValueError: there is no such class.
    """
    labels = {int(number): str(label) for number, label in loaded.model.config.id2label.items()}
    for number, label in labels.items():
        if name == label or name == str(number):
            return number
    allowed = ", ".join(f"{label} ({number})" for number, label in labels.items())
    raise WrongValue(key, f"`{key}` is {name!r}; the classes of model {loaded.ref.name!r} are {allowed}.")


# The outputs that a model has


def outputs_of(loaded: Loaded, example: Example, target: Sequence[str] | None) -> list[Output]:
    """Return the outputs to explain.

    Raises:
        ValueError: there is no such output.
        Unusable: the model predicts nothing.
    """
    if loaded.task == "classes":
        return _classes(loaded, example, target)
    if loaded.task == "labels":
        return _labels(loaded, example, target)
    if loaded.task == "answer":
        return _ends(loaded, example, target)
    if loaded.task == "masked":
        return _masked(loaded, example.text, target)
    if loaded.task == "target" and example.target is not None:
        return _target_tokens(example, example.target, target)
    if loaded.task == "next":
        return _next_tokens(loaded, example.text, target)
    raise Unusable(loaded.predicts_nothing)


def _classes(loaded: Loaded, example: Example, target: Sequence[str] | None) -> list[Output]:
    if target == [ALL]:
        target = [str(number) for number in range(len(loaded.model.config.id2label))]
    wanted = [None] if target is None else [_class(loaded, "target", name) for name in target]
    return [Output(example, lambda logits: logits, "outputs", number, token) for number, token in enumerate(wanted)]


def _labels(loaded: Loaded, example: Example, target: Sequence[str] | None) -> list[Output]:
    """Return the label of the first token with a telling label, or those of the positions that are asked for."""
    allowed = [position for position in range(len(example.text.ids)) if position not in example.text.special]
    if not allowed:
        raise WrongValue("text", "The text has no token that could have a label.")
    wanted = _positions(target, allowed, allowed) if target is not None else [_labelled(loaded, example, allowed)]

    def output(position: int) -> Output:
        return Output(example, _at(position), "text", position, row=position)

    return [output(position) for position in wanted]


def _labelled(loaded: Loaded, example: Example, allowed: Sequence[int]) -> int:
    """Return the position of the first token whose likeliest label is telling; otherwise the first position."""
    with torch.no_grad():
        likeliest = loaded.logits(collate(loaded, [example]))[0].argmax(-1).tolist()
    names = loaded.model.config.id2label
    telling = (position for position in allowed if str(names[likeliest[position]]) not in NOTHING)
    return next(telling, allowed[0])


def _ends(loaded: Loaded, example: Example, target: Sequence[str] | None) -> list[Output]:
    """Return the first and the last token of the likeliest answer, or one of the two."""
    positions = answers.allowed(example.text)
    for name in target or ():
        if name not in (*ENDS, ALL):
            raise WrongValue("target", f"`target` is {name!r}; of an answer it must be start, end or all.")
    with torch.no_grad():
        logits = loaded.logits(collate(loaded, [example]))[0]
    best = answers.likeliest(logits, positions, 1)[0]

    def output(number: int) -> Output:
        def choose(logits: torch.Tensor) -> torch.Tensor:
            return answers.masked(logits[..., number], positions)

        token = (best.start, best.end)[number]
        return Output(example, choose, "outputs", number, token, token)

    wanted = ENDS if target is None or ALL in target else target
    return [output(ENDS.index(name)) for name in wanted]


def _masked(loaded: Loaded, text: Tokens, target: Sequence[str] | None) -> list[Output]:
    """Return the first masked token. If positions are asked for, each of them is masked by itself."""
    mask = loaded.tokenizer.mask_token_id
    if mask is None:
        raise WrongValue(
            "text", f"The tokenizer of model {loaded.ref.name!r} has no mask token, so that nothing is predicted."
        )
    masks = [position for position, token in enumerate(text.ids) if token == mask]
    allowed = [position for position in range(len(text.ids)) if position not in text.special or position in masks]
    if target is None:
        if not masks:
            raise WrongValue(
                "text",
                f"`text` has no {loaded.tokenizer.mask_token}, which is what model {loaded.ref.name!r} predicts; put "
                "one in it, or say as `target` the position of a token that is to be masked.",
            )
        wanted = masks[:1]
    else:
        wanted = _positions(target, allowed, masks or allowed)

    def output(position: int) -> Output:
        ids = [*text.ids[:position], mask, *text.ids[position + 1 :]]
        token = None if position in masks else text.ids[position]
        return Output(Example(replace(text, ids=ids)), _at(position), "text", position, token, position)

    return [output(position) for position in wanted]


def _next_tokens(loaded: Loaded, text: Tokens, target: Sequence[str] | None) -> list[Output]:
    """Return the tokens that a decoder wrote after the text; if there are none, the token that it would write next."""
    length = len(text.ids)
    read = list(range(1, length))
    if target is None:
        wanted = [length] if text.generated is None else list(range(text.generated, length))
    else:
        wanted = _positions(target, [*read, length], read)
    if not wanted:
        raise WrongValue("text", f"Model {loaded.ref.name!r} has written nothing that could be explained.")

    def output(position: int) -> Output:
        types = None if text.type_ids is None else text.type_ids[:position]
        reads = Example(replace(text, ids=text.ids[:position], type_ids=types))
        token = text.ids[position] if position < length else None
        name = "text" if position < length else "outputs"
        return Output(reads, _at(-1), name, position, token, -1)

    return [output(position) for position in wanted]


def _target_tokens(example: Example, target: Tokens, chosen: Sequence[str] | None) -> list[Output]:
    """Return the tokens that an encoder–decoder writes; position p is the token after its first p tokens."""
    labels = target.labels or []
    allowed = list(range(1, len(labels) + 1))
    wanted = allowed if chosen is None else _positions(chosen, allowed, allowed)

    def output(position: int) -> Output:
        reads = Example(example.text, replace(target, ids=target.ids[:position]))
        token = labels[position - 1]
        shown = position < len(target.ids) and target.ids[position] == token
        return Output(reads, _at(-1), "target" if shown else "outputs", position, token, -1)

    return [output(position) for position in wanted]


def _positions(target: Sequence[str], allowed: Sequence[int], every: Sequence[int]) -> list[int]:
    if list(target) == [ALL]:
        return list(every)
    known = {str(position): position for position in allowed}
    for name in target:
        if name not in known:
            numbers = f"{allowed[0]} to {allowed[-1]}" if allowed else "none here"
            raise WrongValue("target", f"`target` is {name!r}; it must be all, or positions of outputs: {numbers}.")
    return [known[name] for name in target]
