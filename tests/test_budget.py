"""The bytes of figures and entries: what they are, and what happens where they are more than their budget."""

import json
import logging
import re
import zlib
from contextlib import contextmanager

import layouts
import numpy as np
import pytest
from conftest import draw_figures, settle
from playwright.sync_api import Error, expect

from mkdocs_attnviz import byte_sizes, head_view, pipeline
from mkdocs_attnviz.block.defaults import ENTRY_SIZE
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import fault
from mkdocs_attnviz.cache.folder import Cache
from mkdocs_attnviz.figure.assets import AssetFolder, Assets
from mkdocs_attnviz.figure.placeholders import placeholder
from mkdocs_attnviz.models import entry_budget
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.models.comparison import difference
from mkdocs_attnviz.models.encoding import quantised
from mkdocs_attnviz.models.kept_shares import StepMasses, mean_weights, sampled_rows
from mkdocs_attnviz.models.reduction import AFTER, FRACTIONS, GROUPS, LADDER, Reduction, kept, largest_error
from mkdocs_attnviz.models.strongest import strongest_groups
from mkdocs_attnviz.pipeline import Pipeline, Plan
from mkdocs_attnviz.settings import Settings, SettingsError
from mkdocs_attnviz.views import block_of
from mkdocs_attnviz.views.attention.weights import StrongestLayer, layer_of
from mkdocs_attnviz.views.drawing import PAGE
from mkdocs_attnviz.weight_rounding import rounded_steps, rounding

LOG = logging.getLogger("test")


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def random_weights(layers=2, heads=4, tokens=64, causal=False):
    scores = np.random.default_rng(5).normal(0, 2, (layers, heads, tokens, tokens)).astype(np.float32)
    return softmax(np.where(np.tri(tokens, dtype=bool), scores, -np.inf) if causal else scores)


@contextmanager
def a_build(folder, given, *bodies, settings=None, entry_size=ENTRY_SIZE, in_page=False):
    """Yield a build, and the plans of blocks whose bodies are these, drawn from one entry of the given weights."""
    (folder / "m").mkdir()
    (folder / "m" / "config.json").write_text("{}")
    tokens = [f"w{n}" for n in range(given.shape[-1])]
    layers = {n: LayerTensors(layer) for n, layer in enumerate(given)}
    made = entry({"self": layers}, {"text": TokenRow(tokens)}, entry_size)
    with Pipeline(settings or Settings(), folder, LOG, in_page=in_page).build() as build:
        plans = []
        for line, body in enumerate(bodies, 1):
            plan = build.plan(Source(f"model: ./m\ntext: whatever\n{body}", page="page.md", line=line))
            assert isinstance(plan, Plan), plan
            Cache(folder / ".attnviz", LOG).put(plan.request.key, plan.request.key_parts, made)
            plans.append(plan)
        yield build, plans


def draw(build, plans):
    return build.render([plan.source for plan in plans])


# ---- bytes that are told


def test_the_size_in_the_site_is_that_of_html_and_files(tmp_path):
    with a_build(tmp_path, random_weights(), "view: head", "view: model") as (build, plans):
        for figure in draw(build, plans):
            folder = tmp_path / figure.block.view
            folder.mkdir()
            html = figure.html("attnviz-1", AssetFolder(folder, ""))
            files = sum(path.stat().st_size for path in folder.iterdir())
            assert files > 10_000
            assert figure.site_size == len(html.encode()) + files


