"""An environment for MkDocs that only publishes: no torch, no transformers, no model. The benchmarks use it, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WITH_MKDOCS = ROOT / "packaging" / "mkdocs-attnviz"
"""The distribution that brings MkDocs: `pip install mkdocs-attnviz`."""

OFFLINE = """\
import sys

ALLOWED = ("127.0.0.1", "::1", "localhost")


def audit(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in ALLOWED:
        sys.exit(f"a connection to {arguments[0]} was asked for")
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in ALLOWED:
        sys.exit(f"a connection to {arguments[1]} was opened")


sys.addaudithook(audit)
"""
"""`sitecustomize.py`: the interpreter itself tells of every connection, whichever library opens it."""


def base_install(folder: Path, *more: str, extras: str = "") -> Path:
    """Make an environment in which no connection can be opened, with mkdocs-attnviz and `more` packages; return its
    Python."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    install = [*uv, "pip", "install", "--quiet", f"--python={python}", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*install, ROOT, f"{WITH_MKDOCS}{extras and f'[{extras}]'}", *more], check=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    )
    (Path(site.stdout.strip()) / "sitecustomize.py").write_text(OFFLINE)
    return python
