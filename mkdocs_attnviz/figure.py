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
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.block.values import words
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.publishing import printable
from mkdocs_attnviz.views import VIEWS, block_of
from mkdocs_attnviz.views.drawing import Drawing, Picture, bytes_of, fits_page
from mkdocs_attnviz.views.svg.document import titled
from mkdocs_attnviz.views.view import ALL_SCRIPT, ATTENTION_SCRIPT

TINY = 1_000  # bytes of a part's deflated data; a request for it would cost more than it brings
FILE = 64_000  # bytes of the parts in one file: a third of a second at 1.6 Mbit/s, and half the files of 32,000
SWITCH = 32  # px: the line of a figure that is drawn of a changed model and of the model as it is
LEGEND = 24  # px: the line that says what a picture's colours stand for
SECOND_LINE = 36  # px more where the figure is narrow, and the controls take two lines
MARK = 'data-attnviz-source="'
PLACEHOLDER = re.compile(
    rf'<!--|<figure class="attnviz" {MARK}([A-Za-z0-9_=-]+)"(?: id="([^"]*)")?>'
    r"(?:<p>[^<]*</p>)?(?:<figcaption>[^<]*</figcaption>)?</figure>"
)
LONGEST_SOURCE = 80  # characters of a text below the title of a saved picture
LONGEST_EXCERPT = 500  # characters of a block's text, where it is told before the figure is drawn
"""A block that waits, or the beginning of a comment, in which none does."""
ID = re.compile(r'id="([^"]*)"')
SCRIPT_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
OURS = "mkdocs_attnviz:"
"""The beginning of our own scripts' names."""
END_OF_SCRIPT = re.compile(r"</script|<!--", re.IGNORECASE)
DATA_FILE = re.compile(r"[0-9a-f]{64}\.js")
PART_OF_NAME = re.compile(r"[\w-]")
FIGURE_STYLE = (
    "display:grid;grid-template-columns:minmax(0,1fr);width:100%;max-width:none;margin:1.25em 0;text-align:start;"
    "break-inside:avoid"
)
"""A grid may be narrower than what it holds, so that a figure never widens its place."""
PLACE_STYLE = "container-type:inline-size;contain-intrinsic-inline-size:560px;width:100%"
"""The figure's heights depend on the width that it has, and its width never on what it has drawn."""
CAPTION_STYLE = "margin-inline:0;max-width:44em;text-align:start"
ERROR_STYLE = "border-inline-start:.25rem solid #d32f2f;padding:.75rem 1rem;margin:1em 0;overflow-wrap:anywhere"


class Assets:
    """Where the script and the data of a page's figures are. This one: all inline, for a page that stands alone."""

    def script(self, name: str) -> str:
        """Return the element that loads a script, which is named `package:path`.

        Raises:
            BlockError: there is no such file, or it cannot be written into the page.
        """
        content = _script(name)[1].decode()
        if not name.startswith(OURS) and END_OF_SCRIPT.search(content):
            raise BlockError(f"The script {name} holds `</script` or `<!--`, which would end it inside of a page.")
        return f"<script>{content}</script>"

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
            name, content = _data_file(together)
            self._write(name, content)
            yield from ({"file": name, "part": number} if number else {"file": name} for number in range(len(together)))

    def keeps_inline(self, drawing: Drawing, entry: Entry) -> bool:
        return fits_page(drawing.data, entry)

    def _write(self, name: str, content: bytes) -> None:
        """Write a file whose name tells its content, unless it is there already; it appears whole or not at all.

        Raises:
            BlockError: it cannot be written.
        """
        path = self.folder / name
        try:
            if not _holds(path, content):
                write_atomically(path, content)
        except OSError as error:
            raise BlockError(f"Its file {name} cannot be written into the site ({error.strerror}).") from None


def mend(folder: Path) -> Iterator[str]:
    """Yield what was wrong with each file of ours in a finished site's folder, in a sentence, and put it right.

    A site's sources are copied into the site, too, sometimes after our files were written, and may have some of the
    same names. A script is put back. Data are removed: their figures tell that they are not there.
    """
    scripts = dict(map(_script, {ATTENTION_SCRIPT, ALL_SCRIPT, *_SCRIPTS}))
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
            f"the site's sources. It was {done}; remove the other, too."
        )


