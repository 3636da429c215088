"""The similarity of layers: CKA and three kinds of canonical correlation, within one model or between two.

The samples are a text's positions, the features are a layer's hidden state there: X of shape (T, D), centred over the
positions. For two models, the samples are those of `alignment`, and D may differ. Layer 0 is the output of the
embeddings, layer n that of the n-th layer, as in transformers' own `hidden_states`; the last may be after the model's
final norm.

- *CKA*, linear: ‖YᵀX‖²F / (‖XᵀX‖F · ‖YᵀY‖F), Kornblith et al. 2019, "Similarity of Neural Network Representations
  Revisited", equation 4.
- *CCA*: the mean canonical correlation of the directions that hold 98% of each one's singular values, as in Ecco.
- *SVCCA*: the same of the 20 largest directions, Raghu et al. 2017, "SVCCA".
- *PWCCA*: canonical correlations weighted by how much of X their directions carry, Morcos et al. 2018, "Insights on
  representational similarity in neural networks with canonical correlation", section 2. It is not symmetric.

Canonical correlations are the singular values of Uxᵀ · Uy, where Ux and Uy are orthonormal bases of the spans of X and
Y.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.encoding import scaled_blob
from mkdocs_attnviz.models.inputs.alignment import AlignmentError, align
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

Matrix = npt.NDArray[np.float64]
"""A matrix of (T, D), or of layers × layers."""
SHARE, DIRECTIONS = 0.98, 20
NULL = 1e-6
"""The share of the largest singular value below which one is a rounding error of 32-bit numbers."""
HIDDEN = {"hidden_states": "self", "encoder_hidden_states": "encoder", "decoder_hidden_states": "decoder"}


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example: for each stack and measure a *scaled* matrix of layers × layers.

    With `other`, rows are layers of the model and columns are layers of the other.

    Raises:
        Unusable: a model returns no hidden states.
        ValueError: the text has too few tokens, or the two models have no stacks with the same input.
    """
    loaded, examples, other = context.loaded, context.examples, context.other
    return [_entry(loaded, example, other) for example in examples]


def _entry(loaded: Loaded, example: Example, other: Loaded | None) -> Entry:
    stacks: dict[str, Any] = {}
    blobs = {}
    for name, pair in (_one_model(loaded, example) if other is None else _two_models(loaded, example, other)).items():
        tokens = len(pair.rows[0])
        if tokens < 3:
            what = "target" if name == "decoder" else "text"
            unit = pair.unit if tokens != 1 else {"tokens": "token", "stretches": "stretch"}[pair.unit]
            shared = "" if pair.cols is None else " that both models share"
            raise WrongValue("text", f"The {what} has {tokens} {unit}{shared}; layers are compared over 3 or more.")
        stacks[name] = {"layers": len(pair.rows), "tokens": tokens, "width": pair.rows[0].shape[1]} | pair.about
        for measure, values in tables(pair.rows, pair.cols).items():
            blobs[f"{name}/{measure}"] = scaled_blob(values.astype(np.float32))
    return Entry({"sequences": _sequences(example), "similar": stacks}, blobs)


def _sequences(example: Example) -> dict[str, dict[str, Any]]:
    others = {} if example.other is None else example.other.sequences()
    return example.sequences() | {f"other {name}": sequence for name, sequence in others.items()}


@dataclass(frozen=True)
class StackPair:
    """Two stacks over the same samples; each layer is (samples, D), centred over the samples."""

    rows: list[Matrix]
    cols: list[Matrix] | None = None
    """The layers of the columns; None if they are those of the rows."""
    unit: str = "tokens"
    """The unit of a sample, for messages: tokens, or stretches of the text."""
    about: dict[str, Any] = field(default_factory=dict)


def _one_model(loaded: Loaded, example: Example) -> dict[str, StackPair]:
    """Return the stacks of one model, by name.

    Raises:
        Unusable: the model returns no hidden states.
    """
    return {name: StackPair(list(map(_centred, layers))) for name, layers in representations(loaded, example).items()}


