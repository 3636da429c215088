"""A static picture of how often each gate of a recurrent network is saturated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import document, palette, styles

SIDE, LEFT, GAP, TOP, BOTTOM = 200, 40, 32, 28, 36
"""The sizes in px: the side of a scatter plot, the room left of it, between two of them, above and below."""
SCATTER = TOP + SIDE + BOTTOM
"""The height in px of the plots, without the key to the layers."""
WRAPPED = 480
"""The width in px below which the plots stand one below the other."""
KEY = 24
"""The height in px of the key to the layers."""
TICKS = (0, 0.5, 1)

Saturation = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
"""The fractions by layer and gate: how often each unit is left-saturated, and how often it is right-saturated."""


def height_of_plots(saturation: Saturation) -> str:
    """Return the CSS height of the interactive plots, with the key to the layers.

    Plots stand beside each other and share the width, or one below the other in a narrow figure.
    """
    count = len(_gates(saturation))
    beside = f"min({SIDE}px,(100cqw - {LEFT + 16 + GAP * (count - 1)}px)/{count})"
    below = count * SCATTER - (TOP + BOTTOM) - WRAPPED // (2 * count)
    return f"{TOP + BOTTOM + KEY}px + {beside} + clamp(0px,({WRAPPED}px - 100cqw)*99,{below}px)"


def _gates(saturation: Saturation) -> list[str]:
    return list(dict.fromkeys(gate for layer in saturation.values() for gate in layer))


def saturation_picture(saturation: Saturation, theme: str) -> Picture:
    """Return a scatter plot for each gate: each unit's fraction below 0.1 (across) and above 0.9 (up), by layer."""
    gates = _gates(saturation)
    width = LEFT + len(gates) * SIDE + (len(gates) - 1) * GAP + 16
    body: list[str] = []
    for number, gate in enumerate(gates):
        x = LEFT + number * (SIDE + GAP)
        body += _axes(gate, x, number == 0)
        for colour, layer in enumerate(saturation.values()):
            for left, right in zip(*layer.get(gate, ((), ())), strict=True):
                place = f'cx="{x + SIDE * left:.1f}" cy="{TOP + SIDE * (1 - right):.1f}"'
                body.append(f'<circle class="l{colour % 10}" {place} r="3"/>')
    for colour, layer_number in enumerate(saturation):
        x = LEFT + 84 * colour
        body.append(f'<circle class="l{colour % 10}" cx="{x + 4}" cy="{SCATTER + 11}" r="4"/>')
        body.append(f'<text x="{x + 14}" y="{SCATTER + 15}">layer {layer_number}</text>')
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), _rules)
    return Picture(document(width, SCATTER + KEY, style, body), width, SCATTER + KEY)


def _axes(gate: str, x: int, first: bool) -> Iterator[str]:
    """Yield the frame of a plot, with its name and its ticks."""
    bottom = TOP + SIDE
    yield f'<path class="a" d="M{x} {TOP}V{bottom}H{x + SIDE}"/><path class="d" d="M{x} {TOP}L{x + SIDE} {bottom}"/>'
    yield f'<text x="{x + SIDE / 2}" y="16" text-anchor="middle">{gate} gate</text>'
    for tick in TICKS:
        yield f'<text class="p" x="{x + SIDE * tick}" y="{bottom + 15}" text-anchor="middle">{tick:g}</text>'
        if first:
            yield f'<text class="p" x="{x - 6}" y="{bottom - SIDE * tick + 4}" text-anchor="end">{tick:g}</text>'
    yield f'<text class="p" x="{x + SIDE / 2}" y="{bottom + 30}" text-anchor="middle">below 0.1</text>'
    if first:
        middle = TOP + SIDE / 2
        turned = f'transform="rotate(-90 12 {middle})"'
        yield f'<text class="p" x="12" y="{middle}" text-anchor="middle" {turned}>above 0.9</text>'


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    layers = "".join(
        f".l{number}{{fill:{colour};fill-opacity:.7}}" for number, colour in enumerate(scheme["heads"][:10])
    )
    lines = f".a,.d{{fill:none;stroke:{scheme['pale']}}}.d{{stroke-dasharray:2 4}}"
    return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}{lines}{layers}"
