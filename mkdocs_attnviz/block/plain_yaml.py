"""The plain part of YAML: no anchors, aliases or tags and little depth, so that no text can expand, run or recurse."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import yaml

from mkdocs_attnviz.block.problem import BlockError

MAX_DEPTH = 8


LIBYAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast, where it is there."""


def plain_yaml(text: str) -> object:
    """Return the value of a YAML text without anchors, aliases, tags and depth.

    Raises:
        BlockError: it has some.
        yaml.YAMLError: it is no YAML.
        ValueError: it holds a number or a date that there is not.
    """
    with suppress(yaml.YAMLError):  # it does not know half a surrogate pair, which the name of a file may have
        return _loaded(text, LIBYAML)
    return _loaded(text, yaml.SafeLoader)


def _loaded(text: str, loader: Any) -> object:
    _refuse_expansion(text, loader, "file")
    return yaml.load(text, Loader=loader)  # noqa: S506 — both loaders are safe ones


def _refuse_expansion(text: str, loader: Any, what: str = "block") -> None:
    """Anchors, aliases, tags and depth are refused while nothing has been built yet."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        line = event.start_mark.line if event.start_mark else None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise BlockError(
                "Anchors and aliases (`&`, `*`) are not read; put a text that begins with them in quotes.", line
            )
        if tag := getattr(event, "tag", None):
            raise BlockError(f"YAML tags are not read, and this {what} has {tag!r}; put the text in quotes.", line)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise BlockError(f"The {what} is nested more than {MAX_DEPTH} deep.", line)
