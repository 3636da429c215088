"""The plain part of YAML: no anchors, aliases or tags and little depth, so that no text can expand, run or recurse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import yaml

from mkdocs_attnviz.block.problem import BlockError

MAX_DEPTH = 8
LIBYAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The loader of libyaml where it is installed: ten times as fast."""


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
    for _ in plain_events(text, loader, "file"):
        pass
    return yaml.load(text, Loader=loader)  # noqa: S506 — both loaders are safe ones


def plain_events(text: str, loader: Any, what: str) -> Iterator[Any]:
    """Yield the parser's events; anchors, aliases, tags and depth are refused while nothing has been built yet."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        kind = type(event)
        if kind is yaml.AliasEvent or getattr(event, "anchor", None):
            raise BlockError(
                "Anchors and aliases (`&`, `*`) are not read; put a text that begins with them in quotes.",
                line_of(event),
            )
        if tag := getattr(event, "tag", None):
            message = f"YAML tags are not read, and this {what} has {tag!r}; put the text in quotes."
            raise BlockError(message, line_of(event))
        depth += (kind in _STARTS) - (kind in _ENDS)
        if depth > MAX_DEPTH:
            raise BlockError(f"The {what} is nested more than {MAX_DEPTH} deep.", line_of(event))
        yield event


_STARTS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


def line_of(event: Any) -> int | None:
    return event.start_mark.line if event.start_mark else None
