"""How alike two layers of a model hold the tokens of a text: CKA and three kinds of canonical correlation.

The samples are a text's positions, the features a layer's hidden state there: X of shape (T, D), centred over the
positions. Layer 0 is what the embeddings give, layer n what the n-th layer does; transformers' own `hidden_states`,
in which the last may be after the model's final norm.

- *CKA*, linear: ‖YᵀX‖²F / (‖XᵀX‖F · ‖YᵀY‖F), Kornblith et al. 2019, "Similarity of Neural Network Representations
  Revisited", equation 4.
- *CCA*: the mean canonical correlation of the directions that hold 98 % of each one's singular values, as in Ecco.
- *SVCCA*: the same of the 20 largest directions, Raghu et al. 2017, "SVCCA".
- *PWCCA*: canonical correlations weighted by how much of X their directions carry, Morcos et al. 2018, "Insights on
  representational similarity in neural networks with canonical correlation", section 2: not symmetric.

Canonical correlations are the singular values of Uxᵀ · Uy, U being orthonormal bases of what X and Y span.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.models.encoding import scaled_blob
from mkdocs_attnviz.models.inputs import collate
from mkdocs_attnviz.models.load import Loaded, Unusable
from mkdocs_attnviz.models.tokens import Example

Matrix = npt.NDArray[np.float64]
"""(T, D), or layers × layers."""
SHARE, DIRECTIONS = 0.98, 20
NULL = 1e-6
"""Singular values below this share of the largest are none: such are rounding errors of 32-bit numbers."""
HIDDEN = {"hidden_states": "self", "encoder_hidden_states": "encoder", "decoder_hidden_states": "decoder"}


def capture(loaded: Loaded, examples: Sequence[Example]) -> list[Entry]:
    """One entry for each example: for each stack and measure a matrix of layers × layers, *scaled*.

    Raises:
        Unusable: the model hands out no hidden states.
        ValueError: a text of so few tokens that nothing can be compared.
    """
    return [_entry(loaded, example) for example in examples]


def _entry(loaded: Loaded, example: Example) -> Entry:
    sequences = example.sequences()
    stacks: dict[str, Any] = {}
    blobs = {}
    for name, layers in representations(loaded, example).items():
        tokens = len(layers[0])
        if tokens < 3:
            what = "target" if name == "decoder" else "text"
            raise ValueError(f"The {what} has {tokens} tokens; layers are compared over 3 or more.")
        stacks[name] = {"layers": len(layers), "tokens": tokens, "width": layers[0].shape[1]}
        held = [Held(layer) for layer in layers]
        for measure, compare in MEASURES.items():
            blobs[f"{name}/{measure}"] = scaled_blob(table(held, compare).astype(np.float32))
    return Entry({"sequences": sequences, "similar": stacks}, blobs)


def representations(loaded: Loaded, example: Example) -> dict[str, list[Matrix]]:
    """By stack the hidden states of each layer, embeddings first, each (T, D) and centred.

    Raises:
        Unusable: there are none.
    """
    with torch.inference_mode():
        outputs = loaded.model(**collate(loaded, [example]), output_hidden_states=True, return_dict=True)
    found = {name: outputs.get(key) for key, name in HIDDEN.items()}
    if any(found[name] for name in ("encoder", "decoder")):
        found.pop("self")
    stacks = {name: [_centred(state[0]) for state in states] for name, states in found.items() if states}
    if not stacks:
        raise Unusable(f"Model {loaded.ref.name!r} hands out no hidden states, which layers are compared by.")
    return {name: [state for state in states if len(state) == len(states[0])] for name, states in stacks.items()}


def _centred(state: torch.Tensor) -> Matrix:
    values: Matrix = state.cpu().double().numpy()
    centred: Matrix = values - values.mean(axis=0)
    return centred


def table(layers: Sequence[Held], compare: Callable[[Held, Held], float]) -> Matrix:
    """(layers, layers), rows compared with columns."""
    return np.array([[compare(one, other) for other in layers] for one in layers])


class Held:
    """A layer's representation, and what each comparison with another needs of it."""

    def __init__(self, x: Matrix) -> None:
        self.x = x
        self.gram: Matrix = x @ x.T
        basis, values, _ = np.linalg.svd(x, full_matrices=False)
        rank = int((values > NULL * values.max(initial=0)).sum())
        self.basis: Matrix = basis[:, :rank]
        """Orthonormal, of what the columns span; the directions with most of x first."""
        kept = int(np.searchsorted(np.cumsum(values), SHARE * values.sum())) + 1
        self.main: Matrix = self.basis[:, :kept]


def cka(one: Held, other: Held) -> float:
    """Through Gram matrices of positions: ‖YᵀX‖²F = ⟨XXᵀ, YYᵀ⟩, which costs T² and not T·D²."""
    scale = float(np.linalg.norm(one.gram) * np.linalg.norm(other.gram))
    return float((one.gram * other.gram).sum()) / scale if scale else 0.0


def cca(one: Held, other: Held) -> float:
    return _mean(one.main, other.main)


def svcca(one: Held, other: Held) -> float:
    return _mean(one.basis[:, :DIRECTIONS], other.basis[:, :DIRECTIONS])


def pwcca(one: Held, other: Held) -> float:
    """Σ αᵢρᵢ / Σ αᵢ with αᵢ = Σⱼ |⟨hᵢ, xⱼ⟩|, hᵢ the canonical variates of X and xⱼ its columns."""
    if not (one.basis.shape[1] and other.basis.shape[1]):
        return 0.0
    left, correlations, _ = np.linalg.svd(one.basis.T @ other.basis, full_matrices=False)
    weights = np.abs((one.basis @ left).T @ one.x).sum(axis=1)  # (directions,)
    return float((weights * np.minimum(correlations, 1)).sum() / weights.sum())


def _mean(one: Matrix, other: Matrix) -> float:
    """Mean canonical correlation of what two orthonormal bases span."""
    if not (one.shape[1] and other.shape[1]):
        return 0.0
    return float(np.minimum(np.linalg.svd(one.T @ other, compute_uv=False), 1).mean())


MEASURES: Mapping[str, Callable[[Held, Held], float]] = {"cka": cka, "cca": cca, "svcca": svcca, "pwcca": pwcca}
