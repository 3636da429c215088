"""A record of one forward pass, one torch function at a time: which result was computed from which.

`sublayers` reads from it where a model adds something to its residual stream. All tensors of the pass are held until
the record is dropped, so the pass should be short.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

SHAPES = {"expand_as", "view_as", "reshape_as", "zeros_like", "ones_like", "empty_like", "full_like", "rand_like"}
SHAPES |= {"randn_like", "new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}
"""Functions that read no more than the shape or the type of an operand: of the last, or of the only one."""
IN_PLACE = {"__setitem__"}
"""Functions that change their first argument and return nothing."""


def changes(name: str) -> bool:
    """Return whether a function changes its first argument in place, by its name: `add_`, `__iadd__`."""
    return name in IN_PLACE or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


class ModuleCall(NamedTuple):
    """One call of a module within a forward pass."""

    module: torch.nn.Module
    use: int
    """The number of the module's earlier calls in this pass."""


class Key(NamedTuple):
    """The place of a result within any pass of the same model: what computed it, and when."""

    module: int
    """The id of the module whose code called the function, or that was called itself."""
    use: int
    """The number of the module's earlier calls in this pass."""
    order: int
    """The number of functions that the module's code has called before; `WHOLE` for the module's own output."""


WHOLE = -1


@dataclass
class Operation:
    """One function call of the pass, with the operations that it was computed from."""

    name: str
    calls: tuple[ModuleCall, ...]
    """The modules that were running, the outermost first."""
    key: Key
    operands: list[tuple[int | None, torch.Tensor]]
    """The tensors it read: the number of the operation that made each, or None, and the tensor."""
    result: torch.Tensor | None
    """The tensor it made, or None if it made several."""
    shape: tuple[int, ...]
    ancestors: int
    """The numbers of all operations that it was computed from and its own, as the bits of an integer."""


@dataclass
class Record:
    """All operations of a pass, in order, and what modules returned."""

    operations: list[Operation] = field(default_factory=list)
    outputs: dict[int, int] = field(default_factory=dict)
    """The number of the operation that made the last output of a module, by the module's id."""

    def derives(self, later: int, earlier: int) -> bool:
        """Return whether an operation's result was computed from another's, or is the same."""
        return bool(self.operations[later].ancestors >> earlier & 1)


@contextmanager
def recording(record: Record) -> Iterator[None]:
    """Record every torch function that is called inside the `with` block."""
    mode = _Recorder(record)
    with ExitStack() as stack:
        for hook in (
            register_module_forward_pre_hook(mode.modules.enter),
            register_module_forward_hook(mode.leave, always_call=True),
        ):
            stack.callback(hook.remove)
        stack.enter_context(mode)
        yield


class RunningModules:
    """The modules that are running, with the number of functions that each one's own code has called."""

    def __init__(self) -> None:
        self.calls: list[ModuleCall] = []
        self._orders: list[int] = [0]
        self._uses: dict[int, int] = {}

    def enter(self, module: torch.nn.Module, _: Any) -> None:
        use = self._uses.get(id(module), 0)
        self._uses[id(module)] = use + 1
        self.calls.append(ModuleCall(module, use))
        self._orders.append(0)

    def leave(self) -> ModuleCall:
        self._orders.pop()
        return self.calls.pop()

    def next_key(self) -> Key:
        """Return the key of the function that is about to be called."""
        order = self._orders[-1]
        self._orders[-1] += 1
        return Key(id(self.calls[-1].module), self.calls[-1].use, order) if self.calls else Key(0, 0, order)


class _Recorder(TorchFunctionMode):
    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record, self.modules = record, RunningModules()
        self._busy = False
        self._made_by: dict[int, int] = {}
        """The number of the operation that made each tensor, by the tensor's id."""
        self._held: list[torch.Tensor] = []
        """All tensors of the pass, so that Python does not use one's id again."""

    def leave(self, _: torch.nn.Module, args: Any, output: Any) -> None:
        self._busy = True  # this method's own functions are none of the model's
        self._note_output(self.modules.leave(), args, _tensors(output))
        self._busy = False

    def _note_output(self, call: ModuleCall, args: Any, tensors: list[torch.Tensor]) -> None:
        made = [tensor for tensor in tensors if not isinstance(tensor, torch.nn.Parameter)]
        unknown = [tensor for tensor in made if id(tensor) not in self._made_by]
        if unknown:  # computed where no function can be seen, as by a script or a kernel
            self._add(type(call.module).__name__, Key(id(call.module), call.use, WHOLE), _tensors(args), unknown)
        known = next((each for each in tensors if each.is_floating_point() and id(each) in self._made_by), None)
        if known is not None:
            self.record.outputs[id(call.module)] = self._made_by[id(known)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._busy:
            return func(*args, **kwargs)
        key, name = self.modules.next_key(), getattr(func, "__name__", "")
        result = func(*args, **kwargs)
        made = [args[0]] if name in IN_PLACE else _tensors(result)
        read = _tensors((args, kwargs))
        if made and (changes(name) or all(one is not other for one in made for other in read)):
            self._add(name, key, read, made)  # a function that returns what it was given, like `to`, makes nothing
        return result

    def _add(self, name: str, key: Key, operands: list[torch.Tensor], made: list[torch.Tensor]) -> None:
        operations = self.record.operations
        number = len(operations)
        operands = operands[:-1] if name in SHAPES else operands
        sources = [(self._made_by.get(id(tensor)), tensor) for tensor in operands]
        ancestors = 1 << number
        for source, _ in sources:
            ancestors |= 0 if source is None else operations[source].ancestors
        result = made[0] if len(made) == 1 else None
        operations.append(
            Operation(name, tuple(self.modules.calls), key, sources, result, tuple(made[0].shape), ancestors)
        )
        self._made_by |= {id(tensor): number for tensor in made}
        self._held += [*operands, *made]


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
