"""Our head and model view beside BertViz's: the same tensors, the same browser, one run.

The models are MiniLM, 6 layers × 12 heads, and a BERT of 12 layers × 12 heads with trained weights: MiniLM's layers,
used twice. For each number of tokens our page is built by `mkdocs build`; BertViz's is what
`head_view(html_action="return")` and `model_view(…)` give. One local server has both, and `vs_bertviz.js` measures them
from inside. BertViz's libraries come from the npm registry and are served under the paths they have on its CDN, so
that no page asks another host.

Prints Markdown tables, keeps them with screenshots in `out/`, and with `--write` puts the one that the documentation
shows into `example_site/includes/vs_bertviz.md`. It is a report and no test: a limit that is missed does not change the
exit status. `pip install -e ".[bench]"` has all it needs, beside npm and Chromium.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from measure import Errors, Measured, Switch, check_drawing, measure_once, read_errors
from pages import HERE, OUT, Input, Model, build_bertviz, build_ours, launched, minilm, served, twice
from playwright.sync_api import Browser, Error

Row = tuple[str, ...]
DOCUMENTED = HERE.parent / "example_site" / "includes" / "vs_bertviz.md"
PROMISED = 128  # tokens
LONGEST = 400
VIEWS = ("head", "model")
MINUTES = 700
"""Tokens × layers from which BertViz's model view takes minutes: it is then opened for measuring alone."""


@dataclass(frozen=True)
class Pair:
    """Both tools' pages of one model, view and length."""

    model: Model
    view: str
    tokens: int
    ours: Measured
    theirs: Measured


def main() -> None:
    options = arguments()
    OUT.mkdir(exist_ok=True)
    models = [Model("MiniLM", minilm()), Model("MiniLM twice", twice(OUT / "model"))]
    parts: list[str] = []
    pairs: list[Pair] = []

    def tell(text: str) -> None:
        print(text, flush=True)
        parts.append(f"{text}\n")

    with launched() as browser, served(OUT) as url:
        tell(f"# Our views and BertViz's\n\n{setting(browser, options.runs)}\n")
        for model in models:
            if model.layers not in options.layers:
                continue
            for length in options.tokens:
                shown = model.run(length)
                for view in options.views:
                    pairs.append(compare(browser, url, model, view, shown, options.runs, tell))
    (OUT / "vs_bertviz.md").write_text("".join(parts), "utf-8")
    if options.write:
        DOCUMENTED.write_text(documented(pairs), "utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measures our views beside BertViz's; writes tables and screenshots to benchmarks/out/."
    )
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[16, 64, 128, 256], help=f"lengths of the text, 3 to {LONGEST}"
    )
    parser.add_argument("--layers", type=int, nargs="+", choices=[6, 12], default=[6, 12], help="of the models to run")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=VIEWS)
    parser.add_argument("--runs", type=int, default=5, help="how often each page is opened")
    parser.add_argument("--write", action="store_true", help="write the table of the documentation")
    options = parser.parse_args()
    if options.runs < 1 or not all(3 <= length <= LONGEST for length in options.tokens):
        parser.error(f"--runs is 1 or more, --tokens are 3 to {LONGEST}")
    return options


def setting(browser: Browser, runs: int) -> str:
    load = f" with a load of {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{runs} runs, Chromium {browser.version} (headless), {os.cpu_count()} cores of {platform.machine()}{load}.\n"
        "Times are medians (least to most); a ratio is BertViz to ours."
    )


def compare(
    browser: Browser, url: str, model: Model, view: str, shown: Input, runs: int, tell: Callable[[str], None]
) -> Pair:
    """One text in one view, both tools, in turn."""
    length = len(shown.tokens)
    pair = Pair(model, view, length, Measured(), Measured())
    tools = {
        "attnviz": (f"{url}/{build_ours(model, view, shown)}", pair.ours),
        "bertviz": (f"{url}/{build_bertviz(model, view, shown)}", pair.theirs),
    }
    for name, (address, measured) in tools.items():
        if name == "bertviz" and view == "model" and length * model.layers > MINUTES:
            continue
        try:
            check_drawing(browser, address, OUT / f"{name}-{view}-{model.layers}-{length}.png", shown, view)
        except Error:
            measure_once(browser, address, model.layers, measured)  # which says how it fails
    for _ in range(runs):
        for address, measured in tools.values():
            measure_once(browser, address, model.layers, measured)
    tell(f"## {view} view, {model.name} ({model.layers} × {model.heads}), {length} tokens\n")
    tell(table(("", "mkdocs-attnviz", "BertViz", "ratio"), comparison(pair)))
    errors = read_errors(browser, tools["attnviz"][0], shown)
    tell(
        f"Weights against `output_attentions`: maximum absolute error {errors.largest:.5f}; "
        f"relative error of weights above 0.002 at the 95th percentile {errors.relative:.1%}.\n"
    )
    if length == PROMISED and model.layers == 12:
        tell(f"### Limits\n\n{table(('', 'limit', 'measured', ''), limits(pair, errors))}")
    return pair


