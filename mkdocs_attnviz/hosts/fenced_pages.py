"""The blocks in pages of generators that are not written in Python: Markdown, Quarto's and MDX, and notebooks.

Only fences are read, by markdown-it-py, which knows CommonMark's rules: what is a fence in a list, in a quotation, in
another fence. No generator's own syntax is interpreted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.hosts.commented import as_fences

NAME = "attention"
"""The language of our fences."""
PAGES = (".md", ".mdx", ".qmd", ".Rmd", ".markdown", ".ipynb")
"""The endings of pages that can have blocks."""
FENCED_ONLY = (".mdx", ".qmd", ".Rmd")
"""The endings of pages that Python-Markdown does not read."""
INCLUDE = re.compile(r"\s*\{\{<\s*include\s+(\S+)\s*>\}\}\s*")
"""A pattern for a line by which Quarto includes another file."""
FRONT_MATTER = re.compile(r"-{3}[ \t]*\r?\n.*?^(?:\.{3}|-{3})[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
"""A pattern for YAML between dashes at the beginning of a page."""
ATTRIBUTE = re.compile(
    r"""\s*(?:\#(?P<id>[\w:.-]+)|\.(?P<word>[\w-]+)|(?P<key>[A-Za-z][\w-]*)=(?:"(?P<double>(?:\\.|[^"\\])*)"|"""
    r"""'(?P<single>[^']*)'|(?P<bare>[^\s"'}]+)))"""
)
"""A pattern for one attribute in a fence's header, as in Pandoc: `#id`, `.class`, `key="value"`."""
IN_BRACES = re.compile(r"\{(.*)\}\s*", re.DOTALL)
UNREADABLE = (
    'The fence\'s header {!r} cannot be read; write key="value" with quotes, or move the options into the block as '
    "`key: value` lines."
)


@cache
def _parser() -> MarkdownIt:
    """Return a parser of CommonMark's blocks, without that of texts."""
    return MarkdownIt("commonmark").disable(["inline", "text_join"], ignoreInvalid=True)


def blocks_of(text: str, page: str) -> list[Source]:
    """Return the blocks in the text of a page, with their lines. A block may also stand in a comment."""
    text = as_fences(text)
    front = FRONT_MATTER.match(text)
    above = 0 if front is None else front[0].count("\n")
    body = text if front is None else text[front.end() :]
    found = []
    for token in _parser().parse(body):
        if token.type == "fence" and token.map is not None and (header := header_of(token.info)) is not None:
            options, problem = header
            found.append(Source(token.content.removesuffix("\n"), options, page, above + token.map[0] + 1, problem))
    return found


def blocks_of_file(path: Path, page: str, inside: tuple[Path, ...] = ()) -> list[Source]:
    """Return the blocks of a page or notebook, after those of the files that it includes, which are inside all files of
    `inside`, too.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    text = path.read_text("utf-8-sig")
    if path.suffix != ".ipynb":
        return [*_included(text, path, page, inside), *blocks_of(text, page)]
    notebook = json.loads(text)
    cells = notebook.get("cells", []) if isinstance(notebook, dict) else []
    found = []
    for number, cell in enumerate(cells, 1):
        if isinstance(cell, dict) and cell.get("cell_type") == "markdown":
            found += [replace(source, cell=number) for source in blocks_of("".join(cell.get("source", "")), page)]
    return found


def _included(text: str, path: Path, page: str, inside: tuple[Path, ...]) -> Iterator[Source]:
    """Yield the blocks of the files that Quarto includes in a page. They have the name of their own file."""
    for match in filter(None, map(INCLUDE.fullmatch, text.splitlines())):
        included = path.parent / match[1]
        if included.is_file() and included.resolve() not in (path.resolve(), *inside):
            name = (Path(page).parent / match[1]).as_posix()
            yield from blocks_of_file(included, name, (*inside, path.resolve()))


def header_of(info: str) -> tuple[dict[str, str], str | None] | None:
    """Return the options in a fence's header and what is wrong with it, or None if the fence is not ours.

    The header begins with the word `attention`, or has the class `.attention` in braces. Pandoc's `#id` is the block's
    `id`, and Quarto's `fig-cap` its caption. Other attributes with a hyphen belong to other tools.
    """
    info = info.strip()
    word, _, rest = info.partition(" ")
    if word == NAME:
        braces = IN_BRACES.fullmatch(rest.strip())
        return _options(braces[1] if braces else rest)
    braces = IN_BRACES.fullmatch(info)
    if braces is None:
        return None
    words = [match["word"] for match in ATTRIBUTE.finditer(braces[1]) if match["word"]]
    return _options(braces[1]) if words[:1] == [NAME] else None


def _options(text: str) -> tuple[dict[str, str], str | None]:
    """Return the block's options among attributes, and what cannot be read, as a sentence."""
    options: dict[str, str] = {}
    place = 0
    while match := ATTRIBUTE.match(text, place):
        place = match.end()
        value = next((match[name] for name in ("double", "single", "bare") if match[name] is not None), "")
        key = "caption" if match["key"] == "fig-cap" else match["key"]
        if match["id"]:
            options["id"] = match["id"]
        elif key and "-" not in key:
            options[key] = re.sub(r"\\(.)", r"\1", value) if match["double"] else value
    rest = text[place:].strip()
    return options, UNREADABLE.format(rest) if rest else None


class PageFiles:
    """The files of pages that a tool names, for the places of their blocks. Each is read once.

    `folders` are those that names of pages may be relative to.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._sources: dict[str, dict[str, list[Source]]] = {}

    def found(self, page: str, body: str) -> Source | None:
        """Return the block with this body as it stands in its page, or None. Equal blocks are told apart by their
        order: each call returns the next one."""
        if page not in self._sources:
            self._sources[page] = self._read(page)
        sources = self._sources[page].get(_bare(body), [])
        return sources.pop(0) if sources else None

    def _read(self, page: str) -> dict[str, list[Source]]:
        """Return the blocks of a page, by their text."""
        path = next((folder / page for folder in self.folders if (folder / page).is_file()), Path())
        sources: dict[str, list[Source]] = {}
        if path.suffix in PAGES:
            with suppress(OSError, ValueError):
                for source in blocks_of_file(path, page):
                    if source.page == page:
                        sources.setdefault(_bare(source.body), []).append(source)
        return sources


def _bare(body: str) -> str:
    """Return a block's text without what tools may change: spaces at the ends of lines, and empty lines around."""
    return "\n".join(line.rstrip() for line in body.strip("\n").splitlines())
