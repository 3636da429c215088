"""The experts that the routers of a mixture chose for each token, read while the model runs.

They are found by what modules pass to each other, not by the names of classes. A mixture hands its choices over in one
of four ways, and `router_signals` reads all of them:

- A module gets, beside the tokens, the numbers of the experts and their weights, (T, k) each. This is the interface of
  transformers' own experts.
- A module gets a mask of ones and zeros, (T, experts), as in Switch Transformers, where a full expert drops tokens.
- A router returns weights, (T, experts), that are zero for all experts but k, beside its logits, as in Llama 4.
- A router returns the tokens sorted by expert, and how many each one gets, as in JetMoE.

The first mixture is checked by running it once more without the weights of one expert: exactly the tokens that are said
to have gone to it may change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.router_scores import Scores, find_scores
from mkdocs_attnviz.models.probing.router_signals import Choices, handed_over, returned, tensors

ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
"""Names of modules whose experts are parts of attention."""
LAYER = re.compile(r"(?:^|\.)(\d+)\.(.*)")
"""The number of a layer in the name of a module, and the rest of the name."""
CANDIDATES = 48
"""The number of recent outputs among which a router's scores are looked for."""
ROUNDING = 8
"""The largest difference between two runs, in units of the last bit: a GPU adds in any order."""
WIDEST = 4096
"""The largest number of experts."""

Part = Literal["feed_forward", "attention"]


@dataclass(frozen=True)
class Routing:
    """The choices of one router."""

    stack: str
    """`self`, `encoder` or `decoder`."""
    layer: int
    part: Part
    module: str
    """The name of the module that computes the chosen experts' outputs."""
    experts: int
    without_weights: int
    """The number of experts without parameters, which give a token back as it is or skip it. They are the last ones."""
    indices: torch.Tensor
    """(T, k): the chosen experts, the heaviest first; −1 where there is none, as for a token that was dropped."""
    weights: torch.Tensor
    """(T, k): the weights by which the model multiplies the experts' outputs; 0 where there is none."""
    scores: Scores | None
    """The router's distribution over the experts; None if it cannot be found."""
    shared: bool
    """True if experts that get every token, whatever the router says, stand beside them."""


@dataclass(frozen=True)
class _Call:
    """A call of a module, which can be made once more."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def again(self) -> torch.Tensor:
        """Return the first tensor of the output, (T, …), of the same call without a cache."""
        kwargs = {name: value for name, value in self.kwargs.items() if not name.startswith("past_key_value")}
        return next(tensors(self.module(*self.args, **kwargs)))


class _Mixture(NamedTuple):
    """A mixture as it ran: its call, its choices, and the outputs among which its router's scores may be."""

    call: _Call
    router: str
    """The name of the router if it has told the choices; empty otherwise."""
    choices: Choices
    outputs: list[torch.Tensor]


def find_routings(loaded: Loaded, example: Example) -> list[Routing]:
    """Return the choices of all routers for each token of an example, in running order.

    Raises:
        Unusable: the model has no mixture of experts that can be read, or what is read is not what it computes.
    """
    mixtures: list[_Mixture] = []
    _run(loaded, [example], mixtures.append)
    described = [_routing(loaded, mixture, {}) for mixture in mixtures]
    found = [(mixture, routing) for mixture, routing in zip(mixtures, described, strict=True) if routing is not None]
    ref, kind = loaded.ref, loaded.model.config.model_type
    if not found:
        raise Unusable(
            f"Model {ref.name!r} ({kind}) has no mixture of experts whose choices can be read: no module of it is "
            "given the numbers of experts for each token."
        )
    for mixture, routing in {
        (routing.stack, routing.part): (mixture, routing) for mixture, routing in found[::-1]
    }.values():
        if not agrees(mixture.call, mixture.router, routing):
            raise Unusable(
                f"The experts of model {ref.name!r} ({kind}) cannot be shown: this version of transformers does not "
                "compute a token with the experts that its router chose."
            )
    return list(_numbered([routing for _, routing in found]))


def read_routings(loaded: Loaded, examples: Sequence[Example]) -> list[Routing]:
    """Return the choices of all routers for each token of a batch, text after text without padding, in running order.

    They are read as `find_routings` reads them, but not checked.
    """
    routings: list[Routing] = []
    rows = _rows_of_tokens(examples)

    def keep(mixture: _Mixture) -> None:
        routing = _routing(loaded, mixture, rows)
        if routing is not None:
            routings.append(routing)

    _run(loaded, examples, keep)
    return list(_numbered(routings))


