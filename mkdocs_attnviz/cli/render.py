"""The command `attnviz render`: blocks from standard input, fragments of HTML or pictures to standard output.

This module decides whether the input is one block or lines of JSON, where one batch of lines ends, and the exit status.
`hosts/fragments` has the questions and answers.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, get_args

import click

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cli import site as sites
from mkdocs_attnviz.cli.arguments import (
    base,
    configured,
    log,
    log_detail,
    log_to_stderr,
    run_command,
    with_config,
    with_verbose,
)
from mkdocs_attnviz.cli.site import Site, SiteError
from mkdocs_attnviz.entries import FORBIDDEN
from mkdocs_attnviz.figure.alert import Warned
from mkdocs_attnviz.figure.assets import AssetFolder
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.hosts.fenced_pages import PageFiles, blocks_of
from mkdocs_attnviz.hosts.fragments import Answer, Fragments, Pictures, Question, answers
from mkdocs_attnviz.hosts.picture_files import Format, NoConverter, PictureFolder, picture_bytes
from mkdocs_attnviz.pipeline import Pipeline

HTML = "html-fragment"
FORMATS: tuple[str, ...] = (HTML, *get_args(Format))
EMPTY_PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
WHY_NOT_RUN = "`attnviz render` runs no model without `--run`"
"""The reason why a missing entry is not computed, if the site's settings say nothing of it."""


@click.command()
@click.argument("file", default="-", type=click.File("rb"))
@with_config
@click.option(
    "--format",
    "formats",
    default=HTML,
    show_default=True,
    help=f"{', '.join(FORMATS)}; of several, such as `pdf,svg`, the first that can be made here.",
)
@click.option("--json", "as_json", is_flag=True, help="Read and write JSON Lines, even if the input is empty.")
@click.option(
    "--assets",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for scripts and data, or for pictures. Default: `assets_dir`; without one, fragments hold everything.",
)
@click.option("--assets-url", help="URL of that folder, as pages refer to it. Default: `assets_url`, or the folder.")
@click.option("--no-scripts", is_flag=True, help="Leave out the elements that load scripts; answers name the scripts.")
@click.option("--page", help="Name of the page that a single block stands in, for messages.")
@click.option("--run", "may_run", is_flag=True, help="Compute what the cache lacks.")
@click.option("--strict", is_flag=True, help="Exit with status 1 also if a claim does not hold.")
@with_verbose
def render(
    file: IO[bytes],
    config: Path | None,
    formats: str,
    as_json: bool,
    assets: Path | None,
    assets_url: str | None,
    no_scripts: bool,
    page: str | None,
    may_run: bool,
    strict: bool,
) -> None:
    """Write blocks as fragments of HTML, for a filter or plugin of any generator.

    FILE, or standard input, is the body of one block; or JSON Lines, an object with `body` for each block, which give
    an answer for each. An empty line ends a batch, such as a page: its answers are written, and an empty line. Nothing
    is computed without --run, unless the settings say `on_missing: run`. The exit status is 1 if a block cannot be
    drawn; its fragment is then an alert.

    \b
    Examples:
      printf 'model: gpt2\\ntext: The cat sat on the mat' | attnviz render > cat.html
      attnviz render --json --assets public/attnviz --assets-url /attnviz < blocks.jsonl > fragments.jsonl
    """
    log_to_stderr(logging.WARNING)
    config = configured(config)
    site = Site() if config is None else sites.read(config)
    folder = _folder(site, assets, assets_url)
    task = Task(site, config, may_run=may_run, strict=strict or site.settings.strict, in_page=folder is None)
    lines = Lines(file)
    if as_json or lines.is_json:
        task.answer_batches(lines, _way(folder, _formats(formats)[0], no_scripts=no_scripts))
    else:
        source, format = _one_block(lines.rest(), page), _formats(formats)[0]
        if format == HTML:
            task.write_fragment(source, _way(folder, HTML, no_scripts=no_scripts))
        else:
            task.write_picture(source, _picture_format(format))
    sys.exit(task.failed)


