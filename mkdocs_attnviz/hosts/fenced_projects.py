"""The sites of generators that are not written in Python: Quarto's, and those described by an `attnviz.yml`.

Their pages are not rendered to find blocks; only their fences are read (`hosts/fenced_pages`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.hosts.fenced_pages import PAGES, blocks_of_file
from mkdocs_attnviz.hosts.quarto_profiles import with_profiles

OWN = ("attnviz.yml", "attnviz.yaml")
"""The names of our own configuration, for any generator."""
QUARTO = ("_quarto.yml", "_quarto.yaml")
"""The names of Quarto's configuration."""
KEY = "attnviz"
"""The key of our settings in Quarto's configuration."""
PATTERNS = "pages"
"""The key of the patterns for pages in our own configuration."""
NOT_PAGES = ("README", "CLAUDE", "AGENTS")
"""The names, without ending, of files that Quarto never renders."""
NO_FOLDERS = ("node_modules", "venv", "env", "renv", "packrat", "rsconnect")
"""The folders in which Quarto looks for no pages."""
OUTPUT = {"website": "_site", "book": "_book", "manuscript": "_manuscript"}
"""The folder into which Quarto writes each type of project."""


@dataclass(frozen=True)
class FencedProject:
    """A project, as its configuration describes it: our settings, and its pages."""

    settings: Mapping[str, Any]
    files: Callable[[], list[Path]]
    """A function that returns the pages."""
    blocks: Callable[[Path, str], list[Source]] = blocks_of_file
    """A function that returns the blocks of a page, by its path and its name.

    Raises:
        OSError, ValueError: if it cannot be read.
    """


def read(path: Path) -> FencedProject:
    """Return the project that a configuration describes.

    Raises:
        ValueError: if it cannot be read. The message is a sentence.
    """
    values = _yaml(path)
    folder = path.resolve().parent
    if path.name in QUARTO:
        values = with_profiles(path, values, os.environ, _yaml)
        settings = values.get(KEY) or {}
        if not isinstance(settings, dict):
            raise ValueError(f"`{KEY}` is {settings!r}; it must have settings, as lines `key: value`.")
        return FencedProject(settings, lambda: list(dict.fromkeys(_of_quarto(folder, values))))
    patterns = values.pop(PATTERNS, None)
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if patterns is not None and not _are_texts(patterns):
        raise ValueError(f"`{PATTERNS}` is {patterns!r}; it must be a list of patterns, such as `docs/**/*.md`.")
    return FencedProject(values, lambda: _of_patterns(folder, patterns))


def _yaml(path: Path) -> dict[str, Any]:
    """Return the values in a YAML file.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"It is no YAML that can be read ({' '.join(str(error).split())}).") from None
    if values is not None and not isinstance(values, dict):
        raise ValueError("It must have lines `key: value`.")
    return values or {}


def _are_texts(value: Any) -> bool:
    """Return whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _of_patterns(folder: Path, patterns: Sequence[str] | None) -> list[Path]:
    """Return the pages that match patterns; without patterns, all below the folder."""
    if patterns is None:
        return list(_below(folder, _is_made))
    found = (path for pattern in patterns for path in _matching(folder, pattern))
    return [path for path in dict.fromkeys(found) if path.suffix in PAGES and path.is_file()]


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Return the paths that match a pattern, in order. `node_modules` is never searched."""
    try:
        found = sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError):  # an empty or absolute pattern
        return []
    return [path for path in found if "node_modules" not in path.relative_to(folder).parts]


def _below(folder: Path, skips: Callable[[Path], bool], left_out: Path | None = None) -> Iterator[Path]:
    """Yield the pages below a folder, without files and folders that `skips` accepts, and without one folder more."""
    for path in sorted(folder.iterdir()):
        if skips(path) or path == left_out:
            continue
        if path.is_dir() and not path.is_symlink():
            if not (path / "pyvenv.cfg").exists():
                yield from _below(path, skips, left_out)
        elif path.suffix in PAGES and path.is_file():
            yield path


def _is_made(path: Path) -> bool:
    """Return whether a file or folder is hidden, or made by a tool."""
    return path.name.startswith(".") or path.name in NO_FOLDERS


def _is_skipped(path: Path) -> bool:
    """Return whether Quarto never renders this file, or what is in this folder."""
    return _is_made(path) or path.name.startswith("_") or path.stem in NOT_PAGES


def _of_quarto(folder: Path, values: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the pages of a Quarto project. If patterns may be read in two ways, they are read as matching more."""
    project = values.get("project")
    project = project if isinstance(project, dict) else {}
    output = project.get("output-dir") or OUTPUT.get(str(project.get("type", "default")))
    left_out = folder / str(output) if output else None
    listed = list(_chapters(values.get("book"))) if isinstance(values.get("book"), dict) else project.get("render")
    if not _are_texts(listed) or not listed:
        yield from _below(folder, _is_skipped, left_out)
        return
    refused = {path for entry in listed if entry.startswith("!") for path in _matching(folder, entry[1:].lstrip("/"))}
    for entry in listed:
        if not entry.startswith("!"):
            for path in _of_entry(folder, entry.lstrip("/"), left_out):
                if not refused.intersection((path, *path.parents)):
                    yield path


def _of_entry(folder: Path, entry: str, left_out: Path | None) -> Iterator[Path]:
    """Yield the pages of one entry of `render`: a file, a folder or a pattern, which matches at any depth."""
    patterns = [entry, f"**/{entry}"] if any(sign in entry for sign in "*?[") else [entry]
    for path in (path for pattern in patterns for path in _matching(folder, pattern)):
        inner = path.relative_to(folder)
        if left_out in path.parents or any(map(_is_skipped, (inner, *inner.parents[:-1]))):
            continue
        if path.is_dir():
            yield from _below(path, _is_skipped, left_out)
        elif path.suffix in PAGES and path.is_file():
            yield path


def _chapters(value: Any) -> Iterator[str]:
    """Yield the files that a book's `chapters` and `appendices` name, with those of parts."""
    if isinstance(value, str):
        if Path(value).suffix in PAGES:
            yield value
    elif isinstance(value, list):
        for part in value:
            yield from _chapters(part)
    elif isinstance(value, dict):
        for key in ("part", "chapters", "appendices", "file", "href"):
            yield from _chapters(value.get(key))
