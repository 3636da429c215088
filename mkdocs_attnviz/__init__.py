"""Interactive views of a transformer's attention in written documentation.

In documentation a figure is an `attention` block. In a notebook it is a call: `show`, for a model in memory, or
`head_view`, `model_view` and `neuron_view` with BertViz's arguments, and `matrix_view`, which BertViz has not.
"""

__version__ = "0.1.0"

from typing import Any

from mkdocs_attnviz.hosts.fences import fence_validator
from mkdocs_attnviz.hosts.markdown import fence, fence_format
from mkdocs_attnviz.hosts.notebook import head_view, matrix_view, model_view, neuron_view, show

__all__ = [
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


def setup(app: Any) -> dict[str, Any]:
    """Sphinx's entry: `extensions = ["mkdocs_attnviz"]`."""
    from mkdocs_attnviz.hosts import sphinx  # not a dependency of the other hosts

    return sphinx.setup(app)
