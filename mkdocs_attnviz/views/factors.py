"""The factors view: groups of neurons that are active together, and the tokens at which they are active. It follows
Ecco's NMF explorer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import model_validator
from typing_extensions import TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import Flag, Index, Texts, key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.options import Side, shared, side
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.figure_data import Blob, Stretch, TextFigure
from mkdocs_attnviz.views.measures.factors import MEASURES
from mkdocs_attnviz.views.svg.document import HEADS, document, escape, palette, styles
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.token_flow import LIST, PANEL, height, json_of, lines, sequences, texts
from mkdocs_attnviz.views.view import View, own_script
from mkdocs_attnviz.views.visible_tokens import called

FACTORS = Capture(
    "factors",
    1,
    run="mkdocs_attnviz.models.captures.factors:capture",
    attention=False,
    stored="strengths with 5 digits",
)
WIDTH, LINE, ROW = 680, 28, 30
STRIP, LEAST, MOST = 88, 4, 12
"""The heights in px of the bars above a token: all bars together, one bar at least, and one bar at most."""
FAINT = 0.02
"""The smallest fraction of a factor's peak that gets a bar."""
LONG = 100
"""The number of tokens from which each factor is also drawn as a line over the whole text."""
CHIPS = 10
"""The number of factor buttons in a row of a narrow figure."""
LEFT = 40
"""The x position in px where the sparklines begin."""
ROWS = 12
"""The number of token lines in a static picture. The bars above the tokens take some of this space."""


class Options(BlockOptions):
    """The block keys of the factors view."""

    n_components: int = key(
        "a number from 1 to 20",
        "How many factors; at most as many as there are tokens.",
        default=6,
        ge=1,
        le=20,
    )
    from_layer: Index | None = key(
        "a layer's number, counted from 0", "The first layer whose neurons are used. Default: the first.", default=None
    )
    to_layer: Index | None = key(
        "a layer's number, counted from 0",
        "The last layer whose neurons are used, itself included. Default: the last.",
        default=None,
    )
    stack: Side | None = side()
    more_texts: Texts | None = key(
        "a text, or a list of texts",
        "Further texts that the model reads, each by itself: the factors are of the neurons at the tokens of all.",
        default=None,
    )
    seed: int | None = key(
        "a whole number",
        "Start from random numbers of this seed. Default: from NNDSVD, which is the same each time.",
        default=None,
        ge=0,
        lt=2**32,
    )
    prettify_tokens: Flag = shared("prettify_tokens")

    def parameters(self) -> dict[str, Any]:
        """Return the capture's parameters. What comes first in any model that has it is left to the capture: layer 0,
        and the stacks `self` and `encoder`; `_check_first` finds out if it was another. Only the model knows whether
        `to_layer` is its last layer, so a block that says so has an entry of its own."""
        return {
            "n_components": self.n_components,
            "from_layer": self.from_layer or None,
            "to_layer": self.to_layer,
            "stack": self.stack if self.stack == "decoder" else None,
            "seed": self.seed,
        }

    def inputs(self) -> dict[str, Any]:
        return {} if self.more_texts is None else {"more_texts": list(self.more_texts)}

    @model_validator(mode="after")
    def _check_layer_order(self) -> Options:
        if self.from_layer is not None and self.to_layer is not None and self.from_layer > self.to_layer:
            raise WrongValue(
                "from_layer", f"`from_layer` is {self.from_layer}, which is more than `to_layer`, {self.to_layer}."
            )
        return self


class AboutFactors(TypedDict):
    """A description of the neurons that were factorised."""

    stack: str
    layers: list[int]
    neurons: int
    explained: float


class FactorsState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    factor: int | None
    """The factor that is shown alone, counted from 0."""
    selected: int | None
    """The token that is held."""


