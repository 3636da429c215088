"""A module with everything that the capture of another package may import. Only workers import it; it needs PyTorch.

The guide's page "Your own view" builds such a package. These names are stable; other modules may change.
"""

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Corpus, Reading
from mkdocs_attnviz.models.encoding import json_blob, round_digits, scaled_blob
from mkdocs_attnviz.models.errors import Unusable
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.loaded import Loaded

__all__ = [
    "Context",
    "Corpus",
    "Entry",
    "Example",
    "Loaded",
    "Reading",
    "Unusable",
    "WrongValue",
    "collate",
    "json_blob",
    "round_digits",
    "scaled_blob",
]
