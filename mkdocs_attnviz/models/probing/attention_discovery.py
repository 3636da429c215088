"""A model's anatomy, found by one short pass for each way of taking weights until one gives all the model hands out.

The same pass shows that watching changes nothing, which stacks are causal, whether a sink takes a part of the weights,
and which linear layer the output of an attention goes to (`norms`).
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import torch

from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_limits import BANDED
from mkdocs_attnviz.models.probing.attention_map import SEQUENCES, Anatomy, Layer, Slots, Stack, handed_out, run, way_of
from mkdocs_attnviz.models.probing.output_projection import Projection, projecting

TEXT, TARGET = 13, 7
"""Tokens of the short pass: of different number, so that a matrix's shape says what its rows and columns are."""
TOLERANCE = 1e-3

Numbers = dict[str, dict[int, int]]
"""By stack, by place: which call it is."""


def anatomy(loaded: Loaded, example: Example) -> Anatomy:
    """The model's, remembered with it.

    Raises:
        Unusable: it has no attention that could be shown.
    """
    if loaded.anatomy is None:
        with torch.inference_mode():
            try:
                loaded.anatomy = _Survey(loaded, probe(loaded, example)).anatomy()
            except Unusable:
                raise
            except Exception:  # of code that does not read any tokens it is given: it may read the text's
                loaded.anatomy = _Survey(loaded, shortened(loaded, example)).anatomy()
    return loaded.anatomy


class _Survey:
    """One short pass for each way of taking weights, until one gives all that the model hands out."""

    def __init__(self, loaded: Loaded, example: Example) -> None:
        self.loaded = loaded
        self.inputs = collate(loaded, [example])
        self.names: dict[int, list[str]] = {}
        for name, module in loaded.model.named_modules(remove_duplicate=False):
            self.names.setdefault(id(module), []).append(name)
        self.what = f"Model {loaded.ref.name!r} ({loaded.model.config.model_type})"
        self.calls: list[Call] = []
        self.projections: dict[int, Projection] = {}
        self.matched: set[int] = set()

    def anatomy(self) -> Anatomy:
        bare = run(self.loaded, self.inputs, attentions=False)
        for way in ("interface", "operations"):
            outputs = self._watch(way)
            slots = handed_out(outputs)
            numbers = self._byhanded_out(slots) if slots else self._by_names()
            if numbers is not None:
                self._check_unchanged(bare, outputs)
                return self._finished(way, numbers)
        self.calls, self.projections, numbers = [], {}, {}
        for name, found in slots.items():
            numbers[name] = {place: len(self.calls) + number for number, place in enumerate(found)}
            self.calls += [Call(slot) for slot in found.values()]
        if not self.calls:
            raise Unusable(f"{self.what} hands out no attention weights.")
        return self._finished("outputs", numbers)

    def _watch(self, way: str) -> Any:
        self.calls, self.projections = [], {}

        def keep(call: Call) -> None:
            call.weights = call.weights.clone()
            self.calls.append(call)

        with projecting(self.calls, self.projections), way_of(way, keep, operands=True):
            return run(self.loaded, self.inputs, attentions=True)

    def _byhanded_out(self, slots: Slots) -> Numbers | None:
        """The calls that the model's own slots stand for; None unless each is one of them."""
        found = {}
        self.matched = set()
        for name, stack in slots.items():
            shape = tuple(map(self._length, SEQUENCES[name]))
            fit = {place: slot for place, slot in stack.items() if tuple(slot.shape[2:]) == shape}
            if not fit:
                continue
            found[name] = {place: self._call(slot) for place, slot in fit.items()}
            if not any(map(_normal, fit.values())):  # scores, not weights: they tell no more than where they stand
                found[name] = self._in_order(fit)
        if not found or any(number is None for stack in found.values() for number in stack.values()):
            return None
        return {name: {place: n for place, n in stack.items() if n is not None} for name, stack in found.items()}

    def _call(self, slot: torch.Tensor) -> int | None:
        """The number of the call that a slot stands for, or whose weights it holds."""
        if _numbered(slot):
            return int(slot[0, 0, 0, 0])
        distances = {
            number: float((call.weights - slot.to(call.weights.device)).abs().max())
            for number, call in enumerate(self.calls)
            if call.weights.shape == slot.shape and number not in self.matched
        }
        nearest = min(distances, key=lambda number: distances[number], default=None)
        if nearest is None or distances[nearest] > tolerance(slot):
            return None
        self.matched.add(nearest)
        return nearest

    def _in_order(self, slots: dict[int, torch.Tensor]) -> dict[int, int | None]:
        """The calls of the same shapes, if they are as many."""
        shape = next(iter(slots.values())).shape
        calls = [number for number, call in enumerate(self.calls) if call.weights.shape == shape]
        return dict(zip(slots, calls if len(calls) == len(slots) else [None] * len(slots), strict=True))

    def _by_names(self) -> Numbers | None:
        """All calls, in their order, where the model hands out nothing."""
        if self.loaded.encoder_decoder or not self.calls:
            return None
        return {"self": {number: number for number in range(len(self.calls))}}

    def _length(self, sequence: str) -> int:
        name = "input_ids" if sequence == "text" else "decoder_input_ids"
        return int(self.inputs[name].shape[1])

    def _check_unchanged(self, bare: Any, watched: Any) -> None:
        one, other = (_first(outputs) for outputs in (bare, watched))
        if one is not None and other is not None and not torch.allclose(one, other, atol=1e-4, rtol=1e-3):
            raise Unusable(
                f"{self.what} does not give the same output twice, so that its attention would not be what it is."
            )

    def _finished(self, way: str, numbers: Numbers) -> Anatomy:
        stacks = {}
        for name, calls in numbers.items():
            rows, cols = SEQUENCES[name]
            calls = self._by_tokens(calls, self._length(rows), self._length(cols))
            if not calls or name in BANDED.get(self.loaded.model.config.model_type, ()):
                continue
            weights = [self.calls[call].weights for call in calls.values()]
            causal = rows == cols and all(not bool(torch.triu(each[0], 1).any()) for each in weights)
            sink = any(bool((each.float().sum(-1) < 1 - tolerance(each)).any()) for each in weights)
            stacks[name] = Stack(rows, cols, self._layers(calls), causal, sink)
        if not stacks:
            raise Unusable(
                f"The attention of {self.what[0].lower() + self.what[1:]} is no matrix of tokens by tokens: for "
                f"{self._length('text')} tokens its shape is {tuple(self.calls[0].weights.shape)}."
            )
        return Anatomy(way, stacks, len(self.calls), self.projections)

    def _by_tokens(self, calls: dict[int, int], rows: int, cols: int) -> dict[int, int]:
        """Layers that pool or compress their tokens are left out."""
        shapes = {place: tuple(self.calls[call].weights.shape) for place, call in calls.items()}
        return {place: call for place, call in calls.items() if shapes[place][2:] == (rows, cols)}

    def _layers(self, calls: dict[int, int]) -> list[Layer]:
        """Numbered as in the model's own list of layers; by their places where modules are nested or used again."""
        used: dict[int, int] = {}
        numbers = []
        for call in calls.values():
            module = id(self.calls[call].module)
            names = self.names.get(module, [])
            found = (
                re.search(r"(?:^|\.)(\d+)(?=\.|$)", names[used.get(module, 0)])
                if used.get(module, 0) < len(names)
                else None
            )
            used[module] = used.get(module, 0) + 1
            numbers.append(int(found[1]) if found else -1)
        if -1 in numbers or sorted(set(numbers)) != numbers:
            numbers = list(calls)
        heads = [int(self.calls[call].weights.shape[1]) for call in calls.values()]
        return [Layer(*each) for each in zip(calls.values(), numbers, heads, strict=True)]


