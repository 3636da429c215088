"""The experts view: which experts of a mixture a router chose for each token, layer by layer.

Jiang et al. 2024, "Mixtral of Experts", show such choices as coloured text, and the load of each expert.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.values import Flag, Index, Indices, key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.options import Side, shared, side
from mkdocs_attnviz.views.cells import in_utf16
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.figure_data import Blob, TextFigure
from mkdocs_attnviz.views.measures.experts import MEASURES
from mkdocs_attnviz.views.router_choices import RouterChoices, in_layers
from mkdocs_attnviz.views.svg.document import CAP, capped
from mkdocs_attnviz.views.svg.experts import experts_picture, load_picture
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.running_text import height_of_text
from mkdocs_attnviz.views.svg.token_flow import PANEL, json_of, sequences
from mkdocs_attnviz.views.view import View, own_script

EXPERTS = Capture(
    "experts",
    1,
    run="mkdocs_attnviz.models.captures.experts:capture",
    attention=False,
    stored="choices exactly; weights and probabilities in 16 bits",
)
Part = Literal["feed_forward", "attention"]
Show = Literal["grid", "text", "load"]
MOST_CELLS = 6000
"""The largest number of cells of a grid; a longer text is shown as text at first."""
ROW, NUMBERS, TALLEST = 26, 14, 480
"""The sizes in px: a row of the grid, the numbers below it, and the grid at most."""
LINE, FIRST, OTHER, STRIPS = 24, 8, 4, 4
"""The heights in px of a line of text, and of the strips below it of a token's first expert and of each other one, of
which there are no more than `STRIPS` in all."""
LAYER, NARROW_LAYER, AXIS = 48, 64, 18
"""The heights in px of the bars of one layer, also in a narrow figure, and of the experts' numbers below all bars."""
CONTROLS = "clamp(0px,(400px - 100cqw)*99,18px)"
"""The height of a second line of controls, which they take in a very narrow figure."""


class Options(BlockOptions):
    """The block keys of the experts view."""

    show: Show | None = key(
        "grid, text or load",
        "What is seen at first: tokens × layers, the text coloured by one layer's experts, or how many tokens each "
        "expert got. Default: `grid`, or `text` if the grid has more than 6,000 cells.",
        default=None,
    )
    stack: Side | None = side()
    part: Part | None = key(
        "feed_forward or attention",
        "For a model whose attention is a mixture, too (JetMoE): which part is shown at first. Default: "
        "`feed_forward`.",
        default=None,
    )
    layer: Index | None = key(
        "a layer's number, counted from 0",
        "The layer whose experts colour the text. Default: the last with a mixture.",
        default=None,
    )
    expert: Index | None = key(
        "an expert's number, counted from 0",
        "One expert: only the tokens that it got are coloured.",
        default=None,
    )
    include_layers: Indices | None = shared("include_layers")
    prettify_tokens: Flag = shared("prettify_tokens")


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


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of experts.

    Raises:
        BlockError: if the model has no such stack, part, layer or expert.
    """
    included = _included(block, options, entry.meta["mixtures"])
    group = _group(block, options, included)
    layer = group[-1]["layer"] if options.layer is None else options.layer
    if layer not in [about["layer"] for about in group]:
        known = in_layers([about["layer"] for about in group])
        raise block.wrong("layer", f"`layer` is {layer}; the mixtures of {block.subject} are in {known}.")
    experts = max(about["experts"] for about in group)
    if options.expert is not None and options.expert >= experts:
        raise block.wrong("expert", f"`expert` is {options.expert}; the experts are 0 to {experts - 1}.")
    choices = {(about["stack"], about["part"], about["layer"]): RouterChoices(entry, about) for about in included}
    shown = [choices[about["stack"], about["part"], about["layer"]] for about in group]
    name = sequence_of(group[0]["stack"])
    tokens = sequences(entry, pretty=options.prettify_tokens)
    count = len(tokens[name]["tokens"])
    initial: ExpertsState = {
        "show": options.show or ("grid" if count * len(group) <= MOST_CELLS else "text"),
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
        "grid": f"{capped(min(TALLEST, ROW * (len(group) + 1) + NUMBERS))} + {CONTROLS}",
        "text": height_of_text(str(json_of(entry.blobs[name])["text"]), _line(options, shown)),
        "load": f"{_height_of_bars(len(group))} + {CONTROLS}",
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


def _height_of_bars(layers: int) -> str:
    """Return the CSS height of the bars of so many layers."""
    wide, narrow = (min(TALLEST, height * layers + AXIS) for height in (LAYER, NARROW_LAYER))
    return f"min({wide}px + clamp(0px,(520px - 100cqw)*99,{narrow - wide}px),{CAP})"


def sequence_of(stack: str) -> str:
    """Return the name of the sequence that a stack reads."""
    return "target" if stack == "decoder" else "text"


def _included(block: Block, options: Options, mixtures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the mixtures of `include_layers`, or all.

    Raises:
        BlockError: if a layer has none.
    """
    known = sorted({about["layer"] for about in mixtures})
    for layer in options.include_layers or ():
        if layer not in known:
            raise block.wrong(
                "include_layers",
                f"`include_layers` has layer {layer}; the mixtures of {block.subject} are in {in_layers(known)}.",
            )
    return [about for about in mixtures if options.include_layers is None or about["layer"] in options.include_layers]


