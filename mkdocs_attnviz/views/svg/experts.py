"""A static picture of the experts that routers chose: layers × tokens, the last layer on top."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.router_choices import RouterChoices
from mkdocs_attnviz.views.svg.document import document, escape, palette, styles
from mkdocs_attnviz.views.svg.inks import ink_on, luminance
from mkdocs_attnviz.views.visible_tokens import visible

WIDTH, ROW, CHARACTER, SIDE, LEAST = 680, 26, 8, 72, 32
LAYERS, LONGEST = 14, 12
"""The limits of the picture: rows, and characters of a token."""
SECOND = 5
"""The height in px of the mark of a token's second expert."""
FILL = 0.85
"""The opacity of an expert's colour."""
HIGH, BARS, SAID = 36, 52, 150
"""The heights in px of the highest bar and of a layer's bars, and the room for what stands behind them."""
GOLDEN = 137.508
"""The angle in degrees between the hues of neighbouring experts, where there are more of them than colours of heads."""
LIGHTNESS = {"light": (0.42, 0.56), "dark": (0.62, 0.5)}
"""The lightness of experts with even and with odd numbers."""
SATURATION, STEP = 0.62, 0.02
"""The saturation, and the step in which lightness is changed until the contrast with the page is 3 to 1."""
LIGHTEST, DARKEST = 0.3, 0.13
"""The largest luminance on a light page, and the least on a dark one."""


def expert_colour(expert: int, experts: int, scheme: Mapping[str, Any]) -> str:
    """Return the colour of an expert: one of those of heads, or on a wheel of hues if there are more experts."""
    heads: Sequence[str] = scheme["heads"]
    if experts <= len(heads):
        return heads[expert]
    is_light = scheme["background"] == "#ffffff"
    lightness = LIGHTNESS["light" if is_light else "dark"][expert % 2]
    colour = _of_hue(expert * GOLDEN % 360, lightness)
    while luminance(colour) > LIGHTEST if is_light else luminance(colour) < DARKEST:
        lightness += -STEP if is_light else STEP
        colour = _of_hue(expert * GOLDEN % 360, lightness)
    return colour


def _of_hue(hue: float, lightness: float) -> str:
    """Return the colour of a hue in degrees."""
    channels = colorsys.hls_to_rgb(hue / 360, lightness, SATURATION)
    return "#" + "".join(f"{int(255 * channel + 0.5):02x}" for channel in channels)


def experts_picture(
    mixtures: Sequence[RouterChoices], tokens: Sequence[str], theme: str, expert: int | None
) -> Picture:
    """Return a picture of the first tokens. With `expert`, only the tokens that it got are coloured."""
    rows = _rows(mixtures)
    columns, width = _columns(tokens)
    body = [
        f'<text class="p" x="0" y="{ROW * row + 17}">layer {each.about["layer"]}</text>'
        for row, each in enumerate(rows)
    ]
    body.append(f'<text class="p" x="0" y="{ROW * len(rows) + 17}">input</text>')
    used: set[int] = set()
    for token, text, x, wide in columns:
        for row, each in enumerate(rows):
            chosen = each.chosen(token)
            shown = chosen if expert is None else [number for number in chosen if number == expert]
            used.update(shown[:2])
            box = f'x="{x + 1}" width="{wide - 2}"'
            if shown:
                body.append(f'<rect class="e{shown[0]}" {box} y="{ROW * row + 1}" height="{ROW - 2}"/>')
            if len(shown) > 1:
                body.append(f'<rect class="e{shown[1]}" {box} y="{ROW * (row + 1) - 1 - SECOND}" height="{SECOND}"/>')
            ink = f' class="i{shown[0]}"' if shown else ' class="p"'
            body.append(_text(str([*shown, *chosen][0]) if chosen else "–", x + wide / 2, ROW * row + 15, ink))
        body.append(_text(escape(text), x + wide / 2, ROW * len(rows) + 17))
    height = ROW * (len(rows) + 1)
    experts = max(each.experts for each in mixtures)
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), _rules(sorted(used), experts))
    return Picture(document(width, height, style, body), width, height)


def load_picture(mixtures: Sequence[RouterChoices], theme: str, expert: int | None) -> Picture:
    """Return a picture of the load: a row of bars for each layer, with a line where all experts would be equal."""
    rows = _rows(mixtures)
    experts = max(each.experts for each in mixtures)
    wide = max(1, (WIDTH - SIDE - SAID) // experts)
    most = max(max(each.load) for each in rows) or 1.0
    body = []
    for row, each in enumerate(rows):
        bottom = BARS * (row + 1) - 10
        body.append(f'<text class="p" x="0" y="{bottom}">layer {each.about["layer"]}</text>')
        for number, share in enumerate(each.load):
            tall = HIGH * share / most
            place = f'x="{SIDE + wide * number}" y="{bottom - tall:.4g}" width="{max(1, wide - 2)}" height="{tall:.3g}"'
            pale = "" if expert in (None, number) else ' opacity="0.3"'
            body.append(f'<rect class="e{number}"{pale} {place}/>')
        even, end = bottom - HIGH / each.experts / most, SIDE + wide * each.experts
        body.append(f'<path class="l" d="M{SIDE} {even:.4g}H{end}" stroke-dasharray="3 2"/>')
        said = f"CV {each.variation:.2f} · most {100 * max(each.load):.3g}%"
        body.append(f'<text class="p" x="{end + 8}" y="{bottom}">{said}</text>')
    height = BARS * len(rows) + 8
    if wide >= 2 * CHARACTER:
        body += [_text(str(number), SIDE + wide * (number + 0.5), height) for number in range(experts)]
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), _rules(range(experts), experts))
    return Picture(document(WIDTH, height + 6, style, body), WIDTH, height + 6)


def _text(said: str, x: float, y: int, ink: str = "") -> str:
    return f'<text{ink} x="{x:g}" y="{y}" text-anchor="middle">{said}</text>'


def _rows(mixtures: Sequence[RouterChoices]) -> list[RouterChoices]:
    """Return the mixtures of the picture's rows, the last first; evenly spaced if there are too many."""
    count = len(mixtures)
    places = range(count) if count <= LAYERS else sorted({round(i * (count - 1) / (LAYERS - 1)) for i in range(LAYERS)})
    return [mixtures[place] for place in reversed(places)]


def _columns(tokens: Sequence[str]) -> tuple[list[tuple[int, str, int, int]], int]:
    """Return number, text, place and width of each token that there is room for, and the width of all."""
    columns, x = [], SIDE
    for token, whole in enumerate(tokens):
        text = visible(whole)
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        wide = max(LEAST, CHARACTER * len(text) + 12)
        if token and x + wide > WIDTH:
            break
        columns.append((token, text, x, wide))
        x += wide
    return columns, x


def _rules(used: Sequence[int], experts: int) -> Callable[[dict[str, Any]], str]:
    """Return the function that gives the CSS colours of a scheme."""

    def rules(scheme: dict[str, Any]) -> str:
        colours = {expert: expert_colour(expert, experts, scheme) for expert in used}
        of_experts = "".join(
            f".e{expert}{{fill:{colour};fill-opacity:{FILL}}}"
            f".i{expert}{{fill:{ink_on(colour, scheme['background'], FILL)}}}"
            for expert, colour in colours.items()
        )
        return f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.l{{stroke:{scheme['pale']}}}{of_experts}"

    return rules
