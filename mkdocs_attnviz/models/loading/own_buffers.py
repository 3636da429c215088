"""Buffers of a model's own code that are in no file: masks and frequencies that its constructor computes.

transformers constructs a model without memory and leaves such buffers uninitialised, unless the code sets them in
`_init_weights`. Code written for older versions does not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from mkdocs_attnviz.models.errors import Unusable
from mkdocs_attnviz.models.identity.reference import ModelRef


def restore(ref: ModelRef, model: Any) -> None:
    """Set the buffers of a model's own code to the values that its constructor computes.

    Raises:
        Unusable: the constructor computes none.
    """
    if not model.is_custom_code():
        return
    names = [name for name, _ in model.named_non_persistent_buffers()]
    if not names:
        return
    try:
        with torch.random.fork_rng(), _without_parameters():
            computed = dict(type(model)(copy.deepcopy(model.config)).named_buffers())
        with torch.no_grad():
            for name in names:
                model.get_buffer(name).copy_(computed[name])
    except Exception as error:
        raise Unusable(
            f"Model {ref.name!r} cannot be drawn: its own code computes {names[0]!r} when it is constructed, and "
            "transformers leaves that without values."
        ) from error


@contextmanager
def _without_parameters() -> Iterator[None]:
    """Construct modules with parameters that take no memory, and with ordinary buffers, inside the `with` block."""

    def without_memory(_: Any, __: str, parameter: torch.nn.Parameter | None) -> Any:
        return None if parameter is None else torch.nn.Parameter(parameter.to("meta"), requires_grad=False)

    hook = register_module_parameter_registration_hook(without_memory)
    try:
        yield
    finally:
        hook.remove()
