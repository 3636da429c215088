"""Entries whose checksum is right and whose content is not: what is drawn is right, and costs what it is worth."""

import copy
import hashlib
import json
import logging
import os
import tracemalloc
import zlib
from functools import cache as cache_results

import pytest
from conftest import INDUCTION
from entries import alike, stored

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST_LAYER, fault, inflated, unusable
from mkdocs_attnviz.cache.files import read_regular
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.cli.status import block_statuses
from mkdocs_attnviz.figure.alert import Alert
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.models.engine.client import Worker
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings

LOG = logging.getLogger("test")
BLOCK = f"model: {INDUCTION}\ntext: the old cat sat on the mat . the old cat\n"
PREDICT, NEURON = f"{BLOCK}view: predict\n", f"{BLOCK}view: neuron\n"


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def draw(tmp_path, worker):
    """`draw(block)` → what a build of it gives; its entries are in `tmp_path / ".attnviz"`."""

    def draw(block, **settings):
        with Pipeline(Settings.read(settings), tmp_path, LOG, engine=worker).build() as build:
            (found,) = build.render([Source(block)])
        if isinstance(found, Figure):
            found.html("attnviz-1", Assets())
        return found

    return draw


@cache_results
def bomb(size):
    stream = zlib.compressobj(9)
    return b"".join([*(stream.compress(bytes(1 << 20)) for _ in range(size >> 20)), stream.flush()])


def header(change):
    """A change of the header."""

    def changed(meta, blobs):
        change(meta)
        return meta, blobs

    return changed


def layer(**values):
    return header(lambda meta: meta["stacks"]["self"]["layers"][0].update(values))


def text(**values):
    return header(lambda meta: meta["sequences"]["text"].update(values))


def blob(name, content):
    return lambda meta, blobs: (meta, blobs | {name: content})


def without_end(name):
    return lambda meta, blobs: (meta, blobs | {name: bomb(128 << 20)})


HEAD = {
    "made by a text": header(lambda meta: meta.update(made_with="x")),
    "made by numbers": header(lambda meta: meta.update(made_with={"torch": 2})),
    "no stacks": header(lambda meta: meta.update(stacks={})),
    "stacks that are a list": header(lambda meta: meta.update(stacks=[])),
    "nothing but its key": header(lambda meta: [meta.pop(name) for name in list(meta) if name != "key"]),
    "a million heads": layer(heads=1_000_000),
    "more heads than bytes": layer(heads=900),
    "some heads more": layer(heads=9),
    "a head less": layer(heads=1),
    "heads that are no whole number": layer(heads=2.0),
    "heads that are true": layer(heads=True),
    "no heads": layer(heads=0),
    "a layer that is not there": layer(layer=77),
    "a negative layer": layer(layer=-1),
    "values that are not there": layer(values=True, layer=0, rollout="yes"),
    "an unknown sequence": header(lambda meta: meta["stacks"]["self"].update(rows="other")),
    "tokens that are numbers": text(tokens=list(range(11))),
    "fewer tokens": text(tokens=["a"]),
    "no tokens": text(tokens=[], pretty=[], words=[], special=[]),
    "no pretty tokens": header(lambda meta: meta["sequences"]["text"].pop("pretty")),
    "a special token that is not there": text(special=[99]),
    "words without end": text(words=[0] * 100_000),
    "no weights": lambda meta, blobs: (meta, {name: part for name, part in blobs.items() if name != "self/0"}),
    "weights that are not deflated": blob("self/0", b"nothing"),
    "weights of another size": blob("self/0", zlib.compress(bytes(7))),
    "weights without end": without_end("self/0"),
    "weights and more": lambda meta, blobs: (meta, blobs | {"self/0": blobs["self/0"] + b"more"}),
    "half the weights": lambda meta, blobs: (meta, blobs | {"self/0": blobs["self/0"][:-9]}),
}
OF_PREDICT = {
    "a list": blob("predictions", zlib.compress(b"[]")),
    "no JSON": blob("predictions", zlib.compress(b"{")),
    "nested without end": blob("predictions", zlib.compress(b"[" * 100_000)),
    "JSON without end": without_end("predictions"),
    "an unknown task": header(lambda meta: meta.pop("task")),
}
OF_NEURON = {
    "a key vector without end": layer(neurons={"d": 1 << 20, "kv_heads": 2, "scale": 1.0, "terms": []}),
    "a scale that is no number": layer(neurons={"d": 8, "kv_heads": 2, "scale": float("nan"), "terms": []}),
    "a thousand terms": layer(neurons={"d": 8, "kv_heads": 2, "scale": 1.0, "terms": ["x"] * 1000}),
}
CASES = [
    *((BLOCK, f"head: {name}", change) for name, change in HEAD.items()),
    *((PREDICT, f"predict: {name}", change) for name, change in OF_PREDICT.items()),
    *((NEURON, f"neuron: {name}", change) for name, change in OF_NEURON.items()),
]


