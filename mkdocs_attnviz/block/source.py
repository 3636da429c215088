"""A fence as it stands in a page, before anything is known about its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property

from mkdocs_attnviz.block.problem import BlockError

MAX_LINE = 10**9


@dataclass(frozen=True)
class Source:
    """One fence as it stands in a page."""

    body: str
    header: Mapping[str, str] = field(default_factory=dict)
    page: str | None = None
    line: int | None = None
    """Line of the opening fence in the page's file, counted from 1."""
    problem: str | None = None
    """The mistake in the fence itself, as a sentence, or None."""
    object: str | None = None
    """Full name of the object whose docstring the fence stands in; `line` then counts in the docstring."""
    cell: int | None = None
    """Number of the notebook's cell that the fence stands in, counted from 1; `line` then counts in the cell."""
    caption: str | None = None
    """The block's caption in the language that the page is translated to."""

    def where(self, error: BlockError | None = None) -> str:
        """`page.md:12`, `page.md, docstring of module.name:2` or `page.ipynb, cell 3:2`, as far as known; else ''."""
        line = self.line
        if line is not None and error is not None and error.line is not None:
            line += 1 + error.line
        docstring = f"docstring of {self.object}" if self.object else None
        cell = f"cell {self.cell}" if self.cell else None
        place = ", ".join(part for part in (self.page, docstring, cell) if part)
        if not place:
            return "" if line is None else f"line {line}"
        return place if line is None else f"{place}:{line}"

    def to_json(self) -> str:
        return self._json

    @cached_property
    def _json(self) -> str:
        return json.dumps({each.name: getattr(self, each.name) for each in fields(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Source:
        """Return the source that `to_json` has written.

        Raises:
            ValueError: it has written nothing of the kind; anybody may put such a text into a page.
        """
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(found, dict) or found.keys() != {each.name for each in fields(cls)}:
            raise ValueError("not the fields of a block")
        header, numbers = found["header"], {name: found.pop(name) for name in ("line", "cell")}
        if not isinstance(found["body"], str) or not isinstance(header, dict):
            raise ValueError("not a block's body and header")
        if not all(each is None or (type(each) is int and 0 < each <= MAX_LINE) for each in numbers.values()):
            raise ValueError("not the number of a line or a cell")
        others = [value for name, value in found.items() if name != "header"]
        if not all(isinstance(each, (str, type(None))) for each in [*others, *header.values()]):
            raise ValueError("not a text")
        return cls(**found, **numbers)
