"""The host: what Sphinx calls in the course of a build."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

from mkdocs_attnviz import __version__
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.figure.alert import Warned
from mkdocs_attnviz.figure.assets import AssetFolder, mend
from mkdocs_attnviz.hosts import record
from mkdocs_attnviz.hosts.sphinx.environment import blocks_of, files_of, links_of
from mkdocs_attnviz.hosts.sphinx.places import DOCSTRING
from mkdocs_attnviz.pipeline import Build, Pipeline
from mkdocs_attnviz.settings import Settings, SettingsError

ASSETS = "_static/attnviz"
"""The folder of script and data in the site."""


log = logging.getLogger(__name__)


class Host:
    """The state of one run of Sphinx."""

    def __init__(self, app: Sphinx) -> None:
        self.app = app
        self.build: Build | None = None
        self._scope = ExitStack()
        """The context that ends the build."""
        self.drawn_from: dict[str, list[str | None]] = {}
        """The version and the cache keys of each page's figures. A key is None if there is no entry."""

    def begin(self, app: Sphinx) -> None:
        """Read the settings, and begin a build."""
        try:
            settings = Settings.read({name: app.config[f"attnviz_{name}"] for name in Settings.model_fields})
        except SettingsError as error:
            raise self._give_up(f"conf.py, attnviz: {error}") from None
        command = f"attnviz run -f {Path(os.path.relpath(app.confdir)).as_posix()}/conf.py"
        pipeline = Pipeline(settings, Path(app.confdir), log, self._warn, fatal=self._give_up, command=command)
        self.build = self._scope.enter_context(pipeline.build())
        app.attnviz = self  # type: ignore[attr-defined] # for what Sphinx makes by itself, transforms
        output = hashlib.sha256(f"{app.builder.name} {app.outdir}".encode()).hexdigest()[:10]
        self.records = Path(app.doctreedir) / "attnviz" / output

    def prepare(self, app: Sphinx, env: BuildEnvironment) -> list[str]:
        """Compute missing entries. Return the documents whose figures are drawn from other tensors than last time."""
        assert self.build is not None  # noqa: S101 — for the type checker
        if not app.builder.format:  # builders that only check or collect
            return []
        pages = blocks_of(env)
        self._record_pages(env)
        keys = iter(self.build.keys([source for blocks in pages.values() for source in blocks]))
        self._check_links(env)
        self.build.worker.close()  # other processes are forked from here
        self.drawn_from = {page: [__version__, *(next(keys) for _ in blocks)] for page, blocks in pages.items()}
        return [page for page in pages if self._record(page) != self.drawn_from[page]]

    def _check_links(self, env: BuildEnvironment) -> None:
        """Check the states in links to figures, `#figure~layer=2`. Sphinx and MyST check that the figure exists."""
        assert self.build is not None  # noqa: S101 — for the type checker
        for page, links in links_of(env).items():
            for link in links:
                if problem := self.build.wrong_state(blocks_of(env).get(link.page, ()), link.id, link.state):
                    where = (page, link.line) if link.file is None else f"{link.file}:{link.line or ''}"
                    message = "The link to `#%s~%s` cannot be followed: %s"
                    log.warning(message, link.id, link.state, problem, location=where, type="attnviz", subtype="link")

    def _record_pages(self, env: BuildEnvironment) -> None:
        """Record which pages have blocks. The command cannot read a Jupyter Book or a project without conf.py
        itself."""
        assert self.build is not None  # noqa: S101 — for the type checker
        blocks, source = blocks_of(env), Path(self.app.srcdir)
        pages = {file: blocks.get(name, []) for name, file in files_of(env).items()}
        record.add("sphinx", source, source, self.build.settings, pages, complete=True)

    def fill(self, app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.Node | None) -> None:
        """Draw the figures of a finished page."""
        if self.build is not None and isinstance(context.get("body"), str):
            url = relative_uri(app.builder.get_target_uri(page).rsplit("#", 1)[0], ASSETS)
            assets = AssetFolder(Path(app.outdir) / ASSETS, url)
            with self.recording(page):
                context["body"] = self.build.fill(context["body"], assets)

    @contextmanager
    def recording(self, page: str) -> Iterator[Build]:
        """Draw a page in this context; its cache keys are then recorded for the next build. They are not recorded if
        there was an alert or a claim that does not hold, so that the next build warns again.

        There is a file for each page and output, because several processes write pages, and not always all of them.
        """
        assert self.build is not None  # noqa: S101 — for the type checker
        before = len(self.build.alerts), len(self.build.failed_claims)
        yield self.build
        with suppress(OSError):  # a page without a record is drawn again
            if page in self.drawn_from and (len(self.build.alerts), len(self.build.failed_claims)) == before:
                write_atomically(self._file(page), json.dumps(self.drawn_from[page]).encode())
            else:
                self._file(page).unlink(missing_ok=True)

    def _record(self, page: str) -> object:
        """Return the recorded keys of a page, or None."""
        try:
            return json.loads(self._file(page).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def _file(self, page: str) -> Path:
        """Return the path of the file with the recorded keys of a page."""
        return self.records / f"{page}.json"

    def _give_up(self, message: str) -> SystemExit:
        """Return the exception that ends the build with one sentence on standard error.

        Sphinx 9 shows other exceptions with a traceback and a request to report them to its developers.
        """
        self.finish(self.app, None)
        return SystemExit(message)

    def finish(self, app: Sphinx, error: Exception | None) -> None:
        """End the build, and restore our files if the site's own files replaced them."""
        self._scope.close()
        if error is None and app.builder.format == "html":
            for problem in mend(Path(app.outdir) / ASSETS):
                log.warning("%s", problem, type="attnviz", subtype="assets")
                shutil.rmtree(
                    self.records, ignore_errors=True
                )  # the next build then writes pages and their files again

    def _warn(self, warned: Warned) -> None:
        """Log a block that cannot be drawn, or a claim that does not hold, with its place."""
        source, where = warned.source, warned.source.where(warned.error)
        full = f"{self.app.srcdir}{os.sep}{where}"
        location = full if source.line is not None else self.app.env.path2doc(where)
        if source.object is not None:  # the form in which Sphinx names docstrings
            location = f"{self.app.srcdir}{os.sep}{source.page}{DOCSTRING}{source.object}"
        subtype = "claim" if warned.error.problem.kind == "claim" else "block"
        log.warning("%s", warned.error.message, location=location, type="attnviz", subtype=subtype)
