"""The lock file: what it records, what it is good for, and that no build spoils it."""

import hashlib
import logging
import shutil
import subprocess
import sys
from importlib import metadata

import commands
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import INDUCTION
from entries import alike, stored
from models_of_machines import changed, hub_model, save_tensors

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.lock import Lock, Locked
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.models.engine.client import Worker
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings

LOG = logging.getLogger("test")
BERT_NAME = "google-bert/bert-base-uncased"
BERT = Locked("commit:google-bert/bert-base-uncased@" + "a" * 40, {"torch": "2.13.0", "transformers": "5.23.0"})
MINE = Locked("sha256:" + "b" * 64)

TEXT = f"""\
# Which weights the figures of this site are drawn from. Written by attnviz; commit it.
version: 1
models:
  google-bert/bert-base-uncased:
    identity: commit:google-bert/bert-base-uncased@{"a" * 40}
    torch: 2.13.0
    transformers: 5.23.0
  models/mine:
    identity: sha256:{"b" * 64}
"""

ALIAS = {"models": {"mine": "models/mine"}}
CAT = "model: mine\ntext: the old cat sat on the mat . the old cat\n"
DOG = CAT.replace("cat", "dog")
HUB_CAT, HUB_DOG = CAT.replace("mine", "org/mini"), DOG.replace("mine", "org/mini")


def opened(path):
    lock = Lock(path, LOG)
    lock.read()
    return lock


def recorded(path, **models):
    """The file after a build that drew from these."""
    lock = opened(path)
    for name, locked in models.items():
        lock.record(name, locked.identity, locked.made_with)
    lock.save()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "attnviz.lock"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """This machine's copy of what it has of the hub, which cannot be reached."""
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


@pytest.fixture(scope="module")
def worker(hub):
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def build(tmp_path, worker, caplog):
    """`build(block, …)` → the figures of a build of these blocks; `mine` is a model in a directory of the site."""
    shutil.copytree(INDUCTION, tmp_path / "models" / "mine")

    def build(*blocks, **settings):
        caplog.clear()
        caplog.set_level("INFO")
        sources = [Source(block, page="index.md", line=line) for line, block in enumerate(blocks)]
        with Pipeline(Settings.read(ALIAS | settings), tmp_path, LOG, engine=worker).build() as build:
            return build.render(sources)

    return build


def drawn(figures):
    assert [type(figure) for figure in figures] == [Figure] * len(figures), figures
    return [stored(figure.entry) for figure in figures]


# ---- the file


def test_it_reads_well_and_is_the_same_in_whatever_order(path):
    for order in ({"models/mine": MINE, BERT_NAME: BERT}, {BERT_NAME: BERT, "models/mine": MINE}):
        path.unlink(missing_ok=True)
        recorded(path, **order)
        assert path.read_text() == TEXT
    assert opened(path).known == {BERT_NAME: BERT, "models/mine": MINE}


def test_what_is_known_already_is_not_written_again(path):
    path.write_text(TEXT.replace("torch: 2.13.0", "torch: '2.13.0'"))
    before = path.stat().st_mtime_ns, path.stat().st_ino
    recorded(path, **{BERT_NAME: BERT, "models/mine": MINE})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


@pytest.mark.parametrize(
    "name",
    ["12", "1e3", "null", "- a", "a: b", "#x", "ä/日本", "a" * 300, "with space " * 20, "tensors:\udcff.safetensors"],
)
def test_any_reference_comes_back(path, name):
    recorded(path, **{name: MINE})
    assert opened(path).known == {name: MINE}


def test_its_folder_is_made(tmp_path):
    recorded(tmp_path / "a" / "b" / "attnviz.lock", mine=MINE)
    assert opened(tmp_path / "a" / "b" / "attnviz.lock").known == {"mine": MINE}


