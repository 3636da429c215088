"""Drawings → HTML and data files. The only place that knows HTML.

A block travels through Markdown as a *placeholder* that carries its own source; `fill` puts the figures in
their places, numbers them in page order and adds the one script a page needs. Data are inline while they are
small; larger ones go into content-named scripts beside ours, since `fetch` fails on `file://`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from mkdocs_attnviz.block import Block, BlockError, Source
from mkdocs_attnviz.cache import Entry
from mkdocs_attnviz.part import words
from mkdocs_attnviz.views.drawing import ALL_SCRIPT, Drawing, Picture, bytes_of, fits_page
from mkdocs_attnviz.views.svg import titled

TINY = 1_000  # bytes of a part's deflated data; a request for it would cost more than it brings
FILE = 64_000  # bytes of the parts in one file: a third of a second at 1.6 Mbit/s, and half the files of 32,000
CHROME = 104  # px: controls, headings, read-out
SWITCH = 32  # px: the line of a figure that is drawn of a changed model and of the model as it is
SECOND_LINE = 36  # px more where the viewport is narrow, and the controls take two lines
MARK = 'data-attnviz-source="'
PLACEHOLDER = re.compile(rf'<!--.*?-->|<figure class="attnviz" {MARK}([A-Za-z0-9_=-]+)"></figure>', re.DOTALL)
ID = re.compile(r'id="([^"]*)"')
PART_OF_NAME = re.compile(r"[\w-]")
FIGURE_STYLE = "width:100%;max-width:none;margin:1.25em 0;text-align:start"
CAPTION_STYLE = "margin-inline:0;max-width:44em;text-align:start"
ERROR_STYLE = "border-inline-start:.25rem solid #d32f2f;padding:.75rem 1rem;margin:1em 0;overflow-wrap:anywhere"


class Assets:
    """Where the script and the data of a page's figures are. This one: all inline, for a page that stands alone."""

    def script(self, name: str) -> str:
        return f"<script>{_script(name)[1].decode()}</script>"

    def place(self, parts: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        """For each part of one figure's data where it is, as `Blob` in `frontend/src/figure.ts` has it."""
        return ({"data": _base64(part)} for part in parts)

    def keeps_inline(self, drawing: Drawing, entry: Entry) -> bool:  # noqa: ARG002
        return True


class AssetFolder(Assets):
    """Script and data files in `folder`, which pages reach under `url`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def script(self, name: str) -> str:
        file, content = _script(name)
        self._write(file, content)
        return f'<script defer src="{html.escape(self.url)}/{file}"></script>'

    def place(self, parts: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        for together in _files(parts):
            content = ",".join(f'"{_base64(part)}"' for part in together)
            name = f"{hashlib.sha256(content.encode()).hexdigest()[:20]}.js"
            self._write(name, f'attnvizData("{name}",{content})\n'.encode())
            yield from ({"file": name, "part": number} if number else {"file": name} for number in range(len(together)))

    def keeps_inline(self, drawing: Drawing, entry: Entry) -> bool:
        return fits_page(drawing.data, entry)

    def _write(self, name: str, content: bytes) -> None:
        """The name is the content: a file of its size is whole, unless a build was ended while it wrote it."""
        path = self.folder / name
        try:
            whole = path.stat().st_size == len(content)
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            whole = False
        if not whole:
            path.write_bytes(content)


def _files(parts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Parts that follow each other, and go into one file: for small ones, requests cost more than bytes."""
    together: list[bytes] = []
    size = 0
    for part in parts:
        if together and size + len(part) > FILE:
            yield together
            together, size = [], 0
        together.append(part)
        size += len(part)
    if together:
        yield together


class Rendered(Protocol):
    """What can take a placeholder's place."""

    @property
    def wanted_id(self) -> str | None: ...
    @property
    def script(self) -> str | None:
        """What it needs; None for what is no figure."""

    def html(self, id: str, assets: Assets) -> str: ...


Parts = list[tuple[dict[str, Any], bytes]]
"""Parts of a figure's data, and the bytes that they still lack."""


@dataclass(frozen=True)
class Figure:
    """A block drawn from its entry. With `before`: from two, of which that one is of the model as it is."""

    block: Block
    drawing: Drawing
    entry: Entry
    before: tuple[Drawing, Entry] | None = None

    @property
    def wanted_id(self) -> str | None:
        return self.block.id

    @property
    def script(self) -> str:
        return self.drawing.script if self.before is None else ALL_SCRIPT

    @property
    def sentence(self) -> str:
        """What is to be seen; of a changed model, how it is changed, and what is to be seen of it as it is."""
        if self.before is None:
            return self.drawing.sentence + self._notes
        as_it_is = self.before[0].sentence
        return f"{self.drawing.sentence} The model is changed: {self._changed}. As it is: {as_it_is}{self._notes}"

    @property
    def _notes(self) -> str:
        """Sentences about what the model read: the day that a chat template printed, a length it was not made for."""
        text = self.entry.meta.get("sequences", {}).get("text", {})
        date, usual = text.get("date"), text.get("usual")
        notes = f" The conversation is dated {date}, a fixed day." if date else ""
        if usual:
            notes += f" The text has {len(text['tokens'])} tokens; the model's tokenizer names {usual} as the most."
        return notes

    @property
    def _changed(self) -> str:
        return words(self.block.interventions or ())

    def _picture(self) -> Picture:
        picture = self.drawing.picture
        return (
            picture
            if self.before is None
            else titled(picture, f"The model is changed: {self._changed}", self.block.theme)
        )

    def html(self, id: str, assets: Assets) -> str:
        picture, sentence = self._picture(), html.escape(self.sentence)
        # An image follows the colour scheme of its element; the page's own is inherited unless the block forces one.
        scheme = "" if self.block.theme == "auto" else f"color-scheme:{self.block.theme}"
        caption = ""
        if self.block.caption:
            caption = f'\n<figcaption style="{CAPTION_STYLE}">{html.escape(self.block.caption)}</figcaption>'
        return (
            f'<figure class="attnviz" id="{html.escape(id)}" style="{FIGURE_STYLE}">\n'
            f"<attn-viz data-figure='{_in_single_quotes(_json(self._data(assets)))}' "
            f'style="display:block;--attnviz-height:{self._reserved()};min-height:var(--attnviz-height){self._more()}">'
            f'<img src="{_data_url(picture.svg)}" alt="{sentence}" '
            f'width="{picture.width}" height="{picture.height}" '
            f'style="max-width:100%;height:auto;{scheme}">'
            f"<noscript><p>{sentence}</p></noscript></attn-viz>{caption}\n</figure>"
        )

    def _reserved(self) -> str:
        """The height kept for the figure until it draws, as CSS: nothing may jump then."""
        return f"calc({self.drawing.height} + {CHROME}px + clamp(0px,(600px - 100vw)*99,{SECOND_LINE}px))"

    def _more(self) -> str:
        """Room for the line that turns to the model as it is, beside what views themselves count with."""
        return "" if self.before is None else f";box-sizing:content-box;padding-bottom:{SWITCH}px"

    def _data(self, assets: Assets) -> dict[str, Any]:
        """The view's data; of two drawings both."""
        shown = self._one(self.drawing, self.entry, assets)
        if self.before is None:
            return shown
        return {
            "view": "compared",
            "label": self.sentence,
            "theme": self.block.theme,
            "interventions": self._changed,
            "of": shown,
            "before": self._one(*self.before, assets),
            "options": {},
        }

    def _one(self, drawing: Drawing, entry: Entry, assets: Assets) -> dict[str, Any]:
        """A drawing's data, with bytes or their file in place of each blob's name."""
        here: Parts = []
        elsewhere: Parts = here if assets.keeps_inline(drawing, entry) else []
        shipped: dict[str, Any] = self._shipped(drawing.data, entry, here, elsewhere)
        for place, parts in ((Assets().place, here), (assets.place, elsewhere if elsewhere is not here else [])):
            for (part, _), found in zip(parts, place([blob for _, blob in parts]), strict=True):
                part.update(found)
        return {**shipped, "label": drawing.sentence + self._notes}

    def _shipped(self, value: Any, entry: Entry, here: Parts, elsewhere: Parts) -> Any:
        """A copy without bytes; parts that have some wait in one of the lists."""
        if isinstance(value, list):
            return [
                self._shipped(part, entry, here, elsewhere) if isinstance(part, (dict, list)) else part
                for part in value
            ]
        if not isinstance(value, dict):
            return value
        kept: dict[str, Any] = {}
        blob = bytes_of(value, entry)
        if blob is not None:
            (here if "ahead" in value or len(blob) <= TINY else elsewhere).append((kept, blob))
        for name, part in value.items():
            needless = here is elsewhere and isinstance(part, dict) and "ahead" in part
            if name not in ("blob", "content", "ahead") and not needless:
                kept[name] = self._shipped(part, entry, here, elsewhere)
        return kept


@dataclass(frozen=True)
class Alert:
    """What stands in the page where a block could not be drawn."""

    source: Source
    error: BlockError
    wanted_id: str | None = None
    script: str | None = None

    @property
    def message(self) -> str:
        where = self.source.where(self.error)
        return f"{where}: {self.error.message}" if where else self.error.message

    def html(self, id: str, assets: Assets) -> str:  # noqa: ARG002
        where = html.escape(self.source.where(self.error))
        place = f" <small>({where})</small>" if where else ""
        message = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.error.message.replace("\0", "␀")))
        return (
            f'<div class="attnviz-error" role="alert" id="{html.escape(id)}" style="{ERROR_STYLE}">'
            f'<p style="margin:0"><strong>This attention block could not be drawn.</strong> {message}{place}</p></div>'
        )


