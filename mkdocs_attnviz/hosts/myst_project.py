"""A project of mystmd as `myst.yml` describes it: which pages it has; and our settings, in `attnviz.yml` beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIG = "myst.yml"
"""The name of mystmd's configuration."""
SETTINGS = "attnviz.yml"
"""The name of the file with our settings, beside it. What stands in `myst.yml` itself, mystmd publishes with each
page."""
PAGES = (".md", ".ipynb")
"""The endings of pages that can have blocks."""


@dataclass(frozen=True)
class Project:
    """The part of `myst.yml` that says which pages there are, and our settings."""

    folder: Path
    values: Mapping[str, Any]
    """The value of `project` in `myst.yml`."""
    settings: Mapping[str, Any]
    """The content of `attnviz.yml`; empty if there is none."""

    @classmethod
    def read(cls, config: Path) -> Project:
        """Read a configuration.

        Raises:
            ValueError: if one of the files cannot be read. The message is a sentence.
        """
        values = _mapping(config).get("project") or {}
        if not isinstance(values, dict):
            raise ValueError("`project` must have lines `key: value`.")
        settings = config.with_name(SETTINGS)
        return cls(config.resolve().parent, values, _mapping(settings) if settings.exists() else {})

    def pages(self) -> list[Path]:
        """Return the files that mystmd builds: those of the table of contents, or else all below the folder."""
        excluded = self.values.get("exclude") or []
        patterns = [excluded] if isinstance(excluded, str) else excluded
        left_out = {path for pattern in patterns for path in self._matches(str(pattern))}
        toc = self.values.get("toc")
        found = self._below(self.folder, top=True) if toc is None else self._listed(toc, set(left_out))
        return list(dict.fromkeys(path for path in found if toc is not None or not _within(path, left_out)))

    def name(self, page: Path) -> str:
        """Return a page's name: its path below the folder."""
        page = page.resolve()
        return page.relative_to(self.folder).as_posix() if page.is_relative_to(self.folder) else str(page)

    def _matches(self, pattern: str) -> list[Path]:
        """Return the paths that match a pattern of mystmd (`drafts/**`), in order."""
        try:
            return sorted(path.resolve() for path in self.folder.glob(pattern))
        except (ValueError, NotImplementedError):  # an absolute pattern, or `**` beside other letters
            return []

    def _listed(self, entries: Any, taken: set[Path]) -> Iterator[Path]:
        """Yield the files of a table of contents. A pattern gives those that it does not list otherwise."""
        named = set(self._named(entries))
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict):
                continue
            if "file" in entry and (page := self._page(str(entry["file"]))):
                yield page
            if "pattern" in entry:
                matched = [path for path in self._matches(str(entry["pattern"])) if path.suffix in PAGES]
                yield from (path for path in matched if path not in taken | named and path.is_file())
                taken |= set(matched)
            if "children" in entry:
                yield from self._listed(entry["children"], taken)

    def _named(self, entries: Any) -> Iterator[Path]:
        """Yield the files that a table of contents names."""
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                if "file" in entry and (page := self._page(str(entry["file"]))):
                    yield page
                yield from self._named(entry.get("children"))

    def _page(self, name: str) -> Path | None:
        """Return the page of an entry, which may lack its ending."""
        endings = ("",) if name.endswith(PAGES) else PAGES
        found = (self.folder / f"{name}{ending}" for ending in endings)
        return next((path.resolve() for path in found if path.is_file()), None)

    def _below(self, folder: Path, *, top: bool = False) -> Iterator[Path]:
        """Yield the pages below a folder. A folder with a configuration of its own is another project."""
        if not top and (folder / CONFIG).exists():
            return
        for path in sorted(folder.iterdir()):
            if path.name.startswith((".", "_build")) or path.name == "node_modules":
                continue
            if path.is_dir():
                yield from self._below(path)
            elif path.suffix in PAGES:
                yield path.resolve()


def _mapping(file: Path) -> dict[str, Any]:
    """Return the content of a YAML file.

    Raises:
        ValueError: if it cannot be read, or is not a mapping. The message is a sentence that names it.
    """
    try:
        content = yaml.safe_load(file.read_text("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file.name} is no YAML that can be read ({' '.join(str(error).split())}).") from None
    if not isinstance(content, (dict, type(None))):
        raise ValueError(f"{file.name} must have lines `key: value`.")
    return content or {}


def _within(path: Path, folders: set[Path]) -> bool:
    """Return whether a path is one of these, or below one."""
    return any(each in folders for each in (path, *path.parents))
