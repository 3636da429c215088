"""The sentences of a CoNLL-U file (https://universaldependencies.org/format.html), with each word's place in its text.

Of a multiword token such as `don't`, which two words stand for, each word gets its own characters if together they
spell it, and all of it otherwise. Empty nodes (`3.1`) stand for no characters and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mkdocs_attnviz.models.inputs.corpus_text import CorpusText, Line, Parse, wrong_line

COLUMNS = 10
RANGE, EMPTY = re.compile(r"(\d+)-(\d+)"), re.compile(r"\d+\.\d+")
TEXT = re.compile(r"# ?text ?= ?(.*)")


@dataclass
class _Surface:
    """A piece of the text: a word, or a multiword token."""

    line: Line
    form: str
    space_after: bool
    words: list[int]
    """The numbers of the words that it stands for, counted from 0."""


@dataclass
class _Sentence:
    """A sentence that is being read."""

    name: str
    text: str | None = None
    forms: list[str] = field(default_factory=list)
    heads: list[tuple[Line, int]] = field(default_factory=list)
    relations: list[str] = field(default_factory=list)
    surface: list[_Surface] = field(default_factory=list)
    end: int = 0
    """The number of the last word of the multiword token that is being read."""

    def add(self, line: Line) -> None:
        """Add a line: a comment, a word, a multiword token or an empty node.

        Raises:
            WrongValue: the line is none of these.
        """
        if line.text.startswith("#"):
            if (match := TEXT.fullmatch(line.text)) and not self.surface:
                self.text = match[1].strip()
            return
        columns = line.text.split("\t")
        if len(columns) != COLUMNS:
            has = f"has {len(columns)} column{'s' * (len(columns) != 1)}"
            raise wrong_line(self.name, line.number, f"{has}; CoNLL-U has {COLUMNS}, with tabs between them")
        number, form, misc = columns[0], columns[1], columns[9]
        if EMPTY.fullmatch(number):
            return
        if not form.strip():
            raise wrong_line(self.name, line.number, "has no word in its second column")
        space_after = "SpaceAfter=No" not in misc.split("|")
        if match := RANGE.fullmatch(number):
            first, within = int(match[1]), len(self.forms) < self.end
            self._expect(line, first, number)
            if within:
                raise wrong_line(self.name, line.number, f"has the range {number}, which begins inside another")
            self.end = int(match[2])
            if self.end <= first:
                raise wrong_line(self.name, line.number, f"has the range {number}, which holds no two words")
            self.surface.append(_Surface(line, form, space_after, list(range(first - 1, self.end))))
            return
        self._expect(line, int(number) if number.isdecimal() else -1, number)
        self._word(line, columns)
        if len(self.forms) > self.end:
            self.surface.append(_Surface(line, form, space_after, [len(self.forms) - 1]))

    def _expect(self, line: Line, number: int, written: str) -> None:
        """Raises: WrongValue if the number is not that of the next word."""
        following = len(self.forms) + 1
        if number != following:
            raise wrong_line(self.name, line.number, f"has the number {written!r}, where {following} comes next")

    def _word(self, line: Line, columns: Sequence[str]) -> None:
        head, relation = columns[6], columns[7]
        if not head.isdecimal():
            raise wrong_line(self.name, line.number, f"gives {columns[1]!r} the head {head!r}, which is no number")
        if relation in ("", "_"):
            raise wrong_line(self.name, line.number, f"gives {columns[1]!r} no relation in its eighth column")
        self.forms.append(columns[1])
        self.heads.append((line, int(head)))
        self.relations.append(relation)

    def finished(self) -> CorpusText:
        """Return the whole sentence.

        Raises:
            WrongValue: a head is none of its words, words are missing, or they are not those of its `# text`.
        """
        count = len(self.forms)
        for word, (line, head) in enumerate(self.heads, 1):
            if head > count or head == word:
                which = "which is the word itself" if head == word else f"and the sentence has {count} words"
                raise wrong_line(self.name, line.number, f"gives {self.forms[word - 1]!r} the head {head}, {which}")
        if self.end > count:
            line = self.surface[-1].line
            raise wrong_line(self.name, line.number, f"has a range up to {self.end}, beyond the last word, {count}")
        text, places = self._places()
        words: list[tuple[int, int]] = [(0, 0)] * count
        for piece, (start, end) in zip(self.surface, places, strict=True):
            for word, place in zip(piece.words, self._within(piece, start, end), strict=True):
                words[word] = place
        parse = Parse(words, [head for _, head in self.heads], self.relations)
        return CorpusText(text, self.surface[0].line.number, parse)

    def _places(self) -> tuple[str, list[tuple[int, int]]]:
        """Return the text, and the place of each piece in it."""
        text = self.text
        if text is None:
            text = "".join(piece.form + " " * piece.space_after for piece in self.surface).rstrip()
        places, start = [], 0
        for piece in self.surface:
            start += len(text[start:]) - len(text[start:].lstrip())
            end = start + len(piece.form)
            if text[start:end] != piece.form:
                what = f"has {piece.form!r}, where the sentence's `# text` has {text[start:end]!r}"
                raise wrong_line(self.name, piece.line.number, what)
            places.append((start, end))
            start = end
        return text, places

    def _within(self, piece: _Surface, start: int, end: int) -> list[tuple[int, int]]:
        """Return the place of each word of a piece."""
        forms = [self.forms[word] for word in piece.words]
        if "".join(forms).lower() != piece.form.lower():
            return [(start, end)] * len(forms)
        places = []
        for form in forms:
            places.append((start, start + len(form)))
            start += len(form)
        return places


def sentences(name: str, lines: Iterable[Line]) -> Iterator[CorpusText]:
    """Yield the sentences of a file, which blank lines separate; `name` is the file's name in messages.

    Raises:
        WrongValue: a line is not as CoNLL-U has it.
    """
    sentence = _Sentence(name)
    for line in lines:
        if line.text.strip():
            sentence.add(line)
            continue
        if sentence.surface:
            yield sentence.finished()
        sentence = _Sentence(name)
    if sentence.surface:
        yield sentence.finished()
