"""The blocks of a site, as read by the tool that builds it, for the command `attnviz`.

MkDocs and ProperDocs run with all their plugins in a separate process, up to the point where they would draw. Sphinx
reads the project into a temporary folder. Zensical's own function converts its pages. Of generators that are not
written in Python, only the fences are read.

If that is not possible here, and for all other tools, the pages come from the record of the last build on this machine
(`record`). Pages that are not recorded, or have changed, are read without plugins (`site.Reader`). `doubt` says why
blocks may be missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from mkdocs_attnviz.block.problem import trace
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cli import site as sites
from mkdocs_attnviz.cli.mkdocs_config import NAMES, installed_tool, named_tool
from mkdocs_attnviz.cli.site import PLUGIN, SPHINX, Reader, Site, SiteError
from mkdocs_attnviz.cli.zensical import NotRead, ZensicalReader
from mkdocs_attnviz.figure.placeholders import placeholder, sources
from mkdocs_attnviz.hosts.fenced_pages import FENCED_ONLY, blocks_of_file
from mkdocs_attnviz.hosts.markdown_settings import MarkdownSettings
from mkdocs_attnviz.hosts.record import COLLECT, COLLECT_FROM
from mkdocs_attnviz.log import MORE, Log

BUILD = """\
import json, logging, sys, traceback
sys.path[:] = [folder for folder in sys.path if folder]
from {tool}.__main__ import cli
left, errors = sys.argv.pop(), []
class Errors(logging.Handler):
    def emit(self, record):
        errors.append(record.getMessage())
logging.getLogger("{tool}").addHandler(Errors(logging.ERROR))
try:
    cli(prog_name="{tool}", standalone_mode=False)
except Exception as error:
    errors.append(getattr(error, "message", "") or str(error) or type(error).__name__)
    with open(left, "w", encoding="utf-8") as file:
        json.dump(dict(reason=errors[0], detail=traceback.format_exc()), file)
