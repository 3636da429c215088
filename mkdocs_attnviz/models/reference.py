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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import platformdirs

from mkdocs_attnviz.block import BlockError
from mkdocs_attnviz.cache import write_atomically
from mkdocs_attnviz.models import other_formats
from mkdocs_attnviz.settings import ModelSettings, Settings

# What from_pretrained reads. Model cards, ONNX exports and the like do not change a capture.
CONTENT = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
PICKLED = ("*.bin", "*.pt", "*.pth")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
REVISION = re.compile(r"\w[\w./-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
LFS_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n")
NOTHING_LOCKED: Mapping[str, str] = MappingProxyType({})
CHANGED = "{} has changed since the lock file was written."
MOVED = (
    "{} has moved: {!r} is commit {:.10} now, the lock file keeps {:.10}; `attnviz run --update` goes along with it."
)


class _NotHere(BlockError):
    """This machine has no such thing, others may."""


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
    device_map: str | None = None
    """How accelerate spreads it over devices; None: it is on one."""
    reference: str = ""
    """As the site names it, aliases resolved; its name in the lock file."""
    moved: str = ""
    """How it differs from what the lock file names, in a sentence; empty if it does not."""

    def at_commit(self, commit: str) -> ModelRef:
        return replace(self, revision=commit, identity=f"commit:{self.path}@{commit}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


Identities = Mapping[str, str]
"""References → identities, as a lock file holds them."""


def resolve(
    name: str,
    revision: str | None,
    settings: Settings,
    base: Path,
    locked: Identities = NOTHING_LOCKED,
    *,
    update: bool = False,
) -> ModelRef:
    """The model that `name` refers to; directories are relative to `base`, the folder of the site's configuration.

    A hub's model that is `locked` stays at its commit, wherever its branch is now; a directory that is not on this
    machine is what it was when it was locked; one that is here is what it is. With `update` a hub's branch is left to
    be looked up there.

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
    ref = ModelRef(
        name=name,
        path=chosen.model,
        local=False,
        revision=revision or chosen.revision,
        identity=None,
        dtype=chosen.dtype or settings.dtype,
        trust_remote_code=_either(chosen.trust_remote_code, settings.trust_remote_code),
        use_safetensors=_either(chosen.use_safetensors, settings.use_safetensors),
        device_map=chosen.device_map,
    )
    ref = replace(ref, reference=_reference(ref))
    known = locked.get(ref.reference)
    try:
        directory = _directory(chosen.model, base)
        if directory is not None:
            return _at_directory(ref, directory, known)
        if known is None and not HUB_ID.fullmatch(chosen.model):
            raise BlockError(
                f"Model {name!r} is no directory with a config.json (looked in {base}), and no Hugging Face model id"
                f"{_list(name, settings.models)}."
            )
    except _NotHere:
        if known is None:
            raise
    if known is not None and not known.startswith("commit:"):
        return replace(ref, local=True, identity=known)
    if update and not COMMIT.fullmatch(ref.revision or ""):
        return ref
    return _at_commit(ref, known)


def _reference(ref: ModelRef) -> str:
    """What else is read of the same directory makes another digest of it."""
    revision = f"@{ref.revision}" if ref.revision else ""
    return f"{ref.path}{revision}{' + code' * ref.trust_remote_code}{' + pickles' * (not ref.use_safetensors)}"


def _at_directory(ref: ModelRef, directory: Path, known: str | None) -> ModelRef:
    if ref.revision is not None:
        raise BlockError(
            f"`revision` is {ref.revision!r}, but model {ref.name!r} is a directory; only a hub's model has revisions."
        )
    try:
        identity = f"sha256:{digest(directory, ref)}"
        if not _has_weights(directory, ref):  # nothing can be drawn of it, and it is not taken for another one
            identity = f"sha256:{hashlib.sha256(f'{identity} {directory}'.encode()).hexdigest()}"
    except OSError as error:
        raise BlockError(f"Model {ref.name!r} cannot be read: {error.strerror}, {error.filename}.") from None
    moved = "" if known in (None, identity) else CHANGED.format(ref.reference)
    return replace(ref, path=str(directory), local=True, identity=identity, moved=moved)


def _has_weights(directory: Path, ref: ModelRef) -> bool:
    """Return whether a model's directory, or a folder in it, has a file of weights that may be read."""
    names = ("*.safetensors", *(() if ref.use_safetensors else ("*.bin", "*.pt", "*.pth")))
    return any(next(directory.glob(pattern), None) for name in names for pattern in (name, f"*/{name}"))


def _at_commit(ref: ModelRef, known: str | None) -> ModelRef:
    """At the commit that is locked, else at the one this machine's hub cache has."""
    branch = ref.revision or "main"
    here = hub_commit(ref.path, branch)
    if known is None:
        return ref if here is None else ref.at_commit(here)
    commit = known.rpartition("@")[2]
    moved = "" if here in (None, commit) else MOVED.format(ref.path, branch, here, commit)
    return replace(ref.at_commit(commit), moved=moved)


def resolve_tensors(name: str, settings: Settings, base: Path, locked: Identities = NOTHING_LOCKED) -> ModelRef:
    """An author's own file in a model's place; its identity is its digest, or what is `locked` where it is not here.

    Raises:
        BlockError: there is no such file, or the site does not allow it.
    """
    file, reference = base, f"tensors:{name}"
    known = locked.get(reference)
    try:
        file = (base / os.path.expanduser(name)).resolve()  # noqa: PTH111 — as in `_directory`
        if settings.only_listed_models and not file.is_relative_to(base.resolve()):
            message = f"`tensors` is {name!r}, which lies outside {base}; this site draws only what lies inside."
            raise BlockError(message)
        identity = f"sha256:{_file_digest(file)}"
    except (OSError, ValueError):  # as in `_directory`
        if known is None:
            near = _list(file.name, {each.name: None for each in file.parent.glob("*.safetensors")}, "there are")
            raise BlockError(f"`tensors` is {name!r}, but there is no such file in {base}{near}.") from None
        identity = known
    moved = "" if known in (None, identity) else CHANGED.format(reference)
    return ModelRef(name, str(file), True, None, identity, "float32", False, True, reference=reference, moved=moved)


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


def _list(name: str, aliases: dict[str, Any], what: str = "the site's aliases are") -> str:
    if not aliases:
        return ""
    near = difflib.get_close_matches(name, aliases, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" ({what} {', '.join(sorted(aliases))})"


def _directory(model: str, base: Path) -> Path | None:
    """Return the directory that `model` names, or None if it names none.

    Raises:
        BlockError: what it names is a part of a model, or one in another format.
    """
    if model.startswith("package:"):
        return package_directory(model.removeprefix("package:"))
    try:
        folder = (base / os.path.expanduser(model)).resolve()  # noqa: PTH111 — pathlib's raises where there is no home
        if (folder / "config.json").is_file():
            return folder
        problem = other_formats.problem(model, folder.parent if folder.suffix == ".gguf" else folder)
    except (OSError, ValueError):  # a NUL, a name too long, a folder that may not be read
        return None
    if problem:
        raise BlockError(problem)
    return None


def package_directory(path: str) -> Path:
    """The directory `path` = `PACKAGE/dir` of an installed package.

    Raises:
        BlockError: there is none.
    """
    package, _, inside = path.partition("/")
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise _NotHere(f"Python package {package!r} is not installed, so 'package:{path}' names no model.")
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    folder = (root / inside).resolve()
    if not folder.is_relative_to(root) or not (folder / "config.json").is_file():
        raise _NotHere(f"Python package {package!r} has no model directory {inside!r} (one with a config.json).")
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
    """SHA-256 of a file. That of a large one is remembered by path, size and times of change."""
    stat = file.stat()
    if stat.st_size < 1_000_000:
        content = file.read_bytes()
        pointer = LFS_POINTER.match(content)  # git's stand-in for a large file names the digest of the real one
        return pointer[1].decode() if pointer else hashlib.sha256(content).hexdigest()
    # Some tools give every file one time of change; nobody sets that of the inode.
    seen = {"path": str(file), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    seen |= {"ctime_ns": stat.st_ctime_ns, "inode": stat.st_ino}
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
