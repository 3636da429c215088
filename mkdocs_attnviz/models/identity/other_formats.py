"""Directories that hold a model in a form that has to be turned into one of weights first: GGUF."""

from __future__ import annotations

from pathlib import Path


def problem(name: str, folder: Path) -> str:
    """Return what a folder holds in place of a whole model, and how to make one of it; '' if it holds none such."""
    files = sorted(file.name for file in folder.glob("*.gguf"))
    if files and not any(folder.glob("*.safetensors")):
        return (
            f"Model {name!r} has its weights in GGUF, which transformers turns into safetensors: "
            f"`AutoModelForCausalLM.from_pretrained(…, gguf_file={files[0]!r}).save_pretrained(…)`, and the same with "
            "AutoTokenizer; name that folder."
        )
    return ""
