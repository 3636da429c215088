"""The scripts that trained the example site's models."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def script(folder: Path) -> ModuleType:
    """A folder's `train.py`, with the `grammar` that lies beside it: other folders have one of the same name."""
    spec = importlib.util.spec_from_file_location(f"train_{folder.name}", folder / "train.py")
    module = importlib.util.module_from_spec(spec)
    others = sys.modules.pop("grammar", None)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("grammar", None)
        if others:
            sys.modules["grammar"] = others
    return module
