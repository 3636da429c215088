"""The isolation of forward passes: each begins from the same state, so that its result depends on its text alone.

Some models change while they run: BigBird switches to full attention for good after a short text, dynamic rotary
embeddings keep the frequencies of the longest text so far, Reformer sets its number of buckets by its first text.
Others draw random numbers. A pass therefore starts from fixed seeds, and its changes to the model are undone when it
ends. The caller's own random state stays as it was.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from operator import is_
from typing import Any

import numpy as np
import torch

SEED = 0
LARGEST = 1 << 20
"""The size of the largest buffer that is copied before each pass, in numbers. Larger ones are masks and position
tables.
"""
ALONE = {
    "big_bird": "texts that are padded to more than a number of tokens get another kind of attention",
    "bigbird_pegasus": "texts that are padded to more than a number of tokens get another kind of attention",
    "led": "its windows are counted through the padding",
    "longt5": "its blocks are counted through the padding",
    "nllb-moe": "the texts of a batch share the room of its experts",
    "nystromformer": "its landmarks are means over the padding, too",
    "reformer": "its buckets are counted through the padding",
}
"""Model types whose texts must not be padded to one length, with the reason."""


class Isolation:
    """Hooks on a model that make its passes independent of one another, until `remove` is called."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.varies = getattr(getattr(model, "config", None), "model_type", None) in ALONE
        """True if a pass may depend on the rest of its batch, because it draws random numbers or changes the model."""
        self._off = False
        self._runs: list[_Run] = []
        self._state: _State | None = None
        """The state before the last pass, which is that before the next one unless something has changed."""
        self._hooks = [
            model.register_forward_pre_hook(self._begin),
            model.register_forward_hook(self._end, always_call=True),
        ]

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def together(self, model: torch.nn.Module, seed: int) -> Iterator[None]:
        """Treat the passes inside the `with` block as steps of one run (`generate`); their changes are undone at its
        end.
        """
        started, before = _Run(_State(model), seed), self._off
        self._off = True
        try:
            yield
        finally:
            self._off = before
            started.end()

    def _begin(self, model: torch.nn.Module, _: Any) -> None:
        if not self._off:
            state = self._state if self._state is not None and self._state.holds() else _State(model)
            self._state = None if state.moved else state
            self._runs.append(_Run(state, SEED))

    def _end(self, *_: Any) -> None:
        if self._runs and not self._off:
            self.varies = self._runs.pop().end() or self.varies


class _Run:
    """A run of a model that has begun, and the state before it."""

    def __init__(self, state: _State, seed: int) -> None:
        self.seed, self.state, self.numbers = seed, state, _Random()
        self.dropout = torch.nn.functional.dropout
        torch.nn.functional.dropout = _without_dropout
        _seed(seed)

    def end(self) -> bool:
        """Restore everything; return whether the run has drawn random numbers or changed the model."""
        torch.nn.functional.dropout = self.dropout
        drawn = _Random().drawn(self.seed)
        self.numbers.restore()
        return self.state.restore() or drawn


class _Random:
    """The states of all random generators that a model may draw from."""

    def __init__(self) -> None:
        self.torch = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if _cuda() else []
        self.mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
        self.numpy = np.random.get_state()
        self.python = random.getstate()

    def restore(self) -> None:
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.mps is not None:
            torch.mps.set_rng_state(self.mps)
        np.random.set_state(self.numpy)
        random.setstate(self.python)

    def drawn(self, seed: int) -> bool:
        """Return whether anything has been drawn since the generators were seeded."""
        _seed(seed)
        seeded = _Random()
        return not (
            all(map(torch.equal, [self.torch, *self.cuda], [seeded.torch, *seeded.cuda]))
            and (self.mps is None or (seeded.mps is not None and torch.equal(self.mps, seeded.mps)))
            and all(map(np.array_equal, self.numpy, seeded.numpy))
            and self.python == seeded.python
        )