BROKEN = {
    "conflict": TEXT.replace("    identity: sha256", "<<<<<<< ours\n    identity: x\n=======\n    identity: sha256"),
    "another version": TEXT.replace("version: 1", "version: 2"),
    "no models": "version: 1\n",
    "models are a list": "version: 1\nmodels: [a]\n",
    "a model without identity": "version: 1\nmodels:\n  a: {torch: '2'}\n",
    "an identity that is a number": "version: 1\nmodels:\n  a: {identity: 2}\n",
    "a list": "- a\n",
    "empty": "",
    "no text": "\0\x01",
    "nested without end": "[" * 3_000,
    "eight levels of aliases": "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9 if before else ['lol'] * 9)}]\n"
        for before, name in zip(["", *"abcdefgh"], "abcdefghi", strict=True)
    ),
    "a tag": "version: 1\nmodels: !!python/dict {}\n",
    "too large": f"{TEXT}{'#' * (1 << 20)}",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_and_left_as_it_is(path, caplog, content):
    path.write_text(content)
    lock = opened(path)
    assert caplog.text.count(f"The lock file {path} cannot be read (") == 1
    assert lock.problem.endswith("; correct it, or delete it to start again.")
    lock.record("mine", MINE.identity, {})
    lock.save()
    lock.forget({"a"})
    assert path.read_text() == content
    assert len(caplog.records) == 1


def test_a_file_that_breaks_during_the_build_is_left_as_it_is(path, caplog):
    lock = opened(path)
    path.write_text(BROKEN["conflict"])
    lock.record("mine", MINE.identity, {})
    lock.save()
    assert path.read_text() == BROKEN["conflict"]
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/environ", "other.lock"])
def test_a_link_is_not_followed(path, caplog, monkeypatch, target):
    (path.parent / "other.lock").write_text(TEXT)
    path.symlink_to(target)
    lock = opened(path)
    assert f"The lock file {path} cannot be read (it is a link)" in caplog.text
    lock.record("mine", MINE.identity, {})
    lock.save()
    assert path.is_symlink()


def test_what_an_entry_says_of_its_making_is_taken_for_versions_alone(path):
    made_with = {"torch": "2.14.0", "transformers": "5\n- evil", "tokenizers": "9" * 400, "identity": "x", "<b>": "1"}
    recorded(path, mine=Locked(MINE.identity, made_with), other=Locked(MINE.identity, "x"))
    assert opened(path).known == {"mine": Locked(MINE.identity, {"torch": "2.14.0"}), "other": Locked(MINE.identity)}


def test_bytes_that_are_no_text(path, caplog):
    path.write_bytes(b"\xff\xfe")
    assert opened(path).problem
    path.unlink()
    path.mkdir()
    assert opened(path).problem


def test_a_build_with_a_broken_file_still_draws(build, path, caplog):
    path.write_text(BROKEN["conflict"])
    assert len(drawn(build(CAT, DOG))) == 2
    assert caplog.text.count("attnviz.lock cannot be read (") == 1
    assert path.read_text() == BROKEN["conflict"]


def test_forgetting(path):
    path.write_text(TEXT)
    lock = opened(path)
    recorded(path, other=MINE)  # by another build, meanwhile
    lock.forget({"models/mine", "unknown"})
    assert opened(path).known == {BERT_NAME: BERT, "other": MINE}
    lock.save()
    assert opened(path).known == {BERT_NAME: BERT, "other": MINE}


def test_forgetting_makes_no_file(path):
    opened(path).forget({"mine"})
    assert not path.exists()


# ---- many builds


ADD = """
import sys, logging
from pathlib import Path
from mkdocs_attnviz.cache.lock import Lock
path, name = Path(sys.argv[1]), sys.argv[2]
sys.stdin.read()
for number in range(5):
    lock = Lock(path, logging.getLogger())
    lock.read()
    lock.record(f"{name}/{number}", "sha256:00", {})
    lock.save()
"""


def test_builds_at_once_keep_what_each_has_added(path):
    command = [sys.executable, "-c", ADD, str(path)]
    builds = [subprocess.Popen([*command, name], stdin=subprocess.PIPE) for name in "abcdefgh"]
    for build in builds:
        build.stdin.close()  # go
    assert [build.wait(timeout=600) for build in builds] == [0] * 8
    assert set(opened(path).known) == {f"{name}/{number}" for name in "abcdefgh" for number in range(5)}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# ---- what it is good for


def test_versions_that_changed_are_told(path, caplog):
    recorded(path, mine=BERT)
    with caplog.at_level("INFO"):
        recorded(path, mine=Locked(BERT.identity, {"torch": "2.14.0", "transformers": "5.23.0"}))
    assert "mine was last run with other versions: torch 2.13.0, now 2.14.0" in caplog.text
    assert opened(path).known["mine"].made_with["torch"] == "2.14.0"