def placeholder(source: Source) -> str:
    carried = base64.urlsafe_b64encode(source.to_json().encode()).decode()
    return f'<figure class="attnviz" {MARK}{carried}"></figure>'


def sources(text: str) -> list[Source]:
    """The blocks waiting in a piece of HTML, in order; those in comments do not wait."""
    return [source for match in PLACEHOLDER.finditer(text) if match[1] and (source := _source(match[1]))]


def fill(text: str, rendered: Callable[[Source], Rendered], assets: Assets, alert: Callable[[Alert], Alert]) -> str:
    """The HTML with every waiting block in its place, and the script behind the first figure.

    `alert` is told of what only shows here: an `id` that its page has already.
    """
    taken = _ids(text)
    number = 0
    found = {match[1]: _source(match[1]) for match in PLACEHOLDER.finditer(text) if match[1]}
    figures = {carried: (source, rendered(source)) for carried, source in found.items() if source is not None}
    script = needed(figure for _, figure in figures.values())

    def put(match: re.Match[str]) -> str:
        nonlocal number, script
        if match[1] not in figures:
            return match[0]
        source, figure = figures[match[1]]
        number += 1
        id = figure.wanted_id or _free(f"attnviz-{number}", taken)
        if id in taken:
            id = _free(f"attnviz-{number}", taken)
            if source.page is not None:  # else it is an excerpt among others, and no fault of its author
                message = f"`id` is {figure.wanted_id!r}, which something else on this page has."
                figure = alert(Alert(source, BlockError(message)))
        taken.add(id)
        shown = figure.html(id, assets)
        if script is not None and figure.script is not None:
            shown += f"\n{assets.script(script)}"
            script = None
        return shown

    return PLACEHOLDER.sub(put, text)


