"""A figure: its HTML and its data."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.interventions import words
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.figure.assets import Assets, MeasuredAssets
from mkdocs_attnviz.figure.block_text import text_of
from mkdocs_attnviz.figure.scripts import COMPARED, OURS, script_file, with_needed
from mkdocs_attnviz.provenance import provenance
from mkdocs_attnviz.publishing import printable
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.drawing import Drawing, Picture, bytes_of, data_size, is_flat
from mkdocs_attnviz.views.figure_data import Provenance
from mkdocs_attnviz.views.svg.document import titled
from mkdocs_attnviz.views.verdict import Verdict

TINY = 1_000  # bytes of deflated data; a smaller part costs less inside the page than in a request
SWITCH = 32  # px: the line that switches between the changed and the unchanged model
LEGEND = 24  # px: the line that explains the colours
ABOUT = 24  # px: the line below another package's view that opens what the figure says of itself
SECOND_LINE = 36  # px: the second line of controls in a narrow figure
LONGEST_SOURCE = 80  # characters of the text below the title of a saved picture
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
    in_page: bool = False
    """True if the host writes the figure's data into its page, as base64, which takes a third more bytes than files."""

    @property
    def wanted_id(self) -> str | None:
        """The id that the block asks for, or None."""
        return self.block.id

    @property
    def scripts(self) -> tuple[str, ...]:
        """The names of the scripts that the figure needs, in the order in which they are loaded."""
        of_view = with_needed(VIEWS[self.block.view].script)
        return of_view if self.before is None else tuple(dict.fromkeys((*of_view, *with_needed(COMPARED))))

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
        assets = Assets() if self.in_page else files
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
        """Return the model and the beginning of the text, or the name of a corpus, for pictures that a reader saves."""
        text = text_of(self.block) or PurePath(self.block.corpus or "").name
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


def _first(entry: Entry) -> list[dict[str, Any]]:
    """Return a list of the first sequence of tokens in the entry; it is empty if there are no tokens."""
    return list(entry.meta.get("sequences", {}).values())[:1]


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


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _base64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
