"""What the last build of a site drew on this machine, for the command: which blocks stood on which page.

Only the tool that builds a site knows what its plugins and extensions make of it. The command asks that tool where it
can; where it cannot, this record tells of pages that have not changed since, and the Markdown is read for the others.
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
"""In the environment, the name of a file: pages and their blocks go there, and the build ends. For the command."""
COLLECT_FROM = "ATTNVIZ_COLLECT_FROM"
"""In the environment, the configuration whose pages are meant: a site may build others (Material's projects)."""


@dataclass
class Record:
    """The pages of one site, by their names."""

    tool: str
    """`mkdocs`, `sphinx` or `zensical`."""
    base: str
    """Folder that relative directories start from."""
    docs: str
    settings: dict[str, Any]
    complete: bool = False
    """Whether `pages` has every page of the site, those without blocks included."""
    written: float = field(default_factory=time.time)
    """Seconds since 1970."""
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, sources: Sequence[Source]) -> None:
        """Note the blocks of a page; a page that has no file is not noted, since nobody can tell if it has changed."""
        digest = _digest(Path(self.docs, name))
        if digest is not None:
            self.pages[name] = {"digest": digest, "blocks": [source.to_json() for source in sources]}

    def blocks(self, name: str) -> list[Source] | None:
        """Return the blocks of a page, or None if it is unknown or its file has changed since it was built."""
        page = self.pages.get(name)
        if page is None or page["digest"] != _digest(Path(self.docs, name)):
            return None
        return [Source.from_json(block) for block in page["blocks"]]

    def leaves_out(self, file: Path) -> bool:
        """Return whether the tool saw this file of the site's folder and did not take it for a page."""
        if not self.complete or not file.resolve().is_relative_to(self.docs):
            return False
        return file.resolve().relative_to(self.docs).as_posix() not in self.pages and (
            file.stat().st_mtime < self.written
        )


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _file(folder: Path) -> Path:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return user_folder() / "builds" / f"{name}.json"


def read(folder: Path) -> Record | None:
    """Return the record of the site whose configuration lies in `folder`, or None if there is none that can be read."""
    try:
        record = Record(**json.loads(_file(folder).read_text("utf-8")))
        Settings.model_validate(record.settings)
        for name in record.pages:
            record.blocks(name)
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
    """Note the pages of a build: `complete`, or some of those of the site, the others having been noted before."""
    plain = settings.model_dump(mode="json", include=set(Settings.model_fields))
    record = Record(tool, str(folder.resolve()), str(docs.resolve()), plain, complete)
    before = None if complete else read(folder)
    if before is not None and before.docs == record.docs:
        record.pages = {name: page for name, page in before.pages.items() if Path(record.docs, name).is_file()}
    for name, sources in pages.items():
        record.add(name, sources)
    with suppress(OSError):  # where the user's cache cannot be written, there is no record
        write_atomically(_file(folder), json.dumps(asdict(record)).encode())


_drawn: dict[tuple[str, Path, Path], tuple[Settings, dict[str, Sequence[Source]]]] = {}


def drawn(tool: str, folder: Path, docs: Path, settings: Settings, page: str, sources: Sequence[Source]) -> None:
    """Note a page of a tool that converts one page after another and does not tell of the end: at the program's end."""
    if not _drawn:
        atexit.register(flush)
    _drawn.setdefault((tool, folder, docs), (settings, {}))[1][page] = sources


def flush() -> None:
    """Write what `drawn` has noted."""
    for (tool, folder, docs), (settings, pages) in _drawn.items():
        add(tool, folder, docs, settings, pages)
    _drawn.clear()
