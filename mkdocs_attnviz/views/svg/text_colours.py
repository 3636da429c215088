"""The colours behind running text: signed values in steps, which CSS classes name."""

from __future__ import annotations

from typing import Any

LEVELS = 10
"""The number of steps of each colour, so that neighbours of about the same value can be one rectangle."""


def level_of(share: float) -> int:
    """Return the step of a share of the largest value, from −`LEVELS` to `LEVELS`."""
    return round(LEVELS * max(-1.0, min(1.0, share)))


def name_of(level: int) -> str:
    """Return the CSS class of a step that is not 0."""
    return f"{'n' if level < 0 else 'f'}{abs(level)}"


def colour_rules(scheme: dict[str, Any]) -> str:
    """Return the CSS rules of all steps. Colours are only as deep as leaves the text readable on them."""
    deepest = 0.75 if scheme["background"] == "#ffffff" else 0.5
    negative, positive = scheme["signed"]
    return "".join(
        f".{name}{level}{{fill:{colour};fill-opacity:{deepest * level / LEVELS:.3g}}}"
        for name, colour in (("f", positive), ("n", negative))
        for level in range(1, LEVELS + 1)
    )