class FactorsFigure(TextFigure):
    """Groups of neurons, and where each is active."""

    texts: list[Stretch]
    """Stretches of what the neurons' layers read, text by text."""
    about: AboutFactors
    count: int
    factors: Blob
    initial: FactorsState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of factors."""
    meta = entry.meta
    _check_first(block, options, meta)
    tokens = sequences(entry, pretty=options.prettify_tokens)
    shown = _texts(entry)
    words = [word for part in shown for word in tokens[part["name"]]["tokens"][part["start"] : part["end"]]]
    starts = _starts(shown)
    factors = json_of(entry.blobs["factors"])
    data: FactorsFigure = {
        "view": "factors",
        "theme": block.theme,
        "sequences": tokens,
        "texts": shown,
        "about": {
            "stack": meta["stack"],
            "layers": meta["layers"],
            "neurons": meta["neurons"],
            "explained": meta["explained"],
        },
        "count": len(factors["strengths"]),
        "factors": {"blob": "factors"},
        "initial": {"factor": None, "selected": None},
    }
    count = len(factors["strengths"])
    above = LINE * (count if len(words) >= LONG else -(-count // CHIPS)) + 8
    picture = with_legend(
        _picture(words, factors["strengths"], starts, block.theme),
        block.theme,
        "Colour = a token’s strongest factor · opacity = its strength · bars: each factor, up to its own maximum",
    )
    sentence = _sentence(block, meta, factors, words, starts)
    # height() counts whole lines of each text, so several texts leave one line to spare
    room = height(shown, tokens, above + LIST, strip=_lane(count) * count + 2)
    return Drawing(data, picture, sentence, room, PANEL, wraps=len(shown) == 1)


def _check_first(block: Block, options: Options, meta: Mapping[str, Any]) -> None:
    """Hold what the block says comes first against what did.

    Raises:
        BlockError: the model has no such stack, or no neurons in such a layer.
    """
    if options.stack not in (None, meta["stack"]):
        there = "encoder or decoder" if meta["stack"] == "encoder" else meta["stack"]
        raise block.wrong("stack", f"`stack` is {options.stack}; of {block.subject} it must be {there}.")
    if options.from_layer is not None and options.from_layer < meta["layers"][0]:
        message = f"`from_layer` is {options.from_layer}; the first layer with neurons is {meta['layers'][0]}."
        raise block.wrong("from_layer", message)


def _texts(entry: Entry) -> list[Stretch]:
    """Return the parts of the texts that were read by the layers of these neurons, in order."""
    name, sequences = entry.meta["sequence"], entry.meta["sequences"]
    first = [part for part in texts(entry) if part["name"] == name]
    if name == "target":  # the decoder's start token has activations, too
        first = [{"name": name, "heading": "Output", "start": 0, "end": len(sequences[name]["tokens"])}]
    more = [sequence for sequence in sequences if sequence.startswith(f"{name}-")]
    if not more:
        return first
    first[0] = {**first[0], "heading": "Text 1"}
    return first + [
        {"name": sequence, "heading": f"Text {number}", "start": 0, "end": len(sequences[sequence]["tokens"])}
        for number, sequence in enumerate(more, 2)
    ]


def _starts(shown: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the index at which each text begins among the tokens of all texts."""
    starts, at = [], 0
    for part in shown:
        if part["start"] == 0:
            starts.append(at)
        at += part["end"] - part["start"]
    return starts


def _sentence(
    block: Block, meta: Mapping[str, Any], factors: Mapping[str, Any], words: Sequence[str], starts: Sequence[int]
) -> str:
    """Return a sentence about the factors and their peaks."""
    layers, stack = meta["layers"], "" if meta["stack"] == "self" else f" of the {meta['stack']}"
    named = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
    peaks = [max(range(len(words)), key=row.__getitem__) for row in factors["strengths"]]

    def where(at: int) -> str:
        """Return which text the token belongs to, if there are several."""
        return f" in text {sum(start <= at for start in starts)}" if len(starts) > 1 else ""

    strongest = ", ".join(f"{number} at “{called(words[at])}”{where(at)}" for number, at in enumerate(peaks[:3], 1))
    hold = f"{len(peaks)} factors hold" if len(peaks) > 1 else "One factor holds"
    over = f", over {len(starts)} texts" if len(starts) > 1 else ""
    return (
        f"{hold} {100 * meta['explained']:.0f}% of the squared activations of {meta['neurons']} feed-forward "
        f"neurons of {block.model}, {named}{stack}{over}. Strongest: factor {strongest}."
    )


def dominant(strengths: Sequence[Sequence[float]], at: int) -> tuple[int, float]:
    """Return the strongest factor of a token, and its strength as a fraction of the largest strength of all."""
    most = max(map(max, strengths)) or 1.0
    factor = max(range(len(strengths)), key=lambda number: strengths[number][at])
    return factor, strengths[factor][at] / most


