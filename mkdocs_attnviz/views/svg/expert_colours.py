"""The colours of experts in static pictures, chosen as in `own/experts/color.ts` of the front end."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mkdocs_attnviz.views.svg.inks import ink_on, luminance

FILL = 0.85
"""The opacity of an expert's colour at its deepest."""
LEVELS = 10
"""The number of opacities in which a share is shown."""
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


def expert_rules(
    used: Iterable[int], experts: int, shades: Iterable[tuple[int, int]] = ()
) -> Callable[[dict[str, Any]], str]:
    """Return the function that gives the CSS of a scheme: classes `e3` and `i3` for the colour of expert 3 and the ink
    on it, and for `shades` also `e3-7` and `i3-7` for 7 of `LEVELS` of it."""
    whole, parts = sorted(set(used)), sorted(set(shades))

    def rules(scheme: dict[str, Any]) -> str:
        names = [(str(expert), expert, FILL) for expert in whole]
        names += [(f"{expert}-{level}", expert, FILL * level / LEVELS) for expert, level in parts]
        colours = {expert: expert_colour(expert, experts, scheme) for _, expert, _ in names}
        of_experts = "".join(
            f".e{name}{{fill:{colours[expert]};fill-opacity:{opacity:.3g}}}"
            f".i{name}{{fill:{ink_on(colours[expert], scheme['background'], opacity)}}}"
            for name, expert, opacity in names
        )
        common = f"text{{fill:{scheme['text']}}}.p{{fill:{scheme['pale']}}}.l{{stroke:{scheme['pale']}}}"
        return f"{common}.t{{fill:{scheme['text']}}}.g{{fill:{scheme['background']}}}{of_experts}"

    return rules
