"""The experts view: which experts of a mixture a router chose, for each token of a text or over a corpus."""

from __future__ import annotations

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.expert_choices import ExpertsFigure, draw_choices
from mkdocs_attnviz.views.expert_loads import LoadsFigure, draw_loads
from mkdocs_attnviz.views.expert_options import Options
from mkdocs_attnviz.views.measures.experts import MEASURES
from mkdocs_attnviz.views.view import View, own_script

EXPERTS = Capture(
    "experts",
    1,
    run="mkdocs_attnviz.models.captures.experts:capture",
    attention=False,
    stored="choices exactly; weights and probabilities in 16 bits",
)
LOADS = Capture(
    "expert_loads",
    1,
    run="mkdocs_attnviz.models.captures.expert_loads:capture",
    attention=False,
    corpus=True,
    stored="counts exactly; means to six digits",
)
"""The load of experts over a corpus."""


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of one text's choices, or of the loads over a corpus.

    Raises:
        BlockError: if the options do not fit the model or the entry.
    """
    return draw_choices(block, options, entry) if block.corpus is None else draw_loads(block, options, entry)


def _check_token(name: str, text: str, drawing: Drawing, entry: Entry) -> None:
    """Raise BlockError if a part of the state is not the number of one of the text's tokens."""
    if "loads" in entry.meta:
        raise BlockError(f"`{name}` names a token of one text; this figure is drawn from a corpus.")
    state_checks.position(name, text, drawing, entry)


VIEW = View(
    "experts",
    Options,
    EXPERTS,
    draw,
    script=own_script("experts"),
    data=ExpertsFigure | LoadsFigure,
    state=("show", "stack", "part", "layer", "expert", "token"),
    checks={"token": _check_token},
    corpus_capture=LOADS,
    measures=MEASURES,
)
