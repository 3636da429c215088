"""The capture of the text view: the strongest attention weights of each token of a long text.

Only the matrices that the block asks for are computed, one layer after the other, and only their strongest weights are
kept (`strongest_weights`): of 4,000 tokens, half a megabyte in place of sixteen for each head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.saliency import explain_outputs
from mkdocs_attnviz.models.captures.saliency_methods import row_of
from mkdocs_attnviz.models.captures.strongest_weights import LARGEST, MOST, ROWS, received, strongest
from mkdocs_attnviz.models.encoding import json_blob
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.marked_text import MarkedText, marked_text
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Stack
from mkdocs_attnviz.models.probing.attention_pass import forward
from mkdocs_attnviz.models.probing.explained_outputs import contrast_of

STACKS = ("self", "encoder", "decoder", "cross")
"""The stacks, in the order in which one is chosen."""
KEPT = 64
"""The number of weights of each token that are kept, if they have room."""
BUDGET = 7 << 20
"""The number of bytes that all matrices of a figure may take together; in a page they are a third more."""
WEIGHT, ROW = 1.9, 9
"""The number of bytes that a weight takes once it is deflated, measured on long texts, and a row besides."""


@dataclass(frozen=True)
class Matrix:
    """A matrix that a reader can choose. A layer or head of None stands for several of them combined."""

    layer: int | None
    head: int | None


@dataclass
class Marks:
    """The marks of the sequences that are shown, one sequence after the other."""

    names: Sequence[str]
    texts: Mapping[str, MarkedText]
    extra: Sequence[str] = ()
    """Outputs of the model that stand in no sequence; they come last."""

    @property
    def count(self) -> int:
        return sum(len(text.texts) for text in self.texts.values()) + len(self.extra)

    def start(self, name: str) -> int:
        """Return the number of the first mark of a sequence."""
        before = self.names[: self.names.index(name)]
        return sum(len(self.texts[each].texts) for each in before)

    def of_tokens(self, name: str) -> torch.Tensor:
        """Return the number of each token's mark within its sequence, (tokens,)."""
        groups = self.texts[name].tokens
        return torch.tensor([mark for mark, group in enumerate(groups) for _ in group])

    def meta(self) -> list[dict[str, Any]]:
        """Return for each sequence its name, and the first token of each mark; None if each token is a mark."""
        return [
            {
                "name": name,
                "marks": len(text.tokens),
                "first": [group[0] for group in text.tokens] if any(len(group) > 1 for group in text.tokens) else None,
            }
            for name, text in ((name, self.texts[name]) for name in self.names)
        ]

    def blob(self) -> bytes:
        """Encode the texts of all marks, and what stands before each of them."""
        texts = [text for name in self.names for text in self.texts[name].texts]
        gaps = [gap for name in self.names for gap in self.texts[name].gaps]
        return json_blob({"texts": [*texts, *self.extra], "gaps": [*gaps, *[""] * len(self.extra)]})


