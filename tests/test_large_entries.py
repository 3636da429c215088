"""Entries that are larger than the memory they may take: from the model to the cache to a figure, blob by blob."""

import json
import logging
import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import INDUCTION, ROOT
from test_large import deep_model, ref
from warm_workers import WITH_MODULES

from mkdocs_attnviz.cache.blobs import IN_MEMORY, FileBlobs, sizes
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.models.captures import attention, scores
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.comparison import difference
from mkdocs_attnviz.models.engine import in_process
from mkdocs_attnviz.models.engine.client import Captured, Worker
from mkdocs_attnviz.models.engine.inline import InlineWorker
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.views.attention.capture import ATTENTION

VOCABULARY = json.loads((Path(INDUCTION) / "tokenizer.json").read_text())["model"]["vocab"]
TEXT = " ".join(random.Random(0).choices([word for word in sorted(VOCABULARY) if word.isalpha()], k=220))
"""A text of 220 words: the 24 layers of 16 heads have 18 million weights, more than an entry may have in memory."""


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    return deep_model(tmp_path_factory.mktemp("deep"))


@pytest.fixture(scope="module")
def loaded(deep):
    return load(ref(deep), "cpu")


@pytest.fixture(scope="module")
def whole(loaded):
    """The entry of the text."""
    return attention.capture(Context(loaded, [example(loaded, {"text": TEXT}, 512)]))[0]


def nearly(one, other):
    """Return whether two entries have the same parts, and weights within a step of 255: threads may change a bit."""
    if list(one.blobs) != list(other.blobs) or difference(one, other):
        return False
    for name in ("self/0", "self/23", "self/23/rollout", "self/overview"):
        first, second = (np.frombuffer(zlib.decompress(each.blobs[name]), np.uint8) for each in (one, other))
        if np.abs(first.astype(int) - second).max() > 1:
            return False
    return True


def test_layers_are_encoded_while_the_model_runs(loaded, whole, monkeypatch, tmp_path):
    """The entry is the same to the byte, however few layers wait."""
    assert isinstance(whole.blobs, FileBlobs)
    assert sum(sizes(whole.blobs).values()) > IN_MEMORY
    monkeypatch.setattr(attention, "WAITING", 2 << 20)
    waited = []
    monkeypatch.setattr(attention, "takewhile", lambda fits, layers: waited.append(0) or _takewhile(fits, layers))
    (entry,) = attention.capture(Context(loaded, [example(loaded, {"text": TEXT}, 512)], folder=tmp_path))
    assert len(waited) > 5
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    assert entry.to_bytes() == whole.to_bytes()
    del entry
    assert not list(tmp_path.iterdir())


_takewhile = attention.takewhile


def test_scores_of_a_large_entry_go_to_a_file(loaded):
    (entry,) = scores.capture(Context(loaded, [example(loaded, {"text": TEXT}, 512)]))
    assert isinstance(entry.blobs, FileBlobs)
    names = [name for name in entry.blobs if "/strongest/" not in name]
    assert names[:4] == ["self/0", "self/0/q", "self/0/k", "self/1"]


@pytest.mark.parametrize("make", [Worker, InlineWorker])
def test_a_large_entry_comes_by_a_file(make, deep, whole, tmp_path):
    worker = make()
    worker.folder = tmp_path / "cache"
    request = Request(ATTENTION, ref(deep), {"text": TEXT})
    try:
        (answer,) = worker.capture([request], device="cpu", batch_size=8, max_tokens=512)
    finally:
        worker.close()
    assert isinstance(answer, Captured), answer.problem
    assert isinstance(answer.entry.blobs, FileBlobs)
    assert answer.entry.blobs.path.parent == tmp_path / "cache"
    assert nearly(answer.entry, whole)
    cache = Cache(tmp_path / "cache", logging.getLogger("test"))
    cache.put(request.key, request.key_parts, answer.entry)
    del answer
    assert not list((tmp_path / "cache").glob(".*.tmp"))
    assert nearly(cache.get(request.key, request.key_parts), whole)


def test_a_large_entry_in_a_notebook(loaded, whole):
    entry = in_process.entry(loaded.model, loaded.tokenizer, {"text": TEXT}, ATTENTION, 512)
    assert isinstance(entry.blobs, FileBlobs)
    assert nearly(entry, whole)


MEASURE = """
import json, sys, logging
from pathlib import Path
import torch
torch.set_num_threads(1)
from mkdocs_attnviz.cache.blobs import sizes
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import collate, example
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.settings import Settings
model, folder, text, waiting = sys.argv[1:]
attention.WAITING = int(waiting)
loaded = load(resolve(model, None, Settings(), Path.cwd()), "cpu")
read = example(loaded, {"text": text}, 4096)
attention.capture(Context(loaded, [example(loaded, {"text": "the rabbit"}, 99)]))

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))

def growth(run):
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    result = run()
    return memory("VmHWM") - before, result

def bare():
    with torch.inference_mode():
        loaded.model(**collate(loaded, [read]))

grown = {"bare": growth(bare)[0]}
context = Context(loaded, [read], folder=Path(folder), entry_size=10**9)
grown["capture"], (entry,) = growth(lambda: attention.capture(context))
size = sum(sizes(entry.blobs).values())
cache = Cache(Path(folder), logging.getLogger())
parts, entry = [("a", "b")], [entry]
grown["put"], _ = growth(lambda: cache.put("ab" * 32, parts, entry.pop()))
grown["get"], stored = growth(lambda: cache.get("ab" * 32, parts))
grown["read"], _ = growth(lambda: [len(stored.blobs[name]) for name in stored.blobs])
print(json.dumps({"size": size, "tokens": len(read.text.ids), **grown}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the peak of a process")
def test_memory_does_not_grow_with_an_entry(deep, tmp_path):
    """A capture takes less above a bare pass than half of the entry's size; writing and reading take less than a
    quarter.
    """
    told = subprocess.run(
        [sys.executable, "-c", WITH_MODULES, MEASURE, str(deep), str(tmp_path), " ".join([TEXT] * 3), str(4 << 20)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
    )
    assert told.stdout, told.stderr
    peaks = json.loads(told.stdout)
    assert peaks["size"] > 40 << 20
    assert peaks["capture"] - peaks["bare"] < peaks["size"] / 2, peaks
    assert max(peaks[step] for step in ("put", "get", "read")) < peaks["size"] / 4, peaks
