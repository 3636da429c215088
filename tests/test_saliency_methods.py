"""Several methods of the saliency view, each number held against an independent source.

Strips: Captum asked directly, the weights that transformers returns, and rollout in NumPy. Curves: a loop of plain
forward passes of one text each. Kendall's τ-b: by counting pairs.
"""

import functools
import itertools
import math
import zlib
from types import SimpleNamespace

import captum.attr
import numpy as np
import pytest
import torch
import transformers
from conftest import INDUCTION, ROOT, Site

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures import attention, saliency
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.models.probing import faithfulness
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.claims import check_grammar, judge
from mkdocs_attnviz.views.saliency_options import Options
from mkdocs_attnviz.views.token_groups import passages, sentences, words

torch.set_num_threads(1)

FOLDERS = {name: str(ROOT / "example_site" / "models" / name) for name in ("reviews", "agreement", "dates")}
FOLDERS["induction"] = INDUCTION
ALL = (
    "attention",
    "rollout",
    "value_weighted",
    "gradient_norm",
    "input_x_gradient",
    "integrated_gradients",
    "occlusion",
)
CASES = {
    "reviews": ({"text": "The plot is dull, but the acting is superb."}, {}),
    "agreement": ({"text": "the keys to the cabinet [MASK] on the table."}, {"contrast": "is"}),
    "induction": ({"text": "green table seven rabbit cold river green table seven rabbit cold"}, {}),
}
ROW = {"reviews": 0, "agreement": 6, "induction": 10}
"""The position that each output is predicted from."""


@pytest.fixture(scope="module")
def loaded():
    known = {}

    def loaded(name):
        if name not in known:
            known[name] = load(resolve(FOLDERS[name], None, Settings(), ROOT), "cpu", head=True, attention=False)
        return known[name]

    return loaded


@pytest.fixture(scope="module")
def captured(loaded):
    """`captured(name, methods, …)` → the entry of a case."""
    known = {}

    def captured(name, methods=ALL, **more) -> Entry:
        key = (name, methods, *more.items())
        if key not in known:
            inputs, options = CASES[name]
            model = loaded(name)
            parameters = Options(method=methods, **options | more).parameters()
            known[key] = saliency.capture(Context(model, [example(model, inputs, 512)], parameters))[0]
        return known[key]

    return captured


def strips(entry):
    """Return the strips by their methods' names."""
    rows = scaled(entry.blobs["attributions"], len(entry.meta["methods"]))
    return {each["method"]: np.array(row) for each, row in zip(entry.meta["methods"], rows, strict=True)}


@functools.cache
def plain(name):
    """Return a model of transformers, and the ids of the case's text."""
    kind = {
        "reviews": transformers.AutoModelForSequenceClassification,
        "agreement": transformers.AutoModelForMaskedLM,
        "induction": transformers.AutoModelForCausalLM,
    }[name]
    model = kind.from_pretrained(FOLDERS[name], attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDERS[name])
    return model, tokenizer, tokenizer(CASES[name][0]["text"], return_tensors="pt")["input_ids"]


def logits_of(name, logits):
    return logits if name == "reviews" else logits[:, ROW[name]]


def close(one, other):
    """Return whether a stored strip is another one within 16-bit steps of the largest value and a float's rounding."""
    return np.abs(one - other).max() <= 5e-5 * np.abs(other).max()


@pytest.mark.parametrize("name", CASES)
def test_attention_and_rollout_equal_numpy(name, captured):
    """The weights are those that transformers returns; rollout is Abnar & Zuidema's, in NumPy."""
    model, _, ids = plain(name)
    with torch.no_grad():
        layers = [weights[0].double().numpy() for weights in model(ids, output_attentions=True).attentions]
    found = strips(captured(name))
    assert close(found["attention"], layers[-1].mean(0)[ROW[name]])
    total = np.eye(ids.shape[1])
    for weights in layers:
        mixed = 0.5 * weights.mean(0) + 0.5 * np.eye(ids.shape[1])
        total = (mixed / mixed.sum(1, keepdims=True)) @ total
    assert close(found["rollout"], total[ROW[name]])
    assert [each["rows"] for each in captured(name).meta["methods"][:3]] == [[ROW[name]]] * 3


