"""The facts that an entry records about its making: versions of packages, and each model's class, dtype and device.

They are no part of the cache key. A figure is drawn from its entry alone, perhaps on a machine that has none of these
packages, so the entry is the only place from which its page can know them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import tokenizers
import torch
import transformers

import mkdocs_attnviz
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.identity.citation import citation
from mkdocs_attnviz.models.identity.reference import own_folder

if TYPE_CHECKING:
    from mkdocs_attnviz.models.loading.loaded import Loaded

VERSIONS = {
    "torch": torch.__version__.partition("+")[0],  # without the device it was built for
    "transformers": transformers.__version__,
    "tokenizers": tokenizers.__version__,
    "mkdocs-attnviz": mkdocs_attnviz.__version__,
}
"""The versions of the packages that a capture may depend on."""


def made_with(loaded: Loaded, other: Loaded | None) -> dict[str, str]:
    """Return the facts about captures by a model, and by the model that it is compared with."""
    compared = {} if other is None else {f"other_{name}": fact for name, fact in _facts(other).items()}
    return VERSIONS | _facts(loaded) | compared


def with_facts(entries: Sequence[Entry], facts: Mapping[str, str]) -> list[Entry]:
    """Return the entries with these facts as their `made_with`."""
    return [Entry({**entry.meta, "made_with": facts}, entry.blobs) for entry in entries]


def _facts(loaded: Loaded) -> dict[str, str]:
    """Return the facts about one model. The class has the task head, if there is one, in its name."""
    facts = {
        "architecture": type(loaded.model).__name__,
        "dtype": str(getattr(loaded.model, "dtype", "")).removeprefix("torch."),
        "device": _device(loaded),
        "citation": next(filter(None, (citation(own_folder(part)) for part in loaded.ref.parts)), ""),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _device(loaded: Loaded) -> str:
    """Return the kind of device that runs the model, as torch names it; all kinds if the model is spread over them."""
    own = torch.device(loaded.device).type
    spread = getattr(loaded.model, "hf_device_map", None) or {}
    kinds = (own if isinstance(place, int) else str(place).partition(":")[0] for place in spread.values())
    return ", ".join(dict.fromkeys([own, *kinds]))
