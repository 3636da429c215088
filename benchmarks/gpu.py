"""The cost of a capture on a GPU, in six minutes and without a network: models of known shapes with random weights.

    python benchmarks/gpu.py                                  # on the first GPU
    python benchmarks/gpu.py --shapes llama-7b --tokens 2048 --json gpu.json
    python benchmarks/gpu.py --device cpu --shapes tiny       # the same code, to see that it runs

For each shape and length it takes turns: the bare pass by scaled-dot-product attention (`sdpa`), which forms no
weights; the bare pass that forms them (`eager`); transformers' own `output_attentions`; and our capture, once until the
quantised weights are in the machine's memory (`taken`) and once until they are compressed (`captured`). Times are
medians, and ratios are to the `sdpa` pass. Memory is the peak on the device above the model's weights. `First figure`
is the time from a text to a finished head view of one layer, model in memory. Cases that no longer fit into the budget
of time, or into memory, are named and left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tokenizers
import torch
import transformers

import mkdocs_attnviz
from mkdocs_attnviz.cache.blobs import sizes
from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.inputs.examples import collate, example
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.isolation import Isolation
from mkdocs_attnviz.models.loading.loaded import Loaded

WORDS = 1000
"""The number of words that the tokenizer knows; those of a text are all different up to this number."""
MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """A model's architecture, and the lengths of texts that it reads."""

    config: Callable[[], Any]
    tokens: tuple[int, ...]


def llama(hidden: int, inner: int, layers: int, heads: int, kv_heads: int) -> Callable[[], Any]:
    return lambda: transformers.LlamaConfig(
        vocab_size=32_000,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=4096,
    )


SHAPES = {
    "gpt2": Shape(transformers.GPT2Config, (128, 512, 1024)),
    "bert-base": Shape(transformers.BertConfig, (128, 512)),
    "llama-1b": Shape(llama(2048, 8192, 16, 32, 8), (512, 2048)),
    "llama-7b": Shape(llama(4096, 11008, 32, 32, 32), (512, 2048)),
    "tiny": Shape(llama(64, 64, 2, 4, 2), (16, 32)),
}
DEFAULT = [name for name in SHAPES if name != "tiny"]


@dataclass
class Row:
    """The measurements of one shape and length; times are in seconds, memory and sizes in bytes."""

    shape: str
    layers: int
    heads: int
    tokens: int
    sdpa: float
    eager: float
    output_attentions: float | None
    """None if it ran out of memory: it keeps the weights of all layers."""
    taken: float
    captured: float
    size: int
    """The size of the entry."""
    weights: int
    """The number of attention weights."""
    memory: dict[str, int]
    """The peak on the device above the model's weights, by the kind of pass."""
    first_figure: float


class Device:
    """A device, its clock and its memory."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        self.cuda = self.device.type == "cuda"
        self.dtype = torch.bfloat16 if self.cuda else torch.float32

    @property
    def called(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.cuda else f"{platform.machine()} processor"

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def free(self) -> None:
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def measured(self, run: Callable[[], object]) -> tuple[float, int]:
        """Return the seconds that a run takes, and the peak of the device's memory above what was in use before.

        The memory of a processor is not measured: it is 0.
        """
        before = 0
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
        self.wait()
        start = time.perf_counter()
        run()
        self.wait()
        seconds = time.perf_counter() - start
        return seconds, torch.cuda.max_memory_allocated(self.device) - before if self.cuda else 0


def tokenizer() -> Any:
    """Return a tokenizer that knows the words w0, w1, …"""
    vocabulary = {"[UNK]": 0, "[PAD]": 1} | {f"w{number}": number + 2 for number in range(WORDS)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")


def text_of(tokens: int) -> str:
    return " ".join(f"w{number % WORDS}" for number in range(tokens))


def loaded(shape: Shape, device: Device) -> Loaded:
    """Return a model with random weights, made on the device itself."""
    torch.manual_seed(0)
    config = shape.config()
    config.use_cache = False
    with device.device:
        model = transformers.AutoModel.from_config(config, attn_implementation="eager", dtype=device.dtype).eval()
    ref: Any = SimpleNamespace(name=config.model_type)
    made = Loaded(ref, model, tokenizer(), device.device)
    made.isolation.remove()
    return made


def bare(loaded: Loaded, read: Example, **options: Any) -> Callable[[], object]:
    """Return a function that runs the model and looks at nothing."""
    inputs = collate(loaded, [read])

    def run() -> object:
        with torch.inference_mode():
            return loaded.model(**inputs, **options)

    return run


@contextmanager
def prepared(loaded: Loaded, kind: str) -> Iterator[None]:
    """Set the model's attention for a kind of run, and remove what captures add to it if the run is a bare one."""
    loaded.model.set_attn_implementation("sdpa" if kind == "sdpa" else "eager")
    if kind in ("taken", "captured"):
        loaded.isolation = Isolation(loaded.model)
    try:
        yield
    finally:
        loaded.isolation.remove()


