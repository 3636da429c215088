"""The configuration of a site, for the command `attnviz`: its pages, our settings, and its Markdown extensions.

It runs no plugin, hook or theme; `site_blocks.collect` asks the tools themselves first. An extension that is not
installed here is left out with a warning, because a machine that only fills the cache does not need everything that
builds the site.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from mkdocs_attnviz.block.problem import trace
from mkdocs_attnviz.cli import front_matter, zensical
from mkdocs_attnviz.cli.mkdocs_config import NAMES, installed_tool, named_tool, read_config
from mkdocs_attnviz.hosts import fenced_projects, myst_project, record
from mkdocs_attnviz.hosts.commented import as_fences
from mkdocs_attnviz.hosts.markdown_settings import EXTENSION, MarkdownSettings, settings_of_fence
from mkdocs_attnviz.hosts.page import SourcePage, hosting
from mkdocs_attnviz.hosts.record import Record
from mkdocs_attnviz.log import MORE, Log
from mkdocs_attnviz.settings import Settings, SettingsError

if TYPE_CHECKING:
    from markdown import Markdown
    from markdown.extensions import Extension

PLUGIN = "attnviz"
"""The name of our plugin in MkDocs."""
MKDOCS = ("mkdocs.yml", "mkdocs.yaml", "properdocs.yml", "properdocs.yaml")
"""The names of configurations for MkDocs and ProperDocs."""
GROUPS = ("group", "material/group")
"""The plugins that contain other plugins."""
ZENSICAL = ("zensical.toml",)
SPHINX = ("conf.py",)
MYST = (myst_project.CONFIG,)
FENCED = (*fenced_projects.OWN, *fenced_projects.QUARTO)
"""The names of configurations of generators that are not written in Python: our own, and Quarto's."""
COMMON: dict[str, dict[str, Any]] = {
    "abbr": {},
    "admonition": {},
    "attr_list": {},
    "def_list": {},
    "footnotes": {},
    "md_in_html": {},
    "tables": {},
    "toc": {},
    "pymdownx.caret": {},
    "pymdownx.details": {},
    "pymdownx.highlight": {"use_pygments": False},
    "pymdownx.mark": {},
    "pymdownx.superfences": {},
    "pymdownx.tabbed": {},
    "pymdownx.tasklist": {},
    "pymdownx.tilde": {},
}
"""The Markdown extensions for a page without a site."""


class SiteError(click.ClickException):
    """An error in a command or configuration, described in one sentence."""

    exit_code = 2

    def __init__(self, message: str, detail: str = "") -> None:
        """Create the error. `detail` is the traceback of an error in other people's code, which `-v` shows."""
        super().__init__(message)
        self.detail = detail

    def show(self, file: Any = None) -> None:
        """Print the error, after its traceback if `-v` was given."""
        if self.detail:
            logging.getLogger("mkdocs_attnviz").log(MORE, "%s", self.detail)
        super().show(file)


