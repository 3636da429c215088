"""One file for each view: its options, the capture that it draws, and how it looks without JavaScript.

A view knows no host, no torch and no HTML page. To add one: a module here with a `VIEW`, its line in `pyproject.toml`
(entry point group `attnviz.views`), and `frontend/src/views/NAME.ts`. A view of another package is registered alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import TypeVar

from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.plugins import distribution, registered
from mkdocs_attnviz.views.view import AnyView, View

T = TypeVar("T")


class _OfEach(Mapping[str, T]):
    """Something of each installed view. A view is imported when it is asked for: most sites use two or three."""

    def __init__(self, of: Callable[[AnyView], T]) -> None:
        self._of = of
        self._known: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._known:
            self._known[name] = self._of(_view(name))
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in registered()

    def __iter__(self) -> Iterator[str]:
        return iter(registered())

    def __len__(self) -> int:
        return len(registered())


@cache
def _view(name: str) -> AnyView:
    """Return the view of this name.

    Raises:
        KeyError: no package has registered one.
        BlockError: several have, or it cannot be imported.
    """
    points = registered()[name]
    if len(points) > 1:
        first, second = (distribution(point) for point in points[:2])
        raise BlockError(f"View `{name}` is brought by two packages, {first} and {second}; uninstall one of them.")
    package = distribution(points[0])
    try:
        view = points[0].load()
    except Exception as error:
        raise BlockError(f"View `{name}` of the package {package} cannot be imported: {error}.") from error
    if not isinstance(view, View) or view.name != name:
        raise BlockError(f"The package {package} registers {points[0].value!r} as view `{name}`, which it is not.")
    return view


VIEWS: Mapping[str, AnyView] = _OfEach(lambda view: view)
OPTIONS: Mapping[str, type[Options]] = _OfEach(lambda view: view.options)


def block_of(source: Source) -> Block:
    """Return the block that `source` describes. Several steps of a build ask for it, and it is parsed once.

    Raises:
        BlockError: as `parse`.
    """
    return _parsed(source.body, tuple(source.header.items()), source.problem, source.caption)


@lru_cache(maxsize=256)  # a page's blocks: its steps follow one another
def _parsed(body: str, header: tuple[tuple[str, str], ...], problem: str | None, caption: str | None) -> Block:
    return parse(Source(body, dict(header), problem=problem, caption=caption), OPTIONS)
