"""The budget of whole figures of a trained model: several layers and heads, built by MkDocs and read in a browser.

Each weight that a page has is compared with transformers' own `output_attentions`.
"""

import base64
import json
import re

import numpy as np
import pytest
import torch
import transformers
from bs4 import BeautifulSoup
from conftest import MINILM, ROOT, Site

from mkdocs_attnviz import byte_sizes
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.reduction import FRACTIONS, LADDER, largest_error
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.weight_rounding import largest_error as rounding_error
from mkdocs_attnviz.weight_rounding import rounding

TEXT = "many words of a text that is long enough and speaks of a cat , a dog and the rain " * 16
LAYERS, HEADS = 6, 12
NAMED = {(3, 2), (3, 7)}
FIGURES = {
    "dropped": (1600, "layer: 3\nheads: [2, 7]"),
    "strongest": (300, "layer: 3\nheads: [2, 7]"),
    "overview": (100, "layer: 3\nheads: [2, 7]"),
    "model": (900, "view: model"),
}
"""The budget of each figure in kB, and its keys. All weights would take 2.6 MB."""


@pytest.fixture(scope="module")
def truth():
    """Transformers' own attentions, (layers, heads, rows, cols)."""
    path = resolve(MINILM, None, Settings(), ROOT).path
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    with torch.no_grad():
        found = model(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True).attentions
    return np.stack([layer[0].numpy() for layer in found]).astype(np.float64)


@pytest.fixture(scope="module")
def built(once, shared_cache):
    """The folder of a site that has a page for each figure."""

    def make(folder):
        site = Site(folder, shared_cache)
        site.settings["max_tokens"] = 512
        for name, (size, keys) in FIGURES.items():
            body = f"model: minilm\ntext: {TEXT}\nid: {name}\nsize: {size} kB\n{keys}"
            site.write(f"{name}.md", f"```attention\n{body}\n```\n")
        done = site.build()
        assert done.returncode == 0, done.log

    return once("budget-of-a-model", make) / "site"


READ = """async element => {
    await customElements.whenDefined("attn-viz");
    const read = {};
    for (let layer = 0; layer < LAYERS; layer++) for (let head = 0; head < HEADS; head++) {
        try {
            const { values, kept } = await element.weights({ layer, head });
            const steps = Uint8Array.from(values.flat(), (weight) => Math.round(255 * Math.sqrt(weight)));
            let text = "";
            for (let at = 0; at < steps.length; at += 8192)
                text += String.fromCharCode(...steps.subarray(at, at + 8192));
            read[`${layer} ${head}`] = { steps: btoa(text), kept: kept ?? 1 };
        } catch (error) { read[`${layer} ${head}`] = { error: error.message }; }
    }
    return read;
}""".replace("LAYERS", str(LAYERS)).replace("HEADS", str(HEADS))


def files_in(value):
    """Yield the names of all data files in a part of `data-figure`."""
    if isinstance(value, dict):
        yield from ([value["file"]] if isinstance(value.get("file"), str) else [])
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from files_in(part)


@pytest.fixture(params=FIGURES)
def figure(request, built, open_page):
    """The name of a figure, its data, and for each layer and head what a program in the page gets."""
    page = open_page(built / request.param / "index.html")
    element = page.locator("attn-viz")
    return request.param, json.loads(element.get_attribute("data-figure")), element.evaluate(READ)


def declared(sentence, tokens):
    """Return the largest errors of a weight that the sentence about a figure allows: of heads with all weights and of
    those with the strongest ones, and of heads with coarser steps."""
    stored = max(0.004, rounding_error(rounding(tokens)))
    least = [least for least, words in FRACTIONS.items() if f"those below {words} dropped" in sentence]
    return stored, max((largest_error(each, tokens) for each in LADDER if each.least in least), default=0)


def test_a_page_keeps_to_what_it_tells_of_a_trained_model(figure, built, truth):
    name, data, heads = figure
    size, tokens, sentence = FIGURES[name][0], truth.shape[-1], data["shipped"]
    html = BeautifulSoup((built / name / "index.html").read_text("utf-8"), "html5lib").select_one("figure")
    files = [path for file in {*files_in(data)} for path in built.rglob(f"{file}*")]
    assert len(str(html).encode()) + sum(path.stat().st_size for path in files) <= 1000 * size
    assert sentence.startswith(f"To keep to {byte_sizes.shown(1000 * size)}, the page has ")
    assert sentence in html.get_text()
    stored, coarse = declared(sentence, tokens)
    counts = [int(count) for count in re.findall(r"the (\d+) strongest weights of each row", sentence)]
    shares, absent = {count: [] for count in counts or [tokens]}, []
    for (layer, head), weights in ((at, truth[at]) for at in np.ndindex(LAYERS, HEADS)):
        found = heads[f"{layer} {head}"]
        if "error" in found:
            assert re.match(f"Head {head} of layer {layer} is not in this page|Layer {layer} is not", found["error"])
            absent.append((layer, head))
            continue
        steps = np.frombuffer(base64.b64decode(found["steps"]), np.uint8).reshape(tokens, tokens)
        shown, kept = np.square(steps / 255), steps > 0
        is_whole = found["kept"] == 1
        assert np.abs(shown - weights)[kept | is_whole].max() <= max(stored, coarse), (layer, head)
        if (layer, head) in NAMED and "heads 2, 7 of layer 3 whole" in sentence:
            assert is_whole
        else:
            assert found["kept"] == pytest.approx(weights[kept].sum() / tokens, abs=0.002), (layer, head)
            shares[kept.sum(1).max() if counts else tokens].append(found["kept"])
    told = [int(share) / 100 for share in re.findall(r"(\d+)% of their weight", sentence)]
    assert told == [pytest.approx(np.mean(some), abs=0.006) for some in shares.values()]
    if name == "overview":
        assert len(absent) == LAYERS * HEADS - len(NAMED)
        assert "Of layers 0 to 5 it has the overview alone." in sentence
    else:
        assert absent == []
    assert ("heads 2, 7 of layer 3 whole" in sentence) == (name in ("dropped", "strongest"))