def comparison(pair: Pair) -> list[Row]:
    ours, theirs = pair.ours, pair.theirs
    if theirs.failure:
        return [
            sizes("page, scripts and data before the first picture", [ours.before()], [theirs.before()]),
            ("first picture, since navigation began", spread(ours.first), theirs.failure, ""),
            ("DOM nodes", f"{ours.nodes:,}", "", ""),
        ]
    switch = "new layer" if pair.view == "head" else "a head opened"
    return [
        sizes("page", [ours.page], [theirs.page]),
        sizes("the tool's scripts", [ours.script], [theirs.script]),
        ("data before the first picture", size(ours.data_before), "in the page", ""),
        ("data of all layers", size(ours.data_all), "in the page", ""),
        sizes("page, scripts and data before the first picture", [ours.before()], [theirs.before()]),
        sizes("page, scripts and all data", [ours.all()], [theirs.all()]),
        times("page parsed, since navigation began", ours.parsed, theirs.parsed),
        times("first picture, since navigation began", ours.first, theirs.first),
        times(f"{switch}, on the screen", seen(ours.new), seen(theirs.new)),
        times(f"{switch}, without waits for the screen", work(ours.new), work(theirs.new)),
        times(f"{switch} again, on the screen", seen(ours.again), seen(theirs.again)),
        times(f"{switch} again, without waits for the screen", work(ours.again), work(theirs.again)),
        ("of the weight in view, drawn", f"{ours.share}%", f"{theirs.share}%", ""),
        ("DOM nodes", f"{ours.nodes:,}", f"{theirs.nodes:,}", ratio(ours.nodes, theirs.nodes)),
        sizes("JavaScript heap with buffers", ours.heap, theirs.heap),
        sizes("the same with the DOM", ours.memory, theirs.memory),
    ]


def limits(pair: Pair, errors: Errors) -> list[Row]:
    """Return what is promised for 12 layers × 12 heads at 128 tokens. Of times the median counts, with all waits."""
    ours, theirs = pair.ours, pair.theirs
    first = median(theirs.first) / median(ours.first)
    least = {"head": 30, "model": 150}[pair.view]
    rows = [
        at_least("fewer bytes before the first picture", theirs.before() / ours.before(), 500),
        at_least("fewer bytes in all", theirs.all() / ours.all(), 40),
        at_least("faster first picture", first, least),
    ]
    if pair.view == "head":
        rows += [at_least("faster new layer", median(seen(theirs.new)) / median(seen(ours.new)), 100)]
        rows += [
            ("data before the first picture", "≤ 200 kB", size(ours.data_before), ours.data_before <= 200_000),
            ("first picture", "≤ 0.3 s", spread(ours.first), median(ours.first) <= 300),
            ("new layer, on the screen", "≤ 50 ms", spread(seen(ours.new)), median(seen(ours.new)) <= 50),
            ("DOM nodes of the whole page", "< 3,000", f"{ours.nodes:,}", ours.nodes < 3000),
        ]
    rows += [
        ("maximum absolute error", "< 0.004", f"{errors.largest:.5f}", errors.largest < 0.004),
        ("relative error above 0.002, 95th percentile", "< 10%", f"{errors.relative:.1%}", errors.relative < 0.1),
    ]
    return [(name, limit, value, "ok" if ok else "**missed**") for name, limit, value, ok in rows]


def at_least(name: str, found: float, least: float) -> tuple[str, str, str, bool]:
    return name, f"{least:,} ×", f"{found:,.0f} ×", found >= least


def documented(pairs: Sequence[Pair]) -> str:
    """The table of the documentation: a row for each view, model and length."""
    head = ("view", "layers × heads, tokens", "bytes before the picture", "picture", "new layer or head", "DOM nodes")
    rows = []
    for pair in pairs:
        ours, theirs = pair.ours, pair.theirs
        rows.append(
            (
                pair.view,
                f"{pair.model.layers} × {pair.model.heads}, {pair.tokens}",
                beside(size, [ours.before()], [theirs.before()], ""),
                beside(time, ours.first, theirs.first, theirs.failure),
                beside(time, seen(ours.new), seen(theirs.new), theirs.failure),
                beside("{:,}".format, [ours.nodes], [theirs.nodes], theirs.failure),
            )
        )
    return table(head, rows)


def beside(write: Callable[[float], str], ours: Sequence[float], theirs: Sequence[float], failure: str) -> str:
    """Medians of both and their ratio."""
    if failure:
        return f"{write(median(ours))}; {failure}"
    one, other = median(ours), median(theirs)
    return f"{write(one)}; {write(other)}: **{ratio(one, other)} ×**"


def seen(switches: Sequence[Switch]) -> list[float]:
    return [switch.seen for switch in switches]


def work(switches: Sequence[Switch]) -> list[float]:
    return [switch.work for switch in switches]


def sizes(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    return name, size(median(ours)), size(median(theirs)), ratio(median(ours), median(theirs))


def times(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    return name, spread(ours), spread(theirs), ratio(median(ours), median(theirs))


def size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def time(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.2f} s" if milliseconds >= 1e3 else f"{milliseconds:.0f} ms"


def spread(values: Sequence[float]) -> str:
    return f"{time(median(values))} ({time(min(values))} to {time(max(values))})"


def ratio(ours: float, theirs: float) -> str:
    """Return how many times ours BertViz needs."""
    return f"{theirs / ours:,.0f}" if theirs >= 10 * ours else f"{theirs / ours:.1f}"


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ("---", *("--:" for _ in head[1:])), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
