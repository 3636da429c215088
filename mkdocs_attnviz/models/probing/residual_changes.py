"""Changes of a model's sublayers while it runs: one is left out, or two neighbours change places.

Leaving a sublayer out puts zeros in place of its branch, at the addition itself. Whatever follows the addition stays:
in a post-norm model (BERT) the norm then sees the stream alone.

Two neighbours change places by a replay. A first pass notes what a unit's code calls (its norm, its attention, its
addition), as far as no sublayer is inside. In the second pass, the stream that the first unit leaves is replaced by
what the second unit makes of the first one's stream, and the stream that the second unit leaves by what the first one
makes of that. All else that a unit reads (a mask, positions, the encoder's output) is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from transformers import Cache

from mkdocs_attnviz.models.probing.dataflow import IN_PLACE, WHOLE, Key, RunningModules, changes
from mkdocs_attnviz.models.probing.sublayers import ADDITIONS, Place, Unit


class Elsewhere(Exception):
    """An error that says that a pass did not come to a place that the short pass has shown."""


@dataclass
class _Step:
    """One call of a layer's own code: a function, or a module as a whole."""

    key: Key
    function: Callable[..., Any]
    inputs: Any
    """Arguments and named arguments, with numbers in place of tensors."""
    made: list[int]
    """The numbers of the tensors that it made."""
    in_place: bool = False


@dataclass(frozen=True)
class _Number:
    """The place of a tensor in `Notes.values`."""

    number: int


@dataclass
class Notes:
    """The calls that the code of models, stacks and layers made in one pass."""

    steps: list[_Step] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)

    def position(self, key: Key) -> int:
        """Return the number of the last step with a key.

        Raises:
            Elsewhere: there is none.
        """
        for position in range(len(self.steps) - 1, -1, -1):
            if self.steps[position].key == key:
                return position
        raise Elsewhere

    def stream(self, key: Key) -> int:
        """Return the number of the tensor that a step leaves as the stream, the first with numbers for each token."""
        return next(number for number in self.steps[self.position(key)].made if self.values[number].is_floating_point())

    def apply(self, unit: Unit, stream: torch.Tensor) -> torch.Tensor:
        """Return what a unit makes of a stream."""
        start, end = self.stream(unit.start), self.stream(unit.end)
        stream = _shaped(stream, self.values[start])
        steps = self._needed(self.position(unit.start), self.position(unit.end), end)
        values: dict[int, torch.Tensor] = {start: stream}

        def value(leaf: Any) -> Any:
            return self._value(leaf, values)

        for step in steps:
            args, kwargs = tree_map(value, step.inputs)
            if step.in_place:
                args = (args[0].clone(), *args[1:])
            result = step.function(*args, **kwargs)
            result = args[0] if step.in_place else result
            tensors = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]
            values |= dict(zip(step.made, tensors, strict=False))
        return values[end]

    def _value(self, leaf: Any, values: Mapping[int, torch.Tensor]) -> Any:
        """Return an argument with new tensors where there are any, and without a cache, which has read the text."""
        if isinstance(leaf, _Number):
            return values.get(leaf.number, self.values[leaf.number])
        return None if isinstance(leaf, Cache) else leaf

    def _needed(self, first: int, last: int, end: int) -> list[_Step]:
        """Return the steps after `first` up to `last` that the tensor `end` was computed by."""
        wanted, steps = {end}, []
        for step in reversed(self.steps[first + 1 : last + 1]):
            if wanted.intersection(step.made):
                steps.append(step)
                leaves = tree_flatten(step.inputs)[0]
                wanted |= {leaf.number for leaf in leaves if isinstance(leaf, _Number)}
        return steps[::-1]


