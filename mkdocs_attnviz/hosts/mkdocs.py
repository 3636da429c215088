"""MkDocs and ProperDocs.

Decides for itself: when in a build which step runs, and where the assets go (`assets/attnviz/`). Blocks are collected
from pages' rendered HTML, run in one batch in `on_env`, and swept up in finished pages and once more in the finished
site, since a blog's excerpts and print pages are made late. The worker stays alive from build to build under `serve`.

Every hook may run more than once in a build: mkdocs-static-i18n builds the other languages, from `on_config` on, while
the first language is at its `on_post_build`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
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
from mkdocs.utils.yaml import get_yaml_loader, yaml_load
from yaml.constructor import ConstructorError

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure import MARK, AssetFolder, ids_to_come, mend, sources
from mkdocs_attnviz.hosts import record
from mkdocs_attnviz.hosts.markdown import EXTENSION
from mkdocs_attnviz.hosts.page import SourcePage, host, unhost
from mkdocs_attnviz.hosts.record import COLLECT, COLLECT_FROM
from mkdocs_attnviz.pipeline import Build, Pipeline
from mkdocs_attnviz.settings import Settings, SettingsError

ASSETS = "assets/attnviz"
SEVERAL = ("i18n",)
"""Plugins that build the site once more for other languages, when this build is done."""

log = get_plugin_logger("attnviz")


class Setting(BaseConfigOption[Any]):
    """One field of `Settings`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.default = Settings.model_fields[name].get_default(call_default_factory=True)

    def run_validation(self, value: object) -> object:
        try:
            Settings.read({self.name: value})
        except SettingsError as error:
            raise ConfigError(str(error)) from None
        return value


class PluginSettings(Config):
    """`Settings`, as MkDocs wants to have it."""

    _schema = tuple((name, Setting(name)) for name in Settings.model_fields)


class AttnvizPlugin(BasePlugin[PluginSettings]):
    pipeline: Pipeline | None = None

    build: Build | None = None

    def __init__(self) -> None:
        super().__init__()
        self.source_page = SourcePage()
        self._scope = ExitStack()
        """Ends the build."""

    def on_startup(self, *, command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
        """Having this method keeps the plugin, and with it the worker, alive from build to build under `serve`."""

    @event_priority(100)
    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Runs before other plugins: some copy the list of extensions, to convert Markdown of their own with them."""
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
        self.source_page.begin(page.file.src_uri, page.file.content_string)

    def on_page_content(self, html: str, *, page: Page, config: MkDocsConfig, files: Files) -> None:
        """Let the worker import torch while other pages render.

        Figures come later: who copies this page's content now (a print page) could not use their addresses.
        """
        self.source_page.begin(None, "")
        if page.present_anchor_ids is not None:  # MkDocs itself has not seen what stands in the stash of HTML
            page.present_anchor_ids |= ids_to_come(html)
        if COLLECT not in os.environ:
            self._build.cached(sources(html))

    @event_priority(50)
    def on_env(self, env: Environment, *, config: MkDocsConfig, files: Files) -> None:
        pages = [file.page for file in files.documentation_pages() if file.page is not None and file.page.content]
        if COLLECT in os.environ:
            self._collect(pages, config)
            return
        found = {page.file.src_uri: sources(page.content or "") for page in pages}
        record.add("mkdocs", self._build.base, Path(config.docs_dir), self._build.settings, found)
        self._build.prepare([source for blocks in found.values() for source in blocks])
        for page in pages:
            page.content = self._fill(page.content or "", page, config)
            self._check_links(page, found)

    @event_priority(50)
    def on_post_page(self, output: str, *, page: Page, config: MkDocsConfig) -> str:
        return output if COLLECT in os.environ else self._fill(output, page, config)

    @event_priority(-100)
    def on_post_build(self, *, config: MkDocsConfig) -> None:
        """Pages that other plugins wrote by themselves, and our files, where the site's own were copied over them."""
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
        for problem in mend(site / ASSETS):
            log.warning("%s", problem)

    def on_build_error(self, *, error: Exception) -> None:
        unhost(self.source_page)

    def on_shutdown(self) -> None:
        unhost(self.source_page)
        self._scope.close()
        if self.pipeline is not None:
            self.pipeline.close()

    def _fill(self, html: str, page: Page, config: MkDocsConfig) -> str:
        if MARK not in html:  # nothing waits here, or does so no more
            return html
        assets = AssetFolder(Path(config.site_dir) / ASSETS, get_relative_url(ASSETS, page.url))
        return self._build.fill(html, assets)

    def _check_links(self, page: Page, blocks: Mapping[str, Sequence[Source]]) -> None:
        """Check states in links to figures, `#figure~layer=2`; MkDocs itself checks that there is such a figure."""
        for file, anchors in (page.links_to_anchors or {}).items():
            for anchor in [anchor for anchor in anchors if "~" in anchor]:
                id, _, state = anchor.partition("~")
                link = anchors.pop(anchor)
                anchors.setdefault(id, link)
                if problem := self._build.wrong_state(blocks.get(file.src_uri, ()), id, state):
                    log.warning("Doc file '%s' contains a link '%s', but %s", page.file.src_uri, link, problem)

    def _collect(self, pages: list[Page], config: MkDocsConfig) -> None:
        """Write the pages for the command, and end the build unless other languages follow.

        Raises:
            SystemExit: as a host would raise it; the build ends without a word, and no plugin takes it for a fault.
        """
        if Path(config.config_file_path or "").resolve() != Path(os.environ[COLLECT_FROM]).resolve():
            return
        file = Path(os.environ[COLLECT])
        before = json.loads(file.read_text("utf-8"))["pages"] if file.exists() else {}
        found = {
            "settings": self._build.settings.model_dump(),
            "docs": config.docs_dir,
            "pages": before | {page.file.src_uri: page.content for page in pages},
        }
        file.write_text(json.dumps(found), "utf-8")
        if not any(name in config.plugins for name in SEVERAL):
            raise SystemExit(0)

    @property
    def _build(self) -> Build:
        assert self.build is not None, "MkDocs calls on_config first"  # noqa: S101
        return self.build


def read_config(path: Path, rendering: Any, absent: Callable[[str], Any]) -> dict[str, Any]:
    """Return what a configuration file says, with MkDocs' own tags; `absent` stands in for Python names not found here.

    `rendering` is what the tag `!relative` asks for the page being rendered.

    Raises:
        ConfigurationError: it is no YAML, or inherits from a file that is not there.
        OSError: it cannot be read.
    """
    loader: Any = get_yaml_loader(config=rendering)

    class Lenient(loader):  # type: ignore[misc]
        def find_python_name(self, name: str, mark: Any) -> Any:
            try:
                return super().find_python_name(name, mark)
            except ConstructorError:
                return absent(name)

    with path.open("rb") as file:
        return yaml_load(file, Lenient)
