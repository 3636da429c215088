"""The sublayers of a model in the order in which they run: everything that adds something to its residual stream.

They are found by one short pass, not by name. A residual addition is a sum of two tensors of the same shape, one of
which, the branch, was computed from the other, the stream. The additions that lead from the first one to the last
hidden state are the model's sublayers. Sublayers are parallel if each branch was computed from the stream before the
other was added. What a branch does is told from its functions and modules (`sublayer_kinds`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mkdocs_attnviz.models.inputs.examples import accepted_arguments, collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_discovery import probe, shortened
from mkdocs_attnviz.models.probing.dataflow import WHOLE, Key, Operation, Record, recording
from mkdocs_attnviz.models.probing.function_tracer import is_attention
from mkdocs_attnviz.models.probing.sublayer_kinds import OTHER, Kinds, main_modules

ADDITIONS = {"add", "__add__", "__radd__", "add_", "__iadd__"}
LIGHT = {"mul", "__mul__", "__rmul__", "mul_", "div", "__truediv__", "to", "float", "type", "type_as", "half"}
LIGHT |= {"bfloat16", "clone", "contiguous", "detach", "dropout", "view", "reshape", "__getitem__", "clamp"}
"""Functions that a stream may pass before its addition and still be the stream: it is scaled or converted."""


@dataclass(frozen=True)
class Place:
    """One operand of one addition: where a sublayer's branch joins the others."""

    key: Key
    operand: int
    """0 or 1."""


@dataclass
class Sublayer:
    kind: str
    """s, f, c, m or e as in `sublayer_kinds`; o for anything else."""
    layer: int | None
    """The number of its layer in the stack; None if it stands in no numbered layer."""
    names: list[str]
    """The names of its modules in the model, those with most parameters first."""
    parameters: int
    place: Place
    shared: bool = False
    """True if an earlier sublayer has the same weights."""


@dataclass
class Unit:
    """Sublayers that stand side by side: one, or several that read the same stream."""

    sublayers: list[Sublayer]
    start: Key
    """The key of the stream that it reads."""
    end: Key
    """The key of the stream that it leaves, after a norm that follows the addition."""


@dataclass
class Sublayers:
    units: dict[str, list[Unit]]
    """Units in running order, by stack: `self`, or `encoder` and `decoder`."""
    outer: set[int]
    """The ids of the modules in whose own code, or below which, residual additions are: models, stacks and layers."""
    skips: int = 0
    """The number of connections that lead around several sublayers, which the units do not show."""
    between: int = 0
    """The number of places where a model transforms its stream between two units, by matrices of weights."""
    post_norm: bool = False
    """True if a norm follows each addition, so that it stays where a sublayer is left out."""

    def __iter__(self) -> Iterator[tuple[str, Unit, Sublayer]]:
        for stack, units in self.units.items():
            for unit in units:
                for sublayer in unit.sublayers:
                    yield stack, unit, sublayer