@dataclass(frozen=True)
class Site:
    """A site. The defaults are those of a folder without a configuration."""

    base: Path = field(default_factory=Path.cwd)
    """The folder that relative directories start from."""
    docs: Path = field(default_factory=Path.cwd)
    """The folder of pages."""
    settings: MarkdownSettings = field(default_factory=MarkdownSettings)
    extensions: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: COMMON)
    """The Markdown extensions in order, with their settings."""
    rendering: Any = field(default_factory=SimpleNamespace)
    """The value that MkDocs' tag `!relative` reads for the page being rendered."""
    config: Path | None = None
    plugins: tuple[str, ...] = ()
    """The plugins and hooks of MkDocs, including ours."""
    record: Record | None = None
    """The record of the site's last build on this machine."""
    fenced: fenced_projects.FencedProject | None = None
    """The project of a generator that is not written in Python, or None."""

    @property
    def is_sphinx(self) -> bool:
        """True if Sphinx builds the site."""
        return self.config is not None and self.config.name in SPHINX

    @property
    def is_zensical(self) -> bool:
        """True if Zensical builds the site. An `mkdocs.yml` without our plugin may belong to Zensical or to MkDocs."""
        if self.config is None or self.config.name in ZENSICAL:
            return self.config is not None
        last = self.record.tool if self.record else "zensical"
        other = self.is_sphinx or self.fenced is not None
        return not other and PLUGIN not in self.plugins and zensical.is_installed() and last == "zensical"

    def pages(self, paths: Sequence[Path]) -> list[Path]:
        """Return the Markdown files among the paths and in the folders among them; without paths, those of the site.

        In a folder without a configuration, files that tools have made are skipped. In a site's folder of pages, all
        files count.
        """
        if self.fenced is not None:
            return [page for page in self.fenced.files() if not paths or _is_within(page, paths)]
        made = self.config is not None
        pages = [page for path in paths or [self.docs] for page in (_within(path, made) if path.is_dir() else [path])]
        return list(dict.fromkeys(pages))

    def name(self, page: Path) -> str:
        """Return the page's name as its author knows it."""
        inside = page.resolve().is_relative_to(self.docs.resolve())
        return page.resolve().relative_to(self.docs.resolve()).as_posix() if inside else str(page)


class Reader:
    """A converter of pages to HTML with placeholders for their blocks."""

    def __init__(self, site: Site, extensions: Mapping[str, Mapping[str, Any]], log: Log) -> None:
        self.site, self.page = site, SourcePage()
        self.markdown, extension = _markdown()
        self.left_out: list[str] = []
        """The extensions that are not installed here."""
        for name, settings in extensions.items():
            try:
                for absent in _absent(settings):
                    raise ImportError(f"there is no {absent.name} here")
                self.markdown.registerExtensions([name], {name: dict(settings)})
            except Exception as error:  # an extension may raise anything
                log.warning("Markdown extension %s is left out: %s", name, error)
                self.left_out.append(name)
        self.markdown.registerExtensions([extension], {})

    def read(self, text: str, name: str) -> tuple[str, Mapping[str, Any]]:
        """Return the HTML and the front matter of a page.

        Raises:
            SiteError: if an extension fails.
        """
        text = as_fences(text)
        body, meta = front_matter.divide(text)
        self.page.begin(name, text)
        self.site.rendering._current_page = SimpleNamespace(file=SimpleNamespace(src_path=name))
        try:
            with hosting(self.page):
                return self.markdown.reset().convert(body), meta
        except Exception as error:  # of whatever extension
            why = f"{name} cannot be converted: {type(error).__name__}: {error}."
            raise SiteError(why, trace(error)) from None


def _markdown() -> tuple[Markdown, Extension]:
    """Return an instance of Python-Markdown, and our extension.

    Raises:
        SiteError: if Python-Markdown or PyMdown Extensions is not installed.
    """
    try:
        from markdown import Markdown

        from mkdocs_attnviz.hosts.markdown import AttnvizExtension
    except ModuleNotFoundError:
        raise SiteError(
            "Markdown pages are read by Python-Markdown with PyMdown Extensions, which are not installed here: "
            "`pip install 'attnviz[markdown]'`."
        ) from None
    return Markdown(), AttnvizExtension()


def find(folder: Path) -> Path | None:
    """Return the configuration in a folder, or None. If there are several, Zensical's is preferred, because no other
    tool reads it; our own comes after those of tools.

    Any program may have a `conf.py`, so it counts only if it names us.
    """
    names = (*ZENSICAL, *MKDOCS, *fenced_projects.QUARTO, *MYST, *fenced_projects.OWN)
    named = next((folder / name for name in names if (folder / name).is_file()), None)
    conf = folder / SPHINX[0]
    ours = conf.is_file() and "mkdocs_attnviz" in conf.read_text("utf-8", errors="replace")
    return named or (conf if ours else None)


