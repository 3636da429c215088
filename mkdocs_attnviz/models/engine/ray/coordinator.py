"""The coordinator of a Ray cluster's workers: it gives them work, and replaces workers that are lost.

Work that is lost with a node or a process is done again elsewhere. The texts that were in the model at that moment then
run alone, and a text that has ended three workers is refused.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from mkdocs_attnviz.block.problem import Problem
from mkdocs_attnviz.cache.blobs import FileBlobs, temporary
from mkdocs_attnviz.log import Log
from mkdocs_attnviz.models.engine.client import Answer, Models, Refused, answer_of, capture_job
from mkdocs_attnviz.models.engine.ray.actor import VERSION, NodeWorker
from mkdocs_attnviz.models.engine.ray.schedule import Chunk, JobKind, Waiting

TRIES = 3
TICK = 5.0  # seconds without a message after which the cluster is checked again
LOST = "the node was lost, or Ray ended what ran there"


@dataclass(eq=False)
class WorkerHandle:
    """A worker somewhere in the cluster."""

    actor: Any
    node: str = ""
    """The host name of its node; empty until the worker is up."""
    able: bool = False
    """True if it can run models. Otherwise it keeps its resources reserved, or Ray would start the next worker in its
    place.
    """
    models: Models | None = None
    """The models of the last chunk that it was given."""
    lacks: set[JobKind] = field(default_factory=set)
    """The kinds of job that it could not run."""
    chunk: Chunk | None = None
    """The rest of its chunk that it has not answered yet; None when it is idle."""
    running: list[int] = field(default_factory=list)
    """The places of the texts in the model."""
    parts: FileBlobs | None = None
    """The file of a large entry, as far as its parts have come; None if none has."""


class Coordinator:
    """A coordinator that gets the `waiting` chunks answered by at most `most` workers.

    Each worker holds one GPU; with `spread`, all GPUs of a node. Large entries are put together in `folder`.
    """

    def __init__(
        self,
        waiting: Waiting,
        device: str,
        spread: bool,
        log: Log,
        patience: float,
        most: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.waiting, self.device, self.spread, self.log, self.patience = waiting, device, spread, log, patience
        self.most, self.folder = most, folder
        self.workers: list[WorkerHandle] = []
        self.calls: dict[Any, WorkerHandle] = {}
        """Workers whose next message is awaited, by the pending Ray call."""
        self.futile = 0
        """The number of workers that failed to start since the last success."""
        self.reason = ""
        """The reason why the last of them failed to start."""
        self.deaths: collections.Counter[int] = collections.Counter()
        """The number of workers that ended while a text was in the model, by the text's place."""
        self.failures: collections.Counter[JobKind] = collections.Counter()
        self.refusals: dict[JobKind, Problem] = {}
        """The last reason why a kind of job could not be run."""

    def answers(self, options: Mapping[str, Any]) -> Iterator[Answer]:
        """Yield one answer to each text. `options` has `batch_size`, `max_tokens` and `timeout`."""
        heard = time.monotonic()
        while self.waiting or self._at_work():
            self._give(options)
            self._hire()
            if not self.calls or (not self._at_work() and time.monotonic() - heard > self.patience):
                for chunk in self.waiting.drop():
                    known = [self.refusals[kind] for kind in chunk.kinds if kind in self.refusals]
                    yield from self._refuse(chunk, known[-1] if known else self._nobody())
                return
            done, _ = ray.wait(list(self.calls), timeout=TICK)
            for call in done:
                heard = time.monotonic()
                yield from self._hear(call)

    def close(self) -> None:
        for worker in self.workers:
            _dismiss(worker)

    def _at_work(self) -> collections.Counter[Models]:
        """Return the number of busy workers for each model or pair of models."""
        return collections.Counter(worker.chunk.models for worker in self.workers if worker.chunk)

    def _give(self, options: Mapping[str, Any]) -> None:
        """Give chunks to idle workers."""
        for worker in self.workers:
            if worker.able and worker.chunk is None:
                chunk = self.waiting.take(worker.models, worker.lacks, self._at_work())
                if chunk is not None:
                    self._begin(worker, chunk, options)

    def _begin(self, worker: WorkerHandle, chunk: Chunk, options: Mapping[str, Any]) -> None:
        worker.chunk, worker.models, worker.running, worker.parts = chunk, chunk.models, [], None
        options = {**options, "batch_size": 1} if chunk.alone else options
        device = self.device.partition(":")[0]  # Ray shows a worker only the GPUs that it holds
        job = capture_job(chunk.requests, device=device, **options)
        self.calls[worker.actor.begin.remote(job, _file(chunk))] = worker

    def _hire(self) -> None:
        """Start workers, as many as there are chunks without one and free places in the cluster.

        One is started even if there seems to be no place.
        """
        places, holds = self._places()
        places = max(1, places if self.most is None else min(places, self.most))
        coming = sum(not worker.node for worker in self.workers)
        for _ in range(min(len(self.waiting) - coming, places - len(self.workers))):
            if self.futile < TRIES * places:
                worker = WorkerHandle(ray.remote(NodeWorker).options(**holds).remote())
                self.workers.append(worker)
                self.calls[worker.actor.about.remote()] = worker

    def _places(self) -> tuple[int, dict[str, int]]:
        """Return the number of workers that the cluster has room for, and the resources of each."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = [int(node.get("GPU", 0)) for node in nodes]
        if self.device.startswith("cuda") or (self.device == "auto" and any(gpus)):
            per_worker = max(1, *gpus) if self.spread else 1
            return sum(count // per_worker for count in gpus), {"num_cpus": 1, "num_gpus": per_worker}
        return sum(int(node.get("CPU", 0)) for node in nodes), {"num_cpus": 1}

    def _hear(self, call: Any) -> Iterator[Answer]:
        worker = self.calls.pop(call)
        try:
            message, data = ray.get(call)
        except RayError as error:
            yield from self._lose(worker, error)
            return
        match message["event"]:
            case "ready":
                self._welcome(worker, message)
            case "absent" | "failed":
                yield from self._decline(worker, message)
            case "died":
                yield from self._again(worker, message["why"], message["detail"])
            case "done":
                worker.chunk = None
            case _:  # the next message is requested first, since the consumer of this answer may be slow
                self.calls[worker.actor.hear.remote()] = worker
                yield from self._answer(worker, message, data)

    def _answer(self, worker: WorkerHandle, message: Mapping[str, Any], data: bytes) -> Iterator[Answer]:
        if message["event"] == "running":
            worker.running, worker.parts = message["indices"], None
            return
        if message["event"] == "part":
            if worker.parts is None:  # it is false while it names no blob
                worker.parts = FileBlobs(*temporary(self.folder))
            worker.parts.file.write(data)
            return
        if message.get("parts") and worker.parts is not None:
            message = {**message, "file": str(worker.parts.hand_over())}
            worker.parts = None
        place = message["index"]
        worker.running = [other for other in worker.running if other != place]
        if worker.chunk is not None:
            worker.chunk = worker.chunk.without([place])
        if message["event"] == "captured":
            yield answer_of(message, data)
        else:
            yield Refused(place, Problem.from_json(message["problem"]))

    def _welcome(self, worker: WorkerHandle, about: Mapping[str, Any]) -> None:
        worker.node, self.futile = about["node"], 0
        worker.able = about["able"] and about["version"] == VERSION
        if not worker.able:
            lacking = "lacks torch and transformers; `pip install 'attnviz[torch,ray]'` there"
            other = f"has attnviz {about['version']}, this machine {VERSION}"
            self.reason = f"Node {worker.node} {other if about['version'] != VERSION else lacking}."
            self.log.warning("%s It gets no work.", self.reason)

    def _decline(self, worker: WorkerHandle, message: Mapping[str, Any]) -> Iterator[Answer]:
        """Record that a worker cannot run a chunk, and put the chunk back.

        Another node may be able to run the model; after three failures it is refused. If the model was loaded but lacks
        what this capture needs, only captures like this are counted.
        """
        chunk, worker.chunk = worker.chunk, None
        if chunk is None or not chunk.requests:
            return
        kind = chunk.kinds[bool(message.get("loaded"))]
        worker.lacks.add(kind)
        self.failures[kind] += message["event"] == "failed"
        self.refusals[kind] = (
            _absent(message, worker.node) if message["event"] == "absent" else Problem.from_json(message["problem"])
        )
        yield from self._put_back(chunk)

    def _put_back(self, chunk: Chunk) -> Iterator[Answer]:
        self.waiting.put(chunk)
        for kind in chunk.kinds:
            if self.failures[kind] >= TRIES:
                for dropped in self.waiting.drop(kind):
                    yield from self._refuse(dropped, self.refusals[kind])

    def _lose(self, worker: WorkerHandle, error: RayError) -> Iterator[Answer]:
        """Remove a lost actor and put its work back."""
        self.workers.remove(worker)
        _dismiss(worker)
        why = _why(error)
        if not worker.node:
            self.futile += 1
            self.reason = f"A worker could not be started on the Ray cluster: {why}."
        unfinished = len(worker.chunk.requests) if worker.chunk else 0
        self.log.info("a worker on node %s was lost (%s); texts to do again: %d", worker.node or "?", why, unfinished)
        yield from self._again(worker, why)

    def _again(self, worker: WorkerHandle, why: str, detail: str = "") -> Iterator[Answer]:
        """Put back the unfinished work of a lost worker; texts that were in the model run alone from then on."""
        chunk, running = worker.chunk, worker.running
        worker.chunk, worker.running = None, []
        if chunk is None or not chunk.requests:
            return
        self.deaths.update(running)
        for place in running:
            if self.deaths[place] >= TRIES:
                sentence = f"Running this text through the model ended {TRIES} workers, the last time: {why}."
                yield Refused(place, Problem("text", "text", sentence, detail))
        if not running:
            chunk = replace(chunk, losses=chunk.losses + 1)
        if chunk.losses >= TRIES:
            self.failures[chunk.kinds[0]] = TRIES
            sentence = (
                f"{chunk.called} could not be run: {TRIES} workers ended before a text was in it, the last time: {why}."
            )
            self.refusals[chunk.kinds[0]] = Problem("model", "model", sentence, detail)
        suspects = {place: chunk.requests[place] for place in running if self.deaths[place] < TRIES}
        yield from self._put_back(chunk.without(running))
        yield from self._put_back(replace(chunk, requests=suspects, alone=True))

    def _refuse(self, chunk: Chunk, problem: Problem) -> Iterator[Answer]:
        for place in chunk.requests:
            yield Refused(place, problem)

    def _nobody(self) -> Problem:
        return Problem("model", "model", self.reason or self._nobody_came())

    def _nobody_came(self) -> str:
        wanted = {"num_cpus": "CPU", "num_gpus": "GPU"}
        holds = " and ".join(f"{number} {wanted[name]}" for name, number in self._places()[1].items())
        return f"No worker of the Ray cluster came up in {self.patience:.0f} s; it needs a node with {holds} free."


def _absent(message: Mapping[str, Any], node: str) -> Problem:
    """Return the record of a model whose files a node does not have."""
    why = (
        f"Model {message['name']!r} is the directory {message['path']}, which node {node} of the Ray cluster does not "
        "hold with the same files; it must lie at the same path on the nodes, or be on the hub."
    )
    return Problem("model", message["key"], why)


def _dismiss(worker: WorkerHandle) -> None:
    with contextlib.suppress(Exception):  # the actor or the cluster is gone
        ray.kill(worker.actor)


def _file(chunk: Chunk) -> bytes | None:
    """Return the content of an author's own file, which is only on this machine; None for a model."""
    request = next(iter(chunk.requests.values()))
    if not request.capture.reads_file:
        return None
    with contextlib.suppress(OSError):  # reading it on the worker will report the same error
        return Path(request.model.path).read_bytes()
    return None


def _why(error: RayError) -> str:
    """Return the reason in a few words, since Ray's messages are a page long."""
    if isinstance(error, RayTaskError):
        return first_line(error.cause)
    if "creation task" in str(error):
        return str(error).strip().splitlines()[-1]
    return LOST


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
