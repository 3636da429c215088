"""Entries are whole or missing; their keys are what they depend on."""

import contextlib
import dataclasses
import hashlib
import logging
import os
import random
import resource
import shutil
import subprocess
import zlib

import pytest
from conftest import INDUCTION
from entries import alike, stored

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.blobs import FileBlobs, Spool
from mkdocs_attnviz.cache.entry import DamagedEntry, Entry
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.cache.key import entry_key
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.models.engine.client import Worker
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import head
from mkdocs_attnviz.views.attention.capture import ATTENTION

LOG = logging.getLogger("test")
MODEL = ModelRef("mini", "/models/mini", True, None, "sha256:00", "auto", False, True)
REQUEST = Request(ATTENTION, MODEL, {"text": "a cat"})
PARTS = REQUEST.key_parts
KEY = entry_key(PARTS)
ENTRY = Entry({"sequences": {"text": {"tokens": ["a", "cat"]}}}, {"self/0": zlib.compress(b"abcd"), "self/1": b"xy"})


@pytest.fixture
def folder(tmp_path):
    return Cache(tmp_path / "cache", LOG)


# ---- an entry and its file


def test_an_entry_comes_back_as_it_went(folder):
    folder.put(KEY, PARTS, ENTRY)
    entry = folder.get(KEY, PARTS)
    assert entry.blobs == ENTRY.blobs
    assert entry.meta == {**ENTRY.meta, "key": [list(part) for part in PARTS]}
    files = {str(path.relative_to(folder.folder)) for path in folder.folder.rglob("*") if path.is_file()}
    assert files == {f"{KEY[:2]}/{KEY}.attnviz", ".gitattributes", ".gitignore"}


def test_the_first_two_lines_can_be_read_by_a_person():
    first, second, _ = ENTRY.to_bytes().split(b"\n", 2)
    assert first.startswith(b"attnviz 1 ")
    assert second.startswith(b'{"blobs": [["self/0", 12], ["self/1", 2]], "meta": {"sequences": ')


# ---- damage


def test_every_flipped_bit_is_noticed(folder):
    path = folder.path(KEY)
    folder.put(KEY, PARTS, ENTRY)
    data = path.read_bytes()
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(DamagedEntry):
                Entry.from_bytes(bytes(damaged))
        path.write_bytes(damaged)
        assert folder.get(KEY, PARTS) is None
    path.write_bytes(data)
    assert folder.get(KEY, PARTS).blobs == ENTRY.blobs


def test_every_truncation_is_noticed(folder):
    path = folder.path(KEY)
    folder.put(KEY, PARTS, ENTRY)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert folder.get(KEY, PARTS) is None
    path.write_bytes(data + b"\0")
    assert folder.get(KEY, PARTS) is None


def _sealed(header, rest=b""):
    """A file whose digest is right, whatever it holds."""
    content = header + b"\n" + rest
    return b"attnviz 1 " + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an entry of this version"),
        (b"%PDF-1.7", "not an entry of this version"),
        (b"attnviz 2 00\n", "not an entry of this version"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "not an entry of this version"),
        (ENTRY.to_bytes()[:-1], "does not match its digest"),
        (ENTRY.to_bytes().replace(b"\n", b"\r\n"), "does not match its digest"),
        (Entry({"key": [["text", "another"]]}, {}).to_bytes(), "belongs to another input"),
        (Entry({}, {}).to_bytes(), "belongs to another input"),
        (_sealed(b"no JSON"), "header is not that of an entry"),
        (_sealed(b"[" * 100_000), "header is not that of an entry"),
        (_sealed(b"[]"), "header is not that of an entry"),
        (_sealed(b'{"meta": {}}'), "header is not that of an entry"),
        (_sealed(b'{"meta": {}, "blobs": [["self/0", "2"]]}', b"xy"), "header is not that of an entry"),
        (_sealed(b'{"meta": {}, "blobs": [["self/0", 3]]}', b"xy"), "other sizes than its content has"),
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


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


def test_a_figure_is_right_whatever_its_entry_has_become(tmp_path, worker):
    """Damage at places all over a real entry: it is computed anew, and what is drawn is what was drawn."""

    def draw():
        source = Source(f"model: {INDUCTION}\ntext: the old cat sat on the mat . the old cat")
        with Pipeline(Settings(), tmp_path, LOG, engine=worker).build() as build:
            (figure,) = build.render([source])
        assert isinstance(figure, Figure), figure
        return figure.entry

    right = draw()
    (path,) = (tmp_path / ".attnviz").rglob("*.attnviz")
    whole, chance = path.read_bytes(), random.Random(1)
    for _ in range(20):
        place, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        flipped = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
        for damaged in (flipped, whole[:place]):
            path.write_bytes(damaged)
            entry = draw()
            assert entry.meta["sequences"] == right.meta["sequences"]
            assert alike([stored(entry)], [stored(right)])
            assert Entry.from_bytes(path.read_bytes()).blobs == entry.blobs


