"""Agreement of methods on many reviews, and faithfulness of each; for the page on Bastings & Filippova 2020.

    python benchmarks/elephant.py                     # 200 reviews that the reviews model was not trained on
    python benchmarks/elephant.py --reviews 50

Each review goes through the capture that the saliency view uses. The table has means over the reviews; `beats random`
is the share of reviews on which the area below the deletion curve is smaller than the mean of 20 random orders.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from mkdocs_attnviz.models.captures import saliency
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.saliency_options import Options

FOLDER = Path(__file__).parents[1] / "example_site" / "models" / "reviews"
METHODS = (
    "attention",
    "rollout",
    "value_weighted",
    "gradient_norm",
    "input_x_gradient",
    "integrated_gradients",
    "occlusion",
)
MEASURES = ("deletion_area", "insertion_area", "comprehensiveness", "sufficiency")


def measured(count: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return each measure, (reviews, methods); that of random orders, (reviews, measures); and τ-b, averaged."""
    sys.path.insert(0, str(FOLDER))
    from grammar import reviews

    torch.set_num_threads(1)  # the model is tiny
    model = load(resolve(str(FOLDER), None, Settings(), FOLDER), "cpu", head=True, attention=False)
    parameters = Options(method=METHODS).parameters()
    texts = [review.text for review in islice(reviews("scores", held_out=True), count)]
    found: dict[str, list[list[float]]] = {name: [] for name in MEASURES}
    random, taus = [], []
    for text in texts:
        meta = saliency.capture(Context(model, [example(model, {"text": text}, 512)], parameters))[0].meta
        for name, rows in found.items():
            rows.append([each[name] for each in meta["curves"]["methods"]])
        random.append([meta["curves"]["random"][name]["mean"] for name in MEASURES])
        taus.append([[np.nan if tau is None else tau for tau in line] for line in meta["agreement"]])
    return {name: np.array(rows) for name, rows in found.items()}, np.array(random), np.nanmean(taus, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=int, default=200)
    count = parser.parse_args().reviews
    found, random, taus = measured(count)
    print(f"{count} reviews\n")
    print("| method | deletion area | insertion area | comprehensiveness | sufficiency | beats random |")
    print("|---|---|---|---|---|---|")
    wins = (found["deletion_area"] < random[:, :1]).mean(0)
    for number, name in enumerate(METHODS):
        means = " | ".join(f"{found[measure][:, number].mean():.2f}" for measure in MEASURES)
        print(f"| {name} | {means} | {100 * wins[number]:.0f}% |")
    print(f"| random order | {' | '.join(f'{mean:.2f}' for mean in random.mean(0))} | |")
    print("\nMean of Kendall's τ-b:")
    for name, line in zip(METHODS, taus, strict=True):
        print(f"{name:22}{' '.join(f'{tau:6.2f}' for tau in line)}")


if __name__ == "__main__":
    main()
