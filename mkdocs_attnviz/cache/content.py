"""The content of an entry's file on its way to or from a shared cache: bytes, or the path of a file if it is large.

A large one is never in memory as a whole: it is read, checked and copied in pieces.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from mkdocs_attnviz.cache.blobs import CHUNK, temporary
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST
from mkdocs_attnviz.cache.files import open_regular

Content = bytes | Path


def size_of(content: Content) -> int:
    """Return the number of bytes.

    Raises:
        OSError: if the file is gone.
    """
    return content.stat().st_size if isinstance(content, Path) else len(content)


def entry_of(content: Content, signing_key: bytes) -> Entry:
    """Return the entry, checked as each entry is. The blobs of one in a file stay there.

    Raises:
        DamagedEntry: if the content is truncated, altered or of another format.
        OSError: if the file cannot be read.
    """
    if isinstance(content, bytes):
        return Entry.from_bytes(content, signing_key)
    file, size = open_regular(content, LARGEST)
    try:
        return Entry.open(file, size, signing_key)
    except BaseException:
        file.close()
        raise


def write(content: Content, stream: IO[bytes]) -> None:
    """Write the content to a stream, piece by piece."""
    if isinstance(content, bytes):
        stream.write(content)
        return
    with content.open("rb") as file:
        shutil.copyfileobj(file, stream, CHUNK)


@contextlib.contextmanager
def received(read: Callable[[int], bytes], size: int, folder: Path | None) -> Iterator[Path]:
    """Copy `size` bytes into a file, and remove it afterwards. `read` returns some of them from a position on.

    The file is in `folder`, or where this machine keeps temporary files.

    Raises:
        EOFError: if there are fewer bytes.
    """
    file, _, path = temporary(folder)
    try:
        with file:
            at = 0
            while at < size:
                piece = read(at)
                if not piece:
                    raise EOFError(f"it ends after {at} of {size} bytes")
                file.write(piece)
                at += len(piece)
        yield path
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108
