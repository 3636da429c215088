"""The build's end of the worker process.

Only the worker imports torch. It is started once per build, while pages are still rendered, and stays warm under
`serve`. If it dies, a new worker gets its unfinished inputs one at a time. An input that kills a worker by itself fails
alone, with the reason, and the build goes on.
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
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from mkdocs_attnviz import byte_sizes
from mkdocs_attnviz.block.problem import Problem
from mkdocs_attnviz.cache.blobs import FileBlobs, Place
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST
from mkdocs_attnviz.cache.files import open_regular
from mkdocs_attnviz.models.engine.environment import hub_tokens, worker_environment
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import ModelRef

LENGTHS = struct.Struct(">II")
"""The header of a message: the length of its JSON and the length of an entry's bytes, both of which follow."""

WORKER = """\
import sys
sys.path[:] = [folder for folder in sys.path if folder]
from mkdocs_attnviz.models.engine.worker import main
main()
"""
"""The code of the worker process. With `-m`, it would import a `torch.py` in the current folder."""

ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""Settings of the worker's glibc that keep one layer's memory for the next instead of returning it to the system.

If a kernel is slow to provide pages, this saves up to a third of the time for small layers over many tokens.
"""


RAISED = re.compile(r"^[\w.]*(?:Error|Exception): ")
"""The name of an exception before its message; authors do not see it."""
SPOOL = re.compile(r"\.\d+-\w+\.tmp")
"""The name of a worker's file with the blobs of one entry."""
LONGEST_LINE = 10_000  # the number of bytes of one printed line that are stored
LINGERS = 30.0  # the time in seconds in which a worker that answers no more must end
LAST_LINES = 2.0  # the time in seconds in which what an ended worker has printed must arrive

Models = tuple[ModelRef, ...]
"""The models of a request: one, or one and another."""


class WorkerDied(Exception):
    """A worker process that ended unasked; `detail` is the end of its output."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class WorkerLate(WorkerDied):
    """A worker process that was killed because it was silent for longer than `timeout` allows."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it took longer than the {seconds:g} s that the setting `timeout` allows")


class ModelFailed(Exception):
    """A model that cannot be used at all."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentences)
        self.problem = problem


class EngineFailed(Exception):
    """An engine that cannot run any model; the message is a sentence."""


@dataclass(frozen=True)
class Captured:
    index: int
    entry: Entry
    seconds: float
    """The entry's share of its batch's time, in seconds."""


@dataclass(frozen=True)
class Refused:
    index: int
    problem: Problem


Answer = Captured | Refused


class Engine(Protocol):
    """An engine that runs models: the worker process of this machine, or many machines."""

    folder: Path | None
    """The folder in which the blobs of large entries come, in files; None for the system's."""

    def capture(
        self, requests: Sequence[Request], *, device: str, batch_size: int, max_tokens: int
    ) -> Iterator[Answer]:
        """Yield one answer to every request, in the order of completion; `index` is the request's place in `requests`.

        Raises:
            EngineFailed: nothing more can be run; the remaining requests get no answer.
        """
        ...

    def close(self) -> None: ...


def by_model(requests: Iterable[Request]) -> list[dict[int, Request]]:
    """Return groups of requests with the same models and capture, by their places, in the order of the first of each
    group.
    """
    groups: dict[tuple[object, ...], dict[int, Request]] = {}
    for index, request in enumerate(requests):
        groups.setdefault((nameless(request), run_settings(request)), {})[index] = request
    return list(groups.values())


def run_settings(request: Request) -> str:
    """Return the capture and run settings of a request, as JSON; models and inputs are not part of it."""
    return json.dumps([request.capture.identity, request.capture.run, request.run()], sort_keys=True)


def nameless(request: Request) -> Models:
    """Return the request's models without the names that blocks give them."""
    return tuple(replace(model, name="") for model in request.models)


def capture_job(
    requests: Mapping[int, Request], *, device: str, batch_size: int, max_tokens: int, timeout: float
) -> dict[str, Any]:
    """Return the job for a worker process: one capture by one model or two, with inputs by their places."""
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


