"""Heads that share keys and values: which do is read from the model that ran, and figures show it."""

import re

import numpy as np
import pytest
from conftest import ROOT, draw_all, settle
from test_views import TOKENS, block, draw, softmax

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import fault
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.models.comparison import difference
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.attention.shared_keys import common_groups, kv_heads, sharing

NEW_FALCON = {"new_decoder_architecture": True, "num_kv_heads": 2}
MODELS = [
    ("llama", {}, 2), ("mistral", {}, 2), ("qwen2", {}, 2), ("gemma", {}, 2), ("falcon", {}, 1),
    ("falcon", NEW_FALCON, 2), ("gpt_bigcode", {}, 1), ("gpt2", {}, None),
    ("falcon", {"multi_query": False, "num_kv_heads": 4}, None),
]  # fmt: skip
"""Model types, settings of theirs, and how many heads of keys their four heads share: one is multi-query attention."""


@pytest.mark.parametrize(("kind", "settings", "shared"), MODELS, ids=[f"{kind}-{shared}" for kind, _, shared in MODELS])
def test_who_shares_keys_is_what_repeat_kv_does(kind, settings, shared, monkeypatch):
    """The weights of each head follow from its own queries and the keys that transformers' `repeat_kv` gives it."""
    import tiny_models
    import torch
    from transformers.models.llama.modeling_llama import repeat_kv

    from mkdocs_attnviz.models.captures import attention, scores
    from mkdocs_attnviz.models.captures.context import Context
    from mkdocs_attnviz.models.inputs.examples import collate
    from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
    from mkdocs_attnviz.models.probing.attention_pass import forward

    monkeypatch.setitem(tiny_models.OVERRIDES, kind, settings)
    loaded = tiny_models.tiny(kind)
    read = tiny_models.example(loaded)
    for capture in (attention.capture, scores.capture):
        layers = capture(Context(loaded, [read]))[0].meta["stacks"]["self"]["layers"]
        assert [layer.get("kv_heads") for layer in layers] == [shared] * 2
        assert [kv_heads(layer) for layer in layers] == [shared] * 2
    calls = []
    forward(loaded, collate(loaded, [read]), find_attention_map(loaded, read), calls.append, operands=True)
    for call in calls:
        groups = shared or 4
        keys = call.key[:, :: call.key.shape[1] // groups]
        assert keys.shape[1] == groups

        def weights(keys, call=call):
            products = call.query @ keys.transpose(2, 3) * call.scale
            return products.masked_fill(call.weights == 0, -torch.inf).softmax(-1)

        assert torch.allclose(weights(repeat_kv(keys, 4 // groups)), call.weights, atol=1e-5)
        if groups == 2:
            assert not torch.allclose(weights(keys.repeat(1, 2, 1, 1)), call.weights, atol=1e-3), "heads 0, 2 and 1, 3"


@pytest.fixture(scope="module")
def grouped():
    """An entry of two layers of eight heads, of which four share keys."""
    generator = np.random.default_rng(2)
    layers = {n: LayerTensors(softmax(generator.normal(size=(8, 9, 9)))) for n in range(2)}
    made = entry({"self": layers}, {"text": TokenRow(TOKENS)})
    for layer in made.meta["stacks"]["self"]["layers"]:
        layer["kv_heads"] = 2
    return made


def test_an_entry_of_an_earlier_version_has_no_groups(grouped):
    old = Entry.from_bytes(grouped.to_bytes())
    for layer in old.meta["stacks"]["self"]["layers"]:
        del layer["kv_heads"]
    assert difference(old, grouped) == "", "it is no other result"
    assert "`stacks`" in difference(grouped, old)
    assert not fault(old.meta, old.blobs)
    made = draw(old, view="model")
    assert "share" not in made.sentence
    assert "kv_heads" not in made.data["stacks"]["self"]["layers"][0]
    assert ">keys 0<" not in made.picture.svg


def test_a_number_that_fits_no_heads_is_none():
    assert kv_heads({"heads": 8, "kv_heads": 3}) is None
    assert kv_heads({"heads": 8, "kv_heads": 8}) is None
    assert kv_heads({"heads": 8, "neurons": {"kv_heads": 2}}) == 2, "entries of scores have always known"


def test_groups_of_the_heads_that_are_shown():
    layers = [{"heads": 8, "kv_heads": 2}] * 2
    assert common_groups(layers, range(8)) == [(0, [0, 1, 2, 3]), (1, [4, 5, 6, 7])]
    assert common_groups(layers, [7, 1, 2]) == [(0, [1, 2]), (1, [7])]
    assert common_groups([*layers, {"heads": 8}], range(8)) == [], "not alike in all layers"
    assert sharing([*layers, {"heads": 8, "kv_heads": 1}]) == ", 4 or 8 of which share keys and values"


def test_the_model_view_names_the_groups(grouped):
    made = draw(grouped, view="model")
    assert "2 layers of 8 heads, 4 of which share keys and values, each a small picture." in made.sentence
    assert re.findall(r">(keys \d)<", made.picture.svg) == ["keys 0", "keys 1"]
    assert made.data["stacks"]["self"]["layers"][1]["kv_heads"] == 2
    some = draw(grouped, view="model", include_heads=[0, 6]).picture.svg
    assert re.findall(r">(k\w+ ?\d)<", some) == ["keys 0", "keys 1"]
    plain = VIEWS["model"].drawing(block(view="model"), grouped)
    assert plain.height.endswith(" + 20px")


@pytest.mark.parametrize("view", ["head", "matrix"])
def test_views_of_heads_know_who_shares_keys(grouped, view):
    assert draw(grouped, view=view).data["stacks"]["self"]["layers"][0]["kv_heads"] == 2


# ---- in the browser


@pytest.fixture
def show(grouped, tmp_path, open_page):
    """`show(view, …)` opens a page with the figure of the grouped heads."""
    from mkdocs_attnviz.figure.figure import Figure
    from mkdocs_attnviz.hosts.notebook import _html

    def show(given=grouped, **keys):
        made = block(**keys)
        html = _html(Figure(made, VIEWS[made.view].drawing(made, given), given)).data
        file = tmp_path / "page.html"
        file.write_text(f"<!doctype html><html lang=en><meta charset=utf-8><title>t</title>{html}", "utf-8")
        page = open_page(file)
        draw_all(page)
        settle(page)
        return page

    return show


def test_squares_of_heads_that_share_keys_stand_together(show):
    page = show(view="head")
    groups = page.locator("attn-viz .squares .keys")
    assert [group.get_attribute("data-keys") for group in groups.all()] == ["keys 0", "keys 1"]
    assert groups.nth(1).locator("button").all_inner_texts() == ["4", "5", "6", "7"]
    square = page.get_by_role("button", name="Head 5 · keys 1 · heads 4–7", exact=True)
    page.get_by_role("button", name="Head 3 · keys 0 · heads 0–3").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert square.evaluate("button => button.getRootNode().activeElement === button"), "keys walk on to the next group"


def test_a_head_is_chosen_among_those_that_share_its_keys(show):
    page = show(view="matrix", head=6)
    options = page.get_by_role("combobox", name=re.compile("^Head")).locator("optgroup")
    assert [group.get_attribute("label") for group in options.all()] == ["keys 0 · heads 0–3", "keys 1 · heads 4–7"]
    assert page.locator("attn-viz .how").inner_text() == "Keys 1 · heads 4–7"
    page.get_by_role("combobox", name=re.compile("^Head")).select_option("2")
    assert page.eval_on_selector("attn-viz", "element => element.state.heads") == [2]
    assert page.locator("attn-viz .how").inner_text() == "Keys 0 · heads 0–3"


def test_the_neuron_view_says_whose_keys_it_shows(show):
    import tiny_models

    from mkdocs_attnviz.models.captures import scores
    from mkdocs_attnviz.models.captures.context import Context

    loaded = tiny_models.tiny("llama")
    page = show(scores.capture(Context(loaded, [tiny_models.example(loaded)]))[0], view="neuron", head=3)
    assert page.locator("attn-viz .how").inner_text() == "Keys 1 · heads 2–3"
    select = page.get_by_role("combobox", name=re.compile("^Head"))
    assert select.locator("optgroup[label='keys 0 · heads 0–1'] option").all_inner_texts() == ["0", "1"]


def test_the_small_pictures_stand_under_their_keys(show):
    page = show(view="model")
    header = page.locator("attn-viz .keys [role=columnheader]")
    assert header.all_inner_texts() == ["", "keys 0", "keys 1"]
    spans = [header.nth(n).bounding_box() for n in (1, 2)]
    cells = [page.locator(f'attn-viz [data-at="0.{head}"]').bounding_box() for head in (0, 3, 4, 7)]
    for span, first, last in ((spans[0], *cells[:2]), (spans[1], *cells[2:])):
        assert abs(span["x"] - first["x"]) < 4
        assert abs(span["x"] + span["width"] - last["x"] - last["width"]) < 4
        assert span["y"] + span["height"] < first["y"]
    assert page.get_by_role("gridcell", name=re.compile(r"^Layer 1, Head 5: keys 1 · heads 4–7 · ")).count() == 1
    page.get_by_role("button", name="Options", exact=True).click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save SVG").click()
    saved = waiting.value.path().read_text("utf-8")
    assert re.findall(r">(keys \d)<", saved) == ["keys 0", "keys 1"]


@pytest.mark.parametrize("view", ["head", "matrix", "model"])
def test_axe_finds_nothing_serious(show, view):
    page = show(view=view, head=1) if view == "matrix" else show(view=view)
    page.add_script_tag(path=ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js")
    found = page.evaluate("axe.run('attn-viz', {resultTypes: ['violations'], preload: false})")["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
