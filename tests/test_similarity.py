"""Similarity of layers: identities that each measure must have, other formulations of it, and what the page shows."""

import logging
import math
import re
from dataclasses import replace
from itertools import pairwise
from urllib.parse import unquote

import hypothesis
import numpy as np
import pytest
import test_capture
import torch
import transformers
from conftest import INDUCTION, MINILM, ROOT, Site, draw_figures
from hypothesis import strategies as st
from playwright.sync_api import expect
from test_capture import ARCHITECTURES, ref

import mkdocs_attnviz
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import similarity
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.similarity import MEASURES, Representation, cca, cka, pwcca, svcca, tables
from mkdocs_attnviz.models.engine.client import Worker
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.alignment import AlignmentError, align
from mkdocs_attnviz.models.inputs.examples import collate, example
from mkdocs_attnviz.models.inputs.tokens import Spans, Tokens
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.similarity import SIMILARITY, Span

EN_DE, DATES = (str(ROOT / "example_site" / "models" / name) for name in ("en-de", "dates"))
make_model, tokenizer_folder = test_capture.make_model, test_capture.tokenizer_folder
TEXT = "green table seven rabbit cold river green table seven rabbit cold"


def random(seed, positions=60, width=8):
    values = np.random.default_rng(seed).normal(size=(positions, width)) @ np.diag(1.0 + np.arange(width))
    return values - values.mean(axis=0)


X, Y = random(0), random(1) + 0.7 * random(0)
ROTATION = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0]
INVERTIBLE = np.random.default_rng(3).normal(size=(8, 8))


def whole(x):
    """Return a representation with all directions: statements about CCA hold if none is left out."""
    held = Representation(x)
    held.main = held.basis
    return held


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_layer_is_like_itself_and_like_itself_rotated_or_larger(measure):
    assert measure(Representation(X), Representation(X)) == pytest.approx(1)
    assert measure(Representation(X), Representation(X @ ROTATION)) == pytest.approx(1)
    assert measure(Representation(X), Representation(3.7 * X)) == pytest.approx(1)
    between = measure(Representation(X), Representation(Y))
    assert 0.1 < between < 0.95
    assert measure(Representation(X), Representation(Y @ ROTATION)) == pytest.approx(between)
    assert measure(Representation(0.2 * X), Representation(Y)) == pytest.approx(between)


@pytest.mark.parametrize("measure", [cca, svcca, pwcca])
def test_canonical_correlations_do_not_see_invertible_maps(measure):
    assert measure(whole(X), whole(X @ INVERTIBLE)) == pytest.approx(1)
    assert measure(whole(X), whole(Y @ INVERTIBLE)) == pytest.approx(measure(whole(X), whole(Y)))


def test_cka_sees_them():
    assert cka(Representation(X), Representation(X @ INVERTIBLE)) < 0.99


@pytest.mark.parametrize("measure", [cka, cca, svcca])
def test_symmetric(measure):
    assert measure(Representation(X), Representation(Y)) == pytest.approx(measure(Representation(Y), Representation(X)))


def test_pwcca_weighs_by_the_first():
    assert pwcca(Representation(X), Representation(Y)) != pytest.approx(
        pwcca(Representation(Y), Representation(X)), abs=1e-3
    )


def test_cka_in_one_dimension_is_the_squared_correlation():
    x, y = X[:, :1], Y[:, :1]
    assert cka(Representation(x), Representation(y)) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2)


def test_cka_by_its_formula():
    """The reference uses matrices of features, ours uses matrices of positions."""
    expected = np.linalg.norm(X.T @ Y) ** 2 / (np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y))
    assert cka(Representation(X), Representation(Y)) == pytest.approx(expected)


def correlations(x, y):
    """Canonical correlations as in textbooks are roots of eigenvalues of Sxx⁻¹ Sxy Syy⁻¹ Syx (Hotelling 1936)."""
    sxx, syy, sxy = x.T @ x, y.T @ y, x.T @ y
    values = np.linalg.eigvals(np.linalg.solve(sxx, sxy) @ np.linalg.solve(syy, sxy.T))
    return np.sort(np.sqrt(np.clip(values.real, 0, 1)))[::-1]


def largest(x, count):
    """Return the directions of largest variance of the columns, by the covariance's eigenvectors."""
    values, vectors = np.linalg.eigh(x.T @ x)
    order = np.argsort(values)[::-1]
    return x @ vectors[:, order[:count]], np.sqrt(values[order])


def test_cca_by_eigenvalues():
    assert cca(whole(X), whole(Y)) == pytest.approx(correlations(X, Y).mean())
    kept = [largest(each, 8)[1] for each in (X, Y)]
    counts = [next(n for n in range(1, 9) if values[:n].sum() >= 0.98 * values.sum()) for values in kept]
    x, y = (largest(each, count)[0] for each, count in zip((X, Y), counts, strict=True))
    assert cca(Representation(X), Representation(Y)) == pytest.approx(correlations(x, y)[: min(counts)].mean())


