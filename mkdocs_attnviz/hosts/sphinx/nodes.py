"""The node of a block in a document."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from docutils import nodes

from mkdocs_attnviz.block.fields import is_id
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.placeholders import placeholder
from mkdocs_attnviz.views import OPTIONS


class attnviz(nodes.General, nodes.Element):
    """A node for one block; `source` is its `Source` as JSON."""


def block_node(source: Source, file: str | None, line: int | None) -> attnviz:
    """Return the node for a block. The caption is its child, so that search and translation find it."""
    node = attnviz("", source=source.to_json())
    with suppress(BlockError):
        block = parse(source, OPTIONS)
        node["anchor"] = block.id
        if block.caption:
            caption = nodes.caption(block.caption, block.caption)
            caption.source, caption.line = file, line
            node += caption
    return node


def source_of(node: attnviz) -> Source:
    """Return the node's block, with its translated caption, and with the id of a label if it has no id."""
    source = Source.from_json(node["source"])
    if node.get("anchor", "") is None and (id := next(filter(is_id, node["ids"]), None)):
        source = replace(source, header={**source.header, "id": id})
    caption = next((child.astext() for child in node.children if isinstance(child, nodes.caption)), None)
    if caption is not None and caption != parse(source, OPTIONS).caption:
        source = replace(source, caption=caption)
    return source


def write_placeholder(translator: Any, node: attnviz) -> None:
    """Write the placeholder of a block. The figure replaces it when the whole page is written."""
    source = source_of(node)
    others = [id for id in node["ids"] if id not in (node.get("anchor"), source.header.get("id"))]
    targets = "".join(f'<span id="{id}"></span>' for id in others)
    translator.body.append(f"{targets}{placeholder(source)}\n")
    raise nodes.SkipNode
