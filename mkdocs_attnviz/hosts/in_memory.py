"""Figures of what a notebook has in memory: a model, or an author's own tensors.

This module decides how they become an entry, and reports what is wrong with them. `attention` is the `attentions` that
transformers returns: a sequence with one array of shape (1, heads, rows, cols) for each layer, from torch, NumPy or
anything that NumPy can read. Layers may be None (hybrid models); the other layers keep their numbers.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.defaults import FIGURE_SIZE
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.corpora import Corpora
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.claims import check_grammar, judge
from mkdocs_attnviz.views.drawing import room

Attention = Sequence[Any]
"""The attention of all layers."""
SUBJECT = "own tensors"
"""The name of an author's tensors in messages."""
MAX_TOKENS: int = Settings.model_fields["max_tokens"].default


@dataclass(frozen=True)
class Stacks:
    """The attention arguments of BertViz's functions."""

    attention: Attention | None
    encoder: Attention | None
    decoder: Attention | None
    cross: Attention | None

    @property
    def given(self) -> bool:
        """True if any argument is given."""
        return any(each is not None for each in (self.attention, self.encoder, self.decoder, self.cross))

    def by_name(self) -> dict[str, Attention]:
        """Return the attention of each stack: of one stack, or of the stacks of an encoder–decoder model.

        Raises:
            ValueError: if neither or both kinds of arguments are given.
        """
        several = {"encoder": self.encoder, "decoder": self.decoder, "cross": self.cross}
        given = {name: attention for name, attention in several.items() if attention is not None}
        if (self.attention is None) == (not given):
            message = "Give either `attention`, or `encoder_attention`, `decoder_attention`, `cross_attention`."
            none = " All are None, as they are if a model was called without `output_attentions=True`." * (not given)
            raise ValueError(message + none)
        return given if self.attention is None else {"self": self.attention}


@dataclass(frozen=True)
class Texts:
    """The token arguments of BertViz's functions."""

    tokens: Sequence[str] | None
    sentence_b_start: int | None
    encoder: Sequence[str] | None
    decoder: Sequence[str] | None

    @property
    def given(self) -> bool:
        """True if any argument is given."""
        arguments = (self.tokens, self.sentence_b_start, self.encoder, self.decoder)
        return any(each is not None for each in arguments)


def figure_of_model(
    model: Any,
    tokenizer: Any,
    options: Mapping[str, Any],
    max_tokens: int = MAX_TOKENS,
    other: Any = None,
    other_tokenizer: Any = None,
    *,
    in_page: bool,
) -> Figure:
    """Return the figure of a model in memory. `options` has the keys of a block; those that are None are left out.
    With `in_page`, the data are to be written into the page.

    Raises:
        ValueError: if the model has no such attention, it cannot read the text, or an option names something that does
            not exist.
    """
    from mkdocs_attnviz.models.engine import in_process

    names = {"model": in_process.name(model), "other": None if other is None else in_process.name(other)}

    def captured(block: Block) -> list[Entry]:
        """Return the entries of the block: one, or with interventions also that of the unchanged model."""
        changes = [intervention.to_dict() for intervention in block.interventions or ()]
        inputs = block.inputs | Corpora(Settings(), Path.cwd()).inputs(block)
        capture, parameters = VIEWS[block.view].capture_of(block), block.options.parameters()
        return [
            in_process.entry(
                model, tokenizer, inputs, capture, max_tokens, parameters, interventions, other, other_tokenizer
            )
            for interventions in ([changes, []] if changes else [[]])
        ]

    return _figure(names | dict(options), captured, in_page=in_page)


def figure_of_tensors(stacks: Stacks, texts: Texts, options: Mapping[str, Any], *, in_page: bool) -> Figure:
    """Return the figure of an author's own tensors. `options` has the keys of a block; those that are None are left
    out. With `in_page`, the data are to be written into the page.

    Raises:
        ValueError: if tokens are missing, shapes do not fit, or an option names something that does not exist.
    """
    keys = {"model": SUBJECT, "text": SUBJECT}
    return _figure({**keys, **options}, lambda _: [_entry(stacks.by_name(), texts)], in_page=in_page)


