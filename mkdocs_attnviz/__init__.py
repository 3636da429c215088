"""Interactive views of a transformer's attention in written documentation.

In documentation, a figure is an `attention` block. In a notebook, it is a function call: `show` for a model in memory;
`head_view`, `model_view` and `neuron_view` with BertViz's arguments; or `matrix_view`, which BertViz does not have. A
`Widget` also tells the kernel what its reader sees.

Each public name is imported when it is first used, because a process that runs models needs no documentation tool.
"""

__version__ = "0.1.0"

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs_attnviz.hosts.fences import fence_validator
    from mkdocs_attnviz.hosts.markdown import fence, fence_format
    from mkdocs_attnviz.hosts.notebook import head_view, matrix_view, model_view, neuron_view, show
    from mkdocs_attnviz.hosts.widget import Widget

__all__ = [
    "Widget",
    "fence",
    "fence_format",
    "fence_validator",
    "head_view",
    "matrix_view",
    "model_view",
    "neuron_view",
    "setup",
    "show",
]
MODULES = {
    "Widget": "widget",
    "fence": "markdown",
    "fence_format": "markdown",
    "fence_validator": "fences",
    "head_view": "notebook",
    "matrix_view": "notebook",
    "model_view": "notebook",
    "neuron_view": "notebook",
    "setup": "sphinx",
    "show": "notebook",
}
"""The module in `hosts/` that each public name comes from. Sphinx calls `setup`."""


def __getattr__(name: str) -> Any:
    """Import and return a public name."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.hosts.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Return all names, including those that are not imported yet."""
    return sorted([*globals(), *MODULES])