def _is_data(path: Path) -> bool:
    """Return whether a data file has the content that its name tells."""
    return stat.S_ISREG(path.lstat().st_mode) and hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


def _data_file(parts: Iterable[bytes]) -> tuple[str, bytes]:
    """Return the name of a file of data, which is the SHA-256 that browsers hold it against, and its content."""
    texts = ",".join(f'"{_base64(part)}"' for part in parts)
    content = f"attnvizData({texts})\n".encode()
    return f"{hashlib.sha256(content).hexdigest()}.js", content


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a regular file, no link to one, has this content. Anybody may have put another under its name."""
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_size == len(content) and path.read_bytes() == content


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
    def scripts(self) -> tuple[str, ...]:
        """The scripts that it needs, in the order in which they are loaded."""

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
    def scripts(self) -> tuple[str, ...]:
        """The scripts that the figure needs, in the order in which they are loaded."""
        own = VIEWS[self.block.view].script
        if own.startswith(OURS) and self.before is None:
            return (own,)
        ours = ATTENTION_SCRIPT if self.before is None else ALL_SCRIPT
        return (ours,) if own.startswith(OURS) else (ours, own)

    @property
    def sentence(self) -> str:
        """What is to be seen: where a model is changed, in the changed model and in the model as it is."""
        if self.before is None:
            return self.drawing.sentence + self._notes
        as_it_is = self.before[0].sentence
        changed = self._changed[0].upper() + self._changed[1:]
        return f"{changed}: {self.drawing.sentence} As it is: {as_it_is}{self._notes}"

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

    @property
    def picture(self) -> Picture:
        """The static picture; of a changed model under a line that says how it is changed."""
        picture = self.drawing.picture
        return picture if self.before is None else titled(picture, f"The model {self._changed}", self.block.theme)

    def html(self, id: str, assets: Assets) -> str:
        picture, sentence = self.picture, html.escape(self.sentence)
        # An image follows the colour scheme of its element; the page's own is inherited unless the block forces one.
        scheme = "" if self.block.theme == "auto" else f"color-scheme:{self.block.theme}"
        caption = ""
        if self.block.caption:
            caption = f'\n<figcaption dir="auto" style="{CAPTION_STYLE}">{html.escape(self.block.caption)}</figcaption>'
        return (
            f'<figure class="attnviz" id="{html.escape(id)}" style="{FIGURE_STYLE}">\n'
            f'<div style="{PLACE_STYLE}">'
            f"<attn-viz data-figure='{_in_single_quotes(_json(self._data(assets)))}' "
            f'style="display:block;--attnviz-height:{self._reserved()};min-height:var(--attnviz-height){self._more()}">'
            f'<img src="{_data_url(picture.svg)}" alt="{sentence}" '
            f'width="{picture.width}" height="{picture.height}" '
            f'style="max-width:100%;height:auto;{scheme}">'
            f'<noscript><p dir="ltr">{sentence}</p></noscript></attn-viz></div>{caption}\n</figure>'
        )

    def _reserved(self) -> str:
        """The height kept for the figure until it draws, as CSS: nothing may jump then."""
        line = f" + clamp(0px,(600px - 100cqw)*99,{SECOND_LINE}px)" if self.drawing.wraps else ""
        around = self.drawing.around + (LEGEND if self.drawing.legend else 0)
        return f"calc({self.drawing.height} + {around}px{line})"

    def _more(self) -> str:
        """Room for the line that turns to the model as it is, beside what views themselves count with."""
        return "" if self.before is None else f";box-sizing:content-box;padding-bottom:{SWITCH}px"

    def _data(self, assets: Assets) -> dict[str, Any]:
        """The view's data; of two drawings both."""
        state = {} if self.block.state is None else {"state": self.block.state}
        shown = self._one(self.drawing, self.entry, assets) | state
        if self.before is None:
            return shown
        return {
            "view": "compared",
            **state,
            "label": self.sentence,
            "theme": self.block.theme,
            "interventions": self._changed,
            "of": shown,
            "before": self._one(*self.before, assets),
        }

    def _one(self, drawing: Drawing, entry: Entry, assets: Assets) -> dict[str, Any]:
        """A drawing's data, with bytes or their file in place of each blob's name."""
        here: Parts = []
        elsewhere: Parts = here if assets.keeps_inline(drawing, entry) else []
        shipped: dict[str, Any] = self._shipped(drawing.data, entry, here, elsewhere)
        for place, parts in ((Assets().place, here), (assets.place, elsewhere if elsewhere is not here else [])):
            for (part, _), found in zip(parts, place([blob for _, blob in parts]), strict=True):
                part.update(found)
        return {**shipped, "label": drawing.sentence + self._notes, "source": self._source(entry)}

    def _source(self, entry: Entry) -> str:
        """Return the model and the beginning of the text, for pictures that a reader saves."""
        text = _text_of(self.block)
        if not text or text == self.block.names:  # numbers of the author's own have tokens alone
            text = " ".join(token for sequence in _first(entry) for token in sequence["tokens"])
        text = " ".join(text.split())
        text = text if len(text) <= LONGEST_SOURCE else f"{text[:LONGEST_SOURCE]}…"
        return printable(f"{self.block.names}{text and f': {text}'}")

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
    scripts: tuple[str, ...] = ()
    published: str = ""
    """The message as it may stand in a page; empty for the message itself."""

    @property
    def message(self) -> str:
        where = self.source.where(self.error)
        return f"{where}: {self.error.message}" if where else self.error.message

    @property
    def shown(self) -> str:
        """The message without its place, for pages."""
        return printable(self.published or self.error.message)

    def html(self, id: str, assets: Assets) -> str:  # noqa: ARG002
        where = html.escape(printable(self.source.where(self.error)))
        place = f" <small>({where})</small>" if where else ""
        message = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.shown))
        return (
            f'<div class="attnviz-error" role="alert" id="{html.escape(id)}" style="{ERROR_STYLE}">'
            f'<p dir="ltr" style="margin:0"><strong>This attention block could not be drawn.</strong> '
            f"{message}{place}</p></div>"
        )


