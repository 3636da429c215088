"""The mask view: which token may attend to which, layer by layer, as the model's attention really allows it.

Transformers draws masks in text (`transformers.utils.attention_visualizer`). This view draws those that a model used
for this text, and groups the layers that share one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.values import Flag, Index, Indices
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.mask_groups import MaskStack, between, chosen_stack, read_stack, read_stacks
from mkdocs_attnviz.views.attention.masks import Mask
from mkdocs_attnviz.views.attention.options import STACKS, numbered, sequence, shared
from mkdocs_attnviz.views.attention.sentence import STACKS as CALLED
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.figure_data import Blob, TextFigure
from mkdocs_attnviz.views.measures.mask import MEASURES
from mkdocs_attnviz.views.svg.document import CAP, document, escape_words, palette, styles
from mkdocs_attnviz.views.svg.heatmap import heat_map
from mkdocs_attnviz.views.svg.legend import with_legend
from mkdocs_attnviz.views.view import View, own_script

MASK = Capture("mask", 1, run="mkdocs_attnviz.models.captures.mask:capture", stored="one bit for each pair of tokens")
CELL, MOST, AROUND = 24, 480, 132
"""The heights in px: a cell at most, the whole map at most, and controls, strip, legend and read-out around it."""
NARROW = 28
"""The largest number of characters of a kind that stands beside a narrow figure's other controls."""
LEVEL = 8
"""The level of an allowed pair in the static picture, of 15."""
PARTS, THUMB, GAP, TOP = 12, 28, 4, 20
"""The strip of layers in the static picture: cells of a layer's small map, its size, the gap, and a line of text."""
HOW = {
    "weights": "Read from weights: a pair whose weight is rounded to zero counts as not allowed.",
    "gradients": "Probed by gradients: a pair whose weight is rounded to zero counts as not allowed.",
}
"""The remarks about masks that are not read from the model's own."""
TOKENS = 32
"""The number of tokens up to which a static picture shows each of them."""


class Options(BlockOptions):
    """The block keys of the mask view."""

    stack: Any = shared("stack")
    layer: Index | None = shared("layer")
    include_layers: Indices | None = shared("include_layers")
    prettify_tokens: Flag = shared("prettify_tokens")


class MaskData(Blob):
    """A mask that one or more layers have, as runs of columns (`models/mask_runs.py`)."""

    words: str
    """The kind of the mask in words: "sliding window of 4 tokens"."""
    pairs: int
    """The number of allowed pairs."""


class MaskLayer(TypedDict):
    """A layer, with the number of its mask."""

    layer: int
    mask: int
    name: NotRequired[str]
    """The name of its attention module in the model."""
    window: NotRequired[int]
    """The number of tokens of its window by the model's configuration, if that is longer than the text."""
    heads_differ: NotRequired[bool]


class MaskStackData(TypedDict):
    """The masks of one stack: tokens of `rows` attend to tokens of `cols`."""

    rows: str
    cols: str
    how: Literal["masks", "weights", "gradients"]
    """The source of the masks: the model's own, weights that are not zero, or gradients."""
    layers: list[MaskLayer]
    masks: list[MaskData]
    groups: list[str]
    """The layers of each mask with its kind: "layers 0–4: sliding window of 4 tokens"."""


class MaskState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    stack: str
    layer: int
    row: int | None
    """The row of the cell that is held."""
    col: int | None


