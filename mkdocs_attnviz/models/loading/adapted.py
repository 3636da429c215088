"""A model with an adapter (LoRA or similar) merged into it by peft, so that it is an ordinary model.

If an adapter's weights do not fit, peft only warns or says nothing; here such an adapter is refused. The merging is
checked, too: the merged model must give the same numbers as the model with the adapter beside it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open

from mkdocs_attnviz.models.errors import Unusable, error_message
from mkdocs_attnviz.models.identity import adapters
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.loading import missing_weights, model_class, trial
from mkdocs_attnviz.models.loading.model_class import HEADS, ModelClass

TASKS = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoModel",
}
"""The class that a base is loaded with, by peft's name of the task that an adapter was trained for."""
LABELS = ("SEQ_CLS", "TOKEN_CLS")
OTHER_SHAPE = re.compile(r"size mismatch for (\S+): .*?torch\.Size\(\[([\d, ]*)\]\).*?torch\.Size\(\[([\d, ]*)\]\)")
PREFIX = "base_model.model."
"""The prefix of a model's module names in an adapter's files."""


def check(ref: ModelRef) -> None:
    """Raise if the adapter cannot be applied here, before its base is loaded.

    Raises:
        Unusable: peft is not installed, the weights are pickled and not trusted, or peft does not know the adapter.
    """
    folder = Path(ref.path)
    if importlib.util.find_spec("peft") is None:
        raise Unusable(
            f"Model {ref.name!r} is an adapter (LoRA), which needs peft; install it with "
            "`pip install 'attnviz[adapters]'`."
        )
    pickled = (folder / adapters.PICKLED).is_file()
    if not (folder / adapters.SAFETENSORS).is_file() and (ref.use_safetensors or not pickled):
        more = "; set `use_safetensors: false` for it in the site's `models` if you trust its pickled weights"
        raise Unusable(f"Model {ref.name!r} is an adapter without {adapters.SAFETENSORS}{more if pickled else ''}.")
    _check_config(ref, adapters.read(folder))


def _check_config(ref: ModelRef, config: Mapping[str, Any]) -> None:
    peft = _peft()
    kind = config.get("peft_type")
    known = peft.PEFT_TYPE_TO_CONFIG_MAPPING.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise Unusable(f"Model {ref.name!r} is an adapter of a kind that peft {peft.__version__} has not, {kind!r}.")
    tuner = peft.PEFT_TYPE_TO_TUNER_MAPPING.get(kind)
    if issubclass(known, peft.PromptLearningConfig) or not hasattr(tuner, "merge_and_unload"):
        raise Unusable(f"Model {ref.name!r} is an adapter of the kind {kind}, which cannot be merged into its base.")
    ours = {field.name for field in fields(known)}
    if strange := sorted(name for name, value in config.items() if name not in ours and value):
        raise Unusable(
            f"Model {ref.name!r} is an adapter with settings that peft {peft.__version__} does not know "
            f"({', '.join(strange)}), and would leave out; install a newer peft."
        )
    if config.get("megatron_config"):
        raise Unusable(f"Model {ref.name!r} is an adapter for Megatron (`megatron_config`), which is not supported.")


def _peft() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("peft")


# ---- The class of the base


def base_classes(ref: ModelRef, config: Any) -> list[ModelClass]:
    """Return the classes that the base may have had when the adapter was trained, the best first.

    The adapter's weights are named after the modules of that class, whatever a view needs. If the adapter predicts
    labels, their number is set in the base's configuration.

    Raises:
        Unusable: the base has code of its own without such a class.
    """
    known = adapters.read(Path(ref.path))
    task = known.get("task_type")
    if isinstance(task, str) and task in TASKS:
        name = TASKS[task]
        own = {loader for loader in getattr(config, "auto_map", None) or {} if loader.startswith("AutoModel")}
        if own and name not in own:
            raise Unusable(
                f"Model {ref.name!r} is an adapter for {task}, and the code of its base, {_base(ref)}, has no class "
                f"for that ({name}); it has {', '.join(sorted(own))}."
            )
        loader = getattr(transformers, name)
        if task in LABELS and not own:
            _set_labels(config, loader, _shapes(ref))
        return [ModelClass(loader, HEADS[name][0] if own and name in HEADS else None)]
    auto = known.get("auto_mapping")
    saved = auto.get("base_model_class") if isinstance(auto, dict) else None
    saved_class: Any = getattr(transformers, saved, None) if isinstance(saved, str) else None
    if kind := getattr(saved_class, "config_class", None):
        if not isinstance(config, kind):
            raise Unusable(f"Model {ref.name!r} is an adapter for a {saved}, and its base, {_base(ref)}, is none.")
        return [ModelClass(saved_class)]
    return model_class.classes_without_head(config)