class _Outside(TorchFunctionMode):
    """A mode that sees what the code of the modules in `outer` calls, and nothing of what is called within that."""

    def __init__(self, outer: set[int]) -> None:
        super().__init__()
        self.outer, self.modules = outer, RunningModules()
        self._within = 0
        self._busy = False

    def enter(self, module: torch.nn.Module, args: Any) -> None:
        if self._busy:
            return
        self.modules.enter(module, args)
        self._within += id(module) not in self.outer

    def leave(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if self._busy:
            return None
        call = self.modules.leave()
        if id(module) in self.outer:
            return None
        self._within -= 1
        if self._within:
            return None
        with self._alone():
            return self.called(Key(id(module), call.use, WHOLE), module, (args, kwargs), output)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._busy:
            return func(*args, **kwargs)
        key = self.modules.next_key()
        if self._within:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        args = self.before(key, name, args)
        result = func(*args, **kwargs)
        changed = self.called(key, func, (args, kwargs), args[0] if name in IN_PLACE else result)
        return result if changed is None else changed

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def before(self, key: Key, name: str, args: Any) -> Any:  # noqa: ARG002
        """Return the arguments of a function that is about to be called."""
        return args

    def called(self, key: Key, function: Callable[..., Any], inputs: Any, output: Any) -> Any:  # noqa: ARG002
        """Take note of a call, and return what is to be its output; None leaves it as it is."""
        return None


class _LeaveOut(_Outside):
    def __init__(self, outer: set[int], place: Place) -> None:
        super().__init__(outer)
        self.place, self.done = place, False

    def before(self, key: Key, name: str, args: Any) -> Any:
        if key != self.place.key:
            return args
        if name not in ADDITIONS or len(args) < 2 or getattr(args[1], "shape", None) != args[0].shape:
            raise Elsewhere
        self.done = True
        operand = self.place.operand
        if operand == 0 and changes(name):
            args[0].zero_()
            return args
        return (*args[:operand], torch.zeros_like(args[operand]), *args[operand + 1 :])


class _Note(_Outside):
    def __init__(self, outer: set[int]) -> None:
        super().__init__(outer)
        self.notes = Notes()
        self._numbers: dict[int, int] = {}

    def before(self, key: Key, name: str, args: Any) -> Any:  # noqa: ARG002
        if args and changes(name) and isinstance(args[0], torch.Tensor) and id(args[0]) in self._numbers:
            number = self._numbers[id(args[0])]
            self.notes.values[number] = self.notes.values[number].clone()
        return args

    def called(self, key: Key, function: Callable[..., Any], inputs: Any, output: Any) -> Any:
        name = "" if isinstance(function, torch.nn.Module) else getattr(function, "__name__", "")
        numbered = tree_map(self._numbered, inputs)
        tensors = [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, torch.Tensor)]
        old = {id(leaf) for leaf in tree_flatten(inputs)[0] if isinstance(leaf, torch.Tensor)}
        if changes(name) or any(id(tensor) not in old for tensor in tensors):
            made = [self._add(tensor) for tensor in tensors]
            in_place = changes(name) and bool(inputs[0]) and isinstance(inputs[0][0], torch.Tensor)
            self.notes.steps.append(_Step(key, function, numbered, made, in_place))
        return None

    def _numbered(self, leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        number = self._numbers.get(id(leaf))
        return _Number(self._add(leaf) if number is None else number)

    def _add(self, tensor: torch.Tensor) -> int:
        self.notes.values.append(tensor)
        self._numbers[id(tensor)] = len(self.notes.values) - 1
        return self._numbers[id(tensor)]


class _Replace(_Outside):
    def __init__(self, outer: set[int], streams: Mapping[Key, torch.Tensor]) -> None:
        super().__init__(outer)
        self.streams, self.done = streams, set[Key]()

    def called(self, key: Key, function: Callable[..., Any], inputs: Any, output: Any) -> Any:  # noqa: ARG002
        stream = self.streams.get(key)
        if stream is None:
            return None
        leaves, structure = tree_flatten(output)
        number = next(
            (at for at, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()), None
        )
        if number is None:
            raise Elsewhere
        stream = _shaped(stream, leaves[number])
        self.done.add(key)
        if not isinstance(function, torch.nn.Module) and changes(getattr(function, "__name__", "")):
            return leaves[number].copy_(stream)
        leaves[number] = stream
        return tree_unflatten(leaves, structure)


def _shaped(stream: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a stream in another's shape: some layers set all tokens of a batch in one row, (B · T, D).

    Raises:
        Elsewhere: it has another number of tokens.
    """
    if stream.numel() != like.numel():
        raise Elsewhere
    return stream.reshape(like.shape)


@contextmanager
def without(outer: set[int], place: Place) -> Iterator[None]:
    """Leave a sublayer out of the passes inside the `with` block.

    Raises:
        Elsewhere: the pass has no addition at this place.
    """
    mode = _LeaveOut(outer, place)
    with _watching(mode):
        yield
    if not mode.done:
        raise Elsewhere


@contextmanager
def noting(outer: set[int]) -> Iterator[Notes]:
    """Note what layers call in the pass inside the `with` block, for `exchanged`."""
    mode = _Note(outer)
    with _watching(mode):
        yield mode.notes


@contextmanager
def exchanged(outer: set[int], notes: Notes, first: Unit, second: Unit) -> Iterator[None]:
    """Exchange two units, one of which follows the other, in the pass inside the `with` block.

    `notes` are of a pass over the same input, without changes.

    Raises:
        Elsewhere: the pass has no such units.
    """
    between = notes.apply(second, notes.values[notes.stream(first.start)])
    mode = _Replace(outer, {first.end: between, second.end: notes.apply(first, between)})
    with _watching(mode):
        yield
    if len(mode.done) < 2:
        raise Elsewhere


@contextmanager
def _watching(mode: _Outside) -> Iterator[None]:
    def leave(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        return mode.leave(module, args, kwargs, output)

    with ExitStack() as stack:
        for hook in (
            register_module_forward_pre_hook(mode.enter),
            register_module_forward_hook(leave, with_kwargs=True, always_call=True),
        ):
            stack.callback(hook.remove)
        stack.enter_context(mode)
        yield