def test_svcca_by_eigenvalues():
    wide = [random(4, 90, 30), random(5, 90, 30) + random(4, 90, 30)]
    x, y = (largest(each, 20)[0] for each in wide)
    assert svcca(*map(Representation, wide)) == pytest.approx(correlations(x, y).mean())
    assert svcca(*map(Representation, wide)) != pytest.approx(correlations(*wide).mean(), abs=1e-3)


def test_pwcca_by_eigenvectors():
    """Morcos et al. 2018: canonical variates from the eigenproblem, weighted by their inner products with X."""
    values, vectors = np.linalg.eig(np.linalg.solve(X.T @ X, X.T @ Y) @ np.linalg.solve(Y.T @ Y, Y.T @ X))
    variates = X @ vectors.real
    variates /= np.linalg.norm(variates, axis=0)
    weights = np.abs(variates.T @ X).sum(axis=1)
    expected = (weights / weights.sum()) @ np.sqrt(values.real)
    assert pwcca(Representation(X), Representation(Y)) == pytest.approx(expected)


def plainly(measure, x, y):
    """Compute a measure by singular value decompositions of everything, as in its definition."""
    (ux, sx, _), (uy, sy, _) = (np.linalg.svd(each, full_matrices=False) for each in (x, y))
    if measure == "cka":
        return formula(x, y)
    if measure in ("cca", "svcca"):
        first = {"svcca": lambda _: 20, "cca": lambda s: int(np.searchsorted(np.cumsum(s), 0.98 * s.sum())) + 1}
        ux, uy = (u[:, s > 1e-6 * s[0]][:, : first[measure](s)] for u, s in ((ux, sx), (uy, sy)))
        return np.linalg.svd(ux.T @ uy, compute_uv=False).mean()
    ux, uy = (u[:, s > 1e-6 * s[0]] for u, s in ((ux, sx), (uy, sy)))
    left, found, _ = np.linalg.svd(ux.T @ uy, full_matrices=False)
    weights = np.abs((ux @ left).T @ x).sum(axis=1)
    return weights @ found / weights.sum()


@pytest.mark.parametrize("sizes", [(90, 30, 30), (90, 20, 40), (90, 40, 20), (40, 60, 60), (40, 60, 9), (60, 40, 40)])
@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_saved_changes_nothing(measure, sizes):
    """Layers may be apart, fill the whole space of the positions, or share directions."""
    positions, one, other = sizes
    rows = [random(seed, positions, one) for seed in (0, 1)]
    cols = [random(seed, positions, other) for seed in (2, 3, 4)]
    found = tables(rows, cols)[measure]
    assert found.shape == (2, 3)
    assert np.abs(found - [[plainly(measure, x, y) for y in cols] for x in rows]).max() < 1e-6
    alone = tables(rows)[measure]
    assert np.abs(alone - [[plainly(measure, x, y) for y in rows] for x in rows]).max() < 1e-6


@pytest.mark.parametrize("measure", MEASURES)
def test_of_two_models_too_rotations_are_not_seen(measure):
    rows, cols = [X, Y], [random(5, 60, 12), random(6, 60, 12) @ np.diag(np.arange(12.0))]
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(12, 12)))[0]
    found = tables(rows, cols)[measure]
    assert found == pytest.approx(tables(rows, [each @ turn for each in cols])[measure])
    turned = tables(cols, rows)[measure].T
    if measure == "pwcca":
        assert np.abs(found - turned).max() > 1e-3, "weighted by the dimensions of the rows' layer"
    else:
        assert found == pytest.approx(tables([each @ ROTATION for each in rows], cols)[measure])
        assert found == pytest.approx(turned)


def test_with_few_positions_correlations_say_nothing():
    """The docs warn that even unrelated numbers correlate if there are fewer positions than dimensions."""
    one, other = Representation(random(6, 9, 20)), Representation(random(7, 9, 20))
    assert pwcca(one, other) == pytest.approx(1)
    assert svcca(one, other) == pytest.approx(1)


def test_a_layer_of_zeros_is_like_nothing():
    for measure in MEASURES.values():
        assert measure(Representation(np.zeros((9, 4))), Representation(random(1, 9, 4))) == 0


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "bert", "t5", "bart"])
def test_models(make_model, model_type):
    """The reference is transformers' own hidden states; encoder and decoder are compared separately."""
    folder = make_model(model_type, **ARCHITECTURES[model_type])
    loaded = load(ref(str(folder)), "cpu", attention=False)
    target = {"text_target": "h g f e d"} if loaded.encoder_decoder else {}
    read = example(loaded, {"text": "a b c d e f g h a b c"} | target, 99)
    entry = similarity.capture(Context(loaded, [read]))[0]
    with torch.no_grad():
        outputs = loaded.model(**collate(loaded, [read]), output_hidden_states=True)
    names = {"encoder": "encoder_hidden_states", "decoder": "decoder_hidden_states"}
    for stack, name in (names if loaded.encoder_decoder else {"self": "hidden_states"}).items():
        states = [state[0].double().numpy() for state in outputs[name]]
        assert entry.meta["similar"][stack]["layers"] == len(states) == 3
        found = np.array(scaled(entry.blobs[f"{stack}/cka"], 3))
        assert np.abs(found - [[formula(x, y) for y in states] for x in states]).max() < 1e-4
        for measure in MEASURES:
            assert np.diag(scaled(entry.blobs[f"{stack}/{measure}"], 3)) == pytest.approx(1, abs=1e-4)


