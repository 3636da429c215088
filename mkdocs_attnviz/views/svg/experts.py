"""A static picture of the experts that routers chose: layers × tokens, the last layer on top."""

from __future__ import annotations

from collections.abc import Sequence

from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.router_choices import RouterChoices
from mkdocs_attnviz.views.svg.document import document, escape, palette, styles
from mkdocs_attnviz.views.svg.expert_colours import expert_rules
from mkdocs_attnviz.views.svg.expert_loads import spaced
from mkdocs_attnviz.views.visible_tokens import visible

WIDTH, ROW, CHARACTER, SIDE, LEAST = 680, 26, 8, 72, 32
LAYERS, LONGEST = 14, 12
"""The limits of the picture: rows, and characters of a token."""
SECOND = 5
"""The height in px of the mark of a token's second expert."""


def experts_picture(
    mixtures: Sequence[RouterChoices], tokens: Sequence[str], theme: str, expert: int | None
) -> Picture:
    """Return a picture of the first tokens. With `expert`, only the tokens that it got are coloured."""
    rows = spaced(mixtures, LAYERS)[::-1]
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
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), expert_rules(used, experts))
    return Picture(document(width, height, style, body), width, height)


def _text(said: str, x: float, y: int, ink: str = "") -> str:
    return f'<text{ink} x="{x:g}" y="{y}" text-anchor="middle">{said}</text>'


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