@dataclass
class Wanted:
    """The matrices that a block asks for, and how they are combined."""

    layers: Sequence[int]
    heads: Sequence[int] | None
    """The heads that are shown or combined; None for all."""
    across_layers: str | None
    across_heads: str | None
    top_k: int | None

    @property
    def matrices(self) -> list[Matrix]:
        """The matrices, in the order in which they are offered."""
        heads: Sequence[int | None] = (
            [None] if self.across_heads or self.across_layers == "rollout" or self.heads is None else self.heads
        )
        layers: Sequence[int | None] = self.layers if self.across_layers in (None, "rollout") else [None]
        return [Matrix(layer, head) for layer in layers for head in heads]

    def count(self, rows: int, cols: int) -> int:
        """Return the number of weights that are kept of each row: as many as have room, unless the block says it.

        Raises:
            WrongValue: the matrices have no room at all.
        """
        wanted = min(self.top_k or KEPT, cols)
        room = int((BUDGET / (len(self.matrices) * rows) - ROW) / WEIGHT)
        if self.top_k is None and room < 1:
            what = "heads" if self.heads is not None and len(self.heads) > 1 else "include_layers"
            raise WrongValue(
                what,
                f"{len(self.matrices)} matrices of {rows} tokens have no room in a figure; name fewer in `{what}`.",
            )
        return wanted if self.top_k is not None else min(wanted, room)


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example. `parameters` are those of `views/text.py`.

    Raises:
        Unusable: the model has no weights of tokens by tokens.
        ValueError: there is no such stack, layer or head.
    """
    if "saliency" in context.parameters:
        return [_saliency(context, example) for example in context.examples]
    loaded, examples = context.loaded, context.examples
    attention_map = find_attention_map(loaded, examples[0])
    name = stack_of(loaded.ref.name, attention_map, context.parameters)
    stack = attention_map.stacks[name]
    wanted = wanted_of(loaded.ref.name, stack, context.parameters)
    pending = [Pending(stack, wanted, _marks(loaded.tokenizer, example, stack)) for example in examples]
    layers = {layer.call: layer.layer for layer in stack.layers}
    count = 0

    def keep(call: Call) -> None:
        nonlocal count
        if count in layers:
            for number, (each, example) in enumerate(zip(pending, examples, strict=True)):
                rows, cols = (_length(example, sequence) for sequence in (stack.rows, stack.cols))
                each.add(layers[count], call.weights[number, :, :rows, :cols])
        count += 1

    forward(loaded, collate(loaded, examples), attention_map, keep, operands=False, to_the_end=False)
    return [
        Entry(
            {"sequences": example.sequences(), "turns": example.text.turns, "stack": name, **each.meta()}, each.blobs()
        )
        for example, each in zip(examples, pending, strict=True)
    ]


def _length(example: Example, sequence: str) -> int:
    tokens = example.target if sequence == "target" else example.text
    assert tokens is not None  # noqa: S101 — for the type checker: a decoder has read it
    return len(tokens.ids)


def stack_of(model: str, attention_map: AttentionMap, parameters: Mapping[str, Any]) -> str:
    """Return the stack that the block asks for.

    Raises:
        WrongValue: the model has no such stack.
    """
    known = [name for name in STACKS if name in attention_map.stacks]
    name = parameters["stack"] or known[0]
    if name not in known:
        raise WrongValue("stack", f"`stack` is {name!r}; model {model!r} has {', '.join(known)}.")
    return str(name)


def wanted_of(model: str, stack: Stack, parameters: Mapping[str, Any]) -> Wanted:
    """Return the matrices that the block asks for.

    Raises:
        WrongValue: there is no such layer or head, or no rollout.
    """
    if parameters["across_layers"] == "rollout" and stack.rows != stack.cols:
        raise WrongValue(
            "across_layers", "`across_layers` is 'rollout', which needs attention of a sequence to itself."
        )
    heads = {layer.layer: layer.heads for layer in stack.layers}
    for number in parameters["layers"] or ():
        if number not in heads:
            known = listed(list(heads))
            raise WrongValue("include_layers", f"`include_layers` is {number}; model {model!r} has layers {known}.")
    layers = parameters["layers"] or list(heads)
    for number in parameters["heads"] or ():
        if least := [layer for layer in layers if number >= heads[layer]]:
            last = heads[least[0]] - 1
            raise WrongValue(
                "heads", f"`heads` has {number}; layer {least[0]} of model {model!r} has heads 0 to {last}."
            )
    return Wanted(
        layers, parameters["heads"], parameters["across_layers"], parameters["across_heads"], parameters["top_k"]
    )


def _marks(tokenizer: Any, example: Example, stack: Stack) -> Marks:
    """Return the marks of the sequences that a stack's attention is between.

    Raises:
        WrongValue: a sequence is longer than what can be stored.
    """
    names = [name for name in ("text", "target") if name in (stack.rows, stack.cols)]
    texts: dict[str, MarkedText] = {}
    for name in names:
        tokens = example.target if name == "target" else example.text
        assert tokens is not None  # noqa: S101 — for the type checker
        if len(tokens.ids) > LARGEST:
            raise WrongValue("text", f"The {name} has {len(tokens.ids)} tokens; the text view shows at most {LARGEST}.")
        texts[name] = marked_text(tokens, tokenizer)
    return Marks(names, texts)


@dataclass
class Pending:
    """The matrices of one example, collected layer by layer."""

    stack: Stack
    wanted: Wanted
    marks: Marks
    found: dict[Matrix, list[bytes]] = field(default_factory=dict)
    profiles: dict[Matrix, bytes] = field(default_factory=dict)
    sums: dict[Matrix, torch.Tensor] = field(default_factory=dict)
    """The matrices that are combined over layers: the rollout so far, a sum or a maximum."""

    def __post_init__(self) -> None:
        rows, cols = (len(self.marks.texts[name].texts) for name in (self.stack.rows, self.stack.cols))
        self.count = self.wanted.count(rows, cols)
        self.rows = _merger(self.marks.of_tokens(self.stack.rows))
        self.cols = _merger(self.marks.of_tokens(self.stack.cols))

    def add(self, layer: int, weights: torch.Tensor) -> None:
        """Take the weights of a layer, (heads, rows, cols); they are not changed."""
        how = self.wanted.across_layers
        if how == "rollout":
            self._roll(layer, weights)
            return
        if layer not in self.wanted.layers:
            return
        for head, matrix in self._heads(weights):
            one = Matrix(layer if how is None else None, head)
            if how is None:
                self._finish(one, matrix)
            elif one not in self.sums:
                self.sums[one] = matrix.clone()
            elif how == "max":
                torch.maximum(self.sums[one], matrix, out=self.sums[one])
            else:
                self.sums[one] += matrix

    def _roll(self, layer: int, weights: torch.Tensor) -> None:
        """Multiply the rollout so far with a layer's weights (Abnar & Zuidema 2020, section 3)."""
        mean = weights.mean(0, dtype=torch.float32)
        mixed = mean / mean.sum(-1, keepdim=True).clamp_min(1e-9) / 2
        mixed.diagonal().add_(0.5)
        one = Matrix(None, None)
        self.sums[one] = mixed @ self.sums[one] if one in self.sums else mixed
        if layer in self.wanted.layers:
            self._finish(Matrix(layer, None), self.sums[one])

    def _heads(self, weights: torch.Tensor) -> Iterator[tuple[int | None, torch.Tensor]]:
        """Yield the heads that are shown, each with its matrix, (rows, cols); or all of them combined."""
        heads = self.wanted.heads
        if self.wanted.across_heads is None and heads is not None:
            for head in heads:
                yield head, weights[head].float()
            return
        chosen = weights if heads is None else weights[list(heads)]
        yield None, chosen.amax(0).float() if self.wanted.across_heads == "max" else chosen.mean(0, dtype=torch.float32)

    def _finish(self, one: Matrix, matrix: torch.Tensor) -> None:
        """Keep the strongest weights of a matrix of tokens, with the tokens of one mark put together."""
        matrix = self.rows(self.cols(matrix, -1, mean=False), 0, mean=True)
        sink = self.stack.sink and self.wanted.across_layers != "rollout"
        self.found[one] = list(strongest(matrix, self.count, sink=sink).files())
        own = self.stack.rows == self.stack.cols
        self.profiles[one] = received(matrix, own=own, causal=self.stack.causal)

    def meta(self) -> dict[str, Any]:
        """Return what the entry tells of the matrices."""
        for one, matrix in self.sums.items():
            if one in self.wanted.matrices:
                layers = len(self.wanted.layers) if self.wanted.across_layers == "mean" else 1
                self._finish(one, matrix / layers)
        return {
            "kind": "attention",
            "marks": self.marks.meta(),
            "rows": self.stack.rows,
            "cols": self.stack.cols,
            "causal": self.stack.causal,
            "sink": self.stack.sink,
            "top_k": self.count,
            "rows_in_file": ROWS,
            "matrices": [[one.layer, one.head] for one in self.wanted.matrices],
            "layers": [layer.layer for layer in self.stack.layers],
        }

    def blobs(self) -> dict[str, bytes]:
        """Return the blobs; `meta` must have been asked for."""
        found = {"text": self.marks.blob()}
        for number, one in enumerate(self.wanted.matrices):
            found[f"received/{number}"] = self.profiles[one]
            found |= {f"matrix/{number}/{part}": file for part, file in enumerate(self.found[one])}
        return found


