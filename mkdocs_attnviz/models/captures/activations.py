"""What the feed-forward neurons of each layer do at each token of a text.

A layer has thousands of them, of which most do little: those with the largest |activation| at any token are kept. They
are also given an order in which neurons that are active at the same tokens stand together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.encoding import json_blob, scaled_blob
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.feed_forward import activations, down_projections

Floats = npt.NDArray[np.float32]

TOP = 10
"""Neurons that are listed for each token."""
SEQUENCES = {"self": "text", "encoder": "text", "decoder": "target"}
"""What the layers of a stack read."""


def capture(context: Context) -> list[Entry]:
    """One entry for each example; `parameters` has `neurons`, how many of a layer are kept.

    Raises:
        Unusable: the model has no such neurons, or SciPy is not installed.
    """
    loaded, examples, parameters = context.loaded, context.examples, context.parameters
    return [_entry(loaded, example, parameters["neurons"]) for example in examples]


def recorded(loaded: Loaded, example: Example) -> dict[str, dict[int, Floats]]:
    """By stack and layer, (T, N). Raises: Unusable."""
    found = activations(loaded, example, down_projections(loaded, example))
    return {stack: {layer: values.cpu().numpy() for layer, values in layers.items()} for stack, layers in found.items()}


def _entry(loaded: Loaded, example: Example, neurons: int) -> Entry:
    layers, blobs = [], {}
    for stack, found in recorded(loaded, example).items():
        for layer, values in found.items():
            kept = strongest(values, neurons)
            name = f"{stack}.{layer}"
            blobs[name] = scaled_blob(np.ascontiguousarray(values[:, kept].T))
            blobs[f"{name}.lists"] = json_blob({"neurons": kept, "cluster": clustered(values[:, kept].T)} | top(values))
            layers.append({"stack": stack, "layer": layer, "neurons": values.shape[1], "kept": len(kept)})
    return Entry({"sequences": example.sequences(), "layers": layers}, blobs)


def strongest(values: Floats, neurons: int) -> list[int]:
    """Of (T, N) the neurons with the largest |activation| at any token, the strongest first."""
    found: list[int] = np.argsort(-np.abs(values).max(axis=0), kind="stable")[:neurons].tolist()
    return found


def clustered(values: Floats) -> list[int]:
    """Rows of (N, T) in an order of hierarchical clustering: average linkage of Euclidean distances between rows that
    are scaled to a largest |activation| of 1, leaves ordered so that neighbours are as near as can be (Bar-Joseph et
    al. 2001).

    Raises:
        Unusable: SciPy is not installed.
    """
    try:
        from scipy.cluster.hierarchy import leaves_list, linkage
    except ImportError:
        raise Unusable(
            "The activations view orders neurons by SciPy; install it with `pip install 'mkdocs-attnviz[explain]'`."
        ) from None
    if len(values) < 3:
        return list(range(len(values)))
    most = np.abs(values).max(axis=1, keepdims=True)
    tree = linkage(values / np.where(most > 0, most, 1), "average", optimal_ordering=True)
    found: list[int] = leaves_list(tree).tolist()
    return found


def top(values: Floats) -> dict[str, Any]:
    """For each token of (T, N) its most active neurons of all that there are, the strongest first."""
    best = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :TOP]
    active = np.take_along_axis(values, best, axis=1)
    return {"top": best.tolist(), "values": [[float(f"{value:.5g}") for value in row] for row in active.tolist()]}