def _two_models(loaded: Loaded, example: Example, other: Loaded) -> dict[str, StackPair]:
    """Return each stack with that of the other model which has the same input, by the first model's names.

    Raises:
        Unusable: a model returns no hidden states.
        ValueError: there are no two such stacks.
    """
    assert example.other is not None  # noqa: S101 — for the type checker: `other` has read it
    own, others = representations(loaded, example), representations(other, example.other)
    facing = {_sequence_of(name): name for name in others}
    names = f"models {loaded.ref.name!r} and {other.ref.name!r}"
    pairs, reasons = {}, []
    for name, layers in own.items():
        side = _sequence_of(name)
        one, two = getattr(example, side), getattr(example.other, side)
        if side not in facing:
            continue
        try:
            samples = align(one, two)
        except AlignmentError as unlike:
            reasons.append(f"The {side} of {names} cannot be compared: {unlike}.")
            continue
        cols = others[facing[side]]
        rows = _sampled(layers, [positions for positions, _ in samples])
        cols = _sampled(cols, [positions for _, positions in samples])
        unit = "tokens" if all(len(positions) == 1 for pair in samples for positions in pair) else "stretches"
        about = {"columns": len(cols), "other_stack": facing[side], "other_width": cols[0].shape[1] if cols else 0}
        pairs[name] = StackPair(rows, cols, unit, about | {"unit": unit})
    if not pairs:
        raise WrongValue(
            "text", reasons[0] if reasons else f"No layers of {names} read the same: {_stacks(own, others)}."
        )
    return pairs


def _sequence_of(stack: str) -> str:
    """Return the sequence of an example that a stack reads."""
    return "target" if stack == "decoder" else "text"


def _stacks(*several: Mapping[str, object]) -> str:
    return " and ".join("/".join(names) for names in several)


def _sampled(layers: Sequence[Matrix], samples: Sequence[Sequence[int]]) -> list[Matrix]:
    """Return each layer's mean over the positions of each sample, centred."""
    weights = np.zeros((len(samples), len(layers[0])))
    for row, positions in enumerate(samples):
        weights[row, positions] = 1 / len(positions)
    return [_centred(weights @ layer) for layer in layers]


def representations(loaded: Loaded, example: Example) -> dict[str, list[Matrix]]:
    """Return the hidden states of each layer, (T, D), by stack; the embeddings come first.

    Raises:
        Unusable: the model returns none.
    """
    alone = loaded.encoder_decoder and example.target is None
    model = loaded.model.get_encoder() if alone else loaded.model
    with torch.inference_mode():
        outputs = model(**collate(loaded, [example]), output_hidden_states=True, return_dict=True)
    states_by_stack = {name: outputs.get(key) for key, name in HIDDEN.items()}
    if alone:
        states_by_stack = {"encoder": states_by_stack["self"]}
    elif any(states_by_stack[name] for name in ("encoder", "decoder")):
        states_by_stack.pop("self")
    stacks = {
        name: [state[0].cpu().double().numpy() for state in states]
        for name, states in states_by_stack.items()
        if states
    }
    if not stacks:
        raise Unusable(f"Model {loaded.ref.name!r} hands out no hidden states, which layers are compared by.")
    return {name: [state for state in states if len(state) == len(states[0])] for name, states in stacks.items()}


def _centred(state: Matrix) -> Matrix:
    centred: Matrix = state - state.mean(axis=0)
    return centred


def tables(rows: Sequence[Matrix], cols: Sequence[Matrix] | None = None) -> dict[str, Matrix]:
    """Return a matrix (layers, layers) for each measure; without `cols`, the rows are compared with themselves."""
    compared = [Representation(layer) for layer in rows]
    others = compared if cols is None else [Representation(layer) for layer in cols]
    return {measure: table(compared, others, compare) for measure, compare in MEASURES.items()}


