"""The load of experts over a corpus is what transformers' own routers give, text by text."""

from __future__ import annotations

import copy
import json
import math
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import mixtures
import numpy as np
import pytest
import tiny_models
import torch
from conftest import MIXTURE, ROOT, draw_all, settle
from playwright.sync_api import expect
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError, WrongValue
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures import expert_loads
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Corpus
from mkdocs_attnviz.models.captures.expert_load_sums import LEAST
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.corpus_file import read_corpus
from mkdocs_attnviz.models.inputs.corpus_text import CorpusText
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.models.probing.routers import find_routings
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS, state
from mkdocs_attnviz.views.claims import judge
from mkdocs_attnviz.views.expert_balance import balance_loss, load_entropy, variation
from mkdocs_attnviz.views.router_loads import router_loads

CORPUS = ROOT / "example_site" / "corpora" / "prose-and-sums.txt"
TEXTS = 40
"""The number of the corpus's texts that these tests read."""


@pytest.fixture(scope="module")
def trained():
    return load(resolve(MIXTURE, None, Settings(), Path(MIXTURE)), "cpu", head=True, attention=False)


@pytest.fixture(scope="module")
def texts():
    return [text["text"] for text in read_corpus(CORPUS.name, CORPUS, max_texts=TEXTS)["texts"]]


def captured(loaded, texts, max_tokens=512, batch_size=8):
    inputs = {"corpus": {"digest": "", "texts": [asdict(CorpusText(text, n)) for n, text in enumerate(texts, 1)]}}
    corpus = Corpus(loaded, inputs, max_tokens, batch_size, attention=False)
    (entry,) = expert_loads.capture(Context(loaded, (), {}, None, corpus))
    return Entry.from_bytes(entry.to_bytes())


@pytest.fixture(scope="module")
def entry(trained, texts):
    return captured(trained, texts)


@pytest.fixture(scope="module")
def truth(trained, texts):
    """The token ids of all texts, and by layer the logits of transformers' own routers, (T, 8): text by text."""
    ids, layers = [], [[] for _ in range(4)]
    with torch.inference_mode():
        for text in texts:
            read = trained.tokenizer(text, return_tensors="pt").input_ids
            ids += read[0].tolist()
            for layer, logits in zip(layers, trained.model(read, output_router_logits=True).router_logits, strict=True):
                layer.append(logits)
    return ids, [torch.cat(layer) for layer in layers]


def block(more="", corpus="a.txt"):
    return parse(Source(f"model: mixture\ncorpus: {corpus}\nview: experts\n{more}"), OPTIONS)


def drawn(entry, more=""):
    return VIEWS["experts"].drawing(block(more), entry)


# ---- what is stored


def test_the_corpus_is_what_its_script_writes(monkeypatch):
    monkeypatch.syspath_prepend(MIXTURE)
    import texts

    assert CORPUS.read_text("utf-8") == texts.corpus()


def test_loads_and_entropies_are_those_of_transformers(entry, truth):
    ids, layers = truth
    routers = router_loads(entry)
    assert [router.about["layer"] for router in routers] == [0, 1, 2, 3]
    assert entry.meta["loads"]["tokens"] == {"text": len(ids)}
    for router, logits in zip(routers, layers, strict=True):
        probabilities = logits.double().softmax(-1)
        counts = torch.bincount(logits.topk(2).indices.flatten(), minlength=8)
        entropies = torch.distributions.Categorical(probabilities).entropy() / math.log(2)
        share = torch.distributions.Categorical(counts / counts.sum())
        assert router.counts == counts.tolist()
        assert router.tokens == len(ids)
        assert router.probabilities == pytest.approx(probabilities.mean(0).tolist(), abs=1e-6)
        assert router.mean_entropy == pytest.approx(float(entropies.mean()), abs=1e-5)
        assert load_entropy(router) == pytest.approx(float(share.entropy()) / math.log(2), abs=1e-6)
        assert variation(router) == pytest.approx(float(counts.double().std(correction=0) / counts.double().mean()))
        own = load_balancing_loss_func((logits,), 8, 2)
        assert balance_loss(router) == pytest.approx(float(own) / 2, rel=1e-5), (
            "theirs counts each of two choices whole"
        )