def test_a_build_says_what_its_figures_are_drawn_from(build, path):
    figures = build(CAT)
    drawn(figures)
    versions = {name: metadata.version(name).partition("+")[0] for name in ("torch", "transformers", "tokenizers")}
    identity = resolve("models/mine", None, Settings(), path.parent).identity
    assert opened(path).known == {"models/mine": Locked(identity, versions)}
    assert figures[0].entry.meta["made_with"].items() >= versions.items()
    path.unlink()
    drawn(build(CAT))
    assert opened(path).known == {"models/mine": Locked(identity, versions)}, "also where nothing had to be computed"
    before = path.read_bytes(), path.stat().st_ino
    drawn(build(CAT, DOG))
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_a_hub_model_stays_at_its_commit_when_the_branch_moves(build, path, hub, caplog):
    hub_model(hub, "a" * 40)
    (before,) = drawn(build(HUB_CAT))
    changed(hub_model(hub, "b" * 40))
    cat, dog = build(HUB_CAT, HUB_DOG)
    assert alike(drawn([cat]), [before])
    assert dict(map(tuple, dog.entry.meta["key"]))["model"] == f"commit:org/mini@{'a' * 40}", "the new block's, too"
    moved = (
        f"org/mini has moved: 'main' is commit {'b' * 10} now, the lock file keeps {'a' * 10}. `attnviz run --update`"
    )
    assert caplog.text.count(moved) == 1
    assert opened(path).known["org/mini"].identity == f"commit:org/mini@{'a' * 40}"

    path.unlink()  # nothing keeps it there then
    assert not alike(drawn(build(HUB_CAT)), [before])


def test_a_changed_directory_is_computed_anew_and_the_lock_file_goes_along(build, path, caplog):
    (before,) = drawn(build(CAT))
    identity = opened(path).known["models/mine"].identity
    changed(path.parent / "models" / "mine")
    (after,) = drawn(build(CAT))
    assert caplog.text.count("models/mine has changed since the lock file was written.") == 1
    assert not alike([after], [before])
    assert opened(path).known["models/mine"].identity != identity
    assert alike(drawn(build(CAT)), [after])
    assert "has changed" not in caplog.text


@pytest.mark.parametrize("on_missing", ["warn", "error"])
def test_it_is_written_only_where_models_may_run(build, path, on_missing):
    drawn(build(CAT))
    path.unlink()
    drawn(build(CAT, on_missing=on_missing))
    assert not path.exists()
    path.write_text(TEXT)
    drawn(build(CAT, on_missing=on_missing))
    assert path.read_text() == TEXT


@pytest.mark.parametrize("on_missing", ["warn", "error"])
def test_a_file_in_a_place_that_cannot_be_written(build, caplog, on_missing):
    settings = {"lock_file": "/dev/null/attnviz.lock"}
    drawn(build(CAT, **settings))
    assert "The lock file /dev/null/attnviz.lock cannot be" in caplog.text
    drawn(build(CAT, **settings, on_missing=on_missing))


# ---- a machine that only publishes

