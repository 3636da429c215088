"""The separation of a page's front matter from its body, as in MkDocs: YAML between dashes, or lines `key: value`."""

from __future__ import annotations

import re
from typing import Any

import yaml

BETWEEN_DASHES = re.compile(r"-{3}[ \t]*\n(.*?\n)(?:\.{3}|-{3})[ \t]*\n", re.DOTALL)
"""A pattern for YAML between dashes."""
KEY = re.compile(r" {0,3}([A-Za-z0-9_-]+):\s*(.*)")
"""A pattern for a line with a key."""
MORE = re.compile(r"(?: {4}|\t)\s*(.*)")
"""A pattern for a further line of a value."""


def divide(text: str) -> tuple[str, dict[str, Any]]:
    """Return the body and the front matter, which is empty if it cannot be read."""
    between = BETWEEN_DASHES.match(text)
    return _lines(text) if between is None else _yaml(text, between)


def _yaml(text: str, between: re.Match[str]) -> tuple[str, dict[str, Any]]:
    """Return the body and the front matter in YAML."""
    try:
        read = yaml.safe_load(between[1])
    except (yaml.YAMLError, ValueError):  # ValueError: a date that does not exist
        return text, {}
    return (text[between.end() :].lstrip("\n"), read) if isinstance(read, dict) else (text, {})


def _lines(text: str) -> tuple[str, dict[str, Any]]:
    """Return the body and the front matter in the form of MultiMarkdown. It ends at an empty line, or at a line that is
    neither a key nor a further line of a value."""
    values_by_key: dict[str, list[str]] = {}
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    number, key = 0, ""
    for number, line in enumerate(lines):
        if match := KEY.match(line):
            key = match[1].lower()
            values_by_key.setdefault(key, []).append(match[2].strip())
        elif key and line.strip() and (match := MORE.match(line)):
            values_by_key[key].append(match[1].strip())
        else:
            number += not line.strip()
            break
    else:
        number = len(lines)
    return "\n".join(lines[number:]).lstrip("\n"), {name: " ".join(values) for name, values in values_by_key.items()}
