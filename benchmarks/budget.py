"""Figures of 32 layers × 32 heads within the default budget, beside one of 12 × 12 × 128: bytes, errors, times.

    python benchmarks/budget.py [TOKENS…] [--weights random trained] [--runs 5]

For each length: the bytes of entry and site, the largest error of all weights that the site has beside the declared
one, the bytes without a budget beside those of version 0.1's coding (`coding.py`), and in Chromium the time of the
first picture and of another layer, in turn with the small figure. Only one layer of weights is in memory at a time.
"""

from __future__ import annotations

import argparse
import base64
import logging
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from large_weights import KINDS, Layers
from measure import Measured, measure_once
from pages import OUT, launched, served

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.figure.assets import AssetFolder
from mkdocs_attnviz.figure.data_file import data_file
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.placeholders import placeholder
from mkdocs_attnviz.models import encoding
from mkdocs_attnviz.models.captures.own_arrays import TokenRow, entry
from mkdocs_attnviz.models.encoding import Floats
from mkdocs_attnviz.models.reduction import FRACTIONS, LADDER, WEIGHT, largest_error
from mkdocs_attnviz.pipeline import Pipeline, Plan
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.attention.weights import StrongestLayer
from mkdocs_attnviz.weight_rounding import intervals, rounding

LARGE = (32, 32)
SMALL = (12, 12, 128)
LIMIT = 1.5
"""The largest ratio of the times of a large figure to those of the small one."""
EXACT = 0.00392
"""The declared error of a weight that is not reduced."""
LOG = logging.getLogger("budget")


@dataclass(frozen=True)
class Built:
    """A page with one figure, and what it has cost."""

    name: str
    layers: int
    figure: Figure
    entry_size: int
    seconds: tuple[float, float]
    """The time of encoding all weights, and of drawing the figure."""


def build(name: str, given: Layers) -> Built:
    """Encode the weights, and write a page with a head view of them into `out/`."""
    start = time.perf_counter()
    row = TokenRow([f"t{n}" for n in range(given.tokens)])
    made = entry({"self": given}, {"text": row}, shapes=[(given.heads, given.tokens, given.tokens)] * given.layers)
    encoded = time.perf_counter() - start
    shutil.rmtree(OUT / name, ignore_errors=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "m").mkdir()
        (folder / "m" / "config.json").write_text("{}")
        with Pipeline(Settings(max_tokens=given.tokens), folder, LOG).build() as scope:
            source = Source("model: ./m\ntext: whatever\nview: head")
            plan = scope.plan(source)
            assert isinstance(plan, Plan)
            assert plan.request is not None
            Cache(folder / ".attnviz", LOG).put(plan.request.key, plan.request.key_parts, made)
            start = time.perf_counter()
            (figure,) = scope.render([source])
            assert isinstance(figure, Figure)
            drawn = time.perf_counter() - start
            filled = scope.fill(placeholder(source), AssetFolder(OUT / name / "assets", "assets"))
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title><body>{filled}</body></html>"
    (OUT / name / "index.html").write_text(page, "utf-8")
    return Built(name, given.layers, figure, len(made.to_bytes()), (encoded, drawn))


def shipped(figure: Figure, number: int) -> Iterator[tuple[int, Floats]]:
    """Yield each head of a layer that a figure has, and its weights, (rows, cols), read from the site's bytes."""
    stack = figure.drawing.data["stacks"]["self"]
    layer = next(each for each in stack["layers"] if each["layer"] == number)
    tokens = len(figure.drawing.data["sequences"][stack["rows"]]["tokens"])

    def decoded(steps: bytes) -> Floats:
        weights: Floats = np.square(np.frombuffer(steps, np.uint8).reshape(tokens, tokens).T / np.float32(255))
        return weights

    every = range(layer["heads"])
    dense = [part for part in layer.get("parts", [layer | {"heads": every}]) if "heads" in part]
    for part in dense:
        steps = zlib.decompress(_bytes(part, figure.entry))
        for slot, head in enumerate(part["heads"]):
            yield head, decoded(steps[slot * tokens**2 : (slot + 1) * tokens**2])
    groups = [_bytes(part, figure.entry) for part in layer.get("parts", ()) if "count" in part]
    if groups:
        strongest = StrongestLayer(groups, tokens, tokens, layer["heads"])
        whole = {head for part in dense for head in part["heads"]}
        yield from ((head, decoded(strongest.steps(head))) for head in every if head not in whole)


