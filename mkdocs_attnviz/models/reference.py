"""What a block's `model` means on this machine, and under which name its content is known.

The identity is the commit (hub) or a digest of configuration, tokenizer and weights (local), never a branch
name: it goes into the cache's keys. It is found without torch, transformers or the network wherever the machine
already holds the model.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs

from mkdocs_attnviz.block import BlockError
from mkdocs_attnviz.cache import write_atomically
from mkdocs_attnviz.settings import ModelSettings, Settings

# What from_pretrained reads. Model cards, ONNX exports and the like do not change a capture.
CONTENT = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
PICKLED = ("*.bin", "*.pt", "*.pth")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
REVISION = re.compile(r"\w[\w./-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ModelRef:
    """A model the worker can load."""

    name: str
    """As the author wrote it, for messages."""
    path: str
    """A directory, or an id on the hub."""
    local: bool
    revision: str | None
    """The commit, once it is known; else branch or tag; None for a directory."""
    identity: str | None
    """`commit:…` or `sha256:…`; None while nobody has asked the hub."""
    dtype: str
    trust_remote_code: bool
    use_safetensors: bool

    def at_commit(self, commit: str) -> ModelRef:
        return replace(self, revision=commit, identity=f"commit:{self.path}@{commit}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def resolve(name: str, revision: str | None, settings: Settings, base: Path) -> ModelRef:
    """The model that `name` refers to; directories are relative to `base`, the folder of the site's configuration.

    Raises:
        BlockError: the name means nothing here, or the site does not allow it.
    """
    listed = settings.models.get(name)
    if listed is None and settings.only_listed_models:
        raise BlockError(
            f"Model {name!r} is not listed, and this site draws only models listed under `models`"
            f"{_list(name, settings.models)}."
        )
    chosen = ModelSettings(model=name) if listed is None else listed
    chosen = ModelSettings(model=chosen) if isinstance(chosen, str) else chosen
    _check_revision(name, revision, chosen, settings)
    revision = revision or chosen.revision
    directory = _directory(chosen.model, base)
    ref = ModelRef(
        name=name,
        path=str(directory or chosen.model),
        local=directory is not None,
        revision=revision,
        identity=None,
        dtype=chosen.dtype or settings.dtype,
        trust_remote_code=_either(chosen.trust_remote_code, settings.trust_remote_code),
        use_safetensors=_either(chosen.use_safetensors, settings.use_safetensors),
    )
    if directory is not None:
        if revision is not None:
            raise BlockError(
                f"`revision` is {revision!r}, but model {name!r} is a directory; only a hub's model has revisions."
            )
        try:
            return replace(ref, identity=f"sha256:{digest(directory, ref)}")
        except OSError as error:
            raise BlockError(f"Model {name!r} cannot be read: {error.strerror}, {error.filename}.") from None
    if not HUB_ID.fullmatch(chosen.model):
        raise BlockError(
            f"Model {name!r} is no directory with a config.json (looked in {base}), and no Hugging Face model id"
            f"{_list(name, settings.models)}."
        )
    commit = hub_commit(chosen.model, revision or "main")
    return ref if commit is None else ref.at_commit(commit)


def _check_revision(name: str, revision: str | None, chosen: ModelSettings, settings: Settings) -> None:
    """A block may not lead a trusted alias to other weights or other code than those that were trusted."""
    if revision is None:
        return
    if settings.only_listed_models or chosen.revision is not None:
        raise BlockError(
            f"`revision` is {revision!r}, but which revision {name!r} means is for the site's settings to say."
        )
    if not REVISION.fullmatch(revision) or ".." in revision:
        raise BlockError(f"`revision` is {revision!r}, which is no name of a branch, a tag or a commit.")


def _either(special: bool | None, general: bool) -> bool:
    return general if special is None else special


def _list(name: str, aliases: dict[str, Any]) -> str:
    if not aliases:
        return ""
    near = difflib.get_close_matches(name, aliases, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" (the site's aliases are {', '.join(sorted(aliases))})"


def _directory(model: str, base: Path) -> Path | None:
    """The directory that `model` names, if it names one."""
    if model.startswith("package:"):
        return _package_directory(model.removeprefix("package:"))
    try:
        folder = (base / os.path.expanduser(model)).resolve()  # noqa: PTH111 — pathlib's raises where there is no home
        return folder if (folder / "config.json").is_file() else None
    except (OSError, ValueError):  # a NUL, a name too long, a folder that may not be read
        return None


def _package_directory(path: str) -> Path:
    package, _, inside = path.partition("/")
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise BlockError(f"Python package {package!r} is not installed, so 'package:{path}' names no model.")
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    folder = (root / inside).resolve()
    if not folder.is_relative_to(root) or not (folder / "config.json").is_file():
        raise BlockError(f"Python package {package!r} has no model directory {inside!r} (one with a config.json).")
    return folder


def hub_commit(model: str, revision: str) -> str | None:
    """The commit of a hub's model as the hub cache on this machine has it; no network is asked."""
    if COMMIT.fullmatch(revision):
        return revision
    ref = _hub_cache() / f"models--{model.replace('/', '--')}" / "refs" / revision
    try:
        commit = ref.read_text().strip()
    except (OSError, ValueError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def _hub_cache() -> Path:
    """Where huggingface_hub keeps models; read from its variables, because importing it takes a second."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.path.expanduser(os.environ[variable]))  # noqa: PTH111
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(os.path.expanduser(home)) / "hub"  # noqa: PTH111


def digest(folder: Path, ref: ModelRef) -> str:
    """SHA-256 over names and digests of the files a capture depends on."""
    total = hashlib.sha256()
    for file in _content(folder, ref):
        total.update(f"{file.name}\0{_file_digest(file)}\n".encode())
    return total.hexdigest()


def _content(folder: Path, ref: ModelRef) -> Iterator[Path]:
    patterns: tuple[str, ...] = CONTENT
    patterns += () if ref.use_safetensors else PICKLED
    patterns += ("*.py",) if ref.trust_remote_code else ()
    for file in sorted(folder.iterdir()):
        if file.is_file() and any(fnmatch.fnmatchcase(file.name, pattern) for pattern in patterns):
            yield file


def _file_digest(file: Path) -> str:
    """SHA-256 of a file. That of a large one is remembered by path, size and time of change."""
    stat = file.stat()
    if stat.st_size < 1_000_000:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    seen = {"path": str(file), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    note = (
        platformdirs.user_cache_path("attnviz") / "digests" / f"{hashlib.sha256(str(file).encode()).hexdigest()}.json"
    )
    try:
        known = json.loads(note.read_text())
        if {name: known[name] for name in seen} == seen:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with file.open("rb") as stream:
        sha256 = _sha256(stream)
    with contextlib.suppress(OSError):  # a digest that is not remembered is computed again, that is all
        write_atomically(note, json.dumps(seen | {"sha256": sha256}).encode())
    return sha256


def _sha256(stream: Any) -> str:
    total = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        total.update(chunk)
    return total.hexdigest()
