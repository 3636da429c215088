"""Nodes of mystmd's documents, as mystmd makes them itself."""

from __future__ import annotations

import re
from typing import Any

from mkdocs_attnviz.publishing import printable

Node = dict[str, Any]


def target_of(id: str) -> Node:
    """Return the keys by which mystmd refers to a node with this label, as it makes them itself."""
    identifier = id.strip().lower()
    html_id = re.sub(r"^(?=[0-9-])", "id-", re.sub(r"[^a-z0-9-]", "-", identifier))
    html_id = re.sub(r"--+", "-", html_id).strip("-")
    return {"label": id, "identifier": identifier, "html_id": html_id}


def text_in(kind: str, text: str) -> Node:
    """Return a node of a kind that has nothing but a text."""
    return {"type": kind, "children": [{"type": "text", "value": text}]}


def paragraph(text: str) -> Node:
    """Return a paragraph. Code in it stands between backticks."""
    parts = re.split(r"`([^`]+)`", text)
    kinds = ("text", "inlineCode")
    return {
        "type": "paragraph",
        "children": [{"type": kinds[number % 2], "value": part} for number, part in enumerate(parts) if part],
    }


def admonition(kind: str, title: str, message: str, where: str = "") -> Node:
    """Return an admonition with a title, a message and the place of the block."""
    said = paragraph(printable(message))
    if where:
        said["children"].append({"type": "text", "value": f" ({where})"})
    children = [text_in("admonitionTitle", title), said]
    return {"type": "admonition", "kind": kind, "class": "attnviz-error", "children": children}
