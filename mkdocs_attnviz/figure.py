"""The HTML and data files of figures. Apart from hosts' own pages, only this module knows HTML.

A block travels through Markdown as a *placeholder* that carries its own source. `fill` puts the figures in their
places, numbers them in page order and adds the script that the page needs. Small data are inline. Larger data go into
files named by their content beside our scripts (`data_file`).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.interventions import words
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.data_file import data_file
from mkdocs_attnviz.provenance import provenance
from mkdocs_attnviz.publishing import printable
from mkdocs_attnviz.views import VIEWS, block_of
from mkdocs_attnviz.views.drawing import Drawing, Picture, bytes_of, data_size, fits_page, is_flat
from mkdocs_attnviz.views.figure_data import Provenance
from mkdocs_attnviz.views.svg.document import titled
from mkdocs_attnviz.views.verdict import Verdict
from mkdocs_attnviz.views.view import ALL_SCRIPT, ATTENTION_SCRIPT

TINY = 1_000  # bytes of deflated data; a smaller part costs less inside the page than in a request
FILE = 64_000  # bytes of data in one file: a third of a second at 1.6 Mbit/s, and half as many files as with 32,000
SWITCH = 32  # px: the line that switches between the changed and the unchanged model
LEGEND = 24  # px: the line that explains the colours
ABOUT = 24  # px: the line below another package's view that opens what the figure says of itself
SECOND_LINE = 36  # px: the second line of controls in a narrow figure
MARK = 'data-attnviz-source="'
"""The beginning of the attribute that contains a block's source."""
PLACEHOLDER = re.compile(
    rf'<!--|<figure class="attnviz" {MARK}([A-Za-z0-9_=-]+)"(?: id="([^"]*)")?>'
    r"(?:<p>[^<]*</p>)?(?:<figcaption>[^<]*</figcaption>)?</figure>"
)
"""A pattern for the placeholder of a block. It also matches the beginning of a comment, because placeholders inside
comments do not count."""
LONGEST_SOURCE = 80  # characters of the text below the title of a saved picture
LONGEST_EXCERPT = 500  # characters of the text in a placeholder
ID = re.compile(r'id="([^"]*)"')
SCRIPT_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
OURS = "mkdocs_attnviz:"
"""The beginning of the names of our own scripts."""
WAITING = "(run=>globalThis.attnviz?run():(globalThis.attnvizWaiting??=[]).push(run))(()=>{%s\n});\n"
"""A script of another package waits for ours, since instant navigation may run a page's scripts in any order."""
END_OF_SCRIPT = re.compile(r"</script|<!--", re.IGNORECASE)
DATA_FILE = re.compile(r"[0-9a-f]{64}\.js")
PART_OF_NAME = re.compile(r"[\w-]")
FIGURE_STYLE = (
    "display:grid;grid-template-columns:minmax(0,1fr);width:100%;max-width:none;margin:1.25em 0;text-align:start;"
    "break-inside:avoid"
)
"""The style of the figure. A grid may be narrower than its content, so a figure never widens its container."""
PLACE_STYLE = "container-type:inline-size;contain-intrinsic-inline-size:560px;width:100%"
"""The style of the picture's container. The figure's height depends on its width, and its width never depends on what
it has drawn."""
CAPTION_STYLE = "margin-inline:0;max-width:44em;text-align:start"
MARK_STYLE = "border-inline-start:.25rem solid #b45309;padding-inline-start:.75rem;margin:.5em 0;max-width:44em"
ERROR_STYLE = "border-inline-start:.25rem solid #d32f2f;padding:.75rem 1rem;margin:1em 0;overflow-wrap:anywhere"


