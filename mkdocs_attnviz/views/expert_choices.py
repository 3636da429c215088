"""The figure of the experts that routers chose for each token of a text, layer by layer.

Jiang et al. 2024, "Mixtral of Experts", show such choices as coloured text, and the load of each expert.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.cells import in_utf16
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.expert_balance import in_words, unevenness
from mkdocs_attnviz.views.expert_options import Options, Part, chosen, notes_on_mixtures
from mkdocs_attnviz.views.figure_data import Blob, TextFigure
from mkdocs_attnviz.views.router_choices import RouterChoices
from mkdocs_attnviz.views.router_loads import sequence_of
from mkdocs_attnviz.views.svg.expert_loads import CONTROLS, height_of_bars, height_of_rows, load_picture
from mkdocs_attnviz.views.svg.experts import experts_picture
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.running_text import height_of_text
from mkdocs_attnviz.views.svg.token_flow import PANEL, json_of, sequences

Show = Literal["grid", "text", "load"]
MOST_CELLS = 6000
"""The largest number of cells of a grid; a longer text is shown as text at first."""
NUMBERS = 14
"""The height in px of the numbers below a grid."""
LINE, FIRST, OTHER, STRIPS = 24, 8, 4, 4
"""The heights in px of a line of text, and of the strips below it of a token's first expert and of each other one, of
which there are no more than `STRIPS` in all."""


class MixtureData(TypedDict):
    """One mixture of experts, and the choices of its router."""

    stack: str
    part: Part
    layer: int
    experts: int
    top_k: int
    scale: float
    """The largest weight."""
    stored: int
    """The number of experts of each token whose probabilities are stored; 0 if the router's distribution is unknown."""
    load: list[int]
    """The number of tokens that each expert got."""
    choices: Blob
    router: NotRequired[Blob]


class ExpertsState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    show: Show
    stack: str
    part: Part
    layer: int
    expert: int | None
    """The expert whose tokens alone are coloured."""
    token: int | None
    """The token that is held."""


class ExpertsFigure(TextFigure):
    """Tokens × layers: the experts that the routers chose."""

    texts: dict[str, Blob]
    """JSON, by sequence: the text, and where each token ends in UTF-16 units, or null if each token is one."""
    mixtures: list[MixtureData]
    notes: list[str]
    initial: ExpertsState


def draw_choices(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of experts, of one text.

    Raises:
        BlockError: if the model has no such stack, part, layer or expert.
    """
    included, group, layer = chosen(block, options, entry.meta["mixtures"])
    choices = {(about["stack"], about["part"], about["layer"]): RouterChoices(entry, about) for about in included}
    shown = [choices[about["stack"], about["part"], about["layer"]] for about in group]
    name = sequence_of(group[0]["stack"])
    tokens = sequences(entry, pretty=options.prettify_tokens)
    count = len(tokens[name]["tokens"])
    initial: ExpertsState = {
        "show": cast(Show, options.show) or ("grid" if count * len(group) <= MOST_CELLS else "text"),
        "stack": group[0]["stack"],
        "part": group[0]["part"],
        "layer": layer,
        "expert": options.expert,
        "token": None,
    }
    data: ExpertsFigure = {
        "view": "experts",
        "theme": block.theme,
        "sequences": tokens,
        "texts": {each: {"content": in_utf16(json_of(entry.blobs[each]))} for each in tokens},
        "mixtures": [_mixture(each) for each in choices.values()],
        "notes": list(_notes(included, choices.values())),
        "initial": initial,
    }
    heights = {
        "grid": f"{height_of_rows(len(group) + 1, NUMBERS)} + {CONTROLS}",
        "text": height_of_text(str(json_of(entry.blobs[name])["text"]), _line(options, shown)),
        "load": f"{height_of_bars(len(group))} + {CONTROLS}",
    }
    if initial["show"] == "load":
        picture = load_picture(shown, block.theme, options.expert)
    else:
        picture = experts_picture(shown, tokens[name]["tokens"], block.theme, options.expert)
    picture = with_legend(picture, block.theme, _legend(initial["show"], options.expert, shown))
    sentence = _sentence(block, options, shown, layer)
    wraps = initial["show"] == "text"
    return Drawing(data, picture, sentence, heights[initial["show"]], PANEL + 24, wraps=wraps)


def _legend(show: str, expert: int | None, shown: Sequence[RouterChoices]) -> str:
    """Return the text of the legend."""
    if show == "load":
        return "Bar: share of all choices · dashed: equal shares · CV: coefficient of variation"
    if expert is not None:
        return f"Coloured: tokens that expert {expert} got"
    second = " · mark below: its second expert" if max(each.about["top_k"] for each in shown) > 1 else ""
    return f"Number and colour: a token’s first expert{second}"


def _line(options: Options, shown: Sequence[RouterChoices]) -> int:
    """Return the height in px of a line of text with the strips below it."""
    strips = min(STRIPS, shown[-1].top_k) if options.expert is None else 1
    return LINE + FIRST + OTHER * (strips - 1)


def _mixture(choices: RouterChoices) -> MixtureData:
    about = choices.about
    data: MixtureData = {
        "stack": about["stack"],
        "part": about["part"],
        "layer": about["layer"],
        "experts": about["experts"],
        "top_k": about["top_k"],
        "scale": about["scale"],
        "stored": about.get("stored", 0),
        "load": choices.counts,
        "choices": {"blob": choices.name},
    }
    if choices.has_scores:
        data["router"] = {"blob": f"{choices.name}/router"}
    return data


def _notes(mixtures: Sequence[Mapping[str, Any]], choices: Iterable[RouterChoices]) -> Iterator[str]:
    """Yield sentences about what the picture does not show."""
    yield from notes_on_mixtures(mixtures)
    dropped = sum(each.dropped for each in choices)
    if dropped:
        yield f"without an expert: {dropped} {'time' if dropped == 1 else 'times'} a token was dropped or skipped"


def _sentence(block: Block, options: Options, shown: Sequence[RouterChoices], layer: int) -> str:
    """Return a sentence about the mixtures, and about the load of the layer that is shown first."""
    first = next(each for each in shown if each.about["layer"] == layer)
    sentence = (
        f"The experts that {in_words(shown)} of {block.model} chose for {first.tokens} tokens: "
        f"{first.top_k} of {first.experts} for each. {unevenness(first)}"
    )
    dropped = sum(each.dropped for each in shown)
    if dropped:
        sentence += f" {dropped} of {first.tokens * len(shown)} times a token got no expert."
    if options.expert is not None:
        got = first.counts[options.expert] if options.expert < first.experts else 0
        sentence += f" Coloured are those of expert {options.expert}, which got {got} tokens in layer {layer}."
    return sentence
