"""Similarity view: how alike the layers of a model hold the tokens of a text, as a matrix of layers × layers.

After Ecco's `cka`, `cca`, `svcca` and `pwcca`; all four are stored, and the reader turns from one to another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal

from mkdocs_attnviz.block import Block
from mkdocs_attnviz.block import Options as BlockOptions
from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.models.request import SIMILARITY
from mkdocs_attnviz.part import key
from mkdocs_attnviz.views.drawing import ALL_SCRIPT, Drawing, Picture
from mkdocs_attnviz.views.svg import document, palette, styles
from mkdocs_attnviz.views.weights import scaled

CAPTURE = SIMILARITY
NAMES: Mapping[str, str] = {"cka": "CKA", "cca": "CCA", "svcca": "SVCCA", "pwcca": "PWCCA"}
SIZE, EDGE, LARGEST = 360, 40, 48
"""Pixels: of the picture's side, of its labels, and of a cell at most."""
DEEPEST = 0.85
"""Of the full colour."""
WRITTEN = 30
"""Cells of so many pixels have room for their number."""


class Options(BlockOptions):
    measure: Literal["cka", "cca", "svcca", "pwcca"] = key(
        "cka, cca, svcca or pwcca", "Which measure of similarity is shown at first.", default="cka"
    )
    stack: Literal["self", "encoder", "decoder", "cross"] | None = key(
        "self, encoder, decoder or cross",
        "Of an encoder–decoder model: which attention is shown at first. Default: `encoder`.",
        default=None,
    )


def draw(block: Block, entry: Entry) -> Drawing:
    options = block.options
    assert isinstance(options, Options)  # noqa: S101 — for the type checker: parse() made it
    stacks: dict[str, dict[str, Any]] = entry.meta["similar"]
    name: str = options.stack or next(iter(stacks))
    if name not in stacks:
        raise block.wrong("stack", f"`stack` is {name!r}; {block.subject} has {', '.join(stacks)}.")
    layers = stacks[name]["layers"]
    values = scaled(entry.blobs[f"{name}/{options.measure}"], layers)
    data = {
        "view": "similarity",
        "theme": block.theme,
        "similar": {
            stack: {**about, "measures": {measure: {"blob": f"{stack}/{measure}"} for measure in NAMES}}
            for stack, about in stacks.items()
        },
        "initial": {"stack": name, "measure": options.measure, "row": None, "col": None},
        "options": {},
    }
    cell = _cell(layers)
    sentence = _sentence(block, name if len(stacks) > 1 else "", stacks[name], values)
    return Drawing(data, _picture(values, block.theme), sentence, f"{EDGE + cell * layers}px", ALL_SCRIPT)


def _cell(layers: int) -> int:
    return max(4, min(LARGEST, (SIZE - EDGE) // layers))


def label(layer: int) -> str:
    """What comes before the first layer is no layer."""
    return "emb" if layer == 0 else str(layer - 1)


def _sentence(block: Block, stack: str, about: Mapping[str, Any], values: list[list[float]]) -> str:
    options, layers = block.options, len(values)
    assert isinstance(options, Options)  # noqa: S101 — for the type checker
    where = f"the {stack} of {block.model}" if stack else str(block.model)
    said = (
        f"{NAMES[options.measure]} between the embeddings and the {layers - 1} layers of {where}, over "
        f"{about['tokens']} tokens."
    )
    if layers > 1:
        change = min(range(1, layers), key=lambda layer: values[layer - 1][layer])
        between = f"{_called(change - 1)} and {_called(change)}"
        said += f" Of neighbours, {between} are least alike, {values[change - 1][change]:.2f}."
        said += f" The embeddings and {_called(layers - 1)}: {values[0][-1]:.2f}."
    if options.measure != "cka" and about["tokens"] <= about["width"]:
        said += f" With fewer tokens than the {about['width']} dimensions, this measure is high whatever the layers do."
    return said


def _called(layer: int) -> str:
    return "the embeddings" if layer == 0 else f"layer {layer - 1}"


def _picture(values: list[list[float]], theme: str) -> Picture:
    """Cells as opaque as their layers are alike."""
    layers = len(values)
    cell = _cell(layers)
    size = EDGE + cell * layers
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), _rules)
    body = [*_labels(layers, cell)]
    light = _black_on_dark()
    for row, line in enumerate(values):
        for col, value in enumerate(line):
            x, y = EDGE + col * cell, EDGE + row * cell
            opacity = f"{DEEPEST * max(0.0, min(1.0, value)):.2g}"
            body.append(f'<rect class="f" opacity="{opacity}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}"/>')
            if cell >= WRITTEN:
                middle = f'x="{x + cell / 2:g}" y="{y + cell / 2 + 4:g}" text-anchor="middle"'
                ink = ' class="n"' if value > light else ""
                body.append(f"<text{ink} {middle}>{value:.2f}</text>")
    return Picture(document(size, size, style, body), size, size)


def _labels(layers: int, cell: int) -> Iterator[str]:
    """Each layer's, or where they would touch each second, third …"""
    every = -(-14 // cell)
    for layer in range(0, layers, every):
        at = EDGE + (layer + 0.5) * cell
        upright = every == 1 and cell >= 24
        turned = "" if upright else f' transform="rotate(-90 {at + 4:g} 34)"'
        anchor = "middle" if upright else "start"
        x = at if upright else at + 4
        yield f'<text class="p" x="{x:g}" y="34" text-anchor="{anchor}"{turned}>{label(layer)}</text>'
        yield f'<text class="p" x="34" y="{at + 4:g}" text-anchor="end">{label(layer)}</text>'


def _rules(scheme: dict[str, Any]) -> str:
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.f{{fill:{scheme['signed'][1]}}}.n{{fill:#000}}"


@cache
def _black_on_dark() -> float:
    """From which similarity on a cell of a dark picture is so light that black reads better on it (WCAG's luminance);
    on those of a light picture it always does."""
    scheme = palette("dark").base
    ground, full = (_channels(scheme["background"]), _channels(scheme["signed"][1]))
    for step in range(101):
        share = DEEPEST * step / 100
        linear = [_linear(low + share * (high - low)) for low, high in zip(ground, full, strict=True)]
        if sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True)) > 0.179:
            return step / 100
    return 1.0


def _channels(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
