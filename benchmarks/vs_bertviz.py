"""Our head view beside BertViz's: same tensors, same browser, one run.

The model is a 12-layer, 12-head BERT with trained weights: MiniLM's six layers, used twice. For each number of tokens our
page is built by `mkdocs build`, BertViz's is what `head_view(html_action="return")` gives. Both are served by one local
server and measured by `vs_bertviz.js`. BertViz's libraries come from the npm registry and are served under the paths they
have on its CDN, so that no page asks another host. Prints Markdown tables, and keeps them with screenshots in `out/`.
It is a report and no test: limits that are missed do not change the exit status.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence

import pages  # first: it makes the folder of the tests importable
from measure import Errors, Measured, check_drawing, measure_once, read_errors
import chromium
from playwright.sync_api import Browser, sync_playwright

Row = tuple[str, str, str, str]


def bytes_text(value: float) -> str:
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


def time_text(value: float) -> str:
    return f"{value / 1e3:.2f} s" if value >= 1e3 else f"{value:.0f} ms"


def times_text(values: Sequence[float]) -> str:
    return f"{time_text(statistics.median(values))} ({time_text(min(values))} to {time_text(max(values))})"


def ratio(ours: float, theirs: float) -> str:
    return f"{theirs / ours:,.1f}" if theirs < 10 * ours else f"{theirs / ours:,.0f}"


def bytes_row(name: str, ours: float, theirs: float) -> Row:
    return name, bytes_text(ours), bytes_text(theirs), ratio(ours, theirs)


def times_row(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    return (
        name,
        times_text(ours),
        times_text(theirs),
        ratio(statistics.median(ours), statistics.median(theirs)),
    )


def comparison(ours: Measured, theirs: Measured) -> list[Row]:
    heaps = [statistics.median(values) for values in (ours.heap, theirs.heap, ours.memory, theirs.memory)]
    return [
        ("page", bytes_text(ours.page), f"{bytes_text(theirs.page)}, its data in it", ratio(ours.page, theirs.page)),
        ("tool's scripts", bytes_text(ours.script), bytes_text(theirs.script), ratio(ours.script, theirs.script)),
        ("data before the first picture", bytes_text(ours.data_before), "in the page", ""),
        ("data, all layers", bytes_text(ours.data_all), "in the page", ""),
        bytes_row("page, scripts and data before the first picture", ours.before(), theirs.before()),
        bytes_row("page, scripts and all data", ours.all(), theirs.all()),
        ("theme of the docs site", bytes_text(ours.theme), "none", ""),
        times_row("first picture, since navigation began", ours.first, theirs.first),
        times_row("new layer, on the screen", ours.new_seen, theirs.new_seen),
        times_row("new layer, without waits for the screen", ours.new_work, theirs.new_work),
        times_row("layer seen before, on the screen", ours.again_seen, theirs.again_seen),
        times_row("layer seen before, without waits for the screen", ours.again_work, theirs.again_work),
        ("DOM nodes", f"{ours.nodes:,}", f"{theirs.nodes:,}", ratio(ours.nodes, theirs.nodes)),
        bytes_row("JavaScript heap and buffers", heaps[0], heaps[1]),
        bytes_row("the same with the DOM", heaps[2], heaps[3]),
    ]


def limits(ours: Measured, errors: Errors) -> list[Row]:
    """What is promised for 12 layers × 12 heads at 128 tokens; of times the median counts, with all waits."""
    new, again = statistics.median(ours.new_seen), statistics.median(ours.again_seen)
    found = [
        ("data before the first picture", "≤ 200 kB", bytes_text(ours.data_before), ours.data_before <= 200_000),
        ("first picture", "≤ 0.3 s", times_text(ours.first), statistics.median(ours.first) <= 300),
        ("new layer, on the screen", "≤ 50 ms", times_text(ours.new_seen), new <= 50),
        ("layer seen before, on the screen", "≤ 50 ms", times_text(ours.again_seen), again <= 50),
        ("DOM nodes of the whole page", "< 3,000", f"{ours.nodes:,}", ours.nodes < 3000),
        ("maximum absolute error", "< 0.004", f"{errors.largest:.5f}", errors.largest < 0.004),
        ("relative error, 95th percentile", "< 10 %", f"{errors.relative:.1%}", errors.relative < 0.1),
    ]
    return [(name, limit, value, "ok" if ok else "MISSED") for name, limit, value, ok in found]


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ("---", "--:", "--:", "--:"), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def machine(browser: Browser) -> str:
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return f"{platform.machine()}, {os.cpu_count()} cores{load}; Chromium {browser.version}, headless, no GPU"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures our head view beside BertViz's, and writes out/vs_bertviz.md.")
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 64, 128], help="lengths of the text, 3 to 400")
    parser.add_argument("--runs", type=int, default=5, help="how often each page is opened")
    options = parser.parse_args()
    if options.runs < 1 or not all(3 <= length <= 400 for length in options.tokens):
        parser.error("--runs is at least 1; --tokens are 3 to 400")
    OUT.mkdir(exist_ok=True)
    if not (OUT / "model" / "config.json").exists():
        make_model(OUT / "model")
    report = io.StringIO()

    def tell(text: str) -> None:
        print(text, flush=True)
        report.write(f"{text}\n")

    model = Model(OUT / "model")
    with sync_playwright() as playwright, served(OUT) as url:
        browser = chromium.launch(playwright)
        tell(f"{LAYERS} layers × {HEADS} heads, {options.runs} runs. {machine(browser)}.\n")
        for length in options.tokens:
            compare(browser, url, model.run(length), options.runs, tell)
        browser.close()
    (OUT / "vs_bertviz.md").write_text(report.getvalue(), "utf-8")


if __name__ == "__main__":
    main()
