"""Directories that hold a model in a format that must first be converted to safetensors: GGUF."""

from __future__ import annotations

from pathlib import Path


def problem(name: str, folder: Path) -> str:
    """Return a sentence about a folder in another format and how to convert it; '' if it holds none."""
    files = sorted(file.name for file in folder.glob("*.gguf"))
    if files and not any(folder.glob("*.safetensors")):
        return (
            f"Model {name!r} has its weights in GGUF, which transformers turns into safetensors: "
            f"`AutoModelForCausalLM.from_pretrained(…, gguf_file={files[0]!r}).save_pretrained(…)`, and the same with "
            "AutoTokenizer; name that folder."
        )
    return ""