def _lane(count: int) -> int:
    """Return the height in px of each factor's bars if there are `count` factors."""
    return min(MOST, max(LEAST, STRIP // count))


def _picture(words: Sequence[str], strengths: Sequence[Sequence[float]], starts: Sequence[int], theme: str) -> Picture:
    """Return a picture of the tokens in the colours of their strongest factors. Bars above each token show all factors.

    Above a long text, each factor is also drawn as a line. `starts` has the index of the first token of each text.
    """
    is_long, strip = len(words) >= LONG, _lane(len(strengths)) * len(strengths) + 2
    body = [part for number, row in enumerate(strengths) for part in _sparkline(number, row)] if is_long else []
    step, peaks = (WIDTH - LEFT) / max(1, len(words) - 1), [max(row) or 1.0 for row in strengths]
    body += [
        f'<path class="t" d="M{LEFT + (at - 0.5) * step:.1f} 0v{LINE * len(strengths) - 4}"/>'
        for at in starts[1:]
        if is_long
    ]
    top, row, most = LINE * len(strengths) + 12 if is_long else 0, 0, ROWS * ROW // (ROW + strip)
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        placed, rows = lines(words[start:end], ())
        for at, (x, line, wide) in enumerate(placed, start):
            if row + line >= most:
                break
            factor, share = dominant(strengths, at)
            y = top + (ROW + strip) * (row + line)
            ground = f'class="c{factor % HEADS}" opacity="{0.6 * share:.2f}"'
            body += _bars(strengths, peaks, at, x, y, wide)
            word = escape(words[at]) or "∅"
            body += [
                f'<rect {ground} x="{x}" y="{y + strip}" width="{wide}" height="22"/>',
                f'<text x="{x + wide / 2:g}" y="{y + strip + 16}" text-anchor="middle">{word}</text>',
            ]
        row += rows
    height = top + (ROW + strip) * min(row, most)
    style = "text{font:13px system-ui,sans-serif}path{fill:none;stroke-width:1.5}" + styles(palette(theme), _rules)
    return Picture(document(WIDTH, height, style, body), WIDTH, height)


def _bars(
    strengths: Sequence[Sequence[float]], peaks: Sequence[float], at: int, x: int, y: int, wide: int
) -> Iterator[str]:
    """Yield the bars of the token at index `at`. Each factor has a lane, and its bar fills the lane at the factor's
    peak."""
    lane = _lane(len(strengths))
    for factor, (row, peak) in enumerate(zip(strengths, peaks, strict=True)):
        share = row[at] / peak
        if share >= FAINT:
            tall = (lane - 1) * share
            top = y + lane * (factor + 1) - tall
            yield f'<rect class="c{factor % HEADS}" x="{x}" y="{top:.4g}" width="{wide}" height="{tall:.3g}"/>'


def _sparkline(number: int, row: Sequence[float]) -> list[str]:
    """Return the SVG elements of one factor's line over the whole text."""
    size = -(-len(row) // WIDTH)  # a pixel shows one token, or the largest value of several
    row = [max(row[at : at + size]) for at in range(0, len(row), size)] if size > 1 else row
    most, step = max(row) or 1.0, (WIDTH - LEFT) / max(1, len(row) - 1)
    top, tall = number * LINE + 4, LINE - 8
    points = " ".join(f"{LEFT + at * step:.1f} {top + tall * (1 - value / most):.1f}" for at, value in enumerate(row))
    name = f'<text class="p" x="{LEFT - 10}" y="{top + 14}" text-anchor="end">{number + 1}</text>'
    return [name, f'<path class="s{number % HEADS}" d="M{points}"/>']


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    colours = "".join(f".c{at}{{fill:{colour}}}.s{at}{{stroke:{colour}}}" for at, colour in enumerate(scheme["heads"]))
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.t{{stroke:{scheme['pale']}}}{colours}"


VIEW = View(
    "factors",
    Options,
    FACTORS,
    draw,
    script=own_script("factors"),
    data=FactorsFigure,
    state=("factor", "selected"),
    checks={"factor": state_checks.number, "selected": state_checks.position},
    measures=MEASURES,
)
