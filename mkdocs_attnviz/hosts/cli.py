"""The command `attnviz`."""

from __future__ import annotations

import json

import click

from mkdocs_attnviz import __version__
from mkdocs_attnviz.block import json_schema
from mkdocs_attnviz.views import OPTIONS


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="attnviz")
def main() -> None:
    """Attention figures in written documentation."""


@main.command()
def schema() -> None:
    """Print the JSON Schema of a block's body, for editors and checkers."""
    click.echo(json.dumps(json_schema(OPTIONS), indent=2, ensure_ascii=False))