def test_tokens_of_an_expert_are_those_that_go_there_most(entry, truth):
    ids, layers = truth
    often = Counter(ids)
    tokenizer = load(resolve(MIXTURE, None, Settings(), Path(MIXTURE)), "cpu", attention=False).tokenizer
    for router, logits in zip(router_loads(entry), layers, strict=True):
        pairs = Counter(
            (expert, token)
            for token, experts in zip(ids, logits.topk(2).indices.tolist(), strict=True)
            for expert in experts
        )
        for expert in range(8):
            shares = {
                tokenizer.convert_ids_to_tokens(token): (pairs[expert, token] / count, pairs[expert, token])
                for token, count in often.items()
                if count >= LEAST and pairs[expert, token]
            }
            best = sorted(shares.values(), key=lambda pair: (-pair[0], -pair[1]))[: expert_loads.EACH]
            found = router.tokens_of(expert)
            assert [(each.share, each.count) for each in found] == best
            assert all(shares[each.token] == (each.share, each.count) for each in found)


@pytest.mark.parametrize("model_type", ["jetmoe", "mixtral", "switch_transformers", "zaya"])
def test_a_batch_counts_what_its_texts_count_alone(model_type):
    """Neither padding nor special tokens count, in the text and in the target."""
    loaded = mixtures.mixture(model_type)
    examples = [tiny_models.example(loaded, text=size, target=size // 2) for size in (9, 24, 17)]
    for example in examples:
        example.text.special[:] = [0, 3]
    apart = {"text": [0, 3], "target": examples[0].target.special if examples[0].target else []}
    batch = [SimpleNamespace(example=example) for example in examples]
    alone = [find_routings(loaded, example) for example in examples]
    places = {expert_loads._place(routing) for routing in alone[0]}
    sums = expert_loads._measured(loaded, batch, places)
    assert set(sums.routers) == places
    for place, router in sums.routers.items():
        side = expert_loads._sequence_of(place[0])
        rows = [each for routings in alone for each in routings if expert_loads._place(each) == place]
        kept = [[at for at in range(len(row.indices)) if at not in apart[side]] for row in rows]
        expected = [np.sort(row.indices[some].numpy()) for row, some in zip(rows, kept, strict=True)]
        assert np.array_equal(np.sort(router.indices), np.concatenate(expected))
        assert len(sums.ids[side]) == len(router.indices) == sum(map(len, kept))
        if rows[0].scores is not None:
            total = sum(row.scores.distribution[some].sum(0) for row, some in zip(rows, kept, strict=True))
            torch.testing.assert_close(torch.tensor(router.probabilities).float(), total, atol=1e-4, rtol=1e-4)
    assert sums.special["text"].total() == 6


def test_special_tokens_are_told_and_not_counted(trained, texts):
    """The tokenizer puts two tokens around each text: the routers choose for them, and nobody counts it."""
    loaded = copy.copy(trained)
    loaded.tokenizer = copy.deepcopy(trained.tokenizer)
    from tokenizers.processors import TemplateProcessing

    ids = loaded.tokenizer.get_vocab()
    marks = [("<unk>", ids["<unk>"]), ("<pad>", ids["<pad>"])]
    loaded.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<unk> $A <pad>", special_tokens=marks
    )
    found = captured(loaded, texts[:3])
    length = sum(len(text.split()) for text in texts[:3])
    meta = found.meta["loads"]
    assert (meta["tokens"], meta["special"], meta["special_tokens"]) == ({"text": length}, 6, ["<unk>", "<pad>"])
    assert all(sum(router.counts) == 2 * length for router in router_loads(found))
    note = drawn(found).data["notes"][0]
    assert note == "not counted: padding, and 6 special tokens (<unk>, <pad>)"
    with pytest.raises(WrongValue, match="special tokens only, which are not counted"):
        captured(loaded, ["<unk>"])


def test_a_text_that_cannot_be_read_is_left_out(trained, texts):
    found = captured(trained, [*texts[:2], " ".join(texts)])
    meta = found.meta["loads"]
    assert (meta["texts"], meta["left_out_count"]) == (2, 1)
    assert meta["tokens"] == captured(trained, texts[:2]).meta["loads"]["tokens"]
    assert "texts of the corpus that the model cannot read, and that are left out: 1" in drawn(found).data["notes"]


def test_the_size_of_the_batches_does_not_matter(trained, texts, entry):
    alone = captured(trained, texts, batch_size=1)
    for one, other in zip(router_loads(alone), router_loads(entry), strict=True):
        assert one.counts == other.counts
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert [list(map(asdict, one.tokens_of(expert))) for expert in range(8)] == [
            list(map(asdict, other.tokens_of(expert))) for expert in range(8)
        ]


def test_only_so_many_different_tokens_are_counted_by_expert(trained, texts, entry, monkeypatch):
    monkeypatch.setattr("mkdocs_attnviz.models.captures.expert_load_sums.DISTINCT", 10)
    few = captured(trained, texts)
    assert len(few.meta["loads"]["vocabulary"]["text"]["tokens"]) <= 10
    assert [router.counts for router in router_loads(few)] == [router.counts for router in router_loads(entry)]
    known = {each.token: each for each in router_loads(entry)[2].tokens_of(2)}
    for each in router_loads(few)[2].tokens_of(2):
        assert known.get(each.token, each) == each


def test_a_model_without_experts_is_refused():
    path = str(ROOT / "example_site" / "models" / "induction")
    loaded = load(resolve(path, None, Settings(), ROOT), "cpu", head=True, attention=False)
    with pytest.raises(Unusable, match="has no mixture of experts whose choices can be read"):
        captured(loaded, ["the cat saw the dog"])


def test_dropped_tokens_are_counted_and_two_stacks_told_apart():
    loaded = mixtures.mixture("switch_transformers")
    examples = [tiny_models.example(loaded, text=24, target=12), tiny_models.example(loaded, text=12, target=5)]
    sums = expert_loads._measured(
        loaded,
        [SimpleNamespace(example=each) for each in examples],
        {expert_loads._place(routing) for routing in find_routings(loaded, examples[0])},
    )
    tokens = {place[0]: len(router.indices) for place, router in sums.routers.items()}
    assert tokens == {"encoder": 36, "decoder": 17}
    encoder = next(router for place, router in sums.routers.items() if place[0] == "encoder")
    assert (encoder.indices < 0).any()


# ---- the drawing


def test_sentence_picture_and_data_have_the_loads(entry, truth):
    drawing = drawn(entry)
    ids, layers = truth
    counts = torch.bincount(layers[3].topk(2).indices.flatten(), minlength=8).tolist()
    most = counts.index(max(counts))
    assert f"in 4 layers of mixture chose for {len(ids):,} tokens of {TEXTS} texts: 2 of 8" in drawing.sentence
    assert f"In layer 3, expert {most} got {100 * max(counts) / sum(counts):.3g}% of the choices" in drawing.sentence
    svg = drawing.picture.svg
    heights = [float(each) for each in re.findall(r'<rect class="e\d"[^>]* height="([\d.]+)"', svg)]
    every = torch.stack([torch.bincount(each.topk(2).indices.flatten(), minlength=8) for each in layers]).flip(0)
    means = torch.stack([each.softmax(-1).mean(0) for each in layers]).flip(0)
    tallest = max(float((every / every.sum(1, keepdim=True)).max()), float(means.max()))
    expected = 36 * every / every.sum(1, keepdim=True) / tallest
    assert heights == pytest.approx(expected.flatten().tolist(), rel=0.01)
    ticks = [float(each) for each in re.findall(r'<rect class="t"[^>]* y="([\d.]+)"', svg)]
    bottoms = torch.tensor([[42.0], [94.0], [146.0], [198.0]])
    assert ticks == pytest.approx((bottoms - 36 * means / tallest - 1).flatten().tolist(), abs=0.06)
    assert set(drawing.data["initial"]) == {"show", "stack", "part", "layer", "expert"}


def test_the_picture_of_tokens_has_those_of_the_layer(entry):
    svg = drawn(entry, "show: tokens\nlayer: 2").picture.svg
    router = router_loads(entry)[2]
    for expert in range(8):
        assert f">expert {expert} · " in svg
        assert f">{router.tokens_of(expert)[0].token}<" in svg
    alone = drawn(entry, "show: tokens\nlayer: 2\nexpert: 3")
    assert set(re.findall(r'<rect class="e(\d+)-', alone.picture.svg)) == {"3"}
    assert f"The tokens of which expert 3 of layer 2 gets most: “{router.tokens_of(3)[0].token}”" in alone.sentence


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("show: grid", "`show` is grid, which is for one `text`; this figure has load and tokens."),
        ("show: text", "`show` is text, which is for one `text`; this figure has load and tokens."),
        ("layer: 4", "`layer` is 4; the mixtures of model 'mixture' are in layers 0 to 3."),
        ("expert: 8", "`expert` is 8; the experts are 0 to 7."),
    ],
)
def test_what_a_corpus_does_not_have_is_told(entry, more, message):
    with pytest.raises(BlockError, match=re.escape(message)):
        drawn(entry, more)


