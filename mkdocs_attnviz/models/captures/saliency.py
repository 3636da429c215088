"""Attributions: how much each token that a model read adds to a token it produces, one row for each explained output.

The outputs that can be explained are in `explained_outputs.py`. The
attribution methods are Captum's, in `attribution.py`. Several methods are compared in `saliency_methods.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.saliency_methods import compared_methods, row_of
from mkdocs_attnviz.models.encoding import round_digits, scaled_blob
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attribution import Attribution, attribute
from mkdocs_attnviz.models.probing.explained_outputs import DIGITS, contrast_of, explained, outputs_of


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example; `parameters` are those of `views/saliency.py`.

    Raises:
        Unusable: the model predicts nothing, or the method does not apply to it.
        ValueError: there is no such output, or no such token to contrast it with.
    """
    loaded, examples, parameters = context.loaded, context.examples, context.parameters
    if "methods" in parameters:
        return [compared_methods(loaded, example, parameters) for example in examples]
    return [_entry(loaded, example, parameters) for example in examples]


def _entry(loaded: Loaded, example: Example, parameters: Mapping[str, Any]) -> Entry:
    described, attributions = explain_outputs(loaded, example, parameters)
    sequences = example.sequences()
    lengths = [len(part.ids) for part in (example.text, example.target) if part is not None]
    rows = [row_of(attribution.values, lengths) for attribution in attributions]
    values = np.stack(rows)  # (outputs, inputs)
    outputs = [
        {
            **output,
            "value": round_digits(attribution.value, DIGITS),
            "baseline": None if attribution.baseline is None else round_digits(attribution.baseline, DIGITS),
            "delta": None if attribution.delta is None else round_digits(attribution.delta, DIGITS),
        }
        for output, attribution in zip(described, attributions, strict=True)
    ]
    meta = {
        "sequences": sequences,
        "task": loaded.task,
        "outputs": outputs,
        "contrast": contrast_of(loaded, parameters, example.text)[1],
    }
    masked = np.isnan(values)
    return Entry(meta, {"attributions": scaled_blob(values, masked)})


def explain_outputs(
    loaded: Loaded, example: Example, parameters: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[Attribution]]:
    """Return a description of each explained output, and its attributions.

    Raises:
        ValueError: there is no such output, or no such token to contrast it with.
        Unusable: the model predicts nothing, or the method does not apply to it.
    """
    found = [
        explained(loaded, example, parameters, output)
        for output in outputs_of(loaded, example, parameters.get("target"))
    ]
    attributions = [attribute(loaded, each.output.reads, each.score, parameters) for each in found]
    return [each.described() for each in found], attributions