@pytest.mark.parametrize("name", CASES)
def test_they_equal_the_views_of_attention(name, loaded, captured):
    """A view of attention stores bytes, and its page weighs them by norms: the strips are its means over heads."""
    model = loaded(name)
    entry = attention.capture(Context(model, [example(model, CASES[name][0], 512)]))[0]
    layer = entry.meta["stacks"]["self"]["layers"][-1]
    tokens = len(entry.meta["sequences"]["text"]["tokens"])

    def matrix(blob, heads):
        steps = np.frombuffer(zlib.decompress(entry.blobs[f"self/{layer['layer']}{blob}"]), np.uint8)
        return np.square(steps.reshape(heads, tokens, tokens) / 255)[:, :, ROW[name]]  # (heads, cols)

    weights, found = matrix("", layer["heads"]), strips(captured(name))
    norms = np.array(scaled(entry.blobs[f"self/{layer['layer']}/values"], layer["heads"]))
    weighted = weights * norms
    assert np.abs(found["attention"] - weights.mean(0)).max() < 0.004
    assert np.abs(found["rollout"] - matrix("/rollout", 1)[0]).max() < 0.004
    assert np.abs(found["value_weighted"] - (weighted / weighted.sum(1, keepdims=True)).mean(0)).max() < 0.01


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_captum(name, captured):
    model, tokenizer, ids = plain(name)
    output = captured(name).meta["outputs"][0]["token"]
    if name == "reviews":
        target, other = model.config.label2id[output], None
    else:
        target, other = (
            tokenizer.get_vocab()[output.strip()],
            tokenizer.get_vocab()["is"] if name == "agreement" else None,
        )

    def function(embeddings):
        row = logits_of(name, model(inputs_embeds=embeddings).logits)
        return row[:, target] if other is None else row[:, target] - row[:, other]

    embeddings = model.get_input_embeddings()(ids).detach()
    zeros = torch.zeros_like(embeddings)
    found, about = strips(captured(name)), {each["method"]: each for each in captured(name).meta["methods"]}
    gradient = captum.attr.Saliency(function).attribute(embeddings, abs=False)[0]
    assert close(found["gradient_norm"], gradient.norm(dim=-1).numpy())
    product = captum.attr.InputXGradient(function).attribute(embeddings)[0]
    assert close(found["input_x_gradient"], product.sum(-1).detach().numpy())
    integrated, delta = captum.attr.IntegratedGradients(function).attribute(
        embeddings, zeros, n_steps=50, return_convergence_delta=True
    )
    assert close(found["integrated_gradients"], integrated[0].sum(-1).detach().numpy())
    assert about["integrated_gradients"]["delta"] == pytest.approx(float(delta), abs=1e-4)
    with torch.no_grad():
        whole = float(function(embeddings) - function(zeros))
    error = float(found["integrated_gradients"].sum()) - whole
    assert about["integrated_gradients"]["delta"] == pytest.approx(error, abs=2e-3), "the completeness error"
    occluded = captum.attr.Occlusion(function).attribute(embeddings, (1, embeddings.shape[-1]), baselines=zeros)
    assert close(found["occlusion"], occluded[0, :, 0].detach().numpy())


def by_plain_passes(name, entry, removed, *, shorter=False):
    """Return the output's probability without some inputs, by one plain forward pass."""
    model, tokenizer, ids = plain(name)
    output = entry.meta["outputs"][0]["token"].strip()
    target = model.config.label2id[output] if name == "reviews" else tokenizer.get_vocab()[output]
    ids, row = ids[0].tolist(), ROW[name]
    if shorter:
        ids = [token for at, token in enumerate(ids) if at not in removed]
        row -= sum(at < row for at in removed)
    else:
        token = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.pad_token_id
        ids = [token if at in removed else old for at, old in enumerate(ids)]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits
    return float((logits if name == "reviews" else logits[:, row]).softmax(-1)[0, target])


