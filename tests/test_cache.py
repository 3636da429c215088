"""Entries are whole or missing; their keys are what they depend on."""

import dataclasses
import logging
import multiprocessing
import resource
import zlib

import pytest

from mkdocs_attnviz import cache
from mkdocs_attnviz.cache import Cache, DamagedEntry, Entry
from mkdocs_attnviz.models.reference import ModelRef
from mkdocs_attnviz.models.request import ATTENTION, Request

LOG = logging.getLogger("test")
MODEL = ModelRef("mini", "/models/mini", True, None, "sha256:00", "auto", False, True)
REQUEST = Request(ATTENTION, MODEL, {"text": "a cat"})
PARTS = REQUEST.key_parts()
KEY = cache.key(PARTS)
ENTRY = Entry({"sequences": {"text": {"tokens": ["a", "cat"]}}}, {"self/0": zlib.compress(b"abcd"), "self/1": b"xy"})


@pytest.fixture
def folder(tmp_path):
    return Cache(tmp_path / "cache", LOG)


def test_an_entry_comes_back_as_it_went(folder):
    folder.put(KEY, PARTS, ENTRY)
    entry = folder.get(KEY, PARTS)
    assert entry.blobs == ENTRY.blobs
    assert entry.meta == {**ENTRY.meta, "key": [list(part) for part in PARTS]}
    assert [path.name for path in folder.folder.rglob("*") if path.is_file()] == [f"{KEY}.attnviz"]


def test_the_first_two_lines_can_be_read_by_a_person():
    first, second, _ = ENTRY.to_bytes().split(b"\n", 2)
    assert first.startswith(b"attnviz 1 ")
    assert second.startswith(b'{"blobs": [["self/0", 12], ["self/1", 2]], "meta": {"sequences": ')


def test_every_damaged_byte_is_noticed():
    data = ENTRY.to_bytes()
    for position in range(len(data)):
        for bit in (0, 7):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(DamagedEntry):
                Entry.from_bytes(bytes(damaged))


def test_every_truncation_is_noticed():
    data = ENTRY.to_bytes()
    for length in range(len(data)):
        with pytest.raises(DamagedEntry):
            Entry.from_bytes(data[:length])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an entry of this version"),
        (b"%PDF-1.7", "not an entry of this version"),
        (b"attnviz 2 00\n", "not an entry of this version"),
        (ENTRY.to_bytes()[:-1], "does not match its digest"),
        (Entry({"key": [["text", "another"]]}, {}).to_bytes(), "belongs to another input"),
    ],
)
def test_a_bad_file_counts_as_missing_and_is_replaced(folder, caplog, content, why):
    path = folder.path(KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with caplog.at_level("INFO"):
        assert folder.get(KEY, PARTS) is None
    assert why in caplog.text
    folder.put(KEY, PARTS, ENTRY)
    assert folder.get(KEY, PARTS).blobs == ENTRY.blobs


def test_a_folder_that_cannot_be_written(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file, where the folder should be")
    folder = Cache(tmp_path / "cache", LOG)
    with caplog.at_level("INFO"):
        folder.put(KEY, PARTS, ENTRY)
    assert folder.get(KEY, PARTS).blobs == ENTRY.blobs  # for the rest of this build
    assert "cannot be written" in caplog.text
    assert Cache(tmp_path / "cache", LOG).get(KEY, PARTS) is None


def _fill_up(path, result):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    folder = Cache(path, LOG)
    folder.put(KEY, PARTS, ENTRY)
    result.put(folder.get(KEY, PARTS).blobs == ENTRY.blobs)


def test_a_full_disk(tmp_path):
    """A limit on the size of files fails a write in its middle, as a full disk does."""
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    process = context.Process(target=_fill_up, args=(tmp_path / "cache", result))
    process.start()
    assert result.get(timeout=60)
    process.join()
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


PAIR = {"text": "a cat", "text_pair": "a dog"}


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(REQUEST, inputs={"text": "a dog"}),
        dataclasses.replace(REQUEST, inputs=PAIR),
        dataclasses.replace(REQUEST, inputs={"text": "a cat "}),
        dataclasses.replace(REQUEST, model=dataclasses.replace(MODEL, identity="sha256:01")),
        dataclasses.replace(REQUEST, model=dataclasses.replace(MODEL, dtype="float16")),
        dataclasses.replace(REQUEST, capture=dataclasses.replace(ATTENTION, version=2)),
        dataclasses.replace(REQUEST, capture=dataclasses.replace(ATTENTION, name="other")),
    ],
    ids=["text", "pair", "space", "weights", "dtype", "version", "capture"],
)
def test_what_changes_the_key(other):
    assert cache.key(other.key_parts()) != KEY


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(REQUEST, model=dataclasses.replace(MODEL, name="another alias")),
        dataclasses.replace(REQUEST, model=dataclasses.replace(MODEL, path="/elsewhere", use_safetensors=False)),
    ],
    ids=["alias", "place"],
)
def test_what_does_not_change_the_key(other):
    assert cache.key(other.key_parts()) == KEY


def test_the_key_is_what_it_was():
    """Another key would lose every cache there is; then `version` must go up, on purpose."""
    assert KEY == "f35df66dcb0c5867c6a1cc879f6e72ba191502cc8a85359273f1bf19c68a6817"
