"""The lens view: layers × positions. Each cell shows what the model would predict if that layer were its last.

It follows nostalgebraist 2020, "interpreting GPT: the logit lens", and Ecco's rankings and rankings_watch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.values import Flag, Texts, key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.figure_data import Blob, TextFigure
from mkdocs_attnviz.views.measures.lens import MEASURES
from mkdocs_attnviz.views.svg.document import capped, document, escape, palette, styles
from mkdocs_attnviz.views.svg.legend import Scale, with_legend
from mkdocs_attnviz.views.svg.token_flow import PANEL, json_of, sequences
from mkdocs_attnviz.views.view import View, own_script
from mkdocs_attnviz.views.visible_tokens import visible

LENS = Capture(
    "lens",
    2,
    run="mkdocs_attnviz.models.captures.lens:capture",
    head=True,
    attention=False,
    stored="probabilities with 5 digits",
)
WIDTH, ROW, CHARACTER, SIDE = 680, 26, 8, 84
POSITIONS, LAYERS, LONGEST = 10, 14, 12
"""The limits of a static picture: columns, rows, and characters in a cell."""
TALLEST, NUMBERS, ROW_OF_TOP = 480, 14, 24
"""The heights on the page in px: the grid at most, the position numbers, and each token in the read-out."""


class Options(BlockOptions):
    """The block keys of the lens view."""

    top_k: int = key(
        "a number from 1 to 100",
        "How many of the likeliest tokens are kept for each cell.",
        default=5,
        ge=1,
        le=100,
    )
    final_norm: Flag = key(
        "true or false",
        "Apply the model's final norm before its head, as the model does. `false`: the raw lens, without it.",
        default=True,
    )
    watch: Texts | None = key(
        "a token or a list of tokens",
        "Up to 20 tokens whose probability and rank are kept for every layer and position.",
        default=None,
        max_length=20,
    )
    show: Literal["probability", "rank", "entropy", "kl"] = key(
        "probability, rank, entropy or kl", "What the ground of a cell says at first.", default="probability"
    )
    cells: Literal["top", "actual", "watch"] = key(
        "top, actual or watch",
        "What is written in the cells at first: the likeliest token, the rank of the actual token, or the rank of the "
        "first one in `watch`.",
        default="top",
    )
    prettify_tokens: Flag = key(
        "true or false",
        "Show a vocabulary's marks of word boundaries (`Ġ`, `▁`, `</w>`) as the spaces they stand for.",
        default=True,
    )

    def parameters(self) -> dict[str, Any]:
        return {"top_k": self.top_k, "final_norm": self.final_norm, "watch": list(self.watch or ())}


class LensState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    show: Literal["probability", "rank", "entropy", "kl"]
    cells: Literal["top", "actual", "watch"]
    watched: int
    layer: int | None
    """The layer of the cell that is held; −1 is the embeddings."""
    position: int | None


class LensFigure(TextFigure):
    """Layers × positions: what the model would say if a layer were its last."""

    read: str
    """The sequence whose positions are the columns."""
    expected: list[str | None] | None
    """The token that follows each position; null where positions say what stands there."""
    layers: int
    vocabulary: int
    watch: list[str]
    raw: bool
    """True if the final norm is left out."""
    top_k: int
    lens: Blob
    initial: LensState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of the logit lens.

    Raises:
        BlockError: if `cells` is `watch` and the block has no `watch`.
    """
    if options.cells == "watch" and not options.watch:
        raise block.wrong("cells", "`cells` is watch, and the block has no `watch`; it must list at least one token.")
    lens = json_of(entry.blobs["lens"])
    tokens = sequences(entry, pretty=options.prettify_tokens)
    name = "target" if "target" in tokens else "text"
    data: LensFigure = {
        "view": "lens",
        "theme": block.theme,
        "sequences": tokens,
        "read": name,
        "expected": _expected(entry, tokens[name]["tokens"]),
        "layers": entry.meta["layers"],
        "vocabulary": entry.meta["vocabulary"],
        "watch": entry.meta["watch"],
        "raw": not options.final_norm,
        "top_k": options.top_k,
        "lens": {"blob": "lens"},
        "initial": {"show": options.show, "cells": options.cells, "watched": 0, "layer": None, "position": None},
    }
    height = min(TALLEST, ROW * (entry.meta["layers"] + 2 + (data["expected"] is not None)) + NUMBERS)
    below = ROW_OF_TOP * (options.top_k + bool(entry.meta["watch"])) + 12
    return Drawing(
        data,
        with_legend(
            _picture(lens, data, block.theme),
            block.theme,
            "Probability of the top token · last layer on top",
            Scale("0%", "100%", deepest=0.6),
        ),
        _sentence(block, options, entry, lens),
        f"{capped(height)} + {below}px",
        PANEL,
    )


