"""The experts view shows the choices, weights and probabilities that transformers' own router gives."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import mixtures
import pytest
import tiny_models
import torch
from conftest import MIXTURE, draw_figures, settle
from playwright.sync_api import expect

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import experts
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.claims import judge
from mkdocs_attnviz.views.expert_balance import variation
from mkdocs_attnviz.views.router_choices import STEPS, RouterChoices
from mkdocs_attnviz.views.svg.experts import experts_picture

TEXT = "the old miller sold nine apples to a sailor near the bridge . 47 + 18 = 65 . a child gave two coins to the king"


@pytest.fixture(scope="module")
def trained():
    return load(resolve(MIXTURE, None, Settings(), Path(MIXTURE)), "cpu", head=True, attention=False)


@pytest.fixture(scope="module")
def entry(trained):
    return experts.capture(Context(trained, [example(trained, {"text": TEXT}, 512)]))[0]


@pytest.fixture(scope="module")
def truth(trained):
    """The router's probabilities by layer, (T, 8), by transformers' own output."""
    ids = trained.tokenizer(TEXT, return_tensors="pt").input_ids
    with torch.inference_mode():
        return [each.softmax(-1) for each in trained.model(ids, output_router_logits=True).router_logits]


def block(more="", model="mixture"):
    return parse(Source(f"model: {model}\ntext: {json.dumps(TEXT)}\nview: experts\n{more}"), OPTIONS)


def drawn(entry, more=""):
    return VIEWS["experts"].drawing(block(more), entry)


# ---- what is stored


def test_choices_weights_and_entropies_are_those_of_transformers(entry, truth):
    assert [about["layer"] for about in entry.meta["mixtures"]] == [0, 1, 2, 3]
    for about, probabilities in zip(entry.meta["mixtures"], truth, strict=True):
        choices = RouterChoices(entry, about)
        top = probabilities.topk(2, dim=-1)
        entropies = torch.distributions.Categorical(probabilities).entropy() / math.log(2)
        assert (choices.tokens, choices.experts, choices.top_k) == (len(probabilities), 8, 2)
        for token in range(choices.tokens):
            assert choices.chosen(token) == top.indices[token].tolist()
            own = (top.values[token] / top.values[token].sum()).tolist()
            assert list(choices.weights(token).values()) == pytest.approx(own, abs=1 / STEPS)
            assert choices.entropy(token) == pytest.approx(float(entropies[token]), abs=3 / STEPS)
            assert dict(choices.distribution(token)) == pytest.approx(
                dict(enumerate(probabilities[token].tolist())), abs=1 / STEPS
            )
        counts = torch.bincount(top.indices.flatten(), minlength=8)
        assert choices.counts == counts.tolist()
        assert variation(choices) == pytest.approx(float(counts.float().std(correction=0) / counts.float().mean()))


def test_an_entry_is_small(entry):
    tokens = len(entry.meta["sequences"]["text"]["tokens"])
    assert sum(map(len, entry.blobs.values())) < 4 * tokens * (2 * 6 + 2 + 8 * 4) + 1000


def test_of_many_experts_the_likeliest_are_stored():
    routing = next(iter(_routings("mixtral")))
    wide = torch.rand(5, 200).softmax(-1)
    scores = routing.scores._replace(distribution=wide)
    chosen = wide.topk(2, dim=-1)
    many = replace(routing, experts=200, indices=chosen.indices, weights=chosen.values, scores=scores)
    about, choices = experts._choices(many)
    about["stored"], router = experts._router(wide.numpy())
    from mkdocs_attnviz.cache.entry import Entry

    name = f"{about['stack']}/{about['part']}/{about['layer']}"
    about |= {"function": "softmax"}
    read = RouterChoices(Entry({}, {name: choices, f"{name}/router": router}), about)
    assert about["stored"] == experts.STRONGEST
    assert [expert for expert, _ in read.distribution(3)] == wide[3].topk(16).indices.tolist()
    least = int(wide[3].argmin())
    assert read.probability(3, least) is None
    assert read.probability(3, read.chosen(3)[0]) == pytest.approx(float(wide[3].max()), abs=1 / STEPS)


def _routings(model_type):
    from mkdocs_attnviz.models.probing.routers import find_routings

    loaded = mixtures.mixture(model_type)
    return find_routings(loaded, tiny_models.example(loaded, text=24, target=12))


def test_dropped_tokens_and_two_stacks():
    loaded = mixtures.mixture("switch_transformers")
    entry = experts.capture(Context(loaded, [tiny_models.example(loaded, text=24, target=12)]))[0]
    drawing = VIEWS["experts"].drawing(block(model="switch"), entry)
    assert drawing.data["initial"] | {"layer": 1} == drawing.data["initial"]
    assert drawing.data["initial"]["stack"] == "encoder"
    encoder = [each for each in drawing.data["mixtures"] if each["stack"] == "encoder"]
    dropped = sum(24 - sum(each["load"]) for each in encoder)
    assert dropped > 0
    assert f"{dropped} of 48 times a token got no expert" in drawing.sentence
    assert any("a token was dropped or skipped" in note for note in drawing.data["notes"])
    assert ">–<" in experts_picture([_reversed(entry)], ["a"] * 24, "auto", None).svg
    ended = VIEWS["experts"].drawing(block("layer: 1", model="switch"), entry)
    assert ended.data["initial"]["layer"] == 1
    decoder = VIEWS["experts"].drawing(block("stack: decoder", model="switch"), entry)
    assert "of the decoder of switch chose for 12 tokens" in decoder.sentence


def _reversed(entry):
    """Return the choices of the mixture that dropped most tokens, the last token first."""
    every = [RouterChoices(entry, about) for about in entry.meta["mixtures"] if about["stack"] == "encoder"]
    found = max(every, key=lambda choices: choices.dropped)
    found._chosen.reverse()
    return found


def test_what_a_picture_cannot_show_is_told():
    notes = {}
    for model_type in ("deepseek_v3", "phimoe", "longcat_flash", "zaya"):
        loaded = mixtures.mixture(model_type)
        entry = experts.capture(Context(loaded, [tiny_models.example(loaded, text=24)]))[0]
        notes[model_type] = " · ".join(VIEWS["experts"].drawing(block(), entry).data["notes"])
    assert "router: sigmoid of its logits, divided by its sum" in notes["deepseek_v3"]
    assert "beside these experts, shared ones get every token" in notes["deepseek_v3"]
    assert "not in proportion to the router's probabilities" in notes["phimoe"]
    assert "experts 8 to 11 have no weights" in notes["longcat_flash"]
    assert "expert 8 has no weights" in notes["zaya"]


# ---- the drawing


def test_the_sentence_and_the_picture_have_the_load_and_the_first_experts(entry, truth):
    drawing = drawn(entry)
    counts = torch.bincount(truth[3].topk(2).indices.flatten(), minlength=8).tolist()
    share = max(counts) / sum(counts)
    assert f"In layer 3, expert {counts.index(max(counts))} got {100 * share:.3g}% of the choices" in drawing.sentence
    shown = re.findall(r'class="i(\d)"', drawing.picture.svg)
    columns = drawing.picture.svg.count(">the<") + drawing.picture.svg.count(">old<")
    assert columns >= 2
    first = [int(truth[layer][0].argmax()) for layer in (3, 2, 1, 0)]
    assert [int(each) for each in shown[:4]] == first, "the first token, from the last layer down"


def test_the_picture_of_the_load_has_a_bar_for_each_expert(entry, truth):
    svg = drawn(entry, "show: load").picture.svg
    heights = [float(each) for each in re.findall(r'<rect class="e\d"[^>]* height="([\d.]+)"', svg)]
    counts = torch.stack([torch.bincount(each.topk(2).indices.flatten(), minlength=8) for each in truth]).flip(0)
    assert heights == pytest.approx((36 * counts / counts.max()).flatten().tolist(), rel=0.01)
    assert svg.count("<path") == 4


def test_with_an_expert_only_its_tokens_are_coloured(entry, truth):
    svg = drawn(entry, "expert: 2").picture.svg
    assert set(re.findall(r'<rect class="e(\d+)"', svg)) == {"2"}


def test_layers_can_be_left_out(entry):
    assert drawn(entry).data["initial"]["show"] == "grid"
    assert [each["layer"] for each in drawn(entry, "include_layers: [1, 2]").data["mixtures"]] == [1, 2]
    assert drawn(entry, "include_layers: [1, 2]").data["initial"]["layer"] == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("layer: 4", "`layer` is 4; the mixtures of model 'mixture' are in layers 0 to 3."),
        ("expert: 8", "`expert` is 8; the experts are 0 to 7."),
        (
            "include_layers: [1, 7]",
            "`include_layers` has layer 7; the mixtures of model 'mixture' are in layers 0 to 3.",
        ),
        ("include_layers: [1]\nlayer: 0", "`layer` is 0; the mixtures of model 'mixture' are in layer 1."),
        ("stack: decoder", "`stack` is decoder; the mixtures of model 'mixture' are in self."),
        ("part: attention", "`part` is attention; the mixtures of model 'mixture' are in feed_forward."),
    ],
)
def test_what_a_model_does_not_have_is_told(entry, more, message):
    with pytest.raises(BlockError, match=re.escape(message)):
        drawn(entry, more)


def test_a_key_that_is_wrong_is_told():
    with pytest.raises(BlockError, match="`show` is 'bars'; it must be grid, text or load"):
        block("show: bars")


@pytest.mark.parametrize(
    "forged", [{"experts": 10**9}, {"experts": 3}, {"top_k": 0}, {"top_k": 5}, {"experts": 1, "top_k": 2}]
)
def test_an_entry_that_tells_other_numbers_than_it_holds_is_refused(entry, forged):
    with pytest.raises(ValueError, match="A part of the entry"):
        RouterChoices(entry, {**entry.meta["mixtures"][0], **forged})


# ---- claims


def claims(truth):
    """Claims with whether they hold, from transformers' own numbers."""
    tokens = TEXT.split()
    sold, miller = tokens.index("sold"), tokens.index("miller")
    best = truth[2][sold].topk(2)
    weight = float(best.values[0] / best.values.sum())
    probability = float(truth[2][sold].max())
    bits = float(torch.distributions.Categorical(truth[1][miller]).entropy() / math.log(2))
    mean = float(torch.distributions.Categorical(truth[1]).entropy().mean() / math.log(2))
    counts = torch.bincount(truth[0].topk(2).indices.flatten(), minlength=8).double()
    load, most = counts / counts.sum(), int(counts.argmax())
    cv = float(counts.std(correction=0) / counts.mean())
    first = int(best.indices[0])
    absent = next(expert for expert in range(8) if expert not in best.indices)
    at = f"layer: 2, expert: {first}, token: sold"
    return [
        (f"{{strongest: {{layer: 2, token: sold}}, is: {first}}}", True),
        (f"{{strongest: {{layer: 2, token: sold}}, is: {absent}}}", False),
        (f"{{strongest: {{layer: 0}}, is: {most}}}", True),
        (f"{{layer: 0, expert: {most}, between: [{load[most] - 0.01:.4f}, {load[most] + 0.01:.4f}]}}", True),
        (f"{{layer: 0, expert: {most}, at_most: {load[most] - 0.01:.4f}}}", False),
        (f"{{measure: load, layer: 0, expert: {most}, beats_baseline_by: {load[most] - 0.13:.4f}}}", True),
        (f"{{{at}, at_least: {weight - 0.01:.4f}}}", True),
        (f"{{{at}, is: {weight:.2f}}}", True),
        (f"{{{at}, at_most: {weight - 0.01:.4f}}}", False),
        (f"{{layer: 2, expert: {absent}, token: sold, is: 0}}", True),
        (f"{{measure: probability, {at}, is: {probability:.2f}}}", True),
        (f"{{measure: probability, {at}, at_least: {probability + 0.01:.4f}}}", False),
        (f"{{measure: entropy, layer: 1, token: miller, is: {bits:.2f}}}", True),
        (f"{{measure: entropy, layer: 1, token: miller, at_most: {bits - 0.05:.4f}}}", False),
        (f"{{measure: entropy, layer: 1, between: [{mean - 0.01:.4f}, {mean + 0.01:.4f}]}}", True),
        (f"{{measure: variation, layer: 0, is: {cv:.2f}}}", True),
        (f"{{measure: variation, layer: 0, at_least: {cv + 0.02:.4f}}}", False),
    ]


