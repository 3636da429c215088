"""The discovery of a model's attention map, by one short pass for each source of weights until one is complete.

The same pass shows that tracing changes no output, which stacks are causal, whether a sink takes a part of the weights,
and which linear layer follows each attention (`output_projection`).
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import torch

from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.loading.attention_limits import BANDED
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_calls import Call
from mkdocs_attnviz.models.probing.attention_map import SEQUENCES, AttentionMap, Layer, Stack
from mkdocs_attnviz.models.probing.attention_pass import Slots, handed_out, run, way_of
from mkdocs_attnviz.models.probing.output_projection import Projection, projecting

TEXT, TARGET = 13, 7
"""Numbers of tokens in the short pass. They differ, so that a matrix's shape tells which stack it belongs to."""
TOLERANCE = 1e-3

Numbers = dict[str, dict[int, int]]
"""The number of the call, by stack and position."""


def find_attention_map(loaded: Loaded, example: Example) -> AttentionMap:
    """Return the model's attention map; it is stored with the model.

    Raises:
        Unusable: it has no attention that could be shown.
    """
    if loaded.attention_map is None:
        with torch.inference_mode():
            try:
                loaded.attention_map = _Discovery(loaded, probe(loaded, example)).attention_map()
            except Unusable:
                raise
            except Exception:  # the model does not read arbitrary tokens; it may read those of the text
                loaded.attention_map = _Discovery(loaded, shortened(loaded, example)).attention_map()
    return loaded.attention_map


class _Discovery:
    """A search by one short pass for each source of weights, until one gives all weights that the model returns."""

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

    def attention_map(self) -> AttentionMap:
        bare = run(self.loaded, self.inputs, attentions=False)
        for way in ("interface", "operations"):
            outputs = self._watch(way)
            slots = handed_out(outputs)
            numbers = self._by_returned_slots(slots) if slots else self._by_names()
            if numbers is not None:
                self._check_unchanged(bare, outputs)
                return self._finished(way, numbers)
        self.calls, self.projections, numbers = [], {}, {}
        for name, weights in slots.items():
            numbers[name] = {place: len(self.calls) + number for number, place in enumerate(weights)}
            self.calls += [Call(slot) for slot in weights.values()]
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

    def _by_returned_slots(self, slots: Slots) -> Numbers | None:
        """Return the calls that the model's returned slots stand for; None unless every slot is one of the calls."""
        calls = {}
        self.matched = set()
        for name, stack in slots.items():
            shape = tuple(map(self._length, SEQUENCES[name]))
            fit = {place: slot for place, slot in stack.items() if tuple(slot.shape[2:]) == shape}
            if not fit:
                continue
            calls[name] = {place: self._call(slot) for place, slot in fit.items()}
            if not any(map(_normal, fit.values())):  # scores, not weights: only their order tells anything
                calls[name] = self._in_order(fit)
        if not calls or any(number is None for stack in calls.values() for number in stack.values()):
            return None
        return {name: {place: n for place, n in stack.items() if n is not None} for name, stack in calls.items()}

    def _call(self, slot: torch.Tensor) -> int | None:
        """Return the number of the call that a slot stands for, or whose weights it holds."""
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
        """Return the calls with the same shape as the slots, in order; None for each if their numbers differ."""
        shape = next(iter(slots.values())).shape
        calls = [number for number, call in enumerate(self.calls) if call.weights.shape == shape]
        return dict(zip(slots, calls if len(calls) == len(slots) else [None] * len(slots), strict=True))

    def _by_names(self) -> Numbers | None:
        """Return all calls in their order, for a model that returns no attentions."""
        if self.loaded.encoder_decoder or not self.calls:
            return None
        return {"self": {number: number for number in range(len(self.calls))}}

    def _length(self, sequence: str) -> int:
        name = "input_ids" if sequence == "text" else "decoder_input_ids"
        return int(self.inputs[name].shape[1])

    def _check_unchanged(self, bare: Any, watched: Any) -> None:
        one, other = (first_output(outputs) for outputs in (bare, watched))
        if one is not None and other is not None and not torch.allclose(one, other, atol=1e-4, rtol=1e-3):
            raise Unusable(
                f"{self.what} does not give the same output twice, so that its attention would not be what it is."
            )

    def _finished(self, way: str, numbers: Numbers) -> AttentionMap:
        stacks = {}
        for name, calls in numbers.items():
            rows, cols = SEQUENCES[name]
            calls = self._by_tokens(calls, self._length(rows), self._length(cols))
            if not calls or name in BANDED.get(self.loaded.model.config.model_type, ()):
                continue
            weights = [self.calls[call].weights for call in calls.values()]
            causal = rows == cols and all(not bool(torch.triu(matrix[0], 1).any()) for matrix in weights)
            sink = any(bool((matrix.float().sum(-1) < 1 - tolerance(matrix)).any()) for matrix in weights)
            stacks[name] = Stack(rows, cols, self._layers(calls), causal, sink)
        if not stacks:
            raise Unusable(
                f"The attention of {self.what[0].lower() + self.what[1:]} is no matrix of tokens by tokens: for "
                f"{self._length('text')} tokens its shape is {tuple(self.calls[0].weights.shape)}."
            )
        return AttentionMap(way, stacks, len(self.calls), self.projections)

    def _by_tokens(self, calls: dict[int, int], rows: int, cols: int) -> dict[int, int]:
        """Return the calls whose weights are tokens by tokens, without layers that pool or compress their tokens."""
        shapes = {place: tuple(self.calls[call].weights.shape) for place, call in calls.items()}
        return {place: call for place, call in calls.items() if shapes[place][2:] == (rows, cols)}

    def _layers(self, calls: dict[int, int]) -> list[Layer]:
        """Return the layers with their numbers in the model's own list of layers.

        Positions are used as numbers if modules are nested or used several times.
        """
        used: dict[int, int] = {}
        numbers = []
        for call in calls.values():
            module = id(self.calls[call].module)
            names = self.names.get(module, [])
            number = (
                re.search(r"(?:^|\.)(\d+)(?=\.|$)", names[used.get(module, 0)])
                if used.get(module, 0) < len(names)
                else None
            )
            used[module] = used.get(module, 0) + 1
            numbers.append(int(number[1]) if number else -1)
        if -1 in numbers or sorted(set(numbers)) != numbers:
            numbers = list(calls)
        counts = [(int(self.calls[call].weights.shape[1]), kv_heads(self.calls[call])) for call in calls.values()]
        return [
            Layer(call, number, *count) for call, number, count in zip(calls.values(), numbers, counts, strict=True)
        ]


