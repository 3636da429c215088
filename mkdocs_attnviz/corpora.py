"""The corpora of one build: files of the site with many texts, each read once."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.inputs.corpus_file import read_corpus
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import VIEWS

SUFFIXES = (".txt", ".conllu")


class Corpora:
    """The corpora that the blocks of a build name. `base` is the folder that their paths start from."""

    def __init__(self, settings: Settings, base: Path) -> None:
        self.settings, self.base = settings, base
        self._known: dict[tuple[str | int | None, ...], dict[str, Any] | WrongValue] = {}

    def inputs(self, block: Block) -> dict[str, Any]:
        """Return what the model reads beside the block's own keys: the corpus, if the block has one.

        Raises:
            BlockError: its view shows one text, there is no such file, the site does not allow it, or a line of it is
                wrong.
        """
        if block.corpus is None:
            return {}
        if VIEWS[block.view].reads_corpus is None:
            able = ", ".join(name for name, view in VIEWS.items() if view.reads_corpus) or "none is installed"
            message = f"`corpus` is for views of many texts ({able}); the {block.view} view shows one `text`."
            raise block.wrong("corpus", message)
        return {"corpus": self.of(block)}

    def of(self, block: Block) -> dict[str, Any]:
        """Return the texts of a block's corpus and their digest, as `read_corpus` does.

        Raises:
            BlockError: there is no such file, the site does not allow it, or a line of it is wrong.
        """
        place = (block.corpus, block.corpus_split, block.max_texts)
        if place not in self._known:
            try:
                self._known[place] = self._read(block.corpus or "", block.corpus_split, block.max_texts)
            except WrongValue as error:
                self._known[place] = error
        known = self._known[place]
        if isinstance(known, WrongValue):
            raise block.wrong(known.key, str(known)) from known
        return known

    def _read(self, name: str, split: str | None, max_texts: int | None) -> dict[str, Any]:
        """Return the texts of a file.

        Raises:
            WrongValue: there is no such file, the site does not allow it, or a line of it is wrong.
        """
        path = (self.base / os.path.expanduser(name)).resolve()  # noqa: PTH111 — pathlib's may raise
        if self.settings.only_listed_models and not path.is_relative_to(self.base.resolve()):
            message = f"`corpus` is {name!r}, which lies outside {self.base}; this site reads only what lies inside."
            raise WrongValue("corpus", message)
        if not path.is_file():
            raise WrongValue("corpus", f"`corpus` is {name!r}, but there is no such file in {self.base}{_near(path)}.")
        return read_corpus(name, path, split, max_texts)


def _near(path: Path) -> str:
    """Return the nearest name, or all names, of the corpora in the folder, for the end of a sentence."""
    names = sorted(file.name for file in path.parent.glob("*") if file.suffix in SUFFIXES)
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (there are {', '.join(names[:10])})" if names else ""
