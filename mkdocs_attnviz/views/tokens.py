"""Tokens view: a text as the model reads it, and what it held likely in each token's place.

After Ecco's token view, with probability and rank of each token.
"""

from __future__ import annotations

from typing import Literal

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.values import key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.predict import PREDICTIONS
from mkdocs_attnviz.views.svg.token_flow import PANEL, Likeliest, height, json_of, picture, sequences, texts
from mkdocs_attnviz.views.view import ALL_SCRIPT, View

OTHER = {"classes": "predicts classes", "labels": "predicts labels of tokens", "answer": "finds answers"}
"""What models do that predict no tokens, by their task."""
READOUT = 124
"""Pixels of the likeliest tokens below the text."""


class Options(Likeliest):
    shade: Literal["probability", "rank", "none"] = key(
        "probability, rank or none", "What a token's colour says at first.", default="probability"
    )
    prettify_tokens: bool = key(
        "true or false",
        "Show a vocabulary's marks of word boundaries (`Ġ`, `▁`, `</w>`) as the spaces they stand for.",
        default=True,
        strict=True,
    )


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    if what := OTHER.get(entry.meta["task"]):
        raise block.wrong("view", f"The tokens view needs a model that predicts tokens, and {block.subject} {what}.")
    shown, tokens = texts(entry), sequences(entry, pretty=options.prettify_tokens)
    predicted, actual = entry.meta["predicted"], json_of(entry.blobs["predictions"])["actual"]
    data = {
        "view": "tokens",
        "theme": block.theme,
        "sequences": tokens,
        "texts": shown,
        "predicted": predicted,
        "predictions": {"blob": "predictions"},
        "initial": {"shade": options.shade, "selected": None},
        "options": {},
    }

    def share(name: str, position: int) -> float:
        found = actual[position] if name == predicted else None
        if found is None or options.shade == "none":
            return 0.0
        return float(found[0] if options.shade == "probability" else 1 / found[1])

    return Drawing(
        data,
        picture(shown, tokens, share, block.theme),
        _sentence(block, entry, actual),
        height(shown, tokens, READOUT),
        PANEL,
        wraps=False,
    )


def _sentence(block: Block, entry: Entry, actual: list[list[float] | None]) -> str:
    known = [each for each in actual if each is not None]
    tokens = sum(part["end"] - part["start"] for part in texts(entry))
    said = f"{tokens} tokens of {block.model}, coloured by how likely the model held each."
    if not known:
        return said
    first = sum(rank == 1 for _, rank in known)
    return f"{said} Of {len(known)} that it predicted, {first} were its first choice."


VIEW = View(
    "tokens",
    Options,
    PREDICTIONS,
    draw,
    script=ALL_SCRIPT,
    state=("shade", "selected"),
    checks={"selected": state_checks.position},
)