@pytest.mark.parametrize(("name", "more"), [*((name, {}) for name in CASES), ("agreement", {"replacement": "remove"})])
def test_curves_equal_a_loop_of_plain_passes(name, more, captured):
    entry = captured(name, **more)
    compared, orders, curves = entry.meta["compared"], entry.meta["orders"], entry.meta["curves"]
    rows, shorter = strips(entry), bool(more)
    for number in (0, 4, 6):
        order = [compared[at] for at in orders[number]]
        values = rows[ALL[number]][order]
        assert (np.diff(values) <= 1e-4 * np.abs(values).max()).all(), "the largest first"
        result = curves["methods"][number]
        for at, count in enumerate(curves["counts"]):
            out, back = set(order[:count]), set(order[count:])
            assert result["deletion"][at] == pytest.approx(by_plain_passes(name, entry, out, shorter=shorter), abs=2e-5)
            assert result["insertion"][at] == pytest.approx(
                by_plain_passes(name, entry, back, shorter=shorter), abs=2e-5
            )
    assert curves["full"] == pytest.approx(entry.meta["outputs"][0]["probability"], abs=2e-5)
    special = set(entry.meta["sequences"]["text"]["special"]) | ({6} if name == "agreement" else set())
    assert compared == [at for at in range(len(rows["rollout"])) if at not in special]


def test_comprehensiveness_and_sufficiency_by_hand(captured):
    """DeYoung et al. 2020: over 1, 5, 10, 20 and 50% of eleven tokens, which are 1, 1, 2, 3 and 6."""
    entry = captured("reviews")
    curves = entry.meta["curves"]
    order = [entry.meta["compared"][at] for at in entry.meta["orders"][6]]
    full = by_plain_passes("reviews", entry, set())
    without = [full - by_plain_passes("reviews", entry, set(order[:count])) for count in (1, 1, 2, 3, 6)]
    alone = [full - by_plain_passes("reviews", entry, set(order[count:])) for count in (1, 1, 2, 3, 6)]
    found = curves["methods"][6]
    assert found["comprehensiveness"] == pytest.approx(sum(without) / 5, abs=2e-5)
    assert found["sufficiency"] == pytest.approx(sum(alone) / 5, abs=2e-5)
    trapezoids = sum((a + b) / 2 for a, b in itertools.pairwise(found["deletion"])) / 11
    assert found["deletion_area"] == pytest.approx(trapezoids, abs=2e-5)


def test_random_orders_are_the_seeds(captured):
    """Mean and standard deviation over 20 permutations of NumPy's generator, each by plain passes at one point."""
    entry = captured("reviews", ("occlusion",), seed=7)
    compared, random = entry.meta["compared"], entry.meta["curves"]["random"]
    generator = np.random.default_rng(7)
    orders = [generator.permutation(len(compared)) for _ in range(20)]
    values = [by_plain_passes("reviews", entry, {compared[at] for at in order[:4]}) for order in orders]
    assert random["deletion"]["mean"][4] == pytest.approx(np.mean(values), abs=2e-5)
    assert random["deletion"]["sd"][4] == pytest.approx(np.std(values, ddof=1), abs=2e-5)
    assert entry.meta["curves"]["seed"] == 7
    other = captured("reviews", ("occlusion",), seed=8).meta["curves"]["random"]
    assert other["deletion"]["mean"][4] != random["deletion"]["mean"][4]


def tau_b(one, other):
    """Kendall's τ-b by counting all pairs (Kendall 1945)."""
    pairs = list(itertools.combinations(range(len(one)), 2))
    signs = [(np.sign(one[a] - one[b]), np.sign(other[a] - other[b])) for a, b in pairs]
    score = sum(a * b for a, b in signs)
    return score / math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))


def test_agreement_is_kendalls_tau_b(loaded):
    from mkdocs_attnviz.models.captures.saliency_methods import agreement

    rows = np.array([[3, 1, 2, 2, 0.5], [1, 1, 5, 2, 0], [2, 2, 2, 2, 2]], np.float32)
    found = agreement(rows)
    assert found[0][1] == found[1][0] == pytest.approx(tau_b(rows[0], rows[1]), abs=1e-5)
    assert found[0][0] == 1
    assert found[2] == [None, None, None], "a strip that says the same of all tokens has no order"


