"""Python-Markdown and what is made with it: Pelican, Zensical, SuperFences in any of them.

Decides for itself:

- how a fence is claimed: by the extension (`fences`), or by `fence`, which stands in SuperFences' `custom_fences` and
  needs no extension of ours;
- when figures are drawn: at the end of each conversion, unless a larger host does that later (`page.hosted`), or
  what is converted is a part of a page (`page.is_part`);
- that with `strict` a block that cannot be drawn is an exception, since not every tool heeds a warning;
- what it takes from Zensical and MkDocs of the page that they render (`Surroundings`).
"""

from __future__ import annotations

import atexit
import html
import logging
import posixpath
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor
from markdown.preprocessors import Preprocessor
from pydantic import Field

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure import AssetFolder, Assets, sources
from mkdocs_attnviz.hosts import record
from mkdocs_attnviz.hosts.fences import ClaimFences, FindUnclosed, waiting
from mkdocs_attnviz.hosts.page import SourcePage, hosted, is_part
from mkdocs_attnviz.pipeline import Build, Pipeline
from mkdocs_attnviz.settings import Settings

EXTENSION = "mkdocs_attnviz"
"""Its name in a configuration."""
FILL = "attnviz"
"""Name of the postprocessor that draws."""

log = logging.getLogger("mkdocs_attnviz")


class MarkdownSettings(Settings):
    """The settings of a site, and those that only a host without a site has."""

    base_dir: str = Field(".", description="Folder that relative directories start from.")
    assets_dir: str = Field("", description="Folder for script and data; empty: inside the page.")
    assets_url: str = Field(
        "",
        description="URL of that folder, as pages refer to it; in Zensical a relative one starts at the site's root.",
    )
    strict: bool = Field(False, description="Raise an exception for a block that cannot be drawn.")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> MarkdownSettings:
        """As `read`, and names that are none are told apart from bad values.

        Raises:
            KeyError: there is no such setting.
            SettingsError: as `read`.
        """
        for name in values:
            if name not in cls.model_fields:
                raise KeyError(f"mkdocs_attnviz has no setting {name!r}; it has {', '.join(cls.model_fields)}")
        settings = cls.read(dict(values))
        assert isinstance(settings, cls)  # noqa: S101 — `read` says only that it gives `Settings`
        return settings


class Undrawn(Exception):
    """Every block of a page that could not be drawn, where `strict` asks for an exception."""


def _undrawn(message: str) -> Undrawn:
    """Return the exception; in MkDocs and ProperDocs one of their own kind, too, which they show in one line."""
    tool = sys.modules.get("mkdocs.exceptions") or sys.modules.get("properdocs.exceptions")
    kind = Undrawn if tool is None else type("Undrawn", (Undrawn, tool.BuildError), {})
    error: Undrawn = kind(message)
    return error


class AttnvizExtension(Extension):
    """Settings are those of `MarkdownSettings`.

    With `assets_dir` and `assets_url` script and data go into that folder, and pages refer to it under that
    URL; else a page holds everything itself.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.config = {
            name: [info.get_default(call_default_factory=True), info.description]
            for name, info in MarkdownSettings.model_fields.items()
        }
        super().__init__()
        self.settings = MarkdownSettings.of(kwargs)
        for name, value in kwargs.items():  # setConfig would turn texts into booleans where the default is one
            self.config[name][0] = value
        self._page = SourcePage()

    def page(self) -> SourcePage:
        """Return the page that is being converted: a larger host's, if there is one."""
        return hosted() or self._page

    def extendMarkdown(self, md: Markdown) -> None:
        md.registerExtension(self)
        # Just above `fenced_code_block` (25), which may be registered after us.
        md.preprocessors.register(ClaimFences(md, self.page), "attnviz", 25.5)
        md.preprocessors.register(FindUnclosed(md, self.page), "attnviz_unclosed", 24.5)
        md.preprocessors.register(BeginPage(md, self._page), "attnviz_begin", 25.6)
        md.postprocessors.register(FillPlaceholders(md, self.settings, self._page), FILL, -10)


