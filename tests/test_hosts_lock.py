"""The lock file in every host: a site stays at the weights that it names, and draws where no model is."""

import json
import shutil

import pytest
from conftest import INDUCTION
from hosts import HOSTS, MkDocs, PythonMarkdown
from models_of_machines import changed, hub_model, save_tensors, without_models

TEXT = "text: the old cat sat on the mat . the old cat"
BLOCKS = [f"model: {model}\n{TEXT}" for model in ("mine", "package:ours/model", "org/mini")]
BLOCKS.append("tensors: own.safetensors")
ALIAS = {"models": {"mine": "models/mine"}}
HUB = {"HF_HUB_OFFLINE": "1"}


def shown(built):
    return [json.loads(figure["data-figure"]) for figure in built.page().select("figure.attnviz > attn-viz")]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with what a repository commits of a site, `.attnviz/` and `attnviz.lock`, and what its figures show."""
    folder = tmp_path_factory.mktemp("published")
    packages, hub = folder / "packages", folder / "hub"
    shutil.copytree(INDUCTION, folder / "models" / "mine")
    shutil.copytree(INDUCTION, packages / "ours" / "model")
    (packages / "ours" / "__init__.py").touch()
    hub_model(hub, "a" * 40)
    save_tensors(folder / "own.safetensors")
    host = MkDocs(folder, folder / ".attnviz")
    host.settings, host.environment = ALIAS, HUB | {"HF_HUB_CACHE": str(hub), "PYTHONPATH": str(packages)}
    host.write("index", *BLOCKS)
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert len(shown(built)) == len(BLOCKS)
    return folder, shown(built)


@pytest.fixture(params=list(HOSTS))
def host(request, published, tmp_path):
    """Each host's site, with the cache and the lock file that another host has made, and no model."""
    host = HOSTS[request.param](tmp_path, tmp_path / "unused")
    host.base.mkdir(exist_ok=True)
    shutil.copytree(published[0] / ".attnviz", host.base / ".attnviz")
    shutil.copy(published[0] / "attnviz.lock", host.base)
    host.settings, host.environment = dict(ALIAS), HUB | {"HF_HUB_CACHE": str(tmp_path / "hub")}
    return host


def test_a_machine_without_models_draws_what_another_host_has_computed(host, published):
    bare = without_models(host.folder / "bare")
    host.settings["on_missing"] = "error"
    host.environment |= {"PYTHONPATH": str(bare)}
    host.write("index", *BLOCKS)
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert shown(built) == published[1]

    (host.base / "attnviz.lock").unlink()  # without it, nobody knows which weights were meant
    host.write("index", *BLOCKS, "tensors: own.safetensors\nlayer: 0")  # what is built again
    assert host.build(strict=True).returncode != 0


def test_a_build_stays_at_the_pinned_commit(host, published, tmp_path):
    hub_model(tmp_path / "hub", "a" * 40)
    changed(hub_model(tmp_path / "hub", "b" * 40))  # where the branch is now
    lock = (host.base / "attnviz.lock").read_bytes()
    host.write("index", BLOCKS[2])
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert shown(built) == published[1][2:3]
    assert (host.base / "attnviz.lock").read_bytes() == lock
    if not isinstance(host, PythonMarkdown):  # which is silent
        assert "org/mini has moved: 'main' is commit bbbbbbbbbb now, the lock file keeps aaaaaaaaaa" in built.log
