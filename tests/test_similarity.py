"""Similarity of layers: identities that each measure must have, other formulations of it, and what the page shows."""

import math

import numpy as np
import pytest
import test_capture
import torch
import transformers
from conftest import INDUCTION, Site, draw_all
from test_capture import ARCHITECTURES, ref

from mkdocs_attnviz.models import similarity
from mkdocs_attnviz.models.inputs import collate, example
from mkdocs_attnviz.models.load import load
from mkdocs_attnviz.models.similarity import MEASURES, Held, cca, cka, pwcca, svcca
from mkdocs_attnviz.views.weights import scaled

make_model, tokenizer_folder = test_capture.make_model, test_capture.tokenizer_folder
TEXT = "green table seven rabbit cold river green table seven rabbit cold"


def random(seed, positions=60, width=8):
    values = np.random.default_rng(seed).normal(size=(positions, width)) @ np.diag(1.0 + np.arange(width))
    return values - values.mean(axis=0)


X, Y = random(0), random(1) + 0.7 * random(0)
ROTATION = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0]
INVERTIBLE = np.random.default_rng(3).normal(size=(8, 8))


def whole(x):
    """Held with all of its directions: what is said of CCA holds where none are left out."""
    held = Held(x)
    held.main = held.basis
    return held


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_layer_is_like_itself_and_like_itself_rotated_or_larger(measure):
    assert measure(Held(X), Held(X)) == pytest.approx(1)
    assert measure(Held(X), Held(X @ ROTATION)) == pytest.approx(1)
    assert measure(Held(X), Held(3.7 * X)) == pytest.approx(1)
    between = measure(Held(X), Held(Y))
    assert 0.1 < between < 0.95
    assert measure(Held(X), Held(Y @ ROTATION)) == pytest.approx(between)
    assert measure(Held(0.2 * X), Held(Y)) == pytest.approx(between)


@pytest.mark.parametrize("measure", [cca, svcca, pwcca])
def test_canonical_correlations_do_not_see_invertible_maps(measure):
    assert measure(whole(X), whole(X @ INVERTIBLE)) == pytest.approx(1)
    assert measure(whole(X), whole(Y @ INVERTIBLE)) == pytest.approx(measure(whole(X), whole(Y)))


def test_cka_sees_them():
    assert cka(Held(X), Held(X @ INVERTIBLE)) < 0.99


@pytest.mark.parametrize("measure", [cka, cca, svcca])
def test_symmetric(measure):
    assert measure(Held(X), Held(Y)) == pytest.approx(measure(Held(Y), Held(X)))


def test_pwcca_weighs_by_the_first():
    assert pwcca(Held(X), Held(Y)) != pytest.approx(pwcca(Held(Y), Held(X)), abs=1e-3)


def test_cka_in_one_dimension_is_the_squared_correlation():
    x, y = X[:, :1], Y[:, :1]
    assert cka(Held(x), Held(y)) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2)


def test_cka_by_its_formula():
    """With the matrices of features, where ours has those of positions."""
    expected = np.linalg.norm(X.T @ Y) ** 2 / (np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y))
    assert cka(Held(X), Held(Y)) == pytest.approx(expected)


def correlations(x, y):
    """Canonical correlations as in textbooks: roots of eigenvalues of Sxx⁻¹ Sxy Syy⁻¹ Syx (Hotelling 1936)."""
    sxx, syy, sxy = x.T @ x, y.T @ y, x.T @ y
    values = np.linalg.eigvals(np.linalg.solve(sxx, sxy) @ np.linalg.solve(syy, sxy.T))
    return np.sort(np.sqrt(np.clip(values.real, 0, 1)))[::-1]


def largest(x, count):
    """The columns' directions of largest variance, by the covariance's eigenvectors."""
    values, vectors = np.linalg.eigh(x.T @ x)
    order = np.argsort(values)[::-1]
    return x @ vectors[:, order[:count]], np.sqrt(values[order])


def test_cca_by_eigenvalues():
    assert cca(whole(X), whole(Y)) == pytest.approx(correlations(X, Y).mean())
    kept = [largest(each, 8)[1] for each in (X, Y)]
    counts = [next(n for n in range(1, 9) if values[:n].sum() >= 0.98 * values.sum()) for values in kept]
    x, y = (largest(each, count)[0] for each, count in zip((X, Y), counts, strict=True))
    assert cca(Held(X), Held(Y)) == pytest.approx(correlations(x, y)[: min(counts)].mean())


def test_svcca_by_eigenvalues():
    wide = [random(4, 90, 30), random(5, 90, 30) + random(4, 90, 30)]
    x, y = (largest(each, 20)[0] for each in wide)
    assert svcca(*map(Held, wide)) == pytest.approx(correlations(x, y).mean())
    assert svcca(*map(Held, wide)) != pytest.approx(correlations(*wide).mean(), abs=1e-3)


def test_pwcca_by_eigenvectors():
    """Morcos et al. 2018: canonical variates from the eigenproblem, weighted by their inner products with X."""
    values, vectors = np.linalg.eig(np.linalg.solve(X.T @ X, X.T @ Y) @ np.linalg.solve(Y.T @ Y, Y.T @ X))
    variates = X @ vectors.real
    variates /= np.linalg.norm(variates, axis=0)
    weights = np.abs(variates.T @ X).sum(axis=1)
    expected = (weights / weights.sum()) @ np.sqrt(values.real)
    assert pwcca(Held(X), Held(Y)) == pytest.approx(expected)


def test_with_few_positions_correlations_say_nothing():
    """What the docs warn of: of unrelated numbers too, where there are fewer positions than dimensions."""
    one, other = Held(random(6, 9, 20)), Held(random(7, 9, 20))
    assert pwcca(one, other) == pytest.approx(1)
    assert svcca(one, other) == pytest.approx(1)


