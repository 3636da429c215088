"""Pictures of every view as readers meet it: light and dark, on a desk and on a phone. `make screenshots` takes them.

They are for looking at, and no test: each is one figure of the example site, in a state that shows most of it, in
`screenshots/`.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import chromium
from conftest import ROOT, settle
from playwright.sync_api import sync_playwright

SITE = ROOT / "example_site" / "site"
OUT = ROOT / "screenshots"
FIGURES = {
    "head": ("guide/views/head", "head", {"selected": {"side": "left", "indices": [2]}}),
    "head-several": ("learn/inner-workings", "cat", {}),
    "head-long": ("guide/long-inputs", "long-head", {}),
    "model": ("guide/views/model", "model", {}),
    "model-opened": ("guide/views/model", "opened", {}),
    "model-long": ("guide/long-inputs", "long-model", {}),
    "neuron": ("guide/views/neuron", "neuron", {}),
    "neuron-expanded": ("guide/views/neuron", "neuron", {"expanded": 1}),
    "neuron-causal": ("guide/views/neuron", "causal", {"expanded": 4}),
    "matrix": ("guide/views/matrix", "matrix", {}),
    "matrix-long": ("guide/long-inputs", "long-matrix", {}),
    "cross": ("guide/encoder-decoder", "dates", {"selected": {"side": "left", "indices": [1]}}),
    "heads": ("guide/views/heads", "heads", {}),
    "heads-map": ("learn/papers/clark", "map", {}),
    "heads-grid": ("guide/views/heads", "objects", {}),
    "heads-relations": ("guide/views/heads", "best-heads", {}),
    "experts": ("guide/views/experts", "experts", {}),
    "experts-corpus": ("guide/views/experts", "experts-corpus", {}),
    "experts-tokens": ("guide/views/experts", "experts-tokens", {}),
    "text": ("guide/views/text", "alice", {}),
    "text-received": ("guide/views/text", "alice", {"token": None}),
    "rollout": ("guide/reading", "rollout", {}),
}
WIDTHS = (1280, 360)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        for (name, figure), width, dark in itertools.product(FIGURES.items(), WIDTHS, (False, True)):
            scheme = "dark" if dark else "light"
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            take(context.new_page(), figure, OUT / f"{name}-{width}-{scheme}.png")
            context.close()
        browser.close()
    print(f"{len(FIGURES) * 2 * len(WIDTHS)} pictures in {OUT}")


def take(page, figure, path: Path) -> None:
    place, id, state = figure
    page.goto((SITE / f"{place}.html").as_uri())
    page.locator(f"#{id}").scroll_into_view_if_needed()
    page.eval_on_selector(f"#{id} attn-viz", "(e, state) => e.ready.then(() => Object.assign(e, { state }))", state)
    settle(page)
    page.locator(f"#{id}").screenshot(path=path)


if __name__ == "__main__":
    main()