class Assets:
    """The places of a page's scripts and data. In this class everything is inline, for a page that stands alone."""

    def script(self, name: str) -> str:
        """Return the HTML element that loads a script named `package:path`.

        Raises:
            BlockError: if there is no such file, or it cannot be written into the page.
        """
        return f"<script>{script_file(name)[1].decode()}</script>"

    def place(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        """Yield the place of each part of one figure's data, in the form of `views/figure_data.Blob`. A reader needs
        all parts of a unit together."""
        return self.place_inline(units)

    def place_inline(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        """Yield the place of each part that belongs to the figure itself: a small part, or a preview."""
        return ({"data": _base64(part)} for unit in units for part in unit)

    def keeps_inline(self, drawing: Drawing, entry: Entry) -> bool:  # noqa: ARG002
        """Return whether a figure's data stay inside the page."""
        return True


class AssetFolder(Assets):
    """The places of scripts and data as files in `folder`, which pages reach under `url`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def script(self, name: str) -> str:
        # A page that says nothing of its encoding would otherwise have its scripts read as Windows-1252.
        return f'<script defer src="{html.escape(self.url)}/{self.script_file(name)}" charset="utf-8"></script>'

    def script_file(self, name: str) -> str:
        """Write a script named `package:path`, and return the name of its file.

        Raises:
            BlockError: as `script`.
        """
        file, content = script_file(name)
        self._write(file, content)
        return file

    def place(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        return _in_files(units, self._write)

    def keeps_inline(self, drawing: Drawing, entry: Entry) -> bool:
        return fits_page(drawing.data, entry)

    def _write(self, name: str, content: bytes) -> None:
        """Write a file that is named by its content, unless it exists already. It appears completely or not at all.

        Raises:
            BlockError: if it cannot be written.
        """
        path = self.folder / name
        try:
            if not _holds(path, content):
                write_atomically(path, content)
        except OSError as error:
            raise BlockError(f"Its file {name} cannot be written into the site ({error.strerror}).") from None


class MeasuredAssets(AssetFolder):
    """The places of data in no folder: nothing is written, but the bytes of the files are counted."""

    def __init__(self) -> None:
        super().__init__(Path(), "")
        self.sizes: dict[str, int] = {}
        """The size of each file in bytes, by its name."""

    def _write(self, name: str, content: bytes) -> None:
        self.sizes[name] = len(content)


class SentAssets(Assets):
    """The places of data in files that are sent to the page as bytes, each figure's completely."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """The content of each file, by its name."""

    def place_inline(self, units: Iterable[Sequence[bytes]]) -> Iterator[dict[str, Any]]:
        return _in_files(units, self.files.__setitem__)


def mend(folder: Path) -> Iterator[str]:
    """Repair our files in the folder of a finished site, and yield a sentence about each file that was wrong.

    The sources of a site are copied into it, sometimes after our files were written, and may have files of the same
    names. A script is written again. A data file is removed, and its figures then say that their data are missing.
    """
    scripts = dict(map(script_file, {ATTENTION_SCRIPT, ALL_SCRIPT, *_SCRIPTS}))
    for path in sorted(folder.glob("*.js")):
        content = scripts.get(path.name)
        if content is not None and _holds(path, content):
            continue
        if content is None and (not DATA_FILE.fullmatch(path.name) or _is_data(path)):
            continue
        try:
            path.unlink()
            if content is not None:
                write_atomically(path, content)
            done = "removed" if content is None else "put back"
        except OSError as error:
            done = f"left, since it cannot be changed ({error.strerror})"
        yield (
            f"The file {path.name} was replaced by another of that name while the site was built, perhaps by one in "
            f"the site's sources. It was {done}; remove the other file."
        )


def _is_data(path: Path) -> bool:
    """Return whether the name of a data file fits its content."""
    return stat.S_ISREG(path.lstat().st_mode) and hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


def _data_file(parts: Iterable[bytes]) -> tuple[str, bytes]:
    """Return the name and content of a data file. The name is the SHA-256 that browsers check."""
    content = data_file(parts)
    return f"{hashlib.sha256(content).hexdigest()}.js", content


def _holds(path: Path, content: bytes) -> bool:
    """Return whether the path is a regular file with this content. A link to such a file does not count, because
    anybody may have put it there."""
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_size == len(content) and path.read_bytes() == content


def _in_files(units: Iterable[Sequence[bytes]], write: Callable[[str, bytes], None]) -> Iterator[dict[str, Any]]:
    """Yield the place of each part in the files that hold them all, after `write` got the file's name and content."""
    for together in _files(units):
        name, content = _data_file(together)
        write(name, content)
        yield from ({"file": name, "part": number} if number else {"file": name} for number in range(len(together)))


def _files(units: Iterable[Sequence[bytes]]) -> Iterator[list[bytes]]:
    """Yield the parts of consecutive units that share a file. For small parts, requests cost more than bytes."""
    together: list[bytes] = []
    size = 0
    for unit in units:
        length = sum(map(len, unit))
        if together and size + length > FILE:
            yield together
            together, size = [], 0
        together += unit
        size += length
    if together:
        yield together


class Rendered(Protocol):
    """A figure or an alert that can replace a placeholder."""

    @property
    def wanted_id(self) -> str | None: ...
    @property
    def scripts(self) -> tuple[str, ...]:
        """The names of the scripts that it needs, in the order in which they are loaded."""

    def html(self, id: str, assets: Assets) -> str: ...


Units = list[list[tuple[dict[str, Any], bytes]]]
"""The parts of a figure's data that still lack their bytes, and these bytes. Those that are fetched together are a
unit."""


@dataclass(frozen=True)
class Figure:
    """A block drawn from its entry. A block with interventions also has `before`, the drawing and entry of the
    unchanged model."""

    block: Block
    drawing: Drawing
    entry: Entry
    before: tuple[Drawing, Entry] | None = None
    claims: tuple[Verdict, ...] = ()
    """The claims of the block's author, tested on these entries."""

    @property
    def wanted_id(self) -> str | None:
        """The id that the block asks for, or None."""
        return self.block.id

    @property
    def scripts(self) -> tuple[str, ...]:
        """The names of the scripts that the figure needs, in the order in which they are loaded."""
        own = VIEWS[self.block.view].script
        bases = (ATTENTION_SCRIPT, ALL_SCRIPT)
        attention = self.before is None and (own == ATTENTION_SCRIPT or not own.startswith(OURS))
        base = ATTENTION_SCRIPT if attention else ALL_SCRIPT
        return (base,) if own in bases else (base, own)

    def check_scripts(self) -> None:
        """Read the scripts, so that one that is missing costs no other figure of its page anything.

        Raises:
            BlockError: as `script_file`.
        """
        for name in self.scripts:
            script_file(name)

    @property
    def site_size(self) -> int:
        """The number of bytes that the figure adds to a site: its HTML and its data files, without shared scripts."""
        files = MeasuredAssets()
        assets = Assets() if self.block.in_page else files
        return len(self.html("attnviz-1", assets).encode()) + sum(files.sizes.values())

    @property
    def blob_size(self) -> int:
        """The number of deflated bytes of data, most of `site_size` in a large figure, without encoding anything."""
        drawn = [(self.drawing, self.entry), *([] if self.before is None else [self.before])]
        return sum(data_size(drawing.data, entry) for drawing, entry in drawn)

    @property
    def sentence(self) -> str:
        """The description of the picture, and the claims that do not hold."""
        return " ".join([self._description, *(each.sentence for each in self.claims if not each.holds)])

    @property
    def _description(self) -> str:
        """The description of the picture. With interventions it describes the changed model and the unchanged model."""
        if self.before is None:
            return self.drawing.sentence + self._notes
        as_it_is = self.before[0].sentence
        changed = self._changed[0].upper() + self._changed[1:]
        return f"{changed}: {self.drawing.sentence} As it is: {as_it_is}{self._notes}"

    @property
    def provenance(self) -> Provenance:
        """The origin of the figure: models, versions, precision, citation."""
        return provenance(self.block, [self.entry] if self.before is None else [self.entry, self.before[1]])

    @property
    def _notes(self) -> str:
        """Sentences about the input of the model: the fixed date in a chat template, or a text longer than the model
        was trained on."""
        text = self.entry.meta.get("sequences", {}).get("text", {})
        date, usual = text.get("date"), text.get("usual")
        notes = f" The conversation is dated {date}, a fixed day." if date else ""
        if usual:
            notes += f" The text has {len(text['tokens'])} tokens; the model's tokenizer names {usual} as the most."
        return notes

    @property
    def _changed(self) -> str:
        """The description of the interventions."""
        return words(self.block.interventions or ())

    @property
    def picture(self) -> Picture:
        """The static picture. With interventions it has a title line that describes them."""
        picture = self.drawing.picture
        return picture if self.before is None else titled(picture, f"The model {self._changed}", self.block.theme)

    def in_theme(self, theme: str) -> Figure:
        """Return the figure in a colour scheme, `light` or `dark`."""
        block = self.block.model_copy(update={"theme": theme})
        draw = VIEWS[block.view].drawing
        before = None if self.before is None else (draw(block, self.before[1]), self.before[1])
        return replace(self, block=block, drawing=draw(block, self.entry), before=before)

    def html(self, id: str, assets: Assets) -> str:
        """Return the HTML of the figure, with its static picture inside."""
        sentence = html.escape(self._description)  # claims that do not hold stand below it
        return (
            f'<figure class="attnviz" id="{html.escape(id)}" style="{FIGURE_STYLE}">\n'
            f'<div style="{PLACE_STYLE}">'
            f"<attn-viz data-figure='{_in_single_quotes(_json(self._data(assets)))}' "
            f'style="display:block;--attnviz-height:{self._reserved()};min-height:var(--attnviz-height){self._switch_style()}">'
            f'{self._image(sentence)}<noscript><p dir="ltr">{sentence}</p></noscript></attn-viz></div>'
            f"{self._marks()}{self._caption()}\n</figure>"
        )

    @property
    def static_html(self) -> str:
        """The HTML of the static picture with its caption, for places that run no script."""
        style, image = f'style="{FIGURE_STYLE}"', self._image(html.escape(self._description))
        return f'<figure class="attnviz" {style}>\n{image}{self._marks()}{self._caption()}\n</figure>'

    def _image(self, sentence: str) -> str:
        """Return the static picture, described by a sentence of HTML. An image follows the colour scheme of its
        element, which inherits the page's unless the block forces one."""
        picture = self.picture
        scheme = "" if self.block.theme == "auto" else f"color-scheme:{self.block.theme}"
        return (
            f'<img src="{_data_url(picture.svg)}" alt="{sentence}" '
            f'width="{picture.width}" height="{picture.height}" '
            f'style="max-width:100%;height:auto;{scheme}">'
        )

    def _caption(self) -> str:
        """Return the caption; it is empty if the block has none."""
        text = self.block.caption
        return f'\n<figcaption dir="auto" style="{CAPTION_STYLE}">{html.escape(text)}</figcaption>' if text else ""

    def _marks(self) -> str:
        """Return a note below the picture for each claim that does not hold. It needs no script, and is printed."""
        return "".join(
            f'\n<p class="attnviz-claim" role="note" dir="ltr" style="{MARK_STYLE}"><span aria-hidden="true">⚠ </span>'
            f"<strong>A claim does not hold.</strong> {html.escape(printable(claim.sentence))}</p>"
            for claim in self.claims
            if not claim.holds
        )

    def _reserved(self) -> str:
        """Return the CSS height that is reserved for the figure until it is drawn, so that the page does not jump."""
        line = f" + clamp(0px,(600px - 100cqw)*99,{SECOND_LINE}px)" if self.drawing.wraps else ""
        around = self.drawing.around + (LEGEND if self.drawing.legend else 0)
        around += 0 if VIEWS[self.block.view].script.startswith(OURS) else ABOUT
        return f"calc({self.drawing.height} + {around}px{line})"

    def _switch_style(self) -> str:
        """Return the CSS of the line that switches to the unchanged model; views do not include it in their height."""
        return "" if self.before is None else f";box-sizing:content-box;padding-bottom:{SWITCH}px"

    def _data(self, assets: Assets) -> dict[str, Any]:
        """Return the view's data; with interventions, the data of both drawings."""
        state = {} if self.block.state is None else {"state": self.block.state}
        about: dict[str, Any] = {"provenance": self.provenance}
        if self.claims:
            about["claims"] = [claim.data for claim in self.claims]
        shown = self._drawing_data(self.drawing, self.entry, assets) | state
        if self.before is None:
            return shown | about
        return {
            "view": "compared",
            **state,
            **about,
            "label": self._description,
            "theme": self.block.theme,
            "interventions": self._changed,
            **({"shipped": shown["shipped"]} if "shipped" in shown else {}),
            "of": shown,
            "before": self._drawing_data(*self.before, assets),
        }

    def _drawing_data(self, drawing: Drawing, entry: Entry, assets: Assets) -> dict[str, Any]:
        """Return a drawing's data, with bytes or a file in place of each blob's name."""
        here: Units = []
        elsewhere: Units = here if assets.keeps_inline(drawing, entry) else []
        shipped: dict[str, Any] = self._without_bytes(drawing.data, entry, here, elsewhere)
        for place, units in ((assets.place_inline, here), (assets.place, elsewhere if elsewhere is not here else [])):
            places = place([[blob for _, blob in unit] for unit in units])
            for (part, _), place_of_part in zip(chain(*units), places, strict=True):
                part.update(place_of_part)
        for name, value in (("view", self.block.view), ("theme", self.block.theme)):
            shipped.setdefault(name, value)
        return {**shipped, "label": drawing.sentence + self._notes, "source": self._source(entry)}

    def _source(self, entry: Entry) -> str:
        """Return the model and the beginning of the text, for pictures that a reader saves."""
        text = _text_of(self.block)
        if not text or text == self.block.names:  # an author's own tensors have tokens but no text
            text = " ".join(token for sequence in _first(entry) for token in sequence["tokens"])
        text = " ".join(text.split())
        text = text if len(text) <= LONGEST_SOURCE else f"{text[:LONGEST_SOURCE]}…"
        return printable(f"{self.block.names}{text and f': {text}'}")

    def _without_bytes(self, value: Any, entry: Entry, here: Units, elsewhere: Units) -> Any:
        """Return a copy of the value without bytes. Each part that needs bytes is added to one of the lists, where the
        `parts` of a layer are one unit."""
        if isinstance(value, list):
            return (
                value
                if is_flat(value)
                else [
                    self._without_bytes(part, entry, here, elsewhere) if isinstance(part, (dict, list)) else part
                    for part in value
                ]
            )
        if not isinstance(value, dict):
            return value
        copy: dict[str, Any] = {}
        blob = bytes_of(value, entry)
        if blob is not None:
            (here if "ahead" in value or len(blob) <= TINY else elsewhere).append([(copy, blob)])
        for name, part in value.items():
            needless = here is elsewhere and isinstance(part, dict) and "ahead" in part
            if name not in ("blob", "content", "ahead") and not needless:
                first = len(elsewhere)
                copy[name] = self._without_bytes(part, entry, here, elsewhere)
                if name == "parts":
                    elsewhere[first:] = [[*chain(*elsewhere[first:])]]
        return copy


@dataclass(frozen=True)
class Warned:
    """A warning about a block, with its place: a claim that does not hold, or an alert."""

    source: Source
    error: BlockError

    @property
    def message(self) -> str:
        """The message, after the place of the error."""
        where = self.source.where(self.error)
        return f"{where}: {self.error.message}" if where else self.error.message


@dataclass(frozen=True)
class Alert(Warned):
    """The message in the page in place of a block that could not be drawn."""

    wanted_id: str | None = None
    scripts: tuple[str, ...] = ()
    published: str = ""
    """The message without private information, for the page; empty if it is the message itself."""

    @property
    def shown(self) -> str:
        """The message for the page, without the place of the error."""
        return printable(self.published or self.error.message)

    def html(self, id: str, assets: Assets) -> str:  # noqa: ARG002
        """Return the HTML of the alert."""
        where = html.escape(printable(self.source.where(self.error)))
        place = f" <small>({where})</small>" if where else ""
        message = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.shown))
        return (
            f'<div class="attnviz-error" role="alert" id="{html.escape(id)}" style="{ERROR_STYLE}">'
            f'<p dir="ltr" style="margin:0"><strong>This attention block could not be drawn.</strong> '
            f"{message}{place}</p></div>"
        )


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
    text = _text_of(block)
    text = text if len(text) <= LONGEST_EXCERPT else f"{text[:LONGEST_EXCERPT]}…"
    return f"Figure: {block.names}, {block.view} view{text and f': {text}'}"