def read(config: Path) -> Site:
    """Return the site that a configuration describes.

    Raises:
        SiteError: if the configuration cannot be read.
    """
    try:
        if config.suffix == ".toml":
            return _zensical(config)
        if config.name in FENCED or config.name in MYST:
            return _fenced(config)
        if config.suffix in (".yml", ".yaml"):
            return _mkdocs(config)
        if config.name in SPHINX:
            return _sphinx(config)
    except SettingsError as error:
        raise SiteError(f"{config}: {error}") from None
    except KeyError as error:
        raise SiteError(f"{config}: {error.args[0]}.") from None
    raise SiteError(
        f"{config} is not a configuration that attnviz can read; it reads "
        f"{', '.join((*ZENSICAL, *MKDOCS, *SPHINX, *MYST, *FENCED))}."
    )


def _mkdocs(path: Path) -> Site:
    """Return the site of MkDocs or ProperDocs.

    Raises:
        SiteError: if the configuration cannot be read.
    """
    rendering: Any = SimpleNamespace(config_file_path=str(path.resolve()), _current_page=None)
    tool = installed_tool(path)
    if tool is None:
        if zensical.is_installed():
            return _zensical(path)
        named = named_tool(path)
        raise SiteError(
            f"{path} is read by {NAMES[named]}, which is not installed here: `pip install 'attnviz[{named}]'`."
        )
    try:
        config = read_config(tool, path, rendering, Absent)
    except (click.ClickException, OSError, UnicodeDecodeError) as error:  # MkDocs' own errors are click's
        raise SiteError(f"{path} cannot be read: {error}.") from None
    base = path.resolve().parent
    docs = base / str(config.get("docs_dir") or "docs")
    rendering.docs_dir = str(docs)
    extensions = _named(["toc", "tables", "fenced_code"]) | _named(config.get("markdown_extensions"))
    plugins = _named(config.get("plugins"))
    for group in GROUPS:
        plugins |= _named(plugins.get(group, {}).get("plugins"))
    settings = extensions.pop(EXTENSION, {}) | plugins.get(PLUGIN, {})
    others = (*plugins, *(str(hook) for hook in config.get("hooks") or ()))
    return Site(base, docs, _settings(settings, extensions), extensions, rendering, path, others, record.read(base))


def _zensical(path: Path) -> Site:
    """Return the site of Zensical, read by Zensical's own function, because names, nesting and functions in TOML are
    special.

    Raises:
        SiteError: if the configuration cannot be read.
    """
    try:
        config = import_module("zensical.config").parse_config(str(path.resolve()))
    except ImportError:
        raise SiteError(f"{path} is read by Zensical, which is not installed here: `pip install zensical`.") from None
    except Exception as error:  # its own errors, TOML's, and those caused by wrong types
        raise SiteError(f"{path} cannot be read: {error}.") from None
    base = Path(config["root_dir"])
    extensions = {name: config["mdx_configs"].get(name) or {} for name in config["markdown_extensions"]}
    own = extensions.pop(EXTENSION, {})
    settings = _settings(own, extensions)
    return Site(base, base / config["docs_dir"], settings, extensions, config=path, record=record.read(base))


def _fenced(path: Path) -> Site:
    """Return the site of a generator that is not written in Python.

    Raises:
        SiteError: if the configuration cannot be read.
    """
    try:
        project = (
            import_module("mkdocs_attnviz.hosts.myst_pages").read(path)
            if path.name in MYST
            else fenced_projects.read(path)
        )
    except ImportError:
        advice = "`pip install 'attnviz[mystmd]'`"
        raise SiteError(f"{path} is read by mdit-py-plugins, which is not installed here: {advice}.") from None
    except ValueError as error:
        raise SiteError(f"{path} cannot be read. {error}") from None
    folder = path.resolve().parent
    return Site(folder, folder, MarkdownSettings.of(project.settings), config=path, fenced=project)


