"""The lock file in every host: a site stays at the weights that it names, and draws where no model is."""

import pytest
from hosts import HOSTS, PythonMarkdown
from models_of_machines import changed, hub_model, without_models
from published import ALIAS, BLOCKS, HUB, bring, shown


@pytest.fixture(params=list(HOSTS))
def host(request, published, tmp_path):
    """Each host's site, with the cache and the lock file that another host has made, and no model."""
    host = HOSTS[request.param](tmp_path, tmp_path / "unused")
    bring(published, host)
    host.settings, host.environment = dict(ALIAS), HUB | {"HF_HUB_CACHE": str(tmp_path / "hub")}
    return host


def test_a_machine_without_models_draws_what_another_host_has_computed(host, published):
    bare = without_models(host.folder / "bare")
    host.settings["on_missing"] = "error"
    host.environment |= {"PYTHONPATH": str(bare)}
    host.write("index", *BLOCKS)
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert shown(built) == published.figures

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
    assert shown(built) == published.figures[2:3]
    assert (host.base / "attnviz.lock").read_bytes() == lock
    if not isinstance(host, PythonMarkdown):  # which is silent
        assert "org/mini has moved: 'main' is commit bbbbbbbbbb now, the lock file keeps aaaaaaaaaa" in built.log
