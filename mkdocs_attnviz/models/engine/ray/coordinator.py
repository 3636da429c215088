"""The workers of a Ray cluster while they capture: who does what, and what happens when one is lost.

What is lost with a node or a process is done again elsewhere. The texts that were in the model at that moment are
then run alone, and one that has ended three workers is refused.
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
from mkdocs_attnviz.log import Log
from mkdocs_attnviz.models.engine.capture import TENSORS
from mkdocs_attnviz.models.engine.client import Answer, Models, Refused, capture_job, captured
from mkdocs_attnviz.models.engine.ray.actor import VERSION, NodeWorker
from mkdocs_attnviz.models.engine.ray.schedule import Chunk, Waiting, Work

TRIES = 3
TICK = 5.0  # seconds after which the cluster is looked at again, though nothing was heard
LOST = "the node was lost, or Ray ended what ran there"


@dataclass(eq=False)
class Hired:
    """A worker somewhere in the cluster."""

    actor: Any
    node: str = ""
    """Empty until it is up."""
    able: bool = False
    """One that is not keeps its place, or Ray would put the next one there."""
    models: Models | None = None
    """Those it was given last."""
    lacks: set[Work] = field(default_factory=set)
    """What it could not run."""
    chunk: Chunk | None = None
    """What it has not answered yet; None when it is idle."""
    running: list[int] = field(default_factory=list)
    """The places of what is in the model just now."""


class Crew:
    """Answers what is `waiting`, by at most `most` workers. Each holds one GPU; with `spread`, all of a node."""

    def __init__(
        self, waiting: Waiting, device: str, spread: bool, log: Log, patience: float, most: int | None = None
    ) -> None:
        self.waiting, self.device, self.spread, self.log, self.patience = waiting, device, spread, log, patience
        self.most = most
        self.hired: list[Hired] = []
        self.calls: dict[Any, Hired] = {}
        """Those that something is to be heard from."""
        self.futile = 0
        """How many never came up since the last one that did."""
        self.reason = ""
        """Why the last of those did not."""
        self.deaths: collections.Counter[int] = collections.Counter()
        """Of workers, by the place of a text that was in the model."""
        self.failures: collections.Counter[Work] = collections.Counter()
        self.refusals: dict[Work, Problem] = {}
        """Why it could not be done, by whoever tried it last."""

    def answers(self, options: Mapping[str, Any]) -> Iterator[Answer]:
        """Each text is answered once. `options`: `batch_size`, `max_tokens` and `timeout`."""
        heard = time.monotonic()
        while self.waiting or self._at_work():
            self._give(options)
            self._hire()
            if not self.calls or (not self._at_work() and time.monotonic() - heard > self.patience):
                for chunk in self.waiting.drop():
                    known = [self.refusals[work] for work in chunk.works if work in self.refusals]
                    yield from self._refuse(chunk, known[-1] if known else self._nobody())
                return
            done, _ = ray.wait(list(self.calls), timeout=TICK)
            for call in done:
                heard = time.monotonic()
                yield from self._hear(call)

    def close(self) -> None:
        for worker in self.hired:
            _dismiss(worker)

    def _at_work(self) -> collections.Counter[Models]:
        """How many workers are at each model, or at two."""
        return collections.Counter(worker.chunk.models for worker in self.hired if worker.chunk)

    def _give(self, options: Mapping[str, Any]) -> None:
        """Work for the idle."""
        for worker in self.hired:
            if worker.able and worker.chunk is None:
                chunk = self.waiting.take(worker.models, worker.lacks, self._at_work())
                if chunk is not None:
                    self._begin(worker, chunk, options)

    def _begin(self, worker: Hired, chunk: Chunk, options: Mapping[str, Any]) -> None:
        worker.chunk, worker.models, worker.running = chunk, chunk.models, []
        options = {**options, "batch_size": 1} if chunk.alone else options
        device = self.device.partition(":")[0]  # Ray shows a worker the GPUs that it holds, and no others
        job = capture_job(chunk.requests, device=device, **options)
        self.calls[worker.actor.begin.remote(job, _file(chunk))] = worker

    def _hire(self) -> None:
        """As many as there are chunks that nobody has, and places in the cluster; one even where there seem none."""
        places, holds = self._places()
        places = max(1, places if self.most is None else min(places, self.most))
        coming = sum(not worker.node for worker in self.hired)
        for _ in range(min(len(self.waiting) - coming, places - len(self.hired))):
            if self.futile < TRIES * places:
                worker = Hired(ray.remote(NodeWorker).options(**holds).remote())
                self.hired.append(worker)
                self.calls[worker.actor.about.remote()] = worker

    def _places(self) -> tuple[int, dict[str, int]]:
        """How many workers the cluster has room for, and what each of them holds."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = [int(node.get("GPU", 0)) for node in nodes]
        if self.device.startswith("cuda") or (self.device == "auto" and any(gpus)):
            each = max(1, *gpus) if self.spread else 1
            return sum(count // each for count in gpus), {"num_cpus": 1, "num_gpus": each}
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
            case _:  # what comes next is asked for first: whoever takes this answer may take his time
                self.calls[worker.actor.hear.remote()] = worker
                yield from self._answer(worker, message, data)

    def _answer(self, worker: Hired, message: Mapping[str, Any], data: bytes) -> Iterator[Answer]:
        if message["event"] == "running":
            worker.running = message["indices"]
            return
        place = message["index"]
        worker.running = [each for each in worker.running if each != place]
        if worker.chunk is not None:
            worker.chunk = worker.chunk.without([place])
        if message["event"] == "captured":
            yield captured(message, data)
        else:
            yield Refused(place, Problem.from_json(message["problem"]))

    def _welcome(self, worker: Hired, about: Mapping[str, Any]) -> None:
        worker.node, self.futile = about["node"], 0
        worker.able = about["able"] and about["version"] == VERSION
        if not worker.able:
            lacking = "lacks torch and transformers; `pip install 'mkdocs-attnviz[torch,ray]'` there"
            other = f"has attnviz {about['version']}, this machine {VERSION}"
            self.reason = f"Node {worker.node} {other if about['version'] != VERSION else lacking}."
            self.log.warning("%s It gets no work.", self.reason)

    def _decline(self, worker: Hired, message: Mapping[str, Any]) -> Iterator[Answer]:
        """A model that one node cannot run, another may; three that could not are enough. One that was loaded, and has
        not what was asked of it, may have what others ask."""
        chunk, worker.chunk = worker.chunk, None
        if chunk is None or not chunk.requests:
            return
        work = chunk.works[bool(message.get("loaded"))]
        worker.lacks.add(work)
        self.failures[work] += message["event"] == "failed"
        self.refusals[work] = (
            _absent(message, worker.node) if message["event"] == "absent" else Problem.from_json(message["problem"])
        )
        yield from self._put_back(chunk)

    def _put_back(self, chunk: Chunk) -> Iterator[Answer]:
        self.waiting.put(chunk)
        for work in chunk.works:
            if self.failures[work] >= TRIES:
                for each in self.waiting.drop(work):
                    yield from self._refuse(each, self.refusals[work])

    def _lose(self, worker: Hired, error: RayError) -> Iterator[Answer]:
        """With the actor."""
        self.hired.remove(worker)
        _dismiss(worker)
        why = _why(error)
        if not worker.node:
            self.futile += 1
            self.reason = f"A worker could not be started on the Ray cluster: {why}."
        unfinished = len(worker.chunk.requests) if worker.chunk else 0
        self.log.info("a worker on node %s was lost (%s); texts to do again: %d", worker.node or "?", why, unfinished)
        yield from self._again(worker, why)

    def _again(self, worker: Hired, why: str, detail: str = "") -> Iterator[Answer]:
        """Without the worker process, or all of the worker: what it had not finished."""
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
            self.failures[chunk.works[0]] = TRIES
            sentence = (
                f"{chunk.called} could not be run: {TRIES} workers ended before a text was in it, the last time: {why}."
            )
            self.refusals[chunk.works[0]] = Problem("model", "model", sentence, detail)
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
    """Return the record of a model whose files a node has not."""
    why = (
        f"Model {message['name']!r} is the directory {message['path']}, which node {node} of the Ray cluster does not "
        "hold with the same files; it must lie at the same path on the nodes, or be on the hub."
    )
    return Problem("model", message["key"], why)


def _dismiss(worker: Hired) -> None:
    with contextlib.suppress(Exception):  # it is gone, or the cluster is
        ray.kill(worker.actor)


def _file(chunk: Chunk) -> bytes | None:
    """An author's own file, which is on this machine alone."""
    request = next(iter(chunk.requests.values()))
    if request.capture != TENSORS:
        return None
    with contextlib.suppress(OSError):  # reading it there says the same of it as reading it here
        return Path(request.model.path).read_bytes()
    return None


def _why(error: RayError) -> str:
    """In a few words; Ray tells a page."""
    if isinstance(error, RayTaskError):
        return first_line(error.cause)
    if "creation task" in str(error):
        return str(error).strip().splitlines()[-1]
    return LOST


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
