"""The views, one file each: its options, the capture that it draws, and its static picture.

A view does not know hosts, torch or HTML pages. To add one, add a module here with a `VIEW`, its line in
`pyproject.toml` (entry point group `attnviz.views`), and `frontend/src/views/NAME.ts`. Views of other packages are
registered in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from contextlib import suppress
from functools import cache, lru_cache
from typing import TypeGuard, TypeVar

from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError, Problem, trace
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.models.errors import error_message
from mkdocs_attnviz.plugins import distribution, registered
from mkdocs_attnviz.views.measure import Measure
from mkdocs_attnviz.views.view import AnyView, View

T = TypeVar("T")


class _OfEach(Mapping[str, T]):
    """A mapping from the name of each installed view to a value. A view is imported only when its value is requested,
    because most sites use two or three."""

    def __init__(self, of: Callable[[AnyView], T]) -> None:
        self._of = of

    def __getitem__(self, name: str) -> T:
        return self._of(_view(name))

    def __contains__(self, name: object) -> bool:
        return name in registered()

    def __iter__(self) -> Iterator[str]:
        return iter(registered())

    def __len__(self) -> int:
        return len(registered())

    def items(self) -> ItemsView[str, T]:
        """Return those of the views that can be used: one that cannot costs its own blocks alone."""
        return self._usable().items()

    def values(self) -> ValuesView[T]:
        """Return those of the views that can be used, as `items`."""
        return self._usable().values()

    def _usable(self) -> dict[str, T]:
        usable = {}
        for name in self:
            with suppress(BlockError):
                usable[name] = self[name]
        return usable


@cache
def _view(name: str) -> AnyView:
    """Return the view of this name.

    Raises:
        KeyError: if no package has registered it.
        BlockError: if several packages have registered it, or it cannot be imported.
    """
    points = registered()[name]
    if len(points) > 1:
        first, second = (distribution(point) for point in points[:2])
        message = f"View `{name}` is registered by two packages, {first} and {second}; uninstall one of them."
        raise BlockError(message, key="view")
    package = distribution(points[0])
    try:
        view = points[0].load()
    except Exception as error:
        message = f"View `{name}` of the package {package} cannot be imported: {error_message(error)}."
        raise BlockError(Problem("block", "view", message, trace(error))) from error
    registered_as = f"The package {package} registers `{points[0].value}` as view `{name}`"
    if not _is_view(view):
        raise BlockError(f"{registered_as}; it is no view.", key="view")
    if view.name != name:
        raise BlockError(f"{registered_as}, and it calls itself `{view.name}`.", key="view")
    return view


def _is_view(view: object) -> TypeGuard[AnyView]:
    """Return whether an object that a package has registered is a view, and made of what a view is made of."""
    return (
        isinstance(view, View)
        and isinstance(view.options, type)
        and issubclass(view.options, Options)
        and isinstance(view.capture, Capture)
        and isinstance(view.corpus_capture, Capture | None)
        and callable(view.draw)
        and all(isinstance(measure, Measure) for measure in view.measures.values())
    )


VIEWS: Mapping[str, AnyView] = _OfEach(lambda view: view)
"""The installed views, by name."""
OPTIONS: Mapping[str, type[Options]] = _OfEach(lambda view: view.options)
"""The options class of each installed view, by the view's name."""


def of_one_text() -> list[str]:
    """Return the names of the installed views that take no corpus."""
    return [name for name, view in VIEWS.items() if view.reads_corpus is None]


def block_of(source: Source) -> Block:
    """Return the block that `source` describes. It is parsed once, although several steps of a build need it.

    Raises:
        BlockError: if the block has an error; see `parse`.
    """
    return _parsed(source.body, tuple(source.header.items()), source.problem, source.caption)


@lru_cache(maxsize=256)  # enough for the blocks of one page
def _parsed(body: str, header: tuple[tuple[str, str], ...], problem: str | None, caption: str | None) -> Block:
    """Return the parsed block. The arguments are hashable so that the result can be cached."""
    return parse(Source(body, dict(header), problem=problem, caption=caption), OPTIONS)
