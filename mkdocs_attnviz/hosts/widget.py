"""The class `Widget`: a figure in a notebook whose state the kernel shares.

Each widget brings a small module of its own, because anywidget puts it into every widget's state. The scripts are in
models without a view, one for each script in a kernel, to which all widgets refer.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.assets import SentAssets
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.scripts import OURS, script_file
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
from mkdocs_attnviz.pipeline import Missing, Pipeline
from mkdocs_attnviz.settings import Settings, SettingsError

try:
    import anywidget
    import ipywidgets
    import traitlets
except ImportError:
    raise ImportError("`Widget` needs the package anywidget: `pip install 'attnviz[widget]'`.") from None

STATIC = resources.files("mkdocs_attnviz").joinpath("static")
MODULE = "attnviz.mjs"
"""The module that has all our views."""
KINDS = "a `model`, a `block`, or `attention`"


class Script(ipywidgets.Widget):  # type: ignore[misc]
    """A script without a view, which a kernel sends to a page once for all widgets that need it."""

    code = traitlets.Bytes(help="The script, deflated.").tag(sync=True)

    def __repr__(self) -> str:
        """Return the size in place of the code."""
        return f"Script({len(self.code)} bytes)"


class Widget(anywidget.AnyWidget):
    """A figure in a notebook that the kernel shares with its reader.

    It draws a model in memory, as `show` does; `attention` and `tokens`, as `head_view` does; or a `block` as
    documentation has it, from the cache or by running its model.
    """

    _esm = STATIC.joinpath("attnviz-widget.mjs").read_text("utf-8")
    code = traitlets.Dict(help="The scripts, by name; the module of our views comes first.").tag(
        sync=True, **ipywidgets.widget_serialization
    )
    figure = traitlets.Unicode(help="The figure's HTML.").tag(sync=True)
    data = traitlets.Dict(help="The figure's data files, by name.").tag(sync=True)
    state = traitlets.Dict(
        help="What the reader sees: the layer, the heads …; empty until the figure is drawn. Setting it changes the "
        "parts that are named."
    ).tag(sync=True)
    problem = traitlets.Unicode(help="What is wrong with the state that was last set, or empty.").tag(sync=True)

    def __init__(
        self,
        model: Any = None,
        tokenizer: Any = None,
        text: str | None = None,
        text_pair: str | None = None,
        text_target: str | None = None,
        *,
        block: str | None = None,
        settings: Mapping[str, Any] | None = None,
        attention: Attention | None = None,
        tokens: Sequence[str] | None = None,
        sentence_b_start: int | None = None,
        encoder_attention: Attention | None = None,
        decoder_attention: Attention | None = None,
        cross_attention: Attention | None = None,
        encoder_tokens: Sequence[str] | None = None,
        decoder_tokens: Sequence[str] | None = None,
        max_tokens: int = MAX_TOKENS,
        other: Any = None,
        other_tokenizer: Any = None,
        state: Mapping[str, Any] | str | None = None,
        **options: Any,
    ) -> None:
        """Make the figure. The arguments of a model are those of `show`, those of tensors are those of `head_view`, and
        `options` are keys of a block: `view`, `layer`, `heads`, `caption` …

        A `block` is the YAML of a fence. `settings` are those of a site, such as `models` and `cache_dir`, relative to
        the current folder. `state` is what the reader sees first: a mapping, or a text as in a block.

        Raises:
            ValueError: if not exactly one of a model, a block and tensors is given, or one of them is wrong.
        """
        stacks = Stacks(attention, encoder_attention, decoder_attention, cross_attention)
        texts = Texts(tokens, sentence_b_start, encoder_tokens, decoder_tokens)
        options |= {"text": text, "text_pair": text_pair, "text_target": text_target}
        options |= {"state": state if isinstance(state, str) else None}
        options = {name: value for name, value in options.items() if value is not None}
        given = {"model": model is not None, "block": block is not None, "tensors": stacks.given or texts.given}
        if sum(given.values()) != 1:
            raise ValueError(f"A widget needs one of these: {KINDS}. It has {_listed(given)}.")
        if model is not None:
            figure = figure_of_model(model, tokenizer, options, max_tokens, other, other_tokenizer, in_page=False)
        elif block is not None:
            figure = _figure_of_block(block, options, settings or {})
        else:
            figure = figure_of_tensors(stacks, texts, {"view": "head", **options}, in_page=False)
        warn_of_claims(figure, stacklevel=3)
        assets = SentAssets()
        self._shown_figure = figure
        super().__init__(
            code=_scripts(figure),
            figure=figure.html(id_of(figure, assets), assets),
            data=assets.files,
            state={} if state is None or isinstance(state, str) else dict(state),
        )

    @traitlets.validate("state")
    def _merged(self, proposal: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole state. A program may name the parts that it changes; a page always names all."""
        return dict(proposal["value"]) if self._told_by_page else {**self.state, **proposal["value"]}

    _told_by_page = False

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what a page has changed."""
        self._told_by_page = True
        try:
            super().set_state(sync_data)
        finally:
            self._told_by_page = False

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the output for a notebook, with the static picture and a sentence for places that run no widgets."""
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        sentence = self._shown_figure.sentence
        return bundle | {"text/html": self._shown_figure.static_html, "text/plain": sentence}, metadata

    def __repr__(self) -> str:
        """Return the sentence that describes the figure."""
        return self._shown_figure.sentence


def _listed(given: Mapping[str, bool]) -> str:
    """Return the names of what is given, for a message."""
    names = [name for name, is_given in given.items() if is_given]
    return " and ".join(names) or "none of them"


def _figure_of_block(body: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Figure:
    """Return the figure of a block.

    Raises:
        ValueError: if an option stands beside the block, or a setting or the block is wrong.
    """
    if options:
        raise ValueError(f"`{next(iter(options))}` stands beside `block`; write it into the block.")
    log = logging.getLogger("mkdocs_attnviz")
    try:
        own = Settings.read(dict(settings))
        with Pipeline(own, Path.cwd(), log, warn=lambda _: None, more="`attnviz run -v`").build() as build:
            (figure,) = build.render([Source(body)])
    except (Missing, SettingsError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(figure, Figure):
        raise ValueError(build.alerts[0].message)
    return figure


_SCRIPTS: dict[str, Script] = {}
"""The scripts that this process's kernel has sent, by name."""


def _scripts(figure: Figure) -> dict[str, Script]:
    """Return the scripts that draw a figure, by name: the module, and those of other packages' views."""
    names = [MODULE, *(name for name in figure.scripts if not name.startswith(OURS))]
    return dict(map(_script, names))


def _script(name: str) -> tuple[str, Script]:
    """Return the name of a script in pages, which ends in its digest, and its model. One that was closed is sent
    again."""
    file, content = _module() if name == MODULE else script_file(name)
    script = _SCRIPTS.get(file)
    if script is None or script.comm is None or _has_many_kernels():
        script = _SCRIPTS[file] = Script(code=zlib.compress(content, 9))
    return file, script


def _has_many_kernels() -> bool:
    """Return whether this process has a kernel for each reader, as marimo has, which also closes what a cell has made
    when the cell runs again. There, each widget brings its scripts, and a page still runs each script once."""
    marimo: Any = sys.modules.get("marimo")
    return marimo is not None and bool(marimo.running_in_notebook())


@cache
def _module() -> tuple[str, bytes]:
    """Return the name and the content of the module."""
    content = STATIC.joinpath(MODULE).read_bytes()
    return f"attnviz-{hashlib.sha256(content).hexdigest()[:10]}.mjs", content