def _first(outputs: Any) -> torch.Tensor | None:
    """The model's first output: logits, or last hidden states."""
    for value in outputs.values():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1:
            return value
    return None


def tolerance(weights: torch.Tensor) -> float:
    """How far probabilities may be off for their number format alone."""
    return max(TOLERANCE, 4 * torch.finfo(weights.dtype).eps)


def _normal(slot: torch.Tensor) -> bool:
    """Whether they may be weights: a call's number, or numbers from 0 to 1."""
    return _numbered(slot) or bool((slot >= 0).all() and (slot.sum(-1) <= 1 + tolerance(slot)).all())


def _numbered(slot: torch.Tensor) -> bool:
    """Whether a call's number stands there in place of weights; a model on several devices copies it in full."""
    if slot.ndim != 4:
        return False
    first = slot[0, 0, 0, 0]
    return float(first).is_integer() and bool((slot == first).all())


def probe(loaded: Loaded, example: Example) -> Example:
    """Return a short text that is the same for all texts of a model, so that what is found with it depends on none.

    `example` tells whether there is a decoder's side, and with which token that begins.
    """
    text = min(TEXT, loaded.longest or TEXT)
    ids = _plain(loaded, text)
    read = _made(ids, example.text)
    if example.target is None:
        return Example(read)
    begun = example.target.ids[:1]
    return Example(read, _made((begun + ids)[: max(1, min(TARGET, text - 1))], example.target))


def shortened(loaded: Loaded, example: Example) -> Example:
    """Return a short text of the example's own tokens."""
    text = min(TEXT, loaded.longest or TEXT)
    read = _made((example.text.ids * text)[:text], example.text)
    if example.target is None:
        return Example(read)
    target = max(1, min(TARGET, text - 1))
    return Example(read, _made((example.target.ids * target)[:target], example.target))


def _plain(loaded: Loaded, length: int) -> list[int]:
    """The first tokens of the vocabulary that stand for nothing special, over and over if they are few."""
    config = loaded.model.config.get_text_config()
    special = set(getattr(loaded.tokenizer, "all_special_ids", ()))
    special |= {
        value
        for name, value in vars(config).items()
        if name.endswith(("_token_id", "_token_index", "_index")) and isinstance(value, int)
    }
    some = list(islice((token for token in range(config.vocab_size) if token not in special), length)) or [0]
    return (some * length)[:length]


def _made(ids: list[int], like: Tokens) -> Tokens:
    length = len(ids)
    type_ids = None if like.type_ids is None else [0] * length
    return Tokens(ids, type_ids, [""] * length, [""] * length, [], None, [None] * length)
