"""The drawing of all pages of a site, and the report about its blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mkdocs_attnviz.block.problem import Problem
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.content import Content, entry_of, size_of
from mkdocs_attnviz.cache.entry import DamagedEntry
from mkdocs_attnviz.cache.folder import StoreError
from mkdocs_attnviz.cache.key import KeyParts
from mkdocs_attnviz.cache.store import Store
from mkdocs_attnviz.cli.arguments import log, place
from mkdocs_attnviz.cli.site import SiteError
from mkdocs_attnviz.cli.site_blocks import Pages
from mkdocs_attnviz.cli.table import count
from mkdocs_attnviz.figure.alert import Alert, Warned
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.pipeline import Build, Plan


@dataclass(frozen=True)
class Drawn:
    """The numbers of blocks and of entries that were computed, cached or fetched. Equal blocks are counted
    separately."""

    blocks: int
    pages: int
    computed: int
    cached: int
    fetched: int
    """The number of blocks whose entries came from the shared cache."""
    bad: tuple[Alert, ...]
    """The alerts of blocks that could not be drawn."""
    failed_claims: tuple[Warned, ...] = ()
    """The warnings about claims that do not hold."""

    def line(self) -> str:
        """Return the report as one line."""
        fetched = f", {self.fetched} fetched" if self.fetched else ""
        failed = f", {count(len(self.failed_claims), 'failed claim')}" if self.failed_claims else ""
        return (
            f"{count(self.blocks, 'block')} on {count(self.pages, 'page')}: "
            f"{self.computed} computed, {self.cached} cached, {len(self.bad)} bad{fetched}{failed}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report for JSON."""
        numbers = {name: getattr(self, name) for name in ("blocks", "pages", "computed", "cached", "fetched")}
        problems = [
            place(warned.source) | _as_json(warned.error.problem) for warned in (*self.bad, *self.failed_claims)
        ]
        return numbers | {"bad": len(self.bad), "failed_claims": len(self.failed_claims), "problems": problems}


def _as_json(problem: Problem) -> dict[str, str]:
    """Return a problem for JSON; its advice is part of the message."""
    return {"kind": problem.kind, "key": problem.key, "message": problem.sentences, "detail": problem.detail}


def draw(build: Build, pages: Pages, assets: Assets) -> Drawn:
    """Draw the blocks of all pages, planned together."""
    blocks = pages.blocks
    build.prepare(blocks)
    for html in pages.html.values():
        build.fill(html, assets)
    alerts = {alert.source.to_json(): alert for alert in build.alerts}
    done = Counter(_done(build, block) for block in blocks if block.to_json() not in alerts)
    numbers = (len(blocks), len(pages.html), done["computed"], done["cached"], done["fetched"])
    return Drawn(*numbers, tuple(alerts.values()), tuple(build.failed_claims))


def _done(build: Build, block: Source) -> str:
    """Return where the entry of a block came from: `cached`, `fetched` or `computed`."""
    outcome = build.outcome(block)
    if outcome is None:
        return "cached"
    return "fetched" if outcome.fetched else "computed"


def push_rest(build: Build, pages: Pages) -> int:
    """Upload the pages' entries that the shared cache does not have, and return their number.

    Raises:
        SiteError: if the shared cache cannot be read or written.
    """
    url = build.settings.cache_url
    assert url is not None  # noqa: S101 — for the type checker
    store, cache, pushed = Store(url, log), build.cache, 0
    try:
        sizes = store.sizes()
        here = {key: parts for key, parts, size in _stored(build, pages) if sizes.get(key) != size}
        other = store.fetch([key for key in here if key in sizes], cache.folder)  # other bytes, but perhaps intact
        intact = {key for key, content in other if _whole(content, cache.signing_key)}
        for key, parts in here.items():
            if key not in intact and (entry := cache.get(key, parts)) is not None:
                store.put(key, cache.content(key, entry))
                pushed += 1
    except StoreError as error:
        raise SiteError(str(error)) from None
    return pushed


def _stored(build: Build, pages: Pages) -> Iterator[tuple[str, KeyParts, int]]:
    """Yield the key, the key parts and the size of each undamaged entry of the pages, once. Entries of models that are
    not on this machine are skipped."""
    plans = [plan for plan in map(build.plan, pages.blocks) if isinstance(plan, Plan)]
    requests = [request for plan in plans for request in plan.requests if not any(m.absent for m in request.models)]
    wanted = {request.key: request.key_parts for request in requests}
    for key, parts in wanted.items():
        entry = build.cache.get(key, parts)
        if entry is not None:
            yield key, parts, size_of(build.cache.content(key, entry))


def _whole(content: Content, signing_key: bytes) -> bool:
    """Return whether the content is a complete entry."""
    try:
        entry_of(content, signing_key)
    except (DamagedEntry, OSError):
        return False
    return True
