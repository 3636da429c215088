"""A module with everything that the view of another package may import. It never imports PyTorch; see `own_capture`.

The guide's page "Your own view" builds such a package. These names are stable; other modules may change.
"""

from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.block.values import Index, Indices, key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.svg.document import ROW, document, escape, height_of, palette, styles
from mkdocs_attnviz.views.svg.token_flow import json_of, sequences
from mkdocs_attnviz.views.view import View

__all__ = [
    "ROW",
    "Block",
    "Capture",
    "Drawing",
    "Entry",
    "Index",
    "Indices",
    "Options",
    "Picture",
    "View",
    "document",
    "escape",
    "height_of",
    "json_of",
    "key",
    "palette",
    "sequences",
    "styles",
]
