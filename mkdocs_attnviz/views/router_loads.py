"""The load of a mixture's experts over the texts of a corpus, as an entry of loads stores it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import LARGEST_JSON, inflated
from mkdocs_attnviz.views.expert_balance import Router
from mkdocs_attnviz.views.router_choices import RouterChoices

ROUNDING = 5e-7
"""Half a step of a stored number below 1, of which there are six digits."""


@dataclass(frozen=True)
class TokenLoad:
    """A token of the vocabulary, with the number of times that it went to an expert."""

    token: str
    """The token as the vocabulary has it."""
    pretty: str
    """The token as a reader should see it."""
    count: int
    """The number of times that it went to the expert."""
    occurrences: int

    @property
    def share(self) -> float:
        """The share of its occurrences that went to the expert."""
        return self.count / self.occurrences


class RouterLoads:
    """The load of the experts of one mixture."""

    def __init__(
        self, about: Mapping[str, Any], numbers: Mapping[str, Any], vocabulary: Mapping[str, Any], each: int
    ) -> None:
        """Read the load from an entry's parts. `each` is the number of tokens that are listed with each expert at most.

        Raises:
            ValueError: the entry does not hold as many numbers as its description says.
        """
        self.about = about
        self.experts: int = about["experts"]
        self.tokens: int = about["tokens"]
        self.dropped: int = about["dropped"]
        self.counts: list[int] = numbers["counts"]
        self.probabilities: list[float] | None = numbers.get("probabilities")
        self.mean_entropy: float | None = about.get("entropy")
        self.mean_entropy_error = ROUNDING * 10
        self.listed: list[list[tuple[int, int]]] = numbers["tokens"]
        """The tokens of which each expert gets the largest shares: their numbers in the vocabulary of the entry, and
        how often each went to the expert."""
        for values in (self.counts, self.probabilities, self.listed):
            if values is not None and len(values) != self.experts:
                raise ValueError(f"A part of the entry does not hold {self.experts} experts.")
        if any(at >= len(vocabulary["tokens"]) for some in self.listed for at, _ in some):
            raise ValueError("A part of the entry names a token that its vocabulary does not have.")
        known = zip(vocabulary["tokens"], vocabulary["pretty"], vocabulary["occurrences"], strict=True)
        self._vocabulary = list(known)
        self._each = each

    def tokens_of(self, expert: int) -> list[TokenLoad]:
        """Return the tokens of which an expert gets the largest shares, the largest first."""
        return [self._token(at, count) for at, count in self.listed[expert]]

    def _token(self, at: int, count: int) -> TokenLoad:
        token, pretty, occurrences = self._vocabulary[at]
        return TokenLoad(token, pretty, count, occurrences)

    def named(self, written: str) -> int | None:
        """Return the place in the vocabulary of the token that an author means; None if there is no such token."""
        spellings: tuple[Callable[[str, str], str], ...] = (
            lambda token, _: token,
            lambda _, pretty: pretty,
            lambda _, pretty: pretty.strip(),
        )
        for spelling in spellings:
            found = [at for at, (token, pretty, _) in enumerate(self._vocabulary) if spelling(token, pretty) == written]
            if found:
                return max(found, key=lambda at: int(self._vocabulary[at][2]))
        return None

    def share_of(self, at: int, expert: int) -> float | None:
        """Return the share of a token's occurrences that went to an expert; None if it is less than those of the tokens
        that are listed."""
        for place, count in self.listed[expert]:
            if place == at:
                return self._token(at, count).share
        return 0.0 if len(self.listed[expert]) < self._each else None


def router_loads(entry: Entry) -> list[RouterLoads]:
    """Return the mixtures of an entry of loads.

    Raises:
        ValueError: the entry does not hold as many numbers as its description says.
    """
    meta = entry.meta["loads"]
    pairs = zip(meta["mixtures"], json.loads(inflated(entry.blobs["loads"], LARGEST_JSON, most=True)), strict=True)
    return [
        RouterLoads(about, numbers, meta["vocabulary"][sequence_of(about["stack"])], meta["listed"])
        for about, numbers in pairs
    ]


def sequence_of(stack: str) -> str:
    """Return the name of the sequence that a stack reads."""
    return "target" if stack == "decoder" else "text"


def routers_of(entry: Entry) -> Sequence[Router]:
    """Return the mixtures of an entry, of one text or of a corpus."""
    if "loads" in entry.meta:
        return router_loads(entry)
    return [RouterChoices(entry, about) for about in entry.meta["mixtures"]]