def _group(block: Block, options: Options, mixtures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the mixtures that are shown together at first: those of one stack and one part.

    Raises:
        BlockError: if there are none.
    """
    stacks = list(dict.fromkeys(about["stack"] for about in mixtures))
    stack = options.stack or ("encoder" if "encoder" in stacks else stacks[0])
    if stack not in stacks:
        raise block.wrong(
            "stack", f"`stack` is {stack}; the mixtures of {block.subject} are in {' and '.join(stacks)}."
        )
    parts = sorted({about["part"] for about in mixtures if about["stack"] == stack}, reverse=True)
    part = options.part or parts[0]
    if part not in parts:
        raise block.wrong("part", f"`part` is {part}; the mixtures of {block.subject} are in {' and '.join(parts)}.")
    group = [about for about in mixtures if (about["stack"], about["part"]) == (stack, part)]
    return sorted(group, key=lambda about: int(about["layer"]))


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
    functions = sorted({about["function"] for about in mixtures if "function" in about})
    if functions:
        which = " and ".join(functions)
        of_sum = "" if functions == ["softmax"] else ", divided by its sum"
        yield f"router: {which} of its logits{of_sum}; its entropy is in bits"
    if any("function" not in about for about in mixtures):
        yield "the router's distribution cannot be read in every layer"
    if any(not about.get("exact", True) for about in mixtures):
        yield "the weights of the chosen experts are not in proportion to the router's probabilities"
    if any(about["shared"] for about in mixtures):
        yield "beside these experts, shared ones get every token"
    without = max((about["without_weights"] for about in mixtures), default=0)
    if without:
        last = max(about["experts"] for about in mixtures) - 1
        which = f"expert {last} has" if without == 1 else f"experts {last - without + 1} to {last} have"
        yield f"{which} no weights: a token passes unchanged or is skipped"
    dropped = sum(each.dropped for each in choices)
    if dropped:
        yield f"without an expert: {dropped} {'time' if dropped == 1 else 'times'} a token was dropped or skipped"


def _sentence(block: Block, options: Options, shown: Sequence[RouterChoices], layer: int) -> str:
    """Return a sentence about the mixtures, and about the load of the layer that is shown first."""
    first = next(each for each in shown if each.about["layer"] == layer)
    whose = "" if first.about["stack"] == "self" else f" of the {first.about['stack']}"
    whose = " of its attention" if first.about["part"] == "attention" else whose
    layers = f"{len(shown)} layer{'s' * (len(shown) > 1)}"
    most, least = (choose(range(first.experts), key=first.load.__getitem__) for choose in (max, min))
    sentence = (
        f"The experts that the routers in {layers}{whose} of {block.model} chose for {first.tokens} tokens: "
        f"{first.top_k} of {first.experts} for each. In layer {layer}, expert {most} got "
        f"{_percent(first.load[most])} of the choices and expert {least} {_percent(first.load[least])}; equal shares "
        f"are {_percent(1 / first.experts)}."
    )
    dropped = sum(each.dropped for each in shown)
    if dropped:
        sentence += f" {dropped} of {first.tokens * len(shown)} times a token got no expert."
    if options.expert is not None:
        got = first.counts[options.expert] if options.expert < first.experts else 0
        sentence += f" Coloured are those of expert {options.expert}, which got {got} tokens in layer {layer}."
    return sentence


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


VIEW = View(
    "experts",
    Options,
    EXPERTS,
    draw,
    script=own_script("experts"),
    data=ExpertsFigure,
    state=("show", "stack", "part", "layer", "expert", "token"),
    checks={"token": state_checks.position},
    measures=MEASURES,
)