def _first(entry: Entry) -> list[dict[str, Any]]:
    """Return a list of the first sequence of tokens in the entry; it is empty if there are no tokens."""
    return list(entry.meta.get("sequences", {}).values())[:1]


def _text_of(block: Block) -> str:
    """Return all text that the block gives the model to read; it is empty if the block has its own tensors."""
    texts = (block.text, block.text_pair, block.text_target)
    return " / ".join([turn.content for turn in block.chat or ()] or [text for text in texts if text])


def _in_a_line(text: str) -> str:
    """Return a text in one line, escaped for HTML."""
    return html.escape(printable(" ".join(text.split())))


def ids_to_come(text: str) -> set[str]:
    """Return the ids that the figures of the page's placeholders will have, unless something else on the page has
    them."""
    wanted_ids = (match[2] for match in _placeholders(text) if _source(match[1]))
    return {id or f"attnviz-{number}" for number, id in enumerate(wanted_ids, 1)}


def sources(text: str) -> list[Source]:
    """Return the sources of the placeholders in a piece of HTML, in order. Placeholders in comments do not count."""
    return [source for match in _placeholders(text) if (source := _source(match[1]))]


def _placeholders(text: str) -> Iterator[re.Match[str]]:
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


def fill(
    text: str, rendered: Callable[[Source], Rendered], assets: Assets, alert: Callable[[Source, Exception], Rendered]
) -> str:
    """Return the HTML with a figure in place of every placeholder, and the script after the first figure.

    `alert` handles errors that only occur here: an `id` that the page already has, or a file that cannot be written.
    """
    page = _Page(text, rendered, assets, alert)
    pieces, place = list[str](), 0
    for match in _placeholders(text):
        pieces += (text[place : match.start()], page.put(match))
        place = match.end()
    return "".join([*pieces, text[place:]])


