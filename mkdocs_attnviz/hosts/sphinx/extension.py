"""The extension: everything that Sphinx is told of."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from mkdocs_attnviz import __version__
from mkdocs_attnviz.hosts.sphinx.blocks import AttnvizDirective, ClaimCodeBlocks
from mkdocs_attnviz.hosts.sphinx.environment import Blocks
from mkdocs_attnviz.hosts.sphinx.host import Host
from mkdocs_attnviz.hosts.sphinx.images import CONVERTERS
from mkdocs_attnviz.hosts.sphinx.links import Anchors, StatesInOtherDocuments
from mkdocs_attnviz.hosts.sphinx.nodes import attnviz, write_placeholder
from mkdocs_attnviz.hosts.sphinx.without_script import WithoutScript
from mkdocs_attnviz.settings import Settings


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx. Sphinx calls this function."""
    for name, field in Settings.model_fields.items():
        app.add_config_value(f"attnviz_{name}", field.get_default(call_default_factory=True), "env")
    app.add_node(attnviz, html=(write_placeholder, None))
    app.add_directive("attnviz", AttnvizDirective)
    app.add_transform(ClaimCodeBlocks)
    app.add_transform(Anchors)
    app.add_env_collector(Blocks)
    app.add_post_transform(StatesInOtherDocuments)
    app.add_post_transform(WithoutScript)
    for converter in CONVERTERS:
        app.add_post_transform(converter)
    host = Host(app)
    app.connect("builder-inited", host.begin)
    app.connect("env-updated", host.prepare)
    app.connect("html-page-context", host.fill)
    app.connect("build-finished", host.finish)
    return {"version": __version__, "env_version": 4, "parallel_read_safe": True, "parallel_write_safe": True}
