"""The configuration of a site of MkDocs or ProperDocs, read by either tool's own functions, for the command `attnviz`.

ProperDocs has the same functions under its own name. A machine needs only the tool that builds the site.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yaml.constructor import ConstructorError

NAMES = {"mkdocs": "MkDocs", "properdocs": "ProperDocs"}
"""The packages that read such a configuration, with their names in messages."""


def named_tool(path: Path) -> str:
    """Return the package that the name of a configuration tells."""
    return "properdocs" if path.stem == "properdocs" else "mkdocs"


def installed_tool(path: Path) -> str | None:
    """Return the package that reads this configuration here: the one that its name tells, or else the other one; None
    if neither is installed."""
    ordered = sorted(NAMES, key=lambda tool: tool != named_tool(path))
    return next((tool for tool in ordered if find_spec(tool) is not None), None)


def read_config(tool: str, path: Path, rendering: Any, absent: Callable[[str], Any]) -> dict[str, Any]:
    """Return the content of a configuration file, with MkDocs' own tags. `absent` makes a value for each Python name
    that is not found here.

    `rendering` is the value that the tag `!relative` reads for the page being rendered.

    Raises:
        ConfigurationError: if the file is not YAML, or inherits from a missing file. It is the tool's own, and click's.
        OSError: if the file cannot be read.
    """
    functions: Any = import_module(f"{tool}.utils.yaml")
    loader: Any = functions.get_yaml_loader(config=rendering)

    class Lenient(loader):  # type: ignore[misc]
        def find_python_name(self, name: str, mark: Any) -> Any:
            try:
                return super().find_python_name(name, mark)
            except ConstructorError:
                return absent(name)

    with path.open("rb") as file:
        config: dict[str, Any] = functions.yaml_load(file, Lenient)
        return config