def formula(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def test_two_tokens_are_too_few(make_model):
    loaded = load(ref(str(make_model("gpt2", **ARCHITECTURES["gpt2"]))), "cpu", attention=False)
    with pytest.raises(ValueError, match="The text has 2 tokens; layers are compared over 3 or more"):
        similarity.capture(Context(loaded, [example(loaded, {"text": "a b"}, 99)]))


# ---- two models: what corresponds


def tokens(text, *spans, **more):
    """Return tokens at these places; None stands for one that a tokenizer adds."""
    names = ["[CLS]" if span is None else text[slice(*span)] for span in spans]
    known = {"ids": [0] * len(spans), "type_ids": None, "tokens": names, "pretty": names, "special": []}
    known |= {"sentence_b_start": None, "words": [None] * len(spans), "spans": Spans(text, list(spans))}
    return Tokens(**known | more)


def test_the_same_tokens_are_compared_one_by_one():
    one = tokens("a cat", None, (0, 1), (2, 5), None)
    assert align(one, one) == [([n], [n]) for n in range(4)]
    spaced = tokens("a cat", None, (0, 1), (1, 5), None)  # the space belongs to the word, as in GPT-2
    assert align(one, spaced) == [([n], [n]) for n in range(4)]


def test_what_is_added_by_one_alone_is_left_out():
    assert align(tokens("a cat", None, (0, 1), (2, 5)), tokens("a cat", (0, 1), (2, 5))) == [([1], [0]), ([2], [1])]


def test_a_word_and_its_pieces_are_one_sample():
    whole, pieces = tokens("a catnip b", (0, 1), (2, 8), (9, 10)), tokens("a catnip b", (0, 4), (4, 8), (8, 10))
    assert align(whole, pieces) == [([0, 1], [0, 1]), ([2], [2])]


def test_bytes_of_one_character_belong_together():
    text = "a \N{GRINNING FACE} b"
    pieces = tokens(text, (0, 1), (2, 3), (2, 3), (2, 3), (2, 3), (4, 5))
    assert align(pieces, tokens(text, (0, 1), (2, 3), (4, 5))) == [([0], [0]), ([1, 2, 3, 4], [1]), ([5], [2])]


def test_what_one_does_not_read_is_left_out():
    """Some tokenizers drop characters; white space stands for nothing."""
    assert align(tokens("a # b", (0, 1), (4, 5)), tokens("a # b", (0, 1), (1, 2), (2, 3), (4, 5))) == [
        ([0], [0]),
        ([1], [3]),
    ]


def test_without_places_tokens_must_be_the_same():
    one, slow = tokens("a cat", (0, 1), (2, 5)), tokens("a cat", (0, 1), (2, 5), spans=None)
    assert align(one, slow) == align(slow, slow) == [([0], [0]), ([1], [1])]
    with pytest.raises(AlignmentError, match="a tokenizer does not tell where in the text its tokens stand"):
        align(slow, tokens("a cat", None, (0, 1), (2, 5)))


@st.composite
def cut(draw, text="one two-three four"):
    edges = sorted(draw(st.sets(st.integers(1, len(text) - 1))))
    return tokens(text, *pairwise([0, *edges, len(text)]))


@hypothesis.given(cut(), cut())
def test_samples_are_the_finest_stretches_that_both_have(one, other):
    def letters(each, positions):
        return "".join(each.tokens[n] for n in positions).replace(" ", "")

    samples = align(one, other)
    assert [letters(one, first) for first, _ in samples] == [letters(other, second) for _, second in samples]
    assert "".join(letters(one, first) for first, _ in samples) == "onetwo-threefour"
    for first, second in samples:
        within = [
            {len(letters(each, places[:n])) for n in range(1, len(places))}
            for each, places in ((one, first), (other, second))
        ]
        whole = {0, len(letters(one, first))}  # tokens that are white space alone have no letters
        assert within[0] & within[1] <= whole


# ---- two models: the numbers


def two(folder, other, inputs):
    """Return the entry of one model beside another."""
    loaded, beside = (load(ref(str(each)), "cpu", attention=False) for each in (folder, other))
    return similarity.capture(Context(loaded, [example(loaded, inputs, 99, beside)], other=beside))[0]


LETTERS = {"text": "a b c d e f g h a b c h h d"}


@pytest.mark.parametrize("model_type", ["gpt2", "bert", "bart"])
def test_a_model_beside_itself_is_the_matrix_of_one(make_model, model_type):
    folder = make_model(model_type, **ARCHITECTURES[model_type])
    inputs = LETTERS | ({"text_target": "h g f e d"} if model_type == "bart" else {})
    loaded = load(ref(str(folder)), "cpu", attention=False)
    alone, both = similarity.capture(Context(loaded, [example(loaded, inputs, 99)]))[0], two(folder, folder, inputs)
    assert both.blobs.keys() == alone.blobs.keys()
    for name in alone.blobs:
        assert np.abs(np.array(scaled(both.blobs[name], 3)) - scaled(alone.blobs[name], 3)).max() < 1e-4
    for stack, about in both.meta["similar"].items():
        assert about == alone.meta["similar"][stack] | {
            "columns": 3,
            "other_stack": stack,
            "other_width": 32,
            "unit": "tokens",
        }


def by_words(folder, text):
    """Return transformers' own hidden states, averaged over each word's tokens."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    read = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    places = read.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        states = (model.get_encoder() if model.config.is_encoder_decoder else model)(
            input_ids=read["input_ids"], output_hidden_states=True
        ).hidden_states
    words = [(word.start(), word.end()) for word in re.finditer(r"\S+", text)]
    within = [[n for n, (a, b) in enumerate(places) if a < b and start <= b - 1 < end] for start, end in words]
    return [np.stack([state[0].double().numpy()[each].mean(axis=0) for each in within]) for state in states]


@pytest.mark.parametrize(("other", "how"), [(INDUCTION, "wonderfully"), (EN_DE, "quickly")])
def test_two_tokenizers_meet_at_words(other, how):
    """A sentence encoder's pieces, a decoder's whole words, a translator's pieces: samples are the words."""
    text = f"the neighbours hopped {how} over fences while rabbits slept near the river bank"
    minilm = str(resolve(MINILM, None, Settings(), ROOT).path)
    entry = two(MINILM, other, {"text": text})
    about = entry.meta["similar"]["self"]
    rows, cols = by_words(minilm, text), by_words(other, text)
    width = cols[0].shape[1]
    assert about | {"layers": 7, "columns": len(cols), "tokens": 13, "width": 384, "other_width": width} == about
    assert (about["unit"], about["other_stack"]) == ("stretches", "self" if other == INDUCTION else "encoder")
    for measure in MEASURES:
        centred = [[each - each.mean(axis=0) for each in states] for states in (rows, cols)]
        expected = np.array([[plainly(measure, x, y) for y in centred[1]] for x in centred[0]])
        found = np.array(scaled(entry.blobs[f"self/{measure}"], 7))
        assert found.shape == expected.shape == (7, len(cols))
        assert np.abs(found - expected).max() < 1e-4
    assert set(entry.meta["sequences"]) == {"text", "other text"}


def test_stacks_that_read_the_same_are_compared():
    """Two translators share both stacks; a translator and another model share the one that reads the text."""
    inputs = {"text": "3 March 2021", "text_target": "2021-03-03"}
    both = two(DATES, EN_DE, inputs).meta["similar"]
    assert {name: (about["layers"], about["columns"], about["other_stack"]) for name, about in both.items()} == {
        "encoder": (3, 4, "encoder"),
        "decoder": (3, 3, "decoder"),
    }
    endless = {"text": "no date, and no end to what comes of it"}
    assert two(DATES, INDUCTION, endless).meta["similar"].keys() == {"encoder"}
    assert two(INDUCTION, DATES, endless).meta["similar"].keys() == {"self"}
    for models in ((INDUCTION, DATES), (DATES, INDUCTION)):
        with pytest.raises(
            ValueError, match=r"induction' has no decoder beside an encoder; `text_target` is for models"
        ):
            two(*models, inputs)


def test_outputs_of_their_own_are_compared_where_they_are_the_same():
    """Each translator writes its own output, and nothing corresponds in two outputs."""
    assert two(DATES, EN_DE, {"text": "3 March 2021"}).meta["similar"].keys() == {"encoder"}
    assert two(DATES, DATES, {"text": "3 March 2021"}).meta["similar"].keys() == {"encoder", "decoder"}


def test_two_stretches_are_too_few():
    with pytest.raises(ValueError, match="The text has 2 tokens that both models share; layers are compared over 3"):
        two(MINILM, INDUCTION, {"text": "the rabbit"})
    with pytest.raises(ValueError, match="The text has 1 stretch that both models share;"):
        two(MINILM, INDUCTION, {"text": "wonderfully"})


def test_slow_tokenizers_are_refused_where_tokens_differ(monkeypatch):
    loaded, other = (load(ref(name), "cpu", attention=False) for name in (MINILM, INDUCTION))
    read = example(loaded, {"text": "the rabbit hopped over the fence"}, 99, other)
    slow = replace(read, text=replace(read.text, spans=None))
    said = (
        r"The text of models .* cannot be compared: .* a tokenizer does not tell where in the text its tokens stand\."
    )
    with pytest.raises(ValueError, match=said):
        similarity.capture(Context(loaded, [slow], other=other))


def test_layers_that_read_nothing_in_common(make_model, monkeypatch):
    loaded, other = (load(ref(name), "cpu", attention=False) for name in (DATES, EN_DE))
    read = example(loaded, {"text": "3 March 2021", "text_target": "2021-03-03"}, 99, other)
    states = similarity.representations

    def one_each(which, each):
        found = states(which, each)
        return {"decoder": found["decoder"]} if which is loaded else {"self": found["encoder"]}

    monkeypatch.setattr(similarity, "representations", one_each)
    with pytest.raises(ValueError, match=r"No layers of models .* read the same: decoder and self"):
        similarity.capture(Context(loaded, [read], other=other))


def test_interventions_change_the_first_alone(worker):
    """A model that is compared with itself is loaded twice for this."""
    model = ref(MINILM)
    taken_out = [{"layer": 2, "heads": list(range(12)), "scale": 0.0}]
    asked = Request(SIMILARITY, model, {"text": "the rabbit hopped over the fence"}, {}, taken_out, model)
    requests = [asked, asked.without_interventions(), replace(asked.without_interventions(), other=None)]
    found = [
        np.array(scaled(answer.entry.blobs["self/cka"], 7))
        for answer in worker.capture(requests, device="cpu", batch_size=8, max_tokens=99)
    ]
    changed, before, alone = found
    assert np.abs(before - alone).max() < 1e-4
    assert np.diag(changed)[:3] == pytest.approx(1, abs=1e-4), "the embeddings and what comes before"
    assert np.diag(changed)[3:].max() < 0.9999
    assert np.abs(changed[:3] - alone[:3]).max() < 1e-4


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


def test_the_model_at_fault_is_named(worker, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for bad in (0, 1):
        models = [ref(INDUCTION), ref(INDUCTION)]
        models[bad] = ref(str(tmp_path))
        request = Request(SIMILARITY, models[0], {"text": "the old cat"}, other=models[1])
        (answer,) = worker.capture([request], device="cpu", batch_size=8, max_tokens=99)
        assert answer.problem.key == ("model", "other")[bad]
        assert answer.problem.message.startswith(f"Model {str(tmp_path)!r} has no tokenizer")


# ---- in the page

PAGE = f"""
# Similarity

```attention
model: induction
text: {TEXT}
view: similarity
id: one
```

```attention
model: minilm
text: The animal did not cross the street because it was too tired to move.
view: similarity
id: seven
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_cache):
    site = Site(tmp_path_factory.mktemp("site"), shared_cache)
    site.write("index.md", PAGE)
    block = f"```attention\nmodel: induction\ntext: {TEXT}\nview: similarity\n{{}}\n```\n"
    site.write("more.md", block.format("measure: svcca\nid: narrow") + "\n" + block.format("stack: decoder"))
    found = site.build()
    assert found.returncode == 0, found.log
    return found


@pytest.fixture(scope="module")
def states():
    tokenizer = transformers.AutoTokenizer.from_pretrained(INDUCTION)
    model = transformers.AutoModel.from_pretrained(INDUCTION).eval()
    with torch.no_grad():
        found = model(**tokenizer(TEXT, return_tensors="pt"), output_hidden_states=True).hidden_states
    return [state[0].double().numpy() for state in found]


@pytest.fixture
def shown(visits):
    """`shown(built, id, …)` → page and figure, new and drawn."""

    def shown(built, id, **options):
        page = visits.page(built.folder / "site" / "index.html", within=f"#{id}", **options)
        draw_figures(page, f"#{id}")
        return page, page.locator(f"#{id} attn-viz")

    return shown


def test_values_are_those_of_the_model(built, shown, states):
    _, element = shown(built, "one")
    found = element.evaluate("e => e.values()")
    assert (found["measure"], found["layers"]) == ("cka", ["emb", "0", "1"])
    assert np.abs(np.array(found["values"]) - [[formula(x, y) for y in states] for x in states]).max() < 1e-4
    for measure in MEASURES:
        other = element.evaluate("(e, measure) => e.values({ measure })", measure)
        assert other["measure"] == measure
        assert np.diag(other["values"]) == pytest.approx(1, abs=1e-4)
    bad = "e => e.values({ measure: 'cosine' }).catch(error => `${error.name}: ${error.message}`)"
    assert element.evaluate(bad) == "RangeError: measure cosine: not one of cka, cca, svcca, pwcca"


def readout(element):
    element.evaluate("e => e.updateComplete")
    return element.locator(".panel-readout").inner_text()


def test_mouse_and_keys_read_a_cell(built, shown):
    page, element = shown(built, "one")
    grid = element.locator(".similar")
    values = element.evaluate("e => e.values()")["values"]
    grid.hover(position={"x": 40 + 48 * 2 + 24, "y": 40 + 24})
    assert readout(element) == f"embeddings and layer 1: CKA {values[0][2]:.3f}"
    page.mouse.move(0, 0)
    grid.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert readout(element) == f"layer 0 and layer 0: CKA {values[1][1]:.3f}"
    assert element.evaluate("e => e.state") == {"stack": "self", "measure": "cka", "row": 1, "col": 1}
    page.keyboard.press("Escape")
    assert element.evaluate("e => e.state.row") is None


def test_the_measure_is_chosen(built, shown):
    _, element = shown(built, "one")
    element.get_by_role("combobox", name="Measure").select_option("pwcca")
    element.locator(".similar").hover(position={"x": 60, "y": 60})
    assert readout(element) == "embeddings and embeddings: PWCCA 1.000"
    assert element.evaluate("e => e.state.measure") == "pwcca"


def test_colours_and_numbers_are_the_values(built, shown):
    _, element = shown(built, "one")
    values = element.evaluate("e => e.values()")["values"]
    alphas = element.locator(".similar canvas").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, 3, 3).data].filter((_, i) => i % 4 === 3)"
    )
    apart = np.array(values)[~np.eye(3, dtype=bool)]
    expected = 0.06 + 0.79 * np.clip((np.array(values) - apart.min()) / np.ptp(apart), 0, 1)
    assert np.abs(np.array(alphas) / 255 - expected.ravel()).max() < 0.01
    legend = element.locator(".legend").inner_text()
    assert re.findall(r"\d\.\d\d", legend) == [f"{end:.2f}" for end in (apart.min(), apart.max())]
    assert "narrow" not in legend
    written = element.locator(".similar span:not(.label)").all_inner_texts()
    assert written == [f"{math.floor(100 * value + 0.5) / 100:.2f}" for row in values for value in row]


def test_a_narrow_range_is_said_and_not_spread_over_all_colours(built, shown):
    """Eleven tokens in 64 dimensions: by this measure all layers are alike."""
    _, element = shown(built, "one")
    element.get_by_role("combobox", name="Measure").select_option("pwcca")
    element.evaluate("e => e.updateComplete")
    expect(element.locator(".legend")).to_contain_text("narrow range: all 1.000")
    assert element.locator(".legend .scale").inner_text().split() == ["0.95", "1.00"]
    span = Span.of([[1, 0.97, 0.99], [0.97, 1, 0.98], [0.99, 0.98, 1]], of_one=True)
    assert (span.low, span.high, span.warning) == (0.94, 0.99, "a narrow range: from 0.970 to 0.990")
    assert [span.share(value) for value in (0.9, 0.965, 0.99, 1)] == pytest.approx([0, 0.5, 1, 1])


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone(built, shown, dark):
    for id in ("one", "seven"):
        page, element = shown(built, id, width=360, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        height, kept = element.evaluate("e => [e.offsetHeight, parseFloat(getComputedStyle(e).minHeight)]")
        assert height <= kept + 1
        right = "e => e.getBoundingClientRect().right"
        grid = element.locator(".similar")
        assert grid.evaluate(right) <= element.evaluate(right)
        assert grid.locator("span:not(.label)").count() == grid.locator("canvas").evaluate("c => c.width ** 2")


def test_it_follows_the_width(built, shown):
    page, element = shown(built, "seven")
    wide = element.locator(".similar").evaluate("e => e.offsetWidth")
    element.evaluate("e => { e.style.width = '200px' }")
    page.wait_for_function(
        "document.querySelector('#seven attn-viz').shadowRoot.querySelector('.similar').offsetWidth <= 200"
    )
    assert wide > 300


def test_the_sentence_tells_what_is_seen_and_warns(built, states):
    sentence = built.page().select_one("#one img")["alt"]
    nearest = [formula(states[n], states[n + 1]) for n in range(2)]
    assert "CKA between the embeddings and the 2 layers of induction, over 11 tokens." in sentence
    assert f"{min(nearest):.2f}" in sentence
    assert "whatever the layers do" not in sentence
    narrow = built.page("more/index.html").select_one("#narrow img")["alt"]
    assert "With fewer tokens than the 64 dimensions" in narrow


def test_a_stack_that_is_not_there(built):
    (alert,) = built.alerts("more/index.html")
    assert "`stack` is 'decoder'; model 'induction' has self." in alert


# ---- two models in the page

LONG = "microsoft/xtremedistil-l12-h384-uncased"
RABBIT = "the rabbit hopped over the fence and slept near the river while rabbits hopped wonderfully"
OF_TWO = f"""
# Two models

```attention
model: minilm
other: induction
text: {RABBIT}
view: similarity
id: two
```

```attention
model: induction
other: {LONG}
text: {RABBIT}
view: similarity
measure: pwcca
id: long
```
"""


@pytest.fixture(scope="module")
def built_of_two(tmp_path_factory, shared_cache):
    site = Site(tmp_path_factory.mktemp("two"), shared_cache)
    site.settings["models"][LONG] = MINILM
    site.write("index.md", OF_TWO)
    found = site.build("--strict")
    assert found.returncode == 0, found.log
    return found


@pytest.fixture(scope="module")
def words():
    """Return the mean over each word's tokens, of both models."""
    return by_words(str(resolve(MINILM, None, Settings(), ROOT).path), RABBIT), by_words(INDUCTION, RABBIT)


def test_values_are_those_of_both_models(built_of_two, shown, words):
    _, element = shown(built_of_two, "two")
    found = element.evaluate("e => e.values()")
    assert (found["models"], found["measure"], found["stack"]) == (["minilm", "induction"], "cka", "self")
    assert (found["layers"], found["columns"]) == (["emb", *"012345"], ["emb", "0", "1"])
    assert np.abs(np.array(found["values"]) - [[formula(x, y) for y in words[1]] for x in words[0]]).max() < 1e-4
    rows, cols = ([each - each.mean(axis=0) for each in states] for states in words)
    for measure in MEASURES:
        other = element.evaluate("(e, measure) => e.values({ measure })", measure)["values"]
        assert np.abs(np.array(other) - [[plainly(measure, x, y) for y in cols] for x in rows]).max() < 1e-4
    bad = "e => { try { e.state = { col: 3 } } catch (error) { return `${error.name}: ${error.message}` } }"
    assert element.evaluate(bad) == "RangeError: col 3: not a number from 0 to 2"


def test_mouse_and_keys_read_a_cell_of_two_models(built_of_two, shown):
    page, element = shown(built_of_two, "two")
    grid = element.locator(".similar")
    values = element.evaluate("e => e.values()")["values"]
    assert grid.get_attribute("aria-label") == "CKA of layers, 7 of minilm by 3 of induction; arrow keys read them"
    cell, left = grid.evaluate("e => [e.querySelector('.outline') && e.querySelector('canvas').offsetWidth / 3, 40]")
    grid.hover(position={"x": left + 2.5 * cell, "y": 64 + 6.5 * cell})
    assert readout(element) == f"layer 5 of minilm and layer 1 of induction: CKA {values[6][2]:.3f}"
    page.mouse.move(0, 0)
    grid.focus()
    for key in ["ArrowDown"] * 9 + ["ArrowRight"] * 5 + ["ArrowUp", "Enter"]:
        page.keyboard.press(key)
    said = f"layer 4 of minilm and layer 1 of induction: CKA {values[5][2]:.3f}"
    assert readout(element) == said
    expect(element.locator("[aria-live]")).to_contain_text(said)
    assert element.evaluate("e => e.state") == {"stack": "self", "measure": "cka", "row": 5, "col": 2}
    page.keyboard.press("Escape")
    assert element.evaluate("e => [e.state.row, e.state.col]") == [None, None]


def test_colours_and_numbers_are_the_values_of_two_models(built_of_two, shown):
    _, element = shown(built_of_two, "two")
    values = np.array(element.evaluate("e => e.values()")["values"])
    alphas = element.locator(".similar canvas").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, 3, 7).data].filter((_, i) => i % 4 === 3)"
    )
    expected = 0.06 + 0.79 * (values - values.min()) / np.ptp(values)
    assert np.abs(np.array(alphas) / 255 - expected.ravel()).max() < 0.01, "of two models the diagonal counts, too"
    labels = element.locator(".similar .label").all_inner_texts()
    assert labels == ["emb", *"012345", "emb", "0", "1"]
    assert element.locator(".similar .model").all_inner_texts() == ["rows: minilm", "columns: induction"]


