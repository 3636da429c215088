"""Several methods that ask which tokens led to one output, compared on it (Bastings & Filippova 2020).

Each method gives a strip: one number for each token. The entry holds the strips, how far they agree, and how the
probability of the output changes as tokens are taken out in the order of each strip. All of this is about the same
tokens: those of the text that can be taken out and that every method has a number for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.encoding import round_digits, scaled_blob
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_strips import ATTENTION, attention_strips, rows_read
from mkdocs_attnviz.models.probing.attribution import attribute
from mkdocs_attnviz.models.probing.deletion import Deletion, replacement_of
from mkdocs_attnviz.models.probing.explained_outputs import DIGITS, Explained, contrast_of, explained, outputs_of
from mkdocs_attnviz.models.probing.faithfulness import faithfulness

Row = npt.NDArray[np.float32]

CAPTUM = {"gradient_norm": "saliency"}
"""The names of methods in Captum, if they differ."""


def compared_methods(loaded: Loaded, example: Example, parameters: Mapping[str, Any]) -> Entry:
    """Return the entry of an example; `parameters["methods"]` has the parameters of each method.

    Raises:
        Unusable: the model predicts nothing, or a method does not apply to it.
        ValueError: the block asks for more than one output, or for what is not there.
    """
    output = _one_output(loaded, example, parameters)
    strips, about = _strips(loaded, example, output, parameters["methods"])
    deletion = Deletion(loaded, output, replacement_of(loaded, parameters.get("replacement")))
    compared = [at for at in deletion.positions if not np.isnan(strips[:, at]).any()]
    deletion.positions = compared
    if not compared:
        raise WrongValue("method", "There is no token that all of these methods give a number for.")
    values = strips[:, compared]
    orders = [np.argsort(-row, kind="stable").tolist() for row in values]
    replacement = {"kind": deletion.replacement.kind, "token": deletion.replacement.name}
    meta = {
        "sequences": example.sequences(),
        "task": loaded.task,
        "outputs": [output.described()],
        "contrast": contrast_of(loaded, parameters, example.text)[1],
        "methods": about,
        "compared": compared,
        "orders": orders,
        "agreement": agreement(values),
        "curves": faithfulness(deletion.probabilities, orders, len(compared), parameters["seed"])
        | {"replacement": replacement},
    }
    return Entry(meta, {"attributions": scaled_blob(strips, np.isnan(strips))})


def _one_output(loaded: Loaded, example: Example, parameters: Mapping[str, Any]) -> Explained:
    """Return the output that is explained: by default the first.

    Raises:
        ValueError: the block asks for several.
    """
    outputs = outputs_of(loaded, example, parameters.get("target"))
    if parameters.get("target") is not None and len(outputs) > 1:
        raise WrongValue(
            "target", f"`target` asks for {len(outputs)} outputs; several methods are compared on one of them."
        )
    return explained(loaded, example, parameters, outputs[0])


def _strips(
    loaded: Loaded, example: Example, output: Explained, methods: Sequence[Mapping[str, Any]]
) -> tuple[Row, list[dict[str, Any]]]:
    """Return the strips, (methods, inputs), NaN for tokens that have no number, and what is to be told of each."""
    lengths = [len(part.ids) for part in (example.text, example.target) if part is not None]
    ways = [each["method"] for each in methods if each["method"] in ATTENTION]
    attention = attention_strips(loaded, output.output, ways) if ways else {}
    rows, about = [], []
    for each in methods:
        name = each["method"]
        if name in attention:
            values = [torch.from_numpy(attention[name][: lengths[0]])]
            values += [torch.full([length], math.nan) for length in lengths[1:]]
            rows.append(row_of(values, lengths))
            about.append({"method": name, "rows": rows_read(loaded, output.output)})
            continue
        found = attribute(loaded, output.output.reads, output.score, {**each, "method": CAPTUM.get(name, name)})
        rows.append(row_of(found.values, lengths))  # tokens of the text, then those before the output
        numbers = {"value": found.value, "baseline": found.baseline, "delta": found.delta}
        about.append(
            {"method": name}
            | {key: round_digits(number, DIGITS) for key, number in numbers.items() if number is not None}
        )
    strips = np.stack(rows)
    for row, each_about in zip(strips, about, strict=True):
        each_about["known"] = int((~np.isnan(row)).sum())  # tokens that have a number come before those that do not
    return strips, about


def row_of(values: Sequence[torch.Tensor], lengths: Sequence[int]) -> Row:
    """Concatenate the values of all sequences; tokens that were not read are NaN."""
    row = np.full(sum(lengths), np.nan, np.float32)
    start = 0
    for part, length in zip(values, lengths, strict=True):
        row[start : start + len(part)] = part.numpy()
        start += length
    return row


def agreement(values: Row) -> list[list[float | None]]:
    """Return Kendall's τ-b of each pair of strips, (methods, n); None if a strip has the same number everywhere.

    Raises:
        Unusable: SciPy is not installed.
    """
    try:
        from scipy.stats import kendalltau
    except ImportError:
        raise Unusable(
            "Several methods of the saliency view need scipy; install it with `pip install 'attnviz[explain]'`."
        ) from None
    taus = [[float(kendalltau(one, other).statistic) for other in values] for one in values]
    return [[None if math.isnan(tau) else round_digits(tau, DIGITS) for tau in line] for line in taus]