# ---- a large entry


@pytest.fixture(scope="module")
def large():
    """An entry whose blobs do not stay in memory."""
    return Entry({"key": PARTS}, {f"self/{n}": os.urandom(5 << 20) for n in range(3)})


def test_blobs_of_a_large_entry_stay_in_its_file(folder, large):
    folder.put(KEY, PARTS, large)
    assert folder.path(KEY).read_bytes() == folder.get(KEY, PARTS).to_bytes() == large.to_bytes()
    entry = folder.get(KEY, PARTS)
    assert isinstance(entry.blobs, FileBlobs)
    assert folder.get(KEY, PARTS) is entry, "its digest is computed once"
    assert dict(entry.blobs) == large.blobs
    with folder.path(KEY).open("r+b") as file:  # in place, so that no other file is opened
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    assert entry.blobs["self/0"] == large.blobs["self/0"]
    with pytest.raises(DamagedEntry, match="part 'self/2' has changed"):
        entry.blobs["self/2"]
    assert folder.get(KEY, PARTS) is None, "another time of change: the digest is computed again"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-1], "digest"),
        (lambda data: data + b"x", "digest"),
        (lambda data: data.replace(b"blobs", b"blobz", 1), "digest"),
        (lambda data: b"attnviz 2" + data[9:], "not an entry of this version"),
        (lambda data: sealed(data.split(b"\n", 1)[1] + b"x"), "other sizes"),
        (lambda data: sealed(data.split(b"\n", 1)[1].replace(b"blobs", b"blobz", 1)), "header is not"),
    ],
)
def test_a_large_file_that_is_damaged(tmp_path, large, damage, told):
    path = tmp_path / "entry"
    path.write_bytes(damage(large.to_bytes()))
    with path.open("rb") as file, pytest.raises(DamagedEntry, match=told):
        Entry.open(file, path.stat().st_size)


def sealed(content):
    """Return a file with this content and its true digest."""
    return b"attnviz 1 " + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def test_a_large_entry_is_signed(tmp_path, large):
    path = tmp_path / "entry"
    path.write_bytes(large.to_bytes(b"k" * 32))
    with path.open("rb") as file:
        assert dict(Entry.open(file, path.stat().st_size, b"k" * 32).blobs) == large.blobs
    with path.open("rb") as file, pytest.raises(DamagedEntry, match="not signed"):
        Entry.open(file, path.stat().st_size, b"j" * 32)


def test_a_spool_is_removed_with_its_blobs(tmp_path, large):
    spool = Spool(tmp_path / "new")
    for name, blob in large.blobs.items():
        spool.add(name, blob)
    blobs = spool.blobs(list(reversed(large.blobs)))
    assert list(blobs) == list(reversed(large.blobs))
    assert dict(blobs) == large.blobs
    assert len(list((tmp_path / "new").glob(".*.tmp"))) == 1
    del spool, blobs
    assert not list((tmp_path / "new").iterdir())


# ---- a folder that cannot be written


def test_a_file_where_the_folder_should_be(tmp_path, caplog):
    (tmp_path / "cache").write_text("not a folder")
    folder = Cache(tmp_path / "cache", LOG)
    with caplog.at_level("INFO"):
        folder.put(KEY, PARTS, ENTRY)
    assert folder.get(KEY, PARTS).blobs == ENTRY.blobs  # for the rest of this build
    assert "cannot be written" in caplog.text
    assert Cache(tmp_path / "cache", LOG).get(KEY, PARTS) is None


def test_a_folder_where_the_entry_should_be(folder, caplog):
    folder.path(KEY).mkdir(parents=True)
    assert folder.get(KEY, PARTS) is None
    with caplog.at_level("INFO"):
        folder.put(KEY, PARTS, ENTRY)
    assert folder.get(KEY, PARTS).blobs == ENTRY.blobs
    assert "cannot be written" in caplog.text


