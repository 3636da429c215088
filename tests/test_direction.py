"""Texts that are read from right to left, and pages that are: tokens, numbers and pictures stand where they belong."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT, draw_all, settle
from tokenizers import Tokenizer, models, pre_tokenizers

import mkdocs_attnviz
from mkdocs_attnviz.views.svg.direction import levels, visual_order

VECTORS = json.loads((ROOT / "frontend" / "test" / "direction.json").read_text("utf-8"))
TEXTS = {"hebrew": "החתול ישב על השטיח בשנת 1948 כמו GPT", "arabic-quote": "they say السلام عليكم and smile to us all"}
ORDERS = {"hebrew": [7, 6, 5, 4, 3, 2, 1, 0], "arabic-quote": [0, 1, 3, 2, 4, 5, 6, 7, 8]}
"""The tokens as they stand on one line, from left to right."""


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["said"])
def test_the_order_on_a_line_is_that_of_the_browser(vector):
    assert levels(vector["tokens"], vector["special"]) == (vector["base"], vector["levels"])
    assert visual_order(vector["levels"]) == vector["order"]


@pytest.fixture(scope="module")
def polyglot(once):
    """Return the folder of a small random decoder whose vocabulary are the words of the texts."""
    return str(once("polyglot", save_polyglot))


def save_polyglot(path):
    torch.manual_seed(3)
    words = ["<unk>", *dict.fromkeys(" ".join(TEXTS.values()).split())]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(path)
    config = transformers.GPT2Config(vocab_size=len(words), n_embd=32, n_layer=2, n_head=4, n_positions=32)
    transformers.GPT2LMHeadModel(config).save_pretrained(path)


@pytest.fixture
def built(site, polyglot, share):
    site.settings["models"]["polyglot"] = polyglot
    blocks = [
        f"```attention\nmodel: polyglot\ntext: {text}\nview: {view}\nid: {view}-{name}\n```\n"
        for view in ("tokens", "predict", "saliency", "factors")
        for name, text in TEXTS.items()
    ]
    site.write("index.md", "\n".join(blocks))
    return share(site, "--strict")


def left_to_right(boxes):
    """The indices of boxes of one line by their left edges."""
    return sorted(range(len(boxes)), key=boxes.__getitem__)


def static_order(svg, words):
    """The words of a picture as they stand from left to right, by their number."""
    xs = {}
    for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        xs.setdefault(element.text, float(element.get("x")))  # what the model says stands below
    return left_to_right([xs[word] for word in words])


def test_a_sentence_is_set_in_its_own_direction(built, open_page):
    page = open_page(built.folder / "site" / "index.html")
    draw_all(page)
    for name, text in TEXTS.items():
        for view in ("tokens", "predict", "saliency", "factors"):
            found = page.locator(f"#{view}-{name} attn-viz .flow [role=option]")
            boxes = found.evaluate_all(
                "all => all.map(e => [e.getBoundingClientRect().x, e.getBoundingClientRect().y])"
            )
            count = len(text.split())
            assert len({y for _, y in boxes[:count]}) == 1, "one line"
            assert left_to_right([x for x, _ in boxes[:count]]) == ORDERS[name], (view, name)
    first = page.locator("#tokens-hebrew attn-viz .flow [role=option]").first
    first.focus()
    page.keyboard.press("ArrowLeft")
    focused = "document.querySelector('#tokens-hebrew attn-viz').shadowRoot.activeElement.dataset.index"
    assert page.evaluate(focused) == "1", "the arrow goes where it points"


@pytest.mark.parametrize("view", ["tokens", "saliency", "factors"])
def test_pictures_have_the_same_order(built, open_page, view):
    page = open_page(built.folder / "site" / "index.html")
    draw_all(page)
    for name, text in TEXTS.items():
        words = text.split()
        static = page.locator(f"#{view}-{name} img").evaluate("async img => (await fetch(img.src)).text()")
        assert static_order(static, words) == ORDERS[name], "the static picture"
        element = page.locator(f"#{view}-{name} attn-viz")
        element.get_by_role("button", name="Options").click()
        with page.expect_download() as saved:
            element.get_by_role("button", name="Save SVG").click()
        assert static_order(saved.value.path().read_text("utf-8"), words) == ORDERS[name], "the saved one"


# ---- pages that are read from right to left


@pytest.fixture
def right_to_left(tmp_path, open_page):
    """`right_to_left(view)` → a page in Hebrew with a figure of 3 layers of 4 heads."""

    def show(view, **options):
        scores = np.exp(np.random.default_rng(0).normal(size=(3, 1, 4, 6, 6)) * 2)
        arrays = list((scores / scores.sum(-1, keepdims=True)).astype(np.float32))
        words = ["[CLS]", "החתול", "ישב", "על", "הגג", "[SEP]"]
        figure = getattr(mkdocs_attnviz, f"{view}_view")(arrays, words, html_action="return", **options).data
        file = tmp_path / f"{view}.html"
        file.write_text(
            f"<!doctype html><html lang=he><meta charset=utf-8><body dir=rtl><main>{figure}</main>", "utf-8"
        )
        page = open_page(file)
        draw_all(page)
        settle(page)
        return page

    return show


THUMBNAILS = """element => {
  const canvas = element.shadowRoot.querySelector('.grid canvas');
  const place = canvas.getBoundingClientRect();
  return [...element.shadowRoot.querySelectorAll('.cell')].map(cell => {
    const box = cell.getBoundingClientRect();
    const scale = canvas.width / place.width;
    const at = [box.x - place.x, box.y - place.y, box.width, box.height].map(v => Math.round(v * scale));
    const { data } = canvas.getContext('2d').getImageData(...at);
    const sum = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sum[c] += data[i + c] * data[i + 3];
    const most = Math.max(...sum);
    return { head: Number(cell.dataset.at.split('.')[1]), x: box.x, hue: sum.map(v => Math.round(v / most * 255)) };
  });
}"""


def test_every_thumbnail_stands_under_its_head(right_to_left):
    cells = right_to_left("model").locator("attn-viz").evaluate(THUMBNAILS)
    assert len(cells) == 12
    palette = json.loads((ROOT / "mkdocs_attnviz" / "static" / "palette.json").read_text())["light"]["heads"]
    for cell in cells:
        channels = [int(palette[cell["head"]][at : at + 2], 16) for at in (1, 3, 5)]
        wanted = [255 * each / max(channels) for each in channels]
        assert np.allclose(cell["hue"], wanted, atol=6), cell
    first = [cell["x"] for cell in cells[:4]]
    assert first == sorted(first)


def test_numbers_and_legends_read_as_they_do_elsewhere(right_to_left):
    page = right_to_left("matrix")
    scale = page.locator("attn-viz .scale")
    zero, bar, *_, most = scale.evaluate(
        """e => [...e.childNodes].filter(n => n.nodeType === 1 || n.data?.trim()).map(n => {
          const range = document.createRange();
          range.selectNode(n);
          return range.getBoundingClientRect().x;
        })"""
    )
    assert zero < bar < most
    page.locator("attn-viz .body").hover(position={"x": 20, "y": 20})
    settle(page)
    detail = page.locator("attn-viz .detail")
    assert re.search(r"→ .*: 0\.\d\d\d", detail.inner_text())
    assert detail.evaluate("e => getComputedStyle(e).direction") == "ltr"
    assert page.locator("attn-viz .figure").get_attribute("dir") == "ltr"
    assert page.locator("attn-viz .view").evaluate("e => innerWidth - e.getBoundingClientRect().right") < 60
