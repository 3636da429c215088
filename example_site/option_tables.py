"""A hook of MkDocs: tables of keys and settings, from the declarations that attnviz reads blocks and settings by.

A line of a page that holds one of these comments becomes a table:

    <!-- keys: layer, heads -->          these keys of a block
    <!-- keys of tokens -->              all that a view adds to the block
    <!-- keys within generate -->        the keys of a mapping, with its name before each
    <!-- settings -->                    every setting of a site
    <!-- measures -->                    what claims about each view's figures can be about
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from mkdocs.exceptions import PluginError
from pydantic.fields import FieldInfo

from mkdocs_attnviz.block.fields import Block, fields_of, keys_of, part_of
from mkdocs_attnviz.block.values import expected
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS

MARK = re.compile(
    r"^<!-- (?:keys: (?P<these>[\w, ]+)|keys of (?P<view>\w+)|keys within (?P<within>\w+)|"
    r"(?P<measures>measures)|settings) -->$",
    re.M,
)
ALL_KEYS = "guide/block.md"
"""The page that has every key of a block."""
DEFAULT = re.compile(r" Default: (.+)\.$")
MORE = {
    "cache_dir": ("The cache", "guide/cache.md"),
    "cache_url": ("Share it", "guide/cache.md#share-it"),
    "chat": ("Conversations", "guide/writing.md#conversations"),
    "corpus": ("Many texts", "guide/corpus.md"),
    "device_map": ("Large models", "guide/large-models.md"),
    "expect": ("Claims", "guide/claims.md"),
    "factors": ("Factors view", "guide/views/factors.md"),
    "generate": ("Models that write", "guide/writing.md"),
    "interventions": ("Interventions", "guide/interventions.md"),
    "lock_file": ("The lock file", "guide/cache.md#the-lock-file"),
    "model": ("Models", "guide/models.md"),
    "models": ("Models", "guide/models.md"),
    "on_missing": ("What is not there", "guide/cache.md#what-is-not-there"),
    "other": ("Two models", "guide/views/similarity.md#two-models"),
    "src_lang": ("Models of many languages", "guide/encoder-decoder.md#models-of-many-languages"),
    "state": ("Links", "guide/in-the-page.md#links"),
    "tensors": ("Your own tensors", "guide/own-tensors.md"),
    "text_target": ("Encoder–decoder models", "guide/encoder-decoder.md"),
}
"""The place where more is said of a key or a setting: a title, and a page of this site."""


class Meaning(NamedTuple):
    """A key as one or more views read it."""

    value: str
    meaning: str
    default: str


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    listed: list[str] = []
    text = MARK.sub(lambda mark: _table(mark, page.file.src_uri, listed), markdown)
    if page.file.src_uri == ALL_KEYS and (lacking := sorted({*_fields(), *_all_within()} - {*listed})):
        raise PluginError(f"{ALL_KEYS} does not list the keys {', '.join(lacking)}.")
    return text


def _table(mark: re.Match[str], page: str, listed: list[str]) -> str:
    """Return a table in Markdown, and add what it lists. Raises: PluginError: there is no such key."""
    if mark["measures"]:
        return "\n".join(_measures(page))
    if mark["these"]:
        rows = {name: _known(name) for name in mark["these"].split(", ")}
    elif mark["view"]:
        rows = {name: [_meaning(field)] for name, field in OPTIONS[mark["view"]].model_fields.items()}
    elif mark["within"]:
        inside = _within(mark["within"])
        rows = {f"{mark['within']}.{name}": [_meaning(field)] for name, field in inside.items()}
    else:
        rows = {name: [_meaning(field)] for name, field in Settings.model_fields.items()}
    listed += rows
    values = any(meaning.value for meanings in rows.values() for meaning in meanings)
    head = ["| key | value | what it does | default |", "|---|---|---|---|"]
    lines = [_row(name, meanings, page) for name, meanings in rows.items()]
    if not values:
        head = ["| setting | what it does | default |", "|---|---|---|"]
    body = ["| " + " | ".join(cells if values else [cells[0], *cells[2:]]) + " |" for cells in lines]
    return "\n".join(['<div class="keys" markdown="1">', "", *head, *body, "", "</div>"])


def _measures(page: str) -> Iterator[str]:
    """Yield the lines of the table of measures; views that have the same one share a line."""
    yield "| view | measure | selectors | what it is |"
    yield "|---|---|---|---|"
    views: dict[tuple[str, str, str], list[str]] = {}
    for view in VIEWS.values():
        for name, measure in view.measures.items():
            views.setdefault((name, measure.signature, measure.says), []).append(view.name)
    before: list[str] = []
    for (name, signature, says), names in sorted(views.items(), key=lambda item: list(VIEWS).index(item[1][0])):
        links = ", ".join(f"[{view}]({_from(page, f'guide/views/{view}.md')})" for view in names if names != before)
        yield f"| {links} | `{name}` | {_cell(signature)} | {_cell(says)} |"
        before = names


def _row(name: str, meanings: list[Meaning], page: str) -> list[str]:
    """Return a row's cells."""
    cells = ["<br>".join(dict.fromkeys(filter(None, column))) for column in zip(*meanings, strict=True)]
    if name == "view":
        pages = {view: f"guide/views/{view}.md" for view in OPTIONS}
        cells[0] = ", ".join(f"[`{view}`]({_from(page, to)})" for view, to in pages.items())
    if name in MORE and MORE[name][1].partition("#")[0] != page:
        title, to = MORE[name]
        cells[1] += f" See [{title}]({_from(page, to)})."
    return [f"`{name}`", *cells]


