"""Python functions for notebooks: own tensors with BertViz's names and arguments, or a live model; a figure comes out.

Decides for itself: how tensors in hand, or a model in memory, become an entry; how a figure gets into a notebook, and
what is left of it where no HTML is shown. `attention` is what transformers returns as `attentions`: a sequence with one
(1, heads, rows, cols) a layer, of torch, NumPy or anything that NumPy can read. Layers may be None (hybrid models);
they keep their numbers.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.figure import Assets, Figure
from mkdocs_attnviz.hosts import kernel
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.view import ALL_SCRIPT, ATTENTION_SCRIPT

Attention = Sequence[Any]
SUBJECT = "own tensors"
MAX_TOKENS: int = Settings.model_fields["max_tokens"].default


HINT = (
    "<style>attn-viz:not(:defined)::after{content:'The script of this notebook’s figures is missing: run this cell "
    "again, or restart the kernel and run all.';display:block;font-size:.8em;opacity:0;"
    "animation:attnviz-hint 0s 5s forwards}@keyframes attnviz-hint{to{opacity:.7}}</style>"
)
"""What a figure says after five seconds without its script, which was in the output of another cell."""


class Html:
    """A complete fragment of HTML, with script and data inside; notebooks display it."""

    def __init__(self, figure: str, scripts: Mapping[str, str], sentence: str) -> None:
        """`scripts` are elements that load scripts, by the scripts' names."""
        self._figure, self._scripts, self.sentence = figure, scripts, sentence

    @property
    def data(self) -> str:
        return "\n".join([self._figure, *self._scripts.values()])

    def _repr_html_(self) -> str:
        return self.data

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return what a notebook shows. One output of a notebook has the script for all."""
        lacking = [element for name, element in self._scripts.items() if kernel.needs_script(name, _covering(name))]
        return {"text/html": "\n".join([self._figure, *(lacking or [HINT])]), "text/plain": self.sentence}

    def __repr__(self) -> str:
        """Where there is no HTML: a terminal, LaTeX, a notebook that is exported as text."""
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
    """A model of transformers that you have in memory, in any view: what a block does, with a model in hand.

    The model runs here, in the caller's process, with its weights where they are, and is left as it was. `text_pair`,
    `text_target` and `options` are the keys of a block: `layer`, `heads`, `theme`, `caption`, `interventions` …; `chat`
    stands in place of a text.
    `other`, with its own tokenizer, is a second model, for a view that compares two. A text of more than `max_tokens`
    is an error, and so is an output that the model has not ended by then.

    Returns:
        The figure, if `html_action` is 'return'; else it is displayed.

    Raises:
        ValueError: the model has no such attention, does not read such a text, or an option names what is not there.
    """
    from mkdocs_attnviz.models.engine import in_process

    given = {
        "model": in_process.name(model),
        "text": text,
        "text_pair": text_pair,
        "text_target": text_target,
        "view": view,
    }
    given |= {"other": None if other is None else in_process.name(other)}

    def captured(block: Block) -> list[Entry]:
        changes = [each.to_dict() for each in block.interventions or ()]
        capture, parameters = VIEWS[block.view].capture, block.options.parameters()
        return [
            in_process.entry(
                model, tokenizer, block.inputs, capture, max_tokens, parameters, interventions, other, other_tokenizer
            )
            for interventions in ([changes, []] if changes else [[]])
        ]

    return _shown(given | options, captured, html_action)


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
    """BertViz's `head_view`. `options` are further keys of a block: `theme`, `caption`, `merge_words` …

    Returns:
        The figure, if `html_action` is 'return'; else it is displayed.

    Raises:
        ValueError: tokens are missing, shapes do not fit, or an option names what is not there.
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
    """BertViz's `model_view`; as `head_view`. `display_mode` is the figure's `theme`; left out, it follows the page."""
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
    """One head as a heat map; as `head_view`. BertViz has none like it."""
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
    """BertViz's `bertviz.neuron_view.show`, for a model of transformers as it is: no special copy is needed.

    `model_type` is not used. `text_target` is for encoder–decoder models. Otherwise as `show`.
    """
    del model_type  # BertViz needs it to choose one of its own copies
    options |= {"layer": layer, "head": head, "html_action": html_action} | _theme(display_mode)
    return show(model, tokenizer, sentence_a, sentence_b, text_target, view="neuron", **options)