def test_a_state_has_what_a_corpus_has(entry):
    state.check("show=tokens&layer=2&expert=3", block(), entry)
    with pytest.raises(BlockError, match="`token` names a token of one text; this figure is drawn from a corpus"):
        state.check("token=3", block(), entry)
    with pytest.raises(BlockError, match="`expert` is 8; the experts are 0 to 7"):
        state.check("expert=8", block(), entry)


def test_tokens_are_shown_of_a_corpus_only(trained):
    from mkdocs_attnviz.models.captures import experts
    from mkdocs_attnviz.models.inputs.examples import example

    one = experts.capture(Context(trained, [example(trained, {"text": "the old miller sold two apples"}, 99)]))[0]
    given = parse(Source("model: mixture\ntext: the old miller\nview: experts\nshow: tokens"), OPTIONS)
    with pytest.raises(BlockError, match="is tokens, which is for `corpus`; this figure has grid, text and load"):
        VIEWS["experts"].drawing(given, one)


def test_a_text_and_a_corpus_are_two_captures():
    view = VIEWS["experts"]
    text = parse(Source("model: m\ntext: a\nview: experts"), OPTIONS)
    assert (view.capture_of(text).name, view.capture_of(block()).name) == ("experts", "expert_loads")
    with pytest.raises(BlockError, match="`corpus` and `text` are both in the block; keep one of them"):
        block("text: a")
    heads = parse(Source("model: m\ncorpus: a.txt\nview: heads"), OPTIONS)
    assert VIEWS["heads"].capture_of(heads) is VIEWS["heads"].capture


