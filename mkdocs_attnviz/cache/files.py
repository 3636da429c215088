"""Functions that read only regular files, and that write a file completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import platformdirs


def user_folder() -> Path:
    """Return the folder for this user's own attnviz data, or a path where no file can exist if the user has no home."""
    try:
        return platformdirs.user_cache_path("attnviz")
    except RuntimeError:
        return Path(os.devnull)


def read_regular(path: Path, largest: int) -> bytes:
    """Return the content of a regular file of at most `largest` bytes; see `open_regular`."""
    file, size = open_regular(path, largest)
    with file:
        return file.read(size)


def open_regular(path: Path, largest: int) -> tuple[IO[bytes], int]:
    """Open a regular file of at most `largest` bytes, and return it with its size. It follows no links and never waits
    for a pipe.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the path is not a regular file, or the file is larger.
    """
    if path.is_symlink():
        raise OSError(errno.EINVAL, "it is a link", str(path))
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, os.O_RDONLY | flags)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if about.st_size > largest:
            raise OSError(errno.EFBIG, f"it is larger than {largest >> 20} MB", str(path))
        return os.fdopen(handle, "rb"), about.st_size
    except BaseException:
        os.close(handle)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see either the old content or all of the new content."""
    with replacing(path) as stream:
        stream.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when it is written completely."""
    try:
        name, handle = _new_file(path.parent)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        name, handle = _new_file(path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise


_numbers = itertools.count()


def _new_file(folder: Path) -> tuple[str, int]:
    """Return the name and the handle of a new file in a folder. Only this process writes it, and everybody can read
    it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        name = f"{folder}{os.sep}.{os.getpid()}-{next(_numbers)}.tmp"
        try:
            handle = os.open(name, flags, 0o644)
        except FileExistsError:  # from an earlier process with the same number that was killed
            continue
        if os.fstat(handle).st_mode & 0o777 != 0o644:  # a cache may be shared, so the user's mask must not apply
            os.chmod(name, 0o644)  # noqa: PTH101
        return name, handle
