"""Messages about a model that is being loaded, with the bytes downloaded so far.

A download may take longer than anything else, and these messages keep the worker from being silent meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs_attnviz.models.identity.reference import ModelRef

EVERY = 5.0  # seconds

Tell = Callable[[dict[str, Any]], None]
"""A function that sends an event to the build's end."""


@contextlib.contextmanager
def loading(ref: ModelRef, tell: Tell) -> Iterator[None]:
    """Send that a model is being loaded and, inside the `with` block, each time that more of it was downloaded."""
    tell({"event": "loading", "name": ref.name})
    if ref.local:
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(ref, tell, ended), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()  # its messages must not get between others


def _watch(ref: ModelRef, tell: Tell, ended: threading.Event) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=ref.path, repo_type="model") / "blobs"
    before = last = _size(folder)
    with contextlib.suppress(OSError, ValueError):  # the build is gone
        while not ended.wait(EVERY):
            if (size := _size(folder)) > last:
                last = size
                tell({"event": "downloading", "name": ref.name, "bytes": size - before})


def _size(folder: Path) -> int:
    """Return the size of all files in a folder in bytes, including incomplete ones."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:  # there is no folder yet, or a file is being renamed
        return 0
