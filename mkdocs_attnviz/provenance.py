"""The origin of a figure: its models, what ran them, how exactly its numbers are stored, and how to cite it.

All of it is taken from the block and from the entries that the figure is drawn from, so that the machine which draws
the figure leaves no trace in the page. Entries of earlier versions lack some facts, which are then left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, cast

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.lock import PACKAGES, known_versions
from mkdocs_attnviz.publishing import printable
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.figure_data import ModelProvenance, Provenance
from mkdocs_attnviz.weight_rounding import largest_error

PRODUCT, AUTHORS = "mkdocs-attnviz", "The mkdocs-attnviz authors"
SHOWN = (PRODUCT, *PACKAGES[:2])
"""The packages whose versions a figure names."""
LONGEST = 300  # characters of a fact
ELSEWHERE = re.compile(r"[/\\~]|\.\.[/\\]|[A-Za-z]:[/\\]")
"""The beginning of a path that leads out of the site."""

T = TypeVar("T")


def provenance(block: Block, entries: Sequence[Entry]) -> Provenance:
    """Return the origin of a block's figure, which is drawn from two entries if the block has interventions."""
    facts = [_texts(entry.meta.get("made_with")) for entry in entries]
    versions = _distinct(known_versions(one, SHOWN) for one in facts)
    capture = VIEWS[block.view].capture_of(block)
    whole: Provenance = {
        "models": _distinct(_models(block, entries, facts)),
        "cite": _distinct([f"{AUTHORS}: {PRODUCT}{_own_version(versions)}", *_citations(facts)]),
    }
    if versions:
        whole["versions"] = versions
    if block.corpus is not None:
        whole["corpus"] = _corpus(block, block.corpus, entries[0])
    if capture.stored:
        whole["stored"] = f"{capture.stored}{_rounded(entries)}"
    return whole


def _rounded(entries: Sequence[Entry]) -> str:
    """Return how exact the small weights of the entries are, if those of a long text are rounded."""
    layers = [
        layer for entry in entries for stack in entry.meta.get("stacks", {}).values() for layer in stack["layers"]
    ]
    known = [layer["rounding"] for layer in layers if "rounding" in layer]
    return f"; small weights within {largest_error(max(known)):.1g}" if known else ""


def _own_version(versions: Sequence[Mapping[str, str]]) -> str:
    """Return the version of this package that has computed the first entry, after a space; '' if it is not known."""
    return f" {versions[0][PRODUCT]}" if versions and PRODUCT in versions[0] else ""


def _citations(facts: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield how the models of the entries are to be cited, where their files say it."""
    yield from (one[name] for one in facts for name in ("citation", "other_citation") if name in one)


def _models(block: Block, entries: Sequence[Entry], facts: Sequence[Mapping[str, str]]) -> Iterator[ModelProvenance]:
    """Yield each model of each entry."""
    for entry, one in zip(entries, facts, strict=True):
        key = _key(entry)
        for named, prefix, part in zip(block.models, ("", "other_"), ("model", "other"), strict=False):
            known = {fact: one.get(f"{prefix}{fact}") for fact in ("architecture", "dtype", "device")}
            known["identity"] = key.get(part)
            yield cast("ModelProvenance", {"name": _shown(named.name)} | {fact: of for fact, of in known.items() if of})


def _corpus(block: Block, name: str, entry: Entry) -> str:
    """Return a corpus as its block has it, and the digest in the entry's key."""
    first = "" if block.max_texts is None else f"the first {block.max_texts:,} texts"
    digest = _key(entry).get("corpus", "").strip('"')  # it is written as JSON
    return " · ".join(filter(None, [_shown(name), first, digest]))


def _shown(name: str) -> str:
    """Return a name of a model or a file as its block has it. A path that leads out of the site keeps its last part
    only."""
    return printable(re.split(r"[/\\]", name.rstrip("/\\"))[-1] if ELSEWHERE.match(name) else name)


def _key(entry: Entry) -> dict[str, str]:
    """Return the parts of an entry's key that are texts; there are none for a model in a notebook."""
    return _texts({part[0]: part[1] for part in entry.meta.get("key", ())})


def _texts(facts: object) -> dict[str, str]:
    """Return the facts that are texts, fit for a page: anybody may have written an entry of a shared cache."""
    known = facts if isinstance(facts, Mapping) else {}
    return {name: printable(fact)[:LONGEST] for name, fact in known.items() if isinstance(fact, str) and fact}


def _distinct(values: Iterable[T]) -> list[T]:
    """Return the values in their order, each once, without those that are empty."""
    once: list[T] = []
    once.extend(value for value in values if value and value not in once)
    return once
