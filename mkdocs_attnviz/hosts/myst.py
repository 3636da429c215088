"""The host mystmd, which is also Jupyter Book 2: a plugin of mystmd asks for the nodes that replace a page's blocks.

This module decides what stands in mystmd's document: a figure (`container`) with the static picture, the widget that
replaces it in a browser, and the caption; or an admonition. It decides where mystmd finds script and data: in the
folder of its built site's files, which mystmd publishes as it is.

The plugin (`attnviz-plugin.mjs`) finds the blocks and reports problems; it sends one question a page, as JSON in a
line. Only the cache is read: mystmd's pages come one by one, and `attnviz run` runs models for all of them together.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.alert import Alert, Warned
from mkdocs_attnviz.figure.assets import DATA_FILE, AssetFolder
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.rendered import Rendered
from mkdocs_attnviz.figure.scripts import OURS
from mkdocs_attnviz.hosts.myst_nodes import Node, admonition, target_of, text_in
from mkdocs_attnviz.hosts.myst_pages import blocks_of, matched
from mkdocs_attnviz.hosts.myst_project import SETTINGS, Project
from mkdocs_attnviz.pipeline import Build, Pipeline
from mkdocs_attnviz.publishing import printable
from mkdocs_attnviz.settings import Settings, SettingsError
from mkdocs_attnviz.views import block_of

PUBLIC = "_build/site/public"
"""The folder with the files of mystmd's site, in the project's folder. Its pages and `--html` refer to them."""
SUFFIX = ".bin"
"""The ending of data files. `myst build --html` rewrites files that end in `.js` as text, which destroys them."""
NOT_DRAWN = "This attention block could not be drawn."
CLAIM = "A claim does not hold."

log = logging.getLogger("mkdocs_attnviz")


class ProjectError(Exception):
    """An error in the project's configuration, described in one sentence."""