@pytest.mark.parametrize("forged", [{"counts": [1]}, {"probabilities": [1.0]}, {"tokens": [[[9999, 1]]] * 8}])
def test_an_entry_that_tells_other_numbers_than_it_holds_is_refused(entry, forged):
    import zlib

    numbers = json.loads(zlib.decompress(entry.blobs["loads"]))
    numbers[0] |= forged
    with pytest.raises(ValueError, match="A part of the entry"):
        router_loads(Entry(entry.meta, {"loads": zlib.compress(json.dumps(numbers).encode())}))


# ---- claims


def test_claims_hold_or_do_not(entry, truth):
    _, layers = truth
    logits = layers[2].double()
    counts = torch.bincount(logits.topk(2).indices.flatten(), minlength=8).double()
    load, most = counts / counts.sum(), int(counts.argmax())
    mean = float(logits.softmax(-1).mean(0)[most])
    bits = float(torch.distributions.Categorical(logits=logits).entropy().mean() / math.log(2))
    spread = float(torch.distributions.Categorical(load).entropy() / math.log(2))
    loss = float(load_balancing_loss_func((layers[2],), 8, 2)) / 2
    at = "measure: token_share, layer: 2, expert: 2, token: sold"
    every = [
        (f"{{layer: 2, expert: {most}, is: {float(load[most]):.3f}}}", True),
        (f"{{layer: 2, expert: {most}, at_most: {float(load[most]) - 0.01:.3f}}}", False),
        (f"{{strongest: {{layer: 2}}, is: {most}}}", True),
        (f"{{strongest: {{layer: 2}}, is: {(most + 1) % 8}}}", False),
        (f"{{measure: probability, layer: 2, expert: {most}, is: {mean:.3f}}}", True),
        (f"{{measure: probability, layer: 2, expert: {most}, at_least: {mean + 0.01:.3f}}}", False),
        (f"{{measure: entropy, layer: 2, is: {bits:.3f}}}", True),
        (f"{{measure: entropy, layer: 2, at_most: {bits - 0.01:.3f}}}", False),
        (f"{{measure: load_entropy, layer: 2, is: {spread:.3f}}}", True),
        (f"{{measure: balance_loss, layer: 2, is: {loss:.3f}}}", True),
        (f"{{measure: balance_loss, layer: 2, at_least: {loss + 0.1:.3f}}}", False),
        (f"{{{at}, is: 100%}}", True),
        (f"{{{at}, beats_baseline_by: 70%}}", True),
        (f"{{{at}, at_most: 99%}}", False),
        ("{measure: token_share, layer: 2, expert: 2, token: the, at_most: 50%}", True),
        ("{measure: token_share, layer: 2, expert: 2, token: zeppelin, at_most: 50%}", False),
        ("{layer: 2, expert: 2, token: sold, at_least: 10%}", False),
        ("{strongest: {layer: 2, token: sold}, is: 2}", False),
    ]
    made = block("expect:\n" + "".join(f"  - {claim}\n" for claim, _ in every))
    verdicts = judge(made, VIEWS["experts"], [entry])
    assert [verdict.holds for verdict in verdicts] == [holds for _, holds in every]
    assert "`token_share` is about all that are alike" in verdicts[-1].value


