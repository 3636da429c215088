"""The fonts of pictures that no browser draws. Typst and resvg know nothing of `system-ui`, and would take a serif."""

from __future__ import annotations

import re

SANS = "Segoe UI,Helvetica Neue,DejaVu Sans,Noto Sans,Liberation Sans,Roboto,Cantarell,Ubuntu,Arial"
FAMILIES = {"system-ui": SANS, "sans-serif": SANS, "monospace": "DejaVu Sans Mono,Liberation Mono,Noto Sans Mono"}
"""The families that stand for a generic one: those of Windows, macOS and Linux. DejaVu Sans comes before Noto Sans,
which lacks arrows and U+2212. Typst brings DejaVu Sans Mono."""
DECLARED = re.compile(r"\bfont(?:-family)?:[^;{}<\"]*")
"""A declaration of a font in CSS."""
GENERIC = re.compile(rf"(?<![\w-])(?:{'|'.join(FAMILIES)})(?![\w-])")


def with_named_fonts(svg: str) -> str:
    """Return an SVG that names families where it leaves the choice to the system."""
    return DECLARED.sub(lambda declared: GENERIC.sub(lambda generic: FAMILIES[generic[0]], declared[0]), svg)