def _set_labels(config: Any, loader: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Set a configuration's number of labels to that of the head in the adapter's file, if there is one."""
    sizes = []
    for labels in (2, 3):
        changed = type(config).from_dict({**config.to_dict(), "id2label": None, "label2id": None, "num_labels": labels})
        with torch.device("meta"):
            sizes.append({name: tuple(weight.shape) for name, weight in loader.from_config(changed).named_parameters()})
    heads = [name for name, shape in sizes[0].items() if shape != sizes[1].get(name)]
    counts = {shapes[PREFIX + name][0] for name in heads if PREFIX + name in shapes}
    if len(counts) == 1 and config.num_labels not in counts:
        config.num_labels = counts.pop()


def _shapes(ref: ModelRef) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights in an adapter's safetensors file; none if it is pickled."""
    file = Path(ref.path) / adapters.SAFETENSORS
    if not file.is_file():
        return {}
    with safe_open(file, "pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118


def _base(ref: ModelRef) -> str:
    return repr(ref.base.name if ref.base else "")


# ---- Applying it


def merge(ref: ModelRef, model: Any, tokenizer: Any, report: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the model with the adapter merged into it, and the report on what both have loaded.

    `model` is the base, and `report` is transformers' report on it.

    Raises:
        Unusable: the adapter does not fit the model, or gives other numbers once it is merged.
    """
    peft = _peft()
    with _quietly():
        config = peft.PeftConfig.from_pretrained(ref.path)
        config.inference_mode = True
        own = {name for name, _ in model.named_parameters()}
        adapted, loaded, names = _apply(ref, peft, model, config)
        _check_keys(ref, loaded)
        expected = _outputs(adapted.get_base_model(), tokenizer)
        result = adapted.merge_and_unload(safe_merge=True)
        if hasattr(result, "peft_config"):
            del result.peft_config
        for parameter in result.parameters():
            parameter.requires_grad_(False)
        _check_merged(ref, expected, _outputs(result, tokenizer), result.dtype)
    brought = {name.removeprefix(PREFIX) for name in names} & own
    return result, _without(report, brought)


def _apply(ref: ModelRef, peft: Any, model: Any, config: Any) -> tuple[Any, Any, set[str]]:
    """Return peft's model, its report on the weights it loaded, and the names of these weights.

    Raises:
        Unusable: peft cannot apply the adapter.
    """
    kind = peft.MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type, peft.PeftModel)
    conversion = getattr(model, "_checkpoint_conversion_mapping", None) or {}
    try:
        names = set(peft.utils.load_peft_weights(ref.path, device="cpu"))
        adapted = kind(model, config, "default")
        loaded = adapted.load_adapter(ref.path, "default", torch_device="cpu", key_mapping=conversion)
    except Exception as error:
        raise Unusable(
            f"Model {ref.name!r} is an adapter that does not fit its base, {_base(ref)}: {_why(error)}."
        ) from error
    return adapted.eval(), loaded, names


def _why(error: Exception) -> str:
    """Return the reason why an adapter does not fit its base; if weights have other shapes, the first of them."""
    mismatch = OTHER_SHAPE.search(" ".join(str(error).split()))
    if mismatch is None:
        return error_message(error)
    return f"{mismatch[1]!r} is ({mismatch[2]}) in its file and ({mismatch[3]}) in its base"


def _check_keys(ref: ModelRef, loaded: Any) -> None:
    missing, unexpected = set(loaded.missing_keys), set(loaded.unexpected_keys)
    if not missing and not unexpected:
        return
    there = f"what it has and its base has no place for: {missing_weights.listed(unexpected)}" if unexpected else ""
    lacks = f"its file lacks {missing_weights.listed(missing)}" if missing else ""
    raise Unusable(
        f"Model {ref.name!r} is an adapter that does not fit its base, {_base(ref)}: "
        f"{'; '.join(filter(None, [lacks, there]))}."
    )


def _without(report: Mapping[str, Any], brought: set[str]) -> dict[str, Any]:
    """Return the report on a base without the weights that the adapter has."""
    missing = {name for name in report["missing_keys"] if name not in brought}
    mismatched = {weight for weight in report["mismatched_keys"] if weight[0] not in brought}
    return {**report, "missing_keys": missing, "mismatched_keys": mismatched}


# ---- Is it the same when it is merged?


def _outputs(model: Any, tokenizer: Any) -> list[torch.Tensor]:
    """Return the model's outputs for a short sentence, or none if it does not run on text alone."""
    try:
        outputs = trial.outputs(model, tokenizer)
    except Exception:  # a model that does not run is reported when it is used
        return []
    return [tensor.float() for tensor in missing_weights.read_by_figures(outputs)]


def _check_merged(ref: ModelRef, apart: list[torch.Tensor], merged: list[torch.Tensor], dtype: torch.dtype) -> None:
    rounding = max(1e-3, 16 * torch.finfo(dtype).eps)  # relative to the largest number
    for one, other in zip(apart, merged, strict=True):
        if float((one - other).abs().max()) > rounding * float(one.abs().max()):
            raise Unusable(
                f"Model {ref.name!r} is an adapter that gives other numbers once it is merged into its base, "
                f"{_base(ref)}, and cannot be drawn; weights that two parts of the base share (`tie_word_embeddings`) "
                "may be the reason."
            )


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence peft's warnings and seed what it draws at random, inside the `with` block."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield
