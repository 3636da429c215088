"""One file for each view: its options, the capture it draws, and how it looks without JavaScript.

A view knows no host, no torch and no HTML page. To add one: a module here with `Options`, `CAPTURE` and `draw`,
its name in `VIEWS`, and `frontend/src/views/NAME.ts`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mkdocs_attnviz.views import (
    activations,
    factors,
    head,
    lens,
    matrix,
    model,
    neuron,
    predict,
    saliency,
    similarity,
    tokens,
)
from mkdocs_attnviz.views.drawing import View

VIEWS: Mapping[str, View] = {
    "head": head,
    "model": model,
    "neuron": neuron,
    "matrix": matrix,
    "tokens": tokens,
    "predict": predict,
    "saliency": saliency,
    "lens": lens,
    "activations": activations,
    "factors": factors,
    "similarity": similarity,
}
OPTIONS = {name: view.Options for name, view in VIEWS.items()}