def table(
    rows: Sequence[Representation],
    cols: Sequence[Representation],
    compare: Callable[[Representation, Representation], float],
) -> Matrix:
    """Return the matrix of one measure. If it is symmetric, only half of the pairs are computed."""
    half = rows is cols and compare is not pwcca
    values = np.zeros((len(rows), len(cols)))
    for row, one in enumerate(rows):
        for col in range(row if half else 0, len(cols)):
            values[row, col] = compare(one, cols[col])
    return values + np.triu(values, 1).T if half else values


class Representation:
    """A layer's representation, with the matrices that each comparison needs."""

    def __init__(self, x: Matrix) -> None:
        self.x = x
        self.gram: Matrix = x @ x.T
        self.size = float(np.linalg.norm(self.gram))
        basis, values, _ = np.linalg.svd(x, full_matrices=False)
        rank = int((values > NULL * values.max(initial=0)).sum())
        self.basis: Matrix = basis[:, :rank]
        """An orthonormal basis of the columns' span, the directions with most of x first."""
        directions = int(np.searchsorted(np.cumsum(values), SHARE * values.sum())) + 1
        self.main: Matrix = self.basis[:, :directions]


def cka(one: Representation, other: Representation) -> float:
    """Return the CKA by Gram matrices of positions: ‖YᵀX‖²F = ⟨XXᵀ, YYᵀ⟩, which costs T² instead of T·D²."""
    scale = one.size * other.size
    return float(np.vdot(one.gram, other.gram)) / scale if scale else 0.0


def cca(one: Representation, other: Representation) -> float:
    return _mean(one.main, other.main)


def svcca(one: Representation, other: Representation) -> float:
    return _mean(one.basis[:, :DIRECTIONS], other.basis[:, :DIRECTIONS])


def pwcca(one: Representation, other: Representation) -> float:
    """Return Σ αᵢρᵢ / Σ αᵢ with αᵢ = Σⱼ |⟨hᵢ, xⱼ⟩|; hᵢ are the canonical variates of X and xⱼ its columns."""
    ranks = one.basis.shape[1], other.basis.shape[1]
    if not min(ranks):
        return 0.0
    room = len(one.x) - 1  # the dimension of vectors that are centred over the positions
    if max(ranks) >= room:  # the larger one spans all of them, so also the span of the smaller
        return 1.0
    left, correlations = _canonical(one.basis.T @ other.basis, apart=sum(ranks) <= room)
    weights = np.abs(left.T @ (one.basis.T @ one.x)).sum(axis=1)  # (directions,)
    return float((weights * np.minimum(correlations, 1)).sum() / weights.sum())


def _canonical(between: Matrix, *, apart: bool) -> tuple[Matrix, Matrix]:
    """Return left singular vectors and singular values.

    The eigenvectors of M·Mᵀ take a fraction of the time. But spaces that are not `apart` share directions with
    correlations of 1, and an arbitrary basis of those would change the weights; then a full decomposition is computed.
    """
    if not apart:
        vectors, values, _ = np.linalg.svd(between, full_matrices=False)
        return vectors, values
    squares, vectors = np.linalg.eigh(between @ between.T)  # in ascending order
    count = min(between.shape)
    return vectors[:, -count:], np.sqrt(np.maximum(squares[-count:], 0))


def _mean(one: Matrix, other: Matrix) -> float:
    """Return the mean canonical correlation of the spans of two orthonormal bases.

    The singular values are roots of eigenvalues, which is exact to 1e-7 and takes a fraction of the time.
    """
    between = one.T @ other
    if not min(between.shape):
        return 0.0
    square = between.T @ between if between.shape[1] <= between.shape[0] else between @ between.T
    return float(np.minimum(np.sqrt(np.maximum(np.linalg.eigvalsh(square), 0)), 1).mean())


MEASURES: Mapping[str, Callable[[Representation, Representation], float]] = {
    "cka": cka,
    "cca": cca,
    "svcca": svcca,
    "pwcca": pwcca,
}