def figure(loaded: Loaded, text: str, tokens: int) -> object:
    """Return a finished figure of one layer."""
    return mkdocs_attnviz.show(
        loaded.model, loaded.tokenizer, text, include_layers=[0], max_tokens=tokens, html_action="return"
    )


def rows(name: str, device: Device, lengths: Sequence[int] | None, rounds: int, ends: float) -> Iterator[Row]:
    """Yield the measurements of one shape, as long as there is time."""
    shape = SHAPES[name]
    model = loaded(shape, device)
    for tokens in lengths or shape.tokens:
        if time.monotonic() > ends:
            print(f"{name} at {tokens} tokens: no time was left.", file=sys.stderr)
            continue
        try:
            yield row(name, model, tokens, device, rounds, ends)
        except torch.OutOfMemoryError:
            print(f"{name} at {tokens} tokens: memory ran out.", file=sys.stderr)
        device.free()


def row(name: str, model: Loaded, tokens: int, device: Device, rounds: int, ends: float) -> Row:
    """Return the measurements of one shape and length."""
    read = example(model, {"text": text_of(tokens)}, tokens)
    context = Context(model, [read])
    entries: list[Any] = []

    def capture() -> None:
        entries[:] = attention.capture(context)

    runs: dict[str, Callable[[], object]] = {
        "sdpa": bare(model, read),
        "eager": bare(model, read),
        "output_attentions": bare(model, read, output_attentions=True),
        "taken": lambda: attention.store_calls(model, [read], lambda *_: None),
        "captured": capture,
    }
    times: dict[str, list[float]] = {kind: [] for kind in runs}
    memory: dict[str, int] = {}
    for number in range(rounds + 1):  # the first round warms up
        for kind, run in list(runs.items()):
            try:
                with prepared(model, kind):
                    seconds, peak = device.measured(run)
            except torch.OutOfMemoryError:
                if kind != "output_attentions":
                    raise
                del runs[kind]
                device.free()
                continue
            memory[kind] = max(memory.get(kind, 0), peak)
            if number or time.monotonic() > ends:
                times[kind].append(seconds)
        if time.monotonic() > ends:
            break
    medians = {kind: statistics.median(some) for kind, some in times.items() if kind in runs}
    stack = entries[0].meta["stacks"]["self"]["layers"]
    heads = sum(layer["heads"] for layer in stack)
    first = device.measured(lambda: figure(model, text_of(tokens), tokens))[0]
    return Row(
        name,
        len(stack),
        heads // len(stack),
        tokens,
        medians["sdpa"],
        medians["eager"],
        medians.get("output_attentions"),
        medians["taken"],
        medians["captured"],
        sum(sizes(entries[0].blobs).values()),
        heads * tokens**2,
        memory,
        first,
    )


def table(measured: Sequence[Row]) -> str:
    """Return the measurements in Markdown."""
    lines = [
        "| Shape | Tokens | sdpa, ms | eager | `output_attentions` | Taken | Captured | Entry, MB | Bits a weight "
        "| Peak eager, MiB | Peak `output_attentions`, MiB | Peak taken, MiB | First figure, s |",
        "|---|" + "---:|" * 12,
    ]
    for row in measured:
        ratios = [row.eager, row.output_attentions, row.taken, row.captured]
        peaks = [row.memory.get(kind) for kind in ("eager", "output_attentions", "taken")]
        cells = [
            f"{row.shape} ({row.layers} × {row.heads})",
            str(row.tokens),
            f"{1000 * row.sdpa:.1f}",
            *("–" if seconds is None else f"{seconds / row.sdpa:.2f}" for seconds in ratios),
            f"{row.size / 1e6:.1f}",
            f"{8 * row.size / row.weights:.2f}",
            *("–" if not peak else f"{peak / MIB:.0f}" for peak in peaks),
            f"{row.first_figure:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="`cuda`, `cuda:1`, `cpu` …")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=DEFAULT)
    parser.add_argument("--tokens", nargs="+", type=int, help="lengths of texts; each shape has its own by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=5.5, help="the time after which no case begins")
    parser.add_argument("--json", type=Path, help="a file for all numbers")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("This machine has no GPU that torch can use; `--device cpu --shapes tiny` shows that the benchmark runs.")
        return 1
    transformers.logging.set_verbosity_error()
    device, ends = Device(options.device), time.monotonic() + 60 * options.minutes
    about = {
        "device": device.called,
        "dtype": str(device.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "mkdocs-attnviz": mkdocs_attnviz.__version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    measured: list[Row] = []
    for name in options.shapes:
        for one in rows(name, device, options.tokens, options.rounds, ends):
            measured.append(one)
            print(f"{name} at {one.tokens} tokens is done.", file=sys.stderr, flush=True)
        device.free()
    print(f"\n{table(measured)}")
    if options.json is not None:
        options.json.write_text(json.dumps({**about, "rows": [asdict(one) for one in measured]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
