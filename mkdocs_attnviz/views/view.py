"""The type of a view: one way to draw the result of a capture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mkdocs_attnviz.block.fields import Block, Options
from mkdocs_attnviz.block.problem import BlockError, Problem, trace
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import TENSORS, Capture
from mkdocs_attnviz.models.errors import error_message
from mkdocs_attnviz.plugins import is_ours
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.measure import Measure
from mkdocs_attnviz.views.state_checks import Check

BASE_SCRIPT = "mkdocs_attnviz:static/attnviz.js"
"""The name of the script that all figures need."""

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
    script: str = BASE_SCRIPT
    """The script that draws the view in the page: `package:path`, a file in an installed package. It is loaded after
    those that it needs; another package's calls `attnviz.define({name: Class})`."""
    data: Any = None
    """The typed dictionary that declares what `draw` writes for the script, a union of several, or None if nothing
    declares it."""
    state: tuple[str, ...] | None = None
    """The parts of the state that a link or the block key `state` may set, or None if they are not checked."""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """The checks of those parts of the state that are not keys of the block."""
    entry: Callable[[O], Entry] | None = None
    """The function that makes an entry of the options alone, for a block with one of their `sources`."""
    measures: Mapping[str, Measure[O]] = field(default_factory=dict)
    """The measures that claims (`expect`) can be about, by name. A claim that names none is about the first one that
    its selectors fit."""

    file_capture: Capture | None = None
    """The capture that reads an author's own numbers for this view, if they are others than attention weights."""
    corpus_capture: Capture | None = None
    """The capture that reads a corpus for this view, if it is another than that of one text."""

    @property
    def reads_tensors(self) -> Capture | None:
        """The capture that reads an author's own file for this view; None if the view needs a model.

        Our views of attention draw the weights in a file, since their captures need nothing else.
        """
        draws_weights = self.capture.attention and is_ours(self.capture.run.partition(":")[0])
        return self.file_capture or (TENSORS if draws_weights else None)

    @property
    def reads_corpus(self) -> Capture | None:
        """The capture that reads many texts for this view; None if the view shows one text."""
        return self.corpus_capture or (self.capture if self.capture.corpus else None)

    def capture_of(self, block: Block) -> Capture:
        """Return the capture for what a block gives: a file, a corpus, or one input of a model.

        Raises:
            BlockError: this view cannot show that.
        """
        if block.tensors is not None and self.reads_tensors is None:
            message = f"`tensors` holds attention, which the {self.name} view does not show; it needs a `model`."
            raise block.wrong("tensors", message)
        if block.corpus is not None and self.reads_corpus is None:
            raise block.wrong("corpus", f"`corpus` has many texts; the {self.name} view shows one `text`.")
        found = self.reads_tensors if block.tensors is not None else self.reads_corpus if block.corpus else None
        return found or self.capture

    def asked(self, block: Block) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the model is to read, and the parameters of the capture.

        Raises:
            BlockError: another package's options fail, or give what is not plain JSON.
        """
        try:
            asked = block.inputs, block.options.parameters()
            if not is_ours(self.options.__module__):
                json.dumps(asked)
        except Exception as error:
            message = f"The options of view `{self.name}` cannot be asked for: {error_message(error)}."
            raise block.told(Problem("block", "view", message, trace(error))) from error
        return asked

    def own_entry(self, block: Block) -> Entry | None:
        """Return the entry of a block that is drawn from a key of its own, without a model; None for any other."""
        if self.entry is None or block.options.source() is None or not isinstance(block.options, self.options):
            return None
        return self.entry(block.options)

    def drawing(self, block: Block, entry: Entry) -> Drawing:
        """Return the drawing of a block that has this view.

        Raises:
            BlockError: if the options do not fit the model, or another package's view has failed.
            TypeError: if the block's options belong to another view.
        """
        if not isinstance(block.options, self.options):
            raise TypeError(f"these are options of another view than {self.name}")
        try:
            return self._checked(self.draw(block, block.options, entry))
        except BlockError:
            raise
        except Exception as error:
            if is_ours(getattr(self.draw, "__module__", "")):
                raise
            message = f"View `{self.name}` could not draw this: {error_message(error)}."
            raise block.told(Problem("block", "view", message, trace(error))) from error

    def _checked(self, drawing: Drawing) -> Drawing:
        if not isinstance(drawing, Drawing):
            raise TypeError("what its `draw` returns is no Drawing")
        return drawing


def own_script(name: str) -> str:
    """Return the name of our script for the view of this name; its source is `frontend/src/views/NAME.ts`."""
    return f"mkdocs_attnviz:static/attnviz-{name}.js"


AnyView = View[Any]
