"""Captures of a model that the caller has in memory, in the caller's own process, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import transformers

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Corpus
from mkdocs_attnviz.models.engine.capture import Capture, function
from mkdocs_attnviz.models.identity.reference import ModelRef
from mkdocs_attnviz.models.inputs import languages
from mkdocs_attnviz.models.inputs.corpus_text import first_text
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Unusable, check_attention, input_device
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.loading.made_with import made_with, with_facts
from mkdocs_attnviz.models.probing.interventions import intervening

BATCH_SIZE = 8
"""The number of texts of a corpus that go through the model at once, at most."""


def name(model: Any) -> str:
    """Return a model's name on the hub; the name of its class if it comes from a folder, whose path is private."""
    known = str(getattr(model, "name_or_path", "") or "")
    return type(model).__name__ if not known or Path(known).is_dir() else known


def entry(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, Any],
    wanted: Capture,
    max_tokens: int,
    parameters: Mapping[str, Any] = MappingProxyType({}),
    interventions: Sequence[Mapping[str, Any]] = (),
    other: Any = None,
    other_tokenizer: Any = None,
) -> Entry:
    """Return the entry of one input, captured while the model runs with `interventions`.

    An `other` model runs without them. Both models are restored afterwards.

    Raises:
        ValueError: a model has nothing to show, or cannot read the input.
    """
    if other is model and interventions:
        raise ValueError(
            "`other` is the model that `interventions` change; give a second copy of it, to stay as it is."
        )
    if languages.has_languages(tokenizer):  # the caller has set the tokenizer's languages
        spoken = {key: getattr(tokenizer, key, None) for key in languages.KEYS}
        inputs = {key: code for key, code in spoken.items() if code is not None} | dict(inputs)
    try:
        with ExitStack() as stack:
            loaded = _load(stack, "", model, tokenizer, wanted)
            second = None if other is None else _load(stack, "other", other, other_tokenizer, wanted)
            stack.enter_context(intervening(loaded, interventions, [first_text(inputs)]))
            if wanted.corpus:
                corpus = Corpus(loaded, inputs, max_tokens, BATCH_SIZE, other=second, attention=wanted.attention)
                return function(wanted.run)(Context(loaded, (), parameters, second, corpus))[0]
            examples = [example(loaded, inputs, max_tokens, second)]
            entries = function(wanted.run)(Context(loaded, examples, parameters, second))
            return with_facts(entries, made_with(loaded, second))[0]
    except Unusable as error:
        raise ValueError(str(error)) from None


def _load(stack: ExitStack, which: str, model: Any, tokenizer: Any, wanted: Capture) -> Loaded:
    """Return the model as a worker would load it, until `stack` is closed. `which` is "" or "other", for messages.

    Raises:
        ValueError: it is no model of transformers, or the tokenizer is none.
        Unusable: the model cannot show its attention.
    """
    _check(which or "model", model, transformers.PreTrainedModel)
    _check(f"{which}_tokenizer".lstrip("_"), tokenizer, transformers.PreTrainedTokenizerBase)
    stack.enter_context(eager(model, attention=wanted.attention))
    ref = ModelRef(name(model), name(model), True, None, None, "auto", False, True)
    loaded = Loaded(ref, model, tokenizer, input_device(model))
    stack.callback(loaded.isolation.remove)
    return loaded


def _check(what: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        noun = "tokenizer" if "tokenizer" in what else "model"
        raise ValueError(f"`{what}` is {value!r:.60}; it must be a {noun} of transformers ({kind.__name__}).")


@contextmanager
def eager(model: Any, *, attention: bool = True) -> Iterator[None]:
    """Compute attention weights in full inside the `with` block, without dropout.

    Raises:
        Unusable: `attention` is needed, and the model has none or computes it in another way that cannot be changed.
    """
    if attention:
        check_attention(name(model), model.config)
    before = [(config, config._attn_implementation) for config in _configs(model)]
    training = [(module, module.training) for module in model.modules()]
    try:
        model.set_attn_implementation("eager")
        if attention and (fixed := model.config._attn_implementation) != "eager":
            kind = model.config.model_type
            raise Unusable(
                f"Model {name(model)!r} ({kind}) computes its attention by {fixed!r}, which gives no weights, and can "
                "only change that when it is loaded: `from_pretrained(…, attn_implementation='eager')`."
            )
        model.eval()
        yield
    finally:
        for config, implementation in before:  # the public setter would also set that of all parts
            config._attn_implementation_internal = implementation
        for module, was in training:
            module.training = was


def _configs(model: Any) -> Iterator[Any]:
    """Yield the configurations of a model and of all its parts, some of them twice."""
    waiting = [module.config for module in model.modules() if isinstance(module, transformers.PreTrainedModel)]
    while waiting:
        config = waiting.pop()
        yield config
        waiting += [part for name in config.sub_configs if (part := getattr(config, name, None)) is not None]
