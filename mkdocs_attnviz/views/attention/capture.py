"""The capture that all views of attention weights draw from."""

from mkdocs_attnviz.models.engine.capture import WEIGHTS, Capture

ATTENTION = Capture("attention", 3, run="mkdocs_attnviz.models.captures.with_masks:attention", stored=WEIGHTS)