def _from(page: str, to: str) -> str:
    """Return the link from one page of the site to another."""
    return os.path.relpath(to, PurePosixPath(page).parent)


def _known(name: str) -> list[Meaning]:
    """Return what a key means: to one view something else than to others, perhaps, which is then said."""
    if name not in _fields():
        raise PluginError(f"No block has a key {name}.")
    if name in Block.model_fields:
        return [_meaning(Block.model_fields[name])]
    views: dict[Meaning, list[str]] = {}
    for view, options in OPTIONS.items():
        if name in options.model_fields:
            views.setdefault(_meaning(options.model_fields[name]), []).append(view)
    first, *others = sorted(views, key=lambda meaning: (-len(views[meaning]), views[meaning]))
    return [first, *(_for(views[other], other, first) for other in others)]


def _for(views: list[str], meaning: Meaning, usual: Meaning) -> Meaning:
    """Return what differs from what a key usually means, with the views it is so for."""
    which = ", ".join(views)
    differing = [part if part != other else "" for part, other in zip(meaning, usual, strict=True)]
    return Meaning(*(part and f"{which}: {part}" for part in differing))


def _meaning(field: FieldInfo) -> Meaning:
    value = "" if field.json_schema_extra is None else expected(field)
    said = field.description or ""
    found = DEFAULT.search(said)
    default = found[1] if found else _written(field.get_default(call_default_factory=True))
    return Meaning(*(_cell(text) for text in (value, DEFAULT.sub("", said), default)))


def _written(default: Any) -> str:
    if default is None or default == "" or default == {} or repr(default) == "PydanticUndefined":
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _cell(text: str) -> str:
    """Return a text as it may stand in a cell: a bar would end it, and `attr_list` reads what stands in braces."""
    return re.sub(r"(?<!`)(\{[^{}]*\})(?!`)", r"`\1`", text.replace("|", "\\|"))


def _fields() -> dict[str, FieldInfo]:
    return {name: field for options in OPTIONS.values() for name, field in fields_of(options).items()}


def _within(name: str) -> dict[str, FieldInfo]:
    part = part_of(_fields()[name].annotation)
    return {} if part is None else keys_of(part)


def _all_within() -> Iterator[str]:
    for name in _fields():
        yield from (f"{name}.{inner}" for inner in _within(name))
