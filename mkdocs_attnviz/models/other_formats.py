"""Directories that hold a model in a form that has to be turned into one of weights first: adapters and GGUF."""

from __future__ import annotations

import json
from pathlib import Path

ADAPTER = "adapter_config.json"
"""The file by which peft knows an adapter (LoRA and others)."""


def problem(name: str, folder: Path) -> str:
    """Return what a folder holds in place of a whole model, and how to make one of it; '' if it holds neither."""
    if (folder / ADAPTER).is_file():
        base = _base(folder / ADAPTER)
        of = f" for {base!r}" if base else ""
        return (
            f"Model {name!r} holds an adapter (LoRA){of}, which changes another model; save the two as one model "
            "with peft, and name that: `AutoPeftModelForCausalLM.from_pretrained(…)"
            ".merge_and_unload().save_pretrained(…)`, and its tokenizer beside it."
        )
    files = sorted(file.name for file in folder.glob("*.gguf"))
    if files and not any(folder.glob("*.safetensors")):
        return (
            f"Model {name!r} has its weights in GGUF, which transformers turns into safetensors: "
            f"`AutoModelForCausalLM.from_pretrained(…, gguf_file={files[0]!r}).save_pretrained(…)`, and the same with "
            "AutoTokenizer; name that folder."
        )
    return ""


def _base(file: Path) -> str:
    """Return the name of the model that an adapter changes, or ''."""
    try:
        known = json.loads(file.read_text("utf-8"))
        return str(known.get("base_model_name_or_path") or "")
    except (OSError, ValueError, AttributeError):
        return ""
