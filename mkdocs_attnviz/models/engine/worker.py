"""The worker process: it reads jobs from its standard input and writes entries to its standard output.

It ends with its input. This is the only module that is run by itself; `client` starts it and is its other end.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mkdocs_attnviz.block.problem import Problem, trace
from mkdocs_attnviz.models import errors
from mkdocs_attnviz.models.engine import capture as captures
from mkdocs_attnviz.models.engine.client import read_message, write_message
from mkdocs_attnviz.models.engine.environment import temporary_variables
from mkdocs_attnviz.models.engine.loaded_models import LoadedModels
from mkdocs_attnviz.models.engine.runs import Failed, Message, RunCapture, captured, failure, problem_of, refusal, run
from mkdocs_attnviz.models.engine.watchdog import ends_with_build
from mkdocs_attnviz.models.errors import costs_a_text
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.inputs.batches import batches
from mkdocs_attnviz.models.inputs.corpus_text import first_text

if TYPE_CHECKING:
    from mkdocs_attnviz.cache.entry import Entry
    from mkdocs_attnviz.models.captures.corpus import Corpus
    from mkdocs_attnviz.models.inputs.tokens import Example
    from mkdocs_attnviz.models.loading.loaded import Loaded


def main() -> None:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library's output must not get between messages
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # The output is closed at once, since threads of a model's own code may keep the process alive.
    with contextlib.suppress(BrokenPipeError), output, ends_with_build(sys.stdin.fileno()):
        serve(sys.stdin.buffer, output)


def serve(jobs: IO[bytes], output: IO[bytes]) -> None:
    """Answer jobs until the other end is closed. Asking the hub needs no torch."""
    kept: LoadedModels | None = None
    try:
        while True:
            job, _ = read_message(jobs)
            with temporary_variables(job.pop("secrets", {})):
                if job["op"] == "resolve":
                    write_message(output, resolve(job))
                    continue
                kept = kept or LoadedModels(functools.partial(write_message, output))
                if job["op"] == "capture":  # a `warm` job only needs the imports
                    for message, data in capture(kept, job):
                        write_message(output, message, data)
    except (EOFError, BrokenPipeError):
        return


def resolve(job: dict[str, Any]) -> dict[str, Any]:
    """Return the commit of a hub's model, or the problem with it. This needs only huggingface_hub."""
    ref = ModelRef.from_dict(job["model"])
    try:
        hub = importlib.import_module("mkdocs_attnviz.models.identity.hub")
    except ImportError as error:
        why = (
            f"Model {ref.name!r} has to be looked up on the hub, which needs huggingface_hub ({error}); "
            "install it with `pip install huggingface_hub`, or give the model's commit as `revision`."
        )
        return {"problem": Problem("model", "model", why, trace(error)).to_json()}
    try:
        return {"commit": hub.resolve_commit(ref)}
    except hub.NoCommit as error:
        return {"problem": Problem("model", "model", str(error), trace(error)).to_json()}


def capture(kept: LoadedModels, job: dict[str, Any]) -> Iterator[Message]:
    """Yield all messages about a `capture_job`; the last is `done` or `failed`."""
    if kept.problem:
        yield _failed(kept.problem)
        return
    if job["reads_file"]:
        yield from _read(job)
        return
    models: Mapping[str, Loaded] = {}
    try:
        capture = captures.function(job["run"])
    except Exception as error:
        yield _failed(Problem("model", "view", f"{errors.error_message(error)}.", trace(error)))
        return
    try:
        refs = {key: ModelRef.from_dict(model) for key, model in job["models"].items()}
        needs = {name: job[name] for name in ("head", "attention")}
        kept.folder = job.get("folder")
        models = kept.get(refs, job["device"], **needs, changed=bool(job["interventions"]))
        context = importlib.import_module("mkdocs_attnviz.models.captures.context").Context
        recording = importlib.import_module("mkdocs_attnviz.models.loading.made_with")
        facts = recording.made_with(models["model"], models.get("other"))

        def run_capture(loaded: Loaded, examples: Sequence[Example], corpus: Corpus | None = None) -> Sequence[Entry]:
            folder = None if kept.folder is None else Path(kept.folder)
            other, size = models.get("other"), job["entry_size"]
            entries = capture(context(loaded, examples, job["parameters"], other, corpus, folder, size))
            recorded: Sequence[Entry] = recording.with_facts(entries, facts)
            return recorded

        yield from _captured(kept, models, run_capture, job)
        yield {"event": "done"}, b""
    except kept.load.Unusable as error:
        yield _failed(error.problem, loaded=bool(models) or isinstance(error, kept.load.Lacking))
    except BaseException as error:
        if not costs_a_text(error):
            raise
        name = job["models"]["model"]["name"]
        why = f"Model {name!r} cannot be used: a library that reads it failed ({errors.error_message(error)})."
        yield _failed(Problem("model", "model", why, trace(error)), loaded=bool(models))


