"""The host Python-Markdown, and the tools built on it: Pelican, Zensical, and SuperFences in any of them.

It decides

- how a fence is claimed: by the extension (`fences`), or by `fence` in SuperFences' `custom_fences` without our
extension;

- when figures are drawn: at the end of each conversion, unless a larger host does that later (`page.hosted`), or the
text is only part of a page (`page.is_part`);

- that with `strict` a block that cannot be drawn raises an exception, because not every tool can fail on a warning;

- which information it takes from Zensical and MkDocs about the page that they render (`Surroundings`).
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

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.assets import AssetFolder, Assets
from mkdocs_attnviz.figure.placeholders import sources
from mkdocs_attnviz.hosts import record
from mkdocs_attnviz.hosts.fences import ClaimFences, FindUnclosed, waiting
from mkdocs_attnviz.hosts.markdown_settings import MarkdownSettings
from mkdocs_attnviz.hosts.page import SourcePage, hosted, is_part
from mkdocs_attnviz.pipeline import Build, Pipeline
from mkdocs_attnviz.settings import Settings

FILL = "attnviz"
"""The name of the postprocessor that draws figures."""

log = logging.getLogger("mkdocs_attnviz")


class Undrawn(Exception):
    """An error that lists every block of a page that could not be drawn, for `strict`."""


def _undrawn(message: str) -> Undrawn:
    """Return the error. In MkDocs and ProperDocs it is also one of their own errors, which they show in one line."""
    tool = sys.modules.get("mkdocs.exceptions") or sys.modules.get("properdocs.exceptions")
    kind = Undrawn if tool is None else type("Undrawn", (Undrawn, tool.BuildError), {})
    error: Undrawn = kind(message)
    return error


@cache
def _options() -> list[tuple[str, Any, str | None]]:
    """Return name, default and description of each setting. MkDocs makes an extension for each page."""
    fields = MarkdownSettings.model_fields.items()
    return [(name, info.get_default(call_default_factory=True), info.description) for name, info in fields]


class AttnvizExtension(Extension):
    """The Markdown extension. Its settings are those of `MarkdownSettings`.

    With `assets_dir` and `assets_url`, script and data go into that folder, and pages refer to it under that URL.
    Otherwise a page contains everything itself.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.config = {name: [default, description] for name, default, description in _options()}
        super().__init__()
        self.settings = MarkdownSettings.of(kwargs)
        for name, value in kwargs.items():  # setConfig would turn texts into booleans if the default is a boolean
            self.config[name][0] = value
        self._page = SourcePage()

    def page(self) -> SourcePage:
        """Return the page that is being converted, or the page of a larger host if there is one."""
        return hosted() or self._page

    def extendMarkdown(self, md: Markdown) -> None:
        """Register the processors of the extension."""
        md.registerExtension(self)
        # Just above `fenced_code_block` (25), which may be registered after us.
        md.preprocessors.register(ClaimFences(md, self.page), "attnviz", 25.5)
        md.preprocessors.register(FindUnclosed(md, self.page), "attnviz_unclosed", 24.5)
        md.preprocessors.register(BeginPage(md, self._page), "attnviz_begin", 25.6)
        md.postprocessors.register(FillPlaceholders(md, self.settings, self._page), FILL, -10)