def without_configuration(folder: Path) -> Site:
    """Return the site of a folder without a configuration: its Markdown files, and the settings of its last build (of a
    Jupyter Book, for example)."""
    last = record.read(folder)
    if last is None:
        return Site()
    settings = MarkdownSettings.model_validate(last.settings)
    return Site(Path(last.base), Path(last.docs), settings, record=last)


def _sphinx(path: Path) -> Site:
    """Return the site of Sphinx with the settings that conf.py alone gives. Extensions may change them when the project
    is read (`collect`).

    Raises:
        SiteError: if conf.py fails.
    """
    try:
        file = path.resolve()
        with redirect_stdout(sys.stderr), _in_folder(file.parent):
            variables = run_path(str(file), {"tags": _tags()})
    except (Exception, SystemExit) as error:  # conf.py may raise anything
        why = f"{path} cannot be read by itself: {type(error).__name__}: {error}."
        raise SiteError(why, trace(error)) from None
    names = (name for name in Settings.model_fields if f"attnviz_{name}" in variables)
    settings = MarkdownSettings.of({name: variables[f"attnviz_{name}"] for name in names})
    return Site(path.resolve().parent, path.resolve().parent, settings, config=path)


def _tags() -> Any:
    """Return the tags of a Sphinx build without any tags, or None if Sphinx is not installed."""
    with suppress(ImportError):
        return import_module("sphinx.util.tags").Tags()
    return None


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """Change to a folder until the context ends. Sphinx runs conf.py in its own folder, so relative paths in it start
    there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _settings(own: Mapping[str, Any], extensions: Mapping[str, Mapping[str, Any]]) -> MarkdownSettings:
    """Return our settings: those of the plugin and the extension, or else those of a custom fence of SuperFences."""
    for fence in extensions.get("pymdownx.superfences", {}).get("custom_fences") or []:
        if not own and (settings := settings_of_fence(fence)):
            return settings
    return MarkdownSettings.of(own)


def _named(listed: Any) -> dict[str, dict[str, Any]]:
    """Return settings by name. MkDocs accepts a list of names, some with settings, or a mapping."""
    items: Iterable[Any] = listed.items() if isinstance(listed, dict) else listed or []
    pairs = [
        pair
        for item in items
        for pair in (item.items() if isinstance(item, dict) else [item if isinstance(item, tuple) else (item, None)])
    ]
    return {str(name): settings or {} for name, settings in pairs}


@dataclass(frozen=True)
class Absent:
    """A stand-in for a Python name in a configuration that is not found here, and for the results of calling it."""

    name: str

    def __call__(self, *_: Any, **__: Any) -> Absent:
        return self


def _absent(value: Any) -> Iterator[Absent]:
    """Yield all stand-ins in a value."""
    if isinstance(value, Absent):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _absent(part)


def _is_within(page: Path, paths: Sequence[Path]) -> bool:
    """Return whether a page is at or below one of the paths."""
    return any(page.resolve().is_relative_to(path.resolve()) for path in paths)


def _within(folder: Path, made: bool) -> Iterator[Path]:
    """Yield the Markdown files below a folder that are not hidden. Files that tools have made are included only if
    `made`."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            if made or not (path.name in MADE or any((path / name).exists() for name in SIGNS)):
                yield from _within(path, made)
        elif path.name.endswith(MARKDOWN) and path.is_file():
            yield path


MARKDOWN = (".markdown", ".mdown", ".mkdn", ".mkd", ".md", ".qmd")
"""The endings of Markdown files."""
MADE = ("_build", "node_modules", "__pycache__")
"""The folders that tools write: Sphinx and Jupyter Book, npm, Python."""
SIGNS = (".buildinfo", "pyvenv.cfg", "search/search_index.json", "search.json")
"""The files that show that a folder is a built site or a virtual environment."""
