"""What a site's configuration says: its pages, our settings, how its Markdown is read. For the command `attnviz`.

Runs no plugin, no hook and no theme; `collect` asks the tools themselves first. An extension that this environment
has not is left out, and that is said: a machine that only fills the cache needs not all that the site is built with.
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
from typing import Any

import click
from markdown import Markdown

from mkdocs_attnviz.block.problem import trace
from mkdocs_attnviz.cli import front_matter, zensical
from mkdocs_attnviz.hosts import record
from mkdocs_attnviz.hosts.markdown import EXTENSION, AttnvizExtension, Fence, MarkdownSettings
from mkdocs_attnviz.hosts.page import SourcePage, hosting
from mkdocs_attnviz.hosts.record import Record
from mkdocs_attnviz.log import MORE, Log
from mkdocs_attnviz.settings import Settings, SettingsError

PLUGIN = "attnviz"
MKDOCS = ("mkdocs.yml", "mkdocs.yaml", "properdocs.yml", "properdocs.yaml")
GROUPS = ("group", "material/group")
"""Plugins that hold others."""
ZENSICAL = ("zensical.toml",)
SPHINX = ("conf.py",)
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
"""Extensions for a page of no site."""


class SiteError(click.ClickException):
    """What cannot be done with what was given, in one sentence."""

    exit_code = 2

    def __init__(self, message: str, detail: str = "") -> None:
        """`detail` is the traceback of what somebody else's code raised, for whoever asks for more (`-v`)."""
        super().__init__(message)
        self.detail = detail

    def show(self, file: Any = None) -> None:
        if self.detail:
            logging.getLogger("mkdocs_attnviz").log(MORE, "%s", self.detail)
        super().show(file)


@dataclass(frozen=True)
class Site:
    """Defaults are those of a folder without a configuration."""

    base: Path = field(default_factory=Path.cwd)
    """Folder that relative directories start from."""
    docs: Path = field(default_factory=Path.cwd)
    settings: MarkdownSettings = field(default_factory=MarkdownSettings)
    extensions: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: COMMON)
    """How Markdown is read: the extensions in their order, with their settings."""
    rendering: Any = field(default_factory=SimpleNamespace)
    """What MkDocs' tag `!relative` asks for the page being rendered."""
    config: Path | None = None
    plugins: tuple[str, ...] = ()
    """Of MkDocs, and hooks; ours among them."""
    record: Record | None = None
    """What the site's last build on this machine drew."""

    @property
    def is_sphinx(self) -> bool:
        return self.config is not None and self.config.name in SPHINX

    @property
    def is_zensical(self) -> bool:
        """Return whether Zensical builds it: an `mkdocs.yml` without our plugin may be Zensical's or MkDocs' own."""
        if self.config is None or self.config.name in ZENSICAL:
            return self.config is not None
        last = self.record.tool if self.record else "zensical"
        return not self.is_sphinx and PLUGIN not in self.plugins and zensical.is_installed() and last == "zensical"

    def pages(self, paths: Sequence[Path]) -> list[Path]:
        """Return the Markdown files among the paths and in the folders among them; without paths, the site's.

        Only a folder without a configuration may hold what tools have made: a site's folder of pages is its author's.
        """
        made = self.config is not None
        found = [page for path in paths or [self.docs] for page in (_within(path, made) if path.is_dir() else [path])]
        return list(dict.fromkeys(found))

    def name(self, page: Path) -> str:
        """The page as its author knows it."""
        inside = page.resolve().is_relative_to(self.docs.resolve())
        return page.resolve().relative_to(self.docs.resolve()).as_posix() if inside else str(page)