class Lines:
    """The lines of the input, of which the first decides what they are."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.number = file, 0
        self._first = next((line for line in self._read() if line.strip()), "")

    def _read(self) -> Iterator[str]:
        """Yield the lines as they come.

        Raises:
            SiteError: if one is not in UTF-8.
        """
        for line in iter(self.file.readline, b""):
            self.number += 1
            try:
                yield line.decode("utf-8-sig" if self.number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise SiteError(f"Line {self.number} of the input is not in UTF-8.") from None

    @property
    def is_json(self) -> bool:
        """True if the first line is a question."""
        try:
            read = json.loads(self._first)
        except (ValueError, RecursionError):
            return False
        return isinstance(read, dict) and "body" in read

    def rest(self) -> str:
        """Return the whole input as one text."""
        return self._first + "".join(self._read())

    def batches(self) -> Iterator[tuple[list[Question], bool]]:
        """Yield the questions of each batch, and whether an empty line has ended it."""
        batch: list[Question] = []
        if self._first.strip():
            batch.append(Question.read(self._first, self.number))
        for line in self._read():
            if line.strip():
                batch.append(Question.read(line, self.number))
            elif batch:
                yield batch, True
                batch = []
        if batch:
            yield batch, False


@dataclass
class Task:
    """The drawing of one input."""

    site: Site
    config: Path | None
    may_run: bool
    strict: bool
    in_page: bool
    """True if fragments hold their data."""
    failed: bool = field(default=False, init=False)
    """True if the exit status is 1."""

    def __post_init__(self) -> None:
        settings = self.site.settings
        said = settings.on_missing if "on_missing" in settings.model_fields_set else None
        settings = settings.model_copy(update={"on_missing": "run" if self.may_run else said or "warn"})
        self.pipeline = Pipeline(
            settings,
            base(self.site),
            log,
            self._warn,
            fatal=SiteError,
            command=run_command(self.config),
            in_page=self.in_page,
            more="`attnviz run -v`",
            why_not_run=WHY_NOT_RUN if said is None else FORBIDDEN,
        )

    def _warn(self, warned: Warned) -> None:
        """Print a problem."""
        click.echo(warned.message, err=True)
        log_detail(warned.error.problem.detail)

    def answer_batches(self, lines: Lines, way: Fragments | Pictures) -> None:
        """Write the answers to all batches, each when it is complete."""
        try:
            for questions, ended in lines.batches():
                for answer in self.answers(questions, way):
                    click.echo(json.dumps(answer.to_json(), ensure_ascii=True))
                if ended:
                    click.echo()
                sys.stdout.flush()
        finally:
            self.pipeline.close()

    def write_fragment(self, source: Source, way: Fragments | Pictures) -> None:
        """Write the fragment of one block."""
        try:
            [answer] = self.answers([Question(source)], way)
        finally:
            self.pipeline.close()
        click.echo(answer.html)

    def write_picture(self, source: Source, format: Format) -> None:
        """Write the picture of one block."""
        with self.pipeline.build() as build:
            [drawn] = build.render([source])
            self.failed = not isinstance(drawn, Figure) or (self.strict and bool(build.failed_claims))
        if isinstance(drawn, Figure):
            sys.stdout.buffer.write(picture_bytes(drawn.picture.svg, format, log))

    def answers(self, questions: Sequence[Question], way: Fragments | Pictures) -> list[Answer]:
        """Return the answers to a batch. The worker process stays for the next one."""
        files = PageFiles([self.site.docs, Path()])
        with self.pipeline.build(warm=True) as build:
            found = answers(build, way, [question.placed(files) for question in questions])
        self.failed |= any(not answer.ok or (self.strict and bool(answer.problems)) for answer in found)
        return found


def _formats(text: str) -> list[str]:
    """Return the formats that can be made here among those that are wanted.

    Raises:
        SiteError: if one is unknown, or none can be made here.
    """
    wanted, possible, why = [name.strip() for name in text.split(",")], list[str](), ""
    for name in wanted:
        if name not in FORMATS:
            raise SiteError(f"`--format` is {name!r}; it must be one of {', '.join(FORMATS)}.")
        try:
            if name != HTML:
                picture_bytes(EMPTY_PICTURE, _picture_format(name), log)
            possible.append(name)
        except NoConverter as error:
            why = why or str(error)
    if not possible:
        raise SiteError(f"{why}.")
    return possible


def _picture_format(name: str) -> Format:
    """Return the name of a format as the type of pictures' formats."""
    return next(format for format in get_args(Format) if format == name)


def _folder(site: Site, folder: Path | None, url: str | None) -> AssetFolder | None:
    """Return the folder for scripts and data, or for pictures: the one of the options, else the site's, else none."""
    settings = site.settings
    if folder is not None:
        return AssetFolder(folder, folder.as_posix() if url is None else url)
    if settings.assets_dir:
        own_url = settings.assets_url or settings.assets_dir
        return AssetFolder(base(site) / settings.assets_dir, own_url if url is None else url)
    return None


def _way(folder: AssetFolder | None, format: str, *, no_scripts: bool) -> Fragments | Pictures:
    """Return the way to draw. Without a folder, fragments hold everything.

    Raises:
        SiteError: if the options do not fit each other.
    """
    if format == HTML:
        if folder is None and no_scripts:
            raise SiteError("`--no-scripts` leaves the scripts in a folder; it needs `--assets`.")
        return Fragments(folder, with_scripts=not no_scripts)
    if folder is None:
        raise SiteError("Pictures for JSON Lines are written into a folder; it needs `--assets`.")
    return Pictures(PictureFolder(folder.folder, folder.url, _picture_format(format), log))


def _one_block(text: str, page: str | None) -> Source:
    """Return the single block of the input, which may stand in a fence.

    Raises:
        SiteError: if there are several.
    """
    fenced = blocks_of(text, page or "")
    if len(fenced) > 1:
        raise SiteError(
            f"The input has {len(fenced)} blocks in fences; `attnviz render` reads the lines of one, or JSON Lines. "
            "`attnviz export` makes a page of Markdown."
        )
    return Source(fenced[0].body, fenced[0].header, page) if fenced else Source(text, page=page)
