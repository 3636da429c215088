"""The files of a model's directory that its tokenizer or its classes may load, and Git LFS pointers in their place.

transformers and a model's own classes choose the names of the files they read, so no list of names is complete. Every
file counts except those that nothing reads: documents, other frameworks' weights, and code and pickles that are not
trusted. In subfolders, only these count: chat templates, files that a JSON file of the directory names (shards), and
everything if code is trusted.

A link may only lead to another file of the same directory, since the content of its target would be published.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ALWAYS = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
PICKLES = ("*.bin", "*.pt", "*.pth")
UNREAD_PICKLES = ("pytorch_model*.bin", "training_args.bin", "optimizer*", "scheduler*", "rng_state*", "consolidated*")
"""Pickles that a model's own code does not read if the weights are in safetensors files."""
DOCUMENTS = (
    *(".*", "licen[cs]e*", "copying*", "notice*", "authors*", "citation*", "makefile", "dockerfile", "modelfile"),
    *("*.md", "*.markdown", "*.rst", "*.html", "*.pdf", "*.ipynb", "*.log", "events.out.tfevents.*", "*.sh", "*.bat"),
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.mp4", "*.wav", "*.mp3"),
)
OTHER_FRAMEWORKS = (
    *("*.onnx", "*.onnx_data", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.gguf", "*.ggml", "*.mlmodel", "*.ckpt"),
    *("*.pb", "*.xml", "*.nemo", "*.engine", "*.zip", "*.tar", "*.gz", "*.tgz", "*.zst"),
)
READ_BY_CODE = ("*.yaml", "*.yml", "*.toml", "*.cfg", "*.ini", "*.lock", "*.dvc", "*.csv", "*.tsv", "*.py")
"""Files that no class of transformers reads, but that a model's own code may read."""
TEMPLATES = "additional_chat_templates"
VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
"""JSON files whose texts are tokens, not names of files."""
LARGEST_TEXT = 1 << 20  # bytes of a file of texts for people
LARGEST_JSON = 32 << 20  # bytes; the index of ten thousand shards has one million
LONGEST_NAME = 1000
LFS_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-\d-\S+ \S+\n)*oid sha256:([0-9a-f]{64})\nsize \d+\n"
)
LARGEST_POINTER = 1024  # bytes, by the format's specification


class UnreadableFile(OSError):
    """A file of the directory that must not be read; `args[0]` names it and the reason, to follow a model's name."""


def model_files(folder: Path, *, code: bool, pickles: bool, links: bool = False) -> Iterator[tuple[str, Path]]:
    """Yield name (with `/` between folders) and path of each file that a capture depends on, sorted by name.

    `code` and `pickles` tell whether the site trusts this model's code and pickles, `links` whether links may lead
    anywhere.

    Raises:
        UnreadableFile: a file is a link that leads out of the directory, or no regular file.
        OSError: the directory cannot be read.
    """
    folder = folder.resolve()
    names = {name for name in os.listdir(folder) if _counts(name, code, pickles)}  # noqa: PTH208 — names, not paths
    names |= {f"{TEMPLATES}/{name}" for name in _listed(folder / TEMPLATES) if name.endswith(".jinja")}
    names |= set(_named(folder, names))
    names |= set(_below(folder, pickles)) if code else set()
    for name in sorted(names):
        path = folder / name
        if _is_read(folder, name, links):
            yield name, path


def _counts(name: str, code: bool, pickles: bool) -> bool:
    if _like(name, ALWAYS):
        return True
    if _like(name, PICKLES):
        return pickles or (code and not _like(name, UNREAD_PICKLES))
    return not _like(name.lower(), DOCUMENTS + OTHER_FRAMEWORKS + (() if code else READ_BY_CODE))