def answer_of(message: Mapping[str, Any], data: bytes) -> Answer:
    """Return the answer in a worker's event. An entry that no build could read later is refused now.

    The blobs of a large one stay in the worker's file, which is removed with the entry.
    """
    try:
        entry = _with_file(message, data) if "file" in message else Entry.from_bytes(data)
        return Captured(message["index"], entry, message["seconds"])
    except DamagedEntry as error:
        why = f"What the model gave for this text cannot be kept: {error}."
        return Refused(message["index"], Problem("text", "text", why))


def _with_file(message: Mapping[str, Any], data: bytes) -> Entry:
    """Return an entry whose blobs are in a file of the worker's.

    Raises:
        DamagedEntry: the file is not as the message says.
    """
    path = Path(message["file"])
    places = {str(name): Place(int(start), int(size)) for name, start, size in message["blobs"]}
    try:
        if not SPOOL.fullmatch(path.name):
            raise DamagedEntry("its file has a name that no worker gives")
        file, size = open_regular(path, LARGEST)
    except OSError as error:
        raise DamagedEntry(f"its file cannot be read ({error.strerror})") from None
    blobs = FileBlobs(file, places, path)
    if any(place.start < 0 or place.size < 0 or place.start + place.size > size for place in places.values()):
        raise DamagedEntry("its file is shorter than its parts")
    return Entry(json.loads(data), blobs)


def write_message(stream: IO[bytes], message: dict[str, Any], data: bytes = b"") -> None:
    header = json.dumps(message).encode()
    stream.write(LENGTHS.pack(len(header), len(data)))
    stream.write(header)
    stream.write(data)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Return the next message.

    Raises:
        EOFError: the other end is gone, perhaps in the middle of a message.
    """
    header_size, data_size = LENGTHS.unpack(_read_exactly(stream, LENGTHS.size))
    return json.loads(_read_exactly(stream, header_size)), _read_exactly(stream, data_size)


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


NOTES = ("loading", "downloading", "reading")
"""Events that only report a worker's progress with a model."""

Tell = Callable[[str, str], None]
"""A function that gets the worker's current task and its progress ('' if unknown)."""


def _ignore(what: str, so_far: str) -> None:
    """Ignore the worker's progress."""


