"""The packages that draw our pictures where there is no browser. Each is an extra of its own."""

from __future__ import annotations

import importlib
from typing import Any


class NoRenderer(Exception):
    """An error that says that the package that would draw a picture is not installed."""


def renderer(name: str) -> Any:
    """Return the module of this name, which draws pictures.

    Raises:
        NoRenderer: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NoRenderer from None


def is_installed(name: str) -> bool:
    """Return whether the module of this name can be imported."""
    try:
        renderer(name)
    except NoRenderer:
        return False
    return True
