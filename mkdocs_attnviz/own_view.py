"""A module with everything that the view of another package may import. It never imports PyTorch; see `own_capture`.

The guide's page "Your own view" builds such a package. These names are stable; other modules may change.
"""

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import Flag, Index, Indices, Texts, key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.svg.document import ROW, document, escape, height_of, palette, styles
from mkdocs_attnviz.views.svg.token_flow import json_of, sequences
from mkdocs_attnviz.views.token_places import place, places, token
from mkdocs_attnviz.views.view import View

__all__ = [
    "ROW",
    "STRONGEST",
    "Answer",
    "Block",
    "Capture",
    "Drawing",
    "Entry",
    "Flag",
    "Index",
    "Indices",
    "Measure",
    "Measured",
    "Options",
    "Other",
    "Picture",
    "Selectors",
    "Texts",
    "Untestable",
    "View",
    "WrongValue",
    "document",
    "escape",
    "height_of",
    "json_of",
    "key",
    "palette",
    "place",
    "places",
    "sequences",
    "styles",
    "token",
]