def _failed(problem: Problem, *, loaded: bool = False) -> Message:
    """Return the message that ends a failed job. `loaded` tells that its models are loaded and may serve other jobs."""
    return {"event": "failed", "problem": problem.to_json(), "loaded": loaded}, b""


def _captured(
    kept: LoadedModels, models: Mapping[str, Loaded], run_capture: Callable[..., Sequence[Entry]], job: dict[str, Any]
) -> Iterator[Message]:
    """Yield the messages of a job, with its interventions applied to the block's own model.

    Raises:
        Unusable: the model fails for another reason than its texts.
    """
    loaded = models["model"]
    indices = [index for index, _ in job["inputs"]]
    with contextlib.ExitStack() as stack:
        if job["interventions"]:
            intervening = importlib.import_module("mkdocs_attnviz.models.probing.interventions").intervening
            yield {"event": "running", "indices": indices[:1]}, b""  # heads and neurons are found by running this input
            try:
                texts = (first_text(inputs) for _, inputs in job["inputs"])
                stack.enter_context(intervening(loaded, job["interventions"], texts))
            except kept.load.Unusable:
                raise
            except BaseException as error:
                if not costs_a_text(error):
                    raise
                failed = failure(kept, loaded, None, error)
                yield from (refusal(index, failed) for index in indices)
                return
        answers = _corpora if job["corpus"] else _answers
        yield from answers(kept, models, run_capture, job)


def _answers(
    kept: LoadedModels, models: Mapping[str, Loaded], run_capture: RunCapture, job: dict[str, Any]
) -> Iterator[Message]:
    """Yield the messages about each of the job's inputs.

    Raises:
        Unusable: the model fails for another reason than its texts.
    """
    loaded, other = models["model"], models.get("other")
    read = importlib.import_module("mkdocs_attnviz.models.inputs.examples").example
    examples: dict[int, Example] = {}
    for index, inputs in job["inputs"]:
        yield {"event": "running", "indices": [index]}, b""  # a tokenizer may crash the process
        try:
            examples[index] = read(loaded, inputs, job["max_tokens"], other)
        except BaseException as error:
            if not costs_a_text(error):
                raise
            failed = failure(kept, loaded, None, error)
        else:
            continue
        yield _refused(kept, index, failed)
    for batch in batches(examples, job["batch_size"], loaded):
        yield from run(kept, loaded, run_capture, batch)


def _corpora(
    kept: LoadedModels, models: Mapping[str, Loaded], run_capture: Callable[..., Sequence[Entry]], job: dict[str, Any]
) -> Iterator[Message]:
    """Yield the messages about each of the job's inputs, for a capture that reads many texts and returns one entry.

    Raises:
        Unusable: the model fails for another reason than its texts.
    """
    loaded = models["model"]
    make = importlib.import_module("mkdocs_attnviz.models.captures.corpus").Corpus
    for index, inputs in job["inputs"]:
        yield {"event": "running", "indices": [index]}, b""
        start = time.perf_counter()
        corpus = make(
            loaded,
            inputs,
            job["max_tokens"],
            job["batch_size"],
            other=models.get("other"),
            attention=job["attention"],
            tell=functools.partial(_tell_corpus, kept, loaded.ref.name),
            free_others=kept.keep_needed,
        )
        try:
            (entry,) = run_capture(loaded, (), corpus)
        except kept.load.Unusable:
            raise
        except BaseException as error:
            if not costs_a_text(error):
                raise
            failed = failure(kept, loaded, None, error)
        else:
            yield captured(index, entry, time.perf_counter() - start, kept.folder)
            continue
        yield _refused(kept, index, failed)


def _refused(kept: LoadedModels, index: int, failed: Failed) -> Message:
    """Return the message of an input that failed, once its memory is free for the next one.

    It is called outside the handler of the exception, whose frames hold tensors.
    """
    if failed.memory:
        kept.memory.free()
    return refusal(index, failed)


def _tell_corpus(kept: LoadedModels, name: str, done: int, texts: int) -> None:
    kept.tell({"event": "reading", "name": name, "done": done, "texts": texts})


def _read(job: dict[str, Any]) -> Iterator[Message]:
    """Yield the messages about an author's own file, which needs no model; several views of it share one input."""
    capture_file = captures.file_function(job["run"])
    for index, _ in job["inputs"]:
        start = time.perf_counter()
        yield {"event": "running", "indices": [index]}, b""
        try:
            entry = capture_file(Path(job["models"]["model"]["path"]), job["parameters"], job["entry_size"])
        except BaseException as error:
            if not costs_a_text(error):
                raise
            yield refusal(index, Failed(problem_of(error)))
        else:
            yield captured(index, entry, time.perf_counter() - start, job.get("folder"))
    yield {"event": "done"}, b""
