"""The resolution of a block's `model` to files on this machine or the hub, and to the identity of their content.

The identity is the commit (hub) or a digest of configuration, tokenizer and weights (local), never a branch name: it is
a part of cache keys. If the model is on this machine, its identity is found without torch, transformers or the network.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import importlib.util
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mkdocs_attnviz.block.problem import BlockError, Problem
from mkdocs_attnviz.cache.files import user_folder, write_atomically
from mkdocs_attnviz.models.identity import adapters, other_formats
from mkdocs_attnviz.models.identity.model_files import (
    LARGEST_POINTER,
    UnreadableFile,
    model_files,
    pointed_at,
    stand_in,
)
from mkdocs_attnviz.settings import ModelSettings, Settings

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
REVISION = re.compile(r"\w[\w./-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
NOTHING_LOCKED: Mapping[str, str] = MappingProxyType({})
LOCKED = re.compile(r"commit:(?P<path>.+)@(?P<commit>[0-9a-f]{40})|sha256:[0-9a-f]{64}")
"""The form of an identity in a lock file."""
GONE = (
    "Model {!r} is no directory on this machine, as which the lock file knows it: figures that the cache holds can be "
    "drawn, and nothing can be computed."
)
CHOSEN = (
    "Model {!r} is trusted to run code, and only the lock file says at which commit ({:.10}); to run it, give that as "
    "its `revision` in the site's `models`, or let `attnviz run --update` ask the hub."
)
STAND_IN = "Model {!r} cannot be run here: Git LFS has not brought its {} yet, which `git lfs pull` does."


def changed(reference: str) -> Problem:
    """Return the problem of a directory or file that differs from the one that was locked."""
    return Problem("changed", "model", f"{reference} has changed since the lock file was written.")


def moved(path: str, branch: str, now: str, locked: str) -> Problem:
    """Return the problem of a hub's branch that is now at commit `now` instead of the locked one."""
    message = f"{path} has moved: {branch!r} is commit {now:.10} now, the lock file keeps {locked:.10}."
    return Problem("moved", "model", message, advice="`attnviz run --update` takes the new commit.")


class _NotHere(BlockError):
    """A model or package that is not on this machine; it may be on others."""