@pytest.mark.parametrize(("block", "change"), [(b, c) for b, _, c in CASES], ids=[name for _, name, _ in CASES])
def test_a_damaged_entry_is_computed_anew(draw, tmp_path, block, change):
    right = draw(block)
    assert isinstance(right, Figure), right.message
    (path,) = (tmp_path / ".attnviz").rglob("*.attnviz")
    whole = Entry.from_bytes(path.read_bytes())
    path.write_bytes(Entry(*change(copy.deepcopy(dict(whole.meta)), dict(whole.blobs))).to_bytes())
    tracemalloc.start()
    again = draw(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(again, Figure), again.message
    assert again.drawing.sentence == right.drawing.sentence
    assert again.entry.meta == right.entry.meta
    assert alike([stored(again.entry)], [stored(right.entry)])
    assert peak < 80 << 20, "no part was inflated beyond its size"
    assert Entry.from_bytes(path.read_bytes()).meta == whole.meta, "it is replaced"


@pytest.mark.parametrize(
    "sizes", ['[["self/0", 2.0]]', '[["self/0", true]]', '[["self/0", -1], ["b", 3]]', '{"a": "b"}', "7"]
)
def test_sizes_that_are_no_sizes(sizes):
    content = f'{{"meta": {{}}, "blobs": {sizes}}}\n'.encode() + b"xy"
    sealed = b"attnviz 1 " + hashlib.sha256(content).hexdigest().encode() + b"\n" + content
    with pytest.raises(DamagedEntry):
        Entry.from_bytes(sealed)


def test_where_no_model_may_run_a_damaged_entry_is_told(draw, tmp_path, worker):
    draw(BLOCK)
    (path,) = (tmp_path / ".attnviz").rglob("*.attnviz")
    whole = Entry.from_bytes(path.read_bytes())
    path.write_bytes(Entry(*HEAD["weights without end"](dict(whole.meta), dict(whole.blobs))).to_bytes())
    found = draw(BLOCK, on_missing="warn")
    assert isinstance(found, Alert)
    assert "The cache does not hold this figure's tensors" in found.message
    with Pipeline(Settings(on_missing="warn"), tmp_path, LOG, engine=worker).build() as build:
        (status,) = block_statuses(build, [Source(BLOCK)])
    assert status.state == "damaged"


def test_a_store_that_holds_a_bad_entry_gives_it_once(draw, tmp_path):
    right = draw(BLOCK)
    (path,) = (tmp_path / ".attnviz").rglob("*.attnviz")
    whole = Entry.from_bytes(path.read_bytes())
    shared = tmp_path / "shared" / path.relative_to(tmp_path / ".attnviz")
    shared.parent.mkdir(parents=True)
    shared.write_bytes(Entry(*HEAD["some heads more"](copy.deepcopy(dict(whole.meta)), dict(whole.blobs))).to_bytes())
    path.unlink()
    again = draw(BLOCK, cache_url=(tmp_path / "shared").as_uri(), cache_push=True)
    assert isinstance(again, Figure), again.message
    assert again.entry.meta == right.entry.meta
    assert Entry.from_bytes(shared.read_bytes()).meta == whole.meta, "and there, too, it is replaced"


def test_an_entry_that_vanishes_between_computing_and_drawing(tmp_path, worker, monkeypatch):
    """It is computed again; where something removes it each time, the alert says so."""
    source = Source(BLOCK)
    with Pipeline(Settings(), tmp_path, LOG, engine=worker).build() as build:
        build.prepare([source])
        (path,) = (tmp_path / ".attnviz").rglob("*.attnviz")
        path.unlink()
        (figure,) = build.render([source])
        assert isinstance(figure, Figure), figure.message
        monkeypatch.setattr(Cache, "get", lambda *_: None)
        (alert,) = build.render([source])
    assert "Its cache entry was written and is gone again" in alert.message


# ---- links and devices


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/environ", "whole"])
def test_an_entry_that_is_a_link(draw, tmp_path, target):
    right = draw(BLOCK)
    (path,) = (tmp_path / ".attnviz").rglob("*.attnviz")
    path.rename(path.parent / "whole")
    path.symlink_to(target)
    again = draw(BLOCK)
    assert isinstance(again, Figure), again.message
    assert alike([stored(again.entry)], [stored(right.entry)])
    assert not path.is_symlink()


def test_what_is_read_is_a_regular_file_and_not_too_large(tmp_path):
    (tmp_path / "file").write_bytes(b"1234")
    assert read_regular(tmp_path / "file", 4) == b"1234"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, largest, why in (("file", 3, "larger"), ("pipe", 4, "no regular"), ("folder", 4, "no regular")):
        with pytest.raises(OSError, match=why):
            read_regular(tmp_path / name, largest)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing", 4)


# ---- sizes


def test_inflating_stops_at_the_expected_size():
    deflated = bomb(128 << 20)
    tracemalloc.start()
    for size in (0, 1000):
        with pytest.raises(ValueError, match="does not hold"):
            inflated(deflated, size)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert inflated(zlib.compress(b"abc"), 3) == b"abc"
    assert inflated(zlib.compress(b"abc"), 9, most=True) == b"abc"
    for content, size in (
        (zlib.compress(b"abc"), 4),
        (zlib.compress(b"abc") + b"d", 3),
        (zlib.compress(b"abc")[:-1], 3),
    ):
        with pytest.raises(ValueError, match="does not hold"):
            inflated(content, size)


def test_a_layer_that_no_browser_holds():
    tokens = ["a"] * 2048
    meta = {
        "sequences": {"text": {"tokens": tokens}},
        "stacks": {"self": {"rows": "text", "cols": "text", "causal": False, "layers": [{"layer": 0, "heads": 65}]}},
    }
    assert LARGEST_LAYER == 64 * 2048 * 2048
    blobs = {"self/0": bytes(LARGEST_LAYER // 1000)}
    assert "65 × 2048 × 2048 weights" in unusable(meta, blobs)
    assert fault(meta, blobs) == "has more weights in a layer than a figure can show"
    meta["stacks"]["self"]["layers"][0]["heads"] = 64
    assert (unusable(meta, blobs), fault(meta, blobs)) == ("", "")
    meta["stacks"]["self"]["layers"][0]["heads"] = 2000
    assert "it has a header with a wrong `stacks.self.layers.0.heads`" in unusable(meta, blobs)
    assert json.loads(json.dumps(meta)) == meta