class _Page:
    """The figures of one page while they replace its placeholders."""

    def __init__(
        self,
        text: str,
        rendered: Callable[[Source], Rendered],
        assets: Assets,
        alert: Callable[[Source, Exception], Rendered],
    ) -> None:
        self.assets, self.alert = assets, alert
        waiting = list(_placeholders(text))
        self.taken = _ids(_without(text, waiting))
        self.number = 0
        waiting_sources = {match[1]: _source(match[1]) for match in waiting}
        self.figures = {
            carried: (source, rendered(source)) for carried, source in waiting_sources.items() if source is not None
        }
        self.scripts = needed(figure for _, figure in self.figures.values())
        """The scripts that the page still needs."""

    def put(self, match: re.Match[str]) -> str:
        """Return the figure or alert that replaces this match. Text that only looks like a placeholder stays."""
        if match[1] not in self.figures:
            return match[0]
        source, figure = self.figures[match[1]]
        self.number += 1
        id = figure.wanted_id or _free(f"attnviz-{self.number}", self.taken)
        if id in self.taken:
            id = _free(f"attnviz-{self.number}", self.taken)
            if source.page is not None:  # without a page, it is an excerpt among others, and its author could not know
                message = f"`id` is {figure.wanted_id!r}, which something else on this page has."
                figure = self.alert(source, BlockError(message, key="id"))
        self.taken.add(id)
        try:
            return self._html(figure, id)
        except Exception as error:
            return self.alert(source, error).html(id, self.assets)

    def _html(self, figure: Rendered, id: str) -> str:
        """Return the HTML of a figure; the first figure is followed by the scripts."""
        shown = figure.html(id, self.assets)
        if self.scripts and figure.scripts:
            shown = "\n".join([shown, *map(self.assets.script, self.scripts)])
            self.scripts = []
        return shown


