"""The saliency view: how much each input token contributes to an output token.

It follows Ecco's `primary_attributions`. The methods are those of Captum, under Captum's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.figure_data import Blob, Stretch, TextFigure
from mkdocs_attnviz.views.ignored_tokens import ignored_tokens
from mkdocs_attnviz.views.measures.saliency import MEASURES
from mkdocs_attnviz.views.measures.saliency_methods import METHODS_MEASURES
from mkdocs_attnviz.views.saliency_methods import MethodsFigure, draw_methods
from mkdocs_attnviz.views.saliency_options import Options as Options
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.token_flow import NOTED, PANEL, STRIP, Bars, height, picture, sequences, texts
from mkdocs_attnviz.views.view import View, own_script
from mkdocs_attnviz.views.visible_tokens import called

SALIENCY = Capture(
    "saliency",
    2,
    run="mkdocs_attnviz.models.captures.saliency:capture",
    head=True,
    attention=False,
    stored="attributions in 16 bits, scaled by output or method",
)


class Output(TypedDict):
    """A token that the model produced, and what was attributed."""

    name: str
    """The sequence, among those that are shown, in which it stands."""
    index: int
    position: int
    token: str
    probability: float
    value: float
    baseline: float | None
    delta: float | None


class Method(TypedDict):
    """The method by which the attributions were computed, with its parameters."""

    method: str
    norm: Literal["sum", "l2"]
    explain: str
    contrast: str | None
    token: NotRequired[str]
    """The token that is explained, if the author named it."""
    target: NotRequired[list[str]]
    steps: NotRequired[int]
    seed: NotRequired[int]
    baseline: NotRequired[str]
    layer: NotRequired[int]
    window: NotRequired[int]


class SaliencyState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    style: Literal["background", "bars"]
    selected: int | None
    """The output that is held; null: the one that is pointed at."""


class SaliencyFigure(TextFigure):
    """A text's tokens, each with what it adds to an output."""

    texts: list[Stretch]
    """The parts of the texts in reading order: the input of the model, and its output."""
    outputs: list[Output]
    ignored: list[int]
    """Inputs that have no part in the scale."""
    attributions: Blob
    """Scaled, (outputs, inputs); the inputs are all tokens of the text, then those of the target."""
    method: Method
    initial: SaliencyState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of attributions by one method, or of several methods compared."""
    if options.methods is not None:
        return draw_methods(block, options, entry)
    outputs = entry.meta["outputs"]
    tokens = dict(sorted(sequences(entry, pretty=options.prettify_tokens).items(), key=lambda part: part[0] != "text"))
    inputs = [(name, position) for name, part in tokens.items() for position in range(len(part["tokens"]))]
    extra = [output["token"] for output in outputs if output["name"] == "outputs"]
    tokens["outputs"] = {"tokens": extra, "special": [], "sentence_b_start": None}
    shown = _texts(entry, len(extra))
    ignored, placed = ignored_tokens(options.ignore_tokens or (), entry, inputs), _placed(outputs)
    data: SaliencyFigure = {
        "view": "saliency",
        "theme": block.theme,
        "sequences": tokens,
        "texts": shown,
        "outputs": placed,
        "ignored": ignored,
        "attributions": {"blob": "attributions"},
        "method": cast(Method, options.parameters() | {"contrast": entry.meta["contrast"]}),
        "initial": {"style": options.style, "selected": None},
    }
    attributions = _first(entry, inputs, ignored)
    most = max(map(abs, attributions.values()), default=0.0) or 1.0
    largest = [(tokens[name]["tokens"][at], name, at, value) for (name, at), value in _sorted(attributions)]
    whole = sum(map(abs, attributions.values())) or 1.0
    has_bars = options.style == "bars"
    bars = (
        Bars(min(0.0, *attributions.values(), 0.0) / most, max(0.0, *attributions.values(), 0.0) / most)
        if has_bars
        else None
    )

    def share(name: str, position: int) -> float:
        """Return a token's attribution as a fraction of the largest one."""
        return attributions.get((name, position), 0.0) / most

    def note(name: str, position: int) -> str | None:
        """Return a token's percentage of all attributions, or None if it has none; then its position is shown
        instead."""
        return short_percent(attributions[name, position] / whole) if (name, position) in attributions else None

    return Drawing(
        data,
        with_legend(picture(shown, tokens, share, block.theme, note, bars), block.theme, _legend(options)),
        _sentence(block, options, entry, largest),
        height(shown, tokens, strip=STRIP + 3 if has_bars else 0, least=NOTED),
        PANEL,
    )