def test_long_texts_have_few_points():
    """A curve of 300 tokens has at most 41 points, k and 300 − k alike; each mask is asked for once."""
    seen = []

    def probability(masks):
        seen.extend(mask.tobytes() for mask in masks)
        return 1 - masks.mean(1)

    found = faithfulness.faithfulness(probability, [list(range(300))], 300, 0)
    assert len(seen) == len(set(seen))
    assert len(found["counts"]) <= 41
    assert found["counts"] == [300 - count for count in reversed(found["counts"])]
    assert found["methods"][0]["deletion_area"] == pytest.approx(0.5)
    assert found["methods"][0]["comprehensiveness"] == pytest.approx(np.mean([0.01, 0.05, 0.1, 0.2, 0.5]))
    assert found["random"]["insertion_area"] == {"mean": 0.5, "sd": 0.0}


def test_a_translation_has_the_cross_attention_over_its_input(loaded):
    model = loaded("dates")
    inputs = {"text": "march 4, 2019", "text_target": "2019-03-04"}
    parameters = Options(method=("attention", "occlusion"), target=["7"]).parameters()
    entry = saliency.capture(Context(model, [example(model, inputs, 512)], parameters))[0]
    plain_model = transformers.AutoModelForSeq2SeqLM.from_pretrained(FOLDERS["dates"], attn_implementation="eager")
    ids = model.tokenizer(inputs["text"], return_tensors="pt")["input_ids"]
    labels = model.tokenizer(text_target=inputs["text_target"])["input_ids"]
    target = torch.tensor([[plain_model.config.decoder_start_token_id, *labels[:6]]])
    with torch.no_grad():
        weights = plain_model.eval()(ids, decoder_input_ids=target, output_attentions=True).cross_attentions[-1]
    found = strips(entry)["attention"]
    assert close(found[: ids.shape[1]], weights[0].mean(0)[-1].numpy())
    assert [each["known"] for each in entry.meta["methods"]] == [14, 21]
    assert entry.meta["compared"] == list(range(13)), "tokens of the input that are no special ones"
    with pytest.raises(Unusable, match="attention rollout from an output to a text is not defined for encoder–decoder"):
        saliency.capture(
            Context(model, [example(model, inputs, 512)], Options(method=("rollout",), target=["7"]).parameters())
        )


def test_a_classifier_that_reads_all_tokens_has_the_mean_of_all_rows(loaded):
    """Gradients find the rows that a head reads: GPT-2's classifier reads the last token, a mean pool reads all."""
    from mkdocs_attnviz.models.probing.attention_strips import rows_read

    model = loaded("reviews")
    read = example(model, {"text": "the film is good"}, 99)
    output = SimpleNamespace(reads=read, row=None)
    assert rows_read(model, output) == [0]
    states = []
    hook = model.model.distilbert.register_forward_hook(
        lambda _, __, outputs: (
            states.append(1)
            or outputs.__setitem__(
                "last_hidden_state",
                outputs.last_hidden_state.mean(1, keepdim=True).expand_as(outputs.last_hidden_state),
            )
        )
    )
    try:
        assert rows_read(model, output) == list(range(len(read.text.ids)))
    finally:
        hook.remove()
    assert states


@pytest.mark.parametrize(
    ("name", "options", "kind", "said"),
    [
        ("induction", {"replacement": "mask"}, ValueError, "`replacement` is mask, and the tokenizer of model"),
        ("induction", {"replacement": "remove"}, ValueError, "If all tokens are removed, nothing is left"),
        ("induction", {"target": ["9", "10"]}, ValueError, "`target` asks for 2 outputs; several methods are compared"),
        ("reviews", {"method": ["guided_backprop", "occlusion"]}, None, None),
    ],
)
def test_what_cannot_be(loaded, name, options, kind, said):
    model = loaded(name)
    parameters = Options(**{"method": ["occlusion"]} | options).parameters()
    context = Context(model, [example(model, CASES[name][0], 512)], parameters)
    if kind is None:
        assert len(saliency.capture(context)[0].meta["methods"]) == 2
        return
    with pytest.raises(kind, match=said):
        saliency.capture(context)