class Reader:
    """Pages → HTML in which blocks wait to be drawn."""

    def __init__(self, site: Site, extensions: Mapping[str, Mapping[str, Any]], log: Log) -> None:
        self.site, self.page = site, SourcePage()
        self.markdown = Markdown()
        self.left_out: list[str] = []
        """Extensions that this environment has not."""
        for name, settings in extensions.items():
            try:
                for absent in _absent(settings):
                    raise ImportError(f"there is no {absent.name} here")
                self.markdown.registerExtensions([name], {name: dict(settings)})
            except Exception as error:  # what an extension may raise is its own affair
                log.warning("Markdown extension %s is left out: %s", name, error)
                self.left_out.append(name)
        self.markdown.registerExtensions([AttnvizExtension()], {})

    def read(self, text: str, name: str) -> tuple[str, Mapping[str, Any]]:
        """HTML and front matter.

        Raises:
            SiteError: an extension failed.
        """
        body, meta = front_matter.divide(text)
        self.page.begin(name, text)
        self.site.rendering._current_page = SimpleNamespace(file=SimpleNamespace(src_path=name))
        try:
            with hosting(self.page):
                return self.markdown.reset().convert(body), meta
        except Exception as error:  # of whatever extension
            why = f"{name} cannot be converted: {type(error).__name__}: {error}."
            raise SiteError(why, trace(error)) from None


def find(folder: Path) -> Path | None:
    """The configuration in a folder; where there are several, the one Zensical takes, which others do not read.

    A `conf.py` may be anybody's; it is run only if it names us.
    """
    named = next((folder / name for name in (*ZENSICAL, *MKDOCS) if (folder / name).is_file()), None)
    conf = folder / SPHINX[0]
    ours = conf.is_file() and "mkdocs_attnviz" in conf.read_text("utf-8", errors="replace")
    return named or (conf if ours else None)


def read(config: Path) -> Site:
    """The site that a configuration describes.

    Raises:
        SiteError: it cannot be read.
    """
    try:
        if config.suffix == ".toml":
            return _zensical(config)
        if config.suffix in (".yml", ".yaml"):
            return _mkdocs(config)
        if config.name in SPHINX:
            return _sphinx(config)
    except SettingsError as error:
        raise SiteError(f"{config}: {error}") from None
    except KeyError as error:
        raise SiteError(f"{config}: {error.args[0]}.") from None
    raise SiteError(
        f"{config} is no configuration that is read here; those are {', '.join((*ZENSICAL, *MKDOCS, *SPHINX))}."
    )


def _mkdocs(path: Path) -> Site:
    rendering: Any = SimpleNamespace(config_file_path=str(path.resolve()), _current_page=None)
    try:
        read_config = import_module("mkdocs_attnviz.hosts.mkdocs").read_config
    except ImportError:
        if zensical.is_installed():
            return _zensical(path)
        raise SiteError(f"{path} is read by MkDocs 1, which is not installed here: `pip install 'mkdocs<2'`.") from None
    try:
        config = read_config(path, rendering, Absent)
    except (click.ClickException, OSError, UnicodeDecodeError) as error:  # MkDocs' own are click's
        raise SiteError(f"{path} cannot be read: {error}.") from None
    base = path.resolve().parent
    docs = base / str(config.get("docs_dir") or "docs")
    rendering.docs_dir = str(docs)
    extensions = _named(["toc", "tables", "fenced_code"]) | _named(config.get("markdown_extensions"))
    plugins = _named(config.get("plugins"))
    for group in GROUPS:
        plugins |= _named(plugins.get(group, {}).get("plugins"))
    given = extensions.pop(EXTENSION, {}) | plugins.get(PLUGIN, {})
    others = (*plugins, *(str(hook) for hook in config.get("hooks") or ()))
    return Site(base, docs, _settings(given, extensions), extensions, rendering, path, others, record.read(base))