Place = tuple[str, int]
"""The name of a sequence, and a position in it."""


def short_percent(share: float) -> str:
    """Return a percentage that is short enough to stand below a short token, as in `frontend/src/views/saliency.ts`."""
    size = abs(100 * share)
    text = f"{size:.{1 if 0 < size < 9.95 else 0}f}"
    return f"{'−' if share < 0 and float(text) else ''}{text}%"


def _first(entry: Entry, inputs: Sequence[Place], ignored: Sequence[int]) -> dict[Place, float]:
    """Return the attributions of the tokens that were read for the first output, without ignored tokens."""
    output = entry.meta["outputs"][0]
    row = scaled(entry.blobs["attributions"], len(entry.meta["outputs"]), len(inputs))[0]
    read = {"next": {"text": output["index"]}, "target": {"target": output["index"]}}.get(entry.meta["task"], {})
    return {
        (name, position): row[number]
        for number, (name, position) in enumerate(inputs)
        if number not in ignored and position < read.get(name, position + 1)
    }


def _sorted(attributions: Mapping[Place, float]) -> list[tuple[Place, float]]:
    """Return the attributions in descending order of their absolute values."""
    return sorted(attributions.items(), key=lambda item: -abs(item[1]))


def _texts(entry: Entry, extra: int) -> list[Stretch]:
    """Return the parts of the texts that are shown: the inputs, and the outputs that are explained."""
    shown = texts(entry)
    for part in shown:
        if part["name"] == "target":  # the decoder's start token is an input, too
            part["start"] = 0
    if extra:
        headings = {
            "classes": "Class" if extra == 1 else "Classes",
            "next": "Next token",
            "answer": "Answer, from and to",
        }
        heading = headings.get(entry.meta["task"], "")
        shown[0]["heading"] = shown[0]["heading"] or "Input"
        first = next(output["index"] for output in entry.meta["outputs"] if output["name"] == "outputs")
        shown.append({"name": "outputs", "heading": heading, "start": 0, "end": extra, "offset": first})
    return shown


def _placed(outputs: Sequence[Mapping[str, Any]]) -> list[Output]:
    """Return the outputs with their indices among the tokens that are shown. `position` is the number shown to
    readers."""
    placed: list[Output] = []
    for output in outputs:
        before = sum(earlier["name"] == "outputs" for earlier in placed)
        index = before if output["name"] == "outputs" else output["index"]
        placed.append(cast(Output, {**output, "index": index, "position": output["index"]}))
    return placed


def _sentence(block: Block, options: Options, entry: Entry, attributions: Sequence[tuple[str, str, int, float]]) -> str:
    """Return a sentence with the largest attributions to the first output."""
    outputs = entry.meta["outputs"]
    contrast = entry.meta["contrast"]
    what = f"the {options.explain.replace('_', '-')} of “{called(outputs[0]['token'])}”"
    if contrast is not None:
        what += f" less that of “{called(contrast)}”"
    more = f", the first of {len(outputs)} outputs," if len(outputs) > 1 else ""
    is_signed = options.parameters()["norm"] == "sum"
    how = "What each token adds to" if is_signed else "How much each token matters for"
    description = f"{how} {what}{more} in {block.model}, by {options.method}."
    if not attributions or not attributions[0][3]:
        return description
    sign = "+" if is_signed else ""
    named = []
    for token, name, position, value in attributions[:3]:
        where = f"{position} of the output" if name == "target" else position
        named.append(f"“{called(token)}” at {where} ({value:{sign}.3g})")
    return f"{description} Largest: {', '.join(named)}."


def _legend(options: Options) -> str:
    """Return the text of the legend."""
    signs = " · blue: for, orange: against" if options.parameters()["norm"] == "sum" else ""
    return f"{'Bar' if options.style == 'bars' else 'Colour'} = share of the attribution{signs}"


VIEW = View(
    "saliency",
    Options,
    SALIENCY,
    draw,
    script=own_script("saliency"),
    data=SaliencyFigure | MethodsFigure,
    state=("style", "selected", "by", "compare"),
    checks={"selected": state_checks.position},
    measures=MEASURES | METHODS_MEASURES,
)
