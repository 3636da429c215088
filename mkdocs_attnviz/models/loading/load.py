"""The loading of a model and its tokenizer into memory, or a sentence that says why it is not possible."""

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
from mkdocs_attnviz.models.errors import error_message
from mkdocs_attnviz.models.identity import adapters, hub, other_formats
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.loading import adapted, memory, missing_weights, model_class, own_buffers, trial, vocabulary
from mkdocs_attnviz.models.loading.attention_limits import without_matrix
from mkdocs_attnviz.models.loading.model_class import ModelClass

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
"""Model types without an attention matrix, with the reason. They are refused before their weights are loaded."""


def load(ref: ModelRef, device: str, *, head: bool = False, attention: bool = True) -> Loaded:
    """Load a model.

    The configuration comes first: a model without attention, or without a head that a view needs, is refused before its
    weights are read.

    Raises:
        TooLarge: there is not enough memory for it.
        Unusable: there is no such model here, it has no attention, or its files cannot be read.
    """
    try:
        config, tokenizer = _small_files(ref, attention=attention)
        if ref.base is not None:
            classes = adapted.base_classes(ref, config)
        else:
            classes = model_class.classes_with_head(ref, config) if head else model_class.classes_without_head(config)
        model, model_class_of = _complete(ref, config, tokenizer, classes)
    except Unusable:
        raise
    except Exception as error:
        if not memory.ran_out(error):
            raise Unusable(_load_sentence(ref.base or ref, error)) from error
        full = memory.full(error, torch.device("cpu"))
    else:
        return _to_device(ref, model, tokenizer, device, model_class_of)
    memory.free()  # not in the `except` clause, whose exception holds the weights
    raise TooLarge(memory.too_large(ref, memory.size_of_files(ref.base or ref), full))


def _small_files(ref: ModelRef, *, attention: bool) -> tuple[Any, Any]:
    """Return the model's configuration and tokenizer.

    Raises:
        Unusable: the model reads no text, has no attention, no tokenizer, code that is not trusted, or a `device_map`
            without accelerate.
    """
    if ref.device_map and importlib.util.find_spec("accelerate") is None:
        raise Unusable(
            f"Model {ref.name!r} has `device_map: {ref.device_map}`, which needs accelerate; install it with "
            "`pip install 'attnviz[large]'`."
        )
    _check_format(ref)
    source = ref.base or ref
    model_class.check_own_files(source)
    config = transformers.AutoConfig.from_pretrained(source.path, **_where(source))
    model_class.check_code(source, config)
    if attention:
        check_attention(ref.name, config)
    model_class.check_reads_text(ref, config)
    # Set directly: Falcon and a few others ignore the argument.
    config._attn_implementation = "eager"
    return config, _tokenizer(ref, config)


def _check_format(ref: ModelRef) -> None:
    """Raise if the model is in a form that cannot be read, or that would be read as another model.

    Raises:
        Unusable: it is in such a form, or its adapter cannot be applied here.
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
    elif adapters.is_adapter(folder):  # transformers would apply it if peft is there, and ignore it otherwise
        raise Unusable(f"Model {ref.name!r} holds an adapter (LoRA) in the place of a model.")
    elif problem := other_formats.problem(ref.name, folder):
        raise Unusable(problem)


def _tokenizer(ref: ModelRef, config: Any) -> Any:
    """Return the model's tokenizer: an adapter's own if one was saved with it, otherwise its base's.

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
    """Raise if a model of this configuration has no attention matrix to show.

    Raises:
        Lacking: it has none.
    """
    if reason := NO_ATTENTION.get(config.model_type) or without_matrix(config):
        raise Lacking(f"Model {name!r} ({config.model_type}) has no attention to show: {reason}.")


def _where(ref: ModelRef) -> dict[str, Any]:
    return {"revision": ref.revision, "trust_remote_code": ref.trust_remote_code}


def _complete(ref: ModelRef, config: Any, tokenizer: Any, classes: list[ModelClass]) -> tuple[Any, ModelClass]:
    """Return the model as the first of these classes that its files have all weights for, and that class.

    Raises:
        Unusable: no class is complete; the message is about the last.
    """
    unusable: list[Unusable] = []
    unforeseen: list[Unusable] = []
    both = ref if ref.base is None else replace(ref, name=f"{ref.name} over {ref.base.name}")
    tried, model = "", None
    for model_class_of in classes:
        if model_class_of.name == tried:
            continue
        model = None  # free the previous model first
        try:
            model, report = _weights(ref.base or ref, config, model_class_of.loader)
            tried = type(model).__name__
            own_buffers.restore(ref.base or ref, model)
            if ref.base is not None:
                model, report = adapted.merge(ref, model, tokenizer, report)
            missing_weights.check(both, model, tokenizer, report)
            trial.check(ref, model, tokenizer)
        except Exception as error:
            if memory.ran_out(error):
                raise
            # The exception itself is dropped, since its frames hold the weights.
            if isinstance(error, Unusable):
                unusable.append(error.with_traceback(None))
            else:
                unforeseen.append(Unusable(_load_sentence(ref.base or ref, error), detail=trace(error)))
        else:
            return model.eval(), model_class_of
    if len(classes) > 1 and not unforeseen and all(isinstance(error, Lacking) for error in unusable):
        raise model_class.no_head(ref, config)
    raise (unusable or unforeseen)[-1]


def _weights(ref: ModelRef, config: Any, kind: Any) -> tuple[Any, dict[str, Any]]:
    """Return the model, on the processor or spread over devices by its `device_map`, and transformers' report on it."""
    spread: dict[str, Any] = {}
    if ref.device_map:  # the folder takes weights that fit on no device and must be converted
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
            ignore_mismatched_sizes=True,  # they are in the report, and refused by name
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


def _to_device(ref: ModelRef, model: Any, tokenizer: Any, device: str, kind: ModelClass) -> Loaded:
    """Return the model on its device, unless it is spread over several.

    Raises:
        TooLarge: there is not enough memory.
        Unusable: there is no such device.
    """
    try:
        target = input_device(model) if ref.device_map else _device(device)
        placed_model = model if ref.device_map else model.to(target)
        return Loaded(ref, placed_model, tokenizer, target, trained_for=kind.task)
    except Exception as error:
        if not memory.ran_out(error):
            raise Unusable(f"Model {ref.name!r} cannot be put on device {device!r}: {error_message(error)}.") from error
        full = memory.full(error, target)
    size = memory.size_of(model)
    del model
    memory.free()
    raise TooLarge(memory.too_large(ref, size, full))


def input_device(model: Any) -> torch.device:
    """Return the device where a model reads its inputs: if it is spread, the first device that computes."""
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
        return f"Model {ref.name!r} needs a library that is not installed: {error_message(error)}."
    if ref.local:
        return f"Model {ref.name!r} cannot be loaded from {ref.path}: {error_message(error)}."
    return hub.sentence(ref, error)