def _bytes(part: dict[str, object], made: Entry) -> bytes:
    content = part["content"] if "content" in part else made.blobs[str(part["blob"])]
    assert isinstance(content, bytes)
    return content


def errors(built: Built, given: Layers) -> tuple[float, float, int]:
    """Return the largest error of a weight in the site, that of a head's told share, and the number of heads."""
    largest = share = 0.0
    count = 0
    zero = WEIGHT[1] * intervals(rounding(given.tokens))[0].high ** 2  # what is below is stored as zero
    for layer in built.figure.drawing.data["stacks"]["self"]["layers"]:
        for head, found in shipped(built.figure, layer["layer"]):
            true = given.head(layer["layer"], head)
            is_kept = found > 0
            largest = max(largest, float(np.abs(found - true)[is_kept].max(initial=0)))
            told = layer["kept"][head] if "kept" in layer else 1.0
            if told < 1 or true[~is_kept].max(initial=0) > zero:  # a whole head has all of its weight, as it is stored
                share = max(share, abs(told - float(true[is_kept].sum(dtype=np.float64)) / given.tokens))
            count += 1
    return largest, share, count


def declared(figure: Figure, tokens: int) -> float:
    """Return the largest error that the figure's sentence allows for a weight that it has."""
    told = figure.drawing.data.get("shipped", "")
    if "coarser steps" not in told:
        return EXACT
    used = [each for each in LADDER if not each.least or f"below {FRACTIONS[each.least]} dropped" in told]
    return max(EXACT, *(largest_error(each, tokens) for each in used))


def lifted(given: Layers) -> tuple[int, int]:
    """Return the bytes in a site of all weights without a budget, and in the coding before."""
    now = before = 0
    for layer in given:
        steps = encoding.quantised(given[layer].weights)
        now += len(data_file([encoding.weights_blob(steps, rounding(given.tokens))]))
        before += len(base64.b64encode(encoding.weights_blob(steps)))
    return now, before


def sizes(built: Built, given: Layers) -> None:
    figure = built.figure
    encoded, drawn = built.seconds
    print(f"{built.name}: encoded in {encoded:.0f} s, entry {built.entry_size / 1e6:.1f} MB")
    print(f"  site {figure.site_size / 1e6:.2f} MB, drawn in {drawn:.1f} s")
    print(f"  {figure.drawing.data.get('shipped', 'All weights are shipped.')}")
    largest, share, count = errors(built, given)
    print(f"  {count} heads: largest error {largest:.5f} of a weight that the site has, declared")
    print(f"  {declared(figure, given.tokens):.5f}; told shares are off by {share:.3f} at most", flush=True)


def times(names: Sequence[Built], runs: int) -> None:
    """Open all pages in turn, and print what their pictures take beside those of the first page."""
    measured = {built.name: Measured() for built in names}
    with launched() as browser, served(OUT) as url:
        for _ in range(runs):
            for built in names:
                measure_once(browser, f"{url}/{built.name}/index.html", built.layers, measured[built.name])
    base = _medians(measured[names[0].name])
    for name, each in measured.items():
        found = _medians(each)
        cells = [f"{what} {ms:.0f} ms ({ms / base[what]:.2f})" for what, ms in found.items()]
        print(f"{name}: {', '.join(cells)}; limit {LIMIT}", flush=True)


def _medians(measured: Measured) -> dict[str, float]:
    return {
        "first picture": median(measured.first),
        "another layer": median(switch.seen for switch in measured.new),
        "its work": median(switch.work for switch in measured.new),
        "a layer again": median(switch.seen for switch in measured.again),
        "work again": median(switch.work for switch in measured.again),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokens", type=int, nargs="*", default=[512, 2048])
    parser.add_argument("--weights", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--runs", type=int, default=5, help="how often each page is opened")
    parser.add_argument("--only-times", action="store_true", help="neither errors nor bytes without a budget")
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    for kind in options.weights:
        pages = []
        for layers, heads, tokens in (SMALL, *((*LARGE, tokens) for tokens in options.tokens)):
            given = KINDS[kind](layers, heads, tokens)
            pages.append(build(f"budget-{kind}-{layers}-{heads}-{tokens}", given))
            if options.only_times:
                continue
            sizes(pages[-1], given)
            now, before = lifted(given)
            print(f"  without a budget {now / 1e6:.1f} MB, before {before / 1e6:.1f} MB, ratio {before / now:.2f}")
        times(pages, options.runs)


if __name__ == "__main__":
    main()
