"""Which texts a worker is given next, where there are many workers; torch-free, and knows nothing of Ray.

A chunk is one capture of one model, or of one and another, of so few texts that none waits long for the last and so
many that a model is loaded for them. A model is thus loaded by no more workers than it has chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mkdocs_attnviz.models.client import Models, by_model, nameless
from mkdocs_attnviz.models.request import Request

BATCHES = 4
"""Of a chunk, at most."""
CHARACTERS = 32_000
"""Of a chunk, about: batches of long texts are smaller, and take longer."""


@dataclass(frozen=True)
class Chunk:
    models: Models
    """Without the names that a block gives them."""
    requests: Mapping[int, Request]
    """By their places."""
    alone: bool = False
    """One text at a time: one of them may have ended a worker."""
    losses: int = 0
    """How often its worker ended while the model was loaded."""

    @property
    def called(self) -> str:
        """Its models as a block names them, at the beginning of a sentence."""
        return next(iter(self.requests.values())).called

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
        models, size = nameless(next(iter(group.values()))), 0
        for place, request in sorted(group.items(), key=lambda item: -_size(item[1])):
            size += _size(request)
            if chunk and (len(chunk) == BATCHES * batch_size or size > CHARACTERS):
                yield Chunk(models, chunk)
                chunk, size = {}, _size(request)
            chunk[place] = request
        yield Chunk(models, chunk)


class Waiting:
    """The chunks that no worker has, by their models."""

    def __init__(self, requests: Sequence[Request], batch_size: int) -> None:
        self._queues: dict[Models, deque[Chunk]] = {}
        for chunk in chunks(requests, batch_size):
            self.put(chunk)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, chunk: Chunk) -> None:
        """To the end: what is done again may fail again, and others need not wait for that."""
        if chunk.requests:
            self._queues.setdefault(chunk.models, deque()).append(chunk)

    def take(self, loaded: Models | None, lacks: Collection[Models], workers: Mapping[Models, int]) -> Chunk | None:
        """For a worker: of the models it has `loaded`, else of those with the most waiting work for each of their
        `workers` and one more; None if there is nothing but models that it `lacks`.
        """
        choice = [models for models, queue in self._queues.items() if queue and models not in lacks]
        if not choice:
            return None
        if loaded not in choice:
            loaded = max(choice, key=lambda models: self._work(models) / (1 + workers.get(models, 0)))
        return self._queues[loaded].popleft()

    def _work(self, models: Models) -> int:
        return sum(chunk.size for chunk in self._queues[models])

    def drop(self, models: Models | None = None) -> list[Chunk]:
        """All chunks, or those of the same models, which wait no longer."""
        dropped = list(self._queues) if models is None else [models]
        return [chunk for each in dropped for chunk in self._queues.pop(each, ())]
