"""Head view: the tokens twice, and between them a line for each weight. Colour is the head, opacity the weight.

After BertViz's head view (Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model").
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ConfigDict, model_validator

from mkdocs_attnviz.block import Block, Index, Indices, key
from mkdocs_attnviz.block import Options as BlockOptions
from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.models.request import ATTENTION
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.svg import ROW, Palette, escape, palette, visible
from mkdocs_attnviz.views.weights import Layer, Weight

CAPTURE = ATTENTION
PICTURE_ROWS = 24  # as many as the figure shows without scrolling
PICTURE_LINES = 250
LEFT, RIGHT, WIDTH = 160, 400, 560
SPAN, BEND = 240, 96


class Options(BlockOptions):
    layer: Index | None = key(
        "a layer's number, counted from 0", "The layer shown at first. Default: the first layer shown.", default=None
    )
    heads: Indices | None = key(
        "a list of heads' numbers, counted from 0, like [3, 5]", "The heads shown at first. Default: all.", default=None
    )
    head: Index | None = key("a head's number, counted from 0", "One head: short for `heads: [n]`.", default=None)
    include_layers: Indices | None = key(
        "a list of layers' numbers, counted from 0, like [0, 5]",
        "The layers a reader can choose from; the others are not shipped. Default: all.",
        default=None,
    )
    include_heads: Indices | None = key(
        "a list of heads' numbers, counted from 0, like [0, 5]",
        "The heads a reader can choose from. Default: all.",
        default=None,
    )
    prettify_tokens: bool = key(
        "true or false",
        "Show a vocabulary's marks of word boundaries (`Ġ`, `▁`, `</w>`) as the spaces they stand for.",
        default=True,
        strict=True,
    )

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"not": {"required": ["head", "heads"]}})

    @model_validator(mode="after")
    def _head_or_heads(self) -> Options:
        if self.head is not None and self.heads is not None:
            raise ValueError("`head` and `heads` stand both in the block; keep one of them.")
        return self


def draw(block: Block, entry: Entry) -> Drawing:
    options = block.options
    assert isinstance(options, Options)  # noqa: S101 — for the type checker: parse() made it
    text = entry.meta["sequences"]["text"]
    tokens = text["pretty" if options.prettify_tokens else "tokens"]
    stack = entry.meta["stacks"]["self"]
    layers = _layers(block, options, {layer["layer"]: layer["heads"] for layer in stack["layers"]})
    layer = next(iter(layers)) if options.layer is None else options.layer
    heads = _heads(block, options, layers[layer])
    weights = Layer(entry.blobs[f"self/{layer}"], len(tokens), len(tokens))
    data = {
        "view": "head",
        "theme": block.theme,
        "sequences": {
            "text": {"tokens": tokens, "special": text["special"], "sentence_b_start": text["sentence_b_start"]}
        },
        "stacks": {
            "self": {
                "rows": "text",
                "cols": "text",
                "layers": [
                    {"layer": number, "heads": count, "blob": f"self/{number}"} for number, count in layers.items()
                ],
            }
        },
        "options": {"layer": layer, "heads": heads, "include_heads": options.include_heads},
    }
    sentence = _sentence(block, layer, heads, tokens, text["special"], weights)
    return Drawing(data, _picture(tokens, text["special"], heads, weights, block.theme), sentence, len(tokens))


def _layers(block: Block, options: Options, there: dict[int, int]) -> dict[int, int]:
    """Layer number → number of heads, of the layers that are shown."""
    for name, numbers in (("layer", [options.layer]), ("include_layers", options.include_layers or ())):
        for number in numbers:
            if number is not None and number not in there:
                raise block.wrong(
                    name, f"`{name}` is {number}; model {block.model!r} has {_range('layer', list(there))}."
                )
    if options.include_layers is None:
        return there
    if options.layer is not None and options.layer not in options.include_layers:
        raise block.wrong("layer", f"`layer` is {options.layer}, which is not among `include_layers`.")
    return {number: there[number] for number in options.include_layers}


def _heads(block: Block, options: Options, count: int) -> list[int]:
    """The heads shown at first."""
    wanted = options.heads if options.head is None else (options.head,)
    name = "heads" if options.head is None else "head"
    for key_name, numbers in ((name, wanted or ()), ("include_heads", options.include_heads or ())):
        for number in numbers:
            if number >= count:
                raise block.wrong(
                    key_name,
                    f"`{key_name}` is {number}; model {block.model!r} has {_range('head', list(range(count)))}.",
                )
    allowed = list(range(count)) if options.include_heads is None else list(options.include_heads)
    if wanted and not set(wanted) <= set(allowed):
        raise block.wrong(name, f"`{name}` names a head that is not among `include_heads`.")
    return list(wanted or allowed)


def _range(what: str, numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"one {what}, {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{what}s {numbers[0]} to {numbers[-1]}"
    return f"{what}s {', '.join(map(str, numbers))}"


def _sentence(
    block: Block, layer: int, heads: list[int], tokens: list[str], special: Sequence[int], weights: Layer
) -> str:
    which = f"head {heads[0]}" if len(heads) == 1 else f"{len(heads)} heads"
    said = f"Attention of {block.model}, layer {layer}, {which}, over {len(tokens)} tokens."
    strongest = weights.strongest(heads)
    if strongest is None:
        return said
    said += f" The strongest weight is {_told(strongest, tokens)}"
    between = weights.strongest(heads, without=special)
    if between is not None and between != strongest:
        said += f"; between words it is {_told(between, tokens)}"
    return said + "."


def _told(weight: Weight, tokens: list[str]) -> str:
    one, other = (visible(tokens[position].strip()) or "a space" for position in (weight.row, weight.col))
    return f"{weight.value:.2f}, from “{one}” to “{other}” in head {weight.head}"


def _picture(tokens: list[str], special: Sequence[int], heads: list[int], weights: Layer, theme: str) -> Picture:
    """The strongest lines among the first tokens."""
    shown = min(len(tokens), PICTURE_ROWS)
    lines = heapq.nlargest(PICTURE_LINES, weights.window(heads, shown))
    colours = palette(theme)
    body = [*_strokes(lines, len(heads))]
    for position, token in enumerate(tokens[:shown]):
        y = position * ROW + 16
        pale = ' class="s"' if position in special else ""
        text = escape(token)
        body += [f'<text x="{LEFT - 8}" y="{y}" text-anchor="end"{pale}>{text}</text>']
        body += [f'<text x="{RIGHT + 8}" y="{y}"{pale}>{text}</text>']
    return Picture(_svg(colours, heads, shown * ROW, body), WIDTH, shown * ROW)


def _strokes(lines: list[Weight], active: int) -> Iterator[str]:
    """One path for all lines of a head and a tenth of opacity: a line then costs a dozen bytes."""
    paths: dict[tuple[int, int], list[str]] = defaultdict(list)
    for line in lines:
        tenth = round(10 * opacity(line.value, active))
        if tenth:
            y1, y2 = (position * ROW + ROW // 2 for position in (line.row, line.col))
            paths[line.head, tenth].append(f"M{LEFT} {y1}c{BEND} 0 {SPAN - BEND} {y2 - y1} {SPAN} {y2 - y1}")
    for (head, tenth), path in sorted(paths.items()):
        yield f'<path class="h{head % 10}" opacity="{tenth / 10:g}" d="{"".join(path)}"/>'


def opacity(weight: float, active: int) -> float:
    """As in `frontend/src/parts/marks.ts`: BertViz's weight ÷ active heads makes twelve heads invisible."""
    return float(weight**0.75 / active**0.5)


def _svg(colours: Palette, heads: list[int], height: int, body: list[str]) -> str:
    used = sorted({head % 10 for head in heads})

    def rules(scheme: dict[str, Any]) -> str:
        strokes = "".join(f".h{number}{{stroke:{scheme['heads'][number]}}}" for number in used)
        return f"text{{fill:{scheme['text']}}}.s{{fill:{scheme['pale']}}}{strokes}"

    style = f"text{{font:14px system-ui,sans-serif}}path{{stroke-width:2;fill:none}}{rules(colours.base)}"
    if colours.dark is not None:
        style += f"@media(prefers-color-scheme:dark){{{rules(colours.dark)}}}"
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}><style>{style}</style>{"".join(body)}</svg>'
