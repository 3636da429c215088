"""All that the view of another package imports. Nothing here imports what runs models; `own_capture` has that.

The guide's page "Your own view" builds such a package. What is named here stays as it is; other modules may change.
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