def test_a_build_tells_its_five_heaviest_figures_once_and_warns_of_none(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(pipeline, "HEAVY", 10_000)
    caplog.set_level(logging.INFO)
    bodies = [f"include_layers: [{n % 2}]\ncaption: number {n}" for n in range(5)] + ["view: head"]
    with a_build(tmp_path, random_weights(), *bodies, "view: head\ninclude_heads: [1]") as (build, plans):
        figures = draw(build, plans)
        draw(build, plans)
    (told,) = [record for record in caplog.records if "heav" in record.message]
    assert told.levelno == logging.INFO
    heaviest = max(range(len(figures)), key=lambda n: figures[n].site_size)
    assert told.message.startswith("7 heavy figures, ")
    assert f": page.md:{heaviest + 1} ({figures[heaviest].site_size / 1000:.0f} kB), " in told.message
    assert told.message.count("page.md:") == 5


def test_a_build_without_heavy_figures_tells_nothing(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with a_build(tmp_path, random_weights(), "view: head") as (build, plans):
        draw(build, plans)
    assert not [record for record in caplog.records if "heavy" in record.message]


# ---- reductions


@pytest.mark.parametrize("tokens", [40, 300, 2048])
@pytest.mark.parametrize("reduction", [*LADDER, *AFTER], ids=lambda reduction: f"{reduction.least}")
def test_a_table_keeps_to_what_it_says(tokens, reduction):
    """Errors and shares are measured on the weights themselves, before they are stored."""
    weights = softmax(np.random.default_rng(3).normal(0, 3, (1, 50, tokens)).astype(np.float64))
    steps = quantised(weights.astype(np.float32))
    shown = np.frombuffer(reduction.table(tokens), np.uint8)[steps]
    decoded = np.square(shown.transpose(0, 2, 1).astype(np.float64) / 255)
    is_kept = (decoded > 0) if reduction.least else np.ones(weights.shape, bool)
    assert np.abs(decoded - weights)[is_kept].max(initial=0) <= largest_error(reduction, tokens)
    uniform, half = 1 / tokens, 0.5 / 255
    dropped_below = (np.sqrt(reduction.least * uniform) + half) ** 2
    assert weights[~is_kept].max(initial=0) <= dropped_below
    untouched = weights >= (np.sqrt(uniform * max(1, reduction.least)) + half) ** 2
    assert (shown.transpose(0, 2, 1) == steps.transpose(0, 2, 1))[untouched].all()
    if reduction.least:
        share = kept(steps[0].tobytes(), reduction, 50, tokens)
        assert share == pytest.approx(weights[is_kept].sum() / weights.sum(), abs=0.02)
    else:
        assert len(np.unique(shown[steps < 255 * np.sqrt(uniform)])) <= 6


def test_tables_drop_more_and_more():
    steps = quantised(random_weights(1, 1, 256)[0])[0].tobytes()
    shares = [kept(steps, reduction, 256, 256) for reduction in (*LADDER, *AFTER)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(1, abs=0.001)  # the smallest of the five values is zero
    assert 0.9 < shares[1] < 1


def masses_of(weights):
    return StepMasses.of(quantised(weights), mean_weights(weights[:, sampled_rows(weights.shape[1])]))


@pytest.mark.parametrize("causal", [False, True])
def test_the_strongest_weights_are_those_that_sorting_finds(causal):
    weights = random_weights(1, 3, 50, causal=causal)[0]
    steps = quantised(weights)
    groups, shares = strongest_groups(steps, masses_of(weights))
    for count in range(1, len(groups) + 1):
        layer, most = StrongestLayer(groups[:count], 50, 50, 3), sum(GROUPS[:count])
        for head in range(3):
            stored = steps[head].T  # (rows, cols)
            wanted = np.zeros_like(stored)
            for row, values in enumerate(stored):
                strongest = sorted(range(50), key=lambda col: (-int(values[col]), col))[:most]
                wanted[row, strongest] = values[strongest]
            assert np.array_equal(np.frombuffer(layer.steps(head), np.uint8).reshape(50, 50).T, wanted)
            assert layer.row(head, 7) == [(step / 255) ** 2 for step in wanted[7].tolist()]
            held = np.sort(weights[head], axis=1)[:, -most:].sum() / 50
            assert shares[count - 1][head] == pytest.approx(held, abs=0.001)


def test_a_group_that_is_damaged_is_no_picture():
    weights = random_weights(1, 1, 20)[0]
    groups, _ = strongest_groups(quantised(weights), masses_of(weights))
    wrong = zlib.compress(b"\xff" * len(zlib.decompress(groups[0])))
    with pytest.raises(ValueError, match="a weight of the column 65535"):
        StrongestLayer([wrong], 20, 20, 1).steps(0)
    with pytest.raises(ValueError, match="does not hold 60 bytes"):
        StrongestLayer([groups[1] + b"x"], 20, 20, 1)


# ---- what a figure ships


@pytest.fixture
def every_entry_is_large(monkeypatch):
    """Entries of tests have their strongest weights, as those of long texts do."""
    monkeypatch.setattr(entry_budget, "LARGE", 0)


SIZES = (650, 600, 440, 400, 340, 300, 250, 200, 150, 110)
"""Sizes in kB between the whole figure and as little as there can be."""


def layers_of(figure):
    return figure.drawing.data["stacks"]["self"]["layers"]


def test_ever_less_is_shipped_in_the_order_that_is_promised(tmp_path, every_entry_is_large):
    bodies = [f"size: {size} kB\nlayer: 1\nhead: 2\ncaption: {size}" for size in SIZES]
    with a_build(tmp_path, random_weights(6, 8, 128), *bodies) as (build, plans):
        figures = draw(build, plans)
    told = [figure.drawing.data.get("shipped", "") for figure in figures]
    for size, figure in zip(SIZES, figures, strict=True):
        assert figure.site_size <= 1000 * size
    order = [""]
    order += ["all other heads with weights below uniform in coarser steps (100%"]
    order += [f"coarser steps, those below {fraction} dropped" for fraction in list(FRACTIONS.values())[:4]]
    order += [f"of all other heads the {count} strongest weights" for count in (16, 8, 4, 2)]
    places = [next(n for n, words in reversed([*enumerate(order)]) if words in text) for text in told]
    assert places == sorted(places)
    assert len(set(places)) >= 7, told
    for text in told[1:]:
        assert text.startswith("To keep to ")
        assert "head 2 of layer 1 whole" in text
        assert text.endswith("The block's keys layer and heads ship heads whole; size ships more.")
    assert all(figure.drawing.sentence.endswith(text) for figure, text in zip(figures, told, strict=True))
    kept_shares = [np.mean([layer.get("kept", [1.0] * 8) for layer in layers_of(figure)]) for figure in figures[1:]]
    assert kept_shares == sorted(kept_shares, reverse=True)
    for size, figure in zip(SIZES[1:], figures[1:], strict=True):
        assert 1000 * size - figure.site_size < PAGE, "what is left is kept for the page, not for weights"


def test_what_has_no_room_is_an_overview_alone(tmp_path, every_entry_is_large):
    with a_build(tmp_path, random_weights(12, 4, 160), "size: 60 kB\nlayer: 3\nhead: 1") as (build, plans):
        (figure,) = draw(build, plans)
    missing = [layer["layer"] for layer in layers_of(figure) if not any(layer["kept"])]
    assert missing
    assert missing[-1] == 11
    assert f"Of layers {missing[0]} to 11 it has the overview alone." in figure.drawing.data["shipped"]
    assert "overview" in figure.drawing.data["stacks"]["self"]
    assert figure.site_size <= 60_000


@pytest.mark.parametrize("tokens", [160, 320])
def test_told_shares_are_those_of_the_exact_weights(tmp_path, tokens, every_entry_is_large):
    """Heads are between peaked and nearly uniform, where bytes tell a weight worst; those of long texts are rounded."""
    random, spreads = np.random.default_rng(3), np.array([0.1, 0.6, 2, 4])[:, None, None]
    given = softmax(random.normal(0, 1, (6, 4, tokens, tokens)) * spreads).astype(np.float32)
    bodies = [f"size: {size} kB\nlayer: 1\nhead: 2" for size in (1000, 900, 800, 700, 600, 500, 400, 300, 200, 100)]
    with a_build(tmp_path, given, *bodies) as (build, plans):
        figures = draw(build, plans)
    reduced = 0
    for figure in figures:
        for layer in layers_of(figure):
            for head, share in enumerate(layer.get("kept", [])):
                weights = given[layer["layer"], head].astype(np.float64)
                shown = shown_of(figure, layer, head, tokens) > 0
                if share == 0 or (layer["layer"], head) == (1, 2):  # absent, or whole
                    continue
                assert share == pytest.approx(weights[shown].sum() / tokens, abs=0.002), (layer["layer"], head)
                reduced += share < 0.99
    assert reduced > 50


def shown_of(figure, layer, head, tokens):
    """Return the bytes of a head as a figure has them, (rows, cols)."""
    for part in layer["parts"]:
        if head in part.get("heads", ()):
            content = part["content"] if "content" in part else figure.entry.blobs[part["blob"]]
            every = np.frombuffer(zlib.decompress(content), np.uint8).reshape(-1, tokens, tokens)
            return every[part["heads"].index(head)].T
    groups = [figure.entry.blobs[part["blob"]] for part in layer["parts"] if "count" in part]
    steps = StrongestLayer(groups, tokens, tokens, layer["heads"]).steps(head) if groups else bytes(tokens**2)
    return np.frombuffer(steps, np.uint8).reshape(tokens, tokens).T


@pytest.mark.parametrize(("tokens", "error"), [(160, 0.003), (320, 0.05)])
def test_the_shares_of_an_older_entry_are_estimated(tokens, error):
    """An entry of an earlier version has no shares of tables, so those of its bytes are told."""
    weights = softmax(np.random.default_rng(3).normal(0, 2, (40, tokens)).astype(np.float32))
    whole = np.frombuffer(rounded_steps(rounding(tokens)), np.uint8)[quantised(weights[None])[0]]
    for reduction in LADDER:
        left = np.frombuffer(reduction.table(tokens), np.uint8)[whole] > 0
        share = kept(whole.tobytes(), reduction, 40, tokens)
        assert share == pytest.approx(weights.T[left].sum() / 40, abs=error)


def test_strongest_weights_that_a_last_bit_has_changed_agree(every_entry_is_large):
    """An entry that is computed again may keep another of two weights that are nearly the same, but no other one."""
    given = random_weights(1, 3, 60)
    groups = [f"self/0/strongest/{number}" for number in range(len(GROUPS))]

    def made(weights):
        return entry({"self": {0: LayerTensors(weights)}}, {"text": TokenRow(["w"] * 60)})

    before, after = made(given[0]), made((given[0] * (1 + 1e-3 * np.sin(np.arange(60)))).astype(np.float32))
    assert before.blobs[groups[-1]] != after.blobs[groups[-1]]
    assert difference(before, after) == difference(after, before) == ""
    older = json.loads(json.dumps(before.meta))
    del older["stacks"]["self"]["layers"][0]["tables"]
    older["stacks"]["self"]["layers"][0]["strongest"] = [[0.5, 0.5, 0.5]]
    assert difference(Entry(older, before.blobs), after) == ""
    moved = made(np.roll(given[0], 1, axis=2))
    found = difference(Entry(before.meta, before.blobs | {name: moved.blobs[name] for name in groups}), after)
    assert re.fullmatch(r"self/0/strongest/0 has weights that are off by up to \d+ of 255 steps", found)
    wrong = before.blobs | {groups[0]: zlib.compress(b"\xff" * 540)}
    assert "self/0/strongest/0 has nothing that can be read" in difference(Entry(before.meta, wrong), after)


def test_a_small_or_older_entry_has_tables_in_place_of_its_strongest_weights(tmp_path):
    with a_build(tmp_path, random_weights(6, 8, 96), "size: 90 kB\nview: model") as (build, plans):
        (figure,) = draw(build, plans)
    assert re.search(
        r"all other heads with .* those below (4|16|64) times uniform dropped \(\d+% of", figure.drawing.sentence
    )
    assert figure.site_size <= 90_000


@pytest.mark.parametrize("view", ["head", "model", "matrix"])
def test_with_room_for_all_nothing_changes(tmp_path, view, every_entry_is_large):
    bodies = [f"view: {view}\nsize: {size}" for size in ("unlimited", "10 MB")]
    with a_build(tmp_path, random_weights(3, 4, 64), *bodies) as (build, plans):
        one, other = draw(build, plans)
    assert one.drawing == other.drawing
    assert "shipped" not in one.drawing.data
    assert not any("parts" in layer or "kept" in layer for layer in layers_of(one))


def test_the_setting_holds_where_a_block_names_no_size(tmp_path, every_entry_is_large):
    settings = Settings.read({"max_figure_size": "150 kB"})
    bodies = ["view: head", "size: 0.3MB", "size: unlimited"]
    with a_build(tmp_path, random_weights(6, 8, 96), *bodies, settings=settings) as (build, plans):
        site, own, unlimited = draw(build, plans)
    assert site.site_size < 150_000 < own.site_size <= 300_000 < unlimited.site_size


def test_data_inside_a_page_keep_to_the_size_in_their_own_coding(tmp_path, every_entry_is_large):
    bodies = [f"size: {size} kB" for size in SIZES]
    with a_build(tmp_path, random_weights(6, 8, 128), *bodies, in_page=True) as (build, plans):
        figures = draw(build, plans)
        page = build.fill("".join(placeholder(plan.source) for plan in plans), Assets())
    found = re.findall(r"<figure .*?</figure>", page, re.DOTALL)
    for size, figure, html in zip(SIZES, figures, found, strict=True):
        assert figure.site_size <= 1000 * size
        assert figure.site_size == pytest.approx(len(html.encode()), rel=0.01)
    assert figures[0].site_size > 400_000


def test_a_figure_in_a_notebook_keeps_to_its_size(every_entry_is_large):
    given = [layer[None] for layer in random_weights(6, 8, 128)]
    html = head_view(given, ["w"] * 128, size="300 kB", html_action="return").data
    assert 150_000 < len(re.search(r"<figure.*</figure>", html, re.DOTALL)[0]) <= 300_000


@pytest.mark.parametrize("value", ["many", "-3 MB", "0", "true", "10 TB"])
def test_a_size_that_is_none(value):
    with pytest.raises(BlockError, match=r"`size` is .*it must be a size like 10 MB or 500 kB, or unlimited"):
        block_of(Source(f"model: m\ntext: t\nsize: {value}"))
    with pytest.raises(SettingsError, match=r"`max_figure_size` is .* a size like 10 MB or 500 kB, or unlimited"):
        Settings.read({"max_figure_size": value})


@pytest.mark.parametrize(("text", "size"), [("10 MB", 10**7), ("500kb", 500_000), ("1.5 GB", 15 * 10**8), ("7", 7)])
def test_sizes_are_read(text, size):
    assert byte_sizes.read(text) == size


# ---- what an entry keeps


@pytest.mark.parametrize("size", [600_000, 400_000, 200_000, 120_000, 60_000])
def test_an_entry_keeps_to_its_budget_and_says_what_it_has(every_entry_is_large, size):
    given = random_weights(6, 8, 128)
    layers = {n: LayerTensors(layer) for n, layer in enumerate(given)}
    made = entry({"self": layers}, {"text": TokenRow(["w"] * 128)}, size)
    assert len(made.to_bytes()) <= size
    assert fault(made.meta, made.blobs) == ""
    assert made.meta["reduced"] == size
    for layer in made.meta["stacks"]["self"]["layers"]:
        stored = layer_of(made, "self", layer["layer"], 8)
        for head in (0, 7):
            steps = np.frombuffer(stored.steps(head), np.uint8).reshape(128, 128).T
            decoded, weights = np.square(steps / 255.0), given[layer["layer"], head].astype(np.float64)
            shown = steps > 0
            exact = layer["reduced"] == "strongest"
            error = 0.004 if exact else largest_error(Reduction(layer["reduced"]), 128)
            assert np.abs(decoded - weights)[shown].max() <= error
            assert layer["kept"][head] == pytest.approx(weights[shown].sum() / 128, abs=0.001)


def test_a_smaller_budget_keeps_less(every_entry_is_large):
    layers = {n: LayerTensors(layer) for n, layer in enumerate(random_weights(6, 8, 128))}
    entries = [entry({"self": layers}, {"text": TokenRow(["w"] * 128)}, size) for size in (10**7, 5 * 10**5, 10**5)]
    reduced = [[layer.get("reduced") for layer in each.meta["stacks"]["self"]["layers"]] for each in entries]
    assert set(reduced[0]) == {None}
    assert all(isinstance(least, float) for least in reduced[1])
    assert set(reduced[2]) == {"strongest"}
    assert "reduced" not in entries[0].meta


def test_a_small_entry_is_as_it_always_was():
    layers = {n: LayerTensors(layer) for n, layer in enumerate(random_weights())}
    made = entry({"self": layers}, {"text": TokenRow(["w"] * 64)}, 1000)
    assert {*made.meta} == {"sequences", "stacks"}
    assert not [name for name in made.blobs if "strongest" in name]
    keys = {*made.meta["stacks"]["self"]["layers"][0]}
    assert keys == {"layer", "heads", "values", "rollout"}


CLAIM = "layer: 1\nhead: 2\nexpect: [{from: w0, to: w1, at_least: 0.3}, {from: w0, to: w1, at_most: 0.01}]"


@pytest.mark.parametrize("view", ["head", "model", "matrix"])
def test_a_figure_of_a_reduced_entry_says_so_and_its_author_is_told(tmp_path, caplog, every_entry_is_large, view):
    caplog.set_level(logging.INFO)
    given = random_weights(6, 8, 128)
    with a_build(tmp_path, given, f"view: {view}\n{CLAIM}\nsize: unlimited", entry_size=100_000) as (build, plans):
        (figure,) = draw(build, plans)
    assert "the 4 strongest weights of each row" in figure.drawing.sentence
    assert "Its cache entry was reduced to at most 100 kB (max_entry_size)." in figure.drawing.sentence
    assert [each.holds for each in figure.claims] == [given[1, 2, 0, 1] >= 0.3, given[1, 2, 0, 1] <= 0.01]
    told = [record.message for record in caplog.records if "max_entry_size" in record.message]
    assert len(told) == 1
    assert told[0].startswith("page.md:1: its cache entry was reduced to at most 100 kB. To keep all weights, set")


def test_a_header_that_lies_about_its_shares_is_found(every_entry_is_large):
    made = entry({"self": {0: LayerTensors(random_weights(1, 3, 40)[0])}}, {"text": TokenRow(["w"] * 40)}, 1000)
    (layer,) = made.meta["stacks"]["self"]["layers"]
    for change in ({"kept": [1.0]}, {"strongest": []}, {"strongest": [[0.5, 0.5]]}, {"reduced": None}):
        wrong = {**made.meta, "stacks": {"self": made.meta["stacks"]["self"] | {"layers": [layer | change]}}}
        assert fault(wrong, made.blobs)


# ---- what the page shows of it

LAYERS, HEADS, TOKENS = 12, 4, 160
FIGURES = {
    "named": "view: head\nlayer: 3\nheads: [1, 2]\nsize: 150 kB",
    "tables": "view: matrix\nlayer: 3\nhead: 1\nsize: 500 kB",
    "overview": "view: matrix\nlayer: 3\nhead: 1\nsize: 60 kB",
    "model": "view: model\nlayer: 3\nhead: 1\nsize: 100 kB",
    "less": "view: head\nlayer: 11\nsize: 60 kB",
    "sink": "view: head\nlayer: 3\nheads: [3]\nsize: 120 kB\nsink: leave_out\nsink_tokens: w0",
}


@pytest.fixture(scope="module")
def weights():
    return random_weights(LAYERS, HEADS, TOKENS)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, weights):
    """The folder of a page with all figures, and what each of them ships."""
    folder = tmp_path_factory.mktemp("budget")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_budget, "LARGE", 0)
        bodies = [f"id: {name}\n{body}" for name, body in FIGURES.items()]
        with a_build(folder, weights, *bodies) as (build, plans):
            figures = dict(zip(FIGURES, draw(build, plans), strict=True))
            html = "".join(placeholder(plan.source) for plan in plans)
            filled = build.fill(html, AssetFolder(folder / "site" / "assets", "assets"))
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>t</title><body>{filled}"
    (folder / "site" / "index.html").write_text(page)
    return folder / "site" / "index.html", figures


@pytest.fixture
def opened(drawn, visits):
    """`opened(id, …)` → the page, these figures new and drawn."""

    def opened(*ids):
        within = f":is({', '.join(f'#{id}' for id in ids)})"
        page = visits.page(drawn[0], within=within)
        draw_figures(page, within)
        return page

    return opened


def weights_in(page, name, layer, head):
    request = {"layer": layer, "head": head}
    return page.locator(f"#{name} attn-viz").evaluate("(e, request) => e.weights(request)", request)


def test_a_named_head_is_whole_and_the_others_are_their_strongest_weights(opened, weights, drawn):
    page = opened("named")
    found = weights_in(page, "named", 3, 2)
    assert np.abs(np.array(found["values"]) - weights[3, 2]).max() < 0.004
    assert "kept" not in found or found["kept"] == 1
    for layer, head in ((3, 0), (7, 3)):
        found = weights_in(page, "named", layer, head)
        values = np.array(found["values"])
        count = (values > 0).sum(1).max()
        assert count in (1, 2, 4, 8, 16)
        assert f"the {count} strongest weights of each row" in drawn[1]["named"].drawing.data["shipped"]
        assert found["kept"] == pytest.approx(values.sum() / TOKENS, abs=0.01)
        strongest = np.argsort(-weights[layer, head], axis=1, kind="stable")[:, :count]
        assert (np.take_along_axis(values, strongest, 1) > 0).mean() > 0.95  # but for weights that are stored alike


def test_a_table_keeps_what_it_says_in_the_page(opened, weights, drawn):
    page = opened("tables")
    text = drawn[1]["tables"].drawing.data["shipped"]
    told = [each for each in LADDER if f"those below {FRACTIONS.get(each.least)} dropped" in text]
    error = max(largest_error(each, TOKENS) for each in told)
    for layer in (0, 3, 11):
        found = weights_in(page, "tables", layer, 2)
        values = np.array(found["values"])
        assert np.abs(values - weights[layer, 2])[values > 0].max() <= error
        assert found["kept"] == pytest.approx(weights[layer, 2][values > 0].sum() / TOKENS, abs=0.01)


def test_a_head_that_is_not_shipped_says_so_and_how_it_is(opened):
    page = opened("overview", "less")
    with pytest.raises(
        Error, match=r"Head 3 of layer 11 is not in this page\. Its author can ship it: layer: 11, heads: \[3"
    ):
        weights_in(page, "overview", 11, 3)
    states = {"overview": {"layer": 11, "heads": [3]}, "less": {"layer": 5}}
    told = {"overview": "Head 3 of layer 11 is not in this page", "less": "Layer 5 is not in this page"}
    for name, sentence in told.items():
        element = page.locator(f"#{name} attn-viz")
        element.evaluate("(e, change) => { e.state = change }", states[name])
        expect(element.locator(".absent")).to_contain_text(f"{sentence}. Its author can ship it: layer: ")
        expect(element.locator(".absent")).to_contain_text(
            "Its overview: the largest weights between parts of the text"
        )
        element.evaluate("e => e.ready")
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        settle(page)
        assert layouts.problems(page) == {}
        for name in told:  # with the options open, it is still within the picture
            element = page.locator(f"#{name} attn-viz")
            element.get_by_role("button", name="Options").click()
            settle(page)
            card, picture = (element.locator(part).bounding_box() for part in (".absent", ".scroller, .heat-map"))
            assert picture["y"] <= card["y"] < card["y"] + card["height"] <= picture["y"] + picture["height"]


NOTE_SIZES = """() => {
    globalThis.sizes = [];
    const construct = (of, args) => { sizes.push(args[0]); return new of(...args); };
    globalThis.Uint8Array = new Proxy(Uint8Array, { construct });
}"""


def test_the_parts_of_a_layer_come_with_one_request_and_are_not_unpacked_for_lines(drawn, open_page):
    page = open_page(drawn[0])
    draw_figures(page, "#named")
    element = page.locator("#named attn-viz")
    data = json.loads(element.get_attribute("data-figure"))
    layers = data["stacks"]["self"]["layers"]
    assert any(len(layer["parts"]) > 1 for layer in layers)
    for layer in layers:  # but for small parts, which are in the page
        assert len({part["file"] for part in layer["parts"] if "file" in part}) <= 1
    # the only arrays of a whole head's weights are those of the named heads, which come so
    page.evaluate(NOTE_SIZES)
    element.evaluate("e => { e.state = { layer: 7, heads: [0, 1, 2, 3] }; return e.updateComplete }")
    assert TOKENS**2 not in page.evaluate("sizes")
    weights_in(page, "named", 7, 2)
    assert page.evaluate("sizes").count(TOKENS**2) == 1


def test_without_its_sink_a_head_is_shown_as_it_is_and_what_is_missing_is_told(opened, weights, drawn):
    """The rest of each row is renormalised, and what was dropped of it stays dropped."""
    page = opened("sink")
    element = page.locator("#sink attn-viz")
    told = drawn[1]["sink"].drawing.data["shipped"]
    assert told.endswith(" These shares count the sink, too.")
    assert drawn[1]["sink"].drawing.sentence.endswith(told)
    for layer in (4, 8):
        element.evaluate("(e, layer) => { e.state = { layer, heads: [3] }; return e.updateComplete }", layer)
        true = weights[layer, 3].astype(np.float64)
        stored = np.array(weights_in(page, "sink", layer, 3)["values"]) > 0
        rest = true[:, 1:].sum(1)
        share = (np.where(stored, true, 0)[:, 1:].sum() / rest.sum()).mean()
        assert share < 0.9
        expect(element.locator(".share")).to_contain_text(re.compile(r"\d+% of the weight drawn"))
        shown = int(re.match(r"\d+", element.locator(".share").inner_text())[0]) / 100
        assert shown == pytest.approx(share, abs=0.02)
        row = 100
        element.evaluate(
            "(e, index) => { e.state = { selected: { side: 'left', index } }; return e.updateComplete }", row
        )
        read = element.locator(".readout").inner_text()
        found = [float(each) for each in re.findall(r"(0\.\d+)", read)]
        expected = np.where(stored, true, 0)[row, 1:] / rest[row]
        assert found
        assert found == pytest.approx(sorted(expected)[::-1][: len(found)], abs=0.01)


def test_what_is_reduced_is_told_in_picture_table_and_menu(opened, drawn):
    page = opened("named")
    element = page.locator("#named attn-viz")
    element.evaluate("e => { e.state = { layer: 7, heads: [2] } }")
    kept = layers_of(drawn[1]["named"])[7]["kept"][2]
    expect(element.locator(".share")).to_contain_text(f"{100 * kept:.0f}% of the weight drawn")
    element.get_by_role("button", name="Options").click()
    element.get_by_text("About this figure").click()
    expect(element.locator(".about")).to_contain_text(drawn[1]["named"].drawing.data["shipped"])
    element.get_by_role("button", name="Table").click()
    expect(element.locator("caption")).to_contain_text(f"{100 * kept:.0f}% of its weight is in this page")


def test_an_average_over_layers_leaves_out_those_that_are_not_shipped(opened, drawn):
    page = opened("overview")
    shipped = [layer["layer"] for layer in layers_of(drawn[1]["overview"]) if any(layer["kept"])]
    element = page.locator("#overview attn-viz")
    element.evaluate("e => { e.state = { across_layers: 'mean' } }")
    expect(element.locator(".how")).to_contain_text(f"Mean of {len(shipped)} layers")
