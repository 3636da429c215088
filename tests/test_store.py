"""The shared cache: what goes in comes out, whatever the store does in between."""

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import uuid
import zlib
from pathlib import Path

import fsspec
import pytest
from entries import entries, leftovers
from flaky import Flaky
from permissions import obey

from mkdocs_attnviz.cache.entry import Entry, signing_key
from mkdocs_attnviz.cache.folder import Cache, StoreError
from mkdocs_attnviz.cache.key import entry_key, file_name
from mkdocs_attnviz.cache.store import AT_FIRST, TRIES, Store

LOG = logging.getLogger("test")
PARTS = {f"text {number}": [("capture", "attention"), ("text", f"text {number}")] for number in range(100)}
INPUTS = {entry_key(parts): parts for parts in PARTS.values()}
KEYS = list(INPUTS)
KEY = KEYS[0]


def entry(key):
    return Entry({"of": INPUTS[key][1][1]}, {"self/0": zlib.compress(key.encode())})


@pytest.fixture(autouse=True)
def no_store_remembers():
    fsspec.filesystem("memory").store.clear()
    Flaky.calls = Flaky.failed = 0


@pytest.fixture
def machine(tmp_path):
    """`machine(name, url)` → the cache of one of the machines that share a store."""

    def machine(name, url, push=True):
        return Cache(tmp_path / name, LOG, Store(url, LOG, wait=0.001), push=push)

    return machine


