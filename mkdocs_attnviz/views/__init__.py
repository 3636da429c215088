"""One file for each view: its options, the capture it draws, and how it looks without JavaScript.

A view knows no host, no torch and no HTML page. To add one: a module here with `Options`, `CAPTURE` and `draw`,
its name in `NAMES`, and `frontend/src/views/NAME.ts`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar, cast

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.source import Source

if TYPE_CHECKING:
    from mkdocs_attnviz.block.fields import Options
    from mkdocs_attnviz.views.drawing import View

NAMES = (
    "head",
    "model",
    "neuron",
    "matrix",
    "tokens",
    "predict",
    "saliency",
    "lens",
    "activations",
    "factors",
    "similarity",
)
T = TypeVar("T")


class _OfEach(Mapping[str, T]):
    """Something of each view. A view is imported when it is asked for: most sites use two or three."""

    def __init__(self, of: Callable[[View], T]) -> None:
        self._of = of
        self._known: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._known:
            if name not in NAMES:
                raise KeyError(name)
            self._known[name] = self._of(cast("View", importlib.import_module(f"{__name__}.{name}")))
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


VIEWS: Mapping[str, View] = _OfEach(lambda view: view)
OPTIONS: Mapping[str, type[Options]] = _OfEach(lambda view: view.Options)


def block_of(source: Source) -> Block:
    """Return the block that `source` describes. Several steps of a build ask for it, and it is parsed once.

    Raises:
        BlockError: as `parse`.
    """
    return _parsed(source.body, tuple(source.header.items()), source.problem, source.caption)


@lru_cache(maxsize=256)  # a page's blocks: its steps follow one another
def _parsed(body: str, header: tuple[tuple[str, str], ...], problem: str | None, caption: str | None) -> Block:
    return parse(Source(body, dict(header), problem=problem, caption=caption), OPTIONS)
