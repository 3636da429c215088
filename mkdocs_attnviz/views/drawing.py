"""The result of a view: data for the script, a static picture and a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mkdocs_attnviz.cache.entry import Entry

INLINE = 24_000
"""The largest size in bytes of one figure's deflated layers inside the page. Below it, separate files would cost more
than they save."""

PAGE = 60_000
"""The number of bytes of a figure's size that are for the page: tokens, names of files, the static picture."""


@dataclass(frozen=True)
class Picture:
    """A static picture in SVG. One unit is one CSS pixel."""

    svg: str
    width: int
    height: int


@dataclass(frozen=True)
class Drawing:
    """The result of drawing an entry: data for the interactive figure, a static picture and a sentence."""

    data: Mapping[str, Any]
    """The data for the custom element, as declared in `views/figure_data.py`. In place of `data` or `file` it has the
    name of a `blob` in the entry, or bytes as `content`. Parts marked `ahead` are put into the page even if the rest
    goes into files."""
    picture: Picture
    sentence: str
    """A sentence that describes the picture for readers who cannot see it."""
    height: str
    """The height of the interactive picture without its controls, as a CSS expression. The page reserves it."""
    around: int = 104
    """The height in px of the controls, headings and read-out around the picture."""
    wraps: bool = True
    """True if the controls need another line in a narrow figure."""
    legend: bool = True
    """True if a line below the picture explains its colours."""


LONGEST = 300
"""The largest number of characters of a text from an entry in a figure. No model's own tokens are half as long."""


def with_short_tokens(entry: Entry) -> Entry:
    """Return the entry with long tokens and other long texts shortened in the middle, so that they fit a page."""
    meta = {name: value if name == "key" or _is_short(value) else _short(value) for name, value in entry.meta.items()}
    return Entry(meta, entry.blobs)


def _is_short(value: Any) -> bool:
    """Return whether a value has no parts and fits a page unchanged. Most tokens and all numbers do."""
    return len(value) <= LONGEST if isinstance(value, str) else not isinstance(value, (list, dict))


def _short(value: Any) -> Any:
    """Return the value with all long texts in it shortened."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[: LONGEST // 2]}…{value[-LONGEST // 4 :]}"
    if isinstance(value, list):
        if is_flat(value) and all(len(part) <= LONGEST for part in value if type(part) is str):
            return value
        return [part if _is_short(part) else _short(part) for part in value]
    return {name: part if _is_short(part) else _short(part) for name, part in value.items()}


LEAVES = frozenset((str, int, float, bool, type(None)))


def is_flat(values: Iterable[Any]) -> bool:
    """Return whether values have no parts, as tokens and numbers. A figure has thousands of them, which this tests
    without a call for each."""
    return LEAVES.issuperset(map(type, values))


def bytes_of(part: Mapping[str, Any], entry: Entry) -> bytes | None:
    """Return the bytes that a part of a drawing's data stands for, or None if it does not stand for bytes."""
    content: bytes | None = entry.blobs[part["blob"]] if "blob" in part else part.get("content")
    return content


def in_site(size: float, *, in_page: bool = False) -> float:
    """Return the number of bytes that so many deflated bytes take in the data files of a site (`data_file.py`), or
    inside a page, where they are base64."""
    return size * (4 / 3 if in_page else 1.02)


def room(size: int, *, in_page: bool = False) -> float:
    """Return the number of deflated bytes of data that a figure of `size` bytes may have, in data files of a site or
    inside a page."""
    return max(size - PAGE, size / 2) / in_site(1, in_page=in_page)


def fits_page(data: Any, entry: Entry) -> bool:
    """Return whether a drawing's data are small enough for the page. Parts marked `ahead` do not count."""
    return data_size(data, entry) <= INLINE


def data_size(value: Any, entry: Entry) -> int:
    """Return the number of bytes that the parts of a drawing's data stand for, without parts marked `ahead`."""
    size = 0
    if isinstance(value, dict):
        if "ahead" not in value and (content := bytes_of(value, entry)) is not None:
            size = len(content)
        value = value.values()
    elif is_flat(value):
        return 0
    return size + sum(data_size(part, entry) for part in value if isinstance(part, (dict, list)))
