"""The predict view: the likeliest predictions of a model at one place, as bars.

A causal model predicts the next token; a masked language model predicts the token behind `[MASK]`; a classifier
predicts the class; a token classifier predicts a token's label; a question answering model predicts the answer.
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.values import Index, key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.figure_data import Blob, Stretch, TextFigure
from mkdocs_attnviz.views.measures.predictions import Predictions, measures, ranges
from mkdocs_attnviz.views.svg.document import ROW, document, escape, escape_words, palette, styles
from mkdocs_attnviz.views.svg.token_flow import PANEL, Likeliest, height, json_of, sequences, texts
from mkdocs_attnviz.views.view import View, own_script
from mkdocs_attnviz.views.visible_tokens import called, visible

PREDICTIONS = Capture(
    "predictions",
    2,
    run="mkdocs_attnviz.models.captures.predictions:capture",
    head=True,
    attention=False,
    stored="probabilities with 5 digits",
)
BARS = 12
"""The number of bars that are visible without scrolling."""
FLOW = 248
"""The height in px of the text above the bars; longer texts scroll."""
NAMES, LENGTH, NUMBER = 180, 420, 80


class Options(Likeliest):
    """The block keys of the predict view."""

    position: Index | None = key(
        "a token's position, counted from 0",
        "The token whose place is predicted; the number of tokens stands for what comes next. "
        "Default: what comes next, or the first `[MASK]`.",
        default=None,
    )


class PredictState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    position: int
    """The place of the token that is predicted; for what follows the text, its length."""


class PredictFigure(TextFigure):
    """The data of the tokens that a model held likely in one place."""

    task: Literal["next", "target", "masked", "classes", "labels", "answer"]
    texts: list[Stretch]
    predicted: str
    """The sequence that the predictions are of."""
    positions: list[int]
    """The places in it that are predicted."""
    predictions: Blob
    initial: PredictState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of predictions.

    Raises:
        BlockError: if nothing is predicted at `position`.
    """
    predictions = json_of(entry.blobs["predictions"])
    positions = [position for position, top in enumerate(predictions["top"]) if top]
    position = _position(block, positions, predictions["actual"], options.position)
    shown, tokens = texts(entry), sequences(entry, pretty=True)
    data: PredictFigure = {
        "view": "predict",
        "theme": block.theme,
        "task": entry.meta["task"],
        "sequences": tokens,
        "texts": shown,
        "predicted": entry.meta.get("predicted", "text"),
        "positions": positions,
        "predictions": {"blob": "predictions"},
        "initial": {"position": position},
    }
    top = _top(predictions, position)
    bars = min(BARS, len(top))
    return Drawing(
        data,
        _picture(top, block.theme),
        _sentence(block, entry, top, position),
        height(shown, tokens, ROW * bars + 12, FLOW),
        PANEL,
        wraps=entry.meta["task"] != "classes",
        legend=False,
    )


def _position(block: Block, positions: list[int], actual: list[Any], wanted: int | None) -> int:
    """Return the requested position, or else the first position whose token is not given by the text.

    Raises:
        BlockError: if nothing is predicted there.
    """
    if not positions:
        raise block.wrong("text", f"The text has no token that {block.subject} could predict.")
    if wanted is None:
        return next((position for position in positions if actual[position] is None), positions[-1])
    if wanted not in positions:
        message = f"`position` is {wanted}; {block.subject} predicts what stands at {ranges(positions)}."
        raise block.wrong("position", message)
    return wanted


def _shown_position(block: Block, options: Options, predictions: Predictions, chosen: Selectors) -> tuple[int, str]:
    """Return the position that the figure shows at first, and the text of a claim's token."""
    position = _position(block, predictions.positions, predictions.lists["actual"], options.position)
    return position, chosen.token or ""


def _top(predictions: dict[str, Any], position: int) -> list[tuple[str, float]]:
    """Return the likeliest tokens at a position, with their probabilities."""
    names = [predictions["vocabulary"][token] for token in predictions["top"][position]]
    return list(zip(names, predictions["probabilities"][position], strict=True))


def percent(probability: float) -> str:
    """Return a probability as a percentage, formatted as in `frontend/src/charts/top.ts`."""
    if 0 < probability < 0.0001:
        return "< 0.01%"
    return f"{100 * probability:.{2 if probability < 0.1 else 1}f}%"


def _quoted(token: str) -> str:
    """Return a token in quotation marks."""
    return f"“{called(token)}”"


def _sentence(block: Block, entry: Entry, top: list[tuple[str, float]], position: int) -> str:
    """Return a sentence with the likeliest predictions."""
    (first, most), *others = top
    task = entry.meta["task"]
    then = f", then {_quoted(others[0][0])} with {percent(others[0][1])}" if others else ""
    if task == "classes":
        return f"{block.model} takes the text for {_quoted(first)}, with {percent(most)}{then}."
    if task == "answer":
        answer = " ".join(map(visible, first.split()))
        return f"{block.model} finds the answer “{answer}”, with {percent(most)}."
    tokens = sequences(entry, pretty=True)[entry.meta.get("predicted", "text")]["tokens"]
    if task == "labels":
        return (
            f"{block.model} gives {_quoted(tokens[position])} at {position} the label {_quoted(first)}, with "
            f"{percent(most)}{then}."
        )
    if task == "masked":
        where = f"In the place of token {position}"
    else:
        glue = (
            "" if any(token.startswith(" ") for token in tokens) else " "
        )  # a vocabulary of whole words needs spaces between them
        before = visible(glue.join(tokens[max(0, position - 3) : position]).strip()).replace("·", " ")
        where = f"After “{'… ' * (position > 3)}{before}”" if before else "At the beginning"
    return f"{where}, {block.model} holds {_quoted(first)} likeliest, with {percent(most)}{then}."


def _picture(top: list[tuple[str, float]], theme: str) -> Picture:
    """Return a picture with a bar for each likely prediction. The full length is probability 1."""
    shown = top[:BARS]
    body: list[str] = []
    for row, (token, probability) in enumerate(shown):
        y, length, number = ROW * row, LENGTH * probability, escape_words(percent(probability))
        name = token if len(token) <= 22 else f"{token[:21]}…"
        body += [
            f'<text x="{NAMES - 8}" y="{y + 17}" text-anchor="end">{escape(name) or "∅"}</text>',
            f'<rect class="f" x="{NAMES}" y="{y + 5}" width="{max(1, length):.3g}" height="14" rx="2"/>',
            f'<text class="p" x="{NAMES + max(1, length) + 8:.4g}" y="{y + 17}">{number}</text>',
        ]
    style = "text{font:13px system-ui,sans-serif}" + styles(palette(theme), _rules)
    width, tall = NAMES + LENGTH + NUMBER, ROW * len(shown)
    return Picture(document(width, tall, style, body), width, tall)


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.f{{fill:{scheme['signed'][1]}}}"


VIEW = View(
    "predict",
    Options,
    PREDICTIONS,
    draw,
    script=own_script("predict"),
    data=PredictFigure,
    state=("position",),
    checks={"position": state_checks.position},
    measures=measures(_shown_position),
)
