"""Directories that hold an adapter (LoRA and its kin): what peft saves, which changes a model that lies elsewhere.

The other model is the adapter's base. It is named in `adapter_config.json`, by whoever wrote that file; so the name
means what it would mean in a block of the site, and no more. This module needs neither peft nor torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from mkdocs_attnviz.block.problem import BlockError

CONFIG = "adapter_config.json"
"""The file by which peft knows an adapter."""
SAFETENSORS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
"""The files that an adapter's weights may be in."""
WHOLE = ("model*.safetensors", "pytorch_model*.bin")
"""The files that a whole model's weights are in."""
TOKENIZER = ("tokenizer_config.json", "tokenizer.json")
"""Files that tell that a tokenizer was saved beside an adapter."""


class Base(NamedTuple):
    """A model that an adapter changes, as the adapter's configuration names it."""

    name: str
    revision: str | None


def is_adapter(folder: Path) -> bool:
    """Return whether a directory holds an adapter, perhaps beside other files."""
    return (folder / CONFIG).is_file()


def base_of(name: str, folder: Path) -> Base:
    """Return the base of the adapter in a directory; `name` is for messages. A `config.json` beside it is not read.

    Raises:
        BlockError: no base is named, or the directory holds a whole model, too.
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
    """Return an adapter's configuration; an empty one if it cannot be read."""
    try:
        known = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def has_tokenizer(folder: Path) -> bool:
    """Return whether the adapter's directory has a tokenizer, which is then read in place of its base's."""
    return any((folder / name).is_file() for name in TOKENIZER)
