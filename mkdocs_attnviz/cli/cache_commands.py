"""`attnviz status`, `check` and `prune`: what the cache holds of a site. They run no model and need no torch."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from mkdocs_attnviz.cache.folder import StoreError
from mkdocs_attnviz.cache.pruning import Unused, remove, unused
from mkdocs_attnviz.cache.recompute import recomputed
from mkdocs_attnviz.cache.status import STATES, Standing, moved_on_hub, standings, unlocked
from mkdocs_attnviz.cli import table
from mkdocs_attnviz.cli.arguments import (
    configured,
    log,
    looking,
    place,
    print_json,
    remedy,
    speak,
    tell_detail,
    with_config,
    with_json,
    with_paths,
    with_verbose,
)
from mkdocs_attnviz.cli.site import SiteError
from mkdocs_attnviz.cli.site_blocks import Pages, collect
from mkdocs_attnviz.pipeline import Build

REMEDIES = {"missing": " `{}` computes them.", "damaged": " `{}` computes it again."}


@click.command()
@with_paths
@with_config
@with_json
@with_verbose
def status(paths: tuple[Path, ...], config: Path | None, as_json: bool) -> None:
    """Show each block and whether the cache holds its tensors.

    PATHS as for `run`. A block is `cached` (here), `shared` (only in the shared cache), `missing`, `damaged` (its
    entry is) or `bad` (the block itself is wrong). Runs no model and writes nothing. The exit status is 0, whatever
    is found; `check` tells by its own.

    \b
    Examples:
      attnviz status
      attnviz status -f docs/conf.py --json
    """
    speak(logging.INFO)
    config = configured(config)
    pages = collect(config, paths, log)
    with looking(pages.site, config) as build:
        found = standings(build, pages.blocks)
    if build.lock.problem:
        log.warning(build.lock.problem)
    if as_json:
        print_json({"blocks": [_as_json(each) for each in found], "totals": _totals(pages, found)})
        return
    for line in table.lines([HEADINGS, *map(_row, found)], right="size age") if found else ():
        click.echo(line)
    click.echo(_total_line(pages, found))
    for each in found:
        if each.problem is not None:
            tell_detail(each.problem.detail)


HEADINGS = ("block", "model", "view", "state", "size", "age")


def _row(each: Standing) -> tuple[str, ...]:
    block = each.block
    model, view = (block.names, block.view) if block else ("", "")
    return (each.where, model, view, each.state, table.size(each.size), table.age(_age(each.changed)))


def _age(changed: float | None) -> float | None:
    return None if changed is None else max(0.0, time.time() - changed)


def _as_json(each: Standing) -> dict[str, Any]:
    block, seconds = each.block, _age(each.changed)
    return place(each.source) | {
        "model": block and block.models[0].name,
        "other": block.models[1].name if block and len(block.models) > 1 else None,
        "view": block and block.view,
        "state": each.state,
        "key": each.key,
        "size": each.size,
        "age": None if seconds is None else int(seconds),
        "problem": each.problem.sentences if each.problem else "",
    }


def _totals(pages: Pages, found: list[Standing]) -> dict[str, int]:
    states = Counter(each.state for each in found)
    sizes = {each.key: each.size or 0 for each in found if each.key}
    numbers = {"blocks": len(found), "pages": len(pages.html)} | {state: states[state] for state in STATES}
    return numbers | {"size": sum(sizes.values())}


def _total_line(pages: Pages, found: list[Standing]) -> str:
    totals = _totals(pages, found)
    states = ", ".join(f"{totals[state]} {state}" for state in STATES)
    return f"{_blocks(pages)}: {states}; {table.size(totals['size'])}"


def _blocks(pages: Pages) -> str:
    return f"{table.count(len(pages.blocks), 'block')} on {table.count(len(pages.html), 'page')}"


@click.command()
@with_paths
@with_config
@click.option("--hub", is_flag=True, help="Ask hubs where branches are now; needs huggingface_hub and a network.")
@click.option("--recompute", is_flag=True, help="Run the models, and compare what they give with what the cache holds.")
@click.option("--sample", type=click.IntRange(min=1), help="With --recompute: so many entries, chosen by chance.")
@with_json
@with_verbose
def check(
    paths: tuple[Path, ...], config: Path | None, hub: bool, recompute: bool, sample: int | None, as_json: bool
) -> None:
    """Fail unless every figure can be drawn from the cache, of the models that the lock file names.

    For continuous integration and pre-commit. PATHS as for `run`. The exit status is 1 if an entry is missing or
    damaged, a block is bad, a model has changed or moved, or the lock file lacks one; each is told on standard error.
    With --recompute also if an entry holds other than its model gives, or its model cannot run here.

    \b
    Examples:
      attnviz check
      attnviz check -f docs/conf.py --hub
      attnviz check --recompute --sample 5
    """
    speak(logging.INFO)
    if sample is not None and not recompute:
        raise SiteError("`--sample` is how many entries are computed once more; it goes with `--recompute`.")
    config = configured(config)
    pages = collect(config, paths, log)
    with looking(pages.site, config) as build:
        found = standings(build, pages.blocks)
        problems = _blocks_problems(found, remedy(config)) + _lock_problems(build, found, hub)
        again = recomputed(build, found, sample, build.worker) if recompute else []
    problems += [
        {"where": each.source.where(), **place(each.source), "kind": "untrue", "key": ""}
        | {"message": each.problem, "detail": each.detail}
        for each in again
        if each.problem
    ]
    for problem in problems:
        click.echo(f"{problem['where']}: {problem['message']}", err=True)
        tell_detail(problem["detail"])
    if as_json:
        numbers = {"blocks": len(found), "pages": len(pages.html)} | ({"recomputed": len(again)} if recompute else {})
        print_json({"ok": not problems, **numbers, "problems": problems})
    elif not problems:
        true = f", and {table.count(len(again), 'entry')} computed once more" if recompute else ""
        click.echo(f"{_blocks(pages)}: nothing is missing{true}")
    sys.exit(bool(problems))


def _blocks_problems(found: list[Standing], command: str) -> list[dict[str, Any]]:
    return [
        {"where": each.where, **place(each.source), "kind": each.state, "key": each.problem.key}
        | {"message": each.problem.sentences + REMEDIES.get(each.state, "").format(command)}
        | {"detail": each.problem.detail}
        for each in found
        if each.problem is not None
    ]


def _lock_problems(build: Build, found: list[Standing], hub: bool) -> list[dict[str, Any]]:
    lock, command = build.lock, build.command
    said = [("lock", lock.problem, "")] if lock.problem else []
    if not lock.problem:
        names = unlocked(build, found)
        said += [("unlocked", f"It does not name {name!r}; `{command}` writes it.", "") for name in names]
    moves = list(dict.fromkeys(lock.moved.values()))
    moves += [how for how in (moved_on_hub(build, found) if hub else ()) if how not in moves]
    for how in moves:
        remedy = f" `{command}` computes its figures anew." if how.kind == "changed" else ""
        said.append(("moved", how.sentences + remedy, how.detail))
    nowhere = {"where": build.settings.lock_file, "page": None, "line": None}
    return [nowhere | {"kind": kind, "key": "", "message": text, "detail": more} for kind, text, more in said]


@click.command()
@with_config
@click.option("--delete", is_flag=True, help="Remove what is found. Without it nothing is changed.")
@click.option("--shared", is_flag=True, help="Look in the shared cache (`cache_url`), too.")
@with_json
@with_verbose
def prune(config: Path | None, delete: bool, shared: bool, as_json: bool) -> None:
    """List what no block of the site uses, and with --delete remove it.

    That is: entries in the cache folder, temporary files that a killed build has left there more than an hour ago, and
    models in the lock file. All pages count; where a block cannot be read, or not all pages, nothing is done and the
    exit status is 2. A cache that several sites share is not for this command.

    \b
    Examples:
      attnviz prune
      attnviz prune --delete
    """
    speak(logging.INFO)
    config = configured(config)
    pages = collect(config, (), log)
    if pages.doubt:
        raise SiteError(f"Nothing is pruned, since pages may use what is not known here: {pages.doubt}.")
    if shared and pages.site.settings.cache_url is None:
        raise SiteError("There is no shared cache; set `cache_url`.")
    with looking(pages.site, config) as build:
        try:
            found = unused(build, pages.blocks, shared=shared)
            if delete:
                remove(build, found)
        except StoreError as error:
            raise SiteError(str(error)) from None
        except OSError as error:
            raise SiteError(f"{error.filename} cannot be removed: {error.strerror}.") from None
    _tell_unused(found, deleted=delete, as_json=as_json)


def _tell_unused(found: list[Unused], *, deleted: bool, as_json: bool) -> None:
    total = sum(each.size or 0 for each in found)
    if as_json:
        print_json({"deleted": deleted, "unused": [_unused_as_json(each) for each in found], "size": total})
        return
    rows = [(each.kind, each.name, table.size(each.size), table.age(_age(each.changed))) for each in found]
    for line in table.lines([("kind", "name", "size", "age"), *rows], right="size age") if rows else ():
        click.echo(line)
    hint = "" if deleted or not found else "; `--delete` removes it"
    done = "removed" if deleted else "unused"
    click.echo(f"{len(found)} {done}, {table.size(total)}{hint}" if found else "nothing is unused")


def _unused_as_json(each: Unused) -> dict[str, Any]:
    seconds = _age(each.changed)
    return {"kind": each.kind, "name": each.name, "size": each.size, "age": None if seconds is None else int(seconds)}
