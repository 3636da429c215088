"""The similarity view: how similarly two layers represent the tokens of a text, as a matrix of layers × layers.

Rows and columns are the layers of one model, or of two models. It follows Ecco's `cka`, `cca`, `svcca` and `pwcca`. All
four are stored, and the reader can switch between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, cast

from pydantic import ConfigDict, model_validator
from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block, Named
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.options import Side, side
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.figure_data import Blob, Drawn
from mkdocs_attnviz.views.measures.similarity import MEASURES
from mkdocs_attnviz.views.svg.document import document, escape_words, palette, styles
from mkdocs_attnviz.views.svg.inks import ink_on
from mkdocs_attnviz.views.svg.token_flow import PANEL
from mkdocs_attnviz.views.view import View, own_script

SIMILARITY = Capture(
    "similarity",
    1,
    run="mkdocs_attnviz.models.captures.similarity:capture",
    attention=False,
    stored="similarities in 16 bits, scaled by layer",
)
NAMES: Mapping[str, str] = {"cka": "CKA", "cca": "CCA", "svcca": "SVCCA", "pwcca": "PWCCA"}
"""The names of the measures."""
SIZE, EDGE, LARGEST, LINE, NAMED = 360, 40, 48, 18, 24
"""The sizes in px: the side of the matrix, the labels, a cell at most, a line with a model's name, and two such lines
above the labels."""
ORDER = ("self", "encoder", "decoder")
"""The stacks, in the order in which readers can choose them."""
DEEPEST, PALEST = 0.85, 0.06
"""The opacities of the most similar and the least similar layers."""
NARROW = 0.05
"""The smallest range of values that is spread over all colours. A narrower range is not, and the figure says so."""
SCALE, STEPS, STEP = 28, 12, 8
"""The sizes of the legend: its height in px, its number of colours, and the width of each in px."""
WRITTEN = 30
"""The smallest size in px of a cell in which its value is written."""


class Options(BlockOptions):
    """The block keys of the similarity view."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"other_revision": ["other"]}})

    measure: Literal["cka", "cca", "svcca", "pwcca"] = key(
        "cka, cca, svcca or pwcca", "Which measure of similarity is shown at first.", default="cka"
    )
    stack: Side | None = side()
    other: str | None = key(
        "an alias of the site, a directory, a Hugging Face model id or package:NAME/dir",
        "A second model, whose layers are the columns: named as `model` is.",
        default=None,
        min_length=1,
        max_length=500,
    )
    other_revision: str | None = key(
        "a branch, a tag or a commit of the other model on the hub",
        "Branch, tag or commit of the other model on the hub. Default: `main`.",
        default=None,
        min_length=1,
        max_length=200,
    )

    @model_validator(mode="after")
    def _check_other_revision(self) -> Options:
        if self.other_revision is not None and self.other is None:
            raise WrongValue(
                "other_revision", f"`other_revision` is {self.other_revision!r}, but the block has no `other` model."
            )
        return self

    def second(self) -> Named | None:
        return None if self.other is None else Named("other", self.other, self.other_revision)


class Similar(TypedDict):
    """A description of the layers of one stack that are compared."""

    layers: int
    """The number of layers; the embeddings count as one."""
    tokens: int
    width: int
    measures: dict[Literal["cka", "cca", "svcca", "pwcca"], Blob]
    """Scaled, (layers, layers or columns): rows compared with columns."""
    other_stack: NotRequired[str]
    columns: NotRequired[int]
    """The other model's layers, where there are two."""
    other_width: NotRequired[int]
    unit: NotRequired[str]
    """The unit of the samples over which two models are compared, in a word."""


class SimilarityState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    stack: str
    measure: Literal["cka", "cca", "svcca", "pwcca"]
    row: int | None
    """The row of the cell that is held; the embeddings are 0."""
    col: int | None