def run(loaded: Loaded, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Run the whole model without a cache of earlier tokens, and return its logits."""
    return loaded.checked_values(loaded.logits_of(_outputs(loaded, inputs)))


def _outputs(loaded: Loaded, inputs: dict[str, torch.Tensor]) -> Any:
    once = {"use_cache": False} if "use_cache" in accepted_arguments(loaded.model) else {}
    return loaded.model(**inputs, **once, return_dict=True)


def find_sublayers(loaded: Loaded, example: Example) -> Sublayers:
    """Return the model's sublayers.

    Raises:
        Unusable: no residual addition leads to the model's last hidden state.
    """
    try:
        return _found(loaded, probe(loaded, example))
    except Unusable:
        raise
    except Exception:  # the model does not read arbitrary tokens; it may read those of the text
        return _found(loaded, shortened(loaded, example))


def _found(loaded: Loaded, example: Example) -> Sublayers:
    record = Record()
    inputs = collate(loaded, [example])
    with torch.no_grad(), recording(record):
        _outputs(loaded, inputs)
    lengths = {value for tensor in inputs.values() for value in tensor.shape[1:]}
    search = _Search(loaded, record, lengths)
    chains = {name: chain for name, end in search.ends() if (chain := search.chain(end))}
    if not chains:
        raise Unusable(
            f"The sublayers of model {loaded.ref.name!r} ({loaded.model.config.model_type}) cannot be told: no "
            "residual additions lead to its last hidden state."
        )
    return _Described(search, chains).sublayers()


@dataclass
class Addition:
    """A residual addition; all numbers are those of operations."""

    number: int
    branch: int
    stream: int
    """The operand beside the branch."""
    origin: int
    """The last operation that both the stream and the branch were computed from."""
    operand: int
    """The place of the branch among the operands, 0 or 1."""
    parallel: bool = False
    """True if its branch does not know of the addition before it."""
    places: list[tuple[int, Place]] = field(default_factory=list)
    """The terms of the branch, each with the place where it joins."""


class _Search:
    """The residual additions of a recorded pass."""

    def __init__(self, loaded: Loaded, record: Record, lengths: set[int]) -> None:
        self.loaded, self.record, self.operations, self.lengths = loaded, record, record.operations, lengths
        self.skips = 0
        self.additions: dict[int, Addition] = {}
        for number, operation in enumerate(self.operations):
            addition = self._addition(number, operation)
            if addition is not None:
                self.additions[number] = addition

    def ends(self) -> Iterator[tuple[str, int]]:
        """Yield each stack's name and the operation that made its last hidden state."""
        model, outputs = self.loaded.model, self.record.outputs
        if self.loaded.encoder_decoder:
            stacks = {"encoder": model.get_encoder(), "decoder": model.get_decoder()}
        else:
            stacks = {"self": getattr(model, "base_model", model)}
        for name, module in stacks.items():
            end = outputs.get(id(module))
            if end is not None:
                yield name, end

    def chain(self, end: int, after: int = 0, origin: int | None = None) -> list[Addition]:
        """Return the additions that lead to an operation, in running order, without those among the bits of `after`;
        with `origin`, only those whose branch was computed from it."""
        additions: list[Addition] = []
        known = self.operations[end].ancestors & ~after
        while inside := [number for number in self.additions if known >> number & 1 and self._from(number, origin)]:
            addition = self.additions[inside[-1]]
            before = self.operations[addition.stream].ancestors
            if self._leads_around(inner := self._inner(addition)):
                self.skips += 1
                additions = inner + additions
            else:
                additions.insert(0, addition)
            known = before & ~after
        return additions

    def _inner(self, addition: Addition) -> list[Addition]:
        """Return the additions within a branch that lead from its stream to its end."""
        if addition.parallel:
            return []
        return self.chain(addition.branch, self.operations[addition.origin].ancestors, addition.origin)

    def _from(self, number: int, origin: int | None) -> bool:
        return origin is None or self.record.derives(self.additions[number].branch, origin)

    def _leads_around(self, inner: Sequence[Addition]) -> bool:
        """Return whether a branch with these additions is no sublayer, but holds several."""
        view = Kinds(self.record, self.lengths, set(), None)
        return len([each for each in inner if view.kind(each.branch, each.origin) != OTHER]) > 1

    def _addition(self, number: int, operation: Operation) -> Addition | None:
        """Return the residual addition that an operation is, or None."""
        operands = [source for source in operation.operands if source[1].is_floating_point()]
        if operation.name not in ADDITIONS or len(operands) != 2 or not self._of_tokens(operation.shape):
            return None
        (one, first), (other, second) = operands
        if one is None or other is None or first.shape != second.shape or tuple(first.shape) != operation.shape:
            return None
        for operand, (branch, stream) in enumerate([(one, other), (other, one)]):
            known = self._origin(stream, branch, operation)
            if known is not None:
                terms = list(self._terms(branch, Place(operation.key, operand), known[0], operation))
                return Addition(number, branch, stream, known[0], operand, known[1], terms)
        return None

    def _of_tokens(self, shape: tuple[int, ...]) -> bool:
        """Return whether a shape is that of vectors of tokens, (B, T, D) or (T, D), and not of scores of pairs."""
        return len(shape) in (2, 3) and not (shape[-1] in self.lengths and shape[-2] in self.lengths)

    def _origin(self, stream: int, branch: int, addition: Operation) -> tuple[int, bool] | None:
        """Return the operation that the branch has in common with the stream, and whether other branches were added to
        the stream meanwhile; None if `stream` is no stream."""
        number, parallel = stream, False
        while not self.record.derives(branch, number):
            operation, earlier = self.operations[number], self.additions.get(number)
            if earlier is not None and operation.calls == addition.calls:
                number, parallel = earlier.stream, True
                continue
            sources = [(source, tensor) for source, tensor in operation.operands if source is not None]
            if operation.name not in LIGHT or len(sources) != 1 or sources[0][1].shape != addition.shape:
                return None
            number = sources[0][0] or 0
        return (number, parallel) if number != branch else None

    def _terms(self, branch: int, place: Place, origin: int, addition: Operation) -> Iterator[tuple[int, Place]]:
        """Yield the terms of a branch that is a sum of parallel branches, as in GPT-J; otherwise the branch itself."""
        number = branch
        while (operation := self.operations[number]).name in LIGHT and operation.calls == addition.calls:
            sources = [source for source, _ in operation.operands if source is not None]
            if len(sources) != 1:
                break
            number = sources[0]
        sources = [source for source, _ in operation.operands if source is not None]
        is_sum = operation.name in ADDITIONS and operation.calls == addition.calls and number not in self.additions
        if is_sum and len(sources) == 2 and all(self.record.derives(source, origin) for source in sources):
            for operand, source in enumerate(sources):
                yield from self._terms(source, Place(operation.key, operand), origin, addition)
        else:
            yield branch, place


class _Described:
    """The additions of a model's stacks, described as sublayers."""

    def __init__(self, search: _Search, chains: dict[str, list[Addition]]) -> None:
        self.search, self.record, self.chains = search, search.record, chains
        self.names = {id(module): name for name, module in search.loaded.model.named_modules()}
        additions = [addition for chain in chains.values() for addition in chain]
        calls = (call for addition in additions for call in search.operations[addition.number].calls)
        self.outer = {id(call.module) for call in calls}
        encoder = search.record.outputs.get(id(search.loaded.model.get_encoder())) if "encoder" in chains else None
        self.kinds = Kinds(search.record, search.lengths, self.outer, encoder)
        self.covered: set[int] = set()
        """The operations that lead from the stream to a sublayer's branch."""
        self.seen: set[int] = set()
        self.between = self.norms = 0

    def sublayers(self) -> Sublayers:
        ends = dict(self.search.ends())
        units = {stack: self._units(chain, ends[stack]) for stack, chain in self.chains.items()}
        self._check_attention(ends)
        return Sublayers(units, self.outer, self.search.skips, self.between, self.norms > 1)

    def _check_attention(self, ends: Mapping[str, int]) -> None:
        """Check that the sublayers hold all attention that leads to the last hidden states.

        Raises:
            Unusable: some of it stands elsewhere, so that the strip would lack it.
        """
        operations = self.record.operations
        covered = {call for number in self.covered for call in operations[number].calls}
        for number, operation in enumerate(operations):
            leads = any(self.record.derives(end, number) for end in ends.values())
            attention = self.kinds.attends(operation) and number not in self.covered and leads
            inner = [call for call in operation.calls if id(call.module) not in self.outer]
            if attention or any(is_attention(call.module) and call not in covered for call in inner[:1]):
                model = self.search.loaded
                raise Unusable(
                    f"The sublayers of model {model.ref.name!r} ({model.model.config.model_type}) cannot be told: some "
                    "of its attention is added to no stream that it has read."
                )

    def _units(self, chain: Sequence[Addition], last: int) -> list[Unit]:
        groups: list[list[Addition]] = []
        for addition in chain:
            if addition.parallel and groups:
                groups[-1].append(addition)
            else:
                groups.append([addition])
        ends = [group[0].origin for group in groups[1:]] + [self._after(groups[-1][-1], last)]
        layers: dict[tuple[int, int], int] = {}
        return [self._unit(group, end, layers) for group, end in zip(groups, ends, strict=True)]

    def _unit(self, group: Sequence[Addition], end: int, layers: dict[tuple[int, int], int]) -> Unit:
        counted: set[int] = set()
        terms = [(branch, place, addition) for addition in group for branch, place in addition.places]
        terms.sort(key=lambda term: term[0])  # a sum may name them in another order than the one in which they ran
        sublayers = [self._sublayer(addition, branch, place, counted, layers) for branch, place, addition in terms]
        after = self.record.operations[end].ancestors & ~self.record.operations[group[-1].number].ancestors
        norm = [self.record.operations[number] for number in _bits(after)]
        if any(map(self.kinds.multiplies, norm)):
            self.between += 1
        else:
            self.norms += bool(norm)
            sublayers[-1].parameters += sum(self._count(operation, counted) for operation in norm)
        return Unit(sublayers, self._key(group[0].origin), self._key(end))

    def _sublayer(
        self,
        addition: Addition,
        branch: int,
        place: Place,
        counted: set[int],
        layers: dict[tuple[int, int], int],
    ) -> Sublayer:
        numbers = self.kinds.inside(branch, addition.origin)
        self.covered.update(numbers)
        inside = [self.record.operations[number] for number in numbers]
        parameters = sum(self._count(operation, counted) for operation in inside)
        modules = main_modules(inside, self.outer)
        ids = {id(parameter) for module in modules for parameter in module.parameters()}
        shared = bool(ids & self.seen)
        self.seen |= ids
        kind, layer = self.kinds.kind(branch, addition.origin), self._layer(addition, layers)
        names = [self.names.get(id(module), type(module).__name__) for module in modules]
        return Sublayer(kind, layer, names, parameters, place, shared)

    def _count(self, operation: Operation, counted: set[int]) -> int:
        """Return the number of parameters that an operation's module has, or that it reads, if not counted yet."""
        module = next((call.module for call in operation.calls if id(call.module) not in self.outer), None)
        parameters = (
            [tensor for _, tensor in operation.operands if isinstance(tensor, torch.nn.Parameter)]
            if module is None
            else list(module.parameters())
        )
        total = 0
        for parameter in parameters:
            if id(parameter) not in counted:
                counted.add(id(parameter))
                total += parameter.numel()
        return total

    def _layer(self, addition: Addition, layers: dict[tuple[int, int], int]) -> int | None:
        """Return the number of the layer, counted by the calls of numbered modules."""
        for call in self.record.operations[addition.number].calls:
            if re.search(r"(?:^|\.)\d+$", self.names.get(id(call.module), "")):
                return layers.setdefault((id(call.module), call.use), len(layers))
        return None

    def _after(self, addition: Addition, last: int) -> int:
        """Return the operation that ends the last sublayer: a norm within the same layer, or the addition itself."""
        operations = self.record.operations
        layer = next(
            (
                call
                for call in operations[addition.number].calls
                if re.search(r"(?:^|\.)\d+$", self.names.get(id(call.module), ""))
            ),
            None,
        )
        end = addition.number
        for number in _bits(operations[last].ancestors & ~operations[addition.number].ancestors):
            calls = operations[number].calls
            if layer is not None and layer in calls and self.record.derives(number, addition.number):
                end = number
        return end

    def _key(self, number: int) -> Key:
        """Return the key of an operation as it is seen from outside of a layer's parts."""
        operation = self.record.operations[number]
        part = next((call for call in operation.calls if id(call.module) not in self.outer), None)
        return operation.key if part is None else Key(id(part.module), part.use, WHOLE)


def _bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, in order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
