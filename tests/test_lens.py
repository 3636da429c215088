"""The logit lens against transformers itself, its last row against the model's own distribution."""

import json
import zlib
from itertools import pairwise

import numpy as np
import pytest
import test_capture
import torch
import transformers
from conftest import INDUCTION, ROOT, Site, draw_all
from tokenizers import Tokenizer, models, pre_tokenizers

from mkdocs_attnviz.models.captures import lens
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.settings import Settings

torch.set_num_threads(1)

EN_DE = str(ROOT / "example_site" / "models" / "en-de")
PARAMETERS = {"top_k": 40, "final_norm": True, "watch": ["c"]}
VOCABULARY = 40
SMALL = test_capture.SMALL | {"num_hidden_layers": 3}
GROUPED = test_capture.GROUPED | {"num_hidden_layers": 3}
GPT = test_capture.GPT | {"n_layer": 3}
T5 = test_capture.T5 | {"num_layers": 3}
BART = {name: SMALL[name] for name in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
BART |= test_capture.BART | {"decoder_layers": 3, "decoder_start_token_id": 2}
BLOOM = {"hidden_size": 32, "n_layer": 3, "n_head": 4, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2}
CAUSAL = {
    "bloom": BLOOM,
    "cohere": GROUPED | {"logit_scale": 1.5},
    "gemma2": GROUPED | {"final_logit_softcapping": 2.0},
    "gpt2": GPT,
    "gpt_neox": SMALL,
    "granite": GROUPED | {"logits_scaling": 3.0},
    "llama": GROUPED,
    "opt": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 16},
    "phi": SMALL,
    "qwen3": GROUPED,
}
MASKED = {"albert": SMALL | {"embedding_size": 16}, "bert": SMALL, "distilbert": SMALL | {"dim": 32, "n_heads": 4}}
MASKED["distilbert"] |= {"n_layers": 3, "hidden_dim": 48}
WRITING = {"bart": BART, "marian": BART, "t5": T5}
AUTO = {
    "next": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "target": transformers.AutoModelForSeq2SeqLM,
}
TASKS = {"next": CAUSAL, "masked": MASKED, "target": WRITING}
ALL = [(task, name) for task, known in TASKS.items() for name in known]


def ref(model):
    return resolve(str(model), None, Settings(), ROOT)


def found_in(entry):
    return json.loads(zlib.decompress(entry.blobs["lens"]))


@pytest.fixture(scope="module")
def tokenizer():
    words = ["<pad>", "<s>", "</s>", "<unk>", *"abcdefgh", "[MASK]"]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **special)


