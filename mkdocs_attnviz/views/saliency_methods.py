"""Several methods of the saliency view: strips over the same tokens, how far they agree, and how faithful each is.

After Bastings & Filippova 2020, "The elephant in the interpretability room". What attention says of a token is called
its weight, never its importance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.figure_data import Blob, TextFigure
from mkdocs_attnviz.views.ignored_tokens import ignored_tokens
from mkdocs_attnviz.views.saliency_options import ATTENTION, By, Compare
from mkdocs_attnviz.views.svg.document import document, escape, palette, styles
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.svg.token_flow import PANEL, sequences
from mkdocs_attnviz.views.token_groups import Groups, grouped, passages, sentences, words
from mkdocs_attnviz.views.visible_tokens import called, visible

if TYPE_CHECKING:
    from mkdocs_attnviz.views.saliency_options import Options

WIDTH, NAMED, ROW, LETTER, NARROWEST = 680, 140, 24, 7, 24
"""The sizes in px of the static picture: its width, the names of the methods, a row, a letter, and a token at least."""
BANDS = 3
"""The number of lines of tokens in a static picture, each with all strips below it."""
DEEPEST = 0.75
"""The opacity of the largest number of a strip."""
CELLS, LINE, ONE_LINE = 26, 24, 4
"""The heights in px of a row of the strips in the page, and of a row of what is below them or a line of the read-out,
and the number of methods that a line of the read-out has room for; as in `frontend/src/views/saliency/`."""
BESIDE, PLOT = 612, 200
"""The width in px from which a plot stands beside its numbers, and its height above them."""


class Strip(TypedDict):
    """One method, with its parameters, and what it says of the output as a whole."""

    method: str
    norm: Literal["sum", "l2", "weight"]
    """`sum` has a sign; `l2` is a length, `weight` is attention."""
    known: int
    """The number of tokens that have a number; they come before those that have none."""
    steps: NotRequired[int]
    seed: NotRequired[int]
    from_baseline: NotRequired[str]
    layer: NotRequired[int]
    window: NotRequired[int]
    value: NotRequired[float]
    """The score that is explained."""
    baseline: NotRequired[float]
    delta: NotRequired[float]
    """The completeness error: the sum of the strip less the difference of the score from that of the baseline."""
    rows: NotRequired[list[int]]
    """The positions whose attention is shown: those that the output is predicted from."""


class Explained(TypedDict):
    """The output that all methods are asked about."""

    token: str
    probability: float
    position: int
    explain: str
    contrast: str | None


class Spread(TypedDict):
    """A number over random orders."""

    mean: float
    sd: float


class Spreads(TypedDict):
    """Numbers of a curve over random orders."""

    mean: list[float]
    sd: list[float]


class Faithfulness(TypedDict):
    """The effect of taking tokens out, or putting them back, in the order of one strip."""

    deletion: list[float]
    """The output's probability at each of `counts`."""
    insertion: list[float]
    deletion_area: float
    insertion_area: float
    comprehensiveness: float
    sufficiency: float


class RandomOrders(TypedDict):
    """The same for random orders."""

    deletion: Spreads
    insertion: Spreads
    deletion_area: Spread
    insertion_area: Spread
    comprehensiveness: Spread
    sufficiency: Spread


class Replacement(TypedDict):
    """The substitute for a token that is taken out."""

    kind: Literal["mask", "pad", "unk", "remove"]
    token: str | None


class Curves(TypedDict):
    """The probability of the output of texts without some of the compared tokens."""

    counts: list[int]
    """The number of tokens that are taken out, or put back, at each point of a curve."""
    full: float
    empty: float
    methods: list[Faithfulness]
    random: RandomOrders
    orders: int
    seed: int
    replacement: Replacement


class MethodsState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    by: By
    compare: Compare
    selected: int | None
    """The token, or group of tokens, that is held."""


class MethodsFigure(TextFigure):
    """Several methods that say which tokens led to one output."""

    output: Explained
    methods: list[Strip]
    attributions: Blob
    """Scaled, (methods, inputs); the inputs are all tokens of the text, then those of the target."""
    groups: dict[Literal["word", "sentence", "span"], Groups]
    ignored: list[int]
    """Inputs that have no part in the scale."""
    compared: list[int]
    """The inputs that agreement and curves are about."""
    orders: list[list[int]]
    """The numbers of the compared inputs, counted from 0, in the order of each strip: the largest value first."""
    agreement: list[list[float | None]]
    """Kendall's τ-b of each pair of strips; null if it is not defined."""
    top_k: int
    curves: Curves
    initial: MethodsState