def needed(figures: Iterable[Rendered]) -> list[str]:
    """Return the scripts that draw all these figures, each once, ours first."""
    scripts = list(dict.fromkeys(script for figure in figures for script in figure.scripts))
    if ALL_SCRIPT in scripts:
        scripts = [ALL_SCRIPT, *(script for script in scripts if script not in (ALL_SCRIPT, ATTENTION_SCRIPT))]
    return scripts


def _without(text: str, parts: Iterable[re.Match[str]]) -> str:
    """Return the text without these matches."""
    pieces, place = list[str](), 0
    for part in parts:
        pieces.append(text[place : part.start()])
        place = part.end()
    return "".join([*pieces, text[place:]])


def _ids(text: str) -> set[str]:
    """Return all ids in the text. Checking the character before each match separately is ten times as fast as a
    lookbehind."""
    candidates = ID.finditer(text)
    return {match[1] for match in candidates if not PART_OF_NAME.fullmatch(text[match.start() - 1 : match.start()])}


def _free(id: str, taken: set[str]) -> str:
    """Return the id, with a suffix if the page already has it."""
    while id in taken:
        id += "-b"
    return id


@lru_cache(maxsize=10_000)
def _source(carried: str) -> Source | None:
    """Return the block source in a placeholder, or None if it only looks like a placeholder."""
    try:
        return Source.from_json(base64.urlsafe_b64decode(carried).decode())
    except ValueError:
        return None