def _like(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _listed(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208


def _below(folder: Path, pickles: bool) -> Iterator[str]:
    """Yield all files in subfolders that a model's own code may read.

    Raises:
        UnreadableFile: a subfolder is a link.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        inside = Path(parent).relative_to(folder)
        for name in folders:
            if (Path(parent) / name).is_symlink():
                raise UnreadableFile(f"has a link to a folder, {(inside / name).as_posix()}; only files may be links.")
        if inside.parts:
            yield from ((inside / name).as_posix() for name in files if _counts(name, True, pickles))


def _named(folder: Path, names: set[str]) -> Iterator[str]:
    """Yield the files that the directory's JSON files name: shards of an index, tokenizer files of a configuration.

    Raises:
        UnreadableFile: such a file lies elsewhere, or the JSON file is too large to read.
    """
    for name in sorted(names):
        if not name.endswith(".json") or name in VOCABULARIES or not (folder / name).is_file():
            continue
        _check_inside(folder, name, links=False)
        if (folder / name).stat().st_size > LARGEST_JSON:
            raise UnreadableFile(f"has a {name} of more than {LARGEST_JSON >> 20} MB.")
        for text in filter(lambda text: _is_file(folder / text), _texts(folder / name)):
            plain = ".." not in Path(text).parts and not Path(text).is_absolute()
            if not plain and not (folder / text).resolve().is_relative_to(folder):
                raise UnreadableFile(f"names a file outside of its directory, {text!r} in {name}; take it out there.")
            yield Path(text).as_posix()


def _texts(path: Path) -> set[str]:
    """Return all texts of a JSON file that may be names of files."""
    texts: set[str] = set()
    try:
        waiting: list[Any] = [json.loads(path.read_bytes())]
    except (ValueError, RecursionError):  # loading the model will report it
        return texts
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [part for key, part in value.items() if key not in ("_name_or_path", "name_or_path")]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and not {"\0", "\n"} & set(value):
            texts.add(value)
    return texts


def _is_file(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # a name that is too long or invalid
        return False


def _is_read(folder: Path, name: str, links: bool) -> bool:
    """Return whether a name stands for a file that must be read.

    Raises:
        UnreadableFile: the file must not be read.
    """
    try:
        mode = (folder / name).stat().st_mode
    except FileNotFoundError:  # a link to nothing, which cannot be loaded
        return False
    if stat.S_ISDIR(mode):
        return False
    _check_inside(folder, name, links=links)
    if not stat.S_ISREG(mode):
        raise UnreadableFile(f"has {name}, which is no regular file.")
    return True


def text_of(folder: Path, name: str) -> str:
    """Return the text of a directory's file; '' if there is none, or it is too long or must not be read."""
    try:
        if not _is_read(folder, name, links=False) or (folder / name).stat().st_size > LARGEST_TEXT:
            return ""
        return (folder / name).read_bytes().decode("utf-8", "replace")
    except (OSError, UnreadableFile):
        return ""


def _check_inside(folder: Path, name: str, *, links: bool) -> None:
    """Raise if a file is a link that leads out of the directory.

    The hub's cache stores a model's files as links into a folder `blobs` beside it; those may be read.

    Raises:
        UnreadableFile: it is such a link.
    """
    real = (folder / name).resolve()
    blobs = folder.parent.parent / "blobs"
    if links or real.is_relative_to(folder) or (folder.parent.name == "snapshots" and real.is_relative_to(blobs)):
        return
    raise UnreadableFile(f"has {name} as a link that leads out of its directory; put the file itself there.")


def pointed_at(content: bytes) -> str | None:
    """Return the digest in a Git LFS pointer, which takes the place of the file itself; None for any other file.

    The pointer must be the whole content: a file that only begins like one is an ordinary file.
    """
    pointer = LFS_POINTER.fullmatch(content.replace(b"\r\n", b"\n")) if len(content) <= LARGEST_POINTER else None
    return pointer[1].decode() if pointer else None


def stand_in(folder: Path, **trusted: bool) -> str:
    """Return the name of the first file that is only a Git LFS pointer; '' if all files are here.

    Raises:
        UnreadableFile: a file must not be read (see `model_files`).
        OSError: the directory cannot be read.
    """
    for name, path in model_files(folder, **trusted):
        if path.stat().st_size <= LARGEST_POINTER and pointed_at(path.read_bytes()):
            return name
    return ""
