"""A tracer of attention that a model computes in code of its own, one torch function at a time.

While such a model runs, every torch function passes through here. A softmax inside an attention module gives weights.
Each product of two matrices is followed forwards: a tensor that results from it by adding, masking, scaling or
reshaping counts as the same product, times a known number. So the queries and keys behind the weights are known. The
weights are followed in the same way, up to the product with the values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from mkdocs_attnviz.models.probing.attention_calls import Call, Keep

PRODUCTS = {"matmul", "bmm", "__matmul__", "baddbmm", "einsum"}
TIMES = {"mul", "__mul__", "__rmul__", "mul_", "__imul__", "multiply"}
OVER = {"div", "__truediv__", "div_", "__itruediv__", "true_divide", "divide"}


@dataclass(frozen=True)
class Product:
    """A product of (…, n, d) and (…, d, m), with the factor that its result has been multiplied by since."""

    left: torch.Tensor
    right: torch.Tensor
    scale: float = 1.0


@contextmanager
def watching(keep: Keep, *, operands: bool) -> Iterator[None]:
    """Pass each attention call to `keep` inside the `with` block, with queries, keys and values if `operands`."""
    mode = _Watch(keep, operands)
    with ExitStack() as stack:
        for hook in (
            register_module_forward_pre_hook(mode.enter_module),
            register_module_forward_hook(mode.leave_module, always_call=True),
        ):
            stack.callback(hook.remove)
        stack.enter_context(mode)
        yield


def is_attention(module: torch.nn.Module) -> bool:
    name = type(module).__name__.lower()
    return "attention" in name or "attn" in name


class _Watch(TorchFunctionMode):
    def __init__(self, keep: Keep, operands: bool) -> None:
        super().__init__()
        self.keep, self.operands = keep, operands
        self.modules: list[torch.nn.Module] = []
        self.products: dict[int, tuple[torch.Tensor, Product]] = {}
        """The product behind each tensor, by the tensor's id. The tensor is held, too, so that Python does not reuse
        its id.
        """
        self.weights: dict[int, torch.Tensor] = {}
        """The tensors that hold the waiting call's weights, by id."""
        self.waiting: Call | None = None

    def enter_module(self, module: torch.nn.Module, _: Any) -> None:
        self.modules.append(module)

    def leave_module(self, module: torch.nn.Module, *_: Any) -> None:
        self.modules.pop()
        if is_attention(module):
            self._finish()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(map(is_attention, self.modules)):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            return self._attend(func, args, kwargs)
        result = func(*args, **kwargs)
        if not isinstance(result, torch.Tensor) or result.ndim < 3:
            return result
        if name == "softmax":
            self._softmax(args, kwargs, result)
        elif name in PRODUCTS:
            self._multiplied(name, args, kwargs, result)
        else:
            self._follow(name, args, result)
        return result

    def _finish(self) -> None:
        """Pass on the call that was waiting for its values."""
        call, self.waiting = self.waiting, None
        self.products.clear()
        self.weights.clear()
        if call is not None:
            call.weights = call.weights.clone()  # the model may still need its own
            self.keep(call)

    def _softmax(self, args: Any, kwargs: Any, result: torch.Tensor) -> None:
        scores_in = args[0] if args else kwargs["input"]
        product = self.products.get(id(scores_in), (None, None))[1]
        self._finish()
        dim = kwargs.get("dim", args[1] if len(args) > 1 and isinstance(args[1], int) else -1)
        if dim not in (-1, result.ndim - 1):
            return
        module = next(module for module in reversed(self.modules) if is_attention(module))
        weights = _four(result, module)
        if weights.ndim != 4:
            return
        self.waiting = Call(weights, module, scores=_four(scores_in, module) if self.operands else None)
        if self.operands:
            self.weights = {id(result): result}
            if product is not None:
                self._sources(self.waiting, product)

    def _sources(self, call: Call, product: Product) -> None:
        """Set the call's queries and keys if the product's shapes fit; its heads may share one axis with the batch."""
        module = call.module
        assert module is not None  # noqa: S101 — for the type checker
        query, key = _four(product.left, module), _four(product.right.transpose(-1, -2), module)
        rows, cols = call.weights.shape[2:]
        if query.ndim == 4 and query.shape[2] == rows and key.shape[2] == cols:
            call.query, call.key, call.scale = query, key, product.scale

    def _multiplied(self, name: str, args: Any, kwargs: Any, result: torch.Tensor) -> None:
        if not self.operands:
            return
        left, right, scale = _factors(name, args, kwargs)
        if left is None or right is None:
            return
        call = self.waiting
        if call is not None and id(left) in self.weights and call.module is not None:
            value = _four(right, call.module)
            output = _four(result, call.module)
            if value.ndim == output.ndim == 4 and value.shape[2] == call.weights.shape[3]:
                call.value, call.output = value, output.transpose(1, 2)
            self._finish()
            return
        self.products[id(result)] = (result, Product(left, right, scale))

    def _follow(self, name: str, args: Any, result: torch.Tensor) -> None:
        """Note that a result computed element by element, or reshaped, from a product or from weights still stands for
        them.
        """
        if not self.operands:
            return
        if args and id(args[0]) in self.weights and result.numel() == args[0].numel():
            self.weights[id(result)] = result
            return
        for number, operand in enumerate(args[:2]):
            known = self.products.get(id(operand))
            if known is None or known[0].numel() != result.numel():
                continue
            factor = _factor(name, args[1 - number] if len(args) > 1 else None)
            self.products[id(result)] = (result, replace(known[1], scale=known[1].scale * factor))
            return

    def _attend(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run `scaled_dot_product_attention` and pass on its call.

        It never forms its weights, so they are computed a second time.
        """
        self._finish()
        result = func(*args, **kwargs)
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
        arguments = dict(zip(names, args, strict=False)) | kwargs
        query, key, value = (arguments[name] for name in names[:3])
        if query.ndim != 4:
            return result
        scale = arguments.get("scale") or query.shape[-1] ** -0.5
        mask = arguments.get("attn_mask")
        if arguments.get("is_causal"):
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -math.inf)
        repeated = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        scores = (query @ repeated.transpose(-1, -2)).float() * scale
        scores = scores if mask is None else scores + mask
        module = next(module for module in reversed(self.modules) if is_attention(module))
        output = result.transpose(1, 2)
        self.keep(Call(scores.softmax(-1), module, query, key, value, output, float(scale), scores=scores))
        return result


def _four(tensor: torch.Tensor, module: torch.nn.Module) -> torch.Tensor:
    """Reshape (B·heads, n, m) to (B, heads, n, m) if the module has an attribute with its number of heads."""
    if tensor.ndim != 3:
        return tensor
    for name in ("num_heads", "n_heads", "num_attention_heads", "n_head", "num_attn_heads"):
        heads = getattr(module, name, None)
        if isinstance(heads, int) and heads > 0 and tensor.shape[0] % heads == 0:
            return tensor.reshape(-1, heads, *tensor.shape[1:])
    return tensor


def _factors(name: str, args: Any, kwargs: Any) -> tuple[torch.Tensor | None, torch.Tensor | None, float]:
    """Return a product's operands as (…, n, d) and (…, d, m), and the factor of their product."""
    if name == "einsum":
        return _einsum(args)
    if name == "baddbmm":
        arguments = dict(zip(("input", "batch1", "batch2"), args, strict=False)) | kwargs
        return arguments["batch1"], arguments["batch2"], float(arguments.get("alpha", 1.0))
    operands = [*args, *(kwargs[key] for key in ("other", "mat2") if key in kwargs)]
    if len(operands) < 2 or operands[0].ndim < 3 or operands[1].ndim < 3:
        return None, None, 1.0
    return operands[0], operands[1], 1.0


def _einsum(args: Any) -> tuple[torch.Tensor | None, torch.Tensor | None, float]:
    """Return the operands of an einsum as (…, n, d) and (…, d, m); None for both if it is no such product.

    It is one if the result's last axis but one belongs to the first operand alone, and its last axis to the second
    alone.
    """
    operands = args[1] if len(args) == 2 and isinstance(args[1], list | tuple) else args[1:]
    equation = str(args[0]).replace(" ", "")
    if len(operands) != 2 or "->" not in equation or "." in equation:
        return None, None, 1.0
    inputs, output = equation.split("->")
    one, other = inputs.split(",")
    shared = [axis for axis in one if axis in other and axis not in output]
    batch, rows, cols = output[:-2], output[-2:-1], output[-1:]
    if len(shared) != 1 or set(one) != {*batch, rows, *shared} or set(other) != {*batch, cols, *shared}:
        return None, None, 1.0
    left = torch.einsum(f"{one}->{batch}{rows}{shared[0]}", operands[0])
    return left, torch.einsum(f"{other}->{batch}{shared[0]}{cols}", operands[1]), 1.0


def _factor(name: str, other: Any) -> float:
    """Return the factor of an operation that multiplies or divides by a single number; 1 for any other operation."""
    if isinstance(other, torch.Tensor):
        if other.numel() != 1:
            return 1.0
        other = other.item()
    if not isinstance(other, int | float):
        return 1.0
    if name in TIMES:
        return float(other)
    return 1 / float(other) if name in OVER else 1.0
