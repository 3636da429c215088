"""Our head view beside BertViz's: the same tensors, the same browser, one run.

The model is a BERT of 12 layers × 12 heads with trained weights: MiniLM's six layers, used twice. For each number of
tokens our page is built by `mkdocs build`; BertViz's is what `head_view(html_action="return")` gives. One local server
has both, and `vs_bertviz.js` measures them from inside. BertViz's libraries come from the npm registry and are served
under the paths they have on its CDN, so that no page asks another host.

Prints Markdown tables, and keeps them with screenshots in `out/`. It is a report and no test: a limit that is missed
does not change the exit status. `pip install -e ".[bench]"` has all it needs, beside npm and Chromium.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from measure import Errors, Measured, Switch, check_drawing, measure_once, read_errors
from pages import OUT, Input, Model, build_bertviz, build_ours, launched, served
from playwright.sync_api import Browser

Row = tuple[str, str, str, str]
PROMISED = 128  # tokens
LONGEST = 400


def main() -> None:
    options = arguments()
    OUT.mkdir(exist_ok=True)
    model = Model.made(OUT / "model")
    parts: list[str] = []

    def tell(text: str) -> None:
        print(text, flush=True)
        parts.append(f"{text}\n")

    with launched() as browser, served(OUT) as url:
        tell(f"# Our head view and BertViz's\n\n{setting(model, browser, options.runs)}\n")
        for length in options.tokens:
            compare(browser, url, model.run(length), options.runs, tell)
    (OUT / "vs_bertviz.md").write_text("".join(parts), "utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measures our head view beside BertViz's; writes the tables and screenshots to benchmarks/out/."
    )
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[16, 64, 128], help=f"lengths of the text, 3 to {LONGEST}"
    )
    parser.add_argument("--runs", type=int, default=5, help="how often each page is opened")
    options = parser.parse_args()
    if options.runs < 1 or not all(3 <= length <= LONGEST for length in options.tokens):
        parser.error(f"--runs is 1 or more, --tokens are 3 to {LONGEST}")
    return options


def setting(model: Model, browser: Browser, runs: int) -> str:
    load = f" with a load of {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{model.layers} layers × {model.heads} heads, {runs} runs, Chromium {browser.version} (headless), "
        f"{os.cpu_count()} cores of {platform.machine()}{load}.\n"
        "Times are medians (least to most); a ratio is BertViz to ours."
    )


def compare(browser: Browser, url: str, shown: Input, runs: int, tell: Callable[[str], None]) -> None:
    """One length of text, both tools, in turn."""
    length = len(shown.tokens)
    ours, theirs = Measured(), Measured()
    addresses = [f"{url}/{build_ours(shown.text, length)}", f"{url}/{build_bertviz(shown, length)}"]
    for address, name in zip(addresses, ("attnviz", "bertviz"), strict=True):
        check_drawing(browser, address, OUT / f"{name}-{length}.png", shown)
    for _ in range(runs):
        for address, measured in zip(addresses, (ours, theirs), strict=True):
            measure_once(browser, address, measured)
    errors = read_errors(browser, addresses[0], shown)
    tell(f"## {length} tokens\n\n{table(('', 'mkdocs-attnviz', 'BertViz', 'ratio'), comparison(ours, theirs))}")
    tell(
        f"Weights against `output_attentions`: maximum absolute error {errors.largest:.5f}; "
        f"relative error of weights above 0.002 at the 95th percentile {errors.relative:.1%}.\n"
    )
    if length == PROMISED:
        tell(f"### Limits\n\n{table(('', 'limit', 'measured', ''), limits(ours, errors))}")


def comparison(ours: Measured, theirs: Measured) -> list[Row]:
    return [
        sizes("page", [ours.page], [theirs.page]),
        sizes("the tool's scripts", [ours.script], [theirs.script]),
        ("data before the first picture", size(ours.data_before), "in the page", ""),
        ("data of all layers", size(ours.data_all), "in the page", ""),
        sizes("page, scripts and data before the first picture", [ours.before()], [theirs.before()]),
        sizes("page, scripts and all data", [ours.all()], [theirs.all()]),
        ("the site's theme", size(ours.theme), "none", ""),
        times("page parsed, since navigation began", ours.parsed, theirs.parsed),
        times("first picture, since navigation began", ours.first, theirs.first),
        times("new layer, on the screen", seen(ours.new), seen(theirs.new)),
        times("new layer, without waits for the screen", work(ours.new), work(theirs.new)),
        times("earlier layer again, on the screen", seen(ours.again), seen(theirs.again)),
        times("earlier layer again, without waits for the screen", work(ours.again), work(theirs.again)),
        ("of the weight in view, drawn", f"{ours.share} %", f"{theirs.share} %", ""),
        ("DOM nodes", f"{ours.nodes:,}", f"{theirs.nodes:,}", ratio(ours.nodes, theirs.nodes)),
        sizes("JavaScript heap with buffers", ours.heap, theirs.heap),
        sizes("the same with the DOM", ours.memory, theirs.memory),
    ]


def limits(ours: Measured, errors: Errors) -> list[Row]:
    """What is promised for 12 layers × 12 heads at 128 tokens. Of times the median counts, with all waits."""
    new, again = seen(ours.new), seen(ours.again)
    rows = [
        ("data before the first picture", "≤ 200 kB", size(ours.data_before), ours.data_before <= 200_000),
        ("first picture", "≤ 0.3 s", spread(ours.first), median(ours.first) <= 300),
        ("new layer, on the screen", "≤ 50 ms", spread(new), median(new) <= 50),
        ("earlier layer again, on the screen", "≤ 50 ms", spread(again), median(again) <= 50),
        ("DOM nodes of the whole page", "< 3,000", f"{ours.nodes:,}", ours.nodes < 3000),
        ("maximum absolute error", "< 0.004", f"{errors.largest:.5f}", errors.largest < 0.004),
        ("relative error above 0.002, 95th percentile", "< 10 %", f"{errors.relative:.1%}", errors.relative < 0.1),
    ]
    return [(name, limit, value, "ok" if ok else "**missed**") for name, limit, value, ok in rows]


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
    """How many times ours BertViz needs."""
    return f"{theirs / ours:,.0f}" if theirs >= 10 * ours else f"{theirs / ours:.1f}"


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ("---", "--:", "--:", "--:"), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
