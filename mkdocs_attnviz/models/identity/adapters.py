"""Directories that hold an adapter (LoRA or similar): weights saved by peft that change another model, the base.

The base is named in `adapter_config.json`, by the adapter's author. So the name is resolved as if a block of the site
named it, and is trusted no more than that. This module needs neither peft nor torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from mkdocs_attnviz.block.problem import BlockError

CONFIG = "adapter_config.json"
"""The file that marks a directory as an adapter."""
SAFETENSORS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
"""The files that may hold an adapter's weights."""
WHOLE = ("model*.safetensors", "pytorch_model*.bin")
"""Patterns of the files that hold a whole model's weights."""
TOKENIZER = ("tokenizer_config.json", "tokenizer.json")
"""Files that are there if a tokenizer was saved with the adapter."""


class Base(NamedTuple):
    """The model that an adapter changes, as the adapter's configuration names it."""

    name: str
    revision: str | None


def is_adapter(folder: Path) -> bool:
    """Return whether a directory holds an adapter, perhaps among other files."""
    return (folder / CONFIG).is_file()


def base_of(name: str, folder: Path) -> Base:
    """Return the base of the adapter in a directory; `name` is for messages. A `config.json` in it is not read.

    Raises:
        BlockError: no base is named, or the directory also holds a whole model.
    """
    whole = sorted(file.name for pattern in WHOLE for file in folder.glob(pattern))
    if whole:
        raise BlockError(
            f"Model {name!r} holds both an adapter ({CONFIG}) and a whole model ({whole[0]}), and which "
            "is meant cannot be told; keep one of them in its directory."
        )
    config = read(folder)
    base, revision = config.get("base_model_name_or_path"), config.get("revision") or None
    if not isinstance(base, str) or not base:
        raise BlockError(
            f"Model {name!r} is an adapter whose {CONFIG} does not say of which model; give that as "
            "`base_model_name_or_path` there."
        )
    if revision is not None and not isinstance(revision, str):
        raise BlockError(f"Model {name!r} is an adapter whose {CONFIG} has the `revision` {revision!r}, which is none.")
    return Base(base, revision)


def read(folder: Path) -> dict[str, Any]:
    """Return an adapter's configuration, or an empty one if it cannot be read."""
    try:
        known = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def has_tokenizer(folder: Path) -> bool:
    """Return whether the adapter's directory has a tokenizer, which is then used instead of the base's."""
    return any((folder / name).is_file() for name in TOKENIZER)
