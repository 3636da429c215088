"""The hosts MkDocs and ProperDocs.

This module decides when each step runs in a build, and where the assets go (`assets/attnviz/`). Blocks are collected
from the pages' rendered HTML and run in one batch in `on_env`. Remaining placeholders are filled in finished pages and
again in the finished site, because blog excerpts and print pages are made late. Under `serve`, the worker stays alive
between builds.

Every hook may run more than once in a build: mkdocs-static-i18n builds the other languages, from `on_config` on, while
the first language is in its `on_post_build`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment
from mkdocs.config.base import BaseConfigOption, Config
from mkdocs.config.base import ValidationError as ConfigError
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import BasePlugin, event_priority, get_plugin_logger
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.assets import AssetFolder, mend
from mkdocs_attnviz.figure.placeholders import MARK, ids_to_come, sources
from mkdocs_attnviz.hosts import record
from mkdocs_attnviz.hosts.markdown_settings import EXTENSION
from mkdocs_attnviz.hosts.page import SourcePage, host, unhost
from mkdocs_attnviz.hosts.record import COLLECT, COLLECT_FROM
from mkdocs_attnviz.pipeline import Build, Pipeline
from mkdocs_attnviz.settings import Settings, SettingsError

ASSETS = "assets/attnviz"
"""The folder of script and data in the site."""
SEVERAL = ("i18n",)
"""The plugins that build the site again for other languages after this build."""

log = get_plugin_logger("attnviz")


class Setting(BaseConfigOption[Any]):
    """One field of `Settings` as an option of MkDocs."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.default = Settings.model_fields[name].get_default(call_default_factory=True)

    def run_validation(self, value: object) -> object:
        """Return the value.

        Raises:
            ConfigError: if the value is not allowed.
        """
        try:
            Settings.read({self.name: value})
        except SettingsError as error:
            raise ConfigError(str(error)) from None
        return value


class PluginSettings(Config):
    """The fields of `Settings` as a schema of MkDocs."""

    _schema = tuple((name, Setting(name)) for name in Settings.model_fields)