class SimilarityFigure(Drawn):
    """The data of a comparison of layers over the tokens of a text."""

    similar: dict[str, Similar]
    models: NotRequired[tuple[str, str]]
    """The rows' and the columns', where they are two."""
    initial: SimilarityState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of similarities.

    Raises:
        BlockError: if the model has no such stack.
    """
    all_stacks: dict[str, dict[str, Any]] = entry.meta["similar"]
    stacks = {stack: all_stacks[stack] for stack in ORDER if stack in all_stacks}
    name: str = options.stack or next(iter(stacks))
    if name not in stacks:
        whose = block.subject if options.other is None else f"what {block.names} can be compared by"
        raise block.wrong("stack", f"`stack` is {name!r}; {whose} has {', '.join(stacks)}.")
    about = stacks[name]
    values = scaled(entry.blobs[f"{name}/{options.measure}"], about["layers"])
    data: SimilarityFigure = {
        "view": "similarity",
        "theme": block.theme,
        "similar": {
            stack: cast(Similar, about | {"measures": {measure: {"blob": f"{stack}/{measure}"} for measure in NAMES}})
            for stack, about in stacks.items()
        },
        "initial": {"stack": name, "measure": options.measure, "row": None, "col": None},
    }
    headings = [] if options.other is None else [f"rows: {block.model}", f"columns: {options.other}"]
    if options.other is not None:
        data["models"] = block.model, options.other
    sentence = (_sentence_of_two if headings else _sentence)(
        block, options, name if len(stacks) > 1 else "", about, values
    )
    picture = _picture(values, headings, block.theme)
    room = f"min({picture.height - SCALE}px,100cqw + 24px)"  # in the page, the legend has a line of its own
    return Drawing(data, picture, sentence, room, PANEL, wraps=False)


class Span(NamedTuple):
    """The range of values of the colours, from the palest to the deepest."""

    low: float
    high: float
    narrow: tuple[float, float] | None = None
    """The actual range of the values if it is narrower than the range of the colours."""

    @classmethod
    def of(cls, values: Sequence[Sequence[float]], *, of_one: bool) -> Span:
        """Return the range for a matrix. For one model the diagonal does not count, because each layer equals itself.
        For two models all cells count."""
        counted = [
            value for row, line in enumerate(values) for col, value in enumerate(line) if not of_one or row != col
        ]
        if len(counted) < 3:
            return cls(0.0, 1.0)
        low, high = min(counted), max(counted)
        return cls(high - NARROW, high, (low, high)) if high - low < NARROW else cls(low, high)

    def share(self, value: float) -> float:
        """Return the position of a value in the range, from 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    @property
    def warning(self) -> str:
        """The sentence part about a narrow range, or an empty text."""
        if self.narrow is None:
            return ""
        least, most = (f"{value:.3f}" for value in self.narrow)
        return f"a narrow range: {f'all {most}' if least == most else f'from {least} to {most}'}"


def _opacity(share: float) -> str:
    """Return the opacity of a cell for a position in the range from 0 to 1."""
    return f"{PALEST + (DEEPEST - PALEST) * share:.2g}"


