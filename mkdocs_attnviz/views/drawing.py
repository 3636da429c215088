"""What a view is, and what it hands over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mkdocs_attnviz.block import Block, Options
from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.models.request import Capture


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
    """For the custom element, as `frontend/src/data.ts` declares it; a layer's `blob` names its bytes in the entry."""
    picture: Picture
    sentence: str
    """What is to be seen, for those who do not see it."""
    rows: int
    """Rows of 24 px that the figure would like to show."""


class View(Protocol):
    """What a module in this folder has."""

    @property
    def Options(self) -> type[Options]: ...
    @property
    def CAPTURE(self) -> Capture: ...
    def draw(self, block: Block, entry: Entry) -> Drawing:
        """Raises BlockError where the options do not fit the model."""
