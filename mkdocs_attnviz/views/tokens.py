"""The tokens view: a text as the model reads it, coloured by the probability that the model gave each token.

It follows Ecco's token view and also shows the probability and the rank of each token.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.values import Flag, key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.figure_data import Blob, Stretch, TextFigure
from mkdocs_attnviz.views.measures.predictions import measures, where_it_stands
from mkdocs_attnviz.views.predict import PREDICTIONS
from mkdocs_attnviz.views.svg.legend import Scale, with_legend
from mkdocs_attnviz.views.svg.token_flow import PANEL, Likeliest, height, json_of, picture, sequences, texts
from mkdocs_attnviz.views.view import View, own_script

OTHER = {"classes": "predicts classes", "labels": "predicts labels of tokens", "answer": "finds answers"}
"""The description of models that do not predict tokens, by task."""
READOUT = 124
"""The height in px of the list of likely tokens below the text."""


class Options(Likeliest):
    """The block keys of the tokens view."""

    shade: Literal["probability", "rank", "none"] = key(
        "probability, rank or none", "What a token's colour says at first.", default="probability"
    )
    prettify_tokens: Flag = key(
        "true or false",
        "Show a vocabulary's marks of word boundaries (`Ġ`, `▁`, `</w>`) as the spaces they stand for.",
        default=True,
    )


class TokensState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    shade: Literal["probability", "rank", "none"]
    selected: int | None
    """The token that is held; counted through all that is shown."""


class TokensFigure(TextFigure):
    """A text's tokens, each with what the model held likely in its place."""

    texts: list[Stretch]
    """The parts of the texts in reading order: the input of the model, and the output it is to produce."""
    predicted: str
    """The sequence that the predictions are of."""
    predictions: Blob
    initial: TokensState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of predictions.

    Raises:
        BlockError: if the model does not predict tokens.
    """
    if what := OTHER.get(entry.meta["task"]):
        raise block.wrong("view", f"The tokens view needs a model that predicts tokens, and {block.subject} {what}.")
    shown, tokens = texts(entry), sequences(entry, pretty=options.prettify_tokens)
    predicted, actual = entry.meta["predicted"], json_of(entry.blobs["predictions"])["actual"]
    data: TokensFigure = {
        "view": "tokens",
        "theme": block.theme,
        "sequences": tokens,
        "texts": shown,
        "predicted": predicted,
        "predictions": {"blob": "predictions"},
        "initial": {"shade": options.shade, "selected": None},
    }

    def share(name: str, position: int) -> float:
        """Return the opacity of a token's colour, from 0 to 1."""
        prediction = actual[position] if name == predicted else None
        if prediction is None or options.shade == "none":
            return 0.0
        return float(prediction[0] if options.shade == "probability" else 1 / prediction[1])

    return Drawing(
        data,
        with_legend(picture(shown, tokens, share, block.theme), block.theme, *_legend(options)),
        _sentence(block, entry, actual),
        height(shown, tokens, READOUT),
        PANEL,
        wraps=False,
    )


def _sentence(block: Block, entry: Entry, actual: list[list[float] | None]) -> str:
    """Return a sentence that says how many tokens were the model's first choice."""
    predictions = [prediction for prediction in actual if prediction is not None]
    tokens = sum(part["end"] - part["start"] for part in texts(entry))
    description = f"{tokens} tokens of {block.model}, coloured by how likely the model held each."
    if not predictions:
        return description
    first = sum(rank == 1 for _, rank in predictions)
    return f"{description} Of {len(predictions)} that it predicted, {first} were its first choice."


def _legend(options: Options) -> tuple[str, Scale | None]:
    """Return the text and the scale of the legend."""
    if options.shade == "none":
        return "Numbers are positions", None
    low, high = ("0%", "100%") if options.shade == "probability" else ("last", "first")
    name = options.shade.capitalize()
    return f"{name} of the token · numbers are positions", Scale(low, high, deepest=0.6)


VIEW = View(
    "tokens",
    Options,
    PREDICTIONS,
    draw,
    script=own_script("tokens"),
    data=TokensFigure,
    state=("shade", "selected"),
    checks={"selected": state_checks.position},
    measures=measures(where_it_stands),
)