class MaskFigure(TextFigure):
    """The masks of a model on a text, by stack and layer."""

    masks: dict[str, MaskStackData]
    initial: MaskState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of masks.

    Raises:
        BlockError: if the options name a stack or a layer that the model does not have.
    """
    stacks = read_stacks(block, options.include_layers, entry)
    name = chosen_stack(block, options.stack, stacks)
    stack = stacks[name]
    layer = next(iter(stack.layers)) if options.layer is None else options.layer
    if layer not in stack.layers:
        every = list(read_stack(entry, name).layers)
        left_out = f"`layer` is {layer}, which is not among `include_layers`."
        known = f"`layer` is {layer}; {block.subject} has {numbered('layer', every)}."
        raise block.wrong("layer", left_out if layer in every else known)
    used = dict.fromkeys(side for each in stacks.values() for side in (each.rows, each.cols))
    data: MaskFigure = {
        "view": "mask",
        "theme": block.theme,
        "sequences": {side: sequence(entry, side, pretty=options.prettify_tokens) for side in used},
        "masks": {each: _data(stacks[each]) for each in STACKS if each in stacks},
        "initial": {"stack": name, "layer": layer, "row": None, "col": None},
    }
    rows, cols = (data["sequences"][side]["tokens"] for side in (stack.rows, stack.cols))
    picture = _picture(stack, layer, rows, cols, block.theme)
    picture = with_legend(picture, block.theme, "Coloured: allowed · empty: not allowed · rows attend to columns")
    wraps = len(stacks) > 1 or max(len(kind.words) for kind in stack.kinds) > NARROW
    return Drawing(data, picture, _sentence(block, stacks, name), _height(rows, cols), AROUND, wraps=wraps)


def _data(stack: MaskStack) -> MaskStackData:
    """Return the data of one stack."""
    numbers = list(dict.fromkeys(stack.number(layer) for layer in stack.layers))
    layers: list[MaskLayer] = []
    for layer, about in stack.layers.items():
        item: MaskLayer = {"layer": layer, "mask": numbers.index(about["mask"])}
        for part in ("name", "heads_differ"):
            if about.get(part):
                item[part] = about[part]
        if about.get("window", 0) >= stack.masks[about["mask"]].cols:
            item["window"] = about["window"]
        layers.append(item)
    masks: list[MaskData] = [
        {"blob": f"{stack.name}/{number}", "words": stack.kinds[number].words, "pairs": stack.masks[number].pairs}
        for number in numbers
    ]
    return {
        "rows": stack.rows,
        "cols": stack.cols,
        "how": stack.how,
        "layers": layers,
        "masks": masks,
        "groups": [text for _, text in stack.groups()],
    }


def _height(rows: Sequence[str], cols: Sequence[str]) -> str:
    """Return the CSS height of the map. Cells are smaller in a narrow figure."""
    left, top = max(_label(rows), 56), _label(cols) + 18
    wanted = min(CELL * max(len(rows), 1) + top, MOST)
    share = max(len(rows), 1) / max(len(cols), 1)
    return f"min({wanted}px,(100cqw - {left + 4}px)*{share:.3g} + {top}px,{CAP})"


def _label(texts: Sequence[str]) -> int:
    """Return the length in px of the longest label, computed like `labelWidth` in `charts/heat-labels.ts`."""
    return min(112, round(7.6 * max(map(len, texts), default=1)) + 14)


def _sentence(block: Block, stacks: Mapping[str, MaskStack], name: str) -> str:
    """Return a sentence that names the layers of each mask."""
    parts = []
    for each in sorted(stacks, key=lambda each: each != name):
        stack = stacks[each]
        what = "" if len(stacks) == 1 else f"{CALLED[each]}, "
        groups = [f"{text}{_longer(stack, number)}" for number, text in stack.groups()]
        listed = f"{what}{'; '.join(groups)}."
        parts.append(f"{listed[0].upper()}{listed[1:]}")
    stack = stacks[name]
    rows, cols = (len(stack.masks[0].runs), stack.masks[0].cols)
    tokens = f"{rows} tokens" if stack.rows == stack.cols else f"{rows} tokens and {cols}"
    how = "".join(f" {HOW[each]}" for each in sorted({each.how for each in stacks.values()} & set(HOW)))
    return f"What each token of {block.model} may attend to, over {tokens}. {' '.join(parts)}{how}"


def _longer(stack: MaskStack, number: int) -> str:
    """Return a remark about layers whose window is longer than the text, or an empty text."""
    windows = {about.get("window", 0) for about in stack.layers.values() if about["mask"] == number}
    longer = [window for window in windows if window >= stack.masks[number].cols]
    return f" (some with a window of {between(longer)} tokens, which is longer than this text)" if longer else ""


def _picture(stack: MaskStack, layer: int, rows: Sequence[str], cols: Sequence[str], theme: str) -> Picture:
    """Return a picture of the strip of layers, the groups in words, and the mask of one layer."""
    mask = stack.masks[stack.number(layer)]
    shown = heat_map(*_grid(mask, rows, cols), theme, 0)
    lines = [text for _, text in stack.groups()]
    every = max(1, -(-len(stack.layers) * 4 // 680))
    size = max(4, min(THUMB, 680 // len(stack.layers) - GAP))
    top = TOP + size + 12 + 18 * len(lines)
    width = max(shown.width, (size + GAP) * len(stack.layers) + 8, *(7 * len(line) for line in lines))
    body = [*_strip(stack, layer, size, every)]
    for number, line in enumerate(lines):
        body.append(f'<text x="0" y="{TOP + size + 18 * (number + 1)}">{escape_words(line)}</text>')
    body.append(shown.svg.replace("<svg ", f'<svg y="{top}" ', 1))
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), _rules)
    return Picture(document(width, top + shown.height, style, body), width, top + shown.height)


def _grid(mask: Mask, rows: Sequence[str], cols: Sequence[str]) -> tuple[list[bytes], list[str], list[str]]:
    """Return levels and labels of a static picture: every token of a short text, a coarse grid of a long one."""
    counts = [min(len(side), TOKENS) for side in (rows, cols)]
    levels = [bytes(round(LEVEL * share) for share in line) for line in mask.coarse(*counts)]
    labels = [
        list(side)
        if len(side) <= TOKENS
        else [f"{part * len(side) // TOKENS} {side[part * len(side) // TOKENS]}" for part in range(TOKENS)]
        for side in (rows, cols)
    ]
    return levels, labels[0], labels[1]


def _strip(stack: MaskStack, shown: int, size: int, every: int) -> Iterator[str]:
    """Yield a small map of each layer's mask, with its number below."""
    paths = {number: _small(stack.masks[number]) for number in set(map(stack.number, stack.layers))}
    step = max(every, -(-18 // (size + GAP)))
    for place, layer in enumerate(stack.layers):
        x = place * (size + GAP) + 1
        on = " on" if layer == shown else ""
        yield f'<rect class="b{on}" x="{x - 0.5}" y="0.5" width="{size + 1}" height="{size + 1}"/>'
        scale = f"translate({x} 1) scale({size / PARTS:g})"
        yield f'<path class="f" transform="{scale}" d="{paths[stack.number(layer)]}"/>'
        if place % step == 0:
            yield f'<text class="p" x="{x + size / 2:g}" y="{size + 14}" text-anchor="middle">{layer}</text>'


def _small(mask: Mask) -> str:
    """Return the path of a small map; a cell is drawn if half of it or more is allowed."""
    lines = mask.coarse(PARTS, PARTS)
    return "".join(f"M{x} {y}h1v1h-1z" for y, line in enumerate(lines) for x, share in enumerate(line) if share >= 0.5)


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    box = f".b{{fill:none;stroke:{scheme['pale']};opacity:.6}}.on{{stroke:{scheme['text']};stroke-width:2;opacity:1}}"
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.f{{fill:{scheme['heads'][0]}}}{box}"


VIEW = View(
    "mask",
    Options,
    MASK,
    draw,
    own_script("mask"),
    MaskFigure,
    state=("stack", "layer", "row", "col"),
    checks={"row": state_checks.number, "col": state_checks.number},
    measures=MEASURES,
)