class AttnvizPlugin(BasePlugin[PluginSettings]):
    """The plugin of MkDocs."""

    pipeline: Pipeline | None = None

    build: Build | None = None

    def __init__(self) -> None:
        super().__init__()
        self.source_page = SourcePage()
        self._scope = ExitStack()
        """The context that ends the build."""

    def on_startup(self, *, command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
        """Do nothing. This method keeps the plugin and its worker alive between builds under `serve`."""

    @event_priority(100)
    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Begin a build. This runs before other plugins, because some copy the list of extensions to convert Markdown
        themselves."""
        settings = Settings.read({name: self.config[name] for name in Settings.model_fields})
        base = Path(config.config_file_path or "mkdocs.yml").resolve().parent
        if self.pipeline is None or (self.pipeline.settings, self.pipeline.base) != (settings, base):
            self.on_shutdown()
            command = f"attnviz run -f {Path(config.config_file_path or 'mkdocs.yml').name}"
            self.pipeline = Pipeline(settings, base, log, fatal=PluginError, command=command)
        self._scope.close()
        self.build = self._scope.enter_context(self.pipeline.build(warm=True))
        host(self.source_page)
        if EXTENSION not in config.markdown_extensions:
            config.markdown_extensions.append(EXTENSION)
        if config.mdx_configs.pop(EXTENSION, None):
            log.warning(
                "Settings under `markdown_extensions: %s` are not read where the plugin is on; "
                "move them to `plugins: attnviz`.",
                EXTENSION,
            )
        return config

    def on_page_markdown(self, markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> None:
        """Record the source of the page that is being converted."""
        self.source_page.begin(page.file.src_uri, page.file.content_string)

    def on_page_content(self, html: str, *, page: Page, config: MkDocsConfig, files: Files) -> None:
        """Start the worker early, so that it imports torch while other pages render.

        Figures are drawn later: a plugin that copies the content now, such as a print page, could not use their
        addresses.
        """
        self.source_page.begin(None, "")
        if page.present_anchor_ids is not None:  # MkDocs itself does not see HTML in the stash
            page.present_anchor_ids |= ids_to_come(html)
        if COLLECT not in os.environ:
            self._build.cached(sources(html))

    @event_priority(50)
    def on_env(self, env: Environment, *, config: MkDocsConfig, files: Files) -> None:
        """Compute the entries of all pages, and draw their figures."""
        pages = [file.page for file in files.documentation_pages() if file.page is not None and file.page.content]
        if COLLECT in os.environ:
            self._collect(pages, config)
            return
        blocks_by_page = {page.file.src_uri: sources(page.content or "") for page in pages}
        record.add("mkdocs", self._build.base, Path(config.docs_dir), self._build.settings, blocks_by_page)
        self._build.prepare([source for blocks in blocks_by_page.values() for source in blocks])
        for page in pages:
            page.content = self._fill(page.content or "", page, config)
            self._check_links(page, blocks_by_page)

    @event_priority(50)
    def on_post_page(self, output: str, *, page: Page, config: MkDocsConfig) -> str:
        """Fill the placeholders that are left in a finished page."""
        return output if COLLECT in os.environ else self._fill(output, page, config)

    @event_priority(-100)
    def on_post_build(self, *, config: MkDocsConfig) -> None:
        """Fill pages that other plugins have written themselves, and restore our files if the site's own files replaced
        them."""
        unhost(self.source_page)
        if COLLECT in os.environ:
            return
        site = Path(config.site_dir)
        for path in site.rglob("*.html"):
            content = path.read_bytes()
            if MARK.encode() in content:
                text = content.decode("utf-8", errors="surrogateescape")
                root = get_relative_url(ASSETS, path.relative_to(site).as_posix())
                filled = self._build.fill(text, AssetFolder(site / ASSETS, root))
                path.write_bytes(filled.encode("utf-8", errors="surrogateescape"))
        self._build.tell_heaviest()
        for problem in mend(site / ASSETS):
            log.warning("%s", problem)

    def on_build_error(self, *, error: Exception) -> None:
        """Stop hosting the page."""
        unhost(self.source_page)

    def on_shutdown(self) -> None:
        """End the build and the worker."""
        unhost(self.source_page)
        self._scope.close()
        if self.pipeline is not None:
            self.pipeline.close()

    def _fill(self, html: str, page: Page, config: MkDocsConfig) -> str:
        """Return the HTML of a page with its figures."""
        if MARK not in html:  # no placeholders, or they are filled already
            return html
        assets = AssetFolder(Path(config.site_dir) / ASSETS, get_relative_url(ASSETS, page.url))
        return self._build.fill(html, assets)

    def _check_links(self, page: Page, blocks: Mapping[str, Sequence[Source]]) -> None:
        """Check the states in links to figures, `#figure~layer=2`. MkDocs itself checks that the figure exists."""
        for file, anchors in (page.links_to_anchors or {}).items():
            for anchor in [anchor for anchor in anchors if "~" in anchor]:
                id, _, state = anchor.partition("~")
                link = anchors.pop(anchor)
                anchors.setdefault(id, link)
                if problem := self._build.wrong_state(blocks.get(file.src_uri, ()), id, state):
                    log.warning("Doc file '%s' contains a link '%s', but %s", page.file.src_uri, link, problem)

    def _collect(self, pages: list[Page], config: MkDocsConfig) -> None:
        """Write the pages for the command `attnviz`, and end the build unless other languages follow.

        Raises:
            SystemExit: always, unless other languages follow. It ends the build silently, and no plugin takes it for an
                error.
        """
        if Path(config.config_file_path or "").resolve() != Path(os.environ[COLLECT_FROM]).resolve():
            return
        file = Path(os.environ[COLLECT])
        before = json.loads(file.read_text("utf-8"))["pages"] if file.exists() else {}
        collected = {
            "settings": self._build.settings.model_dump(),
            "docs": config.docs_dir,
            "pages": before | {page.file.src_uri: page.content for page in pages},
        }
        file.write_text(json.dumps(collected), "utf-8")
        if not any(name in config.plugins for name in SEVERAL):
            raise SystemExit(0)

    @property
    def _build(self) -> Build:
        """The current build."""
        assert self.build is not None, "MkDocs calls on_config first"  # noqa: S101
        return self.build
