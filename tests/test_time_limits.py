"""Nothing lasts for ever: a text, a load, a worker whose build is gone, a shared cache that stays silent."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import INDUCTION
from warm_workers import fork_of

from mkdocs_attnviz.cache import store
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.models.engine import downloads
from mkdocs_attnviz.models.engine.client import Captured, ModelFailed, Refused, Worker
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.attention.capture import ATTENTION

ENDLESS_TEMPLATE = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}a b c"
ENDLESS_PATTERN = "(?:a|aa){21}c"  # 0.1 s at each place in a row of `a`
PANICKING_PATTERN = "(a|aa)+$"
PANICKING = "a" * 60 + "b"


def changed_model(folder, file="config.json", **fields):
    """Return the directory of a small model with one changed file."""
    shutil.copytree(INDUCTION, folder)
    about = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(about | fields))
    return folder


def with_pattern(folder, pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return changed_model(folder, "tokenizer.json", pre_tokenizer=split)


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


def run(worker, folder, *inputs):
    ref = resolve(str(folder), None, Settings(), Path())
    requests = [Request(ATTENTION, ref, each if isinstance(each, dict) else {"text": each}) for each in inputs]
    answers = worker.capture(requests, device="cpu", batch_size=8, max_tokens=100_000)
    return sorted(answers, key=lambda answer: answer.index)


def given_up(worker, folder, endless):
    """Return the answer to an input that never ends; its model was loaded without a limit."""
    worker.timeout = 0
    (answer,) = run(worker, folder, "b c")
    assert isinstance(answer, Captured)
    worker.timeout = 3
    (answer,) = run(worker, folder, endless)
    worker.timeout = 0
    assert isinstance(answer, Refused)
    return answer


LATE = "it took longer than the 3 s that the setting `timeout` allows."


def test_a_template_without_end(worker, tmp_path):
    folder = changed_model(tmp_path / "model", "tokenizer_config.json", chat_template=ENDLESS_TEMPLATE)
    answer = given_up(worker, folder, {"chat": [{"role": "user", "content": "a"}]})
    assert answer.problem.message == f"Running this text through the model failed: {LATE}"


def test_a_regular_expression_without_end(worker, tmp_path):
    """It is matched in native code, where no Python thread runs."""
    answer = given_up(worker, with_pattern(tmp_path / "model", ENDLESS_PATTERN), "a" * 90_000)
    assert answer.problem.message == f"Running this text through the model failed: {LATE}"


def test_a_model_of_a_million_layers(worker, tmp_path):
    """Blamed at once: another try would take as long."""
    folder = changed_model(tmp_path / "model", n_layer=10**6)
    worker.timeout = 0
    run(worker, INDUCTION, "a")
    worker.timeout, start = 3, time.monotonic()
    (answer,) = run(worker, folder, "a")
    worker.timeout = 0
    assert (answer.problem.key, answer.problem.message) == ("model", f"Model {str(folder)!r} could not be run: {LATE}")
    assert time.monotonic() - start < 60


@pytest.fixture
def silent_server():
    """Return the address of a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_hub_that_stays_silent(silent_server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", silent_server)
    worker = Worker(timeout=1)
    with pytest.raises(ModelFailed, match="'some/model' could not be looked up: it took longer than the 1 s"):
        worker.hub_commit(resolve("some/model", None, Settings(), tmp_path))


def test_a_shared_cache_that_stays_silent(silent_server, tmp_path, monkeypatch):
    """It is told once and left alone; nothing is tried again, since each try would take as long."""
    said = []
    log = logging.getLogger("silent")
    log.addHandler(handler := logging.Handler())
    handler.emit = lambda record: said.append(record.getMessage())
    shared = store.Store(f"{silent_server}/shared", log)
    shared._open()  # imports what speaks to such an address
    monkeypatch.setattr(store, "DEADLINE", 1.5)
    here = Cache(tmp_path, log, shared, push=True)
    start = time.monotonic()
    for _ in range(3):
        assert here.fetch({"a" * 64: [("model", "x")]}) == set()
        here.put("b" * 64, [("model", "x")], Entry({}, {}))
    assert time.monotonic() - start < 60
    cannot = f"The shared cache {silent_server}/shared cannot be {{}}: no answer came in 1.5 s."
    assert said[0] == cannot.format("read")
    assert said[1].startswith(cannot.format("written"))
    assert len(said) == 2


def test_a_panic_is_its_texts_fault_alone(worker, tmp_path):
    """A panic in Rust is no ordinary exception, and once ended the process before any text was announced."""
    answers = run(worker, with_pattern(tmp_path / "model", PANICKING_PATTERN), "a b c", PANICKING, "b c d")
    assert [type(answer) for answer in answers] == [Captured, Refused, Captured]
    assert answers[1].problem.key == "text"
    assert answers[1].problem.message.startswith("The tokenizer failed on this text: ")
    assert "Exception" not in answers[1].problem.message


def test_a_download_that_goes_on_is_no_silence(tmp_path, monkeypatch):
    ref = resolve("some/model", None, Settings(), tmp_path)
    blobs = tmp_path / "models--some--model" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "before").write_bytes(bytes(5_000_000))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(downloads, "EVERY", 0.01)
    told, came, written = [], threading.Event(), 0

    def tell(event):
        told.append(event)
        if event["event"] == "downloading":
            came.set()

    with downloads.loading(ref, tell):
        while not came.wait(0.02):
            written += 1000  # before it is written: a write may be seen when it is half done
            with (blobs / "new.incomplete").open("ab", buffering=0) as file:
                file.write(bytes(1000))
            assert written < 10_000_000, "nothing is told"
    assert told[0] == {"event": "loading", "name": "some/model"}
    assert told[1]["event"] == "downloading"
    assert 0 < told[1]["bytes"] <= written, "what was there before is no download"


