"""The host for generators that are not written in Python: blocks come as lines of JSON, and fragments of HTML, or
pictures, go back as lines of JSON. `attnviz render` reads and writes these lines.

It decides the keys of a question and of an answer, and that figures are numbered, and scripts named, for each page of a
batch. The guide's page "Any other generator" is the contract with authors of filters and plugins.
"""

from __future__ import annotations

import difflib
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import MAX_LINE, Source
from mkdocs_attnviz.figure.alert import Alert
from mkdocs_attnviz.figure.assets import AssetFolder, Assets
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.page import fill, needed
from mkdocs_attnviz.figure.placeholders import placeholder
from mkdocs_attnviz.figure.rendered import Rendered
from mkdocs_attnviz.hosts.fenced_pages import PageFiles
from mkdocs_attnviz.hosts.picture_files import PictureFolder
from mkdocs_attnviz.pipeline import Build

APART = "-figure"
"""The end of a figure's id if the id itself belongs to what the tool puts around the figure."""
EMPTY_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Question:
    """One block that a tool asks for."""

    source: Source
    apart: bool = False
    """True if the tool sets the caption and the id itself."""
    assets_url: str | None = None
    """The URL of the assets folder, as the block's page refers to it; None for that of the command."""

    @classmethod
    def read(cls, line: str, number: int) -> Question:
        """Return the question in line `number` of the input, counted from 1. Its mistakes become those of its block."""
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            read = None
        if not isinstance(read, dict) or not isinstance(read.get("body"), str):
            return cls(Source(line, problem=f"Line {number} of the input is no JSON object with a text `body`."))
        values, problem = dict[str, Any](), None
        for key, value in read.items():
            mistake = _mistake(key, value)
            if mistake is None:
                values[key] = value
            problem = problem or mistake
        block = {key: values[key] for key in ("body", "header", "page", "line", "cell") if values.get(key) is not None}
        own = {key: values[key] for key in ("apart", "assets_url") if values.get(key) is not None}
        return cls(Source(**block, problem=problem), **own)

    def placed(self, files: PageFiles) -> Question:
        """Return the question with the place of its block. If the tool does not know it, it is looked up in the
        file."""
        source = self.source
        if source.page is None or source.line is not None or source.cell is not None:
            return self
        there = files.found(source.page, source.body)
        return self if there is None else replace(self, source=replace(source, line=there.line, cell=there.cell))


def _is_line(value: Any) -> bool:
    """Return whether a value counts from 1."""
    return type(value) is int and 0 < value <= MAX_LINE