def _cell(values: Sequence[Sequence[float]]) -> int:
    """Return the size of a cell in px."""
    return max(4, min(LARGEST, (SIZE - EDGE) // max(len(values), len(values[0]))))


def label(layer: int) -> str:
    """Return the label of a layer; index 0 is the embeddings."""
    return "emb" if layer == 0 else str(layer - 1)


def _sentence(block: Block, options: Options, stack: str, about: Mapping[str, Any], values: list[list[float]]) -> str:
    """Return a sentence about the similarities within one model."""
    layers = len(values)
    where = f"the {stack} of {block.model}" if stack else str(block.model)
    description = (
        f"{NAMES[options.measure]} between the embeddings and the {layers - 1} layers of {where}, over "
        f"{about['tokens']} tokens."
    )
    if layers > 1:
        change = min(range(1, layers), key=lambda layer: values[layer - 1][layer])
        between = f"{_called(change - 1)} and {_called(change)}"
        description += f" Of neighbours, {between} are least alike, {values[change - 1][change]:.2f}."
        description += f" The embeddings and {_called(layers - 1)}: {values[0][-1]:.2f}."
    return description + _narrow(Span.of(values, of_one=True)) + _warning(options, about)


def _sentence_of_two(
    block: Block, options: Options, stack: str, about: Mapping[str, Any], values: list[list[float]]
) -> str:
    """Return a sentence about the similarities between two models."""
    stacks = [stack, about["other_stack"]] if stack or about["other_stack"] != "self" else ["", ""]
    one, other = (
        f"the {name} of {model}" if name not in ("", "self") else str(model)
        for name, model in zip(stacks, (block.model, options.other), strict=True)
    )
    places = [(row, col) for row in range(len(values)) for col in range(len(values[0]))]
    row, col = max(places, key=lambda place: values[place[0]][place[1]])
    unit = "tokens" if about["unit"] == "tokens" else "stretches of text that both models' tokens make up"
    return (
        f"{NAMES[options.measure]} between the embeddings and {len(values) - 1} layers of {one}, in rows, and the "
        f"embeddings and {len(values[0]) - 1} layers of {other}, in columns, over {about['tokens']} {unit}. Most alike "
        f"are {_called(row)} of {block.model} and {_called(col)} of {options.other}, {values[row][col]:.2f}. The last "
        f"layers of both: {values[-1][-1]:.2f}."
    ) + f"{_narrow(Span.of(values, of_one=False))}{_warning(options, about)}"


def _narrow(span: Span) -> str:
    """Return a sentence that warns of a narrow range, or an empty text."""
    return f" The colours have {span.warning}." if span.warning else ""


def _warning(options: Options, about: Mapping[str, Any]) -> str:
    """Return a sentence that warns of too few tokens for this measure, or an empty text."""
    width = max(about["width"], about.get("other_width", 0))
    if options.measure == "cka" or about["tokens"] > width:
        return ""
    samples = about.get("unit", "tokens")
    return f" With fewer {samples} than the {width} dimensions, this measure is high whatever the layers do."


def _called(layer: int) -> str:
    """Return the name of a layer in a sentence."""
    return "the embeddings" if layer == 0 else f"layer {layer - 1}"


def _picture(values: list[list[float]], headings: Sequence[str], theme: str) -> Picture:
    """Return a picture of the matrix; more similar layers have more opaque cells. `headings` name the models."""
    cell, top = _cell(values), EDGE + (NAMED if headings else 0)
    width, height = EDGE + cell * len(values[0]), top + cell * len(values)
    span = Span.of(values, of_one=not headings)
    width = min(SIZE, max([width, 2 * EDGE + STEP * STEPS, *(7 * len(heading) for heading in headings)]))
    width = max(width, 2 * EDGE + STEP * STEPS + 7 * len(span.warning)) if span.warning else width
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), _rules)
    body = [*_headings(headings, width // 7), *_labels(values, cell, top)]
    light = _black_on_dark()
    for row, line in enumerate(values):
        for col, value in enumerate(line):
            x, y = EDGE + col * cell, top + row * cell
            opacity = _opacity(span.share(value))
            body.append(f'<rect class="f" opacity="{opacity}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}"/>')
            if cell >= WRITTEN:
                middle = f'x="{x + cell / 2:g}" y="{y + cell / 2 + 4:g}" text-anchor="middle"'
                ink = ' class="n"' if float(opacity) > light else ""
                body.append(f"<text{ink} {middle}>{value:.2f}</text>")
    body += _legend(span, height)
    return Picture(document(width, height + SCALE, style, body), width, height + SCALE)


def _legend(span: Span, top: int) -> Iterator[str]:
    """Yield the colours from the palest to the deepest, between the two values that they stand for."""
    end = EDGE + STEP * STEPS
    yield f'<text x="{EDGE - 6}" y="{top + 20}" text-anchor="end">{span.low:.2f}</text>'
    for step in range(STEPS):
        place = f'x="{EDGE + STEP * step}" y="{top + 10}" width="{STEP}" height="12"'
        yield f'<rect class="f" opacity="{_opacity(step / (STEPS - 1))}" {place}/>'
    yield f'<text x="{end + 6}" y="{top + 20}">{span.high:.2f}</text>'
    if span.warning:
        yield f'<text class="p" x="{end + 42}" y="{top + 20}">{span.warning}</text>'


def _headings(headings: Sequence[str], room: int) -> Iterator[str]:
    """Yield the headings. A name that is too long loses its middle, because its beginning and its end identify it."""
    for number, heading in enumerate(headings):
        cut = heading if len(heading) <= room else f"{heading[: room // 2]}…{heading[len(heading) - room // 2 + 1 :]}"
        yield f'<text x="0" y="{number * LINE + 13}">{escape_words(cut)}</text>'


def _labels(values: Sequence[Sequence[float]], cell: int, top: int) -> Iterator[str]:
    """Yield the labels of the layers; where they would touch, only every second, third … is written."""
    every = -(-14 // cell)
    upright, y = every == 1 and cell >= 24, top - 6
    for layer in range(0, len(values[0]), every):
        at = EDGE + (layer + 0.5) * cell
        turned = "" if upright else f' transform="rotate(-90 {at + 4:g} {y})"'
        anchor = "middle" if upright else "start"
        x = at if upright else at + 4
        yield f'<text class="p" x="{x:g}" y="{y}" text-anchor="{anchor}"{turned}>{label(layer)}</text>'
    for layer in range(0, len(values), every):
        y_of_row = top + (layer + 0.5) * cell + 4
        yield f'<text class="p" x="34" y="{y_of_row:g}" text-anchor="end">{label(layer)}</text>'


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.f{{fill:{scheme['signed'][1]}}}.n{{fill:#000}}"


@cache
def _black_on_dark() -> float:
    """Return the opacity above which black text is more readable than light text on a cell of a dark picture. In a
    light picture black always is."""
    scheme = palette("dark").base
    shares = (step / 100 for step in range(101))
    return next(share for share in shares if ink_on(scheme["signed"][1], scheme["background"], share) == "#000")


VIEW = View(
    "similarity",
    Options,
    SIMILARITY,
    draw,
    script=own_script("similarity"),
    data=SimilarityFigure,
    state=("stack", "measure", "row", "col"),
    checks={"row": state_checks.number, "col": state_checks.number},
    measures=MEASURES,
)
