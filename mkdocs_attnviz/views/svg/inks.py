"""The ink, black or white, that is readable on a shade, chosen as in `charts/tint.ts` of the front end."""

from __future__ import annotations

MIDDLE = 0.179
"""The luminance at which black and white have the same contrast, 4.58 to 1 (WCAG 2)."""


def ink_on(colour: str, background: str, share: float) -> str:
    """Return the ink for a colour of opacity `share` over a background. Colours look like `#1f6feb`."""
    pairs = zip(_channels(colour), _channels(background), strict=True)
    linear = [_linear(below + share * (above - below)) for above, below in pairs]
    luminance = sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
    return "#000" if luminance > MIDDLE else "#fff"


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour that looks like `#1f6feb` (WCAG 2)."""
    linear = map(_linear, _channels(colour))
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def _channels(colour: str) -> list[float]:
    """Return the red, green and blue of a colour, from 0 to 1."""
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _linear(channel: float) -> float:
    """Return the linear value of an sRGB channel (IEC 61966-2-1)."""
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
