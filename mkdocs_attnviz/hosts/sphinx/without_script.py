"""Figures for builders whose pages run no script."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.transforms.post_transforms.images import ImageConverter
from sphinx.util import logging

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.figure.alert import Alert
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.rendered import Rendered
from mkdocs_attnviz.hosts.sphinx.host import Host
from mkdocs_attnviz.hosts.sphinx.images import SVG
from mkdocs_attnviz.hosts.sphinx.nodes import attnviz, source_of
from mkdocs_attnviz.pipeline import Build

log = logging.getLogger(__name__)


class WithoutScript(SphinxPostTransform):
    """A transform for builders whose pages run no script: the picture, if they support any, the caption and the
    sentence."""

    default_priority = 100  # before images are converted and collected

    def is_supported(self) -> bool:
        """Return whether the builder's pages run no script."""
        builder = self.app.builder
        return builder.format not in ("", "html") or bool(getattr(builder, "embedded", False))

    def run(self, **kwargs: Any) -> None:
        """Replace all blocks."""
        old_nodes = list(self.document.findall(attnviz))
        sources = [source_of(node) for node in old_nodes]
        host: Host = self.app.attnviz  # type: ignore[attr-defined]
        with host.recording(self.env.docname) as build:
            rendered = build.render(sources)
            new_nodes = [self._shown(build, source, each) for source, each in zip(sources, rendered, strict=True)]
        for node, new_node in zip(old_nodes, new_nodes, strict=True):
            # LaTeX gives a label to a target, not to a container.
            targets = [nodes.target("", "", ids=node["ids"], names=node["names"])] if node["ids"] else []
            node.parent.replace(node, [*targets, new_node])

    def _shown(self, build: Build, source: Source, drawn: Rendered) -> nodes.Element:
        """Return the nodes of a figure, or of an alert if its picture cannot be written."""
        assert isinstance(drawn, Figure | Alert)  # noqa: S101 — for the type checker
        try:
            return self._figure(drawn) if isinstance(drawn, Figure) else _alert(drawn)
        except OSError as error:
            return _alert(build.failed(source, BlockError(f"Its picture cannot be written ({error.strerror}).")))

    def _figure(self, figure: Figure) -> nodes.Element:
        """Return the nodes of a figure."""
        texts = (figure.sentence, figure.block.caption)
        container = nodes.container("", *(nodes.paragraph("", text) for text in texts if text))
        if self.app.builder.supported_image_types and self._takes_svg():
            container.insert(0, self._image(figure))
        return container

    def _image(self, figure: Figure) -> nodes.image:
        """Return the image node of a figure's picture, after writing the picture to a file."""
        picture = figure.picture
        content = picture.svg.encode()
        path = Path(self.env.doctreedir) / "attnviz" / f"attnviz-{hashlib.sha256(content).hexdigest()[:20]}.svg"
        write_atomically(path, content)
        image = nodes.image("", uri=str(path), candidates={SVG: str(path)}, alt=figure.sentence, attnviz=True)
        self.env.images.add_file(self.env.docname, str(path))
        return image

    def _takes_svg(self) -> bool:
        """Return whether the builder supports SVG, or an extension converts it."""
        taken = self.app.builder.supported_image_types
        if SVG in taken or any(_converts(converter, taken) for converter in self._converters()):
            return True
        log.warning(
            "The %s builder takes no SVG, so figures have no picture there; `pip install 'attnviz[pdf,png]'`, or "
            "any extension that converts SVG, changes that.",
            self.app.builder.name,
            once=True,
            type="attnviz",
            subtype="picture",
        )
        return False

    def _converters(self) -> Iterator[ImageConverter]:
        """Yield the converters of images."""
        for transform in self.app.registry.get_post_transforms():
            if issubclass(transform, ImageConverter):
                yield transform(self.document)


def _converts(converter: ImageConverter, taken: list[str]) -> bool:
    """Return whether a converter turns SVG into a format that the builder supports."""
    return any((SVG, to) in converter.conversion_rules for to in taken) and converter.is_available()


def _alert(alert: Alert) -> nodes.Element:
    """Return the node of an alert."""
    where = alert.source.where(alert.error)
    message = f"{where}: {alert.shown}" if where else alert.shown
    return nodes.error("", nodes.paragraph("", f"This attention block could not be drawn. {message}"))