@dataclass(frozen=True)
class Fence:
    """A formatter for SuperFences' `custom_fences`, for sites without our extension.

    It is the same object for every page and sees only the block. Everything about the page is in the postprocessor.
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
        """Return the placeholder of a fence."""
        if FILL not in md.postprocessors:
            md.postprocessors.register(FillPlaceholders(md, self.settings, parts=True), FILL, -10)
        page = hosted() or md.postprocessors[FILL].page_of(md.lines)  # type: ignore[attr-defined] # it is ours
        return waiting(page, md, source, options | ({"id": id_value} if id_value else {}))


def fence_format(**settings: Any) -> Fence:
    """Return a formatter with these settings, which are those of the extension.

    Raises:
        KeyError: if there is no such setting.
        SettingsError: if a value is not allowed. It names the setting, its value and what is allowed.
    """
    return Fence(MarkdownSettings.of(settings))


def fence(source: str, language: str, css_class: str, options: dict[str, str], md: Markdown, **kwargs: Any) -> str:
    """Return the placeholder of a fence. This formatter has the default settings."""
    return fence_format()(source, language, css_class, options, md, **kwargs)


class BeginPage(Preprocessor):
    """A preprocessor that reads the page while its lines are still unchanged."""

    def __init__(self, md: Markdown, page: SourcePage) -> None:
        super().__init__(md)
        self.page = page

    def run(self, lines: list[str]) -> list[str]:
        """Record the lines of the page."""
        if hosted() is None:
            self.page.begin(*Surroundings(self.md).page(lines))
        return lines


class FillPlaceholders(Postprocessor):
    """A postprocessor that draws all blocks of a page together, after all other steps.

    With `parts`, it also draws the blocks of a docstring, because the page around it may not have our fence.
    """

    def __init__(
        self, md: Markdown, settings: MarkdownSettings, page: SourcePage | None = None, *, parts: bool = False
    ) -> None:
        """Create the postprocessor. Without `page`, the page is determined by `page_of`."""
        super().__init__(md)
        self.settings, self.parts = settings, parts
        self._page, self._lines = page or SourcePage(), list[str]()

    def page_of(self, lines: list[str]) -> SourcePage:
        """Return the page of the conversion that has these lines. Each conversion has its own list."""
        if lines is not self._lines:
            self._page.begin(*Surroundings(self.md).page(lines))
            self._lines = lines
        return self._page

    def run(self, text: str) -> str:
        """Return the HTML of the page with its figures."""
        if hosted() is not None or (is_part(self.md) and not self.parts):
            return text
        around = Surroundings(self.md)
        base = around.root / self.settings.base_dir
        settings = self.settings.model_dump_json(include=set(Settings.model_fields))
        around.note(self.settings, text)
        assets = self._assets(base, around)
        there = _files(assets)
        in_page = not self.settings.assets_dir
        with _shared(settings, str(base.resolve()), around.log, in_page).build() as build:
            unfilled, text = text, build.fill(text, assets)
            warned = [*build.alerts, *build.failed_claims]
            problems = [*(each.message for each in warned), *self._wrong_links(unfilled, build, around)]
        if around.is_site and there != _files(assets):
            log.warning(LATE, self.settings.assets_dir)
        if self.settings.strict and problems:
            raise _undrawn("\n".join(problems))
        return text

    def _wrong_links(self, text: str, build: Build, around: Surroundings) -> list[str]:
        """Log and return the links to figures of this page whose state is not possible, such as `#figure~layer=99`."""
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
        """Return the places of script and data."""
        settings = self.settings
        if not settings.assets_dir:
            return Assets()
        return AssetFolder(base / settings.assets_dir, around.url(settings.assets_url or settings.assets_dir))


LINK_WITH_STATE = re.compile(r"""\shref=["']#([\w.-]+)~([^"']+)["']""")
"""A pattern for a link to a figure in a state on the same page."""
LATE = (
    "Files were added to %s while Zensical was building; it may not have seen them. Build again, or run "
    "`attnviz assets` before."
)


def _files(assets: Assets) -> set[Path]:
    """Return the script and data files in an asset folder."""
    return set(assets.folder.glob("*.js")) if isinstance(assets, AssetFolder) else set()


class Surroundings:
    """The information that a tool provides about the page that it renders. Python-Markdown itself provides none.

    Zensical provides a preprocessor named `rendering_context`: it has the page's file (`page.path`), and `root_dir` and
    `docs_dir` in its `config`. MkDocs without our plugin provides a tree processor named `relpath` with `file` and
    `config`. Without them, nothing is known about the page.
    """

    def __init__(self, md: Markdown) -> None:
        context: Any = md.preprocessors["rendering_context"] if "rendering_context" in md.preprocessors else None  # noqa: SIM401 — has no `get`
        config: Mapping[str, Any] = getattr(context, "config", {})
        self.root = Path(config.get("root_dir", ""))
        self.docs = self.root / config.get("docs_dir", "")
        self.is_site = context is not None
        self.log = log
        self._tool = "zensical"
        self._path: str | None = getattr(getattr(context, "page", None), "path", None)
        if not self.is_site and "relpath" in md.treeprocessors:
            self._mkdocs(md.treeprocessors["relpath"])

    def _mkdocs(self, processor: Any) -> None:
        """Read the information that MkDocs provides."""
        self._tool = "mkdocs"
        self._path = getattr(getattr(processor, "file", None), "src_uri", None)
        config: Mapping[str, Any] = getattr(processor, "config", {})
        self.root = Path(config.get("config_file_path") or "").parent
        self.docs = Path(config.get("docs_dir") or "")
        self.log = logging.getLogger("mkdocs.plugins.mkdocs_attnviz")  # MkDocs' `--strict` ignores other loggers

    def page(self, lines: list[str]) -> tuple[str | None, str]:
        """Return the page's name and its text. The text comes from the file, because the converted text has no front
        matter any more."""
        text = "\n".join(lines)
        if self._path is None:
            return None, text
        try:
            return self._path, (self.docs / self._path).read_text("utf-8", errors="replace")
        except OSError:  # a page that a plugin has generated
            return self._path, text

    def note(self, settings: MarkdownSettings, html: str) -> None:
        """Record the blocks of this page for the command `attnviz`."""
        if self._path is not None:
            record.drawn(self._tool, self.root, self.docs, settings, self._path, sources(html))

    def url(self, url: str) -> str:
        """Return a URL that starts at the site's root relative to this page's file. Zensical then makes it relative to
        the page's own URL."""
        parts = urlsplit(url)
        if not self.is_site or self._path is None or parts.scheme or parts.netloc or url.startswith("/"):
            return url
        return posixpath.relpath(url, posixpath.dirname(self._path) or ".")


PAUSE = 10.0
"""The number of seconds without a conversion after which the next one counts as a new build. A new build tries failed
blocks again. No tool reports when it starts again, for example because a page was edited."""


class Conversions:
    """The conversions of one process. Each is a build, which continues the previous one if that ended just before."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._last: Build | None = None
        self._ended = 0.0

    @contextmanager
    def build(self) -> Iterator[Build]:
        """Begin a build for one conversion. The worker process stays for the next one."""
        last = self._last if time.monotonic() - self._ended < PAUSE else None
        with self.pipeline.build(after=last, warm=True) as build:
            try:
                yield build
            finally:
                self._last, self._ended = build, time.monotonic()


@cache
def _shared(settings: str, base: str, log: logging.Logger, in_page: bool) -> Conversions:
    """Return the shared pipeline, so that all conversions in a process use one worker, however many Markdown instances
    there are."""
    own = Settings.model_validate_json(settings)
    pipeline = Pipeline(own, Path(base), log, fatal=_undrawn, in_page=in_page, more="`attnviz run -v`")
    atexit.register(pipeline.close)
    return Conversions(pipeline)
