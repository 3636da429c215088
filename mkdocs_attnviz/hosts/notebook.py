"""The Python functions for notebooks. They draw an author's own tensors with BertViz's names and arguments, or a model
in memory.

This module decides how a notebook shows a figure, and what remains where no HTML is shown; `in_memory` makes it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.hosts import kernel
from mkdocs_attnviz.hosts.in_memory import (
    MAX_TOKENS,
    Attention,
    Stacks,
    Texts,
    figure_of_model,
    figure_of_tensors,
    id_of,
    warn_of_claims,
)

HINT = (
    "<style>attn-viz:is(:not(:defined),[data-waits])::after{content:'The script of this notebook’s figures is missing: "
    "run this cell again, or restart the kernel and run all.';display:block;font-size:.8em;opacity:0;"
    "animation:attnviz-hint 0s 5s forwards}@keyframes attnviz-hint{to{opacity:.7}}</style>"
)
"""The HTML of a message that a figure shows after five seconds without its scripts. They were in the output of another
cell."""


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
        lacking = [element for name, element in self._scripts.items() if kernel.needs_script(name)]
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
    options |= {"text": text, "text_pair": text_pair, "text_target": text_target, "view": view}
    return _shown(
        html_action,
        lambda: figure_of_model(model, tokenizer, options, max_tokens, other, other_tokenizer, in_page=True),
    )


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
    options = {"view": "head"} | options
    return _shown(html_action, lambda: figure_of_tensors(stacks, texts, options, in_page=True))


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
    options = {"view": "model"} | options | _theme(display_mode)
    return _shown(html_action, lambda: figure_of_tensors(stacks, texts, options, in_page=True))


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
    options = {"view": "matrix"} | options
    return _shown(html_action, lambda: figure_of_tensors(stacks, texts, options, in_page=True))


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


def _shown(html_action: str, figure: Callable[[], Figure]) -> Html | None:
    """Return or display a figure, and warn of claims that do not hold.

    Raises:
        ValueError: if an option is wrong.
    """
    if html_action not in ("view", "return"):
        raise ValueError(f"`html_action` is {html_action!r}; it must be 'view' or 'return'.")
    made = figure()
    warn_of_claims(made, stacklevel=3)
    html = _html(made)
    if html_action == "return":
        return html
    importlib.import_module("IPython.display").display(html)
    return None


def _html(figure: Figure) -> Html:
    """Return the figure with its script.

    The fragment declares its encoding, because BertViz's users write it to a file unchanged.
    """
    assets = Assets()
    shown = f'<meta charset="utf-8">\n{figure.html(id_of(figure, assets), assets)}'
    return Html(shown, {name: assets.script(name) for name in figure.scripts}, figure.sentence)