@contextlib.contextmanager
def full_disk(size):
    """Let no file become larger than `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_write_that_fails_in_its_middle(folder, tmp_path, caplog):
    with caplog.at_level("INFO"), full_disk(100):
        folder.put(KEY, PARTS, ENTRY)
    assert "cannot be written" in caplog.text
    assert folder.get(KEY, PARTS).blobs == ENTRY.blobs
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name[:4] != ".git"] == []


# ---- the folder in git


@pytest.fixture
def git(tmp_path):
    """`git(…)` in a repository that would change line endings, if it may."""

    def git(*arguments, folder=tmp_path):
        settings = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "core.autocrlf=true",
            "-c",
            "core.safecrlf=false",
        ]
        run = subprocess.run(["git", *settings, *arguments], cwd=folder, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    git("init", "-q")
    return git


def test_git_takes_entries_for_binary(folder, git):
    folder.put(KEY, PARTS, ENTRY)
    marks = git("check-attr", "binary", "text", "diff", "merge", "linguist-generated", "--", folder.path(KEY))
    assert [line.rsplit(": ", 2)[1:] for line in marks.splitlines()] == [
        ["binary", "set"],
        ["text", "unset"],
        ["diff", "unset"],
        ["merge", "unset"],
        ["linguist-generated", "set"],
    ]


def test_git_passes_over_what_a_killed_build_has_left(folder, git):
    folder.put(KEY, PARTS, ENTRY)
    left = folder.path(KEY).with_name(".x8fe2.tmp")
    left.write_bytes(b"half")
    assert git("check-ignore", left)
    git("add", ".")
    assert git("ls-files").split() == ["cache/.gitattributes", "cache/.gitignore", f"cache/{KEY[:2]}/{KEY}.attnviz"]


def test_a_checkout_leaves_entries_as_they_are(folder, git, tmp_path):
    """Also where line endings are changed, and the content looks like text."""
    text = Entry(ENTRY.meta, {"self/0": b"one\r\ntwo\nthree\r\n"})
    folder.put(KEY, PARTS, text)
    (tmp_path / "page.md").write_bytes(b"one\ntwo\n")
    git("add", ".")
    git("commit", "-qm", "cache")
    git("clone", "-q", ".", "elsewhere")
    copy = tmp_path / "elsewhere"
    assert (copy / "page.md").read_bytes() == b"one\r\ntwo\r\n", "this git changes line endings"
    assert Cache(copy / "cache", LOG).get(KEY, PARTS).blobs == text.blobs


def test_marks_of_ones_own_are_kept(folder):
    folder.folder.mkdir()
    (folder.folder / ".gitattributes").write_text("*.attnviz filter=lfs\n")
    folder.put(KEY, PARTS, ENTRY)
    assert (folder.folder / ".gitattributes").read_text() == "*.attnviz filter=lfs\n"


# ---- the key

BLOCK = "model: mine\ntext: a cat\n"


@pytest.fixture
def key_of(tmp_path, monkeypatch):
    """`key_of(body)` → the cache key of a block of a site whose model `mine` is a copy of the induction model."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    shutil.copytree(INDUCTION, tmp_path / "models" / "mine")

    def key_of(body=BLOCK, page="index.md", line=1, header=None, **settings):
        settings = {"models": {"mine": "models/mine", "same": "./models/mine"}, **settings}
        with Pipeline(Settings.read(settings), tmp_path, LOG).build() as build:
            return build.plan(Source(body, header or {}, page, line)).request.key

    return key_of


def altered(path):
    """The file with one bit of its last byte but one flipped."""
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


CHANGES_THE_KEY = {
    "text": {"body": "model: mine\ntext: a dog\n"},
    "a space in the text": {"body": "model: mine\ntext: a  cat\n"},
    "a space at its end, in quotes": {"body": 'model: mine\ntext: "a cat "\n'},
    "a capital": {"body": "model: mine\ntext: A cat\n"},
    "an accent written another way": {"body": "model: mine\ntext: a ca\u0301t\n"},
    "pair": {"body": f"{BLOCK}text_pair: a dog\n"},
    "target": {"body": f"{BLOCK}text_target: a cat\n"},
    "capture": {"body": f"{BLOCK}view: neuron\n"},
    "what it is to write": {"body": f"{BLOCK}generate: {{}}\n"},
    "a conversation": {"body": "model: mine\nchat: [{role: user, content: a cat}]\n"},
    "an intervention": {"body": f"{BLOCK}interventions: [{{layer: 0, heads: 1}}]\n"},
    "dtype of the site": {"dtype": "float16"},
    "dtype of the model": {"models": {"mine": {"model": "models/mine", "dtype": "bfloat16"}}},
}


@pytest.mark.parametrize("change", CHANGES_THE_KEY.values(), ids=CHANGES_THE_KEY)
def test_what_changes_the_key(key_of, change):
    assert key_of(**change) != key_of()


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "words.txt"]
)
def test_a_byte_of_the_model_changes_the_key(key_of, tmp_path, file):
    before = key_of()
    altered(tmp_path / "models" / "mine" / file)
    assert key_of() != before


