"""How alike two layers hold the tokens of a text: CKA and three kinds of canonical correlation; of one model or of two.

The samples are a text's positions, the features a layer's hidden state there: X of shape (T, D), centred over the
positions. Of two models the samples are what `alignment` makes of their tokens; D need not be the same. Layer 0 is what
the embeddings give, layer n what the n-th layer does; transformers' own `hidden_states`, in which the last may be after
the model's final norm.

- *CKA*, linear: ‖YᵀX‖²F / (‖XᵀX‖F · ‖YᵀY‖F), Kornblith et al. 2019, "Similarity of Neural Network Representations
  Revisited", equation 4.
- *CCA*: the mean canonical correlation of the directions that hold 98% of each one's singular values, as in Ecco.
- *SVCCA*: the same of the 20 largest directions, Raghu et al. 2017, "SVCCA".
- *PWCCA*: canonical correlations weighted by how much of X their directions carry, Morcos et al. 2018, "Insights on
  representational similarity in neural networks with canonical correlation", section 2: not symmetric.

Canonical correlations are the singular values of Uxᵀ · Uy, U being orthonormal bases of what X and Y span.
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
from mkdocs_attnviz.models.inputs.alignment import Unlike, aligned
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

Matrix = npt.NDArray[np.float64]
"""(T, D), or layers × layers."""
SHARE, DIRECTIONS = 0.98, 20
NULL = 1e-6
"""Singular values below this share of the largest are none: such are rounding errors of 32-bit numbers."""
HIDDEN = {"hidden_states": "self", "encoder_hidden_states": "encoder", "decoder_hidden_states": "decoder"}


def capture(context: Context) -> list[Entry]:
    """One entry for each example: for each stack and measure a matrix of layers × layers, *scaled*. With `other`, of
    layers of the model × layers of the other.

    Raises:
        Unusable: a model hands out no hidden states.
        ValueError: a text of so few tokens that nothing can be compared; of two models, no stacks that read the same.
    """
    loaded, examples, other = context.loaded, context.examples, context.other
    return [_entry(loaded, example, other) for example in examples]


def _entry(loaded: Loaded, example: Example, other: Loaded | None) -> Entry:
    stacks: dict[str, Any] = {}
    blobs = {}
    for name, pair in (_alone(loaded, example) if other is None else _beside(loaded, example, other)).items():
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
class Pair:
    """Two stacks over the same samples; each layer (samples, D), centred over the samples."""

    rows: list[Matrix]
    cols: list[Matrix] | None = None
    """None: the rows' own."""
    unit: str = "tokens"
    """What a sample is: a token, or a stretch of the text."""
    about: dict[str, Any] = field(default_factory=dict)


def _alone(loaded: Loaded, example: Example) -> dict[str, Pair]:
    """Raises: Unusable."""
    return {name: Pair(list(map(_centred, layers))) for name, layers in representations(loaded, example).items()}


def _beside(loaded: Loaded, example: Example, other: Loaded) -> dict[str, Pair]:
    """Each stack with that of the other model which reads the same; by the names of the first model's.

    Raises:
        Unusable: a model hands out no hidden states.
        ValueError: there are no two such stacks.
    """
    assert example.other is not None  # noqa: S101 — for the type checker: `other` has read it
    found, others = representations(loaded, example), representations(other, example.other)
    facing = {_read(name): name for name in others}
    names = f"models {loaded.ref.name!r} and {other.ref.name!r}"
    pairs, reasons = {}, []
    for name, layers in found.items():
        side = _read(name)
        one, two = getattr(example, side), getattr(example.other, side)
        if side not in facing:
            continue
        try:
            samples = aligned(one, two)
        except Unlike as unlike:
            reasons.append(f"The {side} of {names} cannot be compared: {unlike}.")
            continue
        cols = others[facing[side]]
        rows, cols = _sampled(layers, [each for each, _ in samples]), _sampled(cols, [each for _, each in samples])
        unit = "tokens" if all(len(each) == 1 for pair in samples for each in pair) else "stretches"
        about = {"columns": len(cols), "other_stack": facing[side], "other_width": cols[0].shape[1] if cols else 0}
        pairs[name] = Pair(rows, cols, unit, about | {"unit": unit})
    if not pairs:
        raise WrongValue(
            "text", reasons[0] if reasons else f"No layers of {names} read the same: {_stacks(found, others)}."
        )
    return pairs


def _read(stack: str) -> str:
    """Which sequence of an example a stack reads."""
    return "target" if stack == "decoder" else "text"


def _stacks(*several: Mapping[str, object]) -> str:
    return " and ".join("/".join(found) for found in several)


def _sampled(layers: Sequence[Matrix], samples: Sequence[Sequence[int]]) -> list[Matrix]:
    """Each layer's mean over the positions of each sample, centred."""
    weights = np.zeros((len(samples), len(layers[0])))
    for row, positions in enumerate(samples):
        weights[row, positions] = 1 / len(positions)
    return [_centred(weights @ layer) for layer in layers]


