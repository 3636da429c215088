"""A check for weights that a model's files lack. Such a model is refused, unless no figure depends on these weights.

transformers fills missing weights with random numbers. Here they become NaN, so that no result of them can be drawn
unnoticed. One short pass tells whether they reach an output that figures are made from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from mkdocs_attnviz.models.errors import Lacking, Unusable
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.loading import trial
from mkdocs_attnviz.models.loading.model_class import TASKS

UNREAD = {"pooler_output", "seq_relationship_logits", "sop_logits"}
"""Outputs that no figure is made from: pooled vectors, and heads for pairs of sentences."""

NAMED = 3
"""The number of weights that a message names at most."""


def check(ref: ModelRef, model: Any, tokenizer: Any, report: Mapping[str, Any]) -> None:
    """Raise if figures would show weights that are not in the model's files.

    `report` is transformers' own report of what it loaded.

    Raises:
        Lacking: only the weights of the model's head are missing.
        Unusable: other weights are missing, or have another shape than in the configuration.
    """
    if report["mismatched_keys"]:
        raise Unusable(_mismatched(ref, report["mismatched_keys"]))
    missing = set(report["missing_keys"])
    if not missing or not _are_read(model, tokenizer, missing):
        return
    modules = {name.rpartition(".")[0] for name in missing}
    if modules <= _head(model):
        raise Lacking(
            f"Model {ref.name!r} has no trained head: its files lack the weights of {', '.join(sorted(modules))}."
        )
    raise Unusable(_sentence(ref, missing, set(report["unexpected_keys"])))


def _head(model: Any) -> set[str]:
    """Return the names of all modules outside the model's base, if its class has a head."""
    if type(model).__name__ not in TASKS:
        return set()
    base = getattr(model, "base_model_prefix", "")
    output = model.get_output_embeddings()
    if base and hasattr(model, base):
        return {name for name, _ in model.named_modules() if name and name.partition(".")[0] != base}
    return {name for name, module in model.named_modules() if module is output}


# ---- Are they read?


def _are_read(model: Any, tokenizer: Any, missing: set[str]) -> bool:
    """Make the missing weights NaN and return whether an output that figures are made from becomes NaN.

    Weights of a module that does not run on the short text count as read: another text may use it.
    """
    with _running(model) as ran:
        try:
            owners = {id(model.get_submodule(name.rpartition(".")[0])) for name in missing}
            poisoned = all(_fill_with_nan(model.get_parameter_or_buffer(name)) for name in missing)
            outputs = trial.outputs(model, tokenizer)
        except Exception:  # the pass cannot prove that the weights are not read
            return True
    reached = any(bool(tensor.isnan().any()) for tensor in read_by_figures(outputs))
    return not poisoned or not owners <= ran or reached


def _fill_with_nan(weight: torch.Tensor) -> bool:
    """Fill a weight with NaN; return whether that was possible."""
    if weight.is_meta or not weight.is_floating_point():
        return False
    weight.data.fill_(torch.nan)
    return True


def read_by_figures(outputs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors that figures may be made from."""
    for name, value in outputs.items():
        if name in UNREAD:
            continue
        for tensor in value if isinstance(value, tuple) else (value,):
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                yield tensor


@contextmanager
def _running(model: torch.nn.Module) -> Iterator[set[int]]:
    """Collect the ids of the modules that run inside the `with` block."""
    ran: set[int] = set()
    hooks = [module.register_forward_hook(lambda module, *_: ran.add(id(module))) for module in model.modules()]
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


# ---- Sentences


def _sentence(ref: ModelRef, missing: set[str], unexpected: set[str]) -> str:
    prefix = _prefix(missing, unexpected)
    if prefix is not None:
        why = f"; they are there under other names, which begin with {prefix!r}"
    elif unexpected:
        why = f"; what they have and the model has no place for: {listed(unexpected)}"
    else:
        why = ""
    return (
        f"Model {ref.name!r} is not complete, and would be drawn with random numbers: its files lack "
        f"{listed(missing)}{why}."
    )


def _prefix(missing: set[str], unexpected: set[str]) -> str | None:
    """Return the prefix that most missing weights have in the files, or None if there is none."""
    ends: Counter[str] = Counter()
    for extra in unexpected:
        parts = extra.split(".")
        cuts = (".".join(parts[:cut]) for cut in range(1, len(parts)))
        ends.update(f"{before}." for before in cuts if extra[len(before) + 1 :] in missing)
    if not ends:
        return None
    prefix, count = ends.most_common(1)[0]
    return prefix if 2 * count >= len(missing) else None


def _mismatched(ref: ModelRef, mismatched: set[tuple[str, Any, Any]]) -> str:
    shapes = {name: (tuple(in_files), tuple(in_config)) for name, in_files, in_config in mismatched}
    first = min(shapes, key=_natural)
    in_files, in_config = shapes[first]
    return (
        f"Model {ref.name!r} has weights of other shapes than its configuration says: {listed(set(shapes))} "
        f"({first!r} is {in_files} in its files and {in_config} by its configuration)."
    )


def listed(names: set[str]) -> str:
    first = sorted(names, key=_natural)[:NAMED]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return f"{', '.join(map(repr, first))}{more}"


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that places layer 2 before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
