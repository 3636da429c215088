"""The command `attnviz`.

This module decides which figures a command is about, and what it reports. A block that cannot be drawn is reported on
standard error, and the exit status is 1. A wrong argument or configuration gives exit status 2. `cache_commands` has
the commands for the cache, `export` the one for single files.
"""

from __future__ import annotations

import io
import logging
import sys
from contextlib import closing, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from mkdocs_attnviz import __version__
from mkdocs_attnviz.block.schema import json_schema
from mkdocs_attnviz.cli import cache_commands
from mkdocs_attnviz.cli import site as sites
from mkdocs_attnviz.cli.arguments import (
    base,
    configured,
    log,
    log_to_stderr,
    print_json,
    run_command,
    with_config,
    with_json,
    with_paths,
    with_verbose,
)
from mkdocs_attnviz.cli.export import export
from mkdocs_attnviz.cli.myst import myst
from mkdocs_attnviz.cli.quarto import quarto
from mkdocs_attnviz.cli.render import render
from mkdocs_attnviz.cli.run_report import Drawn, draw, push_rest
from mkdocs_attnviz.cli.site import Site, SiteError
from mkdocs_attnviz.cli.site_blocks import collect
from mkdocs_attnviz.figure.assets import AssetFolder, Assets
from mkdocs_attnviz.models.engine.client import Engine
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.views import OPTIONS, of_one_text


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="attnviz")
@with_verbose
def main() -> None:
    """Attention figures in written documentation."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # if a console cannot show a character, it gets the code point
            stream.reconfigure(errors="backslashreplace")


for command in (cache_commands.status, cache_commands.check, cache_commands.prune, export, render, quarto, myst):
    main.add_command(command)


@main.command()
@with_paths
@with_config
@click.option(
    "--push", is_flag=True, help="Upload to the shared cache (`cache_url`) the entries of these pages that it lacks."
)
@click.option(
    "--update", is_flag=True, help="Ask hubs for the present commits of branches, and write them to the lock file."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What runs models: this machine, or a Ray cluster (extra `ray`).",
)
@click.option(
    "--address",
    help="Address of the Ray cluster: HOST:6379 on one of its machines, ray://HOST:10001 elsewhere. Default: the "
    "cluster that runs here, or a new one on this machine.",
)
@with_json
@with_verbose
def run(
    paths: tuple[Path, ...],
    config: Path | None,
    push: bool,
    update: bool,
    engine: str,
    address: str | None,
    as_json: bool,
) -> None:
    """Compute what the cache lacks.

    PATHS are pages, or folders of pages. Without PATHS, all pages of the site are read; without a configuration, all
    Markdown files in the current folder. The exit status is 1 if a block cannot be drawn.

    \b
    Examples, before a machine without a GPU builds the site:
      attnviz run -f mkdocs.yml
      attnviz run -f docs/conf.py --push
      attnviz run --engine ray --address ray://head:10001
    """
    log_to_stderr(logging.INFO)
    if address is not None and engine != "ray":
        raise SiteError("`--address` is the address of a Ray cluster; it needs `--engine ray`.")
    config = configured(config)
    pages = collect(config, paths, log)
    runs = _ray(address, pages.site.settings.timeout) if engine == "ray" else None
    if push and pages.site.settings.cache_url is None:
        raise SiteError("There is no shared cache to push to; set `cache_url`.")
    changed = {"on_missing": "run"} | (
        {"cache_push": True} if push else {}
    )  # even if the site's own build may not run models
    settings = pages.site.settings.model_copy(update=changed)
    pipeline = Pipeline(
        settings, base(pages.site), log, fatal=SiteError, command=run_command(config), engine=runs, update=update
    )
    with nullcontext() if runs is None else closing(runs), pipeline.build() as build:
        drawn = draw(build, pages, Assets())
        pushed = push_rest(build, pages) if push else 0
    _report(drawn, pushed, as_json=as_json)


def _ray(address: str | None, timeout: float) -> Engine:
    """Return an engine for a Ray cluster.

    Raises:
        SiteError: if Ray is not installed.
    """
    try:
        module: Any = import_module("mkdocs_attnviz.models.engine.ray.engine")
    except ImportError as error:
        raise SiteError(str(error)) from None
    engine: Engine = module.RayEngine(address, log, timeout=timeout)
    return engine


def _report(drawn: Drawn, pushed: int = 0, *, as_json: bool = False) -> None:
    """Print the report of a run, and exit."""
    if pushed:
        log.info("pushed %d more to the shared cache", pushed)
    if as_json:
        print_json(drawn.to_json() | {"pushed": pushed})
    else:
        click.echo(drawn.line())
    sys.exit(bool(drawn.bad))


@main.command()
@with_paths
@with_config
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Default: `assets_dir`.")
@with_verbose
def assets(paths: tuple[Path, ...], config: Path | None, output: Path | None) -> None:
    """Compute what the cache lacks, and write script and data files.

    Use it for a tool that copies files before it renders pages. PATHS as for `run`.

    \b
    Example, before `zensical build`:
      attnviz assets -o docs/assets/attnviz
    """
    log_to_stderr(logging.INFO)
    config = configured(config)
    if config is not None and config.name in sites.SPHINX:
        raise SiteError("Sphinx writes script and data itself, when it builds; `attnviz run` computes what is missing.")
    if config is not None and config.name in sites.MYST:
        raise SiteError("mystmd's plugin writes script and data itself; `attnviz run` computes what is missing.")
    site = Site() if config is None else sites.read(config)
    if output is None and not site.settings.assets_dir:
        raise SiteError("There is no folder to write to; give one with `-o`, or set `assets_dir`.")
    folder = output or base(site) / site.settings.assets_dir
    pages = collect(config, paths, log)
    with _pipeline(pages.site, config).build() as build:
        drawn = draw(build, pages, AssetFolder(folder, ""))
    _report(drawn)


@main.command()
def schema() -> None:
    """Print the JSON Schema of a block's body, for editors and checkers.

    \b
    Example:
      attnviz schema > attention.schema.json
    """
    print_json(json_schema(OPTIONS, of_one_text()))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script with which a shell completes this command.

    \b
    Examples, to run once; they take effect in the next shell:
      attnviz completion bash >> ~/.bashrc
      attnviz completion zsh >> ~/.zshrc
      attnviz completion fish > ~/.config/fish/completions/attnviz.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 — click has these three
    click.echo(kind(main, {}, "attnviz", "_ATTNVIZ_COMPLETE").source())


def _pipeline(site: Site, config: Path | None) -> Pipeline:
    """Return the pipeline of a site."""
    return Pipeline(site.settings, base(site), log, fatal=SiteError, command=run_command(config))
