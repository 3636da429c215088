"""A model reference → a model and a tokenizer in memory, or a sentence that says why not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
import transformers
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

from mkdocs_attnviz.models.reference import ModelRef

NO_ATTENTION = {
    "falcon_mamba": "it is a state-space model",
    "fnet": "it mixes tokens by a Fourier transform",
    "mamba": "it is a state-space model",
    "mamba2": "it is a state-space model",
    "mra": "it never forms the whole matrix of weights",
    "reformer": "its attention is hashed at random, so that no two runs agree",
    "rwkv": "it is a recurrent network",
    "xlstm": "it is a recurrent network",
    "yoso": "its attention is sampled at random",
}
"""Model types that have no attention matrix to show; said before their weights are loaded."""


class Unusable(Exception):
    """The model cannot be used; the message is for the author."""


@dataclass
class Loaded:
    ref: ModelRef
    model: Any
    tokenizer: Any
    device: torch.device
    batches: bool | None = None
    """Whether a padded batch gives what single texts give; None until it was tried."""

    @property
    def longest(self) -> int | None:
        """The most tokens the model can read, where it has a limit."""
        limits = [getattr(self.model.config.get_text_config(), "max_position_embeddings", None)]
        limits.append(self.tokenizer.model_max_length)
        return min((limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**9), default=None)


def resolve_commit(ref: ModelRef) -> str:
    """The commit of a hub's model; downloads its config.json.

    Raises:
        Unusable: there is no such model or revision, or the hub cannot be reached.
    """
    try:
        path = hf_hub_download(ref.path, "config.json", revision=ref.revision)
    except Exception as error:
        raise Unusable(_hub_sentence(ref, error)) from error
    found = re.search(r"[/\\]snapshots[/\\]([0-9a-f]{40})[/\\]", path)
    if found is None:
        raise Unusable(f"Model {ref.name!r}: the hub's cache has no commit for it ({path}).")
    return found[1]


def load(ref: ModelRef, device: str) -> Loaded:
    """Configuration first, so that a model without attention is refused before its weights are read.

    Raises:
        Unusable: there is no such model here, it has no attention, or its files cannot be read.
    """
    where = {"revision": ref.revision, "trust_remote_code": ref.trust_remote_code}
    try:
        config = transformers.AutoConfig.from_pretrained(ref.path, **where)
        if config.model_type in NO_ATTENTION:
            reason = NO_ATTENTION[config.model_type]
            raise Unusable(f"Model {ref.name!r} ({config.model_type}) has no attention to show: {reason}.")
        # Set directly: Falcon and a few others do not take it over from the argument.
        config._attn_implementation = "eager"
        tokenizer = transformers.AutoTokenizer.from_pretrained(ref.path, **where)
        model = transformers.AutoModel.from_pretrained(
            ref.path,
            config=config,
            attn_implementation="eager",
            dtype=ref.dtype,
            use_safetensors=True if ref.use_safetensors else None,
            **where,
        )
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
    except Unusable:
        raise
    except Exception as error:
        raise Unusable(_load_sentence(ref, error)) from error
    try:
        target = _device(device)
        return Loaded(ref, model.eval().to(target), tokenizer, target)
    except Exception as error:
        raise Unusable(f"Model {ref.name!r} cannot be put on device {device!r}: {_first_line(error)}") from error


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _load_sentence(ref: ModelRef, error: Exception) -> str:
    text = str(error)
    if ref.use_safetensors and "safetensors" in text and "no file named" in text:
        return (
            f"Model {ref.name!r} has no safetensors file; set `use_safetensors: false` for it in the site's `models` "
            "if you trust its pickled weights."
        )
    if "trust_remote_code" in text:
        return (
            f"Model {ref.name!r} needs Python code of its own to run; set `trust_remote_code: true` for it in the "
            "site's `models` if you trust it."
        )
    if ref.local:
        return f"Model {ref.name!r} cannot be loaded from {ref.path}: {_first_line(error)}"
    return _hub_sentence(ref, error)


def _hub_sentence(ref: ModelRef, error: Exception) -> str:
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
                return f"Model {where} lacks a file on the hub: {_first_line(cause)}"
            case HfHubHTTPError():
                return f"Model {where} could not be fetched from the hub: {_first_line(cause)}"
        cause = cause.__cause__ or cause.__context__
    return f"Model {where} cannot be loaded: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