def _expected(entry: Entry, tokens: Sequence[str]) -> list[str | None] | None:
    """Return the token that follows each position, or None for a masked language model, which predicts the token at the
    position."""
    if entry.meta["task"] == "masked":
        return None
    target = entry.meta["sequences"].get("target")
    return [*tokens[1:], None] if target is None else list(target["next"])


def layer_name(row: int) -> str:
    """Return the name of a row; row 0 is the input of the first layer."""
    return "embeddings" if row == 0 else f"layer {row - 1}"


def _clipped(token: str) -> str:
    """Return a token's visible text, cut to the width of a cell."""
    text = visible(token)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _picture(lens: dict[str, Any], data: LensFigure, theme: str) -> Picture:
    """Return a picture of the first positions, with the last layer on top."""
    rows = _rows(data["layers"] + 1)
    read, expected = data["sequences"][data["read"]]["tokens"], data["expected"]
    columns: list[tuple[int, list[str], int]] = []
    width = SIDE
    for position in range(min(POSITIONS, len(read))):
        predictions = [lens["vocabulary"][lens["top"][row][position][0]] for row in rows]
        texts = [] if expected is None else [expected[position] or ""]
        texts = [_clipped(text) for text in [*texts, *predictions, read[position]]]
        wide = max(32, CHARACTER * max(map(len, texts)) + 12)
        if position and width + wide > WIDTH:
            break
        columns.append((position, texts, width))
        width += wide
    ends = [x for _, _, x in columns[1:]] + [width]
    headed = expected is not None
    labels = [*(["actual"] if headed else []), *map(layer_name, rows), "input"]
    body = [f'<text class="p" x="0" y="{ROW * i + 17}">{label}</text>' for i, label in enumerate(labels)]
    for (position, texts, x), end in zip(columns, ends, strict=True):
        for i, text in enumerate(texts):
            row = i - headed
            if 0 <= row < len(rows):
                share = 0.6 * lens["probabilities"][rows[row]][position][0]
                box = f'x="{x + 1}" y="{ROW * i + 1}" width="{end - x - 2}" height="{ROW - 2}"'
                body.append(f'<rect class="f" {box} opacity="{share:.2g}"/>')
            body.append(f'<text x="{(x + end) / 2:g}" y="{ROW * i + 17}" text-anchor="middle">{escape(text)}</text>')
    height = ROW * len(labels)
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), _rules)
    return Picture(document(width, height, style, body), width, height)


def _rows(count: int) -> list[int]:
    """Return the rows of the static picture, last layer first. If there are too many layers, the rows are evenly
    spaced."""
    if count <= LAYERS:
        return list(range(count))[::-1]
    return sorted({round(i * (count - 1) / (LAYERS - 1)) for i in range(LAYERS)}, reverse=True)


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.f{{fill:{scheme['signed'][1]}}}"


def _sentence(block: Block, options: Options, entry: Entry, lens: dict[str, Any]) -> str:
    """Return a sentence that says from which layer on the last position has the final prediction."""
    layers, positions = entry.meta["layers"], len(lens["top"][0])
    raw = "" if options.final_norm else " without the final norm (raw)"
    description = f"Logit lens{raw} of {block.model}: embeddings and {layers} layers at {positions} positions."
    first = [row[-1][0] for row in lens["top"]]
    answer, since = first[-1], len(first) - 1
    while since and first[since - 1] == answer:
        since -= 1
    shown = visible(lens["vocabulary"][answer])
    share = 100 * lens["probabilities"][-1][-1][0]
    percent = f"{share:.0f}%" if math.isclose(share, 100) or share < 99.5 else "over 99%"
    where = "in the embeddings already" if since == 0 else f"from {layer_name(since)} on"
    last = f"At the last position its last layer holds “{shown}” the likeliest ({percent})"
    return f"{description} {last}; it is the first choice {where}."


VIEW = View(
    "lens",
    Options,
    LENS,
    draw,
    script=own_script("lens"),
    data=LensFigure,
    state=("show", "cells", "watched", "layer", "position"),
    checks={"watched": state_checks.number, "layer": state_checks.number, "position": state_checks.position},
    measures=MEASURES,
)