def test_claims_hold_or_do_not(entry, truth):
    every = claims(truth)
    lines = "".join(f"  - {claim}\n" for claim, _ in every)
    verdicts = judge(block(f"expect:\n{lines}"), VIEWS["experts"], [entry])
    assert [verdict.holds for verdict in verdicts] == [holds for _, holds in every]


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("{layer: 9, expert: 0, at_least: 0.1}", "`layer` is 9; the mixtures of model 'mixture' are in layers 0 to 3."),
        ("{layer: 1, expert: 8, at_least: 0.1}", "`expert` is 8; layer 1 has experts 0 to 7."),
    ],
)
def test_a_claim_about_what_is_not_there_is_an_error(entry, claim, message):
    with pytest.raises(BlockError, match=re.escape(message)):
        judge(block(f"expect:\n  - {claim}\n"), VIEWS["experts"], [entry])


# ---- in the page


def longer(folder):
    """Make the same model read longer texts, which its rotary positions allow."""
    shutil.copytree(MIXTURE, folder, dirs_exist_ok=True)
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(settings | {key: 4096}))


@pytest.fixture
def page(site, share, once, visits):
    fence = f"```attention\nmodel: mixture\ntext: {json.dumps(TEXT)}\nview: experts\n"
    long = " ".join([TEXT] * 60)
    site.settings["max_tokens"] = 3000
    site.settings["models"]["longer"] = str(once("longer-mixture", longer))
    site.write("index.md", f"{fence}id: grid\n```\n\n{fence}show: text\nlayer: 2\nid: text\n```\n")
    site.write("load.md", f"{fence}show: load\nid: load\n```\n")
    site.write("long.md", f"```attention\nmodel: longer\nview: experts\nid: long\ntext: {json.dumps(long)}\n```\n")
    built = share(site, "--strict")

    def opened(id, **options):
        folder = built.folder / "site"
        address = folder / "index.html" if id in ("grid", "text") else folder / id / "index.html"
        page = visits.page(address, within=f"#{id}", **options)
        draw_figures(page, f"#{id}")
        settle(page)
        return page

    return opened