class MystAssets(AssetFolder):
    """The places of scripts, data and pictures among the files of mystmd's site."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "")

    def place(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        for place in super().place(units):
            yield place | {"file": Path(place["file"]).stem + SUFFIX}

    def add(self, name: str, content: bytes) -> Path:
        """Write a file of this name, with a digest of its content in it, and return its path."""
        stem, _, suffix = name.partition(".")
        path = self.folder / f"{stem}-{hashlib.sha256(content).hexdigest()[:10]}.{suffix}"
        self._write(path.name, content)
        return path

    def _write(self, name: str, content: bytes) -> None:
        super()._write(name.replace(".js", SUFFIX) if DATA_FILE.fullmatch(name) else name, content)


class MystHost:
    """The answers to the questions of mystmd's plugin about one project."""

    def __init__(self, config: Path) -> None:
        self.config = config.resolve()
        self.folder = self.config.parent
        self.assets = MystAssets(self.folder / PUBLIC)
        self.warned: list[Warned] = []
        """The problems of the page that is being answered."""
        self._begun: tuple[Mapping[str, Any], Pipeline] | None = None
        """The settings, and the pipeline that has them."""

    def answer(self, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the nodes that replace each block of a page, and its problems.

        A question has `page`, the path of the page or None if mystmd does not tell it, `blocks`, and `static`, true if
        nothing that is built can run a script. A block has `body`, `line`, `target` (the keys by which mystmd refers to
        the block) and, if it stands in a container, `caption`, the container's own.

        Raises:
            ProjectError: if the project's configuration cannot be read.
        """
        try:
            project = Project.read(self.config)
            pipeline = self._pipeline(project)
        except ValueError as error:
            raise ProjectError(f"The settings cannot be read. {error}") from None
        except SettingsError as error:
            raise ProjectError(f"{SETTINGS}: {error}") from None
        page = None if question["page"] is None else Path(question["page"])
        sources = _sources(project, page, question["blocks"])
        self.warned.clear()
        with pipeline.build() as build:
            rendered = build.render(sources)
            answers = []
            for number, (block, source, drawn) in enumerate(zip(question["blocks"], sources, rendered, strict=True), 1):
                nodes = self._nodes(build, drawn, source, number, block, page, static=question["static"])
                answers.append({"nodes": nodes, "problems": self._problems(source, page)})
        return answers

    def _pipeline(self, project: Project) -> Pipeline:
        """Return the pipeline of the project, a new one if its settings have changed.

        Raises:
            SettingsError: if a setting is wrong.
        """
        if self._begun is None or self._begun[0] != project.settings:
            # A page at a time, there is nothing to plan together: models are run before.
            settings = settings_of(project).model_copy(update={"on_missing": "warn", "cache_push": False})
            command = f"attnviz run -f {self.config.name}"
            pipeline = Pipeline(settings, self.folder, log, self.warned.append, fatal=ProjectError, command=command)
            self._begun = project.settings, pipeline
        return self._begun[1]

    def _nodes(
        self,
        build: Build,
        drawn: Rendered,
        source: Source,
        number: int,
        block: Mapping[str, Any],
        page: Path | None,
        *,
        static: bool,
    ) -> list[Node]:
        """Return the nodes in place of a block."""
        if isinstance(drawn, Figure):
            try:
                return self._figure(drawn, f"attnviz-{number}", block, page, static=static)
            except Exception as error:  # a file that cannot be written
                drawn = build.failed(source, error)
        assert isinstance(drawn, Alert)  # noqa: S101 — there is nothing else
        target = block.get("target") or {}
        with suppress(BlockError):  # references to a figure lead to its alert
            if not target and (wanted := block_of(source).id):
                target = target_of(wanted)
        return [admonition("error", NOT_DRAWN, drawn.shown, printable(source.where(drawn.error))) | target]

    def _figure(
        self, figure: Figure, id: str, block: Mapping[str, Any], page: Path | None, *, static: bool
    ) -> list[Node]:
        """Return the nodes of a figure."""
        target = dict(block.get("target") or {})
        if figure.wanted_id and not target:
            target = target_of(figure.wanted_id)
        id = target.get("html_id") or target.get("identifier") or id
        picture = self.assets.add("attnviz.svg", figure.picture.svg.encode())
        children: list[Node] = [
            {
                "type": "image",
                "url": self._url(picture, page),
                "alt": printable(figure.sentence),
                "class": "attnviz-static",
                "data": {"altTextIsAutoGenerated": False},
            }
        ]
        if not static:
            widget = self.assets.add("attnviz-myst.mjs", self._widget())
            model: dict[str, Any] = {"figure": self._html(figure, id)}
            if scripts := [self.assets.script_file(name) for name in figure.scripts if not name.startswith(OURS)]:
                model["scripts"] = scripts
            children.append({"type": "anywidget", "esm": self._url(widget, page), "model": model, "id": f"{id}-widget"})
        caption = block.get("caption")
        if caption is None and figure.block.caption:
            caption = {"type": "caption", "children": [text_in("paragraph", printable(figure.block.caption))]}
        container: Node = {"type": "container", "kind": "figure", "class": "attnviz", **target, "children": children}
        if caption is not None:
            children.append(caption)
        elif not target:
            container["enumerated"] = False  # nobody sees its number, and nobody can refer to it
        # Elsewhere they are in the widget, and in the picture's description.
        claims = [admonition("warning", CLAIM, claim.sentence) for claim in figure.claims if static and not claim.holds]
        return [container, *claims]

    def _html(self, figure: Figure, id: str) -> str:
        """Return the HTML that the widget draws. The caption is mystmd's, and the widget takes the picture from the
        page."""
        without_caption = replace(figure, block=figure.block.model_copy(update={"caption": None}))
        return re.sub(r'<img src="[^"]*"', "<img", without_caption.html(id, self.assets), count=1)

    def _widget(self) -> bytes:
        """Write the front end, and return the module that draws it in mystmd's pages."""
        module = self.assets.add("attnviz.mjs", _file("static/attnviz.mjs"))
        return _file("hosts/myst-widget.mjs").replace(b"ATTNVIZ_MODULE", module.name.encode())

    def _url(self, file: Path, page: Path | None) -> str:
        """Return the URL of a file, as the page's author would write it."""
        if page is None:
            return f"/{file.relative_to(self.folder).as_posix()}"
        return Path(os.path.relpath(file, page.resolve().parent)).as_posix()

    def _problems(self, source: Source, page: Path | None) -> list[dict[str, Any]]:
        """Return the problems of a block, with the line in the page, and the place if it is not in the page itself."""
        problems = []
        for warned in [warned for warned in self.warned if warned.source == source]:
            self.warned.remove(warned)
            line = warned.source.line
            if line is not None and warned.error.line is not None:
                line += 1 + warned.error.line
            elsewhere = warned.source.cell is not None or page is None or warned.source.page != self._name(page)
            message = warned.message if elsewhere else warned.error.message
            problems.append({"message": message, "line": line, "kind": warned.error.problem.kind})
        return problems

    def _name(self, page: Path) -> str:
        """Return the name of a page."""
        page = page.resolve()
        return page.relative_to(self.folder).as_posix() if page.is_relative_to(self.folder) else str(page)


@cache
def _file(name: str) -> bytes:
    """Return a file of this package."""
    return resources.files("mkdocs_attnviz").joinpath(*name.split("/")).read_bytes()


def settings_of(project: Project) -> Settings:
    """Return the settings of a project.

    Raises:
        SettingsError: if there is no such setting, or a value is not allowed.
    """
    for name in project.settings:
        if name not in Settings.model_fields:
            raise SettingsError(f"There is no setting {name!r}; there are {', '.join(Settings.model_fields)}.")
    return Settings.read(dict(project.settings))


def _sources(project: Project, page: Path | None, blocks: Sequence[Mapping[str, Any]]) -> list[Source]:
    """Return the blocks as they stand in the page's file, or in a file that it includes."""
    bodies = [block["body"] for block in blocks]
    page = _page_with(project, bodies) if page is None else page
    name = None if page is None else project.name(page)
    known = matched(bodies, _blocks_of(page, name) if page is not None and name else ())
    return [
        there or Source(block["body"], {}, name, block.get("line")) for block, there in zip(blocks, known, strict=True)
    ]


def _page_with(project: Project, bodies: Sequence[str]) -> Path | None:
    """Return the page that has exactly these blocks, or None if there is none, or more than one."""
    known = ((page, _blocks_of(page, "")) for page in project.pages())
    found = [page for page, there in known if len(there) == len(bodies) and None not in matched(bodies, there)]
    return found[0] if len(found) == 1 else None


def _blocks_of(page: Path, name: str) -> list[Source]:
    """Return the blocks of a page; none if it cannot be read, which mystmd reports itself."""
    try:
        return blocks_of(page, name)
    except (OSError, ValueError):
        return []