def _rows_of_tokens(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Return which rows of a batch that is laid out as (B · T) are no padding, by stack, where there is any."""
    texts = [len(example.text.ids) for example in examples]
    targets = [len(example.target.ids) for example in examples if example.target is not None]
    sides = {"self": texts, "encoder": texts, "decoder": targets}
    return {
        stack: (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).flatten()
        for stack, sizes in sides.items()
        if len(set(sizes)) > 1
    }


def _run(loaded: Loaded, examples: Sequence[Example], keep: Callable[[_Mixture], None]) -> None:
    """Run the model on a batch, and call `keep` with each mixture before its experts run."""
    sides = ([example.text for example in examples], [each.target for each in examples if each.target is not None])
    lengths = {len(examples) * max(len(tokens.ids) for tokens in side) for side in sides if side}
    recorder = _Recorder(lengths, keep)
    with torch.inference_mode(), recorder.watch(loaded.model):
        loaded.model(**collate(loaded, examples))


@dataclass
class _Recorder:
    """A recorder of the mixtures of a model while it runs."""

    lengths: set[int]
    """The numbers of tokens, with padding, that a tensor may have."""
    keep: Callable[[_Mixture], None]
    running: list[_Call] = field(default_factory=list)
    outputs: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    """Recent outputs that may be a router's scores, with the names of their modules."""

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Look at what goes into and comes out of each module of a model."""
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(self._before(name), with_kwargs=True))
            handles.append(module.register_forward_hook(self._after(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = _Call(name, module, args, kwargs)
            choices = handed_over([*args, *kwargs.values()], self.lengths, expert_count(module))
            if choices is not None:
                self._add(call, "", choices)
            self.running.append(call)

        return look

    def _after(self, name: str) -> Callable[..., None]:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            while self.running and self.running.pop().name != name:  # a call that has ended with an exception
                pass
            parts = list(output) if isinstance(output, tuple | list) else [output]
            self.outputs += [(name, value) for value in parts if self._may_be_scores(value)]
            self.outputs = self.outputs[-CANDIDATES:]
            choices = returned(parts, self.lengths)
            if choices is not None and self.running:
                self._add(self.running[-1], name, choices)

        return look

    def _add(self, call: _Call, router: str, choices: Choices) -> None:
        scope = (router or call.name).rpartition(".")[0]
        near = [value for name, value in self.outputs if name.startswith(scope) and value is not choices.source]
        self.keep(_Mixture(call, router, choices, near))

    def _may_be_scores(self, value: Any) -> bool:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.ndim < 2:
            return False
        width = value.shape[-1]
        return 1 < width <= WIDEST and value.numel() // width in self.lengths


def expert_count(module: nn.Module) -> int | None:
    """Return the number of experts with parameters, as a module holds them: stacked in one tensor, or in a list."""
    stacked = [parameter.shape[0] for parameter in module.parameters(recurse=False) if parameter.ndim == 3]
    if stacked:
        return min(stacked)
    children = list(module.children())
    alike = len(children) > 1 and len({type(child) for child in children}) == 1
    return len(children) if alike and isinstance(module, nn.ModuleList | nn.ModuleDict) else None


def _routing(loaded: Loaded, mixture: _Mixture, rows: Mapping[str, torch.Tensor]) -> Routing | None:
    """Return the description of a mixture, or None if it is none after all. `rows` are those without padding, by stack;
    a stack that is absent has no padding."""
    call, choices, outputs = mixture.call, mixture.choices, mixture.outputs
    indices, weights = choices.indices, choices.weights.float()
    stack = _stack(loaded, call.module)
    if stack in rows and len(rows[stack]) == len(indices):
        kept = rows[stack].to(indices.device)
        indices, weights = indices[kept], weights[kept]
        flat = (value.reshape(-1, value.shape[-1]) for value in outputs)
        outputs = [value[kept.to(value.device)] for value in flat if len(value) == len(kept)]
    with_weights = choices.experts or expert_count(call.module)
    scores = find_scores(outputs, indices, weights, with_weights)
    experts = scores.distribution.shape[-1] if scores is not None else with_weights
    if experts is None or int(indices.max()) >= experts:
        return None
    layer, below = _layer_of(mixture.router or call.name)
    order = weights.argsort(dim=-1, descending=True, stable=True)
    return Routing(
        stack=stack,
        layer=layer,
        part="attention" if ATTENTION.search(below) else "feed_forward",
        module=call.name,
        experts=experts,
        without_weights=experts - min(experts, with_weights or experts),
        indices=indices.gather(1, order).cpu(),
        weights=weights.gather(1, order).cpu(),
        scores=scores,
        shared=_has_shared_experts(loaded, mixture.router or call.name),
    )


def _has_shared_experts(loaded: Loaded, name: str) -> bool:
    """Return whether the layer of a mixture has modules that are named as shared by all tokens."""
    end = LAYER.search(name)
    layer = loaded.model.get_submodule(name[: end.end(1)] if end else "")
    return any("shared" in part for part, _ in layer.named_modules())


def _layer_of(name: str) -> tuple[int, str]:
    """Return the number of the layer that a module lies in, and its name within the layer."""
    found = LAYER.search(name)
    return (int(found[1]), found[2]) if found else (0, name)


def _stack(loaded: Loaded, module: nn.Module) -> str:
    if not loaded.encoder_decoder:
        return "self"
    return "encoder" if any(module is each for each in loaded.model.get_encoder().modules()) else "decoder"


def _numbered(routings: Sequence[Routing]) -> Iterator[Routing]:
    """Yield routings with the numbers of their layers: by order, if a layer's weights are used several times."""
    places = [(routing.stack, routing.part, routing.layer) for routing in routings]
    if len(set(places)) == len(places):
        yield from routings
        return
    counts: dict[tuple[str, str], int] = {}
    for routing in routings:
        number = counts[routing.stack, routing.part] = counts.get((routing.stack, routing.part), -1) + 1
        yield replace(routing, layer=number)


def agrees(call: _Call, router: str, routing: Routing) -> bool:
    """Return whether a mixture without the weights of one expert changes for exactly the tokens that went to it.

    The expert is the one that got nearest to half of the tokens. Numbers of few bits may hide a small change.
    """
    gone = {expert: (routing.indices == expert).any(-1) for expert in range(routing.experts - routing.without_weights)}
    tokens = len(routing.indices)
    expert = min(gone, key=lambda number: abs(int(gone[number].sum()) - tokens / 2))
    own = list(
        _parameters(call.module, router.removeprefix(f"{call.name}."), routing.experts - routing.without_weights)
    )
    if not own:
        return True
    with torch.inference_mode():
        before = call.again().reshape(tokens, -1).clone()
        with _silent(own, expert, routing.experts - routing.without_weights):
            after = call.again().reshape(tokens, -1)
    rounding = ROUNDING * torch.finfo(before.dtype).eps * before.float().norm(dim=-1)
    changed = ((before - after).float().norm(dim=-1) > rounding).cpu()
    return not bool((changed & ~gone[expert]).any()) and 2 * int(changed.sum()) >= int(gone[expert].sum())


def _parameters(module: nn.Module, router: str, experts: int) -> Iterator[nn.Parameter]:
    """Yield the parameters of a mixture that belong to experts: stacked, in rows, or those of the modules in a list."""
    every = [(name, each) for name, each in module.named_parameters() if not (router and name.startswith(router))]
    stacked = [each for _, each in every if each.ndim == 3 and each.shape[0] >= experts and each.is_floating_point()]
    if stacked or isinstance(module, nn.ModuleList | nn.ModuleDict):
        yield from stacked
        return
    yield from (
        each for _, each in every if each.ndim == 2 and each.shape[0] % experts == 0 and each.is_floating_point()
    )


@contextmanager
def _silent(parameters: Sequence[nn.Parameter], expert: int, experts: int) -> Iterator[None]:
    """Set the weights of one expert to zero while the context is open."""
    parts = []
    for parameter in parameters:
        rows = 1 if parameter.ndim == 3 else parameter.shape[0] // experts
        parts.append(parameter.data[expert * rows : (expert + 1) * rows])
    kept = [part.clone() for part in parts]
    try:
        for part in parts:
            part.zero_()
        yield
    finally:
        for part, values in zip(parts, kept, strict=True):
            part.copy_(values)
