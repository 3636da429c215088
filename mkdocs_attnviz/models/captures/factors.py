"""Factors of neurons that are active together, by non-negative matrix factorisation of a text's activations.

The method follows Ecco's `run_nmf` and Olah et al. 2018, "The Building Blocks of Interpretability". The matrix is
max(activations, 0), (neurons, T): the neurons of a range of layers are stacked, the tokens of several texts are
concatenated. It is approximated by W·H. Here each column of W has length 1, so that the rows of H, one per factor, can
be compared with one another; otherwise their scale would be arbitrary.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.activations import SEQUENCES, record_activations
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.encoding import json_blob, round_digits
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

Floats = npt.NDArray[np.float32]

TOP = 10
"""The number of neurons that are listed for each factor."""
STEPS = 1000


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example; `parameters` has `n_components`, `from_layer`, `to_layer`, `stack`, `seed`.

    Raises:
        Unusable: the model has no feed-forward neurons, or scikit-learn is not installed.
        ValueError: it has no such stack or layer.
    """
    loaded, examples, parameters = context.loaded, context.examples, context.parameters
    return [_entry(loaded, example, parameters) for example in examples]


def _entry(loaded: Loaded, example: Example, parameters: Mapping[str, Any]) -> Entry:
    first = record_activations(loaded, example)
    stack = parameters["stack"] or next(iter(first))
    if stack not in first:
        raise WrongValue("stack", f"`stack` is {stack}; of model {loaded.ref.name!r} it must be {' or '.join(first)}.")
    layers = _range(first[stack], parameters)
    several = [[first[stack][layer] for layer in layers]]
    for further in example.more:
        more = record_activations(loaded, further)[stack]
        several.append([more[layer] for layer in layers])
    activations = {layer: np.concatenate(texts) for layer, *texts in zip(layers, *several, strict=True)}  # (T, N)
    active = np.concatenate([activations[layer].T for layer in layers]).clip(0)  # (neurons, T)
    neurons, strengths, explained = factorise(active, parameters["n_components"], parameters["seed"])
    owners = [(layer, neuron) for layer in layers for neuron in range(activations[layer].shape[1])]
    strongest = [
        [[*owners[at], round_digits(column[at])] for at in np.argsort(-column, kind="stable")[:TOP] if column[at] > 0]
        for column in neurons.T
    ]
    meta = {
        "sequences": example.sequences(),
        "sequence": SEQUENCES[stack],
        "stack": stack,
        "layers": layers,
        "neurons": len(active),
        "explained": round_digits(explained),
    }
    lists = {"strengths": [[round_digits(value) for value in row] for row in strengths], "neurons": strongest}
    return Entry(meta, {"factors": json_blob(lists)})


def _range(layers_found: Mapping[int, Floats], parameters: Mapping[str, Any]) -> list[int]:
    """Return the layers of the range, both ends included.

    Raises:
        ValueError: an end of the range is no layer with neurons.
    """
    known = sorted(layers_found)
    for name in ("from_layer", "to_layer"):
        if parameters[name] is not None and parameters[name] not in layers_found:
            raise WrongValue(name, f"`{name}` is {parameters[name]}; the layers with neurons are {listed(known)}.")
    first = known[0] if parameters["from_layer"] is None else parameters["from_layer"]
    last = known[-1] if parameters["to_layer"] is None else parameters["to_layer"]
    return [layer for layer in known if first <= layer <= last]


def factorise(active: Floats, factors: int, seed: int | None) -> tuple[Floats, Floats, float]:
    """Factorise activations, (neurons, T), into W·H with at most `factors` factors.

    Returns W, (neurons, factors), with columns of length 1; H, (factors, T), the strongest factor first; and the share
    of the squared activations that W·H explains. There are no more factors than tokens or neurons. It starts from
    NNDSVD (Boutsidis & Gallopoulos 2008), which is deterministic, or with a seed from random numbers.

    Raises:
        Unusable: scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import NMF
    except ImportError:
        raise Unusable(
            "The factors view needs scikit-learn; install it with `pip install 'attnviz[explain]'`."
        ) from None
    model = NMF(
        min(factors, *active.shape),
        init="nndsvd" if seed is None else "random",
        random_state=seed or 0,
        max_iter=STEPS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns that more steps would improve the result a little
        neurons = model.fit_transform(active)
    lengths = np.linalg.norm(neurons, axis=0)
    strengths = model.components_ * lengths[:, None]
    neurons = neurons / np.where(lengths > 0, lengths, 1)
    order = np.argsort(-np.square(strengths).sum(axis=1), kind="stable")
    total = float(np.square(active).sum())
    left = float(np.square(active - neurons @ strengths).sum())
    return neurons[:, order], strengths[order], 1 - left / total if total > 0 else 0.0
