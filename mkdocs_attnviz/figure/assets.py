"""The places of scripts and data: inline, in files of a site, or sent to the page as bytes."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.figure.data_file import data_file
from mkdocs_attnviz.figure.scripts import LOADED, our_scripts, script_file
from mkdocs_attnviz.views.drawing import Drawing, fits_page

FILE = 64_000  # bytes of data in one file: a third of a second at 1.6 Mbit/s, and half as many files as with 32,000
DATA_FILE = re.compile(r"[0-9a-f]{64}\.js")


class Assets:
    """The places of a page's scripts and data. In this class everything is inline, for a page that stands alone."""

    def script(self, name: str) -> str:
        """Return the HTML element that loads a script named `package:path`.

        Raises:
            BlockError: if there is no such file, or it cannot be written into the page.
        """
        return f"<script>{script_file(name)[1].decode()}</script>"

    def place(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        """Yield the place of each part of one figure's data, in the form of `views/figure_data.Blob`. A reader needs
        all parts of a unit together."""
        return self.place_inline(units)

    def place_inline(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        """Yield the place of each part that belongs to the figure itself: a small part, or a preview."""
        return ({"data": base64.b64encode(part).decode()} for unit in units for part in unit)

    def keeps_inline(self, drawing: Drawing, entry: Entry) -> bool:  # noqa: ARG002
        """Return whether a figure's data stay inside the page."""
        return True


class AssetFolder(Assets):
    """The places of scripts and data as files in `folder`, which pages reach under `url`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def script(self, name: str) -> str:
        # A page that says nothing of its encoding would otherwise have its scripts read as Windows-1252.
        return f'<script defer src="{html.escape(self.url)}/{self.script_file(name)}" charset="utf-8"></script>'

    def script_file(self, name: str) -> str:
        """Write a script named `package:path`, and return the name of its file.

        Raises:
            BlockError: as `script`.
        """
        file, content = script_file(name)
        self._write(file, content)
        return file

    def place(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        return _in_files(units, self._write)

    def keeps_inline(self, drawing: Drawing, entry: Entry) -> bool:
        return fits_page(drawing.data, entry)

    def _write(self, name: str, content: bytes) -> None:
        """Write a file that is named by its content, unless it exists already. It appears completely or not at all.

        Raises:
            BlockError: if it cannot be written.
        """
        path = self.folder / name
        try:
            if not _holds(path, content):
                write_atomically(path, content)
        except OSError as error:
            raise BlockError(f"Its file {name} cannot be written into the site ({error.strerror}).") from None


class MeasuredAssets(AssetFolder):
    """The places of data in no folder: nothing is written, but the bytes of the files are counted."""

    def __init__(self) -> None:
        super().__init__(Path(), "")
        self.sizes: dict[str, int] = {}
        """The size of each file in bytes, by its name."""

    def _write(self, name: str, content: bytes) -> None:
        self.sizes[name] = len(content)


class SentAssets(Assets):
    """The places of data in files that are sent to the page as bytes, each figure's completely."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """The content of each file, by its name."""

    def place_inline(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        return _in_files(units, self.files.__setitem__)


def mend(folder: Path) -> Iterator[str]:
    """Repair our files in the folder of a finished site, and yield a sentence about each file that was wrong.

    The sources of a site are copied into it, sometimes after our files were written, and may have files of the same
    names. A script is written again. A data file is removed, and its figures then say that their data are missing.
    """
    ours = (name for script, needs in our_scripts().items() for name in (script, *needs))
    scripts = dict(map(script_file, {*ours, *LOADED}))
    for path in sorted(folder.glob("*.js")):
        content = scripts.get(path.name)
        if content is not None and _holds(path, content):
            continue
        if content is None and (not DATA_FILE.fullmatch(path.name) or _is_data(path)):
            continue
        try:
            path.unlink()
            if content is not None:
                write_atomically(path, content)
            done = "removed" if content is None else "put back"
        except OSError as error:
            done = f"left, since it cannot be changed ({error.strerror})"
        yield (
            f"The file {path.name} was replaced by another of that name while the site was built, perhaps by one in "
            f"the site's sources. It was {done}; remove the other file."
        )


def _is_data(path: Path) -> bool:
    """Return whether the name of a data file fits its content."""
    return stat.S_ISREG(path.lstat().st_mode) and hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


def _data_file(parts: Iterable[bytes]) -> tuple[str, bytes]:
    """Return the name and content of a data file. The name is the SHA-256 that browsers check."""
    content = data_file(parts)
    return f"{hashlib.sha256(content).hexdigest()}.js", content


def _holds(path: Path, content: bytes) -> bool:
    """Return whether the path is a regular file with this content. A link to such a file does not count, because
    anybody may have put it there."""
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_size == len(content) and path.read_bytes() == content


def _in_files(units: Iterable[Sequence[bytes]], write: Callable[[str, bytes], None]) -> Iterator[dict[str, Any]]:
    """Yield the place of each part in the files that hold them all, after `write` got the file's name and content."""
    for together in _files(units):
        name, content = _data_file(together)
        write(name, content)
        yield from ({"file": name, "part": number} if number else {"file": name} for number in range(len(together)))


def _files(units: Iterable[Sequence[bytes]]) -> Iterator[list[bytes]]:
    """Yield the parts of consecutive units that share a file. For small parts, requests cost more than bytes."""
    together: list[bytes] = []
    size = 0
    for unit in units:
        length = sum(map(len, unit))
        if together and size + length > FILE:
            yield together
            together, size = [], 0
        together += unit
        size += length
    if together:
        yield together
