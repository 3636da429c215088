"""Links to figures, also in a state: `#id~state`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

from mkdocs_attnviz.hosts.sphinx.nodes import attnviz


@dataclass(frozen=True)
class Link:
    """A link to a figure in a state, `#id~state`."""

    page: str
    """The document with the figure."""
    id: str
    state: str
    file: str | None
    """The file with the link, or None if it is unknown. An included file has its own name."""
    line: int | None


def link_of(node: nodes.Element, docname: str) -> Link | None:
    """Return the link to a figure in a state that this node of `docname` contains, or None.

    In reStructuredText such a link is written as an address, `` `text <#id~state>`__ ``. MyST makes a reference of it
    within a document; between documents, Sphinx resolves it later.
    """
    page, target = docname, node.get("refid") or node.get("reftargetid") or ""
    if not target and node.get("refuri", "").startswith("#"):
        target = node["refuri"][1:]
    elif node.get("refdomain") == "doc":
        page = node["reftarget"]
    id, _, state = target.partition("~")
    if not id or not state:
        return None
    placed: Any = node
    while placed.line is None and placed.parent is not None:
        placed = placed.parent
    return Link(page, id, state, placed.source, placed.line)


class Anchors(SphinxTransform):
    """A transform that makes a block's `id` a target in its document. MyST looks there for links like `[text](#id)`."""

    default_priority = 870  # when all ids are given (PropagateTargets, AddSlugIds), before MyST resolves links (879)

    def apply(self, **kwargs: Any) -> None:
        """Register the ids of all blocks, and the states in links to them."""
        for node in self.document.findall(attnviz):
            id = node.get("anchor")
            if id and id not in self.document.ids:  # an id that the page has already is reported when it is drawn
                node["ids"].append(id)
                self.document.ids[id] = node
                caption = next((child.astext() for child in node.children), f"#{id}")
                for slugs in self._slugs():
                    slugs.setdefault(id, (node.line or 0, id, caption))
        for link in self.document.findall(nodes.reference):
            if link.get("id_link"):
                add_state(getattr(self.document, "myst_slugs", {}), link["refuri"][1:])

    def _slugs(self) -> Iterator[dict[str, tuple[int, str, str]]]:
        """Yield MyST's lists of a document's targets, for links inside the document and from other documents."""
        if "myst_heading_anchors" in self.config:
            yield getattr(self.document, "myst_slugs", {})
            yield self.env.metadata[self.env.docname].setdefault("myst_slugs", {})


def add_state(slugs: dict[str, tuple[int, str, str]], target: str) -> None:
    """Register a link to a figure in a state, `id~state`, with MyST, if MyST knows the figure."""
    id, _, state = target.partition("~")
    if state and id in slugs:
        line, _, caption = slugs[id]
        slugs.setdefault(target, (line, target, caption))


class StatesInOtherDocuments(SphinxPostTransform):
    """A transform that registers the states in links to figures in other documents."""

    default_priority = 8  # before MyST resolves them (9)

    def run(self, **kwargs: Any) -> None:
        """Register the states in all links to other documents."""
        for link in self.document.findall(pending_xref):
            if link.get("reftype") == "myst" and link.get("refdomain") == "doc" and link.get("reftargetid"):
                add_state(self.env.metadata[link["reftarget"]].get("myst_slugs", {}), link["reftargetid"])