NO_TORCH = """
import sys
for name in ("torch", "transformers", "huggingface_hub", "safetensors", "numpy"):
    sys.modules[name] = None
import socket, subprocess
def refuse(*args, **more): sys.exit("a process was started, or a socket opened")
subprocess.Popen.__init__ = socket.socket.connect = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""


def test_a_machine_without_the_models_draws_from_the_cache(cold_site, hub):
    """Directory, package, hub, tensors file: all gone; the lock file says which weights were meant."""
    folder, packages = cold_site.folder, cold_site.folder / "packages"
    shutil.copytree(INDUCTION, folder / "models" / "mine")
    shutil.copytree(INDUCTION, packages / "ours" / "model")
    (packages / "ours" / "__init__.py").touch()
    if not (hub / "models--org--mini").exists():
        hub_model(hub, "a" * 40)
    save_tensors(folder / "own.safetensors")
    cold_site.settings |= ALIAS
    blocks = [CAT, CAT.replace("mine", "package:ours/model"), HUB_CAT, "tensors: own.safetensors\n"]
    cold_site.write("index.md", "".join(f"```attention\n{block}```\n\n" for block in blocks))
    there = cold_site.build("--strict", PYTHONPATH=commands.path_with(packages))
    assert there.returncode == 0, there.log
    before = there.text()

    for gone in (folder / "models", packages, hub / "models--org--mini"):
        shutil.rmtree(gone)
    (folder / "own.safetensors").unlink()
    command = [sys.executable, "-c", NO_TORCH, *cold_site.command("--strict")[3:]]
    bare = subprocess.run(command, capture_output=True, text=True)
    assert bare.returncode == 0, bare.stderr
    assert bare.stderr.count("cached (") == 4
    assert there.page().select("attn-viz") == BeautifulSoup(before, "html5lib").select("attn-viz")

    (folder / "attnviz.lock").unlink()  # without it, nobody knows which weights were meant
    bare = subprocess.run(command, capture_output=True, text=True)
    assert bare.returncode == 1
    assert bare.stderr.count("cached (") == 0


def test_stand_ins_of_git_lfs_are_the_same_model(build, path, caplog):
    """A checkout without the large files knows which weights are meant, and draws from the cache."""
    before = drawn(build(CAT))
    weights_file, known = path.parent / "models" / "mine" / "model.safetensors", opened(path).known
    size, digest = weights_file.stat().st_size, hashlib.sha256(weights_file.read_bytes()).hexdigest()
    weights_file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n")
    assert alike(drawn(build(CAT, on_missing="error")), before)
    assert "has changed" not in caplog.text
    (cat, dog) = build(CAT, DOG)
    assert alike(drawn([cat]), before)
    assert "Git LFS has not brought its model.safetensors yet" in dog.message
    assert opened(path).known == known


def test_a_text_file_that_git_lfs_has_not_brought_is_read_by_nobody(build, path):
    """A vocabulary or a template would be read as it stands, and kept under a true key, even if weights fail to
    load."""
    template = path.parent / "models" / "mine" / "chat_template.jinja"
    template.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 9\n")
    (alert,) = build(CAT)
    assert "Git LFS has not brought its chat_template.jinja yet" in alert.message
    assert not (path.parent / ".attnviz").exists()


# ---- a lock file of strangers


def test_a_pinned_commit_wins_over_the_lock_file(build, path, hub):
    """A build, with or without models that may run, and `attnviz check`, say that they contradict each other."""
    for commit in "cd":
        hub_model(hub, commit * 40)
    pinned = {"model": "org/mini", "revision": "c" * 40, "trust_remote_code": True}
    settings = {"models": {"mine": pinned}, "only_listed_models": True}
    about = {"identity": f"commit:org/mini@{'d' * 40}"}
    lock = {"version": 1, "models": {f"org/mini@{'c' * 40} + code": about}}
    path.write_text(yaml.safe_dump(lock))
    for on_missing in ("run", "warn"):
        (alert,) = build(CAT, **settings, on_missing=on_missing)
        assert f"The lock file says 'commit:org/mini@{'d' * 40}' of 'org/mini@{'c' * 40} + code'" in alert.message
    assert not (path.parent / ".attnviz").exists()
    (path.parent / "docs").mkdir()
    (path.parent / "docs" / "index.md").write_text(f"```attention\n{CAT}```\n")
    (path.parent / "mkdocs.yml").write_text(yaml.safe_dump({"site_name": "x", "plugins": [{"attnviz": settings}]}))
    run = commands.run("mkdocs_attnviz", "check", cwd=path.parent)
    assert run.returncode == 1
    assert "index.md:2: The lock file says" in run.stderr


def test_a_digest_in_the_lock_file_names_nothing_that_is_stored(build, path, hub):
    """`org/mini` is told to be the site's own model: its figures would go into the shared cache as that one's."""
    hub_model(hub, "e" * 40)
    mine = resolve("models/mine", None, Settings(), path.parent).identity
    path.write_text(yaml.safe_dump({"version": 1, "models": {"org/mini": {"identity": mine}}}))
    (alert,) = build(HUB_CAT, cache_url=(path.parent / "shared").as_uri(), cache_push=True)
    assert f"The lock file says '{mine}' of 'org/mini', which can only be commit:org/mini@COMMIT" in alert.message
    shutil.rmtree(hub / "models--org--mini" / "refs")  # a machine that does not know it
    (alert,) = build(HUB_CAT, cache_url=(path.parent / "shared").as_uri(), cache_push=True)
    assert "is no directory on this machine, as which the lock file knows it" in alert.message
    assert not list(path.parent.rglob("*.attnviz"))