def draw_methods(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of several methods.

    Raises:
        BlockError: a passage of `spans` is not in the text.
    """
    meta = entry.meta
    tokens = dict(sorted(sequences(entry, pretty=options.prettify_tokens).items(), key=lambda part: part[0] != "text"))
    inputs = [(name, at) for name, part in tokens.items() for at in range(len(part["tokens"]))]
    ignored = ignored_tokens(options.ignore_tokens or (), entry, inputs)
    rows = scaled(entry.blobs["attributions"], len(meta["methods"]), len(inputs))
    data: MethodsFigure = {
        "view": "saliency",
        "theme": block.theme,
        "sequences": tokens,
        "output": _output(options, meta),
        "methods": [_strip(options, each) for each in meta["methods"]],
        "attributions": {"blob": "attributions"},
        "groups": _groups(block, options, entry),
        "ignored": ignored,
        "compared": meta["compared"],
        "orders": meta["orders"],
        "agreement": meta["agreement"],
        "top_k": min(options.top_k, len(meta["compared"])),
        "curves": cast(Curves, meta["curves"]),
        "initial": {
            "by": options.by or ("token" if options.spans is None else "span"),
            "compare": options.compare,
            "selected": None,
        },
    }
    names = [token for part in tokens.values() for token in part["tokens"]]
    shares = [_shares(row, each["known"], ignored) for row, each in zip(rows, meta["methods"], strict=True)]
    return Drawing(
        data,
        with_legend(_picture(block.theme, meta["methods"], names, shares), block.theme, _legend(data["methods"])),
        _sentence(block, meta, names, shares),
        _height(len(shares), options.compare),
        PANEL,
    )


def _height(methods: int, compare: Compare) -> str:
    """Return the CSS height of the strips, of what is below them, and of the read-out's further lines."""
    strips = CELLS * (methods + 1) + LINE * (3 if methods > ONE_LINE else 2)
    if compare == "nothing":
        return f"{strips}px"
    above = f" + clamp(0px,({BESIDE}px - 100cqw)*99,{PLOT}px)" if compare in ("deletion", "insertion") else ""
    return f"{strips + LINE * (methods + 2) + 20}px{above}"


def _output(options: Options, meta: Mapping[str, Any]) -> Explained:
    output = meta["outputs"][0]
    return {
        "token": output["token"],
        "probability": output["probability"],
        "position": output["index"],
        "explain": options.explain,
        "contrast": meta["contrast"],
    }


def _strip(options: Options, about: Mapping[str, Any]) -> Strip:
    """Return a method with its parameters."""
    parameters = options.of_method(about["method"])
    if "baseline" in parameters:
        parameters["from_baseline"] = parameters.pop("baseline")
    return cast(Strip, {"norm": "weight", **parameters, **about})


def _groups(block: Block, options: Options, entry: Entry) -> dict[Literal["word", "sentence", "span"], Groups]:
    """Return the groups that numbers can be summed over, of those that are more than single tokens.

    Raises:
        BlockError: a passage is not in the text.
    """
    text, known = entry.meta["sequences"]["text"], max(each["known"] for each in entry.meta["methods"])
    length = len(text["tokens"])
    count = min(known, length)
    groups: dict[Literal["word", "sentence", "span"], Groups] = {
        "word": grouped(text, words(text), count),
        "sentence": grouped(text, sentences(text), count),
    }
    if options.spans is not None:
        starts, marked, missing = passages(text, options.spans)
        if missing:
            raise block.wrong("spans", f"`spans` has {missing[0]!r:.60}, which is not in the text of {block.subject}.")
        groups["span"] = grouped(text, starts, count, marked)
    for each in groups.values():  # tokens of the target stay as they are
        each["starts"] += range(length, known)
    return groups


def _shares(row: Sequence[float], known: int, ignored: Sequence[int]) -> list[float | None]:
    """Return a strip as fractions of the sum of its absolute values; None for tokens that have none."""
    counted = [value if at < known and at not in ignored else None for at, value in enumerate(row)]
    total = sum(abs(value) for value in counted if value is not None) or 1.0
    return [None if value is None else value / total for value in counted]


def named(method: str) -> str:
    """Return the name of a method in a sentence, as in `frontend/src/views/saliency/strips.ts`."""
    return method.replace("_x_", " × ").replace("_", " ")


def _sentence(
    block: Block, meta: Mapping[str, Any], names: Sequence[str], shares: Sequence[Sequence[float | None]]
) -> str:
    """Return a sentence with the largest value of each method, their agreement, and the most faithful order."""
    output, methods = meta["outputs"][0], [each["method"] for each in meta["methods"]]
    than = "" if meta["contrast"] is None else f" rather than “{called(meta['contrast'])}”"
    largest = []
    for method, row in zip(methods, shares, strict=True):
        at = max((at for at, share in enumerate(row) if share is not None), key=lambda at: abs(row[at] or 0), default=0)
        share = row[at] or 0.0
        weight = " of the weight" if method in ATTENTION else ""
        largest.append(f"{named(method)}: “{called(names[at])}” at {at} ({100 * share:.0f}%{weight})")
    count = "One method asks" if len(methods) == 1 else f"{len(methods)} methods ask"
    parts = [
        f"{count} which tokens led to “{called(output['token'])}”{than} ({100 * output['probability']:.0f}%) in "
        f"{block.model}. Largest by {'; '.join(largest)}."
    ]
    return " ".join([*parts, *_agreement_told(methods, meta["agreement"]), _curves_told(methods, meta["curves"])])


def _agreement_told(methods: Sequence[str], agreement: Sequence[Sequence[float | None]]) -> Iterator[str]:
    """Yield a sentence about the pairs of methods that agree most and least, if there are several."""
    pairs = [
        (tau, methods[one], methods[other])
        for one, line in enumerate(agreement)
        for other, tau in enumerate(line[:one])
        if tau is not None
    ]
    if len(pairs) > 1:
        (least, *few), (most, *many) = min(pairs), max(pairs)
        yield (
            f"Kendall’s τ of their orders lies between {_signed(least)} ({named(few[1])}, {named(few[0])}) and "
            f"{_signed(most)} ({named(many[1])}, {named(many[0])})."
        )
    elif pairs:
        yield f"Kendall’s τ of their orders is {_signed(pairs[0][0])}."


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _curves_told(methods: Sequence[str], curves: Mapping[str, Any]) -> str:
    """Return a sentence about the order in which taking tokens out lowers the probability fastest."""
    areas = [each["deletion_area"] for each in curves["methods"]]
    best, random = areas.index(min(areas)), curves["random"]["deletion_area"]
    return (
        f"The probability falls fastest if tokens are taken out in the order of {named(methods[best])}: the area below "
        f"it is {areas[best]:.2f}, and {random['mean']:.2f} ± {random['sd']:.2f} in random order."
    )


def _legend(methods: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the legend."""
    signs = " · blue: for, orange: against" if any(each["norm"] == "sum" for each in methods) else ""
    return f"Percent of each strip, in full colour its largest{signs}"


def _picture(
    theme: str, methods: Sequence[Mapping[str, Any]], names: Sequence[str], shares: Sequence[Sequence[float | None]]
) -> Picture:
    """Return a picture of the strips below the tokens, in as many lines as the tokens need, `BANDS` at most."""
    known = max(each["known"] for each in methods)
    bands = _bands([max(NARROWEST, LETTER * len(visible(name)) + 10) for name in names[:known]])
    body: list[str] = []
    for line, band in enumerate(bands[:BANDS]):
        top = line * (ROW * (len(methods) + 1) + 12)
        for at, x, width in band:
            text = escape(names[at]) or "∅"
            body.append(f'<text x="{x + width / 2:g}" y="{top + 16}" text-anchor="middle">{text}</text>')
        for number, (each, row) in enumerate(zip(methods, shares, strict=True), 1):
            y = top + ROW * number
            body.append(f'<text class="p" y="{y + 16}">{named(each["method"])}</text>')
            most = max((abs(share) for share in row if share is not None), default=0.0) or 1.0
            body += [_cell(x, y, width, (row[at] or 0.0) / most) for at, x, width in band if row[at]]
    height = (ROW * (len(methods) + 1) + 12) * min(BANDS, len(bands)) - 12
    style = "text{font:13px system-ui,sans-serif}" + styles(palette(theme), _rules)
    return Picture(document(WIDTH, height, style, body), WIDTH, height)


def _bands(widths: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """Return the tokens of each line, with their x and width."""
    bands: list[list[tuple[int, int, int]]] = [[]]
    x = NAMED
    for at, width in enumerate(widths):
        room = min(width, WIDTH - NAMED)
        if x + room > WIDTH:
            bands.append([])
            x = NAMED
        bands[-1].append((at, x, room))
        x += room
    return bands


def _cell(x: int, y: int, width: int, share: float) -> str:
    kind, opacity = "n" if share < 0 else "f", f"{abs(share) * DEEPEST:.2g}"
    return f'<rect class="{kind}" opacity="{opacity}" x="{x}" y="{y}" width="{width - 1}" height="{ROW - 1}"/>'


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    negative, positive = scheme["signed"]
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.f{{fill:{positive}}}.n{{fill:{negative}}}"
