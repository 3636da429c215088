"""The schedule of texts for many workers. It needs neither torch nor Ray.

A chunk is one capture of one model, or of a model and another, for some texts: few enough that none waits long for the
last, and enough to be worth loading a model. So no more workers load a model than it has chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mkdocs_attnviz.models.engine.client import Models, by_model, nameless, run_settings
from mkdocs_attnviz.models.engine.request import Request

BATCHES = 4
"""The largest number of batches in a chunk."""
CHARACTERS = 32_000
"""The approximate number of characters in a chunk: batches of long texts are smaller and take longer."""


class JobKind(NamedTuple):
    """A kind of job that several chunks share: the models, and the capture with its settings."""

    models: Models
    run_settings: str = ""
    """The capture and run settings, as in `run_settings`; empty for any."""


@dataclass(frozen=True)
class Chunk:
    models: Models
    """The models, without the names that blocks give them."""
    run_settings: str
    """The capture and run settings, as in `run_settings`."""
    requests: Mapping[int, Request]
    """The requests by their places."""
    alone: bool = False
    """True if texts run one at a time, because one of them may have killed a worker."""
    losses: int = 0
    """The number of workers that ended while they loaded the model for this chunk."""

    @property
    def kinds(self) -> tuple[JobKind, JobKind]:
        """The kinds of job it belongs to: any job of its models, and its own capture of them."""
        return JobKind(self.models), JobKind(self.models, self.run_settings)

    @property
    def called(self) -> str:
        """The models as a block names them, for the beginning of a sentence."""
        return next(iter(self.requests.values())).called

    @property
    def size(self) -> int:
        return sum(map(_size, self.requests.values()))

    def without(self, places: Collection[int]) -> Chunk:
        return replace(
            self, requests={place: request for place, request in self.requests.items() if place not in places}
        )


def _size(request: Request) -> int:
    """Return the number of characters in a request, plus one, since an empty text is work, too."""
    return 1 + sum(len(str(value)) for value in request.inputs.values())


def chunks(requests: Sequence[Request], batch_size: int) -> Iterator[Chunk]:
    """Yield chunks of texts of similar length, the longest first, so that the last chunks are short."""
    for group in by_model(requests):
        chunk: dict[int, Request] = {}
        first = next(iter(group.values()))
        models, question, size = nameless(first), run_settings(first), 0
        for place, request in sorted(group.items(), key=lambda item: -_size(item[1])):
            size += _size(request)
            if chunk and (len(chunk) == BATCHES * batch_size or size > CHARACTERS):
                yield Chunk(models, question, chunk)
                chunk, size = {}, _size(request)
            chunk[place] = request
        yield Chunk(models, question, chunk)


class Waiting:
    """A queue of chunks without a worker, by their models."""

    def __init__(self, requests: Sequence[Request], batch_size: int) -> None:
        self._queues: dict[Models, deque[Chunk]] = {}
        for chunk in chunks(requests, batch_size):
            self.put(chunk)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, chunk: Chunk) -> None:
        """Append a chunk. A repeated chunk may fail again, so others do not wait for it."""
        if chunk.requests:
            self._queues.setdefault(chunk.models, deque()).append(chunk)

    def take(self, loaded: Models | None, lacks: Collection[JobKind], workers: Mapping[Models, int]) -> Chunk | None:
        """Remove and return a chunk for a worker, or None if it `lacks` the means for all of them.

        Chunks of the models that it has `loaded` come first. Otherwise the models are chosen with the most waiting work
        per worker, counting one more worker than their present `workers`.
        """
        choice = {
            models: chunk
            for models, queue in self._queues.items()
            if (chunk := next((waiting for waiting in queue if not set(waiting.kinds) & set(lacks)), None)) is not None
        }
        if not choice:
            return None
        if loaded not in choice:
            loaded = max(choice, key=lambda models: self._work(models) / (1 + workers.get(models, 0)))
        self._queues[loaded].remove(choice[loaded])
        return choice[loaded]

    def _work(self, models: Models) -> int:
        return sum(chunk.size for chunk in self._queues[models])

    def drop(self, kind: JobKind | None = None) -> list[Chunk]:
        """Remove and return all chunks, or those of one kind of job."""
        dropped = [chunk for queue in self._queues.values() for chunk in queue if kind is None or kind in chunk.kinds]
        for chunk in dropped:
            self._queues[chunk.models].remove(chunk)
        return dropped
