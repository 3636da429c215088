"""The type of a view: one way to draw the result of a capture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views.drawing import Drawing

ATTENTION_SCRIPT, ALL_SCRIPT = "mkdocs_attnviz:static/attnviz.js", "mkdocs_attnviz:static/attnviz-all.js"
"""The names of our own scripts. The second one contains everything in the first."""

O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True)
class View(Generic[O]):
    """One way to draw the result of a capture: a name, options and a function. It is registered as an entry point.

    A view does not know hosts or torch, and makes no HTML except its own pictures.
    """

    name: str
    """The value of the block key `view` that selects this view."""
    options: type[O]
    """The block keys that this view adds."""
    capture: Capture
    """The capture that produces the entries this view draws."""
    draw: Callable[[Block, O, Entry], Drawing]
    """The function that makes the data, the static picture and the sentence from an entry. It raises BlockError if the
    options do not fit the model."""
    script: str = ATTENTION_SCRIPT
    """The script that draws the view in the page: `package:path`, a file in an installed package. Another package's
    script is loaded after ours, and calls `attnviz.define({name: Class})`."""
    state: tuple[str, ...] | None = None
    """The parts of the state that a link or the block key `state` may set, or None if they are not checked."""

    def drawing(self, block: Block, entry: Entry) -> Drawing:
        """Return the drawing of a block that has this view.

        Raises:
            BlockError: if the options do not fit the model.
            TypeError: if the block's options belong to another view.
        """
        if not isinstance(block.options, self.options):
            raise TypeError(f"these are options of another view than {self.name}")
        return self.draw(block, block.options, entry)


AnyView = View[Any]
