"""What the parts of the command `attnviz` share: options, the log, a pipeline for a site."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cli import site as sites
from mkdocs_attnviz.cli.site import Site, SiteError
from mkdocs_attnviz.log import MORE
from mkdocs_attnviz.pipeline import Build, Pipeline

log = logging.getLogger("mkdocs_attnviz")
quiet = logging.getLogger("mkdocs_attnviz.quiet")
"""Of pipelines that only look: what is worth telling, their commands tell."""
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


def with_config(command: Any) -> Any:
    return click.option(
        "-f",
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The site's configuration: mkdocs.yml, properdocs.yml, zensical.toml or Sphinx' conf.py. "
        "Default: the one in the current folder.",
    )(command)


def with_paths(command: Any) -> Any:
    return click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))(command)


def with_json(command: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of text.")(command)


VERBOSE = "mkdocs_attnviz.verbose"
"""Where click's context keeps how often `-v` was given, before the name of a command or behind it."""


def _count_verbose(context: click.Context, _: click.Parameter, times: int) -> None:
    context.meta[VERBOSE] = context.meta.get(VERBOSE, 0) + times


def with_verbose(command: Any) -> Any:
    return click.option(
        "-v",
        "--verbose",
        count=True,
        callback=_count_verbose,
        expose_value=False,
        help="Tell more, and show the traceback of what failed unforeseen; -vv: the cache keys, too.",
    )(command)


def speak(level: int) -> None:
    """From here on our log is on standard error, from `level` on or, with `-v`, from lower ones."""
    log.handlers, log.propagate = [logging.StreamHandler()], False
    times = click.get_current_context().meta.get(VERBOSE, 0)
    log.setLevel((level, MORE, logging.DEBUG)[min(times, 2)])


def tell_detail(detail: str) -> None:
    """Show a problem's traceback, if it has one, to whoever has asked for more."""
    if detail:
        log.log(MORE, "%s", detail)


def configured(config: Path | None) -> Path | None:
    """The configuration that is meant, if there is one."""
    return config or sites.find(Path())


def remedy(config: Path | None) -> str:
    """The command that computes what is missing, as it would be typed here."""
    return f"attnviz run -f {shlex.quote(str(config))}" if config else "attnviz run"


@contextmanager
def looking(site: Site, config: Path | None) -> Iterator[Build]:
    """Begin a build that runs no model, asks no hub and writes nothing."""
    settings = site.settings.model_copy(update={"on_missing": "warn", "cache_push": False})
    with Pipeline(settings, base(site), quiet, fatal=SiteError, command=remedy(config)).build() as build:
        yield build


def base(site: Site) -> Path:
    """The folder that relative directories start from."""
    return site.base / site.settings.base_dir


def place(source: Source) -> dict[str, Any]:
    """Where a block stands, for JSON."""
    inside = {"object": source.object, "cell": source.cell}
    return {"page": source.page, "line": source.line} | {name: each for name, each in inside.items() if each}


def print_json(value: object) -> None:
    has_all = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    click.echo(json.dumps(value, indent=2, ensure_ascii=not has_all))