def figure(page, id):
    return page.locator(f"#{id} attn-viz")


def test_values_of_the_page_are_those_of_transformers(page, truth):
    element = figure(page("grid"), "grid")
    for layer, probabilities in enumerate(truth):
        found = element.evaluate("(e, layer) => e.values({layer, token: 2})", layer)
        top = probabilities.topk(2, dim=-1)
        assert found["chosen"] == top.indices.tolist()
        weights = top.values / top.values.sum(-1, keepdim=True)
        assert torch.tensor(found["weights"]).sub(weights).abs().max() < 1e-4
        router = {each["expert"]: each["value"] for each in found["router"]}
        assert router == pytest.approx(dict(enumerate(probabilities[2].tolist())), abs=1e-4)


def test_a_token_that_is_held_shows_its_router_in_each_layer(page, truth):
    page = page("grid")
    element = figure(page, "grid")
    element.locator("td").first.focus()
    page.keyboard.press("Shift")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(element.locator(".expert-bars .line:not(.ticks)")).to_have_count(4)
    state = element.evaluate("e => e.state")
    assert (state["layer"], state["token"]) == (2, 2)
    heights = (
        element.locator(".expert-bars .line")
        .nth(1)
        .locator("i")
        .evaluate_all("all => all.map(e => parseFloat(e.style.height) / 100)")
    )
    assert heights == pytest.approx(truth[2][2].tolist(), abs=1e-3)
    chosen = truth[2][2].topk(2)
    weights = chosen.values / chosen.values.sum()
    expect(element.locator(".panel-readout")).to_contain_text(
        f"Layer 2, miller: expert {chosen.indices[0]} with weight {weights[0]:.2f}"
    )
    page.keyboard.press("Escape")
    expect(element.locator(".expert-bars")).to_have_count(0)


