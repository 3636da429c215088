"""The kind of a sublayer, told from the functions that its branch calls and the classes of its modules.

The letters s, f and c are those of Press et al. 2020 (https://aclanthology.org/2020.acl-main.270/); m and e stand for
what came later. A branch that is none of them is called `OTHER`, and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch

from mkdocs_attnviz.models.probing.dataflow import Operation, Record
from mkdocs_attnviz.models.probing.function_tracer import is_attention

SELF, CROSS, FEED_FORWARD, STATE_SPACE, EXPERTS, OTHER = "s", "c", "f", "m", "e", "o"
"""Self-attention, cross-attention, feed-forward, state space or recurrent, mixture of experts, anything else."""
RECURRENT = re.compile(
    r"[Mm]amba|Mixer|SSM|[Rr]wkv|LSTM(?!FeedForward)|GRU|Recurrent(?!Gemma)|RecurrentBlock|RgLru|RGLRU"
    r"|Delta(?:Net|Rule|Attention)|KDA|Retention|(?:Lightning|Linear)Attention"
)
"""Class names of modules with a state that goes on from token to token."""
MIXTURE = re.compile(r"[Ee]xpert|M[Oo]E|Moe|SparseM|[Rr]outer|TopK")
"""Class names of modules that choose experts for each token."""
NETWORK = re.compile(r"MLP|Mlp|FeedForward|FFN|[Ee]xperts")
"""Class names of feed-forward networks. A branch with attention and such a network is more than one sublayer."""
ATTENDING = {"scaled_dot_product_attention", "multi_head_attention_forward", "flex_attention"}
MIXING = {"fft", "fftn", "fft_fft", "fft_fftn", "_fft_c2c", "conv2d", "unfold"}
"""Functions that take something from one token to another."""
SORTING = {"cumsum", "roll", "flip"}
"""Functions that do so as well, and that a mixture of experts needs to sort its tokens."""


class Kinds:
    """The kinds of the branches in a recorded pass.

    `lengths` are the numbers of tokens that were read, `outer` the ids of models, stacks and layers, and `encoder` is
    the operation that made the encoder's output.
    """

    def __init__(self, record: Record, lengths: set[int], outer: set[int], encoder: int | None) -> None:
        self.record, self.lengths, self.outer, self.encoder = record, lengths, outer, encoder

    def kind(self, branch: int, origin: int) -> str:
        """Return the letter of a branch, an operation that was computed from the stream's operation `origin`."""
        inside = [self.record.operations[number] for number in self.inside(branch, origin)]
        called = {id(call.module): call.module for operation in inside for call in operation.calls}
        modules = [module for number, module in called.items() if number not in self.outer]
        names = [name for module in modules if "Norm" not in (name := type(module).__name__)]
        recurrent, attention = any(map(RECURRENT.search, names)), any(map(is_attention, modules))
        functions = {operation.name for operation in inside}
        if any(map(self.attends, inside)):
            if self._holds_more(inside):
                return OTHER
            return CROSS if self._reads_encoder(inside, origin) else SELF
        if recurrent:
            return STATE_SPACE
        if attention or functions & MIXING or any(map(_is_wide_convolution, inside)):
            return OTHER
        if any(map(MIXTURE.search, names)):
            return EXPERTS
        return FEED_FORWARD if any(map(self.multiplies, inside)) and not functions & SORTING else OTHER

    def inside(self, branch: int, origin: int) -> list[int]:
        """Return the operations that lead from the stream to the branch."""
        operations = self.record.operations
        known = operations[branch].ancestors & ~operations[origin].ancestors
        numbers = range(origin + 1, branch + 1)
        return [number for number in numbers if known >> number & 1 and self.record.derives(number, origin)]

    def attends(self, operation: Operation) -> bool:
        """Return whether an operation makes attention weights: a softmax over tokens."""
        if operation.name in ATTENDING:
            return True
        if operation.name not in ("softmax", "_softmax") or len(operation.shape) < 3:
            return False
        between_tokens = operation.shape[-1] in self.lengths and operation.shape[-2] in self.lengths
        return between_tokens or any(is_attention(call.module) for call in operation.calls)

    def _holds_more(self, inside: Iterable[Operation]) -> bool:
        """Return whether a branch with attention has a network or a state-space model outside of its attention."""
        for operation in inside:
            calls = [call.module for call in operation.calls if id(call.module) not in self.outer]
            names = " ".join(type(module).__name__ for module in calls)
            apart = "Norm" not in names and not any(map(is_attention, calls))  # a norm may have a gate of its own
            if apart and (RECURRENT.search(names) or NETWORK.search(names)):
                return True
        return False

    def _reads_encoder(self, inside: Iterable[Operation], origin: int) -> bool:
        """Return whether a branch reads the encoder's output beside its stream."""
        if self.encoder is None:
            return False
        read = {source for operation in inside for source, _ in operation.operands if source is not None}
        return any(
            self.record.derives(source, self.encoder) and not self.record.derives(source, origin) for source in read
        )

    def multiplies(self, operation: Operation) -> bool:
        """Return whether an operation multiplies by a matrix of weights, as it is or transposed."""
        return any(
            _is_matrix(tensor) or (source is not None and self._of_matrix(self.record.operations[source]))
            for source, tensor in operation.operands
        )

    def _of_matrix(self, operation: Operation) -> bool:
        return len(operation.operands) == 1 and _is_matrix(operation.operands[0][1])


def main_modules(inside: Iterable[Operation], outer: set[int]) -> list[torch.nn.Module]:
    """Return the modules that a layer's own code calls within a branch, those with most parameters first."""
    modules: dict[int, torch.nn.Module] = {}
    for operation in inside:
        module = next((call.module for call in operation.calls if id(call.module) not in outer), None)
        if module is not None:
            modules[id(module)] = module
    sizes = {id(module): sum(each.numel() for each in module.parameters()) for module in modules.values()}
    largest = max(sizes.values(), default=0)
    kept = [module for module in modules.values() if sizes[id(module)] > largest / 20]
    return sorted(kept, key=lambda module: -sizes[id(module)])


def _is_wide_convolution(operation: Operation) -> bool:
    """Return whether an operation is a convolution over more than one token."""
    return operation.name == "conv1d" and operation.operands[1][1].shape[-1] > 1


def _is_matrix(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, torch.nn.Parameter) and tensor.ndim > 1
