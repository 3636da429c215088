"""The commit of a hub's model, and messages for authors if the hub does not tell it. Needs
huggingface_hub, not torch.
"""

from __future__ import annotations

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mkdocs_attnviz.models.errors import error_message
from mkdocs_attnviz.models.identity.reference import ModelRef


class NoCommit(Exception):
    """A hub that does not tell which commit a model is; the message is for the author."""


def resolve_commit(ref: ModelRef) -> str:
    """Return the commit of a hub's model; its config.json is downloaded.

    Raises:
        NoCommit: there is no such model or revision, or the hub cannot be reached.
    """
    try:
        metadata = hf_hub_download(ref.path, "config.json", revision=ref.revision, dry_run=True)
        # so the next build finds the commit on this machine
        hf_hub_download(ref.path, "config.json", revision=ref.revision)
    except Exception as error:
        raise NoCommit(sentence(ref, error)) from error
    return str(metadata.commit_hash)


def sentence(ref: ModelRef, error: Exception) -> str:
    """Return a sentence for the author about a hub's model that raised `error`."""
    where = f"{ref.path!r} at {ref.revision!r}" if ref.revision else repr(ref.path)
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case GatedRepoError():
                return (
                    f"Model {where} is gated: accept its terms on its page of the hub and log in with `hf auth login`."
                )
            case RevisionNotFoundError():
                return f"Model {ref.path!r} has no revision {ref.revision!r} on the hub."
            case LocalEntryNotFoundError() | OfflineModeIsEnabled():
                return f"Model {where} is not on this machine, and the hub cannot be reached."
            case RepositoryNotFoundError():
                return (
                    f"Model {where} is neither an alias nor a directory, and the hub has no public model of that name."
                )
            case EntryNotFoundError():
                return f"Model {where} lacks a file on the hub: {error_message(cause)}."
            case HfHubHTTPError():
                return f"Model {where} could not be fetched from the hub: {error_message(cause)}."
        cause = cause.__cause__ or cause.__context__
    return f"Model {where} cannot be loaded: {error_message(error)}."