def test_one_expert_lights_up_its_tokens(page, truth):
    element = figure(page("grid"), "grid")
    element.get_by_role("combobox", name="Expert").select_option("2")
    element.evaluate("e => e.updateComplete")
    coloured = "all => all.map(e => e.style.background !== '')"
    rows = element.locator("tbody tr").all()
    for row, layer in zip(rows, (3, 2, 1, 0), strict=True):
        went = (truth[layer].topk(2).indices == 2).any(-1).tolist()
        assert row.locator("td").evaluate_all(coloured) == went


def test_keys_turn_the_text_to_other_layers(page, truth):
    page = page("text")
    element = figure(page, "text")
    element.locator(".running").focus()
    page.keyboard.press("Shift")
    page.keyboard.press("ArrowRight")
    expert = int(truth[2][1].argmax())
    expect(element.locator(".panel-readout")).to_contain_text(f"Layer 2, old: expert {expert} with weight")
    page.keyboard.press("ArrowUp")
    assert element.evaluate("e => e.state.layer") == 3, "the last layer is on top"
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert element.evaluate("e => e.state.token") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_bars_are_the_load(page, truth, dark):
    page = page("load", dark=dark, width=360 if dark else 1280)
    element = figure(page, "load")
    for row, layer in enumerate((3, 2, 1, 0)):
        counts = torch.bincount(truth[layer].topk(2).indices.flatten(), minlength=8).tolist()
        heights = (
            element.locator(".line")
            .nth(row)
            .locator("i")
            .evaluate_all("all => all.map(e => parseFloat(e.style.height))")
        )
        assert max(range(8), key=heights.__getitem__) == counts.index(max(counts))
        assert heights == pytest.approx([count * max(heights) / max(counts) for count in counts], abs=0.1)
    element.locator(".expert-bars").focus()
    page.keyboard.press("Shift")
    page.keyboard.press("ArrowRight")
    counts = torch.bincount(truth[3].topk(2).indices.flatten(), minlength=8).tolist()
    expect(element.locator(".panel-readout")).to_contain_text(f"Layer 3, expert 1: {counts[1]} of")
    page.keyboard.press("Enter")
    assert element.evaluate("e => e.state.expert") == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= (360 if dark else 1280)


def test_a_long_text_has_no_grid(page):
    page = page("long")
    element = figure(page, "long")
    assert element.evaluate("e => e.state.show") == "text"
    shows = element.get_by_role("combobox", name="Show").locator("option").all_inner_texts()
    assert shows == ["text of one layer", "load of the experts"]
    element.get_by_role("combobox", name="Layer").select_option("0")
    assert element.evaluate("e => e.state.layer") == 0
    bad = "e => { try { e.state = {expert: 8} } catch (error) { return error.message } }"
    assert element.evaluate(bad).startswith("expert 8")