def placeholder(source: Source) -> str:
    """Return what stands in a page until the figure is drawn.

    It has the figure's id and caption and says what the figure is of, for tools that read a page before that: those
    that check links, and those that make text of a page.
    """
    carried = base64.urlsafe_b64encode(source.to_json().encode()).decode()
    id, inside = "", ""
    with suppress(Exception):  # whatever is wrong is told when it is drawn
        block = block_of(source)
        id = f' id="{html.escape(block.id)}"' if block.id else ""
        inside = f"<p>{_in_a_line(_announcement(block))}</p>"
        inside += f"<figcaption>{_in_a_line(block.caption)}</figcaption>" if block.caption else ""
    return f'<figure class="attnviz" {MARK}{carried}"{id}>{inside}</figure>'


def _announcement(block: Block) -> str:
    """Return what can be said of a figure before its model has run."""
    text = _text_of(block)
    text = text if len(text) <= LONGEST_EXCERPT else f"{text[:LONGEST_EXCERPT]}…"
    return f"Figure: {block.names}, {block.view} view{text and f': {text}'}"


def _first(entry: Entry) -> list[dict[str, Any]]:
    """Return the first sequence of tokens that the entry has; none where it has no tokens."""
    return list(entry.meta.get("sequences", {}).values())[:1]


def _text_of(block: Block) -> str:
    """Return all that the block gives a model to read; "" where that is its own numbers."""
    texts = (block.text, block.text_pair, block.text_target)
    return " / ".join([each.content for each in block.chat or ()] or [text for text in texts if text])


def _in_a_line(text: str) -> str:
    return html.escape(printable(" ".join(text.split())))


def ids_to_come(text: str) -> set[str]:
    """Return the ids that the figures waiting in a page will have, if nothing else on it has them."""
    found = (match[2] for match in _waiting(text) if _source(match[1]))
    return {id or f"attnviz-{number}" for number, id in enumerate(found, 1)}


def sources(text: str) -> list[Source]:
    """The blocks waiting in a piece of HTML, in order; those in comments do not wait."""
    return [source for match in _waiting(text) if (source := _source(match[1]))]


def _waiting(text: str) -> Iterator[re.Match[str]]:
    """Yield the placeholders outside of comments, in time linear in the text. A comment without an end is none."""
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
    text: str, rendered: Callable[[Source], Rendered], assets: Assets, alert: Callable[[Source, Exception], Alert]
) -> str:
    """The HTML with every waiting block in its place, and the script behind the first figure.

    `alert` is told of what goes wrong only here: an `id` that its page has already, a file that cannot be written.
    """
    page = _Page(text, rendered, assets, alert)
    pieces, place = list[str](), 0
    for match in _waiting(text):
        pieces += (text[place : match.start()], page.put(match))
        place = match.end()
    return "".join([*pieces, text[place:]])


