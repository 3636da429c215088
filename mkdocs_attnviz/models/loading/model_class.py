"""The classes that a model can be loaded with: transformers' own, or those of the model's own code.

If it matters, a model is loaded with the class that it was saved as. Own code that its configuration names (`auto_map`)
is used, or the model is refused: transformers' class of the same type need not compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from mkdocs_attnviz.models.errors import Lacking, Unusable
from mkdocs_attnviz.models.identity.reference import ModelRef

HEADS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "AutoModelForSeq2SeqLM": ("target", modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
    "AutoModelForMaskedLM": ("masked", modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
    "AutoModelForCausalLM": ("next", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
    "AutoModelForSequenceClassification": ("classes", modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    "AutoModelForTokenClassification": ("labels", modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
    "AutoModelForQuestionAnswering": ("answer", modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES),
}
"""The task of each class with a head, and transformers' class names for it.

A task is to predict the tokens of a target, masked tokens, the next token, the text's class, each token's label, or the
part of the text that answers a question.
"""

TASKS: Mapping[str, str] = {
    name: task
    for auto in (
        "AutoModelForQuestionAnswering",
        "AutoModelForTokenClassification",
        "AutoModelForSequenceClassification",
        "AutoModelForMaskedLM",
        "AutoModelForCausalLM",  # comes after masked tokens: some classes do either, and `Loaded.task` finds out which
        "AutoModelForSeq2SeqLM",
    )
    for task, names in [HEADS[auto]]
    for known in names.values()
    for name in ([known] if isinstance(known, str) else known)
}
"""The task of each of transformers' classes with a head."""

AMBIGUOUS = ("ForPreTraining", "DoubleHeads")
"""Parts of the names of classes that have two heads, either of which a view may need."""

READ_AS = {"input_ids", "inputs_embeds", "inputs"}
"""Names of the input that takes text."""


@dataclass(frozen=True)
class ModelClass:
    """A class that a model can be loaded with."""

    loader: Any
    """A class of transformers that has `from_pretrained`."""
    task: str | None = None
    """The task of the model when it is loaded with this class; None if the class of the loaded model tells it."""

    @property
    def name(self) -> str:
        """The name of the class; `Auto…` for an automatic one."""
        return str(self.loader.__name__)


def check_code(ref: ModelRef, config: Any) -> None:
    """Raise if the model has code of its own that the site does not trust.

    Raises:
        Unusable: its configuration, or that of its tokenizer, names classes of its own.
    """
    if ref.trust_remote_code:
        return
    maps = [getattr(config, "auto_map", None), get_tokenizer_config(ref.path, revision=ref.revision).get("auto_map")]
    if any(maps):
        raise Unusable(needs_trust(ref))


def check_own_files(ref: ModelRef) -> None:
    """Raise if a model's trusted code lies in another repository or outside the model's directory.

    The identity of the model would not cover such code. This is called before transformers reads the configuration,
    which may have a class of its own.

    Raises:
        Unusable: an `auto_map` names such code, as `org/repo--module.Class` or with an absolute path.
    """
    if not ref.trust_remote_code:
        return
    config, _ = transformers.PreTrainedConfig.get_config_dict(ref.path, revision=ref.revision)
    _check_place(ref, "config.json", config)
    _check_place(ref, "tokenizer_config.json", get_tokenizer_config(ref.path, revision=ref.revision))


def check_tokenizer_code(ref: ModelRef) -> None:
    """Raise if a tokenizer that was saved apart from its model has code that is not trusted, or lies elsewhere.

    Raises:
        Unusable: its configuration names such code.
    """
    config = get_tokenizer_config(ref.path, revision=ref.revision)
    if config.get("auto_map") and not ref.trust_remote_code:
        raise Unusable(needs_trust(ref))
    _check_place(ref, "tokenizer_config.json", config)


def _check_place(ref: ModelRef, file: str, config: Mapping[str, Any]) -> None:
    for code in _code_of(config):
        repository, mark, own = code.partition("--")
        if Path(own or repository).is_absolute():
            raise Unusable(f"Model {ref.name!r} takes code from outside of its directory: {code!r} in its {file}.")
        if mark and (ref.local or repository != ref.path):
            raise Unusable(
                f"Model {ref.name!r} takes code from another repository, {repository!r} (`auto_map` in its {file}: "
                f"{code!r}), which may be other code tomorrow; put the Python files beside the model's and name "
                f"{own!r} there."
            )


def _code_of(value: Any) -> Iterator[str]:
    """Yield everything that the `auto_map`s in a configuration name, including those of its parts."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(part) if key == "auto_map" else _code_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from _code_of(part)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def needs_trust(ref: ModelRef) -> str:
    """Return a sentence that says how to trust a model's own code."""
    return (
        f"Model {ref.name!r} needs Python code of its own to run (`auto_map` in its configuration); set "
        "`trust_remote_code: true` for it in the site's `models` if you trust it."
    )