def needed(figures: Iterable[Rendered]) -> str | None:
    """The script that has the views of all of these; None if there are none."""
    scripts = {figure.script for figure in figures} - {None}
    return ALL_SCRIPT if ALL_SCRIPT in scripts else next(iter(scripts), None)


def _ids(text: str) -> set[str]:
    """All that begins with `id` is looked at twice: a look behind each character takes ten times as long."""
    found = ID.finditer(text)
    return {match[1] for match in found if not PART_OF_NAME.fullmatch(text[match.start() - 1 : match.start()])}


def _free(id: str, taken: set[str]) -> str:
    while id in taken:
        id += "-b"
    return id


@lru_cache(maxsize=10_000)
def _source(carried: str) -> Source | None:
    """None for what only looks like one of ours."""
    try:
        return Source.from_json(base64.urlsafe_b64decode(carried).decode())
    except (ValueError, TypeError):
        return None


UNSAFE = "%<>#&?|[]^`*+$\\\n"  # the percent sign first
NOT_ASCII = re.compile(r"[^\x20-\x7e]+")


def _data_url(svg: str) -> str:
    """Quotes in our pictures' texts are escaped; those left are attributes', and cost less here as single ones."""
    url = svg.replace('"', "'")
    for character in UNSAFE:
        url = url.replace(character, f"%{ord(character):02X}")
    return "data:image/svg+xml," + NOT_ASCII.sub(lambda match: quote(match[0]), url)


def _in_single_quotes(json: str) -> str:
    """As an attribute's value. JSON is full of double quotes, and an escape for each would be a fifth of a page."""
    return html.escape(json, quote=False).replace("'", "&#39;")


@cache
def _script(name: str) -> tuple[str, bytes]:
    """The name of its file in a site, and its content."""
    content = (resources.files("mkdocs_attnviz") / "static" / f"{name}.js").read_bytes()
    return f"{name}-{hashlib.sha256(content).hexdigest()[:10]}.js", content


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _base64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