def _is_header(value: Any) -> bool:
    """Return whether a value is a mapping of texts."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "body": ("a text", lambda value: isinstance(value, str)),
    "header": ("an object of texts", _is_header),
    "page": ("a text", lambda value: isinstance(value, str)),
    "line": ("a whole number from 1", _is_line),
    "cell": ("a whole number from 1", _is_line),
    "apart": ("true or false", lambda value: isinstance(value, bool)),
    "assets_url": ("a text", lambda value: isinstance(value, str)),
}
"""The allowed value of each key of a question, in words and as a test."""


def _mistake(key: str, value: Any) -> str | None:
    """Return the mistake in one key of a question, as a sentence, or None."""
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        hint = f" (did you mean `{near[0]}`?)" if near else ""
        return f"`{key}` is no key of a question to `attnviz render`{hint}; it may have {', '.join(KEYS)}."
    words, is_allowed = KEYS[key]
    if value is None or is_allowed(value):
        return None
    return f"`{key}` is {json.dumps(value)} in a question to `attnviz render`; it must be {words}."


@dataclass(frozen=True)
class Answer:
    """One block, drawn or not."""

    source: Source
    rendered: Figure | Alert
    id: str
    """The id that the block asks for or gets in its page."""
    html: str
    """The fragment of HTML without empty lines."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """The keys that only some formats have."""

    @property
    def ok(self) -> bool:
        """True if the block is drawn."""
        return isinstance(self.rendered, Figure)

    @property
    def problems(self) -> list[BlockError]:
        """The errors of a block that cannot be drawn, or the claims that do not hold."""
        if isinstance(self.rendered, Alert):
            return [self.rendered.error]
        return [claim.warning(self.rendered.block) for claim in self.rendered.claims if not claim.holds]

    def to_json(self) -> dict[str, Any]:
        """Return the answer for JSON."""
        figure = self.rendered if isinstance(self.rendered, Figure) else None
        return {
            "ok": self.ok,
            "html": self.html,
            "id": self.id,
            "caption": figure and figure.block.caption,
            "text": "" if figure is None else figure.sentence,
            **self.details,
            "problems": [self._problem(error) for error in self.problems],
        }

    def _problem(self, error: BlockError) -> dict[str, Any]:
        """Return a problem for JSON. Its advice is part of the message."""
        source, problem = self.source, error.problem
        place = {"where": source.where(error), "page": source.page, "line": source.line}
        message = self.rendered.shown if isinstance(self.rendered, Alert) else problem.sentences
        return place | {"kind": problem.kind, "key": problem.key, "message": message, "detail": problem.detail}


class Fragments:
    """The way to draw as fragments of HTML. `folder` has scripts and data, or everything is inside the fragments."""

    def __init__(self, folder: AssetFolder | None = None, *, with_scripts: bool = True) -> None:
        self.folder, self.with_scripts = folder, with_scripts

    def page(self, build: Build, questions: Sequence[Question], drawn: Sequence[Rendered]) -> list[Answer]:
        """Return the answers to the questions of one page."""
        url = next((question.assets_url for question in questions if question.assets_url is not None), None)
        assets = Assets()
        if self.folder is not None:
            assets = _NotingFolder(self.folder.folder, self.folder.url if url is None else url)
        answers = _numbered(build, questions, drawn, assets)
        return self._scripted(build, answers, assets)

    def _scripted(self, build: Build, answers: list[Answer], assets: Assets) -> list[Answer]:
        """Return the answers with the scripts of their page."""
        scripts, names = needed(answer.rendered for answer in answers), list[str]()
        first = next((number for number, answer in enumerate(answers) if answer.rendered.scripts), None)
        if first is not None:
            answer = answers[first]
            try:
                if isinstance(assets, AssetFolder):
                    names = [assets.script_file(script) for script in scripts]
                if self.with_scripts:
                    html = "\n".join([answer.html, *map(assets.script, scripts)])
                    answers[first] = replace(answer, html=html)
            except BlockError as error:
                alert = build.failed(answer.source, error)
                answers[first] = replace(answer, rendered=alert, html=alert.html(answer.id, assets))
        return [replace(answer, details={"scripts": names, **answer.details}) for answer in answers]


class _NotingFolder(AssetFolder):
    """An assets folder that notes the data files of the figure that is being written."""

    noted: Sequence[str] = ()

    def place(self, parts: Any) -> Any:
        """Yield the place of each part, as an assets folder does."""
        for place in super().place(parts):
            self.noted = [*self.noted, place["file"]]
            yield place

    def taken(self) -> list[str]:
        """Return the files noted since the last call, each once."""
        files, self.noted = list(dict.fromkeys(self.noted)), ()
        return files


class Pictures:
    """The way to draw as static pictures in files of `folder`."""

    def __init__(self, folder: PictureFolder) -> None:
        self.folder = folder

    def page(self, build: Build, questions: Sequence[Question], drawn: Sequence[Rendered]) -> list[Answer]:
        """Return the answers to the questions of one page."""
        url = next((question.assets_url for question in questions if question.assets_url is not None), None)
        answers = _numbered(build, questions, drawn, Assets(), lambda figure: "")
        return [self._pictured(build, answer, url) for answer in answers]

    def _pictured(self, build: Build, answer: Answer, url: str | None) -> Answer:
        """Return an answer with its picture, after writing the picture."""
        nothing = {"picture": None, "width": None, "height": None}
        if not isinstance(answer.rendered, Figure):
            return replace(answer, details=nothing)
        picture = answer.rendered.picture
        try:
            name = self.folder.write(picture.svg)
        except BlockError as error:
            alert = build.failed(answer.source, error)
            return replace(answer, rendered=alert, html=alert.html(answer.id, Assets()), details=nothing)
        place = f"{self.folder.url if url is None else url}/{name}"
        text = " ".join(answer.rendered.sentence.split())
        image = (
            f'<img src="{html.escape(place)}" alt="{html.escape(text)}" width="{picture.width}" '
            f'height="{picture.height}" style="max-width:100%;height:auto">'
        )
        size = {"picture": name, "width": picture.width, "height": picture.height}
        return replace(answer, html=image, details=size)


def answers(build: Build, way: Fragments | Pictures, questions: Sequence[Question]) -> list[Answer]:
    """Return the answers to a batch of questions, in order. All blocks are planned together."""
    drawn = build.render([question.source for question in questions])
    numbers_by_page: dict[str | None, list[int]] = {}
    for number, question in enumerate(questions):
        numbers_by_page.setdefault(question.source.page, []).append(number)
    found: dict[int, Answer] = {}
    for numbers in numbers_by_page.values():
        of_page = way.page(build, [questions[number] for number in numbers], [drawn[number] for number in numbers])
        found |= dict(zip(numbers, of_page, strict=True))
    return [found[number] for number in range(len(questions))]


@dataclass(frozen=True)
class _Recorder:
    """A figure or alert that records its HTML when it is put into its page, so that ids are those of every host."""

    question: Question
    rendered: Figure | Alert
    recorded: list[Answer]
    draw: Any = None
    """A function that makes the HTML of a figure, in place of the figure itself, or None."""
    scripts: tuple[str, ...] = ()

    @property
    def wanted_id(self) -> str | None:
        return self.rendered.wanted_id

    def html(self, id: str, assets: Assets) -> str:
        """Record the HTML, and return none."""
        shown: Rendered = self.rendered
        own_id = id
        if self.question.apart and isinstance(self.rendered, Figure):
            shown = replace(self.rendered, block=self.rendered.block.model_copy(update={"caption": None}))
            own_id = f"{id}{APART}"
        text = self.draw(shown) if self.draw and isinstance(shown, Figure) else shown.html(own_id, assets)
        files = {"files": assets.taken() if isinstance(assets, _NotingFolder) else []}
        html = EMPTY_LINES.sub("\n", text)
        self.recorded.append(Answer(self.question.source, self.rendered, id, html, {} if self.draw else files))
        return ""


def _numbered(
    build: Build, questions: Sequence[Question], drawn: Sequence[Rendered], assets: Assets, draw: Any = None
) -> list[Answer]:
    """Return the answers of one page, whose figures are numbered and have their own ids."""
    recorded: list[Answer] = []
    of_source: dict[str, _Recorder] = {}
    for question, rendered in zip(questions, drawn, strict=True):
        assert isinstance(rendered, Figure | Alert)  # noqa: S101 — for the type checker
        of_source[question.source.to_json()] = _Recorder(question, rendered, recorded, draw)

    def failed(source: Source, error: Exception) -> Rendered:
        """Return a recorder of the alert for a block that cannot be put into the page."""
        if isinstance(assets, _NotingFolder):
            assets.taken()
        return replace(of_source[source.to_json()], rendered=build.failed(source, error))

    page = "".join(placeholder(question.source) for question in questions)
    fill(page, lambda source: of_source[source.to_json()], assets, failed)
    return [replace(answer, source=question.source) for answer, question in zip(recorded, questions, strict=True)]
