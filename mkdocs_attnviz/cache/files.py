"""Files that are read and written safely: regular ones only, and never half of one."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from pathlib import Path

import platformdirs


def user_folder() -> Path:
    """Return the folder of what attnviz remembers for this user. One without a home has none: nothing can be there."""
    try:
        return platformdirs.user_cache_path("attnviz")
    except RuntimeError:
        return Path(os.devnull)


def read_regular(path: Path, largest: int) -> bytes:
    """Return the content of a regular file of at most `largest` bytes. No link is followed, and nothing waited for.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it is something else, or larger.
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
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(about.st_size)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old one or the whole new one, never a part."""
    try:
        name, handle = _new_file(path.parent)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        name, handle = _new_file(path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise


_numbers = itertools.count()


def _new_file(folder: Path) -> tuple[str, int]:
    """Return the name and the handle of a new file in a folder, for this process alone to write and all to read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        name = f"{folder}{os.sep}.{os.getpid()}-{next(_numbers)}.tmp"
        try:
            handle = os.open(name, flags, 0o644)
        except FileExistsError:  # of an earlier process with this number, which was killed
            continue
        if os.fstat(handle).st_mode & 0o777 != 0o644:  # a cache may be shared, whatever the user's mask
            os.chmod(name, 0o644)  # noqa: PTH101
        return name, handle