@pytest.fixture
def make(tokenizer, tmp_path):
    """`make(task, model_type)` → a folder with a random model; small weights would hide mistakes."""

    def make(task, model_type, **more):
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(model_type, **TASKS[task][model_type], **more)
        model = AUTO[task].from_config(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
                elif "norm" in name or "ln_" in name:
                    parameter.add_(torch.rand_like(parameter))
        model.save_pretrained(tmp_path / model_type)
        tokenizer.save_pretrained(tmp_path / model_type)
        return tmp_path / model_type

    return make


def captured(folder, inputs, **parameters):
    loaded = load(ref(folder), "cpu", head=True, attention=False)
    given = example(loaded, inputs, 99)
    return loaded, given, lens.capture(Context(loaded, [given], PARAMETERS | parameters))[0]


def dense(found, layer):
    """Return (T, V) of a layer of which all tokens are stored, in the order of the entry's vocabulary."""
    probabilities = np.zeros((len(found["top"][layer]), len(found["vocabulary"])))
    for position, (ids, values) in enumerate(zip(found["top"][layer], found["probabilities"][layer], strict=True)):
        probabilities[position, ids] = values
    return probabilities


def in_order(loaded, found, probabilities):
    """Return the model's own (T, V) in the order of the entry's vocabulary."""
    names = lens.pretty(loaded.tokenizer, list(range(probabilities.shape[-1])))
    return probabilities[:, [names.index(name) for name in found["vocabulary"]]]


@pytest.mark.parametrize(("task", "model_type"), ALL, ids=lambda part: part)
def test_the_last_layer_is_the_models_own_distribution(make, task, model_type):
    folder = make(task, model_type)
    inputs = {"text": "a b c d e f g h"} | ({"text_target": "h g f e"} if task == "target" else {})
    loaded, given, entry = captured(folder, inputs)
    model = AUTO[task].from_pretrained(folder).eval()
    ids = {"input_ids": torch.tensor([given.text.ids])}
    if given.target is not None:
        ids["decoder_input_ids"] = torch.tensor([given.target.ids])
    with torch.no_grad():
        expected = model(**ids).logits[0].softmax(-1).double().numpy()
    found = found_in(entry)
    assert entry.meta["layers"] == 3
    assert len(found["top"]) == 4
    expected = in_order(loaded, found, expected)
    assert np.abs(dense(found, -1) - expected).max() < 1e-5
    assert max(found["kl"][-1]) < 1e-5
    assert np.abs(dense(found, 0) - expected).max() > 1e-2, "the embeddings say something else"
    assert np.abs(dense(found, 1) - dense(found, 2)).max() > 1e-3, "each layer is its own"


def by_hand(folder, ids, norm, head):
    """Return logits, (layers + 1, T, V), from transformers' hidden states, the norm and the head by their names."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        outputs = model(torch.tensor([ids]), output_hidden_states=True)
        normed = [model.get_submodule(norm)(state) for state in outputs.hidden_states[:-1]]
        raw = [model.get_submodule(head)(state)[0] for state in outputs.hidden_states[:-1]]
        rows = [model.get_submodule(head)(state)[0] for state in [*normed, outputs.hidden_states[-1]]]
    return torch.stack(rows).double(), torch.stack(raw).double()


@pytest.mark.parametrize(("model_type", "norm"), [("gpt2", "transformer.ln_f"), ("llama", "model.norm")])
def test_ranks_entropy_and_divergence(make, model_type, norm):
    folder = make("next", model_type)
    loaded, given, entry = captured(folder, {"text": "a b c d e f g h"})
    found, ids = found_in(entry), given.text.ids
    logits, raw = by_hand(folder, ids, norm, "lm_head")
    expected = logits.softmax(-1).numpy()
    for layer in range(4):
        assert np.abs(dense(found, layer) - in_order(loaded, found, expected[layer])).max() < 1e-5
    entropy = -(expected * np.log(expected)).sum(-1)
    assert np.allclose(found["entropy"], entropy, atol=1e-4)
    divergence = (expected[-1] * (np.log(expected[-1]) - np.log(expected))).sum(-1)
    assert np.allclose(found["kl"], divergence, atol=1e-4)
    for layer, position in np.ndindex(4, len(ids) - 1):
        order = (-expected[layer, position]).argsort().tolist()
        probability, rank = found["actual"][layer][position]
        assert rank == 1 + order.index(ids[position + 1])
        assert abs(probability - expected[layer, position, ids[position + 1]]) < 1e-5
        assert found["watched"][layer][position][0][1] == 1 + order.index(loaded.tokenizer.convert_tokens_to_ids("c"))
    assert [row[-1] for row in found["actual"]] == [None] * 4, "nothing follows the last token"

    _, _, entry = captured(folder, {"text": "a b c d e f g h"}, final_norm=False)
    found = found_in(entry)
    for layer in range(3):
        given_raw = in_order(loaded, found, raw[layer].softmax(-1).numpy())
        assert np.abs(dense(found, layer) - given_raw).max() < 1e-5
    assert np.abs(dense(found, 1) - in_order(loaded, found, expected[1])).max() > 1e-2


def test_a_given_output_is_known_to_its_end(make):
    _, given, entry = captured(make("target", "t5"), {"text": "a b c", "text_target": "c b"})
    found = found_in(entry)
    assert given.target.next == entry.meta["sequences"]["target"]["next"]
    assert all(pair is not None for pair in found["actual"][-1])


def test_what_a_mask_hides_is_not_known(make):
    _, _, entry = captured(make("masked", "bert"), {"text": "a [MASK] c"})
    known = [pair is not None for pair in found_in(entry)["actual"][-1]]
    assert known == [True, False, True]


def test_the_model_is_left_as_it_was(make):
    folder = make("next", "llama")
    loaded = load(ref(folder), "cpu", head=True, attention=False)
    given = example(loaded, {"text": "a b c d"}, 99)
    ids = torch.tensor([given.text.ids])
    with torch.no_grad():
        before = loaded.model(ids).logits
        lens.capture(Context(loaded, [given], PARAMETERS))
        assert torch.equal(loaded.model(ids).logits, before)
    assert not any("forward" in vars(module) for module in loaded.model.modules())


def test_the_encoder_runs_once(make):
    loaded = load(ref(make("target", "t5")), "cpu", head=True, attention=False)
    given = example(loaded, {"text": "a b c", "text_target": "c b"}, 99)
    runs = []
    loaded.model.get_encoder().block[0].register_forward_hook(lambda *call: runs.append(call))
    lens.capture(Context(loaded, [given], PARAMETERS))
    assert len(runs) == 1


# ---- refusals


def test_a_token_that_is_none():
    loaded = load(ref(INDUCTION), "cpu", head=True, attention=False)
    given = example(loaded, {"text": "the rabbit"}, 99)
    with pytest.raises(ValueError, match="`watch` has 'the rabbit', which is not one token") as error:
        lens.capture(Context(loaded, [given], PARAMETERS | {"watch": ["the rabbit"]}))
    assert "'the', 'rabbit'" in str(error.value)
    with pytest.raises(ValueError, match="`watch` has 'zeppelin', which is not one token"):
        lens.capture(Context(loaded, [given], PARAMETERS | {"watch": ["zeppelin"]}))


def test_no_norm_to_leave_out(make):
    with pytest.raises(ValueError, match=r"`final_norm` is false; model .* \(bert\) has no norm"):
        captured(make("masked", "bert"), {"text": "a b"}, final_norm=False)


def test_a_model_of_classes(tmp_path, tokenizer):
    config = transformers.AutoConfig.for_model("bert", **SMALL)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(Unusable, match="predicts classes"):
        captured(tmp_path, {"text": "a b"})


def test_layers_that_do_not_tell_all(make):
    """A head that adds what it takes from the embeddings: the last layer alone does not say what the model says."""
    folder = make("next", "gpt2")
    loaded = load(ref(folder), "cpu", head=True, attention=False)
    seen = []
    loaded.model.transformer.wpe.register_forward_hook(lambda module, args, output: seen.append(output))
    loaded.model.transformer.ln_f.register_forward_hook(lambda module, args, output: output + 9 * seen[-1])
    with pytest.raises(Unusable, match="do not follow from the vectors of its last layer alone"):
        lens.capture(Context(loaded, [example(loaded, {"text": "a b c d"}, 99)], PARAMETERS))


# ---- in the page


TEXT = "the rabbit quickly hopped over the fence and the rabbit quickly"


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_cache):
    """A page with a short lens, and one with a long lens of a deep random model."""
    folder = tmp_path_factory.mktemp("lens")
    torch.manual_seed(0)
    deep = transformers.AutoConfig.for_model("gpt2", **GPT | {"n_layer": 24, "n_positions": 128, "vocab_size": 5000})
    transformers.AutoModelForCausalLM.from_config(deep).save_pretrained(folder / "deep")
    transformers.AutoTokenizer.from_pretrained(INDUCTION).save_pretrained(folder / "deep")
    site = Site(folder, shared_cache)
    site.settings["models"] |= {"deep": str(folder / "deep")}
    blocks = {
        "index": f"model: induction\ntext: {TEXT}\nview: lens\nwatch: [hopped, rabbit]\nid: figure",
        "deep": f"model: deep\ntext: {' '.join([TEXT] * 5)}\nview: lens\nshow: rank\nid: figure",
        "raw": f"model: induction\ntext: {TEXT}\nview: lens\nfinal_norm: false\nshow: kl\nid: figure",
        "wrong": f"model: induction\ntext: {TEXT}\nview: lens\nwatch: [the rabbit]",
        "unwatched": f"model: induction\ntext: {TEXT}\nview: lens\ncells: watch",
    }
    for name, block in blocks.items():
        site.write(f"{name}.md", f"# Lens\n\n```attention\n{block}\n```\n")
    built = site.build()
    assert not built.alerts(), built.log
    assert not built.alerts("deep/index.html"), built.log
    return built


@pytest.fixture
def shown(built, visits):
    """`shown(page)` → the page and its figure, drawn."""

    def shown(name="index", **options):
        folder = built.folder / "site"
        page = visits.page(folder / "index.html" if name == "index" else folder / name / "index.html", **options)
        draw_all(page)
        return page, page.locator("attn-viz")

    return shown


def values(element, **request):
    return element.evaluate("(element, request) => element.values(request)", request)


def state(element):
    return element.evaluate("element => element.state")


def change(element, **change):
    element.evaluate("(e, change) => { e.state = change; return e.updateComplete }", change)


def cell(page, row, col):
    return page.locator(f"attn-viz td[data-row='{row}'][data-col='{col}']")


def readout(page):
    page.locator("attn-viz").evaluate("element => element.updateComplete")
    return " ".join(page.locator("attn-viz .panel-readout").inner_text().split())


@pytest.fixture(scope="module")
def truth():
    """Return the induction model's own numbers: probabilities (rows, T, V), ids, tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(INDUCTION)
    ids = tokenizer(TEXT)["input_ids"]
    logits, _ = by_hand(INDUCTION, ids, "transformer.ln_f", "lm_head")
    return logits.softmax(-1).numpy(), ids, tokenizer


def test_the_data_of_the_page(shown, truth):
    _, element = shown()
    probabilities, ids, tokenizer = truth
    found = values(element)
    assert np.shape(probabilities)[:2] == (len(found), len(found[0])) == (3, len(ids))
    for layer, position in np.ndindex(3, len(ids)):
        one, expected = found[layer][position], probabilities[layer, position]
        assert (one["layer"], one["position"]) == (layer - 1, position)
        top = [tokenizer.convert_tokens_to_ids(token) for token in one["top"]["tokens"]]
        assert np.allclose(one["top"]["probabilities"], expected[top], atol=1e-5)
        assert np.allclose(np.sort(expected)[::-1][:5], expected[top], atol=1e-5)
        assert abs(one["entropy"] + (expected * np.log(expected)).sum()) < 1e-3
        if position + 1 < len(ids):
            assert one["actual"] == tokenizer.convert_ids_to_tokens(ids[position + 1])
            assert one["rank"] == 1 + (expected > expected[ids[position + 1]]).sum()
        for watched in one["watched"]:
            token = tokenizer.convert_tokens_to_ids(watched["token"])
            assert watched["rank"] == 1 + (expected > expected[token]).sum()
    assert values(element, layer=1, position=3) == found[2][3]
    assert values(element, layer=-1) == found[0]
    assert values(element, position=2) == [row[2] for row in found]
    with pytest.raises(Exception, match=r"RangeError: layer 2: not a number from -1"):
        values(element, layer=2)


def test_the_answer_appears_in_the_last_layer(built, truth):
    """The induction heads are in layer 1: before it the model does not know that the phrase comes again."""
    probabilities, _, tokenizer = truth
    hopped = tokenizer.convert_tokens_to_ids("hopped")
    assert [row[-1].argmax() == hopped for row in probabilities] == [False, False, True]
    alt = built.page().find("img")["alt"]
    assert "holds “hopped” the likeliest (98%); it is the first choice from layer 1 on." in alt


def test_what_is_pointed_at_is_read_out(shown):
    page, element = shown()
    last = values(element, layer=1, position=10)
    assert readout(page).startswith("layer 1, after 10 quickly · entropy")
    assert f"{100 * last['top']['probabilities'][0]:.1f}%" in readout(page)
    cell(page, 1, 2).hover()
    one = values(element, layer=0, position=2)
    assert readout(page).startswith("layer 0, after 2 quickly · hopped")
    assert f"rank {one['rank']} · entropy {one['entropy']:.2f} · KL {one['kl']:.2f}" in readout(page)
    cell(page, 1, 2).click()
    assert state(element) | {"show": None} == {
        "show": None,
        "cells": "top",
        "watched": 0,
        "layer": 0,
        "position": 2,
    }
    page.mouse.move(0, 0)
    assert readout(page).startswith("layer 0, after 2 quickly"), "it stays"
    page.keyboard.press("Escape")
    assert state(element)["layer"] is None


def test_keyboard(shown):
    page, element = shown()
    page.get_by_role("combobox").last.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.locator("attn-viz td:focus").get_attribute("data-row") == "0"
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert readout(page).startswith("embeddings, after 1 rabbit")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert (state(element)["layer"], state(element)["position"]) == (-1, 10)
    assert page.locator("attn-viz td[aria-selected=true]").get_attribute("data-col") == "10"
    assert page.locator("attn-viz td[tabindex='0']").count() == 1


def test_what_the_cells_say(shown):
    page, element = shown()
    assert page.get_by_role("rowheader").all_inner_texts() == ["actual", "layer 1", "layer 0", "embeddings", "input"]
    found = values(element)
    assert cell(page, 0, 2).inner_text() == found[2][2]["top"]["tokens"][0]
    page.get_by_role("combobox", name="Cells").select_option(label="rank of the actual token")
    line = page.locator("attn-viz td[data-row='1']").all_inner_texts()
    assert line[:10] == [str(one["rank"]) for one in found[1][:10]]
    assert cell(page, 1, 10).inner_text() == "–"
    page.get_by_role("combobox", name="Cells").select_option(label="rank of “rabbit”")
    assert (state(element)["cells"], state(element)["watched"]) == ("watch", 1)
    assert cell(page, 2, 5).inner_text() == str(found[0][5]["watched"][1]["rank"])


GROUNDS = "cells => cells.map(cell => getComputedStyle(cell).backgroundColor)"


def strengths(page):
    """Return the distance of each cell's background from white, row by row."""

    def strength(color):
        numbers = [float(part) for part in color[color.index("(") + 1 : -1].split(",")]
        return 0 if numbers[3:] == [0] else sum(255 - number for number in numbers[:3])

    return [strength(color) for color in page.locator("attn-viz td").evaluate_all(GROUNDS)]


@pytest.mark.parametrize("show", ["probability", "rank", "entropy", "kl"])
def test_the_ground_is_what_is_chosen(shown, show):
    """The background is stronger for larger numbers, but for a rank it is stronger for smaller ones."""
    page, element = shown()
    change(element, show=show)
    of = {
        "probability": lambda one: one["top"]["probabilities"][0],
        "rank": lambda one: -np.log(one["rank"]),
        "entropy": lambda one: one["entropy"],
        "kl": lambda one: one["kl"],
    }[show]
    found = values(element)
    known = [(row, col) for row in range(3) for col in range(10)]
    numbers = [of(found[2 - row][col]) for row, col in known]
    all_grounds = strengths(page)
    grounds = [all_grounds[11 * row + col] for row, col in known]
    in_order = [ground for _, ground in sorted(zip(numbers, grounds, strict=True))]
    assert max(grounds) > 100
    assert all(after >= before - 2 for before, after in pairwise(in_order))


def test_bad_states_are_refused(shown):
    _, element = shown()
    script = "(e, bad) => { try { e.state = bad } catch (error) { return `${error.name}: ${error.message}` } }"
    for bad, message in (
        ({"show": "x"}, "RangeError: show x: not one of probability, rank, entropy, kl"),
        ({"layer": 2, "position": 0}, "RangeError: layer 2: not a number from -1 (the embeddings) to 1"),
        ({"layer": 0, "position": 11}, "RangeError: position 11: not a number from 0 to 10"),
        ({"layer": 0}, "RangeError: layer and position: one without the other"),
        ({"watched": 2}, "RangeError: watched 2: not a number from 0 to 1"),
        ({"other": 1}, "RangeError: other: not a part of the state"),
    ):
        assert element.evaluate(script, bad) == message
    assert state(element)["layer"] is None


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_a_long_lens_scrolls_within_the_figure(shown, width, dark):
    page, _ = shown("deep", width=width, dark=dark)
    names = [f"layer {n}" for n in range(23, -1, -1)]
    assert page.get_by_role("rowheader").all_inner_texts()[1:-1] == [*names, "embeddings"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cell(page, 0, 0).focus()
    page.keyboard.press("PageDown")
    page.keyboard.press("End")
    assert readout(page).startswith("embeddings, after 54 quickly")
    seen = page.evaluate(
        """() => {
          const root = document.querySelector('attn-viz').shadowRoot;
          const box = element => element.getBoundingClientRect();
          const cell = box(root.activeElement), grid = box(root.querySelector('.token-grid'));
          const row = box(root.activeElement.parentElement.firstElementChild);
          const [top, foot] = ['thead', 'tfoot'].map(name => box(root.querySelector(`${name} th:last-child`)));
          return [cell.left >= row.right - 1, cell.right <= grid.right + 1, cell.bottom <= foot.top + 1,
                  row.left >= grid.left - 1, Math.abs(top.top - grid.top) < 2, foot.bottom <= grid.bottom + 1];
        }"""
    )
    assert seen == [True] * 6, "the cell is not hidden by headers, which have stayed"
    ink, ground = (
        cell(page, 24, 54).evaluate("(e, name) => getComputedStyle(e)[name]", name)
        for name in ("color", "backgroundColor")
    )
    assert ink != ground


def test_the_raw_lens_says_so(shown, built):
    page, _ = shown("raw")
    assert page.get_by_text("raw: without the final norm", exact=False).is_visible()
    assert "without the final norm (raw)" in built.page("raw/index.html").find("img")["alt"]


def test_saved_as_a_file(shown):
    page, _ = shown()
    page.get_by_role("button", name="Options").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()
    svg = download.value.path().read_text("utf-8")
    for text in ("Logit lens", "layer 1", "embeddings", "hopped", "last layer on top"):
        assert text in svg


def test_mistakes(built):
    (alert,) = built.alerts("wrong/index.html")
    assert "`watch` has 'the rabbit', which is not one token of the vocabulary of model 'induction'" in alert
    (alert,) = built.alerts("unwatched/index.html")
    assert "`cells` is watch, and the block has no `watch`" in alert