def test_a_layer_of_zeros_is_like_nothing():
    for measure in MEASURES.values():
        assert measure(Held(np.zeros((9, 4))), Held(random(1, 9, 4))) == 0


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "bert", "t5", "bart"])
def test_models(make_model, model_type):
    """Of transformers' own hidden states; encoder and decoder apart."""
    folder = make_model(model_type, **ARCHITECTURES[model_type])
    loaded = load(ref(str(folder)), "cpu", attention=False)
    target = {"text_target": "h g f e d"} if loaded.encoder_decoder else {}
    read = example(loaded, {"text": "a b c d e f g h a b c"} | target, 99)
    entry = similarity.capture(loaded, [read])[0]
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
        similarity.capture(loaded, [example(loaded, {"text": "a b"}, 99)])


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
def page(built, open_page):
    page = open_page(built.folder / "site" / "index.html")
    draw_all(page)
    page.locator("#seven").evaluate("figure => figure.remove()")
    return page


def test_values_are_those_of_the_model(page, states):
    element = page.locator("attn-viz")
    found = element.evaluate("e => e.values()")
    assert (found["measure"], found["layers"]) == ("cka", ["emb", "0", "1"])
    assert np.abs(np.array(found["values"]) - [[formula(x, y) for y in states] for x in states]).max() < 1e-4
    for measure in MEASURES:
        other = element.evaluate("(e, measure) => e.values({ measure })", measure)
        assert other["measure"] == measure
        assert np.diag(other["values"]) == pytest.approx(1, abs=1e-4)
    bad = "e => e.values({ measure: 'cosine' }).catch(error => `${error.name}: ${error.message}`)"
    assert element.evaluate(bad) == "RangeError: measure cosine: not one of cka, cca, svcca, pwcca"


def readout(page):
    page.locator("attn-viz").evaluate("e => e.updateComplete")
    return page.locator("attn-viz .panel-readout").inner_text()


def test_mouse_and_keys_read_a_cell(page):
    grid = page.locator("attn-viz .similar")
    values = page.locator("attn-viz").evaluate("e => e.values()")["values"]
    grid.hover(position={"x": 40 + 48 * 2 + 24, "y": 40 + 24})
    assert readout(page) == f"embeddings and layer 1: CKA {values[0][2]:.3f}"
    page.mouse.move(0, 0)
    grid.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert readout(page) == f"layer 0 and layer 0: CKA {values[1][1]:.3f}"
    assert page.locator("attn-viz").evaluate("e => e.state") == {"stack": "self", "measure": "cka", "row": 1, "col": 1}
    page.keyboard.press("Escape")
    assert page.locator("attn-viz").evaluate("e => e.state.row") is None


def test_the_measure_is_chosen(page):
    page.get_by_role("combobox", name="Measure").select_option("pwcca")
    page.locator("attn-viz .similar").hover(position={"x": 60, "y": 60})
    assert readout(page) == "embeddings and embeddings: PWCCA 1.000"
    assert page.locator("attn-viz").evaluate("e => e.state.measure") == "pwcca"


def test_colours_and_numbers_are_the_values(page):
    values = page.locator("attn-viz").evaluate("e => e.values()")["values"]
    alphas = page.locator("attn-viz .similar canvas").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, 3, 3).data].filter((_, i) => i % 4 === 3)"
    )
    assert np.abs(np.array(alphas) / 255 - 0.85 * np.array(values).ravel()).max() < 0.01
    written = page.locator("attn-viz .similar span:not(.label)").all_inner_texts()
    assert written == [f"{math.floor(100 * value + 0.5) / 100:.2f}" for row in values for value in row]


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone(built, open_page, dark):
    page = open_page(built.folder / "site" / "index.html", width=360, dark=dark)
    draw_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for element in page.locator("attn-viz").all():
        height, kept = element.evaluate("e => [e.offsetHeight, parseFloat(getComputedStyle(e).minHeight)]")
        assert height <= kept + 1
        right = "e => e.getBoundingClientRect().right"
        grid = element.locator(".similar")
        assert grid.evaluate(right) <= element.evaluate(right)
        assert grid.locator("span:not(.label)").count() == grid.locator("canvas").evaluate("c => c.width ** 2")


def test_it_follows_the_width(built, open_page):
    page = open_page(built.folder / "site" / "index.html")
    draw_all(page)
    element = page.locator("#seven attn-viz")
    wide = element.locator(".similar").evaluate("e => e.offsetWidth")
    element.evaluate("e => { e.style.width = '200px' }")
    page.wait_for_function(
        "document.querySelector('#seven attn-viz').shadowRoot.querySelector('.similar').offsetWidth <= 200"
    )
    assert wide > 300


def test_the_sentence_tells_what_is_seen_and_warns(site, built, states):
    sentence = built.page().select_one("#one img")["alt"]
    nearest = [formula(states[n], states[n + 1]) for n in range(2)]
    assert "CKA between the embeddings and the 2 layers of induction, over 11 tokens." in sentence
    assert f"{min(nearest):.2f}" in sentence
    assert "whatever the layers do" not in sentence
    site.write("index.md", PAGE.replace("view: similarity", "view: similarity\nmeasure: svcca"))
    assert "With fewer tokens than the 64 dimensions" in site.build().page().select_one("#one img")["alt"]


def test_a_stack_that_is_not_there(site):
    site.write("index.md", PAGE.replace("view: similarity", "view: similarity\nstack: decoder"))
    alert, _ = site.build().alerts()
    assert "`stack` is 'decoder'; model 'induction' has self." in alert