FITS = """element => {
  const right = each => each.getBoundingClientRect().right, root = element.shadowRoot;
  const last = name => [...root.querySelectorAll(name)].at(-1).getBoundingClientRect();
  const parts = [...root.querySelectorAll(".similar, .similar *:not([hidden])")];
  return {
    height: [element.offsetHeight, parseFloat(getComputedStyle(element).minHeight)],
    beyond: parts.filter(part => right(part) > right(element) + 1).length,
    tops: [last(".model").bottom, last(".label").top, last("canvas").top],
  };
}"""


@pytest.mark.parametrize(("width", "dark"), [(360, True), (1280, False)])
def test_two_models_on_a_phone_and_on_a_desk(built_of_two, shown, dark, width):
    for id in ("two", "long"):
        page, element = shown(built_of_two, id, width=width, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = element.evaluate(FITS)
        assert found["height"][0] <= found["height"][1] + 1
        assert found["beyond"] == 0
        names, labels, cells = found["tops"]
        assert names <= labels + 1, "names and labels do not touch"
        assert labels + 13 <= cells


def test_the_picture_is_saved_with_both_names(built_of_two, shown):
    page, element = shown(built_of_two, "two")
    element.get_by_role("button", name="Options").click()
    with page.expect_download() as download:
        element.get_by_role("button", name="SVG").click()
    text = download.value.path().read_text()
    assert "rows: minilm" in text
    assert "columns: induction" in text
    assert text.count("<rect") >= 21


def test_the_sentence_and_the_picture_name_both(site, built_of_two, words):
    figure = built_of_two.page()
    sentence = figure.select_one("#two img")["alt"]
    values = np.array([[formula(x, y) for y in words[1]] for x in words[0]])
    row, col = np.unravel_index(values.argmax(), values.shape)
    names = ["the embeddings", *(f"layer {n}" for n in range(6))]
    assert sentence == (
        "CKA between the embeddings and 6 layers of minilm, in rows, and the embeddings and 2 layers of induction, in "
        "columns, over 15 stretches of text that both models' tokens make up. Most alike are "
        f"{names[row]} of minilm and {names[col]} of induction, {values.max():.2f}. The last layers of both: "
        f"{values[-1, -1]:.2f}."
    )
    other = figure.select_one("#long img")
    assert "With fewer stretches than the 384 dimensions, this measure is high" in other["alt"]
    assert LONG in other["alt"]
    picture = unquote(figure.select_one("#two img")["src"])
    assert re.findall(r">((?:rows|columns): [^<]+)<", picture) == ["rows: minilm", "columns: induction"]
    assert picture.count("<rect") == 21 + 12, "cells and the legend's colours"
    ends = re.findall(r"<text x='\d+' y='\d+'(?: text-anchor='end')?>(\d\.\d\d)</text>", picture)
    assert ends == [f"{values.min():.2f}", f"{values.max():.2f}"]
    assert int(other["width"]) <= 360


def test_what_the_docs_say_of_two_models():
    """The docs also say that shuffled words look like nothing that is similar."""
    docs = (ROOT / "example_site" / "docs" / "guide" / "views" / "similarity.md").read_text()
    text = re.search(r"other: \S+\ntext: ([^\n]+)\n", docs)[1]
    loaded, other = (load(ref(name), "cpu", attention=False) for name in (MINILM, EN_DE))
    (pair,) = similarity._two_models(loaded, example(loaded, {"text": text}, 99, other), other).values()
    rows, cols = (list(map(Representation, states)) for states in (pair.rows, pair.cols))
    values = np.array([[cka(x, y) for y in cols] for x in rows])
    assert np.round(values[[2, 3], 1], 2) == pytest.approx(0.83)
    assert values.max() == pytest.approx(0.83, abs=0.005)
    assert values[-1, -1] == pytest.approx(0.62, abs=0.005)
    shuffle = np.random.default_rng(0).permutation
    orders = [shuffle(len(pair.rows[0])) for _ in range(50)]
    shuffled = [[[cka(x, Representation(y[order])) for y in pair.cols] for x in rows] for order in orders]
    means = np.mean(shuffled, axis=0)
    assert (means.min(), means.max()) == pytest.approx((0.48, 0.60), abs=0.01)


PLANS = [
    ("other: inductoin", {"only_listed_models": True}, "other", "did you mean 'induction'?"),
    ("other: inductoin", {"only_listed_models": True}, "other", "Model 'inductoin' is not listed"),
    ("other: ./no/such", {}, "other", "Model './no/such' is no directory with a config.json"),
    ("other: org/x", {}, "other", "No commit of model 'org/x' is known here. `on_missing` forbids to ask"),
    (
        "other: minilm\nother_revision: v1",
        {},
        "other_revision",
        "`other_revision` is 'v1', but model 'minilm' is a directory",
    ),
    (
        "other: minilm\nstack: decoder",
        {},
        "stack",
        "`stack` is 'decoder'; what induction and minilm can be compared by",
    ),
]


@pytest.mark.parametrize(("more", "settings", "key", "message"), PLANS, ids=[message for *_, message in PLANS])
def test_what_is_wrong_with_another_model_is_said_at_its_line(tmp_path, monkeypatch, more, settings, key, message):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    models = {"induction": INDUCTION, "minilm": MINILM}
    run = {"on_missing": "run" if key == "stack" else "warn", "cache_dir": str(tmp_path / "cache")}
    source = Source(f"model: induction\ntext: {TEXT}\nview: similarity\n{more}", {}, "index.md", 1)
    pipeline = Pipeline(Settings(models=models, **run, **settings), tmp_path, logging.getLogger("test"))
    with pipeline.build() as build:
        (alert,) = build.render([source])
    assert message in alert.error.message
    assert source.body.splitlines()[alert.error.line].startswith(f"{key}:")


def test_both_are_models_in_memory():
    """Interventions work in a notebook, too; a changed model is not what it is compared with."""
    model, other = (transformers.AutoModel.from_pretrained(INDUCTION) for _ in range(2))
    tokenizer = transformers.AutoTokenizer.from_pretrained(INDUCTION)
    given = {"view": "similarity", "other_tokenizer": tokenizer, "html_action": "return"}
    html = mkdocs_attnviz.show(model, tokenizer, TEXT, other=other, **given)
    assert "CKA between the embeddings and 2 layers of GPT2Model, in rows" in html.sentence
    with pytest.raises(ValueError, match="`other_tokenizer` is None; it must be a tokenizer of transformers"):
        mkdocs_attnviz.show(model, tokenizer, TEXT, other=other, **given | {"other_tokenizer": None})
    changes = [{"layer": 0, "heads": [1]}]
    assert mkdocs_attnviz.show(model, tokenizer, TEXT, other=other, interventions=changes, **given)
    with pytest.raises(ValueError, match="give a second copy of it, to stay as it is"):
        mkdocs_attnviz.show(model, tokenizer, TEXT, other=model, interventions=changes, **given)
