"""The pictures of the figures on many pages: written, or compared with those that are there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from mkdocs_attnviz.cli.arguments import base, log, read_only_build, run_command
from mkdocs_attnviz.cli.pictures import Folder, Pictured, is_current, pictured, url_of, write
from mkdocs_attnviz.cli.single_page import title_and_body
from mkdocs_attnviz.cli.site import Site, SiteError
from mkdocs_attnviz.cli.site_blocks import collect, text_of
from mkdocs_attnviz.cli.table import count
from mkdocs_attnviz.figure.placeholders import sources
from mkdocs_attnviz.hosts.commented import filled, lines_of_blocks
from mkdocs_attnviz.hosts.renderers import NoRenderer
from mkdocs_attnviz.pipeline import Build, Pipeline

MARKDOWN = (".md", ".mdx", ".markdown")
"""The endings of files in which a block may stand in a comment."""


@dataclass(frozen=True)
class _Page:
    """A page whose figures get pictures."""

    name: str | None
    """The page's name, or None for standard input."""
    body: str
    """The page's HTML, with placeholders for its blocks."""
    file: Path | None = None

    @property
    def text(self) -> str:
        """The page's Markdown; empty if blocks cannot stand in comments there."""
        has_comments = self.file is not None and self.file.suffix in MARKDOWN and self.file.is_file()
        return text_of(self.file) if has_comments and self.file is not None else ""


def export_pictures(
    site: Site,
    config: Path | None,
    paths: Sequence[str],
    folder: Folder,
    markup: Callable[[Pictured, Mapping[str, str]], str],
    url: str | None,
    *,
    check: bool,
) -> None:
    """Write the pictures of the pages at these paths, or of the whole site; then exit.

    Args:
        site: the site, whose settings apply.
        config: its configuration.
        paths: pages and folders of pages, or standard input (`-`).
        folder: where the pictures are.
        markup: the function that makes the HTML of a figure from the URLs of its pictures.
        url: the URL of the folder, or None for URLs relative to each page.
        check: whether to write nothing and report what is out of date.
    """
    pages = _pages(site, config, paths)
    export = _Export(folder, markup, url)
    if check:
        with read_only_build(site, config) as build:
            figures = _figures(build, pages)
            problems = [alert.message for alert in build.alerts]
        problems += [problem for page in pages for problem in export.problems(page, figures[page])]
        for problem in problems:
            click.echo(problem, err=True)
        if problems:
            click.echo("The same command without `--check` writes pictures and pages anew.", err=True)
        else:
            click.echo(f"{_counted(figures)}: all pictures are up to date")
        sys.exit(bool(problems))
    pipeline = Pipeline(site.settings, base(site), log, fatal=SiteError, command=run_command(config))
    with pipeline.build() as build:
        figures = _figures(build, pages)
    written = sum(export.write(page, figures[page]) for page in pages)
    click.echo(f"{_counted(figures)}: {count(written, 'picture')} written", err=True)
    sys.exit(bool(build.alerts))


def _figures(build: Build, pages: Sequence[_Page]) -> dict[_Page, list[Pictured]]:
    """Return the figures of each page. All are planned together."""
    build.prepare([source for page in pages for source in sources(page.body)])
    return {page: pictured(build, page.body) for page in pages}


def _counted(figures: Mapping[_Page, Sequence[Pictured]]) -> str:
    """Return the numbers of figures and pages."""
    return f"{count(sum(map(len, figures.values())), 'figure')} on {count(len(figures), 'page')}"


@dataclass(frozen=True)
class _Export:
    """The way of figures into files and pages."""

    folder: Folder
    markup: Callable[[Pictured, Mapping[str, str]], str]
    url: str | None

    def write(self, page: _Page, figures: Sequence[Pictured]) -> int:
        """Write the pictures that are not up to date, and return their number. The HTML that shows them goes into the
        page, or else to standard output.

        Raises:
            SiteError: if a file cannot be written.
        """
        number = 0
        for figure in figures:
            for path, format, picture in self.folder.files(page.name, figure):
                if not is_current(path, format, picture):
                    number += 1
                    with _told(path):
                        write(path, format, picture)
        text = page.text
        new, others = self._with_html(page, text, figures)
        if new != text and page.file is not None:
            with _told(page.file):
                page.file.write_bytes(new.encode())
        for figure in others:
            click.echo(f"{self._html(page, figure, Path())}\n")
        return number

    def problems(self, page: _Page, figures: Sequence[Pictured]) -> Iterator[str]:
        """Yield a sentence about each file that is missing or out of date."""
        for figure in figures:
            for path, format, picture in self.folder.files(page.name, figure):
                if not path.exists():
                    yield f"{figure.source.where()}: {path} is missing."
                elif not is_current(path, format, picture):
                    yield f"{figure.source.where()}: {path} is out of date."
        complete = len(figures) == len(sources(page.body))  # otherwise a block that cannot be drawn has pictures, too
        for path in self.folder.orphans(page.name, figures) if complete else ():
            yield f"{page.name}: {path} belongs to no block; remove it."
        text = page.text
        for figure in figures:
            if self._with_html(page, text, [figure])[0] != text:
                yield f"{figure.source.where()}: The lines below this block are out of date."

    def _with_html(self, page: _Page, text: str, figures: Sequence[Pictured]) -> tuple[str, list[Pictured]]:
        """Return the page with the HTML of figures below their blocks in comments, and the other figures."""
        lines = lines_of_blocks(text)
        inside = {figure.source.line: figure for figure in figures if figure.source.line in lines}
        start = Path() if page.file is None else page.file.parent
        below = {line: self._html(page, figure, start) for line, figure in inside.items() if line is not None}
        return filled(text, below), [figure for figure in figures if figure not in inside.values()]

    def _html(self, page: _Page, figure: Pictured, start: Path) -> str:
        """Return the HTML of a figure, for a page in the folder `start`."""
        files = self.folder.shown(page.name, figure)
        if self.url is None:
            return self.markup(figure, {theme: url_of(path, start) for theme, path in files.items()})
        root = self.url.rstrip("/")
        return self.markup(figure, {theme: f"{root}/{url_of(path, self.folder.path)}" for theme, path in files.items()})


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn an error while a file is written into a sentence.

    Raises:
        SiteError: if the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise SiteError(f"{path} cannot be written: {error.strerror}.") from None
    except NoRenderer:
        raise SiteError(f"{path} cannot be drawn without resvg: `pip install 'attnviz[png]'`.") from None


def _pages(site: Site, config: Path | None, paths: Sequence[str]) -> list[_Page]:
    """Return the pages at these paths, or those of the whole site.

    Raises:
        SiteError: if they cannot be read.
    """
    if "-" in paths:
        if len(paths) > 1:
            raise SiteError("Standard input (`-`) is a page of its own; give no other page.")
        return [_Page(None, title_and_body(site, "-", text_of("-"))[1])]
    files = [Path(path) for path in paths if Path(path).is_file()]
    docs = site.docs.resolve()
    inside = [Path(path) for path in paths if Path(path).is_dir() or Path(path).resolve().is_relative_to(docs)]
    pages = []
    if inside or not files:
        collected = collect(config, inside, log)
        pages = [_Page(name, body, collected.site.docs / name) for name, body in collected.html.items()]
    read = {page.file.resolve() for page in pages if page.file is not None}
    outside = [file for file in files if file.resolve() not in read]  # pages that the site does not have
    return pages + [_Page(str(file), title_and_body(site, str(file), text_of(file))[1], file) for file in outside]