@pytest.fixture(params=["file", "memory", "memory-root", "magic", "flaky", "s3"])
def url(request, tmp_path):
    """The URL of a store; each is to behave as all others do."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    return {
        "file": (tmp_path / "store").as_uri(),
        "memory": "memory://docs/cache/",
        "memory-root": "memory://",
        "magic": f"file://{tmp_path}/my [store]*?",
        "flaky": f"flaky://{tmp_path}/store",
        "s3": f"s3://{uuid.uuid4()}/cache",
    }[request.param]


@pytest.fixture(scope="session")  # fsspec keeps its connections, and those would be to a server that has gone
def s3_server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


# ---- what a store is for


def test_what_one_machine_computes_another_draws(machine, url):
    here, there = machine("here", url), machine("there", url, push=False)
    assert there.fetch({KEY: INPUTS[KEY]}) == set()
    for key in KEYS[:5]:
        here.put(key, INPUTS[key], entry(key))
    assert there.fetch(INPUTS) == set(KEYS[:5])
    assert there.get(KEY, INPUTS[KEY]).blobs == entry(KEY).blobs
    assert entries(there.folder) == entries(here.folder)


def test_sizes_and_removing(machine, url):
    here, store = machine("here", url), Store(url, LOG, wait=0.001)
    assert store.sizes() == {}
    for key in KEYS[:3]:
        here.put(key, INPUTS[key], entry(key))
    assert store.sizes() == {key: here.path(key).stat().st_size for key in KEYS[:3]}
    store.remove(KEY)
    store.remove(KEY)
    assert set(store.sizes()) == set(KEYS[1:3])
    assert dict(store.fetch(KEYS[:2])).keys() == {KEYS[1]}


def test_a_store_is_laid_out_like_the_folder(machine, tmp_path):
    """A folder can be copied into a store, and a store be a folder."""
    here = machine("here", (tmp_path / "store").as_uri())
    here.put(KEY, INPUTS[KEY], entry(KEY))
    assert (tmp_path / "store" / file_name(KEY)).read_bytes() == here.path(KEY).read_bytes()
    assert (tmp_path / "store" / file_name(KEY)).stat().st_mode & 0o777 == 0o644


def test_nothing_is_pushed_unless_that_is_wanted(machine, url):
    machine("here", url, push=False).put(KEY, INPUTS[KEY], entry(KEY))
    assert Store(url, LOG).sizes() == {}


def test_a_full_folder_leaves_the_store_alone(machine, monkeypatch):
    monkeypatch.setenv("FLAKY", "1")
    here = machine("here", "flaky:///nowhere", push=False)
    here.put(KEY, INPUTS[KEY], entry(KEY))
    assert here.get(KEY, INPUTS[KEY])
    assert here.fetch({}) == set()
    assert Flaky.calls == 0


# ---- a store that fails


def test_every_third_call_fails_and_every_entry_arrives(machine, tmp_path, caplog):
    url = f"flaky://{tmp_path}/store"
    here, there = machine("here", url), machine("there", url)
    for key in KEYS:
        here.put(key, INPUTS[key], entry(key))
    assert there.fetch(INPUTS) == set(KEYS)
    assert entries(tmp_path / "store").keys() == entries(there.folder).keys() == set(KEYS)
    assert Flaky.failed > len(KEYS)
    assert caplog.text == ""


def test_a_store_that_always_fails_is_told_once_and_left_alone(machine, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FLAKY", "1")
    here = machine("here", f"flaky://{tmp_path}/store")
    assert here.fetch(INPUTS) == set()
    assert here.fetch(INPUTS) == set()
    for key in KEYS:
        here.put(key, INPUTS[key], entry(key))
    assert entries(here.folder).keys() == set(KEYS)
    reading, writing = (record.getMessage() for record in caplog.records)
    store = f"The shared cache flaky://{tmp_path}/store"
    assert reading == f"{store} cannot be read (TimeoutError: the store did not answer)."
    assert writing == (
        f"{store} cannot be written (TimeoutError: the store did not answer). "
        "New entries stay in the folder of this machine."
    )
    assert Flaky.calls == TRIES * AT_FIRST + TRIES

    monkeypatch.setenv("FLAKY", "1000")
    here.begin()  # the next build under `serve`
    here.put(KEY, INPUTS[KEY], entry(KEY))
    assert set(Store(here.store.url, LOG).sizes()) == {KEY}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nope://docs", "The shared cache nope://docs cannot be opened (ValueError: Protocol not known: nope)."),
        ("abfs://docs", "The shared cache abfs://docs cannot be opened: Install adlfs to access"),
        ("file:///dev/null/docs", "The shared cache file:///dev/null/docs cannot be written (NotADirectoryError"),
    ],
)
def test_what_no_second_try_mends_is_told_at_once(url, sentence):
    store, start = Store(url, LOG, wait=600), time.monotonic()
    with pytest.raises(StoreError) as caught:
        store.put(KEY, b"")
    assert str(caught.value).startswith(sentence)
    if url.startswith("abfs"):
        assert "`pip install 'attnviz[share]'`, and what fsspec asks for" in str(caught.value)
    assert time.monotonic() - start < 300


def test_what_may_not_be_read_or_written(tmp_path):
    """A process that the permission bits hold for."""
    store = tmp_path / "store"
    (store / KEY[:2]).mkdir(parents=True)
    (store / file_name(KEY)).write_bytes(entry(KEY).to_bytes())
    (store / file_name(KEY)).chmod(0)
    (store / KEY[:2]).chmod(0o555)
    script = (
        "import logging, sys; from mkdocs_attnviz.cache.store import Store, StoreError\n"
        f"store = Store({store.as_uri()!r}, logging.getLogger(), wait=600)\n"
        f"for act in (lambda: list(store.fetch([{KEY!r}])), lambda: store.put({KEY!r}, b''),"
        f" lambda: store.remove({KEY!r})):\n"
        "    try: act()\n"
        "    except StoreError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=obey, timeout=300)
    said = run.stdout.splitlines()
    assert [line.partition(" (")[0].rpartition(" ")[2] for line in said] == ["read", "written", "written"], run
    assert all("(PermissionError: [Errno 13] Permission denied" in line for line in said)
    (store / KEY[:2]).chmod(0o755)


# ---- a store that holds what it should not


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not an entry of this version"),
        (b"<html>404</html>", "it is not an entry of this version"),
        (entry(KEY).to_bytes()[:-3], "its content does not match its digest"),
        (entry(KEY).to_bytes().replace(b"text", b"tExt"), "its content does not match its digest"),
        (Entry({"key": [["text", "another"]]}, {}).to_bytes(), "it belongs to another input"),
    ],
)
def test_what_is_not_the_entry_is_not_used_and_replaced(machine, url, caplog, content, why):
    here = machine("here", url)
    here.store.put(KEY, content)
    with caplog.at_level("INFO"):
        assert here.fetch({KEY: INPUTS[KEY]}) == set()
    assert f"of the shared cache is not used: {why}" in caplog.text
    assert not here.has(KEY)
    here.put(KEY, INPUTS[KEY], entry(KEY))
    assert machine("there", url).fetch({KEY: INPUTS[KEY]}) == {KEY}


def test_no_part_of_an_entry_is_ever_seen(tmp_path, monkeypatch):
    """The entry stands under its name, although the folder for temporary files lies on another disk than the store."""
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm" if Path("/dev/shm").is_dir() else None)
    content = Entry({"key": INPUTS[KEY]}, {"self/0": os.urandom(8_000_000)}).to_bytes()
    store, path = Store((tmp_path / "store").as_uri(), LOG), tmp_path / "store" / file_name(KEY)
    seen, ended = [], threading.Event()

    def look():
        while not (seen and ended.is_set()):
            with contextlib.suppress(FileNotFoundError):
                seen.append(path.stat().st_size)

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(10):
        store.put(KEY, content)
    ended.set()
    looking.join()
    assert set(seen) == {len(content)}
    assert path.read_bytes() == content
    assert leftovers(tmp_path / "store") == []


# ---- what is large


def test_large_and_empty_entries(machine, url):
    here, there = machine("here", url), machine("there", url, push=False)
    large = Entry({"of": "large"}, {f"self/{number}": os.urandom(6 << 20) for number in range(2)})
    here.put(KEYS[0], INPUTS[KEYS[0]], large)
    here.put(KEYS[1], INPUTS[KEYS[1]], entry(KEYS[1]))
    here.store.put(KEYS[2], b"")
    assert there.fetch({key: INPUTS[key] for key in KEYS[:4]}) == set(KEYS[:2])
    assert dict(there.get(KEYS[0], INPUTS[KEYS[0]]).blobs) == large.blobs
    assert leftovers(there.folder) == []


@pytest.mark.parametrize("damage", ["cut", "changed", "another", "unsigned"])
def test_a_large_entry_is_checked_before_it_is_used(machine, tmp_path, caplog, damage):
    here, there = (machine(name, (tmp_path / "store").as_uri()) for name in ("here", "there"))
    given = Entry({"of": "large"}, {f"self/{number}": os.urandom(6 << 20) for number in range(2)})
    here.put(KEY, INPUTS[KEYS[1] if damage == "another" else KEY], given)
    path = tmp_path / "store" / file_name(KEY)
    with path.open("r+b") as file:
        if damage == "cut":
            file.truncate(11 << 20)
        elif damage == "changed":
            file.seek(9 << 20)
            file.write(b"another")
    there.signing_key = SECRET if damage == "unsigned" else b""
    with caplog.at_level("INFO"):
        assert there.fetch({KEY: INPUTS[KEY]}) == set()
    assert "of the shared cache is not used: it" in caplog.text
    assert not there.has(KEY)
    assert leftovers(there.folder) == []


def test_a_large_entry_is_never_in_memory_as_a_whole(machine, tmp_path, monkeypatch):
    """It is copied to the store and back in pieces, also if the folder of a machine cannot be written."""
    url = (tmp_path / "store").as_uri()
    here, there = machine("here", url), machine("there", url)
    (tmp_path / "full").write_text("no folder")
    full = machine("full", url)
    given = Entry({"of": "large"}, {f"self/{number}": os.urandom(8 << 20) for number in range(6)})
    tracemalloc.start()
    here.put(KEY, INPUTS[KEY], given)
    for other in (there, full):
        assert other.fetch({KEY: INPUTS[KEY]}) == {KEY}
    assert tracemalloc.get_traced_memory()[1] < 32 << 20  # without the entry itself, which was made before
    tracemalloc.stop()
    for other in (there, full):
        assert dict(other.get(KEY, INPUTS[KEY]).blobs) == given.blobs


class Partless(fsspec.AbstractFileSystem):
    """A store behind a server that knows no parts of files, and sends all of a file in place of any."""

    protocol = "partless"
    content = b""

    def info(self, path, **_):
        return {"name": path, "size": len(self.content), "type": "file"}

    def cat_file(self, path, start=None, end=None, **_):
        return self.content


def test_a_server_that_knows_no_parts(machine):
    given = Entry({"of": "large", "key": [list(part) for part in INPUTS[KEY]]}, {"self/0": os.urandom(9 << 20)})
    Partless.content = given.to_bytes()
    fsspec.register_implementation("partless", Partless, clobber=True)
    there = machine("there", "partless://docs", push=False)
    assert there.fetch({KEY: INPUTS[KEY]}) == {KEY}
    assert dict(there.get(KEY, INPUTS[KEY]).blobs) == given.blobs


def test_objects_without_end_are_not_held(machine, tmp_path, caplog):
    """Strangers' entries are as many as are asked for at once, of more than a gigabyte each, and one has no end at
    all."""
    there = machine("there", (tmp_path / "store").as_uri(), push=False)
    for key in KEYS[:64]:
        path = tmp_path / "store" / file_name(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, (1 << 30) + 1)
    path.unlink()
    path.symlink_to("/dev/zero")
    tracemalloc.start()
    with caplog.at_level("INFO"):
        assert there.fetch({key: INPUTS[key] for key in KEYS[:64]}) == set()
    assert tracemalloc.get_traced_memory()[1] < 400 << 20
    tracemalloc.stop()
    assert caplog.text.count("of the shared cache is not used: it has 1024 MB.") == 63
    assert caplog.text.count("of the shared cache is not used: it has 0 MB.") == 1


# ---- signatures

SECRET = b"k" * 32


def test_entries_of_those_who_have_the_key(machine, url):
    """Machines without the key read entries as before; nobody who has it believes what they write."""
    here, there, stranger = (machine(name, url) for name in ("here", "there", "stranger"))
    here.signing_key = there.signing_key = SECRET
    here.put(KEYS[0], INPUTS[KEYS[0]], entry(KEYS[0]))
    stranger.put(KEYS[1], INPUTS[KEYS[1]], entry(KEYS[1]))
    assert there.fetch({key: INPUTS[key] for key in KEYS[:2]}) == {KEYS[0]}
    assert stranger.fetch({KEYS[0]: INPUTS[KEYS[0]]}) == {KEYS[0]}
    assert stranger.get(KEYS[0], INPUTS[KEYS[0]]).blobs == entry(KEYS[0]).blobs
    there.signing_key = b"another key, and long enough for it"
    assert there.get(KEYS[0], INPUTS[KEYS[0]]) is None


def test_a_signature_is_that_of_its_entry(machine, tmp_path):
    """Not of another, whether it is put there as it is or sealed anew."""
    here = machine("here", (tmp_path / "store").as_uri())
    here.signing_key = SECRET
    here.put(KEYS[0], INPUTS[KEYS[0]], entry(KEYS[0]))
    first = here.path(KEYS[0]).read_bytes().partition(b"\n")[0]
    here.put(KEYS[1], INPUTS[KEYS[1]], entry(KEYS[1]))
    path = here.path(KEYS[1])
    signed = path.read_bytes()
    other = Entry.from_bytes(signed)
    forged = Entry(other.meta, {"self/0": b"forged"}).to_bytes()
    head, _, rest = forged.partition(b"\n")
    for content in (
        forged,
        head + b" " + first.rpartition(b" ")[2] + b"\n" + rest,
        head + b" " + signed.partition(b"\n")[0].rpartition(b" ")[2] + b"\n" + rest,
        head + b" \n" + rest,
        Entry(other.meta, {"self/0": b"forged"}).to_bytes(b"x" * 32),
    ):
        path.write_bytes(content)
        assert here.get(KEYS[1], INPUTS[KEYS[1]]) is None
    path.write_bytes(signed)
    assert here.get(KEYS[1], INPUTS[KEYS[1]]).blobs == entry(KEYS[1]).blobs


def test_a_key_that_keeps_nobody_out():
    assert signing_key({}) == signing_key({"ATTNVIZ_SIGNING_KEY": " "}) == b""
    assert signing_key({"ATTNVIZ_SIGNING_KEY": f"{'k' * 32}\n"}) == SECRET
    with pytest.raises(ValueError, match="ATTNVIZ_SIGNING_KEY has 6 characters, and it needs 32"):
        signing_key({"ATTNVIZ_SIGNING_KEY": "secret"})
