"""The ink, black or white, that can be read on a shade: as `parts/tint.ts` of the front end chooses it."""

from __future__ import annotations

MIDDLE = 0.179
"""The luminance at which black and white have the same contrast, 4.58 to 1 (WCAG 2)."""


def ink_on(colour: str, background: str, share: float) -> str:
    """Return the ink for a colour of this opacity over a background; both are like `#1f6feb`."""
    pairs = zip(_channels(colour), _channels(background), strict=True)
    linear = [_linear(below + share * (above - below)) for above, below in pairs]
    luminance = sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
    return "#000" if luminance > MIDDLE else "#fff"


def _channels(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