class _Page:
    """The figures of one page while they are put in their places."""

    def __init__(
        self,
        text: str,
        rendered: Callable[[Source], Rendered],
        assets: Assets,
        alert: Callable[[Source, Exception], Alert],
    ) -> None:
        self.assets, self.alert = assets, alert
        waiting = list(_waiting(text))
        self.taken = _ids(_without(text, waiting))
        self.number = 0
        found = {match[1]: _source(match[1]) for match in waiting}
        self.figures = {carried: (source, rendered(source)) for carried, source in found.items() if source is not None}
        self.scripts = needed(figure for _, figure in self.figures.values())
        """The scripts that the page still needs."""

    def put(self, match: re.Match[str]) -> str:
        """Return what takes the placeholder's place: a figure, or an alert; text that only looks like one stays."""
        if match[1] not in self.figures:
            return match[0]
        source, figure = self.figures[match[1]]
        self.number += 1
        id = figure.wanted_id or _free(f"attnviz-{self.number}", self.taken)
        if id in self.taken:
            id = _free(f"attnviz-{self.number}", self.taken)
            if source.page is not None:  # else it is an excerpt among others, and no fault of its author
                message = f"`id` is {figure.wanted_id!r}, which something else on this page has."
                figure = self.alert(source, BlockError(message, key="id"))
        self.taken.add(id)
        try:
            return self._html(figure, id)
        except Exception as error:
            return self.alert(source, error).html(id, self.assets)

    def _html(self, figure: Rendered, id: str) -> str:
        shown = figure.html(id, self.assets)
        if self.scripts and figure.scripts:
            shown = "\n".join([shown, *map(self.assets.script, self.scripts)])
            self.scripts = []
        return shown


def needed(figures: Iterable[Rendered]) -> list[str]:
    """Return the scripts that have the views of all of these, each once, ours first."""
    scripts = list(dict.fromkeys(script for figure in figures for script in figure.scripts))
    if ALL_SCRIPT in scripts:
        scripts = [ALL_SCRIPT, *(script for script in scripts if script not in (ALL_SCRIPT, ATTENTION_SCRIPT))]
    return scripts


def _without(text: str, parts: Iterable[re.Match[str]]) -> str:
    kept, place = list[str](), 0
    for part in parts:
        kept.append(text[place : part.start()])
        place = part.end()
    return "".join([*kept, text[place:]])


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
    except ValueError:
        return None


UNSAFE = "%<>#&?|[]^`*+$\\\n"  # the percent sign first
NOT_ASCII = re.compile(r"[^\x20-\x7e]+")


def _data_url(svg: str) -> str:
    """Quotes in our pictures' texts are escaped; those left are attributes', and cost less here as single ones."""
    url = svg.replace('"', "'")
    for character in UNSAFE:
        url = url.replace(character, f"%{ord(character):02X}")
    if not (url.isascii() and url.isprintable()):
        url = NOT_ASCII.sub(lambda match: quote(match[0]), url)
    return f"data:image/svg+xml,{url}"


def _in_single_quotes(json: str) -> str:
    """As an attribute's value. JSON is full of double quotes, and an escape for each would be a fifth of a page."""
    return html.escape(json, quote=False).replace("'", "&#39;")


_SCRIPTS: set[str] = set()
"""The scripts that pages of this process have loaded."""


@cache
def _script(name: str) -> tuple[str, bytes]:
    """Return the name of a script's file in a site, and its content.

    Raises:
        BlockError: there is no such file in the package.
    """
    package, _, path = name.partition(":")
    stem = path.rpartition("/")[2].removesuffix(".js")
    try:
        content = resources.files(package).joinpath(*path.split("/")).read_bytes()
        content.decode()
    except (OSError, ImportError, TypeError, ValueError):
        raise BlockError(f"The script {name} is not in its package.") from None
    if not SCRIPT_NAME.fullmatch(stem):
        raise BlockError(f"The script {name} has a file name with other characters than letters, digits, - and _.")
    _SCRIPTS.add(name)
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:10]}.js", content


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _base64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
