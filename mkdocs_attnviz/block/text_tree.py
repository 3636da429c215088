"""A YAML text as a tree of texts. It is for the block's keys to say which of them are numbers, dates or booleans."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import yaml

from mkdocs_attnviz.block.plain_yaml import LIBYAML, line_of, plain_events
from mkdocs_attnviz.block.problem import BlockError, Problem

Path = tuple[str | int, ...]
"""The keys of mappings and positions in lists that lead to a value."""


class TextTree:
    """A YAML text as texts, lists and mappings: `No`, `12` and `~` are what stands there, whatever YAML makes of them.

    Raises:
        BlockError: it is no YAML, or more than plain.
    """

    root: Any = None
    """A text, a list or a dictionary; None if there is nothing but comments."""
    repeated: Path | None = None
    """The first key that stands twice in its mapping."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int | None] = {}
        """The line that the root begins in, each value of a mapping and each mapping in a list, counted from 0; None
        for what stands in the fence's header."""
        try:
            self._read(text, LIBYAML)
        except (yaml.YAMLError, ValueError):  # which the other parser tells in better words
            self._read_again(text)

    def nearest(self, place: Path) -> Path:
        """Return the place itself if it is one of `lines`, or else what it is a part of."""
        return next((place[:end] for end in range(len(place), 1, -1) if place[:end] in self.lines), place[:1])

    def wrong(self, place: Path, message: str) -> BlockError:
        """Return the error of a mistake in a place."""
        return BlockError(Problem("block", str(place[0]), message), self.lines.get(self.nearest(place)))

    def _read_again(self, text: str) -> None:
        try:
            self._read(text, yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            hint = "; put a text that holds a colon in quotes" if "mapping values" in (error.problem or "") else ""
            line = error.problem_mark.line if error.problem_mark else None
            raise BlockError(f"The block is not valid YAML: {error.problem}{hint}.", line) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position)
            raise BlockError(
                f"The block holds the character U+{error.character:04X}, which YAML does not allow; write it as "
                'an escape inside double quotes ("\\0").',
                line,
            ) from None
        except (yaml.YAMLError, ValueError) as error:
            raise BlockError(f"The block is not valid YAML: {error}.") from None

    def _read(self, text: str, loader: Any) -> None:
        self.lines.clear()
        self.root, self.repeated, self._events = None, None, plain_events(text, loader, "block")
        for event in self._events:
            if isinstance(event, yaml.NodeEvent):
                if self.root is not None:
                    raise BlockError("The block is two documents: `---` begins a second one.", line_of(event))
                self.lines[()] = line_of(event)
                self.root = self._value(event, ())

    def _value(self, event: Any, path: Path) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return _whole(event)
        if isinstance(event, yaml.SequenceStartEvent):
            items = enumerate(self._until(yaml.SequenceEndEvent))
            return [self._value(item, (*path, number)) for number, item in items]
        self.lines.setdefault(path, line_of(event))
        return self._mapping(path)

    def _until(self, end: type) -> Iterator[Any]:
        return takewhile(lambda event: not isinstance(event, end), self._events)

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self._until(yaml.MappingEndEvent):
            if not isinstance(name, yaml.ScalarEvent):
                where = f"`{path[0]}`" if path else "the block"
                raise BlockError(f"A key of {where} must be a plain word.", line_of(name))
            key, value = _whole(name), next(self._events)
            place = (*path, key)
            if key in found:
                self.repeated = self.repeated or place
            self.lines[place] = line_of(value)
            found[key] = self._value(value, place)
        return found


def _whole(event: Any) -> str:
    """Return a scalar's text. JSON writes an emoji as an escaped surrogate pair, and PyYAML leaves it in two halves.

    Raises:
        BlockError: it has half of one.
    """
    text: str = event.value
    if text.isascii():
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        message = "The text holds half of a surrogate pair (\\uD800–\\uDFFF), which is no character."
        raise BlockError(message, line_of(event)) from None
