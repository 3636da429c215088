"""A model reference → a model and a tokenizer in memory, or a sentence that says why not."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from mkdocs_attnviz.block.problem import trace
from mkdocs_attnviz.models.errors import Lacking as Lacking
from mkdocs_attnviz.models.errors import TooLarge as TooLarge
from mkdocs_attnviz.models.errors import Unusable as Unusable
from mkdocs_attnviz.models.errors import said
from mkdocs_attnviz.models.identity import adapters, hub, other_formats
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.loading import adapted, memory, missing_weights, model_class, own_buffers, trial, vocabulary
from mkdocs_attnviz.models.loading.model_class import Kind
from mkdocs_attnviz.models.probing.attention_limits import without_matrix

if TYPE_CHECKING:
    pass
from mkdocs_attnviz.models.loading.loaded import Loaded

NO_ATTENTION = {
    "blt": "it cuts its text into patches of bytes, and its attention is between those",
    "falcon_mamba": "it is a state-space model",
    "fnet": "it mixes tokens by a Fourier transform",
    "longformer": "it is a band around each token, not a matrix of tokens by tokens",
    "mamba": "it is a state-space model",
    "mamba2": "it is a state-space model",
    "mra": "it never forms the whole matrix of weights",
    "musicgen": "it writes sound, not text",
    "musicgen_melody": "it writes sound, not text",
    "perceiver": "it reads its text through a fixed number of latents, never token by token",
    "reformer": "its attention is hashed at random, so that no two runs agree",
    "rwkv": "it is a recurrent network",
    "whisper": "it reads sound, not text",
    "xlstm": "it is a recurrent network",
    "yoso": "its attention is sampled at random",
}
"""Model types that have no attention matrix to show; said before their weights are loaded."""


def load(ref: ModelRef, device: str, *, head: bool = False, attention: bool = True) -> Loaded:
    """Configuration first, so that a model without attention, or without a head where one is needed, is refused before
    its weights are read.

    Raises:
        TooLarge: there is not enough memory for it.
        Unusable: there is no such model here, it has no attention, or its files cannot be read.
    """
    try:
        config, tokenizer = _small_files(ref, attention=attention)
        if ref.base is not None:
            kinds = adapted.kinds(ref, config)
        else:
            kinds = model_class.headed(ref, config) if head else model_class.bodies(config)
        model, kind = _complete(ref, config, tokenizer, kinds)
    except Unusable:
        raise
    except Exception as error:
        if not memory.ran_out(error):
            raise Unusable(_load_sentence(ref.base or ref, error)) from error
        full = memory.full(error, torch.device("cpu"))
    else:
        return _moved(ref, model, tokenizer, device, kind)
    memory.free()  # not in the clause above, whose exception holds what was read
    raise TooLarge(memory.too_large(ref, memory.size_of_files(ref.base or ref), full))


def _small_files(ref: ModelRef, *, attention: bool) -> tuple[Any, Any]:
    """Return the model's configuration and tokenizer.

    Raises:
        Unusable: it reads no text, has no attention, no tokenizer, code that is not trusted, or a `device_map` that
            asks for what is not installed.
    """
    if ref.device_map and importlib.util.find_spec("accelerate") is None:
        raise Unusable(
            f"Model {ref.name!r} has `device_map: {ref.device_map}`, which needs accelerate; install it with "
            "`pip install 'mkdocs-attnviz[large]'`."
        )
    _check_format(ref)
    source = ref.base or ref
    model_class.check_own_files(source)
    config = transformers.AutoConfig.from_pretrained(source.path, **_where(source))
    model_class.check_code(source, config)
    if attention:
        check_attention(ref.name, config)
    model_class.check_reads_text(ref, config)
    # Set directly: Falcon and a few others do not take it over from the argument.
    config._attn_implementation = "eager"
    return config, _tokenizer(ref, config)


def _check_format(ref: ModelRef) -> None:
    """Raise if the model is in a form that cannot be read, or would be read as another model.

    Raises:
        Unusable: it is, or its adapter cannot be applied here.
    """
    if ref.base is not None:
        adapted.check(ref)
    folder = Path((ref.base or ref).path)
    if not (ref.base or ref).local:
        source = ref.base or ref
        if transformers.utils.find_adapter_config_file(source.path, revision=source.revision):
            raise Unusable(
                f"Model {source.name!r} is, on the hub, an adapter (LoRA) or has one; save it in a directory, and name "
                "that."
            )
    elif adapters.is_adapter(folder):  # with peft, transformers would apply it, and without it, leave it out
        raise Unusable(f"Model {ref.name!r} holds an adapter (LoRA) in the place of a model.")
    elif problem := other_formats.problem(ref.name, folder):
        raise Unusable(problem)


def _tokenizer(ref: ModelRef, config: Any) -> Any:
    """Return the model's tokenizer: an adapter's own if one was saved with it, and else its base's.

    Raises:
        Unusable: there is none, or it has code that is not trusted.
    """
    if ref.base is None:
        return vocabulary.tokenizer(ref, **_where(ref))
    if not adapters.has_tokenizer(Path(ref.path)):
        return vocabulary.tokenizer(ref.base, **_where(ref.base))
    model_class.check_tokenizer_code(ref)
    return vocabulary.tokenizer(ref, config=config, **_where(ref))


def check_attention(name: str, config: Any) -> None:
    """Raises: Lacking: such a model has no attention matrix to show."""
    if reason := NO_ATTENTION.get(config.model_type) or without_matrix(config):
        raise Lacking(f"Model {name!r} ({config.model_type}) has no attention to show: {reason}.")


def _where(ref: ModelRef) -> dict[str, Any]:
    return {"revision": ref.revision, "trust_remote_code": ref.trust_remote_code}


def _complete(ref: ModelRef, config: Any, tokenizer: Any, kinds: list[Kind]) -> tuple[Any, Kind]:
    """Return the model as the first of these classes that its files have all weights for, and that class.

    Raises:
        Unusable: none is complete; the last says why.
    """
    told: list[Unusable] = []
    unforeseen: list[Unusable] = []
    both = ref if ref.base is None else replace(ref, name=f"{ref.name} over {ref.base.name}")
    tried, model = "", None
    for kind in kinds:
        if kind.name == tried:
            continue
        model = None  # the one before is given back first
        try:
            model, report = _weights(ref.base or ref, config, kind.loader)
            tried = type(model).__name__
            own_buffers.restore(ref.base or ref, model)
            if ref.base is not None:
                model, report = adapted.merged(ref, model, tokenizer, report)
            missing_weights.check(both, model, tokenizer, report)
            trial.check(ref, model, tokenizer)
        except Exception as error:
            if memory.ran_out(error):
                raise
            # The exception itself is not kept: its frames hold the weights.
            if isinstance(error, Unusable):
                told.append(error.with_traceback(None))
            else:
                unforeseen.append(Unusable(_load_sentence(ref.base or ref, error), detail=trace(error)))
        else:
            return model.eval(), kind
    if len(kinds) > 1 and not unforeseen and all(isinstance(error, Lacking) for error in told):
        raise model_class.no_head(ref, config)
    raise (told or unforeseen)[-1]


def _weights(ref: ModelRef, config: Any, kind: Any) -> tuple[Any, dict[str, Any]]:
    """Return the model, on the processor or spread over devices where it has a `device_map`, and the report on it."""
    spread: dict[str, Any] = {}
    if ref.device_map:  # what fits nowhere else, and is not in a safetensors file as it is needed, goes into a folder
        folder = tempfile.mkdtemp(prefix="attnviz-")
        spread = {"device_map": ref.device_map, "offload_folder": folder}
    try:
        model, report = kind.from_pretrained(
            ref.path,
            output_loading_info=True,
            config=config,
            attn_implementation="eager",
            dtype=ref.dtype,
            use_safetensors=True if ref.use_safetensors else None,
            ignore_mismatched_sizes=True,  # they are in the report, and refused with their names
            **spread,
            **_where(ref),
        )
    except BaseException:
        if spread:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if spread:
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model, report


def _moved(ref: ModelRef, model: Any, tokenizer: Any, device: str, kind: Kind) -> Loaded:
    """On its device, unless it is spread over some.

    Raises:
        TooLarge: there is not enough memory.
        Unusable: there is no such device.
    """
    try:
        target = placed(model) if ref.device_map else _device(device)
        placed_model = model if ref.device_map else model.to(target)
        return Loaded(ref, placed_model, tokenizer, target, trained_for=kind.task)
    except Exception as error:
        if not memory.ran_out(error):
            raise Unusable(f"Model {ref.name!r} cannot be put on device {device!r}: {said(error)}.") from error
        full = memory.full(error, target)
    size = memory.size_of(model)
    del model
    memory.free()
    raise TooLarge(memory.too_large(ref, size, full))


def placed(model: Any) -> torch.device:
    """Where a model reads its inputs: where it is spread, the first device that computes."""
    spread = getattr(model, "hf_device_map", None)
    if spread is None:
        return torch.device(model.device)
    computing = [device for device in spread.values() if str(device) not in ("cpu", "disk")]
    return torch.device(computing[0] if computing else "cpu")


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
        return model_class.needs_trust(ref)
    if isinstance(error, ImportError):
        return f"Model {ref.name!r} needs a library that is not installed: {said(error)}."
    if ref.local:
        return f"Model {ref.name!r} cannot be loaded from {ref.path}: {said(error)}."
    return hub.sentence(ref, error)
