"""The Python functions for notebooks. They draw an author's own tensors with BertViz's names and arguments, or a model
in memory.

This module decides how tensors or a model become an entry, how a notebook shows a figure, and what remains where no
HTML is shown. `attention` is the `attentions` that transformers returns: a sequence with one array of shape (1, heads,
rows, cols) for each layer, from torch, NumPy or anything that NumPy can read. Layers may be None (hybrid models); the
other layers keep their numbers.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.corpora import Corpora
from mkdocs_attnviz.figure import Assets, Figure
from mkdocs_attnviz.hosts import kernel
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.claims import check_grammar, judge
from mkdocs_attnviz.views.view import ALL_SCRIPT, ATTENTION_SCRIPT

Attention = Sequence[Any]
"""The attention of all layers."""
SUBJECT = "own tensors"
"""The name of an author's tensors in messages."""
MAX_TOKENS: int = Settings.model_fields["max_tokens"].default


HINT = (
    "<style>attn-viz:not(:defined)::after{content:'The script of this notebook’s figures is missing: run this cell "
    "again, or restart the kernel and run all.';display:block;font-size:.8em;opacity:0;"
    "animation:attnviz-hint 0s 5s forwards}@keyframes attnviz-hint{to{opacity:.7}}</style>"
)
"""The HTML of a message that a figure shows after five seconds without its script. The script was in the output of
another cell."""


class Html:
    """A complete fragment of HTML with script and data inside, which notebooks display."""

    def __init__(self, figure: str, scripts: Mapping[str, str], sentence: str) -> None:
        """Create the fragment. `scripts` maps the names of scripts to the HTML elements that load them."""
        self._figure, self._scripts, self.sentence = figure, scripts, sentence

    @property
    def data(self) -> str:
        """The HTML with all scripts."""
        return "\n".join([self._figure, *self._scripts.values()])

    def _repr_html_(self) -> str:
        """Return the HTML with all scripts."""
        return self.data

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the output for a notebook. Only one output in a notebook contains the script."""
        lacking = [element for name, element in self._scripts.items() if kernel.needs_script(name, _covering(name))]
        return {"text/html": "\n".join([self._figure, *(lacking or [HINT])]), "text/plain": self.sentence}

    def __repr__(self) -> str:
        """Return the sentence, for places that show no HTML: a terminal, LaTeX, a notebook exported as text."""
        return self.sentence


def show(
    model: Any,
    tokenizer: Any,
    text: str | None = None,
    text_pair: str | None = None,
    text_target: str | None = None,
    *,
    view: str = "head",
    max_tokens: int = MAX_TOKENS,
    html_action: str = "view",
    other: Any = None,
    other_tokenizer: Any = None,
    **options: Any,
) -> Html | None:
    """Show a transformers model that is in memory, in any view, like a block in documentation.

    The model runs in this process, on its own device, and is not changed. `text_pair`, `text_target` and `options` are
    the keys of a block: `layer`, `heads`, `theme`, `caption`, `interventions` …; `chat` or `corpus` can replace a text.

    `other`, with its own tokenizer, is a second model, for a view that compares two. A text of more than `max_tokens`
    tokens is an error, and so is an output that reaches this limit before it ends.

    Returns: the figure if `html_action` is 'return'; otherwise the figure is displayed, and the result is None.

    Raises:
        ValueError: if the model has no such attention, it cannot read the text, or an option names something that does
            not exist.
    """
    from mkdocs_attnviz.models.engine import in_process

    keys = {
        "model": in_process.name(model),
        "text": text,
        "text_pair": text_pair,
        "text_target": text_target,
        "view": view,
    }
    keys |= {"other": None if other is None else in_process.name(other)}

    def captured(block: Block) -> list[Entry]:
        """Return the entries of the block: one, or with interventions also that of the unchanged model."""
        changes = [intervention.to_dict() for intervention in block.interventions or ()]
        inputs = block.inputs | Corpora(Settings(), Path.cwd()).inputs(block)
        capture, parameters = VIEWS[block.view].capture, block.options.parameters()
        return [
            in_process.entry(
                model, tokenizer, inputs, capture, max_tokens, parameters, interventions, other, other_tokenizer
            )
            for interventions in ([changes, []] if changes else [[]])
        ]

    return _shown(keys | options, captured, html_action)


def head_view(
    attention: Attention | None = None,
    tokens: Sequence[str] | None = None,
    sentence_b_start: int | None = None,
    prettify_tokens: bool = True,
    layer: int | None = None,
    heads: Sequence[int] | None = None,
    encoder_attention: Attention | None = None,
    decoder_attention: Attention | None = None,
    cross_attention: Attention | None = None,
    encoder_tokens: Sequence[str] | None = None,
    decoder_tokens: Sequence[str] | None = None,
    include_layers: Sequence[int] | None = None,
    html_action: str = "view",
    **options: Any,
) -> Html | None:
    """Show attention like BertViz's `head_view`. `options` are more keys of a block: `theme`, `caption`, `merge_words`
    …

    Returns: the figure if `html_action` is 'return'; otherwise the figure is displayed, and the result is None.

    Raises:
        ValueError: if tokens are missing, shapes do not fit, or an option names something that does not exist.
    """
    stacks = Stacks(attention, encoder_attention, decoder_attention, cross_attention)
    texts = Texts(tokens, sentence_b_start, encoder_tokens, decoder_tokens)
    options |= {"layer": layer, "heads": heads, "include_layers": include_layers, "prettify_tokens": prettify_tokens}
    return _own("head", stacks, texts, options, html_action)


def model_view(
    attention: Attention | None = None,
    tokens: Sequence[str] | None = None,
    sentence_b_start: int | None = None,
    prettify_tokens: bool = True,
    display_mode: str | None = None,
    encoder_attention: Attention | None = None,
    decoder_attention: Attention | None = None,
    cross_attention: Attention | None = None,
    encoder_tokens: Sequence[str] | None = None,
    decoder_tokens: Sequence[str] | None = None,
    include_layers: Sequence[int] | None = None,
    include_heads: Sequence[int] | None = None,
    html_action: str = "view",
    **options: Any,
) -> Html | None:
    """Show attention like BertViz's `model_view`. The arguments are those of `head_view`. `display_mode` is the
    figure's `theme`; without it, the figure follows the page."""
    stacks = Stacks(attention, encoder_attention, decoder_attention, cross_attention)
    texts = Texts(tokens, sentence_b_start, encoder_tokens, decoder_tokens)
    options |= {"include_layers": include_layers, "include_heads": include_heads, "prettify_tokens": prettify_tokens}
    return _own("model", stacks, texts, options | _theme(display_mode), html_action)


