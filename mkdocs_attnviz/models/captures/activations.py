"""The activations of the feed-forward neurons of each layer at each token of a text.

A layer has thousands of neurons, most of them with small activations. Those with the largest |activation| at any token
are stored, with an order that places neurons next to each other if they are active at the same tokens.
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
"""The number of neurons that are listed for each token."""
SEQUENCES = {"self": "text", "encoder": "text", "decoder": "target"}
"""The sequence that the layers of each stack read."""


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example; `parameters` has `neurons`, the number of stored neurons per layer.

    Raises:
        Unusable: the model has no feed-forward neurons, or SciPy is not installed.
    """
    loaded, examples, parameters = context.loaded, context.examples, context.parameters
    return [_entry(loaded, example, parameters["neurons"]) for example in examples]


def record_activations(loaded: Loaded, example: Example) -> dict[str, dict[int, Floats]]:
    """Return all activations, (T, N), by stack and layer.

    Raises:
        Unusable: the model has no feed-forward neurons.
    """
    layers_of = activations(loaded, example, down_projections(loaded, example))
    return {
        stack: {layer: values.cpu().numpy() for layer, values in layers.items()} for stack, layers in layers_of.items()
    }


def _entry(loaded: Loaded, example: Example, neurons: int) -> Entry:
    layers, blobs = [], {}
    for stack, values_of_layer in record_activations(loaded, example).items():
        for layer, values in values_of_layer.items():
            chosen = strongest(values, neurons)
            name = f"{stack}.{layer}"
            blobs[name] = scaled_blob(np.ascontiguousarray(values[:, chosen].T))
            blobs[f"{name}.lists"] = json_blob(
                {"neurons": chosen, "cluster": cluster_order(values[:, chosen].T)} | top(values)
            )
            layers.append({"stack": stack, "layer": layer, "neurons": values.shape[1], "kept": len(chosen)})
    return Entry({"sequences": example.sequences(), "layers": layers}, blobs)


def strongest(values: Floats, neurons: int) -> list[int]:
    """Return the neurons of (T, N) with the largest |activation| at any token, the strongest first."""
    neurons_in_order: list[int] = np.argsort(-np.abs(values).max(axis=0), kind="stable").tolist()
    return neurons_in_order[:neurons]


def cluster_order(values: Floats) -> list[int]:
    """Return an order of the rows of (N, T), by hierarchical clustering.

    Each row is scaled to a largest |activation| of 1. Distances are Euclidean, the linkage is average, and the leaves
    are ordered so that neighbours are as close as possible (Bar-Joseph et al. 2001).

    Raises:
        Unusable: SciPy is not installed.
    """
    try:
        from scipy.cluster.hierarchy import leaves_list, linkage
    except ImportError:
        raise Unusable(
            "The activations view orders neurons by SciPy; install it with `pip install 'attnviz[explain]'`."
        ) from None
    if len(values) < 3:
        return list(range(len(values)))
    most = np.abs(values).max(axis=1, keepdims=True)
    tree = linkage(values / np.where(most > 0, most, 1), "average", optimal_ordering=True)
    order: list[int] = leaves_list(tree).tolist()
    return order


def top(values: Floats) -> dict[str, Any]:
    """Return the most active neurons of each token of (T, N), the strongest first."""
    best = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :TOP]
    active = np.take_along_axis(values, best, axis=1)
    return {"top": best.tolist(), "values": [[float(f"{value:.5g}") for value in row] for row in active.tolist()]}