"""
"""The program that runs the tool. It does not use `-m`, which would import modules from the current folder. It writes
the reason of a failed build into the file named by the last argument."""
HARMLESS = (PLUGIN, "search", "material/search")
"""The plugins that make no pages."""


@dataclass(frozen=True)
class Pages:
    """The pages of a site and the blocks in them."""

    site: Site
    html: Mapping[str, str]
    """The HTML of each page by name, with placeholders for its blocks."""
    doubt: str = ""
    """The reason why blocks may be missing, or an empty text."""

    @property
    def blocks(self) -> list[Source]:
        """The sources of all blocks."""
        return [source for html in self.html.values() for source in sources(html)]


def collect(config: Path | None, paths: Sequence[Path], log: Log) -> Pages:
    """Return the pages of a configuration's site, or only those at `paths`.

    Raises:
        SiteError: if they cannot be read.
    """
    if config is not None and config.name in SPHINX:
        return _narrow(_with_sphinx(config), paths, log)
    site = sites.without_configuration(Path()) if config is None else sites.read(config)
    if site.fenced is not None:
        return _with_fences(site, paths, log)
    try:
        if PLUGIN in site.plugins:
            return _narrow(_with_mkdocs(site), paths, log)
        if site.is_zensical:
            return _with_zensical(site, site.pages(paths))
    except NotRead as error:
        log.info("%s; its Markdown is read without plugins.", error)
        if error.detail:
            log.log(MORE, "%s", error.detail)
    return _with_markdown(site, site.pages(paths), log, recorded=not paths)


def text_of(page: Path | str) -> str:
    """Return the text of a file, or of standard input (`-`).

    Raises:
        SiteError: if it cannot be read.
    """
    try:
        with click.open_file(page, "rb") as file:
            content: bytes = file.read()
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError(f"{page} cannot be read: {error}.") from None


def _with_zensical(site: Site, files: Sequence[Path]) -> Pages:
    """Return the pages as Zensical converts them.

    Raises:
        NotRead: if it fails.
    """
    assert site.config is not None  # noqa: S101 — for the type checker
    reader = ZensicalReader(site.config)
    names = {site.name(file): file for file in files}
    html = {name: reader.read(text_of(file), name)[0] for name, file in names.items() if not reader.leaves_out(name)}
    return Pages(site, html)


def _with_markdown(site: Site, files: Sequence[Path], log: Log, *, recorded: bool = False) -> Pages:
    """Return the pages in the record of the last build; unknown and changed pages are read from their Markdown. With
    `recorded`, recorded pages that are not Markdown files, such as notebooks, are included."""
    reader, last = Reader(site, site.extensions, log), site.record
    files = [file for file in files if last is None or not last.leaves_out(file)]
    names = {site.name(file): file for file in files}
    known = {name: last.blocks(name) for name in ([*names, *last.pages] if recorded else names)} if last else {}
    html = {name: "".join(map(placeholder, blocks)) for name, blocks in known.items() if blocks is not None}
    html |= {name: _fences(file, name) for name, file in names.items() if file.suffix in FENCED_ONLY}
    html |= {name: reader.read(text_of(file), name)[0] for name, file in names.items() if name not in html}
    plugins = [name for name in site.plugins if name not in HARMLESS]
    doubts = [f"plugin or hook {name} was not run" for name in plugins]
    doubts += [f"Markdown extension {name} is not installed" for name in reader.left_out]
    changed = [name for name in known if name not in html and (site.docs / name).is_file()]
    doubts += [f"{name} has changed since the site was built" for name in changed]
    return Pages(site, html, ", ".join(doubts))


def _with_sphinx(config: Path) -> Pages:
    """Return the pages as Sphinx reads them.

    Raises:
        SiteError: if it fails.
    """
    try:
        from mkdocs_attnviz.hosts.sphinx.project import read
    except ImportError:
        message = f"{config} is read by Sphinx, which is not installed here: `pip install 'attnviz[sphinx]'`."
        raise SiteError(message) from None
    folder = config.resolve().parent
    try:
        project = read(folder)
    except (Exception, SystemExit) as error:  # errors of Sphinx, of extensions, and ours
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise SiteError(f"{config} cannot be read by Sphinx: {reason.rstrip('.')}.", trace(error)) from None
    settings = MarkdownSettings.model_validate(project.settings.model_dump())
    html = {name: "".join(map(placeholder, blocks)) for name, blocks in project.pages.items()}
    return Pages(Site(folder, folder, settings, config=config), html)


def _with_fences(site: Site, paths: Sequence[Path], log: Log) -> Pages:
    """Return the pages of a generator that is not written in Python, or only those at `paths`.

    Raises:
        SiteError: if a page cannot be read.
    """
    files = site.pages(paths)
    known = {file.resolve() for file in files}
    for path in _files(paths):
        if path.resolve() not in known:
            log.info("%s is not a page of the site; its fences are read all the same.", path)
            files.append(path)
    assert site.fenced is not None  # noqa: S101 — for the type checker
    return Pages(site, {site.name(file): _fences(file, site.name(file), site.fenced.blocks) for file in files})


def _fences(file: Path, name: str, blocks: Callable[[Path, str], list[Source]] = blocks_of_file) -> str:
    """Return the placeholders of the blocks in a page whose fences alone are read.

    Raises:
        SiteError: if the page cannot be read.
    """
    try:
        return "".join(map(placeholder, blocks(file, name)))
    except (OSError, ValueError) as error:
        raise SiteError(f"{file} cannot be read: {' '.join(str(error).split())}.") from None


def _with_mkdocs(site: Site) -> Pages:
    """Return the pages as MkDocs or ProperDocs reads them, with its settings and its folder of pages.

    Raises:
        NotRead: if it fails.
    """
    collected = _build(site)
    settings = MarkdownSettings.model_validate(collected["settings"])
    return Pages(replace(site, settings=settings, docs=Path(collected["docs"])), collected["pages"])


def _build(site: Site) -> dict[str, Any]:
    """Return what our plugin has written in a build of the site, which it has then ended.

    Raises:
        NotRead: if the tool fails or is not installed.
    """
    config = site.config or Path()
    tool = installed_tool(config)
    if tool is None:
        raise NotRead(f"{config} is read by {NAMES[named_tool(config)]}, which is not installed here")
    with tempfile.TemporaryDirectory() as folder:
        collected = Path(folder) / "found.json"
        failed = Path(folder) / "failed.json"
        wanted = {COLLECT: str(collected), COLLECT_FROM: str((site.config or Path()).absolute())}
        command = [sys.executable, "-c", BUILD.format(tool=tool), "build", "--quiet", "--no-strict"]
        run = subprocess.run(  # noqa: S603 — the tool that builds this site
            [*command, "--config-file", wanted[COLLECT_FROM], "--site-dir", f"{folder}/site", str(failed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"} | os.environ | wanted,
        )
        if not collected.is_file():
            failure = json.loads(failed.read_text("utf-8")) if failed.is_file() else {}
            reason = failure.get("reason", f"it ended with exit status {run.returncode}").strip().rstrip(".")
            raise NotRead(f"{NAMES[tool]} cannot read {site.config} here ({reason})", failure.get("detail", ""))
        click.echo(run.stdout, err=True, nl=False)  # messages of plugins
        read: dict[str, Any] = json.loads(collected.read_text("utf-8"))
        return read


def _narrow(pages: Pages, paths: Sequence[Path], log: Log) -> Pages:
    """Return the pages at or below the paths. Markdown files outside the site are read, too."""
    if not paths:
        return pages
    chosen: dict[str, str] = {
        name: html for name, html in pages.html.items() if any(_at(pages, name, path) for path in paths)
    }
    docs = pages.site.docs.resolve()
    outside = [path for path in paths if not path.resolve().is_relative_to(docs) and path.is_file()]
    for path in _files(paths):
        if path not in outside and not any(_at(pages, name, path) for name in chosen):
            log.info("%s is not a page of the site.", path)
    if not outside or pages.site.is_sphinx:
        return replace(pages, html=chosen)
    return replace(pages, html=chosen | dict(_with_markdown(pages.site, outside, log).html))


def _at(pages: Pages, name: str, path: Path) -> bool:
    """Return whether a page is at or below a path."""
    return (pages.site.docs / name).resolve().is_relative_to(path.resolve())


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the paths of files."""
    return (path for path in paths if path.is_file())
