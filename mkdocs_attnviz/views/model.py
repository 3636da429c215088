"""Model view: every head of every layer as a small picture, and the one that is opened in full.

After BertViz's model view. The small pictures come from the overview, so that no layer is fetched for them.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention import state_checks
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.attention.options import WEIGHTS_STATE, Selection, WeightOptions, data, offered, select
from mkdocs_attnviz.views.attention.overview import Overview
from mkdocs_attnviz.views.attention.patterns import COLUMN, RECORD, patterns
from mkdocs_attnviz.views.attention.sentence import STACKS
from mkdocs_attnviz.views.attention.weights import Layer
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.state_checks import one_of
from mkdocs_attnviz.views.svg.document import CAP, height_of
from mkdocs_attnviz.views.svg.heatmap import small_multiples
from mkdocs_attnviz.views.view import ATTENTION_SCRIPT, View

CELL = 48  # px, at most
AXIS = 28  # px, beside the rows of a narrow figure
LEAST = 20  # px of a cell
DETAIL = 80  # title, headings, read-out
WIDTH = 736  # px of a figure
LABELLED, LARGEST, LABEL, HEADING, SORTED_HEIGHT = 34, 56, 16, 28, 720
"""Sizes in px of sorted pictures, as in `parts/thumbnails.ts`: least and largest, label, a group's heading, all."""


class Options(WeightOptions):
    """`layer` with `head` opens that head at first."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    found = select(block, options, entry)
    opened = None if options.head is None else {"layer": found.layer, "head": options.head}
    made = data("model", block, entry, found)
    for name, layers in found.stacks.items():
        made["stacks"][name]["overview"] = {"content": Overview(entry, name).blob(layers)}
        made["stacks"][name]["patterns"] = {"content": _patterns(entry, name, layers)}
    made["options"] |= {"open": opened, "heads": offered(found.stacks[found.stack][found.layer], options.include_heads)}
    picture, said = _picture(block, options, entry, found), _sentence(block, found, opened)
    pairs = any(sequence["sentence_b_start"] is not None for sequence in made["sequences"].values())
    return Drawing(made, picture, said, _height(block, options, made, found), wraps=pairs or len(found.stacks) > 1)


def _patterns(entry: Entry, stack: str, layers: Mapping[int, int]) -> bytes:
    """Return what each head of these layers mostly looks at, deflated."""
    meta = entry.meta["stacks"][stack]
    rows, cols = (entry.meta["sequences"][meta[side]] for side in ("rows", "cols"))
    count = len(rows["tokens"]), len(cols["tokens"])
    special = cols.get("special") or []
    square = meta["cols"].removesuffix("+sink") == meta["rows"]
    found = (
        patterns(Layer(entry.blobs[f"{stack}/{layer}"], *count, heads), heads, square, special, meta["causal"])
        for layer, heads in layers.items()
    )
    return zlib.compress(b"".join(found), 6)


def _height(block: Block, options: Options, made: dict[str, Any], found: Selection) -> str:
    """Return the CSS height of the small pictures, which shrink with a narrow viewport, and of a head that is open."""
    grid = _sorted(options, made, found) if "order=pattern" in (block.state or "") else _rows(made, found)
    if made["options"]["open"] is None:
        return grid
    stack = made["stacks"][found.stack]
    tokens = max(len(made["sequences"][stack[side]]["tokens"]) for side in ("rows", "cols"))
    return f"{grid} + {height_of(tokens)} + {DETAIL}px"


def _rows(made: dict[str, Any], found: Selection) -> str:
    count, heads = len(found.stacks[found.stack]), len(made["options"]["heads"])
    return f"min({CELL * count}px,max({LEAST * count}px,(100cqw - {AXIS}px)*{count / heads:.3g}),{CAP})"


def _sorted(options: Options, made: dict[str, Any], found: Selection) -> str:
    """Return the height of heads in groups by their patterns, as a figure of the usual width has them."""
    records = zlib.decompress(made["stacks"][found.stack]["patterns"]["content"])
    groups: Counter[tuple[int, int]] = Counter()
    for heads in found.stacks[found.stack].values():
        layer, records = records[: RECORD.size * heads], records[RECORD.size * heads :]
        kinds = [RECORD.unpack_from(layer, RECORD.size * head) for head in offered(heads, options.include_heads)]
        groups.update((kind, column if kind == COLUMN else 0) for kind, _, column, *_ in kinds)
    pitch = max(LABELLED, min(LARGEST, (WIDTH - 60) // len(made["options"]["heads"])))
    lines = sum(-(-count // (WIDTH // pitch)) for count in groups.values())
    height = lines * (pitch + LABEL) + len(groups) * HEADING - 24  # the other order has a line of headings
    return f"min({height}px,{SORTED_HEIGHT - 24}px,{CAP})"


def _picture(block: Block, options: Options, entry: Entry, found: Selection) -> Picture:
    overview = Overview(entry, found.stack)
    grids = {
        layer: {head: overview.grid(layer, head) for head in offered(heads, options.include_heads)}
        for layer, heads in found.stacks[found.stack].items()
    }
    return small_multiples(grids, block.theme)


def _sentence(block: Block, found: Selection, opened: dict[str, int] | None) -> str:
    layers = found.stacks[found.stack]
    heads = sorted(set(layers.values()))
    each = str(heads[0]) if len(heads) == 1 else f"{heads[0]} to {heads[-1]}"
    what = f"{STACKS[found.stack]} of {block.model or block.tensors}"
    said = f"{what}: {len(layers)} layers of {each} heads, each a small picture."
    return said if opened is None else f"{said} Opened: layer {opened['layer']}, head {opened['head']}."


VIEW = View(
    "model",
    Options,
    ATTENTION,
    draw,
    script=ATTENTION_SCRIPT,
    state=(*WEIGHTS_STATE, "selected", "open", "order"),
    checks={"selected": state_checks.selected, "order": one_of("layer", "pattern")},
)
