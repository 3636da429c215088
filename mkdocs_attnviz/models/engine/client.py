"""The build's end of the worker process.

The worker alone imports torch. It is started once a build, while pages still render, and stays warm under
`serve`. When it dies, what it was working on is given again, one input at a time, to a new one; an input that
kills a worker all by itself fails alone, with the reason, and the build goes on.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, Protocol

from mkdocs_attnviz import byte_sizes
from mkdocs_attnviz.block.problem import Problem
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.models.engine.environment import hub_tokens, worker_environment
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import ModelRef

LENGTHS = struct.Struct(">II")
"""A message is two lengths, that much JSON, and that many bytes of an entry."""

WORKER = """\
import sys
sys.path[:] = [folder for folder in sys.path if folder]
from mkdocs_attnviz.models.engine.worker import main
main()
"""
"""Not `-m`, which would import a `torch.py` that lies in the current folder."""

ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""For the worker's glibc: one layer's memory is kept for the next, not given back and asked for anew. Where a kernel is
slow to hand out pages, that is up to a third of a capture of small layers over many tokens."""


RAISED = re.compile(r"^[\w.]*(?:Error|Exception): ")
"""The name of an exception, which is not for authors, before what it says."""
LONGEST_LINE = 10_000  # bytes of what a library prints that are kept together

Models = tuple[ModelRef, ...]
"""Of a request: one, or one and another."""


class WorkerDied(Exception):
    """The worker process ended without being asked to; `detail` is what it printed last."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class WorkerLate(WorkerDied):
    """The worker process was ended because it was silent for longer than `timeout` allows."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it took longer than the {seconds:g} s that the setting `timeout` allows")


class ModelFailed(Exception):
    """A model cannot be used at all."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentences)
        self.problem = problem


class EngineFailed(Exception):
    """Nothing can be run at all, whatever the model; the message is a sentence."""


@dataclass(frozen=True)
class Captured:
    index: int
    entry: Entry
    seconds: float
    """Its share of the time its batch took."""


@dataclass(frozen=True)
class Refused:
    index: int
    problem: Problem


Answer = Captured | Refused


class Engine(Protocol):
    """What runs models: the worker process of this machine, or many machines."""

    def capture(
        self, requests: Sequence[Request], *, device: str, batch_size: int, max_tokens: int
    ) -> Iterator[Answer]:
        """Every request is answered once, in the order in which they are done; `index` is its place in `requests`.

        Raises:
            EngineFailed: what is not answered by then never is.
        """
        ...

    def close(self) -> None: ...


def by_model(requests: Iterable[Request]) -> list[dict[int, Request]]:
    """Requests that the same models and one capture can answer, by their places, in the order of their first."""
    groups: dict[tuple[object, ...], dict[int, Request]] = {}
    for index, request in enumerate(requests):
        groups.setdefault((nameless(request), asked(request)), {})[index] = request
    return list(groups.values())


def asked(request: Request) -> str:
    """What is asked of its models, and how they are run; whatever they are, and whatever they read."""
    return json.dumps([request.capture.identity, request.capture.run, request.run()], sort_keys=True)


def nameless(request: Request) -> Models:
    """Its models, whatever blocks call them."""
    return tuple(replace(model, name="") for model in request.models)


def capture_job(
    requests: Mapping[int, Request], *, device: str, batch_size: int, max_tokens: int, timeout: float
) -> dict[str, Any]:
    """What a worker process is asked for: one capture by one model, or by two, of inputs by their places."""
    first = next(iter(requests.values()))
    return {
        "op": "capture",
        "capture": first.capture.identity,
        "run": first.capture.run,
        "models": {key: model.to_dict() for key, model in zip(("model", "other"), first.models, strict=False)},
        "device": device,
        "batch_size": batch_size,
        "max_tokens": max_tokens,
        "timeout": timeout,
        **first.run(),
        "inputs": [[index, dict(request.inputs)] for index, request in requests.items()],
    }


def captured(message: Mapping[str, Any], data: bytes) -> Answer:
    """Return the answer that a worker's event brings; an entry that no build could read later is refused now."""
    try:
        return Captured(message["index"], Entry.from_bytes(data), message["seconds"])
    except DamagedEntry as error:
        why = f"What the model gave for this text cannot be kept: {error}."
        return Refused(message["index"], Problem("text", "text", why))