class Worker:
    """A client of at most one worker process, which is started when it is first needed.

    The process is killed if it is silent for `timeout` seconds while it loads a model, reads a text or runs a batch; 0
    means no limit. `tell` gets its current task while there are no answers.
    """

    def __init__(self, timeout: float = 0, tell: Tell = _ignore) -> None:
        self.timeout, self.tell = timeout, tell
        self.folder: Path | None = None
        """The folder for files of the worker's, in which the blobs of large entries come; None for the system's."""
        self._ready = False
        """True once the process has answered, so that its imports are done."""
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: collections.deque[str] = collections.deque(maxlen=20)
        self._collecting = threading.Thread()
        """The thread that reads what the process prints."""

    def start(self) -> None:
        """Start a worker, which imports torch while the caller does something else."""
        if self._process is None or self._process.poll() is not None:
            with contextlib.suppress(WorkerDied):  # the first job will raise it again
                self._send({"op": "warm"}, self.timeout)

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._stderr = collections.deque(maxlen=20)
        self._ready = False
        try:
            self._process = subprocess.Popen(  # noqa: S603 — our own module, by this very interpreter
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=ALLOCATION | worker_environment(os.environ),
                # Ctrl-C is for the build. It then closes the pipe, which ends the worker.
                start_new_session=os.name != "nt",
            )
            lines = (self._process.stderr, self._stderr)
            self._collecting = threading.Thread(target=_collect_lines, args=lines, daemon=True)
            self._collecting.start()
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
        """Return the commit of a model's revision, by asking the hub; its config.json is downloaded.

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
        """Yield one answer to every request, one model after the other.

        If the caller stops early, the worker is stopped, too, since its remaining answers must not be taken for those
        of the next job.
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
        """Yield the answers to requests for one capture with the same models.

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
                # One death may be that of an idle process, killed between two builds; two are the model's fault.
                if deaths > 1 or (not unfinished and isinstance(death, WorkerLate)):
                    why = f"{requests[0].called} could not be run: {death}."
                    raise ModelFailed(Problem("model", "model", why, death.detail)) from None
                if unfinished and len(running) == 1:  # the answer of one of several may have been lost
                    del waiting[running[0]]
                    why = f"Running this text through the model failed: {death}."
                    yield Refused(running[0], Problem("text", "text", why, death.detail))
                else:
                    alone = alone or bool(unfinished)
            finally:
                if not finished:
                    self.close()

    def _answers(self, job: dict[str, Any], running: list[int]) -> Iterator[Answer]:
        """Yield answers until the job is done; `running` always holds the inputs that went into the model last."""
        for message, data in self.messages(job):
            match message["event"]:
                case "running":
                    running[:] = message["indices"]
                case "captured":
                    yield answer_of(message, data)
                case "refused":
                    yield Refused(message["index"], Problem.from_json(message["problem"]))
                case "failed":
                    raise ModelFailed(Problem.from_json(message["problem"]))

    def messages(self, job: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield all messages of the process about a `capture_job`, except notes on its progress.

        Raises:
            WorkerDied: the process ended before the job was done.
        """
        self._send(job | {"folder": str(self.folder or tempfile.gettempdir())}, job["timeout"])
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
        """Pass on a worker's progress with a model, or with a corpus."""
        if message["event"] == "reading":
            self.tell(f"model {message['name']} reads a corpus", f"{message['done']} of {message['texts']} texts")
            return
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
                return write_message(process.stdin, message)
            except OSError:
                pass
        raise self._death(process, timeout if late.is_set() else None)

    def _receive(self, timeout: float) -> tuple[dict[str, Any], bytes]:
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerDied("the worker process is gone")
        with _killed_after(timeout, process) as late:
            try:
                return read_message(process.stdout)
            except (EOFError, OSError):
                pass
        raise self._death(process, timeout if late.is_set() else None)

    def _death(self, process: subprocess.Popen[bytes], late: float | None) -> WorkerDied:
        """Return the reason why the process has ended; `late` is the time limit in seconds if it was killed here."""
        self._process = None
        code = _ended(process)
        for left in (self.folder or Path(tempfile.gettempdir())).glob(f".{process.pid}-*.tmp"):
            left.unlink(missing_ok=True)
        if late is not None:
            return WorkerLate(late)
        if self._collecting.is_alive():
            self._collecting.join(LAST_LINES)  # a process that it has started may still print
        lines = list(self._stderr)
        detail = "\n".join(lines)
        last = RAISED.sub("", next((line for line in reversed(lines) if line.strip()), ""))
        if code is None:
            why = f"its process answered no more, and had not ended {LINGERS:g} s later"
            return WorkerDied(why + (f" ({last})" if last else ""), detail)
        if code == -getattr(signal, "SIGKILL", 9):
            return WorkerDied(
                "its process was killed (signal 9), which mostly means that memory ran out; a shorter text, or `dtype: "
                "float16` or `device_map: auto` for the model, needs less of it",
                detail,
            )
        if code < 0:
            return WorkerDied(f"its process was ended by signal {-code}" + (f" ({last})" if last else ""), detail)
        return WorkerDied(f"its process ended with exit code {code}" + (f" ({last})" if last else ""), detail)


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Wait until a process has ended that answers no more, and return its exit code.

    If it has not ended in time, it is killed, and None is returned. A thread of a model's own code may keep it alive.
    """
    try:
        return process.wait(LINGERS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


@contextlib.contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Kill the process and set the event if the `with` block takes longer than `seconds`; 0 means no limit."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    if seconds:
        with contextlib.suppress(RuntimeError):  # too many threads: there is no limit then
            timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _collect_lines(stderr: IO[bytes] | None, lines: collections.deque[str]) -> None:
    """Keep the last lines of a worker's output, each cut at its maximum length.

    This is no method, since a thread with a reference to the worker would keep it alive.
    """
    while line := stderr.readline(LONGEST_LINE) if stderr else b"":
        lines.append(line.decode(errors="replace").rstrip())
