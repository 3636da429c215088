"""A project that is read but not built."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import docutils_namespace, patch_docutils

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.hosts.sphinx.environment import blocks_of, files_of
from mkdocs_attnviz.hosts.sphinx.host import Host
from mkdocs_attnviz.settings import Settings


@dataclass(frozen=True)
class Project:
    """The attention blocks and settings of a project that is read but not built."""

    settings: Settings
    pages: Mapping[str, list[Source]]
    """The blocks of each document, by the document's file in the source folder."""


class PlainIntoPipes(io.StringIO):
    """A writer to standard error that removes colour codes if it is not a terminal, because Sphinx always writes
    them."""

    def write(self, text: str) -> int:
        """Write a text to standard error."""
        click.echo(text, err=True, nl=False)
        return len(text)


def read(folder: Path) -> Project:
    """Read every document of the project with a conf.py in `folder`. Nothing is written there.

    Raises:
        Exception: if the project cannot be read: a SphinxError, or any error of an extension.
    """
    stderr = PlainIntoPipes()
    with TemporaryDirectory() as out, patch_docutils(folder), docutils_namespace(), redirect_stdout(sys.stderr):
        app = Sphinx(folder, folder, out, Path(out) / "doctrees", "dummy", status=None, warning=stderr, freshenv=True)
        if not hasattr(app, "attnviz"):
            raise ExtensionError("its `extensions` do not name `mkdocs_attnviz`")
        app.builder.read()
        host: Host = app.attnviz
        assert host.build is not None  # noqa: S101 — for the type checker
        blocks, env = blocks_of(app.env), app.env
        pages = {file: blocks.get(name, []) for name, file in files_of(env).items()}
        return Project(host.build.settings, pages)
