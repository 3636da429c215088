"""The experts that each router of a mixture chose for each token of a text.

Stored for each mixture: the chosen experts of each token, the heaviest first, their weights as the model uses them, the
probabilities that the router gives them, and the entropy of its distribution in bits. Of the distribution itself the
largest probabilities are stored, all of them if there are few experts.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.cells import pieces_of, text_blob
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.encoding import Floats, round_digits
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.routers import Routing, find_routings

NONE = 65535
"""The number that stands for no expert."""
STRONGEST = 16
"""The number of experts whose probabilities are stored for each token."""
DIGITS = 6


def capture(context: Context) -> list[Entry]:
    """Return one entry for each example.

    Raises:
        Unusable: the model has no mixture of experts that can be read.
    """
    return [_entry(context.loaded, example) for example in context.examples]


def _entry(loaded: Loaded, example: Example) -> Entry:
    blobs = {name: text_blob(pieces_of(tokens), tokens.tokens) for name, tokens in _sequences(example)}
    mixtures = []
    for routing in find_routings(loaded, example):
        name = f"{routing.stack}/{routing.part}/{routing.layer}"
        about, choices = _choices(routing)
        blobs[name] = choices
        if routing.scores is not None:
            about |= {"function": routing.scores.function, "exact": routing.scores.exact}
            about["stored"], blobs[f"{name}/router"] = _router(routing.scores.distribution.numpy())
        mixtures.append(about)
    return Entry({"sequences": example.sequences(), "mixtures": mixtures}, blobs)


def _sequences(example: Example) -> Iterator[tuple[str, Any]]:
    yield "text", example.text
    if example.target is not None:
        yield "target", example.target


def _choices(routing: Routing) -> tuple[dict[str, Any], bytes]:
    """Return the description of a mixture, and its choices as (T, k), (T, k), (T, k) and (T,) numbers of 16 bits.

    These are experts, weights in steps of `scale` / 65535, probabilities in steps of 1 / 65535, and entropies in steps
    of log₂(experts) / 65535.
    """
    indices, weights = routing.indices, routing.weights
    scale = max(float(weights.max()), torch.finfo(torch.float32).tiny)
    about = described(routing) | {"scale": round_digits(scale, DIGITS)}
    parts = [np.where(indices.numpy() < 0, NONE, indices.numpy()), _steps((weights / scale).numpy())]
    if routing.scores is not None:
        distribution = routing.scores.distribution
        own = distribution.gather(1, indices.clamp(min=0)).masked_fill(indices < 0, 0)
        parts += [_steps(own.numpy()), _steps((entropy(distribution) / math.log2(routing.experts)).numpy())]
    return about, zlib.compress(b"".join(part.astype("<u2").tobytes() for part in parts), 6)


def described(routing: Routing) -> dict[str, Any]:
    """Return the description of a mixture: where it is, and how many experts it has."""
    return {
        "stack": routing.stack,
        "layer": routing.layer,
        "part": routing.part,
        "experts": routing.experts,
        "without_weights": routing.without_weights,
        "top_k": routing.indices.shape[1],
        "shared": routing.shared,
    }


def entropy(distribution: torch.Tensor) -> torch.Tensor:
    """Return the entropy of each row in bits."""
    found: torch.Tensor = -torch.special.xlogy(distribution, distribution).sum(-1) / math.log(2)
    return found


def _router(distribution: Floats) -> tuple[int, bytes]:
    """Return how many probabilities of each token are stored, and the experts and probabilities, (T, m) each."""
    count = min(STRONGEST, distribution.shape[1])
    order = np.argsort(-distribution, axis=1, kind="stable")[:, :count]
    values = _steps(np.take_along_axis(distribution, order, axis=1))
    return count, zlib.compress(order.astype("<u2").tobytes() + values.astype("<u2").tobytes(), 6)


def _steps(shares: Floats) -> Any:
    """Return numbers from 0 to 1 in steps of 1 / 65535."""
    return np.rint(np.clip(shares, 0, 1) * 65535)
