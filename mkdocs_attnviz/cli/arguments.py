"""The options that commands of `attnviz` share, the log, and a build for a site."""

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
"""The log of pipelines that only look. Their commands report problems themselves."""
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


def with_config(command: Any) -> Any:
    """Add the option `--config` to a command."""
    return click.option(
        "-f",
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The site's configuration: mkdocs.yml, properdocs.yml, zensical.toml, Sphinx' conf.py, myst.yml, "
        "_quarto.yml, or attnviz.yml for other generators. Default: the one in the current folder.",
    )(command)


def with_paths(command: Any) -> Any:
    """Add the argument PATHS to a command."""
    return click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))(command)


def with_json(command: Any) -> Any:
    """Add the option `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of text.")(command)


VERBOSE = "mkdocs_attnviz.verbose"
"""The key in click's context for the number of `-v` options, before or after the name of a command."""


def _count_verbose(context: click.Context, _: click.Parameter, times: int) -> None:
    """Add the number of `-v` options to click's context."""
    context.meta[VERBOSE] = context.meta.get(VERBOSE, 0) + times


def with_verbose(command: Any) -> Any:
    """Add the option `--verbose` to a command."""
    return click.option(
        "-v",
        "--verbose",
        count=True,
        callback=_count_verbose,
        expose_value=False,
        help="Log more, and show tracebacks of unexpected errors; -vv: the cache keys, too.",
    )(command)


def log_to_stderr(level: int) -> None:
    """Log to standard error from now on, from `level` up, or from lower levels with `-v`."""
    log.handlers, log.propagate = [logging.StreamHandler()], False
    times = click.get_current_context().meta.get(VERBOSE, 0)
    log.setLevel((level, MORE, logging.DEBUG)[min(times, 2)])


def log_detail(detail: str) -> None:
    """Log a problem's traceback, if it has one, for users of `-v`."""
    if detail:
        log.log(MORE, "%s", detail)


def configured(config: Path | None) -> Path | None:
    """Return the configuration to use, or None if there is none."""
    return config or sites.find(Path())


def run_command(config: Path | None) -> str:
    """Return the command that computes missing entries, as a user would type it here."""
    return f"attnviz run -f {shlex.quote(str(config))}" if config else "attnviz run"


@contextmanager
def read_only_build(site: Site, config: Path | None) -> Iterator[Build]:
    """Begin a build that runs no model, asks no hub and writes nothing."""
    settings = site.settings.model_copy(update={"on_missing": "warn", "cache_push": False})
    with Pipeline(settings, base(site), quiet, fatal=SiteError, command=run_command(config)).build() as build:
        yield build


def base(site: Site) -> Path:
    """Return the folder that relative directories start from."""
    return site.base / site.settings.base_dir


def place(source: Source) -> dict[str, Any]:
    """Return the place of a block, for JSON."""
    inside = {"object": source.object, "cell": source.cell}
    return {"page": source.page, "line": source.line} | {name: value for name, value in inside.items() if value}


def print_json(value: object) -> None:
    """Print a value as JSON. Non-ASCII characters are escaped if the output cannot encode them."""
    has_all = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    click.echo(json.dumps(value, indent=2, ensure_ascii=not has_all))