def check_reads_text(ref: ModelRef, config: Any) -> None:
    """Raise if a model of transformers reads pictures or sound.

    Raises:
        Unusable: text is none of its inputs.
    """
    if _own_code(config) or type(config) not in transformers.MODEL_MAPPING:
        return
    known = transformers.MODEL_MAPPING[type(config)]
    inputs = {cls.main_input_name for cls in (known if isinstance(known, tuple) else (known,))}
    unread = sorted(name for name in inputs if isinstance(name, str) and name not in READ_AS)
    if unread:
        raise Unusable(f"Model {ref.name!r} ({config.model_type}) reads no text; what it reads is `{unread[0]}`.")


def classes_without_head(config: Any) -> list[ModelClass]:
    """Return the classes for a view that needs no head, the best first.

    An encoder–decoder is loaded with the head it writes with, any other model without a head. The class that the model
    was saved as comes second: the class without a head does not find the weights of some models, or is only one half of
    the model.
    """
    if own := _own_code(config):
        names = ["AutoModel"] if "AutoModel" in own else []
        if config.is_encoder_decoder and "AutoModelForSeq2SeqLM" in own:
            names.insert(0, "AutoModelForSeq2SeqLM")
        return [_own_class(name) for name in dict.fromkeys([*names, *_own_heads(config, own), *own])]
    classes = [ModelClass(transformers.AutoModel)]
    if saved := _saved(config):
        halved = not config.is_encoder_decoder and type(config) in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        first = halved or saved.__name__.endswith("EncoderModel")
        classes.insert(0 if first else 1, ModelClass(saved))
        if first:
            return classes
    if config.is_encoder_decoder and type(config) in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        classes.insert(0, ModelClass(transformers.AutoModelForSeq2SeqLM))
    return classes


def classes_with_head(ref: ModelRef, config: Any) -> list[ModelClass]:
    """Return the classes with a head, for a view that shows predictions, the best first.

    Raises:
        Lacking: the model was saved without a head, or with one for another task.
    """
    if own := _own_code(config):
        if names := _own_heads(config, own):
            return [_own_class(name) for name in names]
        raise Lacking(
            f"Model {ref.name!r} has code of its own (`auto_map` in its configuration: {', '.join(sorted(own))}), and "
            "none of its classes has a head that predicts tokens, classes, labels or answers, which this view needs."
        )
    saved = next(iter(config.architectures or []), "")
    if saved in TASKS:
        return [ModelClass(getattr(transformers, saved))]
    is_telling = bool(saved) and hasattr(transformers, saved) and not any(end in saved for end in AMBIGUOUS)
    classes = [] if is_telling else [ModelClass(loader) for loader in _heads_of(config)]
    if classes:
        return classes
    raise no_head(ref, config)


def no_head(ref: ModelRef, config: Any) -> Lacking:
    """Return the error for a model whose files have no head, or one for another task."""
    saved = next(iter(config.architectures or []), config.model_type)
    return Lacking(
        f"Model {ref.name!r} ({saved}) was saved without a head that predicts tokens, classes, labels or "
        "answers, which this view needs."
    )


def _heads_of(config: Any) -> Iterator[Any]:
    """Yield transformers' classes with a head for this type of model."""
    for _, names in HEADS.values():
        name = names.get(config.model_type)
        if isinstance(name, str) and hasattr(transformers, name):
            yield getattr(transformers, name)


def _saved(config: Any) -> Any:
    """Return the class of transformers that the model was saved as, or None."""
    name = next(iter(config.architectures or []), "")
    saved_class = getattr(transformers, name, None) if name else None
    kind = getattr(saved_class, "config_class", None)
    return saved_class if kind is not None and isinstance(config, kind) else None


def _own_code(config: Any) -> dict[str, str]:
    """Return the model classes of the model's own code, by the automatic class that stands for each."""
    own = getattr(config, "auto_map", None) or {}
    return {name: str(where) for name, where in own.items() if name.startswith("AutoModel")}


def _own_heads(config: Any, own: Mapping[str, str]) -> list[str]:
    """Return the automatic classes with a head in the model's own code; the one that the model was saved as comes
    first.
    """
    saved = next(iter(config.architectures or []), None)
    return sorted((name for name in HEADS if name in own), key=lambda name: own[name].rpartition(".")[2] != saved)


def _own_class(name: str) -> ModelClass:
    return ModelClass(getattr(transformers, name), HEADS[name][0] if name in HEADS else None)