def kv_heads(call: Call) -> int:
    """Return the number of heads of keys, each of which is shared by equally many successive heads of queries.

    A model hands each key to its attention function once, or repeats it for all heads of its group (`repeat_kv`). Then
    successive heads have equal keys.
    """
    heads, key = int(call.weights.shape[1]), call.key
    if key is None or key.ndim != 4 or heads % key.shape[1] or bool((key == key.flatten()[0]).all()):
        return heads
    count = int(key.shape[1])
    repeated = (key[:, 1:] == key[:, :-1]).flatten(2).all(-1).all(0).tolist()  # (count - 1)
    starts = [0, *(head + 1 for head, same in enumerate(repeated) if not same)]
    return len(starts) if starts == list(range(0, count, count // len(starts))) else count


def first_output(outputs: Any) -> torch.Tensor | None:
    """Return the model's first output: logits, or last hidden states."""
    for value in outputs.values():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1:
            return value
    return None


def tolerance(weights: torch.Tensor) -> float:
    """Return how far probabilities may be off because of their number format."""
    return max(TOLERANCE, 4 * torch.finfo(weights.dtype).eps)


def _normal(slot: torch.Tensor) -> bool:
    """Return whether a slot may hold weights: a call's number, or numbers from 0 to 1."""
    return _numbered(slot) or bool((slot >= 0).all() and (slot.sum(-1) <= 1 + tolerance(slot)).all())


def _numbered(slot: torch.Tensor) -> bool:
    """Return whether a slot holds a call's number instead of weights; a model on several devices copies it in full."""
    if slot.ndim != 4:
        return False
    first = slot[0, 0, 0, 0]
    return float(first).is_integer() and bool((slot == first).all())


def probe(loaded: Loaded, example: Example) -> Example:
    """Return a short text that is the same for all texts of a model, so that its attention map depends on no text.

    `example` tells whether there is a decoder's side, and which token that begins with.
    """
    text = min(TEXT, loaded.longest or TEXT)
    ids = _plain(loaded, text)
    read = _tokens_of(ids, example.text)
    if example.target is None:
        return Example(read)
    begun = example.target.ids[:1]
    return Example(read, _tokens_of((begun + ids)[: max(1, min(TARGET, text - 1))], example.target))


def shortened(loaded: Loaded, example: Example) -> Example:
    """Return a short text of the example's own tokens."""
    text = min(TEXT, loaded.longest or TEXT)
    read = _tokens_of((example.text.ids * text)[:text], example.text)
    if example.target is None:
        return Example(read)
    target = max(1, min(TARGET, text - 1))
    return Example(read, _tokens_of((example.target.ids * target)[:target], example.target))


def _plain(loaded: Loaded, length: int) -> list[int]:
    """Return the first tokens of the vocabulary that are not special, repeated if they are too few."""
    config = loaded.model.config.get_text_config()
    special = set(getattr(loaded.tokenizer, "all_special_ids", ()))
    special |= {
        value
        for name, value in vars(config).items()
        if name.endswith(("_token_id", "_token_index", "_index")) and isinstance(value, int)
    }
    some = list(islice((token for token in range(config.vocab_size) if token not in special), length)) or [0]
    return (some * length)[:length]


def _tokens_of(ids: list[int], like: Tokens) -> Tokens:
    length = len(ids)
    type_ids = None if like.type_ids is None else [0] * length
    return Tokens(ids, type_ids, [""] * length, [""] * length, [], None, [None] * length)