@dataclass(frozen=True)
class Fence:
    """A formatter for SuperFences' `custom_fences`, where our extension is not on.

    It is the same on every page and only sees the block: what belongs to the page stands in its postprocessor.
    """

    settings: MarkdownSettings

    def __call__(
        self,
        source: str,
        language: str,
        css_class: str,
        options: dict[str, str],
        md: Markdown,
        id_value: str = "",
        **_: Any,
    ) -> str:
        if FILL not in md.postprocessors:
            md.postprocessors.register(FillPlaceholders(md, self.settings, parts=True), FILL, -10)
        page = hosted() or md.postprocessors[FILL].page_of(md.lines)  # type: ignore[attr-defined] # it is ours
        return waiting(page, md, source, options | ({"id": id_value} if id_value else {}))


def fence_format(**settings: Any) -> Fence:
    """A formatter with settings; those of the extension.

    Raises:
        KeyError: there is no such setting.
        SettingsError: names the setting, its value and what is allowed.
    """
    return Fence(MarkdownSettings.of(settings))


def fence(source: str, language: str, css_class: str, options: dict[str, str], md: Markdown, **kwargs: Any) -> str:
    """The formatter with all settings as they are by default."""
    return fence_format()(source, language, css_class, options, md, **kwargs)


class BeginPage(Preprocessor):
    """While the page's lines are still as they were written."""

    def __init__(self, md: Markdown, page: SourcePage) -> None:
        super().__init__(md)
        self.page = page

    def run(self, lines: list[str]) -> list[str]:
        if hosted() is None:
            self.page.begin(*Surroundings(self.md).page(lines))
        return lines


class FillPlaceholders(Postprocessor):
    """Draws the blocks of one page together, when all else is done.

    With `parts` also those of a docstring: nothing says that the page around it has a fence of ours, too.
    """

    def __init__(
        self, md: Markdown, settings: MarkdownSettings, page: SourcePage | None = None, *, parts: bool = False
    ) -> None:
        """`page` is begun by others; left out, by `page_of`."""
        super().__init__(md)
        self.settings, self.parts = settings, parts
        self._page, self._lines = page or SourcePage(), list[str]()

    def page_of(self, lines: list[str]) -> SourcePage:
        """The page of the conversion that has these lines; each has a list of its own."""
        if lines is not self._lines:
            self._page.begin(*Surroundings(self.md).page(lines))
            self._lines = lines
        return self._page

    def run(self, text: str) -> str:
        if hosted() is not None or (is_part(self.md) and not self.parts):
            return text
        around = Surroundings(self.md)
        base = around.root / self.settings.base_dir
        settings = self.settings.model_dump_json(include=set(Settings.model_fields))
        around.note(self.settings, text)
        assets = self._assets(base, around)
        there = _files(assets)
        with _shared(settings, str(base.resolve()), around.log).build() as build:
            unfilled, text = text, build.fill(text, assets)
            problems = [*(alert.message for alert in build.alerts), *self._wrong_links(unfilled, build, around)]
        if around.is_site and there != _files(assets):
            log.warning(LATE, self.settings.assets_dir)
        if self.settings.strict and problems:
            raise _undrawn("\n".join(problems))
        return text

    def _wrong_links(self, text: str, build: Build, around: Surroundings) -> list[str]:
        """Return, and tell, which links to figures of this page have a state that cannot be, `#figure~layer=99`."""
        links = dict.fromkeys((match[1], html.unescape(match[2])) for match in LINK_WITH_STATE.finditer(text))
        if not links:
            return []
        blocks, problems = sources(text), list[str]()
        for id, state in links:
            if problem := build.wrong_state(blocks, id, state):
                link = f"#{id}~{state}"
                place = Source("", page=self._page.path, line=self._page.line_with(link)).where()
                problems.append(f"{place}{': ' if place else ''}The link to `{link}` cannot be followed: {problem}")
                around.log.warning(problems[-1])
        return problems

    def _assets(self, base: Path, around: Surroundings) -> Assets:
        settings = self.settings
        if not settings.assets_dir:
            return Assets()
        return AssetFolder(base / settings.assets_dir, around.url(settings.assets_url or settings.assets_dir))