def test_a_tokenizer_file_that_is_new_changes_the_key(key_of, tmp_path):
    before = key_of()
    (tmp_path / "models" / "mine" / "added_tokens.json").write_text("{}")
    assert key_of() != before


PAIRS_OF_KEYS = {
    "number of tokens": ("generate: {max_new_tokens: 3}", "generate: {max_new_tokens: 4}"),
    "seed": ("generate: {do_sample: true, seed: 1}", "generate: {do_sample: true, seed: 2}"),
    "beams": ("generate: {}", "generate: {num_beams: 2}"),
    "scale": ("interventions: [{layer: 0, heads: 1}]", "interventions: [{layer: 0, heads: 1, scale: 2}]"),
    "head": ("interventions: [{layer: 0, heads: 1}]", "interventions: [{layer: 0, heads: 0}]"),
    "likeliest tokens": ("view: tokens", "view: tokens\ntop_k: 3"),
}


@pytest.mark.parametrize(("one", "other"), PAIRS_OF_KEYS.values(), ids=PAIRS_OF_KEYS)
def test_what_is_within_a_key_changes_the_key(key_of, one, other):
    assert len({key_of(BLOCK + more) for more in ("", one, other)}) == 3


def test_another_role_changes_the_key(key_of):
    roles = ("user", "assistant")
    assert len({key_of(f"model: mine\nchat: [{{role: {role}, content: a cat}}]\n") for role in roles}) == 2


SAME_KEYS = {
    "a default that is given": ("generate: {}", "generate: {max_new_tokens: 20, do_sample: false}"),
    "order": ("generate: {num_beams: 2, max_new_tokens: 3}", "generate: {max_new_tokens: 3, num_beams: 2}"),
    "order of heads": ("interventions: [{layer: 0, heads: [1, 0]}]", "interventions: [{heads: [0, 1], layer: 0}]"),
    "views of one capture": ("view: tokens", "view: predict"),
    "what a view shows at first": ("view: tokens", "view: tokens\nshade: rank"),
    "a place": ("view: predict", "view: predict\nposition: 1"),
    "the usual number of likeliest tokens": ("view: predict", "view: predict\ntop_k: 10"),
}


@pytest.mark.parametrize(("one", "other"), SAME_KEYS.values(), ids=SAME_KEYS)
def test_what_says_the_same_has_the_same_key(key_of, one, other):
    assert key_of(BLOCK + one) == key_of(BLOCK + other)


@pytest.mark.parametrize("other", [{"version": 99}, {"name": "other"}])
def test_the_captures_schema_changes_the_key(key_of, monkeypatch, other):
    before = key_of()
    changed = dataclasses.replace(head.VIEW, capture=dataclasses.replace(ATTENTION, **other))
    monkeypatch.setattr("mkdocs_attnviz.pipeline.VIEWS", {"head": changed})
    assert key_of() != before


def test_the_revision_changes_the_key(key_of, tmp_path):
    """A branch is known by the commit that it means, not by its name."""
    refs = tmp_path / "hub" / "models--org--mini" / "refs"
    refs.mkdir(parents=True)
    for name, commit in {"main": "a" * 40, "v1": "a" * 40, "v2": "b" * 40}.items():
        (refs / name).write_text(commit)
    main, v1, v2 = (
        key_of(f"model: org/mini\ntext: a cat\n{more}") for more in ("", "revision: v1\n", "revision: v2\n")
    )
    assert main == v1 == key_of(f"model: org/mini\ntext: a cat\nrevision: {'a' * 40}\n")
    assert v2 != main
    (refs / "main").write_text("b" * 40)
    assert key_of("model: org/mini\ntext: a cat\n") == v2


