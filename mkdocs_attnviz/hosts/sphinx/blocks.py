"""The parts of a document that are blocks: code blocks in the language `attention`, and the directive `attnviz`."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from mkdocs_attnviz.block.fields import fields_of
from mkdocs_attnviz.hosts.page import NAME
from mkdocs_attnviz.hosts.sphinx.nodes import block_node
from mkdocs_attnviz.hosts.sphinx.places import Place
from mkdocs_attnviz.views import OPTIONS


class ClaimCodeBlocks(SphinxTransform):
    """A transform of code blocks in the language `attention`, from a fence, `code-block` or `literalinclude`."""

    default_priority = 9  # before captions are kept for translators (10) and translated (20)

    def apply(self, **kwargs: Any) -> None:
        """Replace all code blocks in the language `attention`."""
        for node in list(self.document.findall(nodes.literal_block)):
            if node.get("language") == NAME:
                self._claim(node)

    def _claim(self, node: nodes.literal_block) -> None:
        """Replace a code block by a node for the block."""
        body = node.astext()
        place = Place(self.env, node.source, node.line, body)
        header, problem = place.header()
        replaced: nodes.Element = node
        parent = node.parent
        if isinstance(parent, nodes.container) and parent.get("literal_block"):  # of a `code-block` with a caption
            for caption in parent.findall(nodes.caption):
                header.setdefault("caption", caption.astext())
            replaced = parent
        block = block_node(place.block(body, header, problem), node.source or self.document["source"], node.line)
        block["ids"], block["names"] = replaced["ids"], replaced["names"]
        replaced["classes"] = []  # these classes are for code
        replaced.replace_self(block)


class AttnvizDirective(SphinxDirective):
    """The directive `attnviz`, with the block's keys as YAML in the body or as options."""

    has_content = True
    option_spec = {  # noqa: RUF012 — docutils declares it so
        "name": directives.unchanged,
        **{key: directives.unchanged for options in OPTIONS.values() for key in fields_of(options)},
    }

    def run(self) -> list[nodes.Node]:
        """Return the node for the block."""
        header = {key: str(value) for key, value in self.options.items() if key != "name"}
        body = "\n".join(self.content)
        place = Place(self.env, *self.get_source_info(), body)
        node = block_node(place.block(body, header, None), *self.get_source_info())
        self.add_name(node)
        return [node]
