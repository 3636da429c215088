"""A record of the pages and blocks in the last build of a site on this machine, for the command `attnviz`.

Only the tool that builds a site knows the effect of its plugins and extensions. The command asks that tool if possible.
Otherwise it uses this record for pages that have not changed since, and reads the Markdown of the others.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.files import user_folder, write_atomically
from mkdocs_attnviz.settings import Settings

COLLECT = "ATTNVIZ_COLLECT"
"""The environment variable with the name of a file. A build writes its pages and blocks there for the command, and
ends."""
COLLECT_FROM = "ATTNVIZ_COLLECT_FROM"
"""The environment variable with the configuration whose pages are wanted, because a site may build others (Material's
projects)."""


@dataclass
class Record:
    """The pages of one site, by name."""

    tool: str
    """The tool that built the site: `mkdocs`, `sphinx` or `zensical`."""
    base: str
    """The folder that relative directories start from."""
    docs: str
    """The folder of pages."""
    settings: dict[str, Any]
    complete: bool = False
    """True if `pages` contains every page of the site, including those without blocks."""
    written: float = field(default_factory=time.time)
    """The time when the record was made, in seconds since 1970."""
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The digest and the blocks of each page, by name."""

    def add(self, name: str, sources: Sequence[Source]) -> None:
        """Record the blocks of a page. A page without a file is not recorded, because changes could not be noticed."""
        digest = _digest(Path(self.docs, name))
        if digest is not None:
            self.pages[name] = {"digest": digest, "blocks": [source.to_json() for source in sources]}

    def blocks(self, name: str) -> list[Source] | None:
        """Return the blocks of a page, or None if the page is unknown or has changed since it was built."""
        page = self.pages.get(name)
        if page is None or page["digest"] != _digest(Path(self.docs, name)):
            return None
        return _blocks(page)

    def leaves_out(self, file: Path) -> bool:
        """Return whether the tool has seen this file in the folder of pages but did not use it as a page."""
        if not self.complete or not file.resolve().is_relative_to(self.docs):
            return False
        return file.resolve().relative_to(self.docs).as_posix() not in self.pages and (
            file.stat().st_mtime < self.written
        )


def _blocks(page: Mapping[str, Any]) -> list[Source]:
    """Return the recorded blocks of a page.

    Raises:
        ValueError, TypeError, KeyError: if the record is not in our form.
    """
    return [Source.from_json(block) for block in page["blocks"]]


def _digest(file: Path) -> str | None:
    """Return the SHA-256 of a file, or None if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _file(folder: Path) -> Path:
    """Return the path of the record for a site's folder."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return user_folder() / "builds" / f"{name}.json"


def read(folder: Path) -> Record | None:
    """Return the record of the site whose configuration is in `folder`, or None if there is no readable record."""
    try:
        record = Record(**json.loads(_file(folder).read_text("utf-8")))
        Settings.model_validate(record.settings)
        for page in record.pages.values():
            _blocks(page)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return record


def add(
    tool: str,
    folder: Path,
    docs: Path,
    settings: Settings,
    pages: Mapping[str, Sequence[Source]],
    *,
    complete: bool = False,
) -> None:
    """Record the pages of a build. With `complete` they are all pages; otherwise earlier pages are kept."""
    plain = settings.model_dump(mode="json", include=set(Settings.model_fields))
    record = Record(tool, str(folder.resolve()), str(docs.resolve()), plain, complete)
    before = None if complete else read(folder)
    if before is not None and before.docs == record.docs:
        record.pages = {name: page for name, page in before.pages.items() if Path(record.docs, name).is_file()}
    for name, sources in pages.items():
        record.add(name, sources)
    with suppress(OSError):  # if the user's folder cannot be written, there is no record
        write_atomically(_file(folder), json.dumps(asdict(record)).encode())


_drawn: dict[tuple[str, Path, Path], tuple[Settings, dict[str, Sequence[Source]]]] = {}
"""The pages that `drawn` has recorded but `flush` has not written yet."""


def drawn(tool: str, folder: Path, docs: Path, settings: Settings, page: str, sources: Sequence[Source]) -> None:
    """Record a page of a tool that converts page by page and does not report the end. It is written when the program
    ends."""
    if not _drawn:
        atexit.register(flush)
    _drawn.setdefault((tool, folder, docs), (settings, {}))[1][page] = sources


def flush() -> None:
    """Write the pages that `drawn` has recorded."""
    for (tool, folder, docs), (settings, pages) in _drawn.items():
        add(tool, folder, docs, settings, pages)
    _drawn.clear()
