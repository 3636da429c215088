"""Contents of a cache's folder and of a built page, read back for a test."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import numpy as np
from conftest import Built

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.key import entry_key, file_name


def entries(folder: Path) -> dict[str, Entry]:
    """Every entry by its key; each must be whole, and lie where its key says."""
    found = {}
    for path in sorted(folder.rglob("*.attnviz")):
        entry = Entry.from_bytes(path.read_bytes())
        key = entry_key([(name, value) for name, value in entry.meta["key"]])
        assert path == folder / file_name(key)
        found[key] = entry
    return found


def leftovers(folder: Path) -> list[Path]:
    """Return the files that writers have left half-done."""
    return sorted(folder.rglob("*.tmp"))


def stored(entry: Entry) -> np.ndarray:
    """All bytes of an entry, one blob after another."""
    return np.concatenate([_inflated(blob) for _, blob in sorted(entry.blobs.items())])


def weights(built: Built, page: str = "index.html") -> list[np.ndarray]:
    """The stored bytes of all layers of each figure of a page, one after another, as a browser gets them."""
    figures = [json.loads(element["data-figure"]) for element in built.page(page).select("attn-viz")]
    return [
        np.concatenate([_bytes(built, layer) for stack in figure["stacks"].values() for layer in stack["layers"]])
        for figure in figures
    ]


def _bytes(built: Built, layer: dict[str, str]) -> np.ndarray:
    if "data" in layer:
        return _inflated(base64.b64decode(layer["data"]))
    (path,) = (built.folder / "site").rglob(layer["file"])
    return _inflated(data_file_parts(path)[layer.get("part", 0)])


def data_file_parts(path: Path) -> list[bytes]:
    """The parts of a data file, unpacked."""
    packed = re.fullmatch(rb'attnvizData\("([^\n\r"\\]*)"\)\n', path.read_bytes())[1]
    parts = packed.split(b"=,")
    return [re.sub(rb"(?s)=(.)", lambda match: bytes([match[1][0] ^ 64]), part) for part in parts]


def _inflated(blob: bytes) -> np.ndarray:
    return np.frombuffer(zlib.decompress(blob), np.uint8).astype(int)


def alike(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Compare weights to one step of 255: batches and threads change the order of sums."""
    return len(some) == len(others) and all(
        one.shape == other.shape and np.abs(one - other).max() <= 1 for one, other in zip(some, others, strict=True)
    )