def _cuda() -> bool:
    """Return whether CUDA is in use. Its generators must not be asked, since that would start it."""
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _seed(seed: int) -> None:
    """Seed all generators in use.

    `torch.manual_seed` would also store a stack trace for each device that is not in use yet.
    """
    torch.default_generator.manual_seed(seed)
    if _cuda():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _without_dropout(input: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Replace `torch.nn.functional.dropout` during a pass.

    Some models call it without `training=False` and would drop values.
    """
    return input


@dataclass
class _Snapshot:
    """The entries of one mapping of a model or its configuration."""

    owner: MutableMapping[str, Any]
    entries: dict[str, Any]

    def restore(self) -> bool:
        """Restore replaced entries and return whether there were any. New entries are caches, or a hook's own, and
        stay.
        """
        changed = {name: value for name, value in self.entries.items() if _is_replaced(self.owner.get(name), value)}
        self.owner.update(changed)
        return bool(changed)


class _State:
    """The parts of a model that a pass may change: attributes, modules, buffers and configurations, but not its
    weights.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.snapshots: list[_Snapshot] = []
        self.copies: list[tuple[MutableMapping[str, Any], str, int, torch.Tensor]] = []
        modules = list(model.modules())
        self.moved = any(hasattr(module, "_hf_hook") for module in modules)
        """True if accelerate moves weights in and out, so that a reference to one would keep its memory."""
        for module in modules:
            self.snapshots.append(_snapshot(vars(module)))
            self.snapshots.append(_snapshot(module._modules))
            if hasattr(module, "_hf_hook"):  # accelerate moves such a module's weights in and out
                continue
            self.snapshots += [_snapshot(module._parameters), _snapshot(module._buffers)]
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.is_floating_point() and buffer.numel() <= LARGEST:
                    self.copies.append((module._buffers, name, _version(buffer), buffer.clone()))
        self.snapshots += [_snapshot(vars(config)) for config in _configurations(modules)]
        self.weights = [(weight, _version(weight)) for weight in model.parameters()]
        self.entries = self._entries()

    def holds(self) -> bool:
        """Return whether the model is still in this state, so that it need not be looked at and copied again."""
        return self._untouched() and not self._changed_weights() and not self._changed_buffers()

    def _entries(self) -> list[Any]:
        """Return the names and values of all mappings, one after another."""
        owners = [snapshot.owner for snapshot in self.snapshots]
        return [*chain.from_iterable(owners), *chain.from_iterable(owner.values() for owner in owners)]

    def _untouched(self) -> bool:
        """Return whether all mappings have the very same entries. This takes a hundredth of a pass of a small model."""
        entries = self._entries()
        return len(entries) == len(self.entries) and all(map(is_, entries, self.entries))

    def _changed_weights(self) -> bool:
        return any(_version(weight) != version for weight, version in self.weights)

    def _changed_buffers(self) -> list[tuple[MutableMapping[str, Any], str, torch.Tensor]]:
        """Return the buffers that were changed in place: their owners, names and copies from before."""
        return [(owner, name, copy) for owner, name, version, copy in self.copies if _version(owner[name]) != version]

    def restore(self) -> bool:
        """Restore what a pass has changed, and return whether there was anything.

        A model that changes its weights (RWKV scales them in its first pass) has entered a new state for good, and
        everything else belongs to that state.
        """
        if self._changed_weights():
            return False
        changed = False
        if not self._untouched():
            for snapshot in self.snapshots:
                changed = snapshot.restore() or changed
        for owner, name, copy in self._changed_buffers():
            owner[name] = copy  # not in place: a graph may need the changed buffer
            changed = True
        return changed


def _snapshot(owner: MutableMapping[str, Any]) -> _Snapshot:
    return _Snapshot(owner, dict(owner))


def _configurations(modules: list[torch.nn.Module]) -> list[Any]:
    """Return the configurations of all modules, each once."""
    configurations = (getattr(module, "config", None) for module in modules)
    return list({id(config): config for config in configurations if hasattr(config, "model_type")}.values())


def _version(tensor: torch.Tensor) -> int:
    """Return how often a tensor was changed in place; 0 for a tensor from inference mode, which does not count it."""
    return 0 if tensor.is_inference() else int(tensor._version)


def _is_replaced(now: Any, before: Any) -> bool:
    """Return whether an attribute was replaced by a value that is not plainly equal."""
    if now is before:
        return False
    plain = (bool, int, float, str, type(None), torch.dtype, torch.device)
    return not (isinstance(now, plain) and isinstance(before, plain) and now == before)
