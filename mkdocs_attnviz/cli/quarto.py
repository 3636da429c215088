"""The command `attnviz quarto init`, which adds our extension to a Quarto project."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import click
import yaml

from mkdocs_attnviz.cli.site import SiteError
from mkdocs_attnviz.hosts.fenced_projects import QUARTO

EXTENSION = "attnviz"
"""The name of the extension, as `filters` names it."""
FOLDER = ("_extensions", EXTENSION)
"""The folder of the extension, in a project and in the package."""
FILTERS = f"filters:\n  - {EXTENSION}\n"


@click.group()
def quarto() -> None:
    """Connect a Quarto project."""


@quarto.command()
@click.argument("project", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
def init(project: Path) -> None:
    """Write the extension into a project, and name it in `_quarto.yml`.

    PROJECT is the folder with `_quarto.yml`, or with single documents; by default the current one. Run it again after
    an update of attnviz.

    \b
    Example:
      attnviz quarto init
    """
    folder = project.joinpath(*FOLDER)
    package = resources.files("mkdocs_attnviz") / "hosts" / "quarto" / FOLDER[0] / FOLDER[1]
    config = next((project / name for name in QUARTO if (project / name).is_file()), None)
    try:
        text = None if config is None else config.read_text("utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        for file in package.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        click.echo(f"{folder}: written. {_named(config, text)}")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError(f"The extension cannot be added to {project}: {error}.") from None


def _named(config: Path | None, text: str | None) -> str:
    """Name the extension in a configuration if it has no filters yet, and return a sentence about it.

    Raises:
        SiteError: if the configuration is not YAML.
        OSError: if it cannot be written.
    """
    if config is None or text is None:
        return f"Name it in the front matter of a document: `filters: [{EXTENSION}]`."
    values = _values(config, text)
    if "filters" not in values:
        longer = text + ("" if not text or text.endswith("\n") else "\n") + FILTERS
        if _values(config, longer) == {**values, "filters": [EXTENSION]}:
            config.write_text(longer, "utf-8")
            return f"{config} names it."
    names = values.get("filters") or []
    if EXTENSION in names:
        return f"{config} names it already."
    return f"Add `- {EXTENSION}` to `filters` in {config}."


def _values(config: Path, text: str) -> dict[str, Any]:
    """Return the values of a configuration.

    Raises:
        SiteError: if it is not YAML.
    """
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise SiteError(f"{config} is no YAML that can be read ({' '.join(str(error).split())}).") from None
    if not isinstance(values, dict):
        raise SiteError(f"{config} must have lines `key: value`.")
    return values
