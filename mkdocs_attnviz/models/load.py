"""A model reference → a model and a tokenizer in memory, or a sentence that says why not."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import tokenizers
import torch
import transformers
from transformers.models.auto import modeling_auto

from mkdocs_attnviz.models import hub, lengths, memory
from mkdocs_attnviz.models.attention_limits import without_matrix
from mkdocs_attnviz.models.isolation import Isolation
from mkdocs_attnviz.models.reference import ModelRef

if TYPE_CHECKING:
    from mkdocs_attnviz.models.anatomy import Anatomy

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


TASKS: Mapping[str, str] = {
    name: task
    for task, names in (
        ("classes", modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
        ("masked", modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
        ("next", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        ("target", modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
    )
    for known in names.values()
    for name in ([known] if isinstance(known, str) else known)
}
"""What a model of a class with a head predicts: classes, masked tokens, the next token, or a target's tokens."""

VERSIONS = {
    "torch": torch.__version__.partition("+")[0],  # whatever device it was built for
    "transformers": transformers.__version__,
    "tokenizers": tokenizers.__version__,
}
"""What a capture may depend on beside the model's own files."""


class Unusable(Exception):
    """The model cannot be used; the message is for the author."""

    blame = "model"
    """The key of the block that names it."""


class Lacking(Unusable):
    """It has not what one view needs; others may do with it."""


class TooLarge(Unusable):
    """It does not fit into memory as it is now."""


@dataclass
class Loaded:
    ref: ModelRef
    model: Any
    tokenizer: Any
    device: torch.device
    batches: bool | None = None
    """Whether a padded batch gives what single texts give; None until it was tried."""
    made_with: Mapping[str, str] = field(default_factory=lambda: VERSIONS)
    """Versions of what ran it."""
    anatomy: Anatomy | None = None
    """Which of the model's attention calls is which layer; None until a text was run."""
    fits: int | None = None
    """Texts × tokens² that one batch may have; None until memory ran out."""

    def __post_init__(self) -> None:
        self.isolation = Isolation(self.model)

    @property
    def encoder_decoder(self) -> bool:
        return (
            bool(getattr(self.model.config, "is_encoder_decoder", False)) and self.model.get_encoder() is not self.model
        )

    @property
    def task(self) -> str | None:
        """What the model predicts, as `TASKS` has it; None for one that predicts nothing by itself."""
        name = type(self.model).__name__
        task = TASKS.get(name) or ("next" if self.model.can_generate() else None)
        if task == "next" and self.reads_ahead:
            return "masked" if name in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values() else None
        return task

    @cached_property
    def reads_ahead(self) -> bool:
        """Whether its predictions at a token change with what stands after it (XLM, XLNet, a BERT that is no decoder):
        those are of no next token, whatever the class is called."""
        special = set(self.tokenizer.all_special_ids)
        try:
            size = self.model.config.get_text_config().vocab_size
            some = list(islice((token for token in range(size) if token not in special), 4))
            ids = torch.tensor([some[:3], [*some[:2], some[3]]], device=self.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, return_dict=True).logits[:, :2]
        except Exception:  # of a model that reads more than ids, or a longer text; no proof
            return False
        rounding = max(1e-3, 2 * torch.finfo(logits.dtype).eps)  # of the largest; true cases lie far above it
        one, other = logits.float()
        return float((one - other).abs().max()) > rounding * float(one.abs().max())

    @property
    def predicts_nothing(self) -> str:
        """A sentence, for where `task` is None."""
        why = "predicts neither tokens nor classes"
        if self.reads_ahead:
            why = f"({type(self.model).__name__}) predicts no next token: what it says of one depends on what follows"
        return f"Model {self.ref.name!r} {why}."

    def numbers(self, values: torch.Tensor) -> torch.Tensor:
        """`values` of a pass in 32 bits. Raises: ValueError: some are NaN, as where numbers of 16 bits overflow."""
        if bool(values.isnan().any()):
            less = f"; it runs in {values.dtype}, and may do better with `dtype: float32`" * (values.element_size() < 4)
            raise ValueError(f"Model {self.ref.name!r} gives values that are no numbers for this text{less}.")
        return values.float()

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of collated inputs, in 32 bits. Raises: ValueError: as `numbers`."""
        return self.numbers(self.model(**inputs, return_dict=True).logits)

    @property
    def pad(self) -> int:
        return self.tokenizer.pad_token_id or 0

    @cached_property
    def longest(self) -> int | None:
        """The most tokens the model can read, where it has a limit."""
        return lengths.longest(self.model)

    @cached_property
    def longest_target(self) -> int | None:
        """The most tokens its decoder can read, where it has a limit."""
        return lengths.longest(self.model, target=True)


def load(ref: ModelRef, device: str, *, head: bool = False, attention: bool = True) -> Loaded:
    """Configuration first, so that a model without attention, or without a head where one is needed, is refused before
    its weights are read.

    Raises:
        TooLarge: there is not enough memory for it.
        Unusable: there is no such model here, it has no attention, or its files cannot be read.
    """
    try:
        config, tokenizer = _small_files(ref, attention=attention)
        model = _weights(ref, config, _headed(ref, config) if head else _class(config))
    except Unusable:
        raise
    except Exception as error:
        if not memory.ran_out(error):
            raise Unusable(_load_sentence(ref, error)) from error
        full = memory.full(error, torch.device("cpu"))
    else:
        return _moved(ref, model, tokenizer, device)
    memory.free()  # not in the clause above, whose exception holds what was read
    raise TooLarge(memory.too_large(ref, memory.size_of_files(ref), full))


def _small_files(ref: ModelRef, *, attention: bool) -> tuple[Any, Any]:
    """The model's configuration and tokenizer.

    Raises:
        Unusable: it has no attention, or its `device_map` asks for what is not installed.
    """
    if ref.device_map and importlib.util.find_spec("accelerate") is None:
        raise Unusable(
            f"Model {ref.name!r} has `device_map: {ref.device_map}`, which needs accelerate; install it with "
            "`pip install 'mkdocs-attnviz[large]'`."
        )
    config = transformers.AutoConfig.from_pretrained(ref.path, **_where(ref))
    if attention:
        check_attention(ref.name, config)
    # Set directly: Falcon and a few others do not take it over from the argument.
    config._attn_implementation = "eager"
    return config, transformers.AutoTokenizer.from_pretrained(ref.path, **_where(ref))


def check_attention(name: str, config: Any) -> None:
    """Raises: Lacking: such a model has no attention matrix to show."""
    if reason := NO_ATTENTION.get(config.model_type) or without_matrix(config):
        raise Lacking(f"Model {name!r} ({config.model_type}) has no attention to show: {reason}.")


def _where(ref: ModelRef) -> dict[str, Any]:
    return {"revision": ref.revision, "trust_remote_code": ref.trust_remote_code}


def _weights(ref: ModelRef, config: Any, kind: Any) -> Any:
    """The model, on the processor; spread over devices where it has a `device_map`.

    Raises:
        Unusable: its files lack the weights of its head.
    """
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
            **spread,
            **_where(ref),
        )
    except BaseException:
        if spread:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if spread:
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    lacking = _head_weights(model) & {name.rpartition(".")[0] for name in report["missing_keys"]}
    if lacking:
        raise Lacking(
            f"Model {ref.name!r} has no trained head: its files lack the weights of {', '.join(sorted(lacking))}."
        )
    return model.eval()


def _head_weights(model: Any) -> set[str]:
    """Modules outside of the model's base, where it has one around it."""
    base = getattr(model, "base_model_prefix", "")
    if type(model).__name__ not in TASKS:
        return set()
    return {name for name, _ in model.named_modules() if name and name.partition(".")[0] != base}


