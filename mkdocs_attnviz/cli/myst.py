"""The commands `attnviz myst init`, which connects a project of mystmd, and `attnviz myst answer`, to which its plugin
talks."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextlib import redirect_stdout
from importlib import resources
from pathlib import Path
from typing import Any

import click
import yaml

from mkdocs_attnviz.block.problem import trace
from mkdocs_attnviz.cli.arguments import log, log_to_stderr, with_verbose
from mkdocs_attnviz.cli.site import MYST, SiteError
from mkdocs_attnviz.log import MORE

PLUGIN = "attnviz-plugin.mjs"
"""The name of the plugin, in the package and in a project."""

with_project = click.option(
    "-f",
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=MYST[0],
    show_default=True,
    help="The project's configuration.",
)


@click.group()
def myst() -> None:
    """Connect a project of mystmd, or a Jupyter Book 2."""


@myst.command()
@with_project
@click.option(
    "--executable",
    is_flag=True,
    help="Let mystmd run the plugin as a program, once a page, rather than load it. It then hears of no problems.",
)
@with_verbose
def init(config: Path, executable: bool) -> None:
    """Write the plugin beside `myst.yml`, and name it there.

    Run it again after an update of attnviz. Commit both files.

    \b
    Example:
      attnviz myst init
    """
    log_to_stderr(logging.INFO)
    plugin = config.parent / PLUGIN
    text = _text(config)
    named = _with_plugin(text, "executable" if executable else "javascript")
    try:
        plugin.write_bytes((resources.files("mkdocs_attnviz") / "hosts" / PLUGIN).read_bytes())
        plugin.chmod(plugin.stat().st_mode | 0o111)
        if named is not None:
            config.write_text(named, "utf-8", newline="")
    except OSError as error:
        raise SiteError(f"{error.filename} cannot be written: {error.strerror}.") from None
    click.echo(f"{plugin}: written" + ("" if named is None else f"; {config} names it"))


def _text(config: Path) -> str:
    """Return the text of a configuration.

    Raises:
        SiteError: if it cannot be read.
    """
    try:
        with config.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError(f"{config} cannot be read: {error}.") from None


def _with_plugin(text: str, kind: str) -> str | None:
    """Return a configuration that names the plugin, with its comments as they are; None if it does so already.

    Raises:
        SiteError: if the plugin cannot be added without a change of something else.
    """
    try:
        before = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SiteError(f"The configuration is not YAML: {' '.join(str(error).split())}.") from None
    before = before if isinstance(before, dict) else {}
    project = before.get("project") or {}
    plugins = project.get("plugins") or [] if isinstance(project, dict) else []
    if any(_path(each) == PLUGIN for each in plugins):
        return None
    wanted = before | {"project": project | {"plugins": [{"type": kind, "path": PLUGIN}, *plugins]}}
    for changed in _insertions(text, kind):
        try:
            if yaml.safe_load(changed) == wanted:
                return changed
        except yaml.YAMLError:
            continue
    raise SiteError(
        f"The plugin cannot be added to the configuration here. Add it by hand, under `project`, `plugins`: "
        f"`- {{type: {kind}, path: {PLUGIN}}}`, and run this command again."
    )


def _path(plugin: Any) -> str:
    """Return the path of a plugin in a configuration."""
    path = plugin.get("path") if isinstance(plugin, dict) else plugin
    return str(path).removeprefix("./")


def _insertions(text: str, kind: str) -> list[str]:
    """Return the text with the plugin in each place where it may belong."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if "\r\n" in text else "\n"
    item = [f"- type: {kind}", f"  path: {PLUGIN}"]
    made = []
    for number, line in enumerate(lines):
        key = re.match(r"( *)(project|plugins):\s*(?:#.*)?$", line)
        if key is None:
            continue
        rest = lines[number + 1 :]
        below = next((each for each in rest if each.strip() and not each.lstrip().startswith("#")), "")
        indent = re.match(r" *", below)
        depth = (
            indent[0] if indent and (len(indent[0]) > len(key[1]) or below.startswith(f"{key[1]}- ")) else f"{key[1]}  "
        )
        new = item if key[2] == "plugins" else ["plugins:", *(f"  {each}" for each in item)]
        first = line if line.endswith(("\n", "\r")) else line + end
        made.append("".join([*lines[:number], first, *(f"{depth}{each}{end}" for each in new), *rest]))
    last = "" if not text or text.endswith("\n") else end
    alone = ["project:", "  plugins:", *(f"    {each}" for each in item)]
    return [*made, text + last + "".join(f"{each}{end}" for each in alone)]


@myst.command(hidden=True)
@with_project
@with_verbose
def answer(config: Path) -> None:
    """Answer the questions of mystmd's plugin: a page in a line of JSON, and its blocks' nodes in another."""
    from mkdocs_attnviz.hosts.myst import MystHost, ProjectError

    log_to_stderr(logging.WARNING)
    host, answers = MystHost(config), sys.stdout
    for line in sys.stdin.buffer:
        try:
            with redirect_stdout(sys.stderr):  # what packages of views print is no answer
                told: dict[str, Any] = {"blocks": host.answer(json.loads(line))}
        except ProjectError as error:
            told = {"error": str(error)}
        except Exception as error:  # one page's fault is no other's
            log.log(MORE, "%s", trace(error))
            told = {"error": f"This is a fault of attnviz: {type(error).__name__}: {error}."}
        click.echo(json.dumps(told, separators=(",", ":")), file=answers)
