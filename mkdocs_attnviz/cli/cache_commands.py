"""The commands `attnviz status`, `check` and `prune`, which inspect a site's cache. Only `check --recompute` runs
models."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from mkdocs_attnviz.cache.folder import StoreError
from mkdocs_attnviz.cli import table
from mkdocs_attnviz.cli.arguments import (
    configured,
    log,
    log_detail,
    log_to_stderr,
    place,
    print_json,
    read_only_build,
    run_command,
    with_config,
    with_json,
    with_paths,
    with_verbose,
)
from mkdocs_attnviz.cli.pruning import Unused, remove, unused
from mkdocs_attnviz.cli.recompute import recomputed
from mkdocs_attnviz.cli.site import SiteError
from mkdocs_attnviz.cli.site_blocks import Pages, collect
from mkdocs_attnviz.cli.status import STATES, BlockStatus, block_statuses, moved_on_hub, unlocked
from mkdocs_attnviz.pipeline import Build

REMEDIES = {"missing": " `{}` computes them.", "damaged": " `{}` computes it again."}
"""The sentence about the command that repairs a block in each state."""


@click.command()
@with_paths
@with_config
@with_json
@with_verbose
def status(paths: tuple[Path, ...], config: Path | None, as_json: bool) -> None:
    """Show each block and whether the cache holds its tensors.

    PATHS as for `run`. A block is `cached` (on this machine), `shared` (only in the shared cache), `missing`,
    `damaged` (its entry is damaged) or `bad` (the block itself has an error). `size` is that of its cache entry,
    `site` what its figure adds to the site. This command runs no model and writes
    nothing. The exit status is always 0; use `check` for one that depends on the result.

    \b
    Examples:
      attnviz status
      attnviz status -f docs/conf.py --json
    """
    log_to_stderr(logging.INFO)
    config = configured(config)
    pages = collect(config, paths, log)
    with read_only_build(pages.site, config) as build:
        statuses = block_statuses(build, pages.blocks)
    if build.lock.problem:
        log.warning(build.lock.problem)
    if as_json:
        print_json(
            {"blocks": [_as_json(block_status) for block_status in statuses], "totals": _totals(pages, statuses)}
        )
        return
    for line in table.lines([HEADINGS, *map(_row, statuses)], right="size site age") if statuses else ():
        click.echo(line)
    click.echo(_total_line(pages, statuses))
    for block_status in statuses:
        if block_status.problem is not None:
            log_detail(block_status.problem.detail)


HEADINGS = ("block", "model", "view", "state", "size", "site", "age")
"""The column headings of the table of blocks."""


def _row(block_status: BlockStatus) -> tuple[str, ...]:
    """Return the table row of a block."""
    block = block_status.block
    model, view = (block.names, block.view) if block else ("", "")
    return (
        block_status.where,
        model,
        view,
        block_status.state,
        table.size(block_status.size),
        table.size(block_status.site_size),
        table.age(_age(block_status.changed)),
    )


def _age(changed: float | None) -> float | None:
    """Return the number of seconds since a time, or None if the time is unknown."""
    return None if changed is None else max(0.0, time.time() - changed)


def _as_json(block_status: BlockStatus) -> dict[str, Any]:
    """Return the status of a block for JSON."""
    block, seconds = block_status.block, _age(block_status.changed)
    return place(block_status.source) | {
        "model": block.models[0].name if block and block.models else None,
        "other": block.models[1].name if block and len(block.models) > 1 else None,
        "view": block and block.view,
        "state": block_status.state,
        "key": block_status.key,
        "size": block_status.size,
        "site_size": block_status.site_size,
        "age": None if seconds is None else int(seconds),
        "provenance": block_status.provenance,
        "problem": block_status.problem.sentences if block_status.problem else "",
        "claims": [dict(claim.data) for claim in block_status.claims],
    }


def _totals(pages: Pages, statuses: list[BlockStatus]) -> dict[str, int]:
    """Return the totals for JSON."""
    states = Counter(block_status.state for block_status in statuses)
    sizes = {block_status.key: block_status.size or 0 for block_status in statuses if block_status.key}
    numbers = {"blocks": len(statuses), "pages": len(pages.html)} | {state: states[state] for state in STATES}
    site_size = sum(block_status.site_size or 0 for block_status in statuses)
    return numbers | {"size": sum(sizes.values()), "site_size": site_size}


def _total_line(pages: Pages, statuses: list[BlockStatus]) -> str:
    """Return the line with the totals."""
    totals = _totals(pages, statuses)
    states = ", ".join(f"{totals[state]} {state}" for state in STATES)
    failed = sum(not claim.holds for block_status in statuses for claim in block_status.claims)
    claims = f"; {table.count(failed, 'failed claim')}" if failed else ""
    sizes = f"{table.size(totals['size'])} of entries, {table.size(totals['site_size'])} of site"
    return f"{_blocks(pages)}: {states}; {sizes}{claims}"


def _blocks(pages: Pages) -> str:
    """Return the numbers of blocks and pages as a text."""
    return f"{table.count(len(pages.blocks), 'block')} on {table.count(len(pages.html), 'page')}"


@click.command()
@with_paths
@with_config
@click.option("--hub", is_flag=True, help="Ask hubs where branches are now; needs huggingface_hub and a network.")
@click.option("--recompute", is_flag=True, help="Run the models, and compare the results with the cache.")
@click.option("--sample", type=click.IntRange(min=1), help="With --recompute: the number of entries, chosen at random.")
@with_json
@with_verbose
def check(
    paths: tuple[Path, ...], config: Path | None, hub: bool, recompute: bool, sample: int | None, as_json: bool
) -> None:
    """Fail unless every figure can be drawn from the cache, with the models in the lock file, and every claim holds.

    Use it in continuous integration and pre-commit. PATHS as for `run`. The exit status is 1 if an entry is missing or
    damaged, a block is bad, a claim does not hold, a model has changed or moved, or the lock file lacks a model. Each
    problem is printed on standard error. With --recompute, the exit status is also 1 if an entry differs from what its
    model computes, or its model cannot run here.

    \b
    Examples:
      attnviz check
      attnviz check -f docs/conf.py --hub
      attnviz check --recompute --sample 5
    """
    log_to_stderr(logging.INFO)
    if sample is not None and not recompute:
        raise SiteError("`--sample` is the number of entries to compute again; it needs `--recompute`.")
    config = configured(config)
    pages = collect(config, paths, log)
    with read_only_build(pages.site, config) as build:
        statuses = block_statuses(build, pages.blocks)
        problems = _blocks_problems(statuses, run_command(config)) + _untrue_claims(statuses)
        problems += _lock_problems(build, statuses, hub)
        again = recomputed(build, statuses, sample, build.worker) if recompute else []
    problems += [
        {"where": result.source.where(), **place(result.source), "kind": "untrue", "key": ""}
        | {"message": result.problem, "detail": result.detail}
        for result in again
        if result.problem
    ]
    for problem in problems:
        click.echo(f"{problem['where']}: {problem['message']}", err=True)
        log_detail(problem["detail"])
    if as_json:
        numbers = {"blocks": len(statuses), "pages": len(pages.html)} | (
            {"recomputed": len(again)} if recompute else {}
        )
        print_json({"ok": not problems, **numbers, "problems": problems})
    elif not problems:
        true = f", and {table.count(len(again), 'entry')} computed again" if recompute else ""
        click.echo(f"{_blocks(pages)}: nothing is missing{true}")
    sys.exit(bool(problems))


def _blocks_problems(statuses: list[BlockStatus], command: str) -> list[dict[str, Any]]:
    """Return the problems of blocks for JSON."""
    return [
        {
            "where": block_status.where,
            **place(block_status.source),
            "kind": block_status.state,
            "key": block_status.problem.key,
        }
        | {"message": block_status.problem.sentences + REMEDIES.get(block_status.state, "").format(command)}
        | {"detail": block_status.problem.detail}
        for block_status in statuses
        if block_status.problem is not None
    ]


def _untrue_claims(statuses: list[BlockStatus]) -> list[dict[str, Any]]:
    """Return the claims that do not hold for JSON; `line` is that of the block, as for other problems."""
    found = []
    for block_status in statuses:
        for claim in block_status.claims:
            if block_status.block is not None and claim.problem is not None:
                where = block_status.source.where(claim.warning(block_status.block))
                found.append(
                    {"where": where, **place(block_status.source), "kind": "claim", "key": claim.problem.key}
                    | {"message": claim.problem.sentences, "detail": ""}
                )
    return found


def _lock_problems(build: Build, statuses: list[BlockStatus], hub: bool) -> list[dict[str, Any]]:
    """Return the problems of the lock file for JSON. With `hub`, hubs are asked where their branches are."""
    lock, command = build.lock, build.command
    problems = [("lock", lock.problem, "")] if lock.problem else []
    if not lock.problem:
        names = unlocked(build, statuses)
        problems += [("unlocked", f"It does not name {name!r}; `{command}` writes it.", "") for name in names]
    moves = list(dict.fromkeys(lock.moved.values()))
    moves += [how for how in (moved_on_hub(build, statuses) if hub else ()) if how not in moves]
    for how in moves:
        advice = f" `{command}` computes its figures again." if how.kind == "changed" else ""
        problems.append(("moved", how.sentences + advice, how.detail))
    nowhere = {"where": build.settings.lock_file, "page": None, "line": None}
    return [nowhere | {"kind": kind, "key": "", "message": text, "detail": more} for kind, text, more in problems]


@click.command()
@with_config
@click.option("--delete", is_flag=True, help="Remove the listed items. Without it nothing is changed.")
@click.option("--shared", is_flag=True, help="Look in the shared cache (`cache_url`), too.")
@with_json
@with_verbose
def prune(config: Path | None, delete: bool, shared: bool, as_json: bool) -> None:
    """List what no block of the site uses; with --delete, remove it.

    The list has entries in the cache folder, temporary files of builds that were killed more than an hour ago, and
    models in the lock file. If a block or a page cannot be read, nothing is removed, and the exit status is 2. Do not
    use this command for a cache that several sites share.

    \b
    Examples:
      attnviz prune
      attnviz prune --delete
    """
    log_to_stderr(logging.INFO)
    config = configured(config)
    pages = collect(config, (), log)
    if pages.doubt:
        raise SiteError(f"Nothing is pruned, because pages may use entries that are not known here: {pages.doubt}.")
    if shared and pages.site.settings.cache_url is None:
        raise SiteError("There is no shared cache; set `cache_url`.")
    with read_only_build(pages.site, config) as build:
        try:
            items = unused(build, pages.blocks, shared=shared)
            if delete:
                remove(build, items)
        except StoreError as error:
            raise SiteError(str(error)) from None
        except OSError as error:
            raise SiteError(f"{error.filename} cannot be removed: {error.strerror}.") from None
    _tell_unused(items, deleted=delete, as_json=as_json)


def _tell_unused(items: list[Unused], *, deleted: bool, as_json: bool) -> None:
    """Print the unused items."""
    total = sum(item.size or 0 for item in items)
    if as_json:
        print_json({"deleted": deleted, "unused": [_unused_as_json(item) for item in items], "size": total})
        return
    rows = [(item.kind, item.name, table.size(item.size), table.age(_age(item.changed))) for item in items]
    for line in table.lines([("kind", "name", "size", "age"), *rows], right="size age") if rows else ():
        click.echo(line)
    hint = "" if deleted or not items else "; `--delete` removes it"
    done = "removed" if deleted else "unused"
    click.echo(f"{len(items)} {done}, {table.size(total)}{hint}" if items else "nothing is unused")


def _unused_as_json(item: Unused) -> dict[str, Any]:
    """Return an unused item for JSON."""
    seconds = _age(item.changed)
    return {"kind": item.kind, "name": item.name, "size": item.size, "age": None if seconds is None else int(seconds)}