def _merger(marks: torch.Tensor) -> Any:
    """Return the function that sums or averages the tokens of each mark along one dimension of a matrix."""
    count = int(marks[-1]) + 1
    if count == len(marks):
        return lambda matrix, _, mean: matrix  # noqa: ARG005

    def merge(matrix: torch.Tensor, dim: int, *, mean: bool) -> torch.Tensor:
        index = marks.to(matrix.device)
        shape = list(matrix.shape)
        shape[dim] = count
        merged = torch.zeros(shape, device=matrix.device).index_add_(dim, index, matrix)
        if mean:
            merged /= torch.bincount(index, minlength=count)[:, None]
        return merged

    return merge


def _saliency(context: Context, example: Example) -> Entry:
    """Return the entry of attributions: a row for each output that is explained."""
    loaded, parameters = context.loaded, context.parameters
    asked = parameters["saliency"]
    outputs, attributions = explain_outputs(loaded, example, asked)
    sequences = {"text": example.text} | ({} if example.target is None else {"target": example.target})
    names = list(sequences)
    texts = {name: marked_text(tokens, loaded.tokenizer) for name, tokens in sequences.items()}
    extra = [output["token"] for output in outputs if output["name"] == "outputs"]
    marks = Marks(names, texts, extra)
    lengths = [len(tokens.ids) for tokens in sequences.values()]
    values = torch.stack([torch.from_numpy(row_of(each.values, lengths)) for each in attributions]).nan_to_num()
    owners = torch.cat([marks.of_tokens(name) + marks.start(name) for name in names])
    values = _merger(owners)(values, -1, mean=False)
    count = min(parameters["top_k"] or MOST, MOST, values.shape[1])
    found = strongest(values, count, signed=True)
    meta = {
        "sequences": example.sequences(),
        "turns": example.text.turns,
        "stack": None,
        "kind": "saliency",
        "marks": marks.meta(),
        "outputs": [
            {**output, "mark": _mark_of(marks, output, sum(one["name"] == "outputs" for one in outputs[:number]))}
            for number, output in enumerate(outputs)
        ],
        "contrast": contrast_of(loaded, asked, example.text)[1],
        "task": loaded.task,
        "top_k": count,
        "rows_in_file": ROWS,
        "matrices": [[None, None]],
        "layers": [],
        "sink": False,
    }
    blobs = {"text": marks.blob(), "received/0": received(values, own=False, causal=False)}
    return Entry(meta, blobs | {f"matrix/0/{part}": file for part, file in enumerate(found.files())})


def _mark_of(marks: Marks, output: Mapping[str, Any], before: int) -> int:
    """Return the mark of an output; `before` is the number of outputs before it that stand in no sequence."""
    if output["name"] == "outputs":
        return marks.count - len(marks.extra) + before
    return marks.start(output["name"]) + int(marks.of_tokens(output["name"])[output["index"]])
