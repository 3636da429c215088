"""A view: one way to draw what a capture has taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views.drawing import Drawing

ATTENTION_SCRIPT, ALL_SCRIPT = "mkdocs_attnviz:static/attnviz.js", "mkdocs_attnviz:static/attnviz-all.js"
"""Our own scripts; the second has everything that is in the first."""

O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True)
class View(Generic[O]):
    """One way to draw what a capture has taken: a name, options, and a function. It is registered as an entry point.

    It knows no host and no torch, and of HTML nothing but its own pictures.
    """

    name: str
    """The word that the block key `view` has for it."""
    options: type[O]
    """The keys that it adds to the block."""
    capture: Capture
    """What it draws from."""
    draw: Callable[[Block, O, Entry], Drawing]
    """The function that makes data for the script, a static picture and a sentence of an entry. It raises BlockError
    where the options do not fit what the model has."""
    script: str = ATTENTION_SCRIPT
    """The script that draws it in the page: `package:path`, a file in an installed package. Another package's script is
    loaded after ours, and calls `attnviz.define({name: Class})`."""
    data: type | None = None
    """The typed dictionary that declares what `draw` writes for the script; None where nothing declares it."""
    state: tuple[str, ...] | None = None
    """The parts of its state that a link or the block key `state` may set; None if they are not checked."""

    def drawing(self, block: Block, entry: Entry) -> Drawing:
        """Return the drawing of a block that has this view.

        Raises:
            BlockError: the options do not fit what the model has.
        """
        if not isinstance(block.options, self.options):
            raise TypeError(f"these are options of another view than {self.name}")
        return self.draw(block, block.options, entry)


AnyView = View[Any]
