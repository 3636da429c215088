"""The views that installed packages register, ours among them, by the entry point group `attnviz.views`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

GROUP = "attnviz.views"


@cache
def registered() -> Mapping[str, list[EntryPoint]]:
    """Return the entry points of each view's name, ours first, by name: one, or several where packages disagree."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (not is_ours(point.module), point.name)):
        if point not in found.setdefault(point.name, []):  # an editable install may be listed twice
            found[point.name].append(point)
    return found


def is_ours(module: str) -> bool:
    """Return whether a module is in this package."""
    return module.partition(".")[0] == "mkdocs_attnviz"


def packages() -> set[str]:
    """Return the Python packages that have registered a view, by their import names."""
    return {point.module.partition(".")[0] for points in registered().values() for point in points}


def distribution(point: EntryPoint) -> str:
    """Return the name by which pip knows the package of an entry point."""
    return point.dist.name if point.dist is not None else point.module.partition(".")[0]