# ---- in the page


@pytest.fixture
def page(site, share, open_page):
    site.write("texts.txt", "\n".join(CORPUS.read_text("utf-8").splitlines()[:TEXTS]))
    fence = "```attention\nmodel: mixture\ncorpus: docs/texts.txt\nview: experts\n"
    site.write("index.md", f"{fence}id: load\n```\n\n{fence}show: tokens\nlayer: 2\nid: tokens\n```\n")
    built = share(site, "--strict")

    def opened(**options):
        page = open_page(built.folder / "site" / "index.html", **options)
        draw_all(page)
        settle(page)
        return page

    return opened


def test_bars_are_the_load_and_ticks_the_mean_probabilities(page, truth):
    page = page()
    element = page.locator("#load attn-viz")
    assert json.loads(element.get_attribute("data-figure"))["source"] == "mixture: texts.txt"
    _, layers = truth
    for layer, logits in enumerate(layers):
        found = element.evaluate("(e, layer) => e.values({layer})", layer)
        assert found["load"] == torch.bincount(logits.topk(2).indices.flatten(), minlength=8).tolist()
        assert found["probabilities"] == pytest.approx(logits.softmax(-1).mean(0).tolist(), abs=1e-6)
        row = element.locator(".line").nth(3 - layer)
        heights = row.locator("i").evaluate_all("all => all.map(e => parseFloat(e.style.height))")
        ticks = row.locator(".tick-mark").evaluate_all("all => all.map(e => parseFloat(e.style.bottom.slice(5)))")
        unit = heights[0] / found["load"][0] * sum(found["load"])
        assert ticks == pytest.approx([unit * mean for mean in found["probabilities"]], abs=0.2)
    element.locator(".expert-bars").focus()
    page.keyboard.press("Shift")
    page.keyboard.press("ArrowRight")
    count = int((layers[3].topk(2).indices == 1).sum())
    loss = float(load_balancing_loss_func((layers[3],), 8, 2)) / 2
    readout = element.locator(".panel-readout")
    expect(readout).to_contain_text(f"({count} of {len(layers[3]):,} tokens); mean probability")
    expect(readout).to_contain_text(f"load-balancing loss {loss:.3f}")
    page.keyboard.press("Enter")
    assert element.evaluate("e => e.state.expert") == 1
    page.keyboard.press("Escape")
    assert element.evaluate("e => e.state.expert") is None


def test_the_tokens_of_each_expert_can_be_read(page, entry):
    page = page(dark=True, width=360)
    element = page.locator("#tokens attn-viz")
    router = router_loads(entry)[2]
    rows = element.locator("tbody tr")
    for expert in range(8):
        shown = rows.nth(expert).locator("td").all_inner_texts()
        wanted = [each.token for each in router.tokens_of(expert)]
        assert [text.strip() for text in shown][: len(wanted)] == wanted
    element.locator("td").first.focus()
    page.keyboard.press("Shift")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    each = router.tokens_of(1)[1]
    readout = element.locator(".panel-readout")
    expect(readout).to_contain_text(
        f"Layer 2, expert 1: {each.token} went here {each.count} of the {each.occurrences} times it occurs"
    )
    page.keyboard.press("Enter")
    assert element.evaluate("e => e.state.expert") == 1
    element.get_by_role("combobox", name="Layer").select_option("0")
    first = router_loads(entry)[0].tokens_of(0)[0].token
    expect(rows.first.locator("td").first).to_have_text(first)
    element.get_by_role("combobox", name="Show").select_option("load")
    expect(element.locator(".expert-bars .line:not(.ticks)")).to_have_count(4)
    bad = "e => { try { e.state = {show: 'grid'} } catch (error) { return error.message } }"
    assert element.evaluate(bad).startswith("show")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
