"""The texts of a corpus: plain data that the build makes of a file and a worker reads. This module needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mkdocs_attnviz.block.problem import WrongValue


@dataclass(frozen=True)
class Parse:
    """The grammatical relations of a text's words, by a treebank."""

    words: Sequence[Sequence[int]]
    """Start and end of each word in the text, in characters, end exclusive."""
    heads: Sequence[int]
    """The number of each word's head, counted from 1; 0 for the root."""
    relations: Sequence[str]
    """The relation of each word to its head, such as `nsubj`."""


@dataclass(frozen=True)
class CorpusText:
    """One text of a corpus."""

    text: str
    line: int | None = None
    """The number of its first line in the file, counted from 1; None for a text that stands in the block."""
    parse: Parse | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CorpusText:
        """Return the text that `asdict` has made plain JSON of."""
        parse = data.get("parse")
        return cls(data["text"], data["line"], None if parse is None else Parse(**parse))


class Line(NamedTuple):
    """A line of a file, with its number, counted from 1."""

    number: int
    text: str


def wrong_line(name: str, number: int, what: str) -> WrongValue:
    """Return the error of a mistake in a line of the corpus; `what` follows the words "line 3 of 'corpus.txt'"."""
    return WrongValue("corpus", f"Line {number} of {name!r} {what}.")


def first_text(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a request's inputs with the first text of its corpus in the corpus's place, if it has one."""
    if "corpus" not in inputs:
        return inputs
    return {name: value for name, value in inputs.items() if name != "corpus"} | {
        "text": inputs["corpus"]["texts"][0]["text"]
    }