def _theme(display_mode: str | None) -> dict[str, str]:
    return {} if display_mode is None else {"theme": display_mode}


@dataclass(frozen=True)
class Stacks:
    """Attention, as BertViz's functions are given it."""

    attention: Attention | None
    encoder: Attention | None
    decoder: Attention | None
    cross: Attention | None

    def by_name(self) -> dict[str, Attention]:
        """Those that are given: one alone, or those of an encoder–decoder."""
        several = {"encoder": self.encoder, "decoder": self.decoder, "cross": self.cross}
        given = {name: attention for name, attention in several.items() if attention is not None}
        if (self.attention is None) == (not given):
            message = "Give either `attention`, or `encoder_attention`, `decoder_attention`, `cross_attention`."
            none = " All are None, as where a model was called without `output_attentions=True`." * (not given)
            raise ValueError(message + none)
        return given if self.attention is None else {"self": self.attention}


@dataclass(frozen=True)
class Texts:
    """Tokens, as BertViz's functions are given them."""

    tokens: Sequence[str] | None
    sentence_b_start: int | None
    encoder: Sequence[str] | None
    decoder: Sequence[str] | None


def _own(view: str, stacks: Stacks, texts: Texts, options: Mapping[str, Any], html_action: str) -> Html | None:
    given = {"model": SUBJECT, "text": SUBJECT, "view": view}
    return _shown({**given, **options}, lambda _: [_entry(stacks.by_name(), texts)], html_action)


def _entry(stacks: Mapping[str, Attention], texts: Texts) -> Entry:
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
    for name, found in layers.items():
        if not found:
            raise ValueError(
                f"`{_argument(name)}` holds no weights: a model that computes its attention by SDPA or "
                'FlashAttention gives none. Load it with `attn_implementation="eager"` and call it with '
                "`output_attentions=True`; or hand the model itself to `show`, which sees to that."
            )
    return own_arrays.entry(layers, sequences)


def _argument(stack: str) -> str:
    return "attention" if stack == "self" else f"{stack}_attention"


def _layers(stack: str, attention: Attention) -> Iterable[tuple[int, Any]]:
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


def _shown(given: Mapping[str, Any], captured: Callable[[Block], list[Entry]], html_action: str) -> Html | None:
    """The figure of a block whose keys are `given`, those that are not None, and whose entries are `captured`: one, or
    that of the changed model and that of the model as it is."""
    if html_action not in ("view", "return"):
        raise ValueError(f"`html_action` is {html_action!r}; it must be 'view' or 'return'.")
    body = {name: value for name, value in given.items() if value is not None}
    try:
        block = parse(Source(json.dumps(body, default=_as_number)), OPTIONS)
        (shown, *before) = [(VIEWS[block.view].drawing(block, entry), entry) for entry in captured(block)]
        html = _html(Figure(block, *shown, *before))
    except BlockError as error:
        raise ValueError(error.message) from None
    if html_action == "return":
        return html
    importlib.import_module("IPython.display").display(html)
    return None


def _html(figure: Figure) -> Html:
    """Figure and script. The id is made from the content: two cells never clash unless they are the same.

    The encoding is said first, since BertViz's users write the fragment to a file as it is.
    """
    assets = Assets()
    plain = figure.html("", assets)
    id = figure.wanted_id or f"attnviz-{hashlib.sha256(plain.encode()).hexdigest()[:10]}"
    shown = f'<meta charset="utf-8">\n{figure.html(id, assets)}'
    return Html(shown, {name: assets.script(name) for name in figure.scripts}, figure.sentence)


def _covering(script: str) -> str:
    """Return the script that has all views of this one."""
    return ALL_SCRIPT if script == ATTENTION_SCRIPT else script


def _as_number(value: Any) -> Any:
    """NumPy's integers, ranges and tuples of them."""
    return list(value) if isinstance(value, Iterable) else int(value)
