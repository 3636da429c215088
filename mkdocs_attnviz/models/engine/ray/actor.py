"""The actor on each node of a Ray cluster: it owns a worker process like the local engine's and returns one message per
call.

So the build knows which texts are in a model when a node is lost, and no answer waits for others. The process is not
the actor itself, because Ray cannot tell how an actor ended, but we can tell how a process did.

A node's model is the one that the key names: a commit of the hub, or a directory with exactly the same files.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import socket
import tempfile
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mkdocs_attnviz import __version__, models
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.models.engine.client import Worker, WorkerDied
from mkdocs_attnviz.models.identity.reference import ModelRef, digest, package_directory


def _code() -> str:
    """Return the first digits of a digest over all code that makes entries."""
    files = sorted(Path(models.__path__[0]).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:10]


VERSION = f"{__version__} (code {_code()})"
"""The version of the code; another one may make different entries under the same key."""
LAST = ("absent", "died", "done", "failed")
"""Events after which no message about a job follows."""

PART = 16 << 20
"""The number of bytes of a large entry in one message."""

Message = tuple[dict[str, Any], bytes]


class NodeWorker:
    """An actor that owns at most one worker process, which is started with the first job and again after it died."""

    def __init__(self) -> None:
        self._worker = Worker()
        self._messages: Generator[Message, None, None] | None = None
        self._found: dict[ModelRef, Path | None] = {}

    def about(self) -> Message:
        """Return the host name and version of this node, and whether models can run here."""
        able = all(importlib.util.find_spec(package) is not None for package in ("torch", "transformers"))
        return {"event": "ready", "node": socket.gethostname(), "version": VERSION, "able": able}, b""

    def begin(self, job: dict[str, Any], file: bytes | None) -> Message:
        """Start a `capture_job` and return its first message. `file` is the content of an author's own file."""
        models = {key: ModelRef.from_dict(model) for key, model in job["models"].items()}
        self._messages = self._capture(job, models, file)
        return self.hear()

    def hear(self) -> Message:
        """Return the next message: the worker process's own, or `absent` or `died`."""
        if self._messages is None:
            raise RuntimeError("There is no job.")
        message = next(self._messages)
        if message[0]["event"] in LAST:
            self._messages.close()
        return message

    def _capture(
        self, job: dict[str, Any], models: Mapping[str, ModelRef], file: bytes | None
    ) -> Generator[Message, None, None]:
        here = {}
        with contextlib.ExitStack() as stack:
            for key, model in models.items():
                model_here: ModelRef | None = model
                if file is not None:
                    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="attnviz-"))
                    path = Path(folder) / Path(model.path).name  # the name appears in messages
                    path.write_bytes(file)
                    model_here = replace(model, path=str(path))
                elif not job["reads_file"]:
                    model_here = self._found_here(model)
                if model_here is None:
                    yield {"event": "absent", "name": model.name, "path": model.path, "key": key}, b""
                    return
                here[key] = model_here.to_dict()
            try:
                for message, data in self._worker.messages(job | {"models": here}):
                    if "file" in message:
                        yield from _parts(message)
                    yield message, data
            except WorkerDied as death:
                yield {"event": "died", "why": str(death), "detail": death.detail}, b""

    def _found_here(self, model: ModelRef) -> ModelRef | None:
        """Return the model, and its base if it is an adapter, with the paths of this node; None if files
        are missing.
        """
        base = None if model.base is None else self._found_here(model.base)
        path = Path(model.path) if not model.local else self._directory(model)
        if path is None or (model.base is not None and base is None):
            return None
        return replace(model, path=str(path) if model.local else model.path, base=base)

    def _directory(self, model: ModelRef) -> Path | None:
        """Return the directory of the model's files on this node, or None; the result is stored."""
        if model not in self._found:
            self._found[model] = next((place for place in _places(model) if _holds(place, model)), None)
        return self._found[model]


def _parts(message: dict[str, Any]) -> Iterator[Message]:
    """Yield the content of a worker's file in parts, so that no message is large, and remove the file."""
    path = Path(message.pop("file"))
    message["parts"] = True
    try:
        with path.open("rb") as file:
            while part := file.read(PART):
                yield {"event": "part", "index": message["index"]}, part
    finally:
        path.unlink(missing_ok=True)


def _places(model: ModelRef) -> Iterator[Path]:
    """Yield the same path as on the build's machine; a Python package may also lie elsewhere here."""
    yield Path(model.path)
    if model.reference.startswith("package:"):
        with contextlib.suppress(BlockError):
            yield package_directory(model.reference.removeprefix("package:").partition(" + ")[0])


def _holds(place: Path, model: ModelRef) -> bool:
    try:
        return f"sha256:{digest(place, model)}" == (model.content or model.identity)
    except OSError:
        return False
