"""A site that was built where its models are, for tests of machines that have none: cache, lock file, figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from commands import path_with
from conftest import INDUCTION, Built
from hosts import Host, MkDocs
from models_of_machines import hub_model, save_tensors

TEXT = "text: the old cat sat on the mat . the old cat"
BLOCKS = [f"model: {model}\n{TEXT}" for model in ("mine", "package:ours/model", "org/mini")]
BLOCKS.append("tensors: own.safetensors")
ALIAS = {"models": {"mine": "models/mine"}}
HUB = {"HF_HUB_OFFLINE": "1"}


class Published(NamedTuple):
    folder: Path
    """Has what a repository commits: `.attnviz/` and `attnviz.lock`."""
    figures: list[Any]
    """Return what each block's figure shows."""


def shown(built: Built) -> list[Any]:
    return [json.loads(figure["data-figure"]) for figure in built.page().select("figure.attnviz attn-viz")]


def figures(folder: Path) -> list[Any]:
    """Return what each figure of a published site shows."""
    return shown(Built(folder, 0, ""))


def publish(folder: Path) -> None:
    """Build the site in a folder."""
    packages, hub = folder / "packages", folder / "hub"
    shutil.copytree(INDUCTION, folder / "models" / "mine")
    shutil.copytree(INDUCTION, packages / "ours" / "model")
    (packages / "ours" / "__init__.py").touch()
    hub_model(hub, "a" * 40)
    save_tensors(folder / "own.safetensors")
    host = MkDocs(folder, folder / ".attnviz")
    host.settings, host.environment = ALIAS, HUB | {"HF_HUB_CACHE": str(hub), "PYTHONPATH": path_with(packages)}
    host.write("index", *BLOCKS)
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert len(shown(built)) == len(BLOCKS)


def bring(published: Published, host: Host) -> None:
    """Give a host's site the cache and the lock file, and no model."""
    host.base.mkdir(exist_ok=True)
    shutil.copytree(published.folder / ".attnviz", host.base / ".attnviz")
    shutil.copy(published.folder / "attnviz.lock", host.base)
    host.settings = ALIAS | {"on_missing": "error"}