def write_message(stream: IO[bytes], message: dict[str, Any], data: bytes = b"") -> None:
    header = json.dumps(message).encode()
    stream.write(LENGTHS.pack(len(header), len(data)))
    stream.write(header)
    stream.write(data)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """The next message.

    Raises:
        EOFError: the other end is gone, perhaps in the middle of a message.
    """
    header_size, data_size = LENGTHS.unpack(_exactly(stream, LENGTHS.size))
    return json.loads(_exactly(stream, header_size)), _exactly(stream, data_size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


NOTES = ("loading", "downloading")
"""Events that only say how far the worker process is with a model."""

Tell = Callable[[str, str], None]
"""Hears what a worker is at, and how far it is with that; the latter is empty where it is not known."""


def _in_silence(what: str, so_far: str) -> None:
    """Tell nobody how far the worker process is."""


class Worker:
    """At most one worker process, started when it is first needed.

    It is ended when it says nothing for `timeout` seconds, which it may need to load a model, to read a text, or to run
    a batch; 0 is without limit. `tell` hears what it is at while nothing comes from it.
    """

    def __init__(self, timeout: float = 0, tell: Tell = _in_silence) -> None:
        self.timeout, self.tell = timeout, tell
        self._ready = False
        """Whether the process has answered, and so has imported what it needs."""
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: collections.deque[str] = collections.deque(maxlen=20)

    def start(self) -> None:
        """Let a worker import torch while the caller does something else."""
        if self._process is None or self._process.poll() is not None:
            with contextlib.suppress(WorkerDied):  # whoever needs it will hear of that
                self._send({"op": "warm"}, self.timeout)

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._stderr.clear()
        self._ready = False
        try:
            self._process = subprocess.Popen(  # noqa: S603 — our own module, by this very interpreter
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=ALLOCATION | worker_environment(os.environ),
                # Ctrl-C is for the build, which then closes the pipe; the worker ends by that.
                start_new_session=os.name != "nt",
            )
            threading.Thread(target=_keep, args=(self._process.stderr, self._stderr), daemon=True).start()
        except (OSError, RuntimeError) as error:  # too many processes, threads or open files; no memory
            self.close()
            raise WorkerDied(f"its process could not be started ({error.args[-1]})") from None

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def hub_commit(self, model: ModelRef) -> str:
        """Ask the hub which commit a model's revision is; this downloads its config.json.

        Raises:
            ModelFailed: there is no such model or revision, or the hub cannot be reached.
        """
        try:
            self._send({"op": "resolve", "model": model.to_dict()}, self.timeout)
            answer, _ = self._receive(self.timeout)
        except WorkerDied as death:
            why = f"Model {model.name!r} could not be looked up: {death}."
            raise ModelFailed(Problem("model", "model", why, death.detail)) from None
        if "problem" in answer:
            raise ModelFailed(Problem.from_json(answer["problem"]))
        return str(answer["commit"])

    def capture(
        self, requests: Sequence[Request], *, device: str, batch_size: int, max_tokens: int
    ) -> Iterator[Answer]:
        """As every `Engine`, one model after the other.

        A caller who stops half-way stops the worker too: answers that nobody waits for must not meet the next job.
        """
        for group in by_model(requests):
            places, waiting = list(group), set(group)
            answers = self._capture(list(group.values()), device=device, batch_size=batch_size, max_tokens=max_tokens)
            try:
                for answer in answers:
                    place = places[answer.index]
                    waiting.discard(place)
                    yield replace(answer, index=place)
            except ModelFailed as error:
                for place in sorted(waiting):
                    yield Refused(place, error.problem)
            finally:
                answers.close()

    def _capture(
        self, requests: Sequence[Request], *, device: str, batch_size: int, max_tokens: int
    ) -> Generator[Answer, None, None]:
        """Requests for one capture with the same models.

        Raises:
            ModelFailed: the model cannot be loaded, or has nothing to capture.
        """
        waiting, alone, deaths = dict(enumerate(requests)), False, 0
        while waiting:
            size = 1 if alone else batch_size
            job = capture_job(waiting, device=device, batch_size=size, max_tokens=max_tokens, timeout=self.timeout)
            running: list[int] = []
            finished = False
            try:
                for answer in self._answers(job, running):
                    del waiting[answer.index]
                    yield answer
                finished = True
            except ModelFailed:
                finished = True
                raise
            except WorkerDied as death:
                finished = True
                unfinished = [index for index in running if index in waiting]
                deaths += not unfinished
                # Once may have been in its sleep, killed between two builds; twice is the model.
                if deaths > 1 or (not unfinished and isinstance(death, WorkerLate)):
                    why = f"{requests[0].called} could not be run: {death}."
                    raise ModelFailed(Problem("model", "model", why, death.detail)) from None
                if unfinished and len(running) == 1:  # of several, the last may just not have been told yet
                    del waiting[running[0]]
                    why = f"Running this text through the model failed: {death}."
                    yield Refused(running[0], Problem("text", "text", why, death.detail))
                else:
                    alone = alone or bool(unfinished)
            finally:
                if not finished:
                    self.close()

    def _answers(self, job: dict[str, Any], running: list[int]) -> Iterator[Answer]:
        """Answers until the job is done; `running` always holds the inputs that went into the model last."""
        for message, data in self.messages(job):
            match message["event"]:
                case "running":
                    running[:] = message["indices"]
                case "captured":
                    yield captured(message, data)
                case "refused":
                    yield Refused(message["index"], Problem.from_json(message["problem"]))
                case "failed":
                    raise ModelFailed(Problem.from_json(message["problem"]))

    def messages(self, job: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """All that the process says about a `capture_job`, but for notes on how far it is.

        Raises:
            WorkerDied: before the end.
        """
        self._send(job, job["timeout"])
        if not self._ready:
            self.tell("starting PyTorch and transformers", "")
        while True:
            message, data = self._receive(job["timeout"])
            self._ready = True
            if message["event"] in NOTES:
                self.note(message)
                continue
            yield message, data
            if message["event"] in ("done", "failed"):
                return

    def note(self, message: Mapping[str, Any]) -> None:
        """Pass on how far the worker is with a model."""
        size = message.get("bytes")
        so_far = "" if size is None else f"{byte_sizes.shown(size)} so far"
        self.tell(f"{message['event']} the model {message['name']}", so_far)

    def _send(self, message: dict[str, Any], timeout: float) -> None:
        self._start()
        process = self._process
        if process is None or process.stdin is None:
            raise WorkerDied("its process could not be started")
        models = [*message.get("models", {}).values(), *([message["model"]] if "model" in message else [])]
        if not all(model["local"] for model in models):
            message = message | {"secrets": hub_tokens(os.environ)}
        with _killed_after(timeout, process) as late:  # a process that hangs reads nothing
            try:
                write_message(process.stdin, message)
            except OSError:
                raise self._death(process, timeout if late.is_set() else None) from None

    def _receive(self, timeout: float) -> tuple[dict[str, Any], bytes]:
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerDied("the worker process is gone")
        with _killed_after(timeout, process) as late:
            try:
                return read_message(process.stdout)
            except (EOFError, OSError):
                raise self._death(process, timeout if late.is_set() else None) from None

    def _death(self, process: subprocess.Popen[bytes], late: float | None) -> WorkerDied:
        """Why the process has ended; `late` is the time in seconds after which it was ended here."""
        self._process = None
        code = process.wait()
        if late is not None:
            return WorkerLate(late)
        detail = "\n".join(self._stderr)
        last = RAISED.sub("", next((line for line in reversed(self._stderr) if line.strip()), ""))
        if code == -getattr(signal, "SIGKILL", 9):
            return WorkerDied(
                "its process was killed (signal 9), which mostly means that memory ran out; a shorter text, or `dtype: "
                "float16` or `device_map: auto` for the model, needs less of it",
                detail,
            )
        if code < 0:
            return WorkerDied(f"its process was ended by signal {-code}" + (f" ({last})" if last else ""), detail)
        return WorkerDied(f"its process ended with exit code {code}" + (f" ({last})" if last else ""), detail)


@contextlib.contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Kill the process, and set the event, if it takes longer than `seconds`, of which 0 means for ever."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    if seconds:
        with contextlib.suppress(RuntimeError):  # too many threads: then without a limit
            timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _keep(stderr: IO[bytes] | None, lines: collections.deque[str]) -> None:
    """Keep the last lines, each cut where it is endless.

    A function of its own, since a thread that holds the worker would keep it for ever.
    """
    while line := stderr.readline(LONGEST_LINE) if stderr else b"":
        lines.append(line.decode(errors="replace").rstrip())