def _zensical(path: Path) -> Site:
    """As Zensical itself reads it: names, nesting and functions in TOML are its own."""
    try:
        config = import_module("zensical.config").parse_config(str(path.resolve()))
    except ImportError:
        raise SiteError(f"{path} is read by Zensical, which is not installed here: `pip install zensical`.") from None
    except Exception as error:  # its own kinds, TOML's, and what a wrong type makes of it
        raise SiteError(f"{path} cannot be read: {error}.") from None
    base = Path(config["root_dir"])
    extensions = {name: config["mdx_configs"].get(name) or {} for name in config["markdown_extensions"]}
    given = extensions.pop(EXTENSION, {})
    settings = _settings(given, extensions)
    return Site(base, base / config["docs_dir"], settings, extensions, config=path, record=record.read(base))


def without_configuration(folder: Path) -> Site:
    """The Markdown files of a folder; where its last build (of a Jupyter Book, say) is known, its settings."""
    last = record.read(folder)
    if last is None:
        return Site()
    settings = MarkdownSettings.model_validate(last.settings)
    return Site(Path(last.base), Path(last.docs), settings, record=last)


def _sphinx(path: Path) -> Site:
    """As conf.py alone says it; what extensions make of that is seen when the project is read (`collect`)."""
    try:
        file = path.resolve()
        with redirect_stdout(sys.stderr), _in_folder(file.parent):
            said = run_path(str(file), {"tags": _tags()})
    except (Exception, SystemExit) as error:  # of whatever is written there
        why = f"{path} cannot be read by itself: {type(error).__name__}: {error}."
        raise SiteError(why, trace(error)) from None
    names = (name for name in Settings.model_fields if f"attnviz_{name}" in said)
    settings = MarkdownSettings.of({name: said[f"attnviz_{name}"] for name in names})
    return Site(path.resolve().parent, path.resolve().parent, settings, config=path)


def _tags() -> Any:
    """Return the tags of a build of Sphinx to which none are given; None where Sphinx is not installed."""
    with suppress(ImportError):
        return import_module("sphinx.util.tags").Tags()
    return None


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """Run what follows in a folder, as Sphinx runs conf.py in its own: what is read there is named from there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _settings(given: Mapping[str, Any], extensions: Mapping[str, Mapping[str, Any]]) -> MarkdownSettings:
    """Ours: of plugin and extension, else of a custom fence of SuperFences."""
    for fence in extensions.get("pymdownx.superfences", {}).get("custom_fences") or []:
        if not given and isinstance(fence.get("format"), Fence):
            settings: MarkdownSettings = fence["format"].settings
            return settings
    return MarkdownSettings.of(given)


def _named(listed: Any) -> dict[str, dict[str, Any]]:
    """A list of names, some with settings, or a mapping: the ways in which MkDocs lets one write it."""
    items: Iterable[Any] = listed.items() if isinstance(listed, dict) else listed or []
    pairs = [
        pair
        for item in items
        for pair in (item.items() if isinstance(item, dict) else [item if isinstance(item, tuple) else (item, None)])
    ]
    return {str(name): settings or {} for name, settings in pairs}


@dataclass(frozen=True)
class Absent:
    """Stands for a Python name in a configuration that means nothing here, and for what it would give."""

    name: str

    def __call__(self, *_: Any, **__: Any) -> Absent:
        return self


def _absent(value: Any) -> Iterator[Absent]:
    if isinstance(value, Absent):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _absent(part)


def _within(folder: Path, made: bool) -> Iterator[Path]:
    """Yield the Markdown files below a folder that are not hidden; those that tools have made only if `made`."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            if made or not (path.name in MADE or any((path / name).exists() for name in SIGNS)):
                yield from _within(path, made)
        elif path.name.endswith(MARKDOWN) and path.is_file():
            yield path


MARKDOWN = (".markdown", ".mdown", ".mkdn", ".mkd", ".md")
MADE = ("_build", "node_modules", "__pycache__")
"""Folders that tools write: Sphinx and Jupyter Book, npm, Python."""
SIGNS = (".buildinfo", "pyvenv.cfg", "search/search_index.json", "search.json")
"""Files that a built site or a virtual environment has."""
