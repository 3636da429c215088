"""Bytecode for the new environments of tests: what has been compiled in one of them is not compiled in the next.

A new environment compiles all that its commands import, most of it the same as in others. The digest of each file is
in the `RECORD` of its distribution. A folder has bytecode by the digests of sources: none is taken of a file with
another content. An environment is as new as before, but begins as `pip` leaves it, which compiles what it installs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

LONGEST = 30 * 24 * 60 * 60
"""Seconds for which bytecode stays that no environment takes."""
UNCHECKED = (1).to_bytes(4, "little") + bytes(8)
"""The flags and the hash in bytecode that Python takes without a look at the source (PEP 552)."""


def take(environment: Path, folder: Path) -> None:
    """Give an environment the bytecode that a folder has for it."""
    there = {entry.name for entry in os.scandir(folder)}
    for path, name in _places(environment):
        if name in there and not (place := Path(path)).exists():
            stored = folder / name
            place.parent.mkdir(exist_ok=True)
            os.utime(stored)
            try:
                os.link(stored, place)
            except OSError:  # on another file system
                shutil.copy(stored, place)


def keep(environment: Path, folder: Path) -> None:
    """Add to a folder the bytecode that an environment has and it lacks."""
    there = {entry.name for entry in os.scandir(folder)}
    for path, name in _places(environment):
        if name not in there and (place := Path(path)).exists():
            content = place.read_bytes()
            own = folder / f"{name}.{os.getpid()}"
            own.write_bytes(content[:4] + UNCHECKED + content[16:])
            own.replace(folder / name)


def prune(folder: Path) -> None:
    """Remove the bytecode that no environment has taken for long."""
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_mtime < time.time() - LONGEST:
                Path(entry).unlink()


def _places(environment: Path) -> Iterator[tuple[str, str]]:
    """Yield where the bytecode of each file of an environment's distributions is, and its name in a folder."""
    for record in environment.glob("lib/python3.*/site-packages/*.dist-info/RECORD"):
        packages = record.parents[1]
        tag = f"cpython-{packages.parent.name.removeprefix('python').replace('.', '')}"
        for line in record.read_text("utf-8").splitlines():
            path, _, rest = line.partition(".py,sha256=")
            if rest and not path.startswith(("..", '"')):
                parent, _, name = path.rpartition("/")
                yield f"{packages}/{parent}/__pycache__/{name}.{tag}.pyc", f"{rest.partition(',')[0]}.{tag}.pyc"