HEAD = "model: m\ntext: a text\nview: saliency\n"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("method: [occlusion, occlusion]", "`method` names occlusion twice."),
        (
            "method: [occlusion, importance]",
            r"`method` is \[.*\]; it must be attention, rollout, .* or a list of these",
        ),
        ("method: []", "`method` is .*; it must be attention"),
        ("method: occlusion\nby: word", r"`by` belongs to a list of methods: write `method: \[occlusion\]`."),
        ("method: attention\nsteps: 9", "`steps` belongs to `method` integrated_gradients and gradient_shap, not to"),
        ("method: [occlusion]\nstyle: bars", "`style` belongs to a single `method`"),
        ("method: [occlusion]\nby: span", "`by` is span, and the block has no `spans`."),
    ],
)
def test_what_is_wrong_in_a_block(keys, said):
    with pytest.raises(BlockError, match=said):
        parse(Source(f"{HEAD}{keys}"), OPTIONS)


def test_only_what_the_capture_needs_is_in_its_key():
    block = parse(Source(f"{HEAD}method: [attention, occlusion]\nby: word\ncompare: deletion\ntop_k: 5"), OPTIONS)
    assert block.options.parameters() == {
        "explain": "logit",
        "methods": [{"method": "attention"}, {"method": "occlusion", "norm": "sum", "baseline": "zero", "window": 1}],
        "seed": 0,
    }
    alone = parse(Source(f"{HEAD}method: attention"), OPTIONS).options
    assert alone.parameters() == parse(Source(f"{HEAD}method: [attention]"), OPTIONS).options.parameters()


def sequence(tokens, words, special=(), b=None):
    return {"tokens": tokens, "pretty": tokens, "special": list(special), "words": words, "sentence_b_start": b}


def test_words_sentences_and_passages():
    text = sequence(
        ["[CLS]", "Play", "##ing", "it", ".", "”", "Café", "is", "good", "!", "[SEP]"],
        [None, 0, 0, 1, 2, 3, 4, 5, 6, 7, None],
        special=[0, 10],
    )
    assert words(text) == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert sentences(text) == [0, 1, 6, 10], "what closes a sentence belongs to it"
    starts, marked, missing = passages(text, ["playing it", "cafe IS", "no such"])
    assert (starts, marked, missing) == ([0, 1, 4, 6, 8, 10], [1, 3], ["no such"])
    pair = sequence(["a", "b", "c"], [0, 1, 2], b=2)
    assert sentences(pair) == [0, 2]


def drawn(captured, name="reviews", **options):
    body = f"model: {name}\ntext: {CASES[name][0]['text']!r}\nview: saliency\nmethod: [{', '.join(ALL)}]\n"
    block = parse(Source(body + "\n".join(f"{key}: {value}" for key, value in options.items())), OPTIONS)
    return VIEWS["saliency"].drawing(block, captured(name))


def test_attention_is_never_called_importance(captured):
    drawing = drawn(captured)
    assert "of the weight" in drawing.sentence
    assert "importan" not in drawing.sentence.lower()
    for path in [
        *(ROOT / "frontend/src/views/saliency").glob("*.ts"),
        ROOT / "mkdocs_attnviz/views/saliency_methods.py",
    ]:
        text = path.read_text("utf-8").lower().replace("never its importance", "")
        assert "importan" not in text, path


def test_groups_and_a_passage_that_is_not_there(captured):
    data = drawn(captured, spans="[the acting is superb, plot]").data
    assert data["initial"]["by"] == "span"
    marked = [data["groups"]["span"]["texts"].get(n, "plot") for n in data["groups"]["span"]["marked"]]
    assert marked == ["plot", "the acting is superb"]
    with pytest.raises(BlockError, match="`spans` has 'the music', which is not in the text of model 'reviews'"):
        drawn(captured, spans="[the music]")


# ---- in the browser