def representations(loaded: Loaded, example: Example) -> dict[str, list[Matrix]]:
    """By stack the hidden states of each layer, embeddings first, each (T, D).

    Raises:
        Unusable: there are none.
    """
    alone = loaded.encoder_decoder and example.target is None
    model = loaded.model.get_encoder() if alone else loaded.model
    with torch.inference_mode():
        outputs = model(**collate(loaded, [example]), output_hidden_states=True, return_dict=True)
    found = {name: outputs.get(key) for key, name in HIDDEN.items()}
    if alone:
        found = {"encoder": found["self"]}
    elif any(found[name] for name in ("encoder", "decoder")):
        found.pop("self")
    stacks = {name: [state[0].cpu().double().numpy() for state in states] for name, states in found.items() if states}
    if not stacks:
        raise Unusable(f"Model {loaded.ref.name!r} hands out no hidden states, which layers are compared by.")
    return {name: [state for state in states if len(state) == len(states[0])] for name, states in stacks.items()}


def _centred(state: Matrix) -> Matrix:
    centred: Matrix = state - state.mean(axis=0)
    return centred


def tables(rows: Sequence[Matrix], cols: Sequence[Matrix] | None = None) -> dict[str, Matrix]:
    """By measure (layers, layers), rows compared with columns, which are the rows themselves if they are left out."""
    held = [Held(layer) for layer in rows]
    others = held if cols is None else [Held(layer) for layer in cols]
    return {measure: table(held, others, compare) for measure, compare in MEASURES.items()}


def table(rows: Sequence[Held], cols: Sequence[Held], compare: Callable[[Held, Held], float]) -> Matrix:
    """Of one measure. What is symmetric, and compares layers of one model, needs half of the pairs."""
    half = rows is cols and compare is not pwcca
    values = np.zeros((len(rows), len(cols)))
    for row, one in enumerate(rows):
        for col in range(row if half else 0, len(cols)):
            values[row, col] = compare(one, cols[col])
    return values + np.triu(values, 1).T if half else values


class Held:
    """A layer's representation, and what each comparison with another needs of it."""

    def __init__(self, x: Matrix) -> None:
        self.x = x
        self.gram: Matrix = x @ x.T
        self.size = float(np.linalg.norm(self.gram))
        basis, values, _ = np.linalg.svd(x, full_matrices=False)
        rank = int((values > NULL * values.max(initial=0)).sum())
        self.basis: Matrix = basis[:, :rank]
        """Orthonormal, of what the columns span; the directions with most of x first."""
        kept = int(np.searchsorted(np.cumsum(values), SHARE * values.sum())) + 1
        self.main: Matrix = self.basis[:, :kept]


def cka(one: Held, other: Held) -> float:
    """Through Gram matrices of positions: ‖YᵀX‖²F = ⟨XXᵀ, YYᵀ⟩, which costs T² and not T·D²."""
    scale = one.size * other.size
    return float(np.vdot(one.gram, other.gram)) / scale if scale else 0.0


def cca(one: Held, other: Held) -> float:
    return _mean(one.main, other.main)


def svcca(one: Held, other: Held) -> float:
    return _mean(one.basis[:, :DIRECTIONS], other.basis[:, :DIRECTIONS])


def pwcca(one: Held, other: Held) -> float:
    """Σ αᵢρᵢ / Σ αᵢ with αᵢ = Σⱼ |⟨hᵢ, xⱼ⟩|, hᵢ the canonical variates of X and xⱼ its columns."""
    ranks = one.basis.shape[1], other.basis.shape[1]
    if not min(ranks):
        return 0.0
    room = len(one.x) - 1  # dimensions of what is centred over the positions
    if max(ranks) >= room:  # the larger holds all of them, and so whatever the smaller spans
        return 1.0
    left, correlations = _canonical(one.basis.T @ other.basis, apart=sum(ranks) <= room)
    weights = np.abs(left.T @ (one.basis.T @ one.x)).sum(axis=1)  # (directions,)
    return float((weights * np.minimum(correlations, 1)).sum() / weights.sum())


def _canonical(between: Matrix, *, apart: bool) -> tuple[Matrix, Matrix]:
    """Left singular vectors and singular values.

    By the eigenvectors of M·Mᵀ, which take a fraction of the time; but spaces that are not `apart` share directions,
    whose correlations are all 1: which vectors stand for those, and with which weights, is then left to the method.
    """
    if not apart:
        vectors, values, _ = np.linalg.svd(between, full_matrices=False)
        return vectors, values
    squares, vectors = np.linalg.eigh(between @ between.T)  # rising
    count = min(between.shape)
    return vectors[:, -count:], np.sqrt(np.maximum(squares[-count:], 0))


def _mean(one: Matrix, other: Matrix) -> float:
    """Mean canonical correlation of what two orthonormal bases span: singular values as roots of eigenvalues, which is
    right to 1e-7 and takes a fraction of the time."""
    between = one.T @ other
    if not min(between.shape):
        return 0.0
    square = between.T @ between if between.shape[1] <= between.shape[0] else between @ between.T
    return float(np.minimum(np.sqrt(np.maximum(np.linalg.eigvalsh(square), 0)), 1).mean())


MEASURES: Mapping[str, Callable[[Held, Held], float]] = {"cka": cka, "cca": cca, "svcca": svcca, "pwcca": pwcca}
