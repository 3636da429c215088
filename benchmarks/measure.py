"""The cost of a page: bytes, times, nodes, memory; and how exact the weights in it are."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pages import HERE, LIBRARIES, OUT, Input
from playwright.sync_api import Browser, Page
from playwright.sync_api import Error as PlaywrightError

VIEWPORT = {"width": 1280, "height": 900}
TIMEOUT = 300_000  # ms
SLOW = 5_000
"""Milliseconds of a first picture; a page as slow as that is measured once only."""
SETTLE = 1000
"""Milliseconds before a page is opened. Chromium is still starting its process, and clearing up after the last one."""
OUR_SCRIPT = re.compile(r"/attnviz-[\w-]+\.js$")
OUR_DATA = re.compile(r"/[0-9a-f]{64}\.js$")


@dataclass(frozen=True)
class Switch:
    """Milliseconds of one change of the layer."""

    seen: float
    """The time until it is on the screen."""
    work: float
    """The same without waits for the screen's clock."""


@dataclass
class Measured:
    """The cost of one page: bytes, and for each run or switch milliseconds."""

    page: int = 0
    script: int = 0
    data_before: int = 0
    data_all: int = 0
    parsed: list[float] = field(default_factory=list)
    """The time until the page is parsed: our script runs only then."""
    first: list[float] = field(default_factory=list)
    failure: str = ""
    """The reason if there is no picture."""
    new: list[Switch] = field(default_factory=list)
    again: list[Switch] = field(default_factory=list)
    share: int = 100
    """Percentage of the weight in view that the first picture's lines hold."""
    nodes: int = 0
    heap: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def before(self) -> int:
        return self.page + self.script + self.data_before

    def all(self) -> int:
        return self.page + self.script + self.data_all


@contextlib.contextmanager
def opened(browser: Browser, url: str) -> Iterator[tuple[Page, list[str]]]:
    """A page in a fresh context, which has nothing cached, with the paths it asks for. Any error ends the benchmark."""
    origin = "/".join(url.split("/")[:3])
    context = browser.new_context(viewport=VIEWPORT)  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    page.add_init_script(path=HERE / "vs_bertviz.js")
    paths: list[str] = []
    problems: list[str] = []

    def note(asked: str) -> None:
        if asked.startswith(f"{origin}/"):
            paths.append(asked.removeprefix(f"{origin}/"))
        elif not asked.startswith("data:"):
            problems.append(f"{url} asks for {asked}")

    page.on("request", lambda request: note(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    try:
        page.wait_for_timeout(SETTLE)
        page.goto(url, wait_until="commit")
        page.wait_for_function("globalThis.bench?.done")
        yield page, paths
    finally:  # a page that draws on would slow what is measured next
        context.close()
    if problems:
        raise SystemExit("\n".join(problems))


def others(layers: int) -> tuple[int, ...]:
    """The layers that are looked at after the first."""
    return tuple(part * layers // 4 for part in (1, 2, 3))


def measure_once(browser: Browser, url: str, layers: int, measured: Measured) -> None:
    """Another run. A page that has failed, or is very slow, is not opened again."""
    if measured.failure or max(measured.first, default=0) > SLOW:
        return
    try:
        with opened(browser, url) as (page, paths):
            _measure(page, paths, layers, measured)
    except PlaywrightError as error:
        crashed = "crash" in str(error).lower() or "closed" in str(error).lower()
        measured.page = (OUT / "/".join(url.split("/")[3:])).stat().st_size
        measured.failure = "the page crashes" if crashed else f"none in {TIMEOUT // 60_000} minutes"


def _measure(page: Page, paths: Sequence[str], layers: int, measured: Measured) -> None:
    measured.first.append(page.evaluate("bench.first"))
    measured.parsed.append(page.evaluate("bench.parsed()"))
    asked = page.evaluate("bench.before()")
    sort_bytes([paths[0], *("/".join(address.split("/")[3:]) for address in asked)], measured)
    measured.share = page.evaluate("bench.share()")
    for layer in others(layers):
        measured.new.append(show_layer(page, layer))
    for layer in (0, *others(layers)[:-1]):
        measured.again.append(show_layer(page, layer))
    measured.nodes = page.evaluate("bench.nodes()")
    heap, memory = heap_bytes(page)
    measured.heap.append(heap)
    measured.memory.append(memory)


def show_layer(page: Page, layer: int) -> Switch:
    page.wait_for_timeout(100)  # whatever the last one left to do is done
    page.evaluate("bench.shown = null")
    page.evaluate("layer => { bench.showLayer(layer).then(shown => { bench.shown = shown }) }", layer)
    return Switch(**page.wait_for_function("bench.shown").json_value())


def sort_bytes(paths: Sequence[str], measured: Measured) -> None:
    """Bytes as served, uncompressed, of what had been asked for when the first picture was drawn."""

    def total(chosen: Iterable[str]) -> int:
        return sum((OUT / path).stat().st_size for path in chosen if (OUT / path).is_file())

    page, rest = paths[0], set(paths[1:])
    scripts = {path for path in rest if path in LIBRARIES or OUR_SCRIPT.search(path)}
    data = {path for path in rest if OUR_DATA.search(path)}
    folder = (OUT / page).parent
    measured.page, measured.script, measured.data_before = total([page]), total(scripts), total(data)
    files = (str(path.relative_to(OUT)) for path in folder.rglob("*.js"))
    measured.data_all = total(path for path in files if OUR_DATA.search(path))


def heap_bytes(page: Page) -> tuple[float, float]:
    """JavaScript objects and array buffers; the same with the DOM. After a garbage collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    usage = session.send("Runtime.getHeapUsage")
    heap = usage["usedSize"] + usage.get("backingStorageSize", 0)
    return heap, heap + usage.get("embedderHeapUsedSize", 0)


def check_drawing(browser: Browser, url: str, shot: Path, shown: Input, view: str) -> None:
    """A screenshot of each tool, and a proof that each has drawn by the time that is measured."""
    with opened(browser, url) as (page, _):
        page.evaluate("bench.first")
        if "/bertviz" in url:
            lines = page.evaluate("document.querySelectorAll('#vis line').length")
            weights = sum(layer.numel() for layer in (shown.attentions if view == "model" else shown.attentions[:1]))
            if lines < weights:
                raise SystemExit(f"BertViz has drawn {lines} lines of {weights}.")
        else:
            before = page.evaluate("bench.picture()")
            after = page.evaluate("bench.showLayer(5).then(bench.picture)")
            page.wait_for_timeout(500)
            if before == after or after != page.evaluate("bench.picture()"):
                raise SystemExit("A layer was not drawn by the time that was measured.")
        page.screenshot(path=shot)


@dataclass(frozen=True)
class Errors:
    largest: float
    relative: float
    """The 95th percentile of the error of weights above 0.002."""


def read_errors(browser: Browser, url: str, shown: Input) -> Errors:
    """`weights()` in the page against transformers' `output_attentions`."""
    largest, relative = 0.0, []
    with opened(browser, url) as (page, _):
        page.evaluate("bench.first")
        for layer, attention in enumerate(shown.attentions):
            expected = attention[0]  # (heads, tokens, tokens)
            encoded = page.evaluate("([layer, heads]) => bench.weights(layer, heads)", [layer, len(expected)])
            found = torch.frombuffer(bytearray(base64.b64decode(encoded)), dtype=torch.float32).view_as(expected)
            error = (found - expected).abs()
            largest = max(largest, error.max().item())
            relative.append((error / expected)[expected > 0.002])
    return Errors(largest, torch.cat(relative).quantile(0.95).item())
