"""The load of a mixture's experts over the texts of a corpus, and the tokens that each expert gets most of.

Only sums stay in memory (`expert_load_sums`): for each router the number of tokens that each expert got, the mean of
its distribution and of the entropy, and a table of how often each token of the vocabulary went to each expert. The
share of a token's occurrences that went to one expert is the "vocabulary specialization" of Muennighoff et al. 2024,
"OLMoE: Open Mixture-of-Experts Language Models". Padding and special tokens are not counted.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Reading
from mkdocs_attnviz.models.captures.expert_load_sums import LEAST, Load, Numbers, RouterSums, SequenceSums
from mkdocs_attnviz.models.captures.experts import described, entropy
from mkdocs_attnviz.models.inputs.tokens import Tokens, pretty, token_names
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.routers import Routing, find_routings, read_routings

EACH, FEWEST, LISTED = 12, 3, 60_000
"""The number of tokens that are listed with each expert: usually, at least, and with all experts together."""
NAMED = 8
"""The number of special tokens that an entry names."""

Place = tuple[str, str, int, int]
"""The stack, the part and the layer of a router, and the number of its experts."""


@dataclass
class _BatchSums:
    """The tokens of a batch, and what the routers did with them."""

    ids: dict[str, Numbers]
    """The counted tokens of each sequence, text after text."""
    special: dict[str, Counter[int]]
    """The special tokens of each sequence, which are not counted."""
    routers: dict[Place, RouterSums]


def capture(context: Context) -> list[Entry]:
    """Return one entry with the load of all experts over the texts of the corpus.

    Raises:
        Unusable: the model has no mixture of experts that can be read.
        WrongValue: the corpus has special tokens only.
    """
    loaded, corpus = context.loaded, context.corpus
    assert corpus is not None  # noqa: S101 — for the type checker: the capture is declared with `corpus=True`
    places: set[Place] = set()

    def measure(batch: Sequence[Reading]) -> _BatchSums:
        if not places:  # the first text that runs proves that the model computes what is read
            places.update(_place(each) for each in find_routings(loaded, batch[-1].example))
        return _measured(loaded, batch, places)

    sequences: dict[str, SequenceSums] = {}
    loads: dict[Place, Load] = {}
    for sums in corpus.stream(measure):
        rows = {
            name: sequences.setdefault(name, SequenceSums()).add(ids, sums.special[name])
            for name, ids in sums.ids.items()
        }
        for place, router in sums.routers.items():
            loads.setdefault(place, Load(router.about)).add(router, rows[_sequence_of(place[0])])
    if not any(sequence.tokens for sequence in sequences.values()):
        raise WrongValue("corpus", "The corpus gives special tokens only, which are not counted.")
    return [_entry(loaded, corpus.told(), sequences, list(loads.values()))]


def _place(routing: Routing) -> Place:
    return routing.stack, routing.part, routing.layer, routing.experts


def _sequence_of(stack: str) -> str:
    """Return the name of the sequence that a stack reads."""
    return "target" if stack == "decoder" else "text"


def _measured(loaded: Loaded, batch: Sequence[Reading], places: set[Place]) -> _BatchSums:
    """Run a batch and return its sums.

    Raises:
        WrongValue: the routers are not those at `places`, or do not choose for each token.
    """
    examples = [reading.example for reading in batch]
    sides: dict[str, list[Tokens]] = {"text": [example.text for example in examples]}
    if targets := [example.target for example in examples if example.target is not None]:
        sides["target"] = targets
    ids = {name: np.array([token for side in some for token in side.ids]) for name, some in sides.items()}
    counted = {name: _counted(some) for name, some in sides.items()}
    routers = {}
    for routing in read_routings(loaded, examples):
        kept = counted[_sequence_of(routing.stack)]
        if len(routing.indices) == len(kept):
            routers[_place(routing)] = _sums(routing, kept)
    if set(routers) != places:
        raise WrongValue("text", "The routers do not choose experts for each token of this text.")
    masks = {name: mask.numpy() for name, mask in counted.items()}
    special = {name: Counter(some[~masks[name]].tolist()) for name, some in ids.items()}
    return _BatchSums({name: some[masks[name]] for name, some in ids.items()}, special, routers)


def _counted(texts: Sequence[Tokens]) -> torch.Tensor:
    """Return which tokens are not special, text after text."""
    masks = [torch.ones(len(text.ids), dtype=torch.bool) for text in texts]
    for mask, text in zip(masks, texts, strict=True):
        mask[text.special] = False
    return torch.cat(masks)


def _sums(routing: Routing, kept: torch.Tensor) -> RouterSums:
    """Return the choices for the tokens that are kept, and the sums of the router's distribution."""
    about, indices, scores = described(routing), routing.indices[kept].numpy(), routing.scores
    if scores is None:
        return RouterSums(about, indices, None, True, np.zeros(routing.experts), 0.0)
    distribution = scores.distribution[kept].double()
    spread = float(entropy(distribution).sum())
    return RouterSums(about, indices, scores.function, scores.exact, distribution.sum(0).numpy(), spread)


def _entry(
    loaded: Loaded, told: Mapping[str, Any], sequences: Mapping[str, SequenceSums], loads: Sequence[Load]
) -> Entry:
    each = max(FEWEST, min(EACH, LISTED // sum(load.experts for load in loads)))
    names = [_sequence_of(load.about["stack"]) for load in loads]
    listed = [load.most_of(sequences[name].occurrences, each) for load, name in zip(loads, names, strict=True)]
    used = {
        name: sorted({row for its, some in zip(names, listed, strict=True) if its == name for row in _rows(some)})
        for name in sequences
    }
    numbers = []
    for load, name, experts in zip(loads, names, listed, strict=True):
        places = {row: at for at, row in enumerate(used[name])}
        tokens = [[[places[row], got] for row, got in some] for some in experts]
        numbers.append(load.numbers() | {"tokens": tokens})
    special = sum((sequence.special for sequence in sequences.values()), Counter[int]())
    meta = {
        **told,
        "tokens": {name: sequence.tokens for name, sequence in sequences.items()},
        "special": special.total(),
        "special_tokens": token_names(loaded.tokenizer, [token for token, _ in special.most_common(NAMED)]),
        "least": LEAST,
        "listed": each,
        "vocabulary": {name: _vocabulary(loaded, sequence, used[name]) for name, sequence in sequences.items()},
        "mixtures": [load.told() for load in loads],
    }
    return Entry({"loads": meta}, {"loads": zlib.compress(json.dumps(numbers, separators=(",", ":")).encode(), 6)})


def _rows(experts: Iterable[Iterable[tuple[int, int]]]) -> set[int]:
    """Return the rows that are listed with any expert of a router."""
    return {row for some in experts for row, _ in some}


def _vocabulary(loaded: Loaded, sequence: SequenceSums, used: Sequence[int]) -> dict[str, list[Any]]:
    """Return the tokens in these rows: as the vocabulary has them, as a reader should see them, and how often each
    occurs."""
    by_row = {row: token for token, row in sequence.rows.items()}
    ids = [by_row[row] for row in used]
    return {
        "tokens": token_names(loaded.tokenizer, ids) if ids else [],
        "pretty": pretty(loaded.tokenizer, ids) if ids else [],
        "occurrences": sequence.occurrences[used].tolist(),
    }
