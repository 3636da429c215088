"""Which texts a worker is given next, where there are many workers; torch-free, and knows nothing of Ray.

A chunk is one capture of one model, or of one and another, of so few texts that none waits long for the last and so
many that a model is loaded for them. A model is thus loaded by no more workers than it has chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mkdocs_attnviz.models.engine.client import Models, asked, by_model, nameless
from mkdocs_attnviz.models.engine.request import Request

BATCHES = 4
"""Of a chunk, at most."""
CHARACTERS = 32_000
"""Of a chunk, about: batches of long texts are smaller, and take longer."""


class Work(NamedTuple):
    """What some chunks have in common."""

    models: Models
    asked: str = ""
    """Of these models, as `asked` tells it; empty for whatever may be."""


@dataclass(frozen=True)
class Chunk:
    models: Models
    """Without the names that a block gives them."""
    asked: str
    """Of these models."""
    requests: Mapping[int, Request]
    """By their places."""
    alone: bool = False
    """One text at a time: one of them may have ended a worker."""
    losses: int = 0
    """How often its worker ended while the model was loaded."""

    @property
    def works(self) -> tuple[Work, Work]:
        """It is part of the work of its models, and of that of what is asked of them."""
        return Work(self.models), Work(self.models, self.asked)

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
        first = next(iter(group.values()))
        models, question, size = nameless(first), asked(first), 0
        for place, request in sorted(group.items(), key=lambda item: -_size(item[1])):
            size += _size(request)
            if chunk and (len(chunk) == BATCHES * batch_size or size > CHARACTERS):
                yield Chunk(models, question, chunk)
                chunk, size = {}, _size(request)
            chunk[place] = request
        yield Chunk(models, question, chunk)


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

    def take(self, loaded: Models | None, lacks: Collection[Work], workers: Mapping[Models, int]) -> Chunk | None:
        """For a worker: of the models it has `loaded`, else of those with the most waiting work for each of their
        `workers` and one more; None if there is nothing but work that it `lacks` the means for.
        """
        choice = {
            models: chunk
            for models, queue in self._queues.items()
            if (chunk := next((each for each in queue if not set(each.works) & set(lacks)), None)) is not None
        }
        if not choice:
            return None
        if loaded not in choice:
            loaded = max(choice, key=lambda models: self._work(models) / (1 + workers.get(models, 0)))
        self._queues[loaded].remove(choice[loaded])
        return choice[loaded]

    def _work(self, models: Models) -> int:
        return sum(chunk.size for chunk in self._queues[models])

    def drop(self, work: Work | None = None) -> list[Chunk]:
        """All chunks, or those of one work, which wait no longer."""
        dropped = [chunk for queue in self._queues.values() for chunk in queue if work is None or work in chunk.works]
        for chunk in dropped:
            self._queues[chunk.models].remove(chunk)
        return dropped
