"""Placeholders: blocks on their way through Markdown, in the form of HTML."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.block_text import text_of
from mkdocs_attnviz.publishing import printable
from mkdocs_attnviz.views import block_of

MARK = 'data-attnviz-source="'
"""The beginning of the attribute that contains a block's source."""
PLACEHOLDER = re.compile(
    rf'<!--|<figure class="attnviz" {MARK}([A-Za-z0-9_=-]+)"(?: id="([^"]*)")?>'
    r"(?:<p>[^<]*</p>)?(?:<figcaption>[^<]*</figcaption>)?</figure>"
)
"""A pattern for the placeholder of a block. It also matches the beginning of a comment, because placeholders inside
comments do not count."""
LONGEST_EXCERPT = 500  # characters of the text in a placeholder


def placeholder(source: Source) -> str:
    """Return the HTML that stands in a page until the figure is drawn.

    It has the figure's id and caption and describes the figure, for tools that read the page earlier: link checkers and
    search indexers.
    """
    carried = base64.urlsafe_b64encode(source.to_json().encode()).decode()
    id, inside = "", ""
    with suppress(Exception):  # errors are reported when the figure is drawn
        block = block_of(source)
        id = f' id="{html.escape(block.id)}"' if block.id else ""
        inside = f"<p>{_in_a_line(_announcement(block))}</p>"
        inside += f"<figcaption>{_in_a_line(block.caption)}</figcaption>" if block.caption else ""
    return f'<figure class="attnviz" {MARK}{carried}"{id}>{inside}</figure>'


def _announcement(block: Block) -> str:
    """Return a description of the figure that needs no entry."""
    text = text_of(block)
    text = text if len(text) <= LONGEST_EXCERPT else f"{text[:LONGEST_EXCERPT]}…"
    return f"Figure: {block.names}, {block.view} view{text and f': {text}'}"


def _in_a_line(text: str) -> str:
    """Return a text in one line, escaped for HTML."""
    return html.escape(printable(" ".join(text.split())))


def ids_to_come(text: str) -> set[str]:
    """Return the ids that the figures of the page's placeholders will have, unless something else on the page has
    them."""
    wanted_ids = (match[2] for match in waiting(text) if source_of(match[1]))
    return {id or f"attnviz-{number}" for number, id in enumerate(wanted_ids, 1)}


def sources(text: str) -> list[Source]:
    """Return the sources of the placeholders in a piece of HTML, in order. Placeholders in comments do not count."""
    return [source for match in waiting(text) if (source := source_of(match[1]))]


def waiting(text: str) -> Iterator[re.Match[str]]:
    """Yield the placeholders outside comments, in time linear in the length of the text. A comment without an end does
    not count as a comment."""
    if MARK not in text:
        return
    place, closed = 0, True
    while match := PLACEHOLDER.search(text, place):
        place = match.end()
        if match[1] is not None:
            yield match
        elif closed:
            end = text.find("-->", match.start() + 2)  # `<!-->` is a whole comment
            closed = end >= 0
            place = end + 3 if closed else place


@lru_cache(maxsize=10_000)
def source_of(carried: str) -> Source | None:
    """Return the block source in a placeholder, or None if it only looks like a placeholder."""
    try:
        return Source.from_json(base64.urlsafe_b64decode(carried).decode())
    except ValueError:
        return None
