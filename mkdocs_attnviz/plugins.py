"""The views that installed packages register, including ours, by the entry point group `attnviz.views`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

GROUP = "attnviz.views"


@cache
def registered() -> Mapping[str, list[EntryPoint]]:
    """Return the entry points for each view name, ours first, by name. There are several if packages disagree."""
    points_by_name: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (not is_ours(point.module), point.name)):
        if point not in points_by_name.setdefault(point.name, []):  # an editable install may be listed twice
            points_by_name[point.name].append(point)
    return points_by_name


def is_ours(module: str) -> bool:
    """Return whether a module is in this package."""
    return module.partition(".")[0] == "mkdocs_attnviz"


def packages() -> set[str]:
    """Return the import names of the packages that have registered a view."""
    return {point.module.partition(".")[0] for points in registered().values() for point in points}


def distribution(point: EntryPoint) -> str:
    """Return the name of the distribution that an entry point belongs to, as pip knows it."""
    return point.dist.name if point.dist is not None else point.module.partition(".")[0]