def matrix_view(
    attention: Attention | None = None,
    tokens: Sequence[str] | None = None,
    sentence_b_start: int | None = None,
    prettify_tokens: bool = True,
    layer: int | None = None,
    head: int | None = None,
    encoder_attention: Attention | None = None,
    decoder_attention: Attention | None = None,
    cross_attention: Attention | None = None,
    encoder_tokens: Sequence[str] | None = None,
    decoder_tokens: Sequence[str] | None = None,
    html_action: str = "view",
    **options: Any,
) -> Html | None:
    """Show one head as a heat map. The arguments are those of `head_view`; BertViz has no such view."""
    stacks = Stacks(attention, encoder_attention, decoder_attention, cross_attention)
    texts = Texts(tokens, sentence_b_start, encoder_tokens, decoder_tokens)
    options |= {"layer": layer, "head": head, "prettify_tokens": prettify_tokens}
    return _own("matrix", stacks, texts, options, html_action)


def neuron_view(
    model: Any,
    model_type: str | None = None,
    tokenizer: Any = None,
    sentence_a: str | None = None,
    sentence_b: str | None = None,
    display_mode: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    html_action: str = "view",
    text_target: str | None = None,
    **options: Any,
) -> Html | None:
    """Show a model like BertViz's `bertviz.neuron_view.show`, but for any model of transformers, without a special
    copy.

    `model_type` is ignored. `text_target` is for encoder–decoder models. Everything else is as in `show`.
    """
    del model_type  # BertViz needs it to choose one of its own copies
    options |= {"layer": layer, "head": head, "html_action": html_action} | _theme(display_mode)
    return show(model, tokenizer, sentence_a, sentence_b, text_target, view="neuron", **options)


def _theme(display_mode: str | None) -> dict[str, str]:
    """Return the block key for a display mode of BertViz."""
    return {} if display_mode is None else {"theme": display_mode}


@dataclass(frozen=True)
class Stacks:
    """The attention arguments of BertViz's functions."""

    attention: Attention | None
    encoder: Attention | None
    decoder: Attention | None
    cross: Attention | None

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


def _own(view: str, stacks: Stacks, texts: Texts, options: Mapping[str, Any], html_action: str) -> Html | None:
    """Show an author's own tensors."""
    keys = {"model": SUBJECT, "text": SUBJECT, "view": view}
    return _shown({**keys, **options}, lambda _: [_entry(stacks.by_name(), texts)], html_action)


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


def _shown(keys: Mapping[str, Any], captured: Callable[[Block], list[Entry]], html_action: str) -> Html | None:
    """Return or display the figure of a block. `given` has its keys; those that are None are left out. `captured`
    returns its entries: one, or with interventions also that of the unchanged model.

    Raises:
        ValueError: if an option is wrong.
    """
    if html_action not in ("view", "return"):
        raise ValueError(f"`html_action` is {html_action!r}; it must be 'view' or 'return'.")
    body = {name: value for name, value in keys.items() if value is not None}
    try:
        block = parse(Source(json.dumps(body, default=_as_number)), OPTIONS).model_copy(update={"in_page": True})
        view = VIEWS[block.view]
        check_grammar(block, view)
        entries = captured(block)
        (shown, *before) = [(view.drawing(block, entry), entry) for entry in entries]
        figure = Figure(block, *shown, next(iter(before), None), tuple(judge(block, view, entries)))
        html = _html(figure)
    except BlockError as error:
        raise ValueError(error.message) from None
    for claim in figure.claims:
        if claim.problem is not None:
            warnings.warn(claim.problem.message, stacklevel=4)
    if html_action == "return":
        return html
    importlib.import_module("IPython.display").display(html)
    return None


def _html(figure: Figure) -> Html:
    """Return the figure with its script. The id is made from the content, so two cells have the same id only if they
    are equal.

    The fragment declares its encoding, because BertViz's users write it to a file unchanged.
    """
    assets = Assets()
    plain = figure.html("", assets)
    id = figure.wanted_id or f"attnviz-{hashlib.sha256(plain.encode()).hexdigest()[:10]}"
    shown = f'<meta charset="utf-8">\n{figure.html(id, assets)}'
    return Html(shown, {name: assets.script(name) for name in figure.scripts}, figure.sentence)


def _covering(script: str) -> str:
    """Return the script that also contains all views of this script."""
    return ALL_SCRIPT if script == ATTENTION_SCRIPT else script


def _as_number(value: Any) -> Any:
    """Return a NumPy number as a number, and a range or tuple as a list."""
    if isinstance(value, Iterable):
        return list(value)
    return int(value) if hasattr(value, "__index__") else float(value)
