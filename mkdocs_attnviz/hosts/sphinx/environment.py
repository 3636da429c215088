"""The blocks of each document and its links to figures, as Sphinx's environment keeps them."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors import EnvironmentCollector

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.hosts.sphinx.links import Link, link_of
from mkdocs_attnviz.hosts.sphinx.nodes import attnviz, source_of


class Blocks(EnvironmentCollector):
    """A collector of the blocks of each document and its links to figures in a state. They are stored in the
    environment, so that an incremental build reads only what has changed."""

    def clear_doc(self, app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        """Remove the blocks and links of a document."""
        for kept in (blocks_of, links_of):
            kept(env).pop(docname, None)

    def merge_other(self, app: Sphinx, env: BuildEnvironment, docnames: Set[str], other: BuildEnvironment) -> None:
        """Add the blocks and links that another process has read."""
        for kept in (blocks_of, links_of):
            read_elsewhere: dict[str, Any] = kept(other)
            kept(env).update({docname: read_elsewhere[docname] for docname in docnames if docname in read_elsewhere})

    def process_doc(self, app: Sphinx, doctree: nodes.document) -> None:
        """Record the blocks and links of a document."""
        if blocks := [source_of(node) for node in doctree.findall(attnviz)]:
            blocks_of(app.env)[app.env.docname] = blocks
        ends = [*doctree.findall(nodes.reference), *doctree.findall(pending_xref)]
        if links := [link for node in ends if (link := link_of(node, app.env.docname))]:
            links_of(app.env)[app.env.docname] = links


def blocks_of(env: BuildEnvironment) -> dict[str, list[Source]]:
    """Return the blocks of each document."""
    blocks: dict[str, list[Source]] = env.__dict__.setdefault("attnviz_blocks", {})
    return blocks


def links_of(env: BuildEnvironment) -> dict[str, list[Link]]:
    """Return the links to figures in a state in each document."""
    links: dict[str, list[Link]] = env.__dict__.setdefault("attnviz_links", {})
    return links


def files_of(env: BuildEnvironment) -> dict[str, str]:
    """Return the documents' files, relative to the source folder, by document name."""
    return {name: Path(env.doc2path(name, base=False)).as_posix() for name in sorted(env.found_docs)}
