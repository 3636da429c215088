"""What a view hands over: data for the script, a static picture, a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mkdocs_attnviz.cache.entry import Entry

INLINE = 24_000
"""Bytes of one figure's deflated layers; up to this a file each would cost more than it saves."""


@dataclass(frozen=True)
class Picture:
    """A static picture, of which one unit is one CSS pixel."""

    svg: str
    width: int
    height: int


@dataclass(frozen=True)
class Drawing:
    """What a view makes of a block and its entry."""

    data: Mapping[str, Any]
    """For the custom element, as `views/figure_data.py` declares it. Where that has `data` or `file`, this has the
    name of a `blob` in the entry, or the bytes' `content`. What is `ahead` of files goes into the page."""
    picture: Picture
    sentence: str
    """What is to be seen, for those who do not see it."""
    height: str
    """Of the interactive picture, without what stands around it, as a CSS expression: the page keeps room for it."""
    around: int = 104
    """px of controls, headings and read-out, which stand around it."""
    wraps: bool = True
    """Whether those take a further line where the figure is narrow."""
    legend: bool = True
    """Whether a line below the picture says what its colours stand for."""


LONGEST = 300
"""Characters of a text in an entry that a figure shows; no model's own tokens are half as long."""


def with_short_tokens(entry: Entry) -> Entry:
    """Return the entry with the middle left out of every token, or other text, that is too long for a page."""
    meta = {name: value if name == "key" or _is_short(value) else _short(value) for name, value in entry.meta.items()}
    return Entry(meta, entry.blobs)


def _is_short(value: Any) -> bool:
    """Return whether a value has no parts and may stand in a page as it is: most tokens, and all numbers."""
    return len(value) <= LONGEST if isinstance(value, str) else not isinstance(value, (list, dict))


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[: LONGEST // 2]}…{value[-LONGEST // 4 :]}"
    if isinstance(value, list):
        return [part if _is_short(part) else _short(part) for part in value]
    return {name: part if _is_short(part) else _short(part) for name, part in value.items()}


def bytes_of(part: Mapping[str, Any], entry: Entry) -> bytes | None:
    """What a part of a drawing's data stands for, if it stands for bytes."""
    content: bytes | None = entry.blobs[part["blob"]] if "blob" in part else part.get("content")
    return content


def fits_page(data: Any, entry: Entry) -> bool:
    """Return whether a drawing's data are so small that they travel in the page; what is `ahead` does not count."""
    return _size(data, entry) <= INLINE


def _size(value: Any, entry: Entry) -> int:
    """Return how many bytes the parts of a drawing's data stand for, without those that are `ahead`."""
    size = 0
    if isinstance(value, dict):
        if "ahead" not in value and (content := bytes_of(value, entry)) is not None:
            size = len(content)
        value = value.values()
    return size + sum(_size(part, entry) for part in value if isinstance(part, (dict, list)))
