"""A page's figures in place of its placeholders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.figure.placeholders import source_of, waiting
from mkdocs_attnviz.figure.rendered import Rendered

ID = re.compile(r'id="([^"]*)"')
PART_OF_NAME = re.compile(r"[\w-]")


def fill(
    text: str, rendered: Callable[[Source], Rendered], assets: Assets, alert: Callable[[Source, Exception], Rendered]
) -> str:
    """Return the HTML with a figure in place of every placeholder, and the script after the first figure.

    `alert` handles errors that only occur here: an `id` that the page already has, or a file that cannot be written.
    """
    page = _Page(text, rendered, assets, alert)
    pieces, place = list[str](), 0
    for match in waiting(text):
        pieces += (text[place : match.start()], page.put(match))
        place = match.end()
    return "".join([*pieces, text[place:]])


class _Page:
    """The figures of one page while they replace its placeholders."""

    def __init__(
        self,
        text: str,
        rendered: Callable[[Source], Rendered],
        assets: Assets,
        alert: Callable[[Source, Exception], Rendered],
    ) -> None:
        self.assets, self.alert = assets, alert
        placeholders = list(waiting(text))
        self.taken = _ids(_without(text, placeholders))
        self.number = 0
        waiting_sources = {match[1]: source_of(match[1]) for match in placeholders}
        self.figures = {
            carried: (source, rendered(source)) for carried, source in waiting_sources.items() if source is not None
        }
        self.scripts = needed(figure for _, figure in self.figures.values())
        """The scripts that the page still needs."""

    def put(self, match: re.Match[str]) -> str:
        """Return the figure or alert that replaces this match. Text that only looks like a placeholder stays."""
        if match[1] not in self.figures:
            return match[0]
        source, figure = self.figures[match[1]]
        self.number += 1
        id = figure.wanted_id or _free(f"attnviz-{self.number}", self.taken)
        if id in self.taken:
            id = _free(f"attnviz-{self.number}", self.taken)
            if source.page is not None:  # without a page, it is an excerpt among others, and its author could not know
                message = f"`id` is {figure.wanted_id!r}, which something else on this page has."
                figure = self.alert(source, BlockError(message, key="id"))
        self.taken.add(id)
        try:
            return self._html(figure, id)
        except Exception as error:
            return self.alert(source, error).html(id, self.assets)

    def _html(self, figure: Rendered, id: str) -> str:
        """Return the HTML of a figure; the first figure is followed by the scripts."""
        shown = figure.html(id, self.assets)
        if self.scripts and figure.scripts:
            shown = "\n".join([shown, *map(self.assets.script, self.scripts)])
            self.scripts = []
        return shown


def needed(figures: Iterable[Rendered]) -> list[str]:
    """Return the scripts that draw all these figures, each once, after those that it needs."""
    return list(dict.fromkeys(script for figure in figures for script in figure.scripts))


def _without(text: str, parts: Iterable[re.Match[str]]) -> str:
    """Return the text without these matches."""
    pieces, place = list[str](), 0
    for part in parts:
        pieces.append(text[place : part.start()])
        place = part.end()
    return "".join([*pieces, text[place:]])


def _ids(text: str) -> set[str]:
    """Return all ids in the text. Checking the character before each match separately is ten times as fast as a
    lookbehind."""
    candidates = ID.finditer(text)
    return {match[1] for match in candidates if not PART_OF_NAME.fullmatch(text[match.start() - 1 : match.start()])}


def _free(id: str, taken: set[str]) -> str:
    """Return the id, with a suffix if the page already has it."""
    while id in taken:
        id += "-b"
    return id