def warn_of_claims(figure: Figure, stacklevel: int) -> None:
    """Warn of claims that do not hold. `stacklevel` leads from the caller to the author's line."""
    for claim in figure.claims:
        if claim.problem is not None:
            warnings.warn(claim.problem.message, stacklevel=stacklevel + 1)


def id_of(figure: Figure, assets: Assets) -> str:
    """Return the id that the figure asks for, or one made from its content, so two cells have the same id only if they
    are equal."""
    return figure.wanted_id or f"attnviz-{hashlib.sha256(figure.html('', assets).encode()).hexdigest()[:10]}"


def _figure(keys: Mapping[str, Any], captured: Callable[[Block], list[Entry]], *, in_page: bool) -> Figure:
    """Return the figure of a block with these keys. `captured` returns its entries: one, or with interventions also
    that of the unchanged model.

    Raises:
        ValueError: if an option is wrong.
    """
    body = {name: value for name, value in keys.items() if value is not None}
    try:
        block = parse(Source(json.dumps(body, default=_as_number)), OPTIONS)
        size = FIGURE_SIZE if block.size is None else block.size
        block = block.model_copy(update={"room": room(size, in_page=in_page)})
        view = VIEWS[block.view]
        check_grammar(block, view)
        entries = captured(block)
        (shown, *before) = [(view.drawing(block, entry), entry) for entry in entries]
        return Figure(block, *shown, next(iter(before), None), tuple(judge(block, view, entries)), in_page)
    except BlockError as error:
        raise ValueError(error.message) from None


def _entry(stacks: Mapping[str, Attention], texts: Texts) -> Entry:
    """Return an entry made from an author's own tensors.

    Raises:
        ValueError: if tokens or weights are missing.
    """
    from mkdocs_attnviz.models.captures import own_arrays

    sides = {"text": texts.encoder, "target": texts.decoder}
    if "self" in stacks:
        if texts.tokens is None:
            raise ValueError("`tokens` is missing; it must be the list of tokens that `attention` is over.")
        sides = {"text": texts.tokens}
    sequences = {
        name: own_arrays.TokenRow(list(tokens), sentence_b_start=texts.sentence_b_start if name == "text" else None)
        for name, tokens in sides.items()
        if tokens is not None
    }
    layers = {
        name: {number: own_arrays.LayerTensors(weights) for number, weights in _layers(name, attention)}
        for name, attention in stacks.items()
    }
    for name, numbered in layers.items():
        if not numbered:
            raise ValueError(
                f"`{_argument(name)}` holds no weights: a model that computes its attention by SDPA or "
                'FlashAttention gives none. Load it with `attn_implementation="eager"` and call it with '
                "`output_attentions=True`; or pass the model itself to `show`, which does this for you."
            )
    return own_arrays.entry(layers, sequences)


def _argument(stack: str) -> str:
    """Return the name of the argument for a stack."""
    return "attention" if stack == "self" else f"{stack}_attention"


def _layers(stack: str, attention: Attention) -> Iterable[tuple[int, Any]]:
    """Yield the number and the array of each layer, of shape (heads, rows, cols).

    Raises:
        ValueError: if the argument is not a sequence of such arrays.
    """
    from mkdocs_attnviz.models.captures import own_arrays

    if hasattr(attention, "keys") or not isinstance(attention, Iterable):
        raise ValueError(
            f"`{_argument(stack)}` is a {type(attention).__name__}; it must be a sequence with one array a layer, such "
            "as the `attentions` of a model's output."
        )
    for number, layer in enumerate(attention):
        if layer is None:
            continue
        try:
            array = own_arrays.as_array(layer)
        except (TypeError, ValueError):
            message = f"Layer {number} of `{_argument(stack)}` is {layer!r:.60}, which is no array of numbers."
            raise ValueError(message) from None
        if array.ndim != 4 or len(array) != 1:
            raise ValueError(
                f"Layer {number} of the {stack} attention must have the shape (1, heads, rows, cols); "
                f"it has {tuple(array.shape)}. Was the model called with `output_attentions=True`?"
            )
        yield number, array[0]


def _as_number(value: Any) -> Any:
    """Return a NumPy number as a number, and a range or tuple as a list."""
    if isinstance(value, Iterable):
        return list(value)
    return int(value) if hasattr(value, "__index__") else float(value)