def _moved(ref: ModelRef, model: Any, tokenizer: Any, device: str) -> Loaded:
    """On its device, unless it is spread over some.

    Raises:
        TooLarge: there is not enough memory.
        Unusable: there is no such device.
    """
    try:
        target = placed(model) if ref.device_map else _device(device)
        return Loaded(ref, model if ref.device_map else model.to(target), tokenizer, target)
    except Exception as error:
        if not memory.ran_out(error):
            raise Unusable(f"Model {ref.name!r} cannot be put on device {device!r}: {hub.first_line(error)}") from error
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


def _headed(ref: ModelRef, config: Any) -> Any:
    """The class that the model was saved as, with its head.

    Raises:
        Lacking: it was saved without one.
    """
    names = list(config.architectures or [])
    for name in names:
        if name in TASKS:
            return getattr(transformers, name)
    for auto in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM") if ref.trust_remote_code else ():
        if auto in (getattr(config, "auto_map", None) or {}):
            return getattr(transformers, auto)
    saved = names[0] if names else config.model_type
    raise Lacking(
        f"Model {ref.name!r} ({saved}) was saved without a head that predicts tokens or classes, which this view needs."
    )


def _class(config: Any) -> Any:
    """An encoder–decoder with the head it writes with; anything else without one.

    A checkpoint of an encoder alone is loaded as that: a decoder made up from random numbers is not to be shown.
    """
    if not config.is_encoder_decoder:
        return transformers.AutoModel
    names = config.architectures or [""]
    if names[0].endswith("EncoderModel") and hasattr(transformers, names[0]):
        return getattr(transformers, names[0])
    remote = "AutoModelForSeq2SeqLM" in (getattr(config, "auto_map", None) or {})
    if remote or type(config) in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModel


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
        return f"Model {ref.name!r} cannot be loaded from {ref.path}: {hub.first_line(error)}"
    return hub.sentence(ref, error)
