"""From a layer's vectors to predictions, by the model's own code.

The logit lens (nostalgebraist 2020) asks what a model would say if a layer were its last. What stands after the last
layer differs: a final norm, a transform (BERT), a projection (OPT), a rescaling (T5), a scale (Cohere), a soft cap
(Gemma 2), a bias (Marian). None of it is written down here: the model runs with its layers taken out. Each returns what
it returned before, the last one the vectors in question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn

from mkdocs_attnviz.models.inputs.examples import accepted, collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

TOLERANCE = 1e-5
"""Of a probability: what the model's own tail may differ by from the model."""


class Call(NamedTuple):
    """One run of a layer."""

    layer: nn.Module
    read: torch.Tensor
    returned: Any


class Tail:
    """A model that has read one example, and what follows its last layer.

    Raises:
        Unusable: its predictions do not follow from the vectors of its last layer.
    """

    def __init__(self, loaded: Loaded, example: Example) -> None:
        self.loaded = loaded
        self.inputs: dict[str, Any] = dict(collate(loaded, [example]))
        if "use_cache" in accepted(loaded.model):
            self.inputs["use_cache"] = False
        with _calls(_stack(loaded)) as calls, _encoded(loaded) as encoded:
            logits = loaded.model(**self.inputs, return_dict=True).logits
        if encoded and "encoder_outputs" in accepted(loaded.model):
            self.inputs["encoder_outputs"] = encoded[0]  # so that the encoder runs but once
        self.own: torch.Tensor = logits[0].float()
        """The model's own logits, (T, V)."""
        self.calls = _chain(calls)
        if not self.calls:
            raise Unusable(
                f"Model {loaded.ref.name!r} ({_kind(loaded)}) has no logit lens: it has no row of layers of which each "
                "reads what the one before it returns."
            )
        self._check()

    @property
    def vectors(self) -> list[torch.Tensor]:
        """What the first layer reads, and what each returns."""
        return [self.calls[0].read, *(_hidden(call.returned) for call in self.calls)]

    def logits(self, vectors: torch.Tensor, without: nn.Module | None = None) -> torch.Tensor:
        """(T, V): what the model would say if its last layer had returned these; `without` is left out."""
        returned = [call.returned for call in self.calls[:-1]]
        outputs = iter([*returned, _replaced(self.calls[-1].returned, vectors)])
        changes: dict[nn.Module, Callable[..., Any]] = {
            call.layer: lambda *_, **__: next(outputs) for call in self.calls
        }
        if without is not None:
            changes[without] = lambda given, *_, **__: given
        with _running(changes):
            logits: torch.Tensor = self.loaded.model(**self.inputs, return_dict=True).logits[0].float()
        return logits

    def norm(self) -> nn.Module | None:
        """The final norm: what reads the last layer's vectors and is called one. Models that normalise within their
        layers, as BERT does, have none."""
        last = self.vectors[-1]
        found: list[nn.Module] = []

        def look(module: nn.Module, args: tuple[Any, ...], _: Any) -> None:
            if args and isinstance(args[0], torch.Tensor) and _same(args[0], last):
                found.append(module)

        with ExitStack() as stack:
            for module in self.loaded.model.modules():
                if "norm" in type(module).__name__.lower():
                    stack.enter_context(_removed(module.register_forward_hook(look)))
            self.logits(last)
        return found[0] if found else None

    def _check(self) -> None:
        """The last layer gives the model's own distribution, and each position's vector decides alone.

        Raises:
            Unusable: it is not so.
        """
        last = self.vectors[-1]
        alike = last.reshape(-1, last.shape[-1])[-1].expand_as(last)
        expected = self.own.softmax(-1)
        distance = max(
            float((self.logits(last).softmax(-1) - expected).abs().max()),
            float((self.logits(alike).softmax(-1) - expected[-1]).abs().max()),
        )
        rounding = 4 * torch.finfo(last.dtype).eps if last.element_size() < 4 else 0
        if not distance <= max(TOLERANCE, rounding):
            raise Unusable(
                f"Model {self.loaded.ref.name!r} ({_kind(self.loaded)}) has no logit lens: its predictions do not "
                f"follow from the vectors of its last layer alone (they differ by {distance:.2g})."
            )


def _kind(loaded: Loaded) -> str:
    return str(loaded.model.config.model_type)


def _stack(loaded: Loaded) -> nn.Module:
    found: nn.Module = loaded.model.get_decoder() if loaded.encoder_decoder else loaded.model
    return found


@contextmanager
def _encoded(loaded: Loaded) -> Iterator[list[Any]]:
    """What the encoder returns, where there is one beside a decoder."""
    found: list[Any] = []
    with ExitStack() as hooks:
        if loaded.encoder_decoder:
            encoder = loaded.model.get_encoder()
            hooks.enter_context(_removed(encoder.register_forward_hook(lambda *call: found.append(call[2]))))
        yield found


@contextmanager
def _calls(stack: nn.Module) -> Iterator[dict[str, list[Call]]]:
    """By the name of each list of modules the calls of its members, in their order."""
    calls: dict[str, list[Call]] = {}
    with ExitStack() as hooks:
        for name, modules in stack.named_modules():
            if isinstance(modules, nn.ModuleList):
                for module in modules:
                    hook = module.register_forward_hook(_keeping(calls, name), with_kwargs=True)
                    hooks.enter_context(_removed(hook))
        yield calls


def _keeping(calls: dict[str, list[Call]], name: str) -> Callable[..., None]:
    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], returned: Any) -> None:
        read = next((each for each in [*args, *kwargs.values()] if isinstance(each, torch.Tensor)), None)
        if read is not None and isinstance(_hidden(returned), torch.Tensor):
            calls.setdefault(name, []).append(Call(module, read, returned))

    return keep


def _chain(calls: Mapping[str, Sequence[Call]]) -> list[Call]:
    """The longest row of layers, no parts of layers, of which each reads what the one before it returns."""
    outer = [row for name, row in calls.items() if not any(name.startswith(f"{other}.") for other in calls)]
    rows = [list(row) for row in outer if _is_chain(row)]
    return max(rows, key=lambda row: len(row), default=[])


def _is_chain(row: Sequence[Call]) -> bool:
    return _hidden(row[0].returned).shape == row[0].read.shape and all(
        _same(after.read, _hidden(before.returned)) for before, after in pairwise(row)
    )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other.to(one.device)))


def _hidden(returned: Any) -> Any:
    """The vectors among what a layer returns."""
    return returned[0] if isinstance(returned, (tuple, list)) and returned else returned


def _replaced(returned: Any, vectors: torch.Tensor) -> Any:
    vectors = vectors.to(_hidden(returned).device)
    return type(returned)([vectors, *returned[1:]]) if isinstance(returned, (tuple, list)) else vectors


@contextmanager
def _removed(hook: Any) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _running(changes: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Other code in place of some modules' `forward`; what was put there before, as accelerate does, comes back."""
    before = {module: vars(module).get("forward") for module in changes}
    try:
        for module, forward in changes.items():
            module.forward = forward
        yield
    finally:
        for module, own in before.items():
            if own is None:
                del module.forward
            else:
                module.forward = own