PAGE = f"""# Several methods

```attention
model: reviews
text: The plot is dull, but the acting is superb.
view: saliency
method: [{", ".join(ALL)}]
spans: [the acting is superb]
by: token
id: reviews
```

```attention
model: reviews
text: The plot is dull, but the acting is superb.
view: saliency
method: [occlusion]
compare: deletion
id: alone
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_cache):
    site = Site(tmp_path_factory.mktemp("methods"), shared_cache)
    site.settings["models"]["reviews"] = FOLDERS["reviews"]
    site.write("index.md", PAGE)
    built = site.build()
    assert built.alerts() == [], built.log
    return built


def change(element, state):
    element.evaluate("async (element, state) => { element.state = state; await element.updateComplete }", state)


def texts(element, selector):
    return element.locator(selector).all_inner_texts()


def cells(element):
    return [line.locator("td").all_inner_texts() for line in element.locator(".token-grid tbody tr").all()]


def test_the_numbers_of_the_page(figure, captured):
    _, element = figure("reviews")
    values = element.evaluate("element => element.values({})")
    entry = captured("reviews")
    for name, row in strips(entry).items():
        (found,) = [each for each in values["methods"] if each["method"] == name]
        assert found["values"] == pytest.approx(row.tolist(), rel=1e-5, abs=1e-9)
        assert sum(map(abs, found["shares"])) == pytest.approx(1, abs=1e-6)
    assert values["agreement"] == entry.meta["agreement"]
    first = [set(each["order"][:3]) for each in values["methods"]]
    assert values["overlap"] == [[pytest.approx(len(a & b) / 3) for b in first] for a in first]
    assert values["curves"] == entry.meta["curves"]
    shares = [[round(100 * share) for share in each["shares"]] for each in values["methods"]]
    shown = [[int(text.replace("−", "-")) for text in row] for row in cells(element)]
    assert all(
        abs(a - b) <= 1 for one, other in zip(shares, shown, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_sums_add_up(figure):
    _, element = figure("reviews")
    shares = element.evaluate("element => element.values({})")["methods"][6]["shares"]
    change(element, {"by": "span"})
    names = texts(element, ".token-grid thead th[scope=col]")
    assert names == ["[CLS]", "the plot is dull, but", "the acting is superb", ".", "[SEP]"]
    assert int(cells(element)[6][2]) == round(100 * sum(shares[7:11]))
    change(element, {"by": "token"})
    assert len(cells(element)[0]) == 13


def test_a_token_reads_all_methods_by_mouse_and_keyboard(figure):
    page, element = figure("reviews")
    readout = element.locator(".panel-readout")
    assert "integrated gradients: completeness error" in readout.inner_text()
    element.locator(".token-grid td").nth(10).hover()
    said = readout.inner_text()
    assert said.startswith("superb for positive (99")
    assert all(name in said for name in ("attention 100%", "input × gradient", "occlusion"))
    element.locator(".token-grid td").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert readout.inner_text().startswith("[SEP] for positive")
    assert ", baseline zeros, 50 steps · completeness error" in readout.inner_text()
    assert texts(element, ".comparison .read > th[scope=row]") == ["6 integrated gradients"]
    page.keyboard.press("Enter")
    assert element.evaluate("element => element.state.selected") == 12
    page.keyboard.press("Escape")
    assert element.evaluate("element => element.state.selected") is None


def test_agreement_and_curves_are_chosen(figure, captured):
    _, element = figure("reviews")
    entry = captured("reviews")
    rows = element.locator(".pairs tbody tr").all()
    shown = [[text.replace("−", "-") for text in row.locator("td").all_inner_texts()] for row in rows]
    for row, line in enumerate(entry.meta["agreement"]):
        assert [text for col, text in enumerate(shown[row]) if col != row] == [
            f"{tau:.2f}" for col, tau in enumerate(line) if col != row
        ]
    change(element, {"compare": "insertion"})
    areas = [row.locator("td").first.inner_text() for row in element.locator(".faithfulness tbody tr").all()]
    curves = entry.meta["curves"]
    assert areas[:7] == [f"{each['insertion_area']:.2f}" for each in curves["methods"]]
    assert areas[7].startswith(f"{curves['random']['insertion_area']['mean']:.2f}")
    paths = element.locator(".plot path").all()
    assert len(paths) == 2 + 7
    last = paths[-1].get_attribute("d")[1:].split("L")
    assert [100 - float(point.split()[1]) for point in last] == pytest.approx(
        [100 * value for value in curves["methods"][6]["insertion"]], abs=0.006
    )
    change(element, {"compare": "nothing"})
    assert element.locator(".comparison").count() == 0


def test_bad_states(figure):
    _, element = figure("alone")
    script = "(element, bad) => { try { element.state = bad } catch (error) { return error.message } }"
    assert element.evaluate(script, {"selected": 13}) == "selected 13: not a number from 0 to 12"
    assert element.evaluate(script, {"by": "span"}) == "by span: not one of token, word, sentence"
    assert element.evaluate(script, {"compare": "x"}).startswith("compare x: not one of agreement")
    assert element.evaluate(script, {"style": "bars"}) == "style: not a part of the state"


def test_one_method_has_no_matrix(figure):
    _, element = figure("alone")
    options = texts(element, "select option")
    assert not any("agreement" in option for option in options)
    assert element.locator(".faithfulness tbody tr").count() == 2


@pytest.mark.parametrize("state", [{}, {"by": "span", "compare": "deletion"}])
def test_a_narrow_page(figure, state):
    page, element = figure("reviews", width=360)
    change(element, state)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert element.locator(".token-grid").evaluate(
        "grid => grid.scrollWidth > grid.clientWidth && grid.clientHeight > 100"
    )


# ---- claims


def claimed(captured, *claims, method=ALL):
    """Return how the claims of a figure of the reviews are told: whether each holds, and its true value."""
    body = f"model: reviews\ntext: {CASES['reviews'][0]['text']!r}\nview: saliency\nmethod: [{', '.join(method)}]\n"
    body += "expect:\n" + "".join(f"  - {claim}\n" for claim in claims)
    block = parse(Source(body), OPTIONS)
    check_grammar(block, VIEWS["saliency"])
    return judge(block, VIEWS["saliency"], [captured("reviews", method)])


def test_claims_of_several_methods(captured):
    """Each holds with the number of its independent source, and not with another one."""
    entry = captured("reviews")
    agreement, curves = entry.meta["agreement"], entry.meta["curves"]
    first = [{*order[:3]} for order in entry.meta["orders"]]
    shares = strips(entry)["attention"]
    values = {
        "{method: attention, token: superb, measure: share, %s}": shares[10] / shares.sum(),
        "{method: attention, other_method: occlusion, %s}": agreement[0][6],
        "{measure: overlap, method: rollout, other_method: occlusion, %s}": len(first[1] & first[6]) / 3,
        "{measure: comprehensiveness, method: occlusion, %s}": curves["methods"][6]["comprehensiveness"],
        "{measure: deletion_area, method: random, %s}": curves["random"]["deletion_area"]["mean"],
        "{measure: completeness_error, method: integrated_gradients, %s}": 0.00919 / 2.98554,
    }
    true = [claim % f"between: [{value - 0.002:.4f}, {value + 0.002:.4f}]" for claim, value in values.items()]
    false = [claim % f"between: [{value + 0.01:.4f}, {value + 0.02:.4f}]" for claim, value in values.items()]
    true += ["{strongest: {method: rollout}, is: superb}", "{method: occlusion, token: superb, measure: rank, is: 1}"]
    false += ["{strongest: {method: occlusion}, is: dull}"]
    gain = curves["methods"][6]["comprehensiveness"] - curves["random"]["comprehensiveness"]["mean"]
    beats = "{measure: comprehensiveness, method: occlusion, beats_baseline_by: %.3f}"
    true.append(beats % (gain - 0.01))
    false.append(beats % (gain + 0.01))
    assert [each.holds for each in claimed(captured, *true)] == [True] * len(true)
    assert [each.holds for each in claimed(captured, *false)] == [False] * len(false)
    with pytest.raises(BlockError, match="`method` is not given; the methods of this figure are attention, rollout"):
        claimed(captured, "{token: superb, measure: share, at_least: 0}")
    with pytest.raises(BlockError, match="`other_method` is 'lime'; the methods of this figure are"):
        claimed(captured, "{method: rollout, other_method: lime, at_least: 0}")