LINK_WITH_STATE = re.compile(r"""\shref=["']#([\w.-]+)~([^"']+)["']""")
"""A link within a page to a figure in a state."""
LATE = (
    "Files were added to %s while Zensical was building; it may not have seen them. Build once more, or run "
    "`attnviz assets` before."
)


def _files(assets: Assets) -> set[Path]:
    return set(assets.folder.glob("*.js")) if isinstance(assets, AssetFolder) else set()


class Surroundings:
    """What a tool tells of the page it renders; Python-Markdown by itself tells nothing.

    Zensical leaves word in a preprocessor named `rendering_context`: the page's file (`page.path`), and `root_dir` and
    `docs_dir` of its `config`. MkDocs, where our plugin is not on, has a tree processor named `relpath` with `file` and
    `config`. Where they are missing, nothing is known.
    """

    def __init__(self, md: Markdown) -> None:
        told: Any = md.preprocessors["rendering_context"] if "rendering_context" in md.preprocessors else None  # noqa: SIM401 — has no `get`
        config: Mapping[str, Any] = getattr(told, "config", {})
        self.root = Path(config.get("root_dir", ""))
        self.docs = self.root / config.get("docs_dir", "")
        self.is_site = told is not None
        self.log = log
        self._tool = "zensical"
        self._path: str | None = getattr(getattr(told, "page", None), "path", None)
        if not self.is_site and "relpath" in md.treeprocessors:
            self._mkdocs(md.treeprocessors["relpath"])

    def _mkdocs(self, told: Any) -> None:
        self._tool = "mkdocs"
        self._path = getattr(getattr(told, "file", None), "src_uri", None)
        config: Mapping[str, Any] = getattr(told, "config", {})
        self.root = Path(config.get("config_file_path") or "").parent
        self.docs = Path(config.get("docs_dir") or "")
        self.log = logging.getLogger("mkdocs.plugins.mkdocs_attnviz")  # others do not count for its `--strict`

    def page(self, lines: list[str]) -> tuple[str | None, str]:
        """The page's name and text: that of its file, since what is converted has no front matter any more."""
        text = "\n".join(lines)
        if self._path is None:
            return None, text
        try:
            return self._path, (self.docs / self._path).read_text("utf-8", errors="replace")
        except OSError:  # a page that was made, not written
            return self._path, text

    def note(self, settings: MarkdownSettings, html: str) -> None:
        """Leave word for the command of the blocks that are drawn on this page."""
        if self._path is not None:
            record.drawn(self._tool, self.root, self.docs, settings, self._path, sources(html))

    def url(self, url: str) -> str:
        """A URL that starts at the site's root, as this page's file says it: Zensical turns it into the page's own."""
        parts = urlsplit(url)
        if not self.is_site or self._path is None or parts.scheme or parts.netloc or url.startswith("/"):
            return url
        return posixpath.relpath(url, posixpath.dirname(self._path) or ".")


PAUSE = 10.0
"""Seconds without a conversion after which the next one counts as another build, in which what has failed is tried
again: nothing tells when a tool begins anew with its pages, as it does when one of them is edited."""


class Conversions:
    """The conversions of one process: each is a build, and goes on with the one before if that ended just now."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._last: Build | None = None
        self._ended = 0.0

    @contextmanager
    def build(self) -> Iterator[Build]:
        """Begin a build for one conversion; the worker process stays for the next one."""
        last = self._last if time.monotonic() - self._ended < PAUSE else None
        with self.pipeline.build(after=last, warm=True) as build:
            try:
                yield build
            finally:
                self._last, self._ended = build, time.monotonic()


@cache
def _shared(settings: str, base: str, log: logging.Logger) -> Conversions:
    """One worker for all conversions of a process, however many Markdown instances there are."""
    own = Settings.model_validate_json(settings)
    pipeline = Pipeline(own, Path(base), log, fatal=_undrawn, more="`attnviz run -v`")
    atexit.register(pipeline.close)
    return Conversions(pipeline)
