"""Which texts a worker is given next, where there are many workers; torch-free, and knows nothing of Ray.

A chunk is one capture of one model, of so few texts that none waits long for the last and so many that a model is
loaded for them. A model is thus loaded by no more workers than it has chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mkdocs_attnviz.models.client import by_model
from mkdocs_attnviz.models.reference import ModelRef
from mkdocs_attnviz.models.request import Request

BATCHES = 4
"""Of a chunk, at most."""
CHARACTERS = 32_000
"""Of a chunk, about: batches of long texts are smaller, and take longer."""


@dataclass(frozen=True)
class Chunk:
    model: ModelRef
    """Without the name that a block gives it."""
    requests: Mapping[int, Request]
    """By their places."""
    alone: bool = False
    """One text at a time: one of them may have ended a worker."""
    losses: int = 0
    """How often its worker ended while the model was loaded."""

    @property
    def name(self) -> str:
        """What a block calls the model."""
        return next(iter(self.requests.values())).model.name

    @property
    def size(self) -> int:
        return sum(map(_size, self.requests.values()))

    def without(self, places: Collection[int]) -> Chunk:
        return replace(self, requests={place: each for place, each in self.requests.items() if place not in places})


def _size(request: Request) -> int:
    """Characters; a text that has none is work, too."""
    return 1 + sum(len(str(value)) for value in request.inputs.values())


def chunks(requests: Sequence[Request], batch_size: int) -> Iterator[Chunk]:
    """Texts of like length together, the longest first, so that the last chunks are short."""
    for group in by_model(requests):
        chunk: dict[int, Request] = {}
        model, size = replace(next(iter(group.values())).model, name=""), 0
        for place, request in sorted(group.items(), key=lambda item: -_size(item[1])):
            size += _size(request)
            if chunk and (len(chunk) == BATCHES * batch_size or size > CHARACTERS):
                yield Chunk(model, chunk)
                chunk, size = {}, _size(request)
            chunk[place] = request
        yield Chunk(model, chunk)


class Waiting:
    """The chunks that no worker has, by model."""

    def __init__(self, requests: Sequence[Request], batch_size: int) -> None:
        self._queues: dict[ModelRef, deque[Chunk]] = {}
        for chunk in chunks(requests, batch_size):
            self.put(chunk)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, chunk: Chunk) -> None:
        """To the end: what is done again may fail again, and others need not wait for that."""
        if chunk.requests:
            self._queues.setdefault(chunk.model, deque()).append(chunk)

    def take(
        self, loaded: ModelRef | None, lacks: Collection[ModelRef], workers: Mapping[ModelRef, int]
    ) -> Chunk | None:
        """For a worker: of the model it has `loaded`, else of the one with the most waiting work for each of its
        `workers` and one more; None if there is nothing but models that it `lacks`.
        """
        choice = [model for model, queue in self._queues.items() if queue and model not in lacks]
        if not choice:
            return None
        if loaded not in choice:
            loaded = max(choice, key=lambda model: self._work(model) / (1 + workers.get(model, 0)))
        return self._queues[loaded].popleft()

    def _work(self, model: ModelRef) -> int:
        return sum(chunk.size for chunk in self._queues[model])

    def drop(self, model: ModelRef | None = None) -> list[Chunk]:
        """All chunks, or those of one model, which wait no longer."""
        models = list(self._queues) if model is None else [model]
        return [chunk for each in models for chunk in self._queues.pop(each, ())]