UNSAFE = "%<>#&?|[]^`*+$\\\n"  # the percent sign comes first, because it is part of every escape
NOT_ASCII = re.compile(r"[^\x20-\x7e]+")


def _data_url(svg: str) -> str:
    """Return the SVG as a data URL. Double quotes in texts are already escaped, so all others enclose attributes and
    become single quotes, which are shorter in a URL."""
    url = svg.replace('"', "'")
    for character in UNSAFE:
        url = url.replace(character, f"%{ord(character):02X}")
    if not (url.isascii() and url.isprintable()):
        url = NOT_ASCII.sub(lambda match: quote(match[0]), url)
    return f"data:image/svg+xml,{url}"


def _in_single_quotes(json: str) -> str:
    """Return JSON escaped for an attribute in single quotes. Escaping all its double quotes would add a fifth to the
    page."""
    return html.escape(json, quote=False).replace("'", "&#39;")


_SCRIPTS: set[str] = set()
"""The scripts that pages of this process have loaded."""


@cache
def script_file(name: str) -> tuple[str, bytes]:
    """Return the file name of a script in a site, and its content.

    Raises:
        BlockError: if there is no such file in the package, or it cannot stand in a page.
    """
    package, _, path = name.partition(":")
    stem = path.rpartition("/")[2].removesuffix(".js")
    try:
        content = resources.files(package).joinpath(*path.split("/")).read_bytes()
        text = content.decode()
    except (OSError, ImportError, TypeError, ValueError):
        raise BlockError(f"The script {name} is not in its package.") from None
    if not SCRIPT_NAME.fullmatch(stem):
        raise BlockError(f"The script {name} has a file name with other characters than letters, digits, - and _.")
    if not name.startswith(OURS) and END_OF_SCRIPT.search(text):
        raise BlockError(f"The script {name} holds `</script` or `<!--`, which would end it inside of a page.")
    if not name.startswith(OURS):
        content = (WAITING % text).encode()
    _SCRIPTS.add(name)
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:10]}.js", content


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _base64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
