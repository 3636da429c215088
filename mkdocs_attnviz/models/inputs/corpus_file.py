"""Corpora: files with many texts, in place of a block's `text`.

The build reads them, so that a worker on another machine needs no file. A `.txt` file has one text a line, or with
`paragraphs` one text between blank lines; a `.conllu` file has sentences with the head and the relation of each word.
A mistake is told with the file's name and the line. This module needs no torch.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.identity.model_files import LARGEST_POINTER, pointed_at
from mkdocs_attnviz.models.inputs.conllu import sentences
from mkdocs_attnviz.models.inputs.corpus_text import CorpusText, Line, wrong_line

LARGEST = 64 << 20
"""The number of bytes of a corpus that are read at most."""


def read_corpus(name: str, path: Path, split: str | None = None, max_texts: int | None = None) -> dict[str, Any]:
    """Return what a model is to read of a corpus, as plain JSON: the texts, and the digest that is a part of the key.

    `name` is the file's name in messages; `split` is `lines`, `paragraphs` or None for lines. Reading ends after
    `max_texts` texts.

    Raises:
        WrongValue: the file cannot be read, has no text, or a mistake in one of its lines.
    """
    annotated = path.suffix == ".conllu"
    if annotated and split is not None:
        message = f"`corpus_split` is {split!r}; it is for a .txt file, and {name!r} has sentences."
        raise WrongValue("corpus_split", message)
    texts: list[dict[str, Any]] = []
    try:
        if path.stat().st_size <= LARGEST_POINTER and pointed_at(path.read_bytes()):
            raise WrongValue("corpus", f"`corpus` is {name!r}, which Git LFS has not brought yet; `git lfs pull` does.")
        with path.open("rb") as file:
            lines = _lines(name, file)
            for text in sentences(name, lines) if annotated else _texts(lines, split or "lines"):
                texts.append(asdict(text))
                if len(texts) == max_texts:
                    break
    except OSError as error:
        raise WrongValue(
            "corpus", f"`corpus` is {name!r}, which cannot be read: {os.strerror(error.errno or 0)}."
        ) from error
    if not texts:
        raise WrongValue("corpus", f"`corpus` is {name!r}, which has no text.")
    content = json.dumps(texts, sort_keys=True).encode()
    return {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "texts": texts}


def _lines(name: str, file: IO[bytes]) -> Iterator[Line]:
    """Yield the lines of an open file, without their ends.

    Raises:
        WrongValue: a line is no UTF-8, or the file is too large.
    """
    size = 0
    for number, line in enumerate(file, 1):
        size += len(line)
        if size > LARGEST:
            raise wrong_line(name, number, f"is beyond {LARGEST >> 20} MB, more than is read; `max_texts` ends earlier")
        try:
            text = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").decode()
        except UnicodeDecodeError as error:
            raise wrong_line(
                name, number, f"is no UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x})"
            ) from None
        yield Line(number, text.rstrip("\r\n"))


def _texts(lines: Iterator[Line], split: str) -> Iterator[CorpusText]:
    """Yield the texts of a plain file: its lines that are not blank, or its paragraphs between blank lines."""
    paragraph: list[Line] = []
    for line in lines:
        blank = not line.text.strip()
        if split == "lines" and not blank:
            yield CorpusText(line.text.strip(), line.number)
        elif split == "paragraphs" and blank and paragraph:
            yield _paragraph(paragraph)
            paragraph = []
        elif split == "paragraphs" and not blank:
            paragraph.append(line)
    if paragraph:
        yield _paragraph(paragraph)


def _paragraph(lines: Sequence[Line]) -> CorpusText:
    """Return the text of consecutive lines, with its line breaks and indentation as they are written."""
    return CorpusText("\n".join(line.text.rstrip() for line in lines), lines[0].number)
