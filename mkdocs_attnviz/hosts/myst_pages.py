"""The blocks of mystmd's pages, read without mystmd: from Markdown, notebooks and included files.

mystmd hands a plugin the code of a block, but neither the header of its fence nor, for `{code}` and notebooks, its line
in the file. So the plugin takes these from here, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.hosts.fenced_pages import NAME, header_of
from mkdocs_attnviz.hosts.fenced_projects import FencedProject
from mkdocs_attnviz.hosts.myst_project import Project

LITERAL = frozenset(
    {"anywidget", "bibliography", "code", "code-block", "code-cell", "csv-table", "iframe", "image", "include", "index"}
    | {"literalinclude", "math", "mermaid", "output", "raw", "raw:latex", "raw:tex", "raw:typst", "sourcecode", "toc"}
)
"""The directives whose content is not Markdown."""
CODE = frozenset(("code", "code-block", "sourcecode"))
"""The directives that make a code block of their content, in the language of their argument."""
DIRECTIVE = re.compile(r"\s*\{\s*([\w:.-]+)\s*\}\s*(.*)")
"""A pattern for the header of a directive, and its argument."""
OPTION = re.compile(r"\s*:[\w-]+:")
"""A pattern for a line with an option of a directive."""


@cache
def _parser() -> MarkdownIt:
    """Return a parser of MyST's blocks."""
    return MarkdownIt("commonmark").use(front_matter_plugin).use(colon_fence_plugin).use(myst_block_plugin)


def read(config: Path) -> FencedProject:
    """Return the project that a `myst.yml` describes.

    Raises:
        ValueError: if it cannot be read. The message is a sentence.
    """
    project = Project.read(config)
    return FencedProject(project.settings, lambda: list(project.pages()), blocks_of)


def blocks_of(page: Path, name: str) -> list[Source]:
    """Return the blocks of a page, with those of the files that it includes.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    text = page.read_text("utf-8-sig")
    if page.suffix != ".ipynb":
        return list(_blocks(text, page, name))
    notebook = json.loads(text)
    found = []
    for number, cell in enumerate(notebook.get("cells", []) if isinstance(notebook, dict) else [], 1):
        if isinstance(cell, dict) and cell.get("cell_type") == "markdown":
            content = "".join(cell.get("source", ""))
            found += [replace(source, cell=number) for source in _blocks(content, page, name)]
    return found


def _blocks(text: str, page: Path, name: str, above: int = 0, inside: tuple[Path, ...] = ()) -> Iterator[Source]:
    """Yield the blocks of a text that begins `above` lines below the start of its page. `inside` are the files that
    include this one."""
    for token in _parser().parse(text):
        if token.type not in ("fence", "colon_fence") or token.map is None:
            continue
        line = above + token.map[0] + 1  # of the opening fence, counted from 1
        directive = DIRECTIVE.fullmatch(token.info)
        if directive is None:
            if token.type == "fence" and (header := header_of(token.info)) is not None:
                options, problem = header
                yield Source(token.content.removesuffix("\n"), options, name, line, problem)
        elif directive[1] in CODE and directive[2].strip() == NAME:
            yield _directive(token, name, line)
        elif directive[1] == "include":
            yield from _included(directive[2].strip(), page, name, (*inside, page))
        elif directive[1] not in LITERAL:
            yield from _blocks(token.content, page, name, line, inside)


def _directive(token: Token, name: str, line: int) -> Source:
    """Return the block in a directive `{code} attention`, whose content begins after the directive's options."""
    lines = token.content.removesuffix("\n").split("\n")
    start = 0
    while start < len(lines) and OPTION.match(lines[start]):
        start += 1
    if start == 0 and lines[0].strip() == "---":  # options as YAML
        start = next((number for number, each in enumerate(lines[1:], 2) if each.strip() == "---"), 0)
    while start and start < len(lines) and not lines[start].strip():
        start += 1
    return Source("\n".join(lines[start:]), {}, name, line + start)


def _included(target: str, page: Path, name: str, inside: tuple[Path, ...]) -> Iterator[Source]:
    """Yield the blocks of an included Markdown file, under its own name."""
    path = (page.parent / target).resolve()
    if path.suffix != ".md" or path in inside or not path.is_file():
        return
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError):
        return
    folder = Path(name).parent
    yield from _blocks(text, path, _joined(folder, target), inside=inside)


def _joined(folder: Path, target: str) -> str:
    """Return the name of a file, relative to the folder of a page."""
    parts: list[str] = []
    for part in (folder / target).as_posix().split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def matched(bodies: Sequence[str], known: Iterable[Source]) -> list[Source | None]:
    """Return the block of a page that has each of these texts, in order; None if the page has none. Equal blocks are
    told apart by their order."""
    by_text: dict[str, list[Source]] = {}
    for source in known:
        by_text.setdefault(_bare(source.body), []).append(source)
    found: list[Source | None] = []
    for body in bodies:
        left = by_text.get(_bare(body), [])
        found.append(left.pop(0) if left else None)
    return found


def _bare(body: str) -> str:
    """Return a block's text without what mystmd may change: spaces at the ends of lines, and empty lines around."""
    return "\n".join(line.rstrip() for line in body.strip("\n").split("\n"))