def test_a_panic_while_a_tokenizer_is_loaded(worker, tmp_path):
    """It is the model's fault, told at once, and the process lives on."""
    normalizer = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    run(worker, INDUCTION, "a")
    process = worker._process
    broken = changed_model(tmp_path / "model", "tokenizer.json", normalizer=normalizer)
    (answer,) = run(worker, broken, "a")
    assert answer.problem.key == "model"
    assert "Cannot parse precompiled_charsmap" in answer.problem.message
    assert "Exception" not in answer.problem.message
    (answer,) = run(worker, INDUCTION, "b")
    assert isinstance(answer, Captured)
    assert worker._process is process


# ---- the build is gone

BUILD = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
from warm_workers import fork_of
from mkdocs_attnviz.models.engine.client import Worker
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.settings import Settings
worker = Worker()
requests = [Request(ATTENTION, resolve(sys.argv[2], None, Settings(), Path()), {"text": "a" * 90_000})]
job = worker.capture(requests, device="cpu", batch_size=1, max_tokens=100_000)
original = worker._receive
def receive(timeout):
    message = original(timeout)
    if message[0]["event"] == "running":
        print(fork_of(worker._process), flush=True)
    return message
worker._receive = receive
next(job)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_ends_with_its_build(tmp_path, how):
    """The worker ends although it would be in native code for hours."""
    folder = with_pattern(tmp_path / "model", ENDLESS_PATTERN)
    build = subprocess.Popen([sys.executable, "-c", BUILD, Path(__file__).parent, folder], stdout=subprocess.PIPE)
    worker = int(build.stdout.readline())
    watchdog = watchdog_of(worker)
    build.send_signal(how)
    build.wait()
    for ended in worker, watchdog:
        _wait_for_end(ended)


def test_nothing_is_left_of_a_worker():
    worker, process = one_that_has_run()
    watchdog = watchdog_of(process)
    worker.close()
    for ended in process, watchdog:
        _wait_for_end(ended)


def test_a_worker_that_is_killed_takes_its_watchdog_along():
    worker, process = one_that_has_run()
    watchdog = watchdog_of(process)
    os.kill(process, signal.SIGKILL)
    _wait_for_end(watchdog)
    worker.close()


def one_that_has_run():
    """Return a worker and the process that has run a text for it."""
    worker = Worker()
    run(worker, INDUCTION, "a")
    return worker, fork_of(worker._process)


def watchdog_of(worker):
    (watchdog,) = subprocess.run(["pgrep", "-P", str(worker)], capture_output=True, text=True).stdout.split()
    return int(watchdog)


def _wait_for_end(process):
    """Wait until the process is gone or a zombie."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {process} outlives its build")
