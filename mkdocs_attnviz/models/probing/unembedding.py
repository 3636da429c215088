"""The way from a layer's vectors to predictions, through the model's own code.

The logit lens (nostalgebraist 2020) reads each layer's vectors as if that layer were the last. What follows the last
layer differs between models: a final norm, a transform (BERT), a projection (OPT), a rescaling (T5), a scale (Cohere),
a soft cap (Gemma 2), a bias (Marian). None of it is written down here. Instead the model runs with its layers replaced:
each returns what it returned before, and the last one returns the vectors in question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn

from mkdocs_attnviz.models.inputs.examples import accepted_arguments, collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

TOLERANCE = 1e-5
"""The largest difference of a probability between the model and its unembedding run alone."""


class LayerCall(NamedTuple):
    """One call of a layer: the layer, its input and its output."""

    layer: nn.Module
    read: torch.Tensor
    returned: Any


class Unembedding:
    """A model that has read one example, and everything that follows its last layer.

    Raises:
        Unusable: its predictions do not follow from the vectors of its last layer.
    """

    def __init__(self, loaded: Loaded, example: Example) -> None:
        self.loaded = loaded
        self.inputs: dict[str, Any] = dict(collate(loaded, [example]))
        if "use_cache" in accepted_arguments(loaded.model):
            self.inputs["use_cache"] = False
        with _calls(_stack(loaded)) as calls, _encoded(loaded) as encoded:
            logits = loaded.model(**self.inputs, return_dict=True).logits
        if encoded and "encoder_outputs" in accepted_arguments(loaded.model):
            self.inputs["encoder_outputs"] = encoded[0]  # so the encoder runs only once
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
        """The vectors that the first layer reads, then those that each layer returns."""
        return [self.calls[0].read, *(_hidden(call.returned) for call in self.calls)]

    def logits(self, vectors: torch.Tensor, without: nn.Module | None = None) -> torch.Tensor:
        """Return the logits, (T, V), that the model gives if its last layer returns `vectors`. `without` is skipped."""
        returned = [call.returned for call in self.calls[:-1]]
        outputs = iter([*returned, _replaced(self.calls[-1].returned, vectors)])
        changes: dict[nn.Module, Callable[..., Any]] = {
            call.layer: lambda *_, **__: next(outputs) for call in self.calls
        }
        if without is not None:
            changes[without] = lambda hidden, *_, **__: hidden
        with _running(changes):
            logits: torch.Tensor = self.loaded.model(**self.inputs, return_dict=True).logits[0].float()
        return logits

    def norm(self) -> nn.Module | None:
        """Return the final norm, or None: the first norm module that reads the last layer's vectors.

        Models that normalise within their layers, as BERT does, have none.
        """
        last = self.vectors[-1]
        norms: list[nn.Module] = []

        def look(module: nn.Module, args: tuple[Any, ...], _: Any) -> None:
            if args and isinstance(args[0], torch.Tensor) and _same(args[0], last):
                norms.append(module)

        with ExitStack() as stack:
            for module in self.loaded.model.modules():
                if "norm" in type(module).__name__.lower():
                    stack.enter_context(_removed(module.register_forward_hook(look)))
            self.logits(last)
        return norms[0] if norms else None

    def _check(self) -> None:
        """Check that the last layer gives the model's own distribution, and that each position's vector decides alone.

        Raises:
            Unusable: one of the two does not hold.
        """
        last = self.vectors[-1]
        repeated = last.reshape(-1, last.shape[-1])[-1].expand_as(last)
        expected = self.own.softmax(-1)
        distance = max(
            float((self.logits(last).softmax(-1) - expected).abs().max()),
            float((self.logits(repeated).softmax(-1) - expected[-1]).abs().max()),
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
    decoder: nn.Module = loaded.model.get_decoder() if loaded.encoder_decoder else loaded.model
    return decoder


@contextmanager
def _encoded(loaded: Loaded) -> Iterator[list[Any]]:
    """Collect the encoder's output inside the `with` block; the list stays empty if the model has no encoder."""
    outputs: list[Any] = []
    with ExitStack() as hooks:
        if loaded.encoder_decoder:
            encoder = loaded.model.get_encoder()
            hooks.enter_context(_removed(encoder.register_forward_hook(lambda *call: outputs.append(call[2]))))
        yield outputs


@contextmanager
def _calls(stack: nn.Module) -> Iterator[dict[str, list[LayerCall]]]:
    """Collect the calls of each module list's members, in order, by the name of the list."""
    calls: dict[str, list[LayerCall]] = {}
    with ExitStack() as hooks:
        for name, modules in stack.named_modules():
            if isinstance(modules, nn.ModuleList):
                for module in modules:
                    hook = module.register_forward_hook(_keeping(calls, name), with_kwargs=True)
                    hooks.enter_context(_removed(hook))
        yield calls


def _keeping(calls: dict[str, list[LayerCall]], name: str) -> Callable[..., None]:
    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], returned: Any) -> None:
        read = next((argument for argument in [*args, *kwargs.values()] if isinstance(argument, torch.Tensor)), None)
        if read is not None and isinstance(_hidden(returned), torch.Tensor):
            calls.setdefault(name, []).append(LayerCall(module, read, returned))

    return keep


def _chain(calls: Mapping[str, Sequence[LayerCall]]) -> list[LayerCall]:
    """Return the longest chain of layers, each of which reads what the one before it returns. Parts of layers are no
    layers.
    """
    outer = [row for name, row in calls.items() if not any(name.startswith(f"{other}.") for other in calls)]
    rows = [list(row) for row in outer if _is_chain(row)]
    return max(rows, key=lambda row: len(row), default=[])


def _is_chain(row: Sequence[LayerCall]) -> bool:
    return _hidden(row[0].returned).shape == row[0].read.shape and all(
        _same(after.read, _hidden(before.returned)) for before, after in pairwise(row)
    )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other.to(one.device)))


def _hidden(returned: Any) -> Any:
    """Return the vectors among a layer's outputs."""
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
    """Replace the `forward` of some modules inside the `with` block, then restore what was there, accelerate's
    included.
    """
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
