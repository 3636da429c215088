"""The connection to Python-Markdown: it passes us `attention` fences and reports those that cannot be read.

Fences are claimed through the SuperFences extension of the site, whatever the order of extensions. If there is none, we
add our own SuperFences, which takes no other fences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from markdown import Markdown
from markdown.preprocessors import Preprocessor
from pymdownx.superfences import (
    CodeStash,
    SuperFencesBlockPreprocessor,
    SuperFencesCodeBlockProcessor,
    SuperFencesCodeExtension,
)

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.placeholders import placeholder
from mkdocs_attnviz.hosts.page import NAME, OPENING, WITH_QUOTES, SourcePage, object_of

NO_RESET = (None,) * ("reset" in signature(SuperFencesCodeExtension.extend_super_fences).parameters)
"""The argument `reset` for registering a fence in SuperFences, which older versions do not have."""


def fence_validator(
    language: str, inputs: dict[str, str], options: dict[str, str], attrs: dict[str, str], md: Markdown
) -> bool:
    """Accept every option of a fence. The options go into the block and are checked there."""
    options.update(inputs)
    return True


def waiting(page: SourcePage, md: Markdown, body: str, header: Mapping[str, str], problem: str | None = None) -> str:
    """Return the placeholder of a block on `page`, or of a block in a docstring that the page shows."""
    name = object_of(md)
    line = page.line_of(body) if name is None else None
    return placeholder(Source(body, dict(header), page.path, line, problem, name))


CurrentPage = Callable[[], SourcePage]
"""A function that returns the page that is being converted."""


class ClaimFences(Preprocessor):
    """A preprocessor that claims the fences before each conversion, because the processor of fences may have been
    registered later or replaced."""

    def __init__(self, md: Markdown, page: CurrentPage) -> None:
        super().__init__(md)
        self.page = page
        self._claimed: Any = None
        self._own: Any = None

    def run(self, lines: list[str]) -> list[str]:
        """Claim the fences, and convert them if the site has no SuperFences."""
        there = "fenced_code_block" in self.md.preprocessors and self.md.preprocessors["fenced_code_block"]
        if isinstance(there, SuperFencesBlockPreprocessor):
            self._claim(there)
            return lines
        self._own = self._own or _only_ours(self.md)
        self._claim(self._own)
        return list(self._own.run(lines))

    def _claim(self, fences: Any) -> None:
        """Claim the fences of a processor, once."""
        if self._claimed is not fences:
            claim(fences, self.page)
            self._claimed = fences


def _only_ours(md: Markdown) -> Any:
    """Return a SuperFences processor that takes only our fences. All others are left for `fenced_code`, if the site has
    it."""
    extension = SuperFencesCodeExtension()
    extension.stash = CodeStash()
    extension.superfences = [
        {"name": "*", "test": lambda language: True, "formatter": None, "validator": fence_validator}
    ]
    fences = SuperFencesBlockPreprocessor(md)
    fences.extension, fences.config = extension, extension.getConfigs()
    fences.checked_hl_settings, fences.attr_list, fences.relaxed_headers = True, False, True
    indented = SuperFencesCodeBlockProcessor(md.parser)
    indented.extension, indented.config = extension, fences.config
    md.parser.blockprocessors.register(indented, "code", 80)
    return fences


def claim(fences: Any, page: CurrentPage) -> None:
    """Make a SuperFences processor pass us all `attention` fences, including those whose header it cannot read."""

    def formatter(src: str, options: dict[str, str], id_value: str = "", **_: Any) -> str:
        """Return the placeholder of a fence."""
        header = options | ({"id": id_value} if id_value else {})
        problem = header.pop(UNREADABLE, None)
        return waiting(page(), fences.md, src, header, problem)

    def unreadable(problem: str) -> bool:
        """Accept a fence whose header cannot be read, and remember the problem."""
        fences.lang, fences.options, fences.attrs, fences.formatter = NAME, {UNREADABLE: problem}, {}, formatter
        return True

    def handle_unrecognized(match: re.Match[str]) -> bool:
        """Return whether the fence is accepted although its header is not recognized."""
        header = match["unrecognized"].strip()
        if IN_BRACES.match(header):
            return unreadable(WITHOUT_BRACES)
        return unreadable(WITH_QUOTES.format(header)) if match["lang"] == NAME else bool(read_header(match))

    def handle_attrs(match: re.Match[str]) -> bool:
        """Return whether the fence with attributes in braces is accepted."""
        return unreadable(WITHOUT_BRACES) if IN_BRACES.match(f"{{{match['attrs']}") else bool(read_attrs(match))

    read_header, read_attrs = fences.handle_unrecognized, fences.handle_attrs
    fences.handle_unrecognized, fences.handle_attrs = handle_unrecognized, handle_attrs
    fences.extension.extend_super_fences(NAME, formatter, fence_validator, *NO_RESET)


UNREADABLE = " unreadable"
"""The header key for the problem of an unreadable fence. It begins with a space, so no author can write it."""
IN_BRACES = re.compile(rf"\{{\s*{NAME}\b")
"""A pattern for the beginning of a header in braces."""
WITHOUT_BRACES = (
    f"Write the fence's name `{NAME}` without braces, and options as `key: value` lines; in braces it is MyST's word "
    "for a note."
)
UNCLOSED = "This fence is not closed, or a line in it is indented less than its first."


class FindUnclosed(Preprocessor):
    """A preprocessor that finds opening fences that are never closed. It runs after all complete fences have been taken
    out; without it, their text would be published."""

    def __init__(self, md: Markdown, page: CurrentPage) -> None:
        super().__init__(md)
        self.page = page

    def run(self, lines: list[str]) -> list[str]:
        """Replace each unclosed fence by an alert."""
        if (
            "fenced_code_block" not in self.md.preprocessors
        ):  # without it, fences that quote other fences are still in the text
            return lines
        return [self._alert(line) if OPENING.match(line) and not line.startswith("    ") else line for line in lines]

    def _alert(self, line: str) -> str:
        """Return the placeholder of the alert for an unclosed fence."""
        page, name = self.page(), object_of(self.md)
        source = Source(line, {}, page.path, page.line(line) if name is None else None, UNCLOSED, name)
        return f"{self.md.htmlStash.store(placeholder(source))}\n"
