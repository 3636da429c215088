"""A page's front matter and its body, as MkDocs divides them: YAML between dashes, else lines `key: value`."""

from __future__ import annotations

import re
from typing import Any

import yaml

BETWEEN_DASHES = re.compile(r"-{3}[ \t]*\n(.*?\n)(?:\.{3}|-{3})[ \t]*\n", re.DOTALL)
KEY = re.compile(r" {0,3}([A-Za-z0-9_-]+):\s*(.*)")
MORE = re.compile(r"(?: {4}|\t)\s*(.*)")
"""Another line of the value above."""


def divide(text: str) -> tuple[str, dict[str, Any]]:
    """Return the body and the front matter, which is empty where it cannot be read."""
    between = BETWEEN_DASHES.match(text)
    return _lines(text) if between is None else _yaml(text, between)


def _yaml(text: str, between: re.Match[str]) -> tuple[str, dict[str, Any]]:
    try:
        read = yaml.safe_load(between[1])
    except (yaml.YAMLError, ValueError):  # ValueError: a date that there is not
        return text, {}
    return (text[between.end() :].lstrip("\n"), read) if isinstance(read, dict) else (text, {})


def _lines(text: str) -> tuple[str, dict[str, Any]]:
    """MultiMarkdown's form: it ends at an empty line, or at one that is neither key nor a value's next line."""
    found: dict[str, list[str]] = {}
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    number, key = 0, ""
    for number, line in enumerate(lines):
        if match := KEY.match(line):
            key = match[1].lower()
            found.setdefault(key, []).append(match[2].strip())
        elif key and line.strip() and (match := MORE.match(line)):
            found[key].append(match[1].strip())
        else:
            number += not line.strip()
            break
    else:
        number = len(lines)
    return "\n".join(lines[number:]).lstrip("\n"), {name: " ".join(values) for name, values in found.items()}