@dataclass(frozen=True)
class ModelRef:
    """A model that a worker can load."""

    name: str
    """The name that the author wrote, for messages."""
    path: str
    """A directory, or an id on the hub."""
    local: bool
    revision: str | None
    """The commit if it is known, otherwise branch or tag; None for a directory."""
    identity: str | None
    """`commit:…` or `sha256:…`; None until the hub was asked."""
    dtype: str
    trust_remote_code: bool
    use_safetensors: bool
    device_map: str | None = None
    """The way accelerate spreads the model over devices; None if it is on one."""
    reference: str = ""
    """The name in the lock file: the site's name for the model, with aliases resolved."""
    moved: Problem | None = None
    """The difference from what the lock file names; None if there is none."""
    absent: str = ""
    """A sentence that says why the model must not be run here; empty if it may. Its cache entries are still found."""
    base: ModelRef | None = None
    """The model that this adapter changes; None for a whole model."""
    content: str = ""
    """The digest of an adapter's own directory, `sha256:…`."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ModelRef:
        """Return the reference that `to_dict` turned into a mapping."""
        base, moved = fields.get("base"), fields.get("moved")
        known = {"base": base and cls.from_dict(base), "moved": moved and Problem.from_json(moved)}
        return cls(**{**fields, **known})

    @property
    def parts(self) -> tuple[ModelRef, ...]:
        """The model itself, and its base if it is an adapter."""
        return (self,) if self.base is None else (self, self.base)

    def over(self, base: ModelRef) -> ModelRef:
        """Return this adapter over its base. The identity depends on both, and is None while the base's is."""
        both = hashlib.sha256(f"adapter {self.content} over {base.identity}".encode()).hexdigest()
        return replace(self, base=base, identity=None if base.identity is None else f"sha256:{both}")

    def at_commit(self, commit: str) -> ModelRef:
        return replace(self, revision=commit, identity=f"commit:{self.path}@{commit}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


Identities = Mapping[str, str]
"""Identities by reference, as a lock file holds them."""


def resolve(
    name: str,
    revision: str | None,
    settings: Settings,
    base: Path,
    locked: Identities = NOTHING_LOCKED,
    *,
    update: bool = False,
    for_adapter: bool = False,
    revision_called: str = "`revision`",
) -> ModelRef:
    """Return the model that `name` refers to. Directories are relative to `base`, the folder of the site's
    configuration.

    A hub's model that is `locked` stays at its commit, wherever its branch is now. A directory that is not on this
    machine keeps its locked identity; a directory that is here has the identity of its content. With `update`, the
    identity of a hub's branch is left to be looked up there. `for_adapter` tells that the model is an adapter's base,
    which cannot be an adapter itself. `revision_called` is the name of the revision in messages.

    Raises:
        BlockError: the name means nothing here, or the site does not allow the model.
    """
    listed = settings.models.get(name)
    if listed is None and settings.only_listed_models:
        raise BlockError(
            f"Model {name!r} is not listed, and this site draws only models listed under `models`"
            f"{_list(name, settings.models)}."
        )
    chosen = ModelSettings(model=name) if listed is None else listed
    chosen = ModelSettings(model=chosen) if isinstance(chosen, str) else chosen
    _check_revision(name, revision, chosen, settings, revision_called)
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
        if directory is not None and adapters.is_adapter(directory):
            if for_adapter:
                raise BlockError(f"Model {name!r} is an adapter itself; merge the two, and name the merged model.")
            adapter = _at_directory(ref, directory, None, revision_called)
            base_ref = _base(adapter, directory, settings, base, locked, update=update)
            return _over(adapter, base_ref, chosen, known)
        if directory is not None:
            return _at_directory(ref, directory, known, revision_called)
        if known is None and not HUB_ID.fullmatch(chosen.model):
            raise BlockError(
                f"Model {name!r} is no directory with a config.json (looked in {base}), and no Hugging Face model id"
                f"{_list(name, settings.models)}."
            )
    except _NotHere:
        if known is None:
            raise
    if update and not (known or "").startswith("sha256:"):  # the hub is asked anew
        return _at_commit(ref, None) if COMMIT.fullmatch(ref.revision or "") else ref
    if known is not None:
        _check_locked(ref, known)
        if known.startswith("sha256:"):
            return replace(ref, local=True, identity=known, absent=GONE.format(name))
    return _at_commit(ref, known)


def _base(
    adapter: ModelRef, directory: Path, settings: Settings, base: Path, locked: Identities, *, update: bool
) -> ModelRef:
    """Return the model that an adapter changes; its name is resolved as if a block of the site named it.

    The site's trust in the adapter does not extend to its base.

    Raises:
        BlockError: the adapter names no base, or one that a block could not name.
    """
    named = adapters.base_of(adapter.name, directory)
    alias = settings.models.get(named.name)
    pinned = alias.revision if isinstance(alias, ModelSettings) else None
    try:
        revision = None if named.revision == pinned else named.revision
        called = f"the revision in {adapters.CONFIG}"
        return resolve(
            named.name, revision, settings, base, locked, update=update, for_adapter=True, revision_called=called
        )
    except BlockError as error:
        why = f"Model {adapter.name!r} is an adapter, and its base cannot be used: {error.problem.message}"
        raise BlockError(replace(error.problem, key="", message=why)) from None


def _over(adapter: ModelRef, base: ModelRef, chosen: ModelSettings, known: str | None) -> ModelRef:
    """Return an adapter over its base. The adapter's settings decide how it runs; those of the base fill the gaps.

    Raises:
        BlockError: one of the two has a `device_map`.
    """
    if chosen.device_map or base.device_map:
        raise BlockError(
            f"Model {adapter.name!r} is an adapter, which cannot be spread over devices (`device_map`); merge it into "
            "its base, and name the merged model."
        )
    dtype = chosen.dtype or base.dtype
    ref = replace(adapter, dtype=dtype).over(replace(base, dtype=dtype))
    is_other = known not in (None, ref.identity) and ref.identity is not None and not base.moved
    return replace(ref, moved=changed(adapter.reference) if is_other else None, absent=adapter.absent or base.absent)


def _check_locked(ref: ModelRef, known: str) -> None:
    """Raise if the lock file's identity cannot be that of this model.

    It may only name a commit of the same hub model, or the digest of a directory.

    Raises:
        BlockError: it names another model, another commit than the site's settings, or no identity at all.
    """
    pinned = ref.revision if COMMIT.fullmatch(ref.revision or "") else None
    allowed = [f"commit:{ref.path}@{pinned or 'COMMIT'}"] if HUB_ID.fullmatch(ref.path) else []
    # this machine knows the name as a hub's model
    of_hub = bool(ref.revision or (allowed and hub_commit(ref.path, "main")))
    allowed += [] if of_hub else ["sha256:DIGEST"]
    identity = LOCKED.fullmatch(known)
    fits = identity is not None and (
        (identity["path"] == ref.path and allowed[0].startswith("commit:") and pinned in (None, identity["commit"]))
        if identity["commit"]
        else not of_hub
    )
    if not fits:
        raise BlockError(
            f"The lock file says {known!r:.200} of {ref.reference!r}, which can only be {' or '.join(allowed)}; mend "
            "that line, or take it out and let `attnviz run` write it."
        )


def _reference(ref: ModelRef) -> str:
    """Return the name in the lock file. It includes trusted code and pickles, since they change the digest."""
    revision = f"@{ref.revision}" if ref.revision else ""
    return f"{ref.path}{revision}{' + code' * ref.trust_remote_code}{' + pickles' * (not ref.use_safetensors)}"


def _at_directory(ref: ModelRef, directory: Path, known: str | None, revision_called: str) -> ModelRef:
    if ref.revision is not None:
        raise _wrong_revision(
            f"{revision_called} is {ref.revision!r}, but model {ref.name!r} is a directory; only a hub's model has "
            "revisions."
        )
    try:
        identity = f"sha256:{digest(directory, ref)}"
        content = identity
        if not _has_weights(directory, ref):  # it cannot be run, and its path keeps it apart from other models
            identity = f"sha256:{hashlib.sha256(f'{identity} {directory}'.encode()).hexdigest()}"
        lacking = stand_in(directory, **_trusted(ref))
    except UnreadableFile as error:
        raise BlockError(f"Model {ref.name!r} is not read: it {error}") from None
    except OSError as error:
        raise BlockError(f"Model {ref.name!r} cannot be read: {error.strerror}, {error.filename}.") from None
    absent = STAND_IN.format(ref.name, lacking) if lacking else ""
    content = content if adapters.is_adapter(directory) else ""
    ref = replace(ref, moved=None if known in (None, identity) else changed(ref.reference))
    return replace(ref, path=str(directory), local=True, identity=identity, absent=absent, content=content)


def _has_weights(directory: Path, ref: ModelRef) -> bool:
    """Return whether a model's directory, or a folder in it, has a file of weights that may be read."""
    names = ("*.safetensors", *(() if ref.use_safetensors else ("*.bin", "*.pt", "*.pth")))
    return any(next(directory.glob(pattern), None) for name in names for pattern in (name, f"*/{name}"))


def _at_commit(ref: ModelRef, known: str | None) -> ModelRef:
    """Return the model at its locked commit, or else at the commit in this machine's hub cache.

    A model with trusted code or pickles does not run at a commit that only the lock file names.
    """
    branch = ref.revision or "main"
    here = hub_commit(ref.path, branch)
    if known is None:
        return ref if here is None else ref.at_commit(here)
    commit = known.rpartition("@")[2]
    at_other = None if here in (None, commit) else moved(ref.path, branch, here or "", commit)
    trusted = ref.trust_remote_code or not ref.use_safetensors
    absent = CHOSEN.format(ref.name, commit) if trusted and here != commit else ""
    return replace(ref.at_commit(commit), moved=at_other, absent=absent)


def resolve_tensors(name: str, settings: Settings, base: Path, locked: Identities = NOTHING_LOCKED) -> ModelRef:
    """Return an author's own file in place of a model. Its identity is its digest, or the locked one if it is not here.

    Raises:
        BlockError: there is no such file, or the site does not allow it.
    """
    file, reference, absent = base, f"tensors:{name}", ""
    known = locked.get(reference)
    try:
        file = (base / os.path.expanduser(name)).resolve()  # noqa: PTH111 — as in `_directory`
        if settings.only_listed_models and not file.is_relative_to(base.resolve()):
            message = f"`tensors` is {name!r}, which lies outside {base}; this site draws only what lies inside."
            raise BlockError(message)
        identity = f"sha256:{_file_digest(file)}"
        if file.stat().st_size <= LARGEST_POINTER and pointed_at(file.read_bytes()):
            absent = f"`tensors` is {name!r}, which Git LFS has not brought yet; `git lfs pull` does."
    except (OSError, ValueError):  # as in `_directory`
        if known is None:
            near = _list(file.name, {each.name: None for each in file.parent.glob("*.safetensors")}, "there are")
            raise BlockError(f"`tensors` is {name!r}, but there is no such file in {base}{near}.") from None
        if not known.startswith("sha256:") or not LOCKED.fullmatch(known):
            raise BlockError(
                f"The lock file says {known!r:.200} of {reference!r}, which can only be sha256:DIGEST."
            ) from None
        identity = known
        absent = f"`tensors` is {name!r}, but there is no such file in {base}, so nothing can be computed from it."
    other = None if known in (None, identity) else changed(reference)
    ref = ModelRef(name, str(file), True, None, identity, "float32", False, True)
    return replace(ref, reference=reference, moved=other, absent=absent)


def _wrong_revision(message: str) -> BlockError:
    return BlockError(Problem("block", "revision", message))


def _check_revision(
    name: str, revision: str | None, chosen: ModelSettings, settings: Settings, revision_called: str
) -> None:
    """Raise if a block's revision would make a trusted alias use other weights or code than the trusted ones.

    Raises:
        BlockError: the revision is the site's to choose, or is no valid name.
    """
    if revision is None:
        return
    if settings.only_listed_models or chosen.revision is not None:
        raise _wrong_revision(
            f"{revision_called} is {revision!r}, but which revision {name!r} means is for the site's settings to say."
        )
    if not REVISION.fullmatch(revision) or ".." in revision:
        raise _wrong_revision(f"{revision_called} is {revision!r}, which is no name of a branch, a tag or a commit.")


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
        BlockError: it names a part of a model, or a model in another format.
    """
    if model.startswith("package:"):
        return package_directory(model.removeprefix("package:"))
    try:
        folder = (base / os.path.expanduser(model)).resolve()  # noqa: PTH111 — pathlib's raises where there is no home
        if _holds_model(folder):
            return folder
        problem = other_formats.problem(model, folder.parent if folder.suffix == ".gguf" else folder)
    except (OSError, ValueError):  # a NUL, a name that is too long, a folder that may not be read
        return None
    if problem:
        raise BlockError(problem)
    return None


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or adapters.is_adapter(folder)


def package_directory(path: str) -> Path:
    """Return the directory `path`, `PACKAGE/dir`, of an installed package.

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
    if not folder.is_relative_to(root) or not _holds_model(folder):
        raise _NotHere(f"Python package {package!r} has no model directory {inside!r} (one with a config.json).")
    return folder


def hub_commit(model: str, revision: str) -> str | None:
    """Return the commit of a hub's model in this machine's hub cache, or None; the network is not used."""
    if COMMIT.fullmatch(revision):
        return revision
    ref = _hub_cache() / f"models--{model.replace('/', '--')}" / "refs" / revision
    try:
        commit = ref.read_text().strip()
    except (OSError, ValueError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def own_folder(ref: ModelRef) -> Path:
    """Return the directory of a model's files; for a hub's model, its place in this machine's hub cache."""
    if ref.local:
        return Path(ref.path)
    return _hub_cache() / f"models--{ref.path.replace('/', '--')}" / "snapshots" / (ref.revision or "main")


def _hub_cache() -> Path:
    """Return huggingface_hub's cache folder, read from its environment variables because importing it
    takes a second.
    """
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.path.expanduser(os.environ[variable]))  # noqa: PTH111
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(os.path.expanduser(home)) / "hub"  # noqa: PTH111


def digest(folder: Path, ref: ModelRef) -> str:
    """Return the SHA-256 of the names and digests of the files that a capture depends on.

    Raises:
        OSError: a file cannot be read.
        UnreadableFile: a file must not be read.
    """
    total = hashlib.sha256()
    for name, path in model_files(folder, **_trusted(ref)):
        total.update(f"{name}\0{_file_digest(path)}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _trusted(ref: ModelRef) -> dict[str, bool]:
    """Return the arguments of `model_files` that tell what the site trusts.

    Links in an installed package may lead anywhere; the package's installer is trusted with that.
    """
    package = ref.reference.startswith("package:")
    return {"code": ref.trust_remote_code, "pickles": not ref.use_safetensors, "links": package}


def _file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's content. Lines of a text count as ending with \\n, whatever git has made of them.

    The digest of a large file is remembered by path, size and times of change. For a Git LFS pointer, it is the digest
    of the file in its place.
    """
    about = file.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    if about.st_size <= LARGEST_POINTER and (pointer := pointed_at(file.read_bytes())):
        return pointer
    if about.st_size < 1_000_000:
        content = file.read_bytes()
        return hashlib.sha256(content if b"\0" in content else content.replace(b"\r\n", b"\n")).hexdigest()
    # Some tools set the same modification time on every file; none of them sets the inode's.
    stamp = {"path": str(file), "size": about.st_size, "mtime_ns": about.st_mtime_ns}
    stamp |= {"ctime_ns": about.st_ctime_ns, "inode": about.st_ino, "lines": "\n"}
    note = user_folder() / "digests" / f"{hashlib.sha256(os.fsencode(file)).hexdigest()}.json"
    try:
        known = json.loads(note.read_text())
        if {name: known[name] for name in stamp} == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with file.open("rb") as stream:
        sha256 = _sha256(stream)
    with contextlib.suppress(OSError):  # a digest that is not remembered is computed again
        write_atomically(note, json.dumps(stamp | {"sha256": sha256}).encode())
    return sha256


def _sha256(stream: Any) -> str:
    """Return the SHA-256 of a stream. In a text, which has no NUL, each \\r\\n counts as \\n."""
    whole, lines, text, held = hashlib.sha256(), hashlib.sha256(), True, b""
    while chunk := stream.read(1 << 20):
        whole.update(chunk)
        text = text and b"\0" not in chunk
        if text:
            chunk = held + chunk
            held = b"\r" if chunk.endswith(b"\r") else b""  # the next chunk may begin with its \n
            lines.update(chunk[: len(chunk) - len(held)].replace(b"\r\n", b"\n"))
    lines.update(held)
    return (lines if text else whole).hexdigest()
