"""Citations of models, as their own files say them: in `CITATION.cff`, `CITATION.bib` or the BibTeX of its card.

Nothing is made up: a model whose files name no title has no citation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from mkdocs_attnviz.block.plain_yaml import plain_yaml
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.models.identity.model_files import text_of

BIBTEX = ("CITATION.bib", "README.md")
ENTRY = re.compile(r"@(?!comment|preamble|string)\w+\s*\{[^\s,{}]*\s*,", re.IGNORECASE)
"""The beginning of a BibTeX entry, up to its first field."""
FIELD = re.compile(r"\s*(\w+)\s*=\s*")
LONGEST = 240  # characters; each figure of a page has the citation
ENTRIES, VALUE = 8, 4000
"""The largest numbers of a file's entries and of a field's characters that are read."""
ACCENT = re.compile(r"""\\(["'`^~=.]|[cvuHr](?=[\s{]))\s*\{?\\?([^\W\d_])\}?""")
COMBINING = dict(
    zip("\"'`^~=.cvuHr", "\u0308\u0301\u0300\u0302\u0303\u0304\u0307\u0327\u030c\u0306\u030b\u030a", strict=True)
)
"""LaTeX's accents, and the characters of Unicode that put them on the letter before."""
NAMED = 2
"""The largest number of authors who are all named."""


def citation(folder: Path) -> str:
    """Return a line with authors, title, year and address from a model's directory; '' if its files have no title."""
    for fields in _found(folder):
        if line := _line(fields):
            return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
    return ""


def _found(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the fields of each citation in a directory's files, with authors as a list."""
    if text := text_of(folder, "CITATION.cff"):
        yield from _cff(text)
    for name in BIBTEX:
        text = text_of(folder, name)
        for start in islice(ENTRY.finditer(text), ENTRIES):
            fields = _bibtex(text, start.end())
            yield fields | {"authors": _authors(fields.get("author", ""))}


def _cff(text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the citations of a `CITATION.cff`; one that the authors prefer comes first."""
    try:
        content = plain_yaml(text)
    except (yaml.YAMLError, BlockError, ValueError, RecursionError):
        return
    for fields in (content.get("preferred-citation"), content) if isinstance(content, dict) else ():
        if isinstance(fields, dict):
            people = fields.get("authors")
            named = (
                [_person(person) for person in people if isinstance(person, dict)] if isinstance(people, list) else []
            )
            year = fields.get("year") or str(fields.get("date-released") or "")[:4]
            yield {**fields, "authors": [name for name in named if name], "year": year}


def _person(fields: Mapping[str, Any]) -> str:
    """Return the name of a person or an organisation in a `CITATION.cff`."""
    whole = (fields.get("given-names"), fields.get("name-particle"), fields.get("family-names"))
    return str(fields.get("name") or " ".join(str(part) for part in whole if part))


def _bibtex(text: str, at: int) -> dict[str, str]:
    """Return the fields of the BibTeX entry whose first field begins at `at`."""
    fields: dict[str, str] = {}
    while field := FIELD.match(text, at):
        value, at = _value(text, field.end())
        fields.setdefault(field[1].lower(), _plain(value))
        at += len(re.compile(r"\s*,?").match(text, at)[0])  # type: ignore[index]
    return fields


def _value(text: str, at: int) -> tuple[str, int]:
    """Return the value of a field that begins at `at`, with its braces or quotes, and where it ends."""
    depth, quoted = 0, False
    last = min(len(text), at + VALUE)
    for end in range(at, last):
        character = text[end]
        if character in ",}" and depth == 0 and not quoted:
            return text[at:end], end
        if character == '"' and depth == 0:
            quoted = not quoted
        depth += (character == "{") - (character == "}")
    return text[at:last], last


def _plain(value: str) -> str:
    """Return a field's text without braces, quotes and line breaks, with letters that have their accents."""
    accented = ACCENT.sub(lambda match: unicodedata.normalize("NFC", match[2] + COMBINING[match[1]]), value.strip())
    return " ".join(re.sub(r"\\(?=[&%_#$])|[{}]", "", accented.strip('"')).split())


def _authors(text: str) -> list[str]:
    """Return the names in a BibTeX list of authors, given names first."""
    names = [name.strip() for name in re.split(r"\s+and\s+", text) if name.strip()]
    return [" ".join(part.strip() for part in reversed(name.split(",", 1))) for name in names]


def _line(fields: Mapping[str, Any]) -> str:
    """Return a citation in one line; '' if it has no title."""
    title = fields.get("title")
    if not isinstance(title, str) or not title:
        return ""
    authors = _several(fields["authors"])
    year = f" ({fields['year']})" if fields.get("year") else ""
    address = _address(fields)
    return " ".join(f"{authors}{': ' * bool(authors)}{title}{year}.{' ' * bool(address)}{address}".split())


def _several(names: Sequence[str]) -> str:
    """Return the names of the authors, or the first one's if there are many."""
    if len(names) > NAMED or "others" in names:
        return f"{names[0]} et al."
    return " and ".join(names)


def _address(fields: Mapping[str, Any]) -> str:
    """Return where the cited work is to be found: its DOI, its address or its number at arXiv; '' if it has none."""
    doi, eprint = (str(fields.get(name) or "") for name in ("doi", "eprint"))
    if doi:
        return doi if doi.startswith("http") else f"https://doi.org/{doi}"
    return str(fields.get("url") or fields.get("repository-code") or (f"arXiv:{eprint}" if eprint else ""))
