"""Models and tensors as a machine may hold them: of the hub, changed since, in a file; and a machine without any."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import INDUCTION


def hub_model(hub: Path, commit: str) -> Path:
    """A hub's model as huggingface_hub keeps it on this machine; its branch is at `commit`."""
    folder = hub / "models--org--mini"
    shutil.copytree(INDUCTION, folder / "snapshots" / commit)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    return folder / "snapshots" / commit


def changed(model: Path) -> None:
    """Other weights of the same shapes."""
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    save_file({name: 1.5 * tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})


def save_tensors(path: Path) -> None:
    """Write one head of two tokens."""
    import torch
    from safetensors.torch import save_file

    weights = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])  # (heads, Tq, Tk)
    save_file({"self.0": weights}, path, metadata={"tokens": '["a", "cat"]'})


def without_models(folder: Path, *more: str, processes: bool = False) -> Path:
    """Return a folder for `PYTHONPATH` in which Python cannot import what runs models, nor `more`, start or connect;
    with `processes`, it may start some."""
    folder.mkdir()
    refusals = [LACKING.format(refused=[*RUNS_MODELS, *more]), *[ALONE] * (not processes)]
    (folder / "sitecustomize.py").write_text("".join(refusals))
    return folder


RUNS_MODELS = ("torch", "transformers", "huggingface_hub", "safetensors", "numpy")
LACKING = """\
import sys
sys.modules.update(dict.fromkeys({refused!r}))
"""
ALONE = """\
import socket, subprocess
def refuse(*args, **more): sys.exit("a process was started, or a socket opened")
subprocess.Popen.__init__ = socket.socket.connect = socket.getaddrinfo = refuse
"""
