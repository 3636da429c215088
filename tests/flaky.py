"""A filesystem for fsspec that lets some of its calls fail: folders of this machine under `flaky://`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileOpener


class Flaky(fsspec.AbstractFileSystem):
    """Every n-th call fails; `FLAKY` in the environment says n, 1 for all of them."""

    protocol = "flaky"
    root_marker = "/"
    calls = 0
    failed = 0

    def _call(self) -> None:
        Flaky.calls += 1
        if Flaky.calls % int(os.environ.get("FLAKY", "3")) == 0:
            Flaky.failed += 1
            raise TimeoutError("the store did not answer")

    def _open(self, path: str, mode: str = "rb", **options: Any) -> LocalFileOpener:
        self._call()
        return LocalFileOpener(path, mode, fs=self, autocommit=options.get("autocommit", True))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self._call()
        Path(path).mkdir(parents=True, exist_ok=exist_ok)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        self._call()
        return [self.info(str(each)) if detail else str(each) for each in sorted(Path(path).iterdir())]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        each = Path(path)
        return {"name": path, "size": each.stat().st_size, "type": "directory" if each.is_dir() else "file"}

    def rm_file(self, path: str) -> None:
        self._call()
        Path(path).unlink()


def install(folder: Path) -> Path:
    """Make a Python package, and return what PYTHONPATH needs for other processes to know `flaky://`."""
    about = folder / "flaky-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: flaky\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[fsspec.specs]\nflaky = flaky:Flaky\n")
    (folder / "flaky.py").write_text(Path(__file__).read_text())
    return folder


fsspec.register_implementation("flaky", Flaky, clobber=True)
