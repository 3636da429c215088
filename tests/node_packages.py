"""Packages of npm that only tests need. Each tool has a folder of its own in `tests/node/`, with a lock file."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from filelock import FileLock

FOLDER = Path(__file__).parent / "node"


def installed(name: str, *then: str) -> Path:
    """Return the folder of a tool, after `npm ci` and the command `then`, unless its files are as they were then."""
    folder = FOLDER / name
    sources = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_made(path.relative_to(folder)))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    done = folder / "node_modules" / ".installed"
    with FileLock(folder / ".lock"):
        if not done.exists() or done.read_text() != digest:
            for command in (("npm", "ci", "--no-audit", "--no-fund"), then):
                if command:
                    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
                    assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"
            done.write_text(digest)
    return folder


def _is_made(path: Path) -> bool:
    """Return whether a path is not a source of the tool's folder."""
    return bool({"node_modules", "dist", "public"}.intersection(path.parts)) or path.name == ".lock"