LEAVES_THE_KEY = {
    "page": {"page": "guide/other.md"},
    "line": {"line": 99},
    "layer, heads, theme": {"body": f"{BLOCK}layer: 1\nheads: [0, 2]\ntheme: dark\n"},
    "another view of the same capture": {"body": f"{BLOCK}view: matrix\n"},
    "caption, id": {"body": f"{BLOCK}caption: A cat.\nid: cat\n"},
    "CRLF": {"body": BLOCK.replace("\n", "\r\n")},
    "order of keys": {"body": "text: a cat\nmodel: mine\n"},
    "trailing space": {"body": "model: mine  \ntext: a cat   \n  \n"},
    "quotes, comments, block scalars": {"body": '# of cats\n"model": mine\ntext: >-\n  a\n  cat\n'},
    "JSON": {"body": '{"text": "a cat", "model": "mine"}'},
    "keys in the header": {"body": "text: a cat\n", "header": {"model": "mine"}},
    "alias": {"body": "model: same\ntext: a cat\n"},
    "directory in place of the alias": {"body": "model: models/mine\ntext: a cat\n"},
    "device, batch_size, max_tokens": {"device": "cuda:1", "batch_size": 1, "max_tokens": 9},
    "device_map": {"models": {"mine": {"model": "models/mine", "device_map": "auto"}}},
    "cache_dir, on_missing": {"cache_dir": "elsewhere", "on_missing": "error", "lock_file": "other.lock"},
}


@pytest.mark.parametrize("change", LEAVES_THE_KEY.values(), ids=LEAVES_THE_KEY)
def test_what_leaves_the_key_as_it_is(key_of, change):
    assert key_of(**change) == key_of()


def test_lines_of_a_text_end_alike(key_of):
    body = "model: mine\ntext: |\n  a cat\n  a dog\n"
    assert key_of(body.replace("\n", "\r\n")) == key_of(body)


def test_moving_the_model_leaves_the_key(key_of, tmp_path):
    before = key_of()
    (tmp_path / "models" / "mine").rename(tmp_path / "moved")
    altered(tmp_path / "moved" / "README.md")
    assert key_of(models={"mine": "moved"}) == before


def test_parts_cannot_pass_for_each_other():
    one = [("text", "a"), ("text_pair", None)]
    for other in (
        [("text", "a"), ("text_pair", "")],
        [("text", None), ("text_pair", "a")],
        [("text", 'a", "text_pair')],
    ):
        assert entry_key(one) != entry_key(other)


def test_the_key_is_what_it_was():
    """Another key would lose every cache there is; then `version` must go up, on purpose."""
    assert KEY == "93f9848842aed5100737a5c3145ceffb66135b6ffcb94eb8e4ba8696c06193dd"


def test_keys_of_all_that_was_not_thought_of_at_first():
    """A request without them has the parts that it had before there were any."""
    later = {"parameters": {"top_k": 10}, "interventions": [{"layer": 0, "heads": [1], "scale": 0.0}]}
    assert [name for name, _ in REQUEST.key_parts] == [
        *("capture", "version", "model", "dtype", "text", "text_pair", "text_target"),
    ]
    more = dataclasses.replace(REQUEST, inputs={**REQUEST.inputs, "generate": {"max_new_tokens": 3}}, **later)
    added = more.key_parts[len(PARTS) :]
    assert added == [
        ("generate", '{"max_new_tokens": 3}'),
        ("parameters", '{"top_k": 10}'),
        ("interventions", '[{"heads": [1], "layer": 0, "scale": 0.0}]'),
    ]
    assert more.key_parts[: len(PARTS)] == PARTS


def test_another_model_is_the_last_of_the_key_s_parts():
    """One that is not there is no part of it: keys of entries of one model are what they were."""
    other = dataclasses.replace(MODEL, name="else", path="/models/else", identity="sha256:11", dtype="bfloat16")
    both = dataclasses.replace(REQUEST, parameters={"top_k": 10}, other=other)
    assert both.key_parts == [
        *PARTS,
        ("parameters", '{"top_k": 10}'),
        ("other", "sha256:11"),
        ("other_dtype", "bfloat16"),
    ]
    assert entry_key(both.key_parts) == "d055a91d1a3103e8bca97b0bb5f43bbd7b9073b7b0a9b4a48d5bdda4fc731c54"
    with pytest.raises(ValueError, match="else has no identity yet"):
        dataclasses.replace(both, other=dataclasses.replace(other, identity=None)).key  # noqa: B018


COMPARED = f"{BLOCK}view: similarity\nother: same\n"


def test_what_of_another_model_changes_the_key(key_of, tmp_path):
    """Its content, not its name; a text's entry of one model is not that of two."""
    before = key_of(COMPARED)
    assert before != key_of(f"{BLOCK}view: similarity\n")
    assert before == key_of(COMPARED.replace("same", "./models/mine"))
    models = {"mine": "models/mine", "same": "models/copy"}
    shutil.copytree(INDUCTION, tmp_path / "models" / "copy")
    assert before == key_of(COMPARED, models=models)
    assert before != key_of(COMPARED, models=models | {"same": {"model": "models/copy", "dtype": "float16"}})
    altered(tmp_path / "models" / "copy" / "model.safetensors")
    assert before != key_of(COMPARED, models=models)
