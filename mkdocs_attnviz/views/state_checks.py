"""Checks of what a state says beyond the keys of a block: a token, a cell, one of some words. Views name theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.drawing import Drawing

Check = Callable[[str, str, Drawing, Entry], None]
"""A function of a part's name and text, and of the figure that it is of. It raises BlockError if there is no such."""


def numbers(name: str, text: str, count: int) -> list[int]:
    """Return the numbers that a part of a state consists of.

    Raises:
        BlockError: it does not consist of `count` numbers.
    """
    parts = text.split(",")
    if len(parts) != count or not all(part.isdecimal() for part in parts):
        raise BlockError(f"`{name}` is {text!r}; it must be {count} numbers, counted from 0, with a comma between.")
    return [int(part) for part in parts]


def below(name: str, number: int, count: int) -> None:
    """Raise BlockError if there are not so many tokens."""
    if number >= count:
        raise BlockError(f"`{name}` names token {number}; the tokens are 0 to {count - 1}.")


def one_of(*allowed: str) -> Check:
    """Return the check that a part is one of these words."""

    def check(name: str, text: str, _: Drawing, __: Entry) -> None:
        if text not in allowed:
            raise BlockError(f"`{name}` is {text!r}; it must be {' or '.join(allowed)}.")

    return check


def number(name: str, text: str, _: Drawing, __: Entry) -> None:
    """Raise BlockError if a part is no number."""
    if not text.isdecimal():
        raise BlockError(f"`{name}` is {text!r}; it must be a number, counted from 0.")


def position(name: str, text: str, drawing: Drawing, entry: Entry) -> None:
    """Raise BlockError if a part is not the number of one of the entry's tokens, or of what comes next."""
    number(name, text, drawing, entry)
    sequences: Sequence[dict[str, list[str]]] = list((entry.meta.get("sequences") or {}).values())
    count = sum(len(sequence["tokens"]) for sequence in sequences)
    if count:
        below(name, int(text), count + 1)
