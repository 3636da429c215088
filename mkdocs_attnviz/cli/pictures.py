"""The static pictures of figures in files, and the HTML that shows them, for pages that run no script.

A picture is named by its page and by the figure's id there, so it keeps its name whatever it shows:
`FOLDER/README/cats-light.svg`. There is one for light and one for dark pages, unless the block forces a theme.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from urllib.parse import quote

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.page import fill
from mkdocs_attnviz.figure.placeholders import sources
from mkdocs_attnviz.figure.rendered import Rendered
from mkdocs_attnviz.hosts import png
from mkdocs_attnviz.pipeline import Build
from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import framed

THEMES = ("light", "dark")
ENCODED = str.maketrans({character: f"&#{ord(character)};" for character in "{}`$"})
"""Characters that Svelte or mathematics in Markdown would read in an attribute or a text, as references."""


@dataclass(frozen=True)
class Pictured:
    """A figure with its pictures."""

    source: Source
    id: str
    """The figure's id in its page."""
    figure: Figure

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        """The pictures by theme: for light and for dark pages, or for the theme that the block forces."""
        forced = self.figure.block.theme
        themes = THEMES if forced == "auto" else (forced,)
        return {theme: framed(self.figure.in_theme(theme).picture, theme) for theme in themes}

    @property
    def width(self) -> int:
        """The width of the picture in CSS pixels."""
        return next(iter(self.pictures.values())).width


def pictured(build: Build, body: str) -> list[Pictured]:
    """Return the figures of a page's HTML with placeholders, in page order. Blocks that cannot be drawn become alerts
    of the build."""
    waiting = sources(body)
    rendered = dict(zip((source.to_json() for source in waiting), build.render(waiting), strict=True))
    found: list[Pictured] = []

    def collector(source: Source) -> _Collector:
        return _Collector(source, rendered[source.to_json()], found)

    fill(body, collector, Assets(), build.failed)
    return found


@dataclass(frozen=True)
class _Collector:
    """A figure that notes its id when it is put into its page. So the id is the one that it has in every host."""

    source: Source
    rendered: Rendered
    found: list[Pictured]
    scripts: tuple[str, ...] = ()

    @property
    def wanted_id(self) -> str | None:
        return self.rendered.wanted_id

    def html(self, id: str, assets: Assets) -> str:  # noqa: ARG002
        if isinstance(self.rendered, Figure):
            self.found.append(Pictured(self.source, id, self.rendered))
        return ""


@dataclass(frozen=True)
class Folder:
    """The folder of pictures, in one or both formats."""

    path: Path
    formats: Sequence[str]
    """`svg`, `png` or both. Pages show the first."""

    def of_page(self, page: str | None) -> Path:
        """Return the folder of a page's pictures; without a page, the folder itself."""
        if page is None:
            return self.path
        name = PurePath(page)
        inside = name.is_absolute() or ".." in name.parts
        return self.path / (name.stem if inside else name.with_suffix(""))

    def files(self, page: str | None, figure: Pictured) -> Iterator[tuple[Path, str, Picture]]:
        """Yield path, format and picture of each file of a figure."""
        for theme, picture in figure.pictures.items():
            for format in self.formats:
                yield self.of_page(page) / f"{figure.id}-{theme}.{format}", format, picture

    def shown(self, page: str | None, figure: Pictured) -> dict[str, Path]:
        """Return the file that pages show, by theme."""
        return {theme: self.of_page(page) / f"{figure.id}-{theme}.{self.formats[0]}" for theme in figure.pictures}

    def orphans(self, page: str | None, figures: Sequence[Pictured]) -> Iterator[Path]:
        """Yield the pictures in a page's folder that belong to none of its figures."""
        drawn = {path for figure in figures for path, _, _ in self.files(page, figure)}
        for format in self.formats:
            for theme in THEMES:
                yield from sorted(set(self.of_page(page).glob(f"*-{theme}.{format}")) - drawn)


def is_current(path: Path, format: str, picture: Picture) -> bool:
    """Return whether a file shows this picture. A PNG differs with the fonts of the machine that has drawn it, so what
    counts is the SVG that it was drawn from."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return content == _svg(picture) if format == "svg" else png.drawn_from(content) == png.digest(picture.svg)


def write(path: Path, format: str, picture: Picture) -> None:
    """Write a picture.

    Raises:
        OSError: if it cannot be written.
        NoRenderer: if the format is `png` and nothing here can draw one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _svg(picture) if format == "svg" else png.draw(picture.svg))


def _svg(picture: Picture) -> bytes:
    """Return the content of an SVG file. It ends with a line break, as tools that tidy a repository want."""
    return f"{picture.svg}\n".encode()


def for_github(figure: Pictured, urls: Mapping[str, str]) -> str:
    """Return the HTML that shows a figure on GitHub, whose `picture` element follows the reader's theme there."""
    first = next(iter(urls.values()))
    dark = ""
    if len(urls) > 1:
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="{_text(urls["dark"])}">\n'
    return f"<p>\n<picture>\n{dark}{_img(figure, first)}\n</picture>{_caption(figure)}\n</p>"


def for_hugging_face(figure: Pictured, urls: Mapping[str, str]) -> str:
    """Return the HTML that shows a figure in Hugging Face's documentation, whose theme is a class of the page."""
    classes = {"light": "block dark:hidden", "dark": "hidden dark:block"} if len(urls) > 1 else {}
    shown = "\n".join(_img(figure, url, classes.get(theme, "")) for theme, url in urls.items())
    return f"<p>\n{shown}{_caption(figure)}\n</p>"


PLACES: dict[str, Callable[[Pictured, Mapping[str, str]], str]] = {
    "github": for_github,
    "hugging-face": for_hugging_face,
}
"""The functions that make the HTML for each place where pictures are shown."""


def _img(figure: Pictured, url: str, css_class: str = "") -> str:
    """Return the HTML of an image. It has no height, which would distort it on pages narrower than it is."""
    with_class = f'class="{css_class}" ' if css_class else ""
    return f'<img {with_class}src="{_text(url)}" alt="{_text(figure.figure.sentence)}" width="{figure.width}">'


def _caption(figure: Pictured) -> str:
    """Return the HTML of the caption."""
    caption = figure.figure.block.caption
    return f"\n<br><em>{_text(caption)}</em>" if caption else ""


def _text(text: str) -> str:
    """Return a text in one line, escaped for HTML, and for Markdown and Svelte around it."""
    return html.escape(" ".join(text.split())).translate(ENCODED)


def url_of(path: Path, start: Path) -> str:
    """Return the URL of a file, relative to a folder."""
    return quote(Path(os.path.relpath(path, start)).as_posix())
