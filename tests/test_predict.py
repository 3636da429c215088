"""The views tokens and predict: probabilities and ranks are those of transformers' logits; what readers can do."""

import re

import numpy as np
import pytest
import torch
import transformers
from conftest import INDUCTION, ROOT, draw_figures
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import predictions
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.engine import worker
from mkdocs_attnviz.models.engine.loaded_models import LoadedModels
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, predict, tokens
from mkdocs_attnviz.views.svg.token_flow import json_of

torch.set_num_threads(1)

EN_DE = str(ROOT / "example_site" / "models" / "en-de")
TEXT = "the rabbit hopped near the cold river and the rabbit"
SENTENCE = "She sees the small elephant."
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
BART = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
BART |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 32}
BART |= {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "decoder_start_token_id": 3}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """`make_model(class)` → a folder with a small random BERT of that class."""
    folder = tmp_path_factory.mktemp("models")

    def make(kind, **settings):
        torch.manual_seed(3)
        backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        special = {name: f"[{name[:-6].upper()}]" for name in ("pad_token", "unk_token", "cls_token", "sep_token")}
        path = folder / (kind.__name__ + "-".join(settings))
        transformers.PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **special).save_pretrained(
            path
        )
        model = kind(kind.config_class(vocab_size=len(WORDS), **TINY, **settings))
        with torch.no_grad():  # small random weights give nearly uniform predictions, which would hide mistakes
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(6)
        model.save_pretrained(path)
        return str(path)

    return make


def captured(folder, top_k=5, **inputs):
    loaded = load(resolve(folder, None, Settings(), ROOT), "cpu", head=True, attention=False)
    return predictions.capture(Context(loaded, [example(loaded, inputs, 99)], {"top_k": top_k}))[0]


def of_transformers(folder, auto):
    return transformers.AutoTokenizer.from_pretrained(folder), auto.from_pretrained(folder).eval()


def check(found, position, logits, token=None):
    """Compare one position with the model's logits there; `token` is the id of the actual token."""
    shares = torch.softmax(logits.double(), -1).numpy()
    best = np.sort(shares)[::-1][: len(found["top"][position])]
    assert np.allclose(found["probabilities"][position], best, rtol=1e-4, atol=1e-7)
    assert found["entropy"][position] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-4, abs=1e-6)
    if token is None:
        assert found["actual"][position] is None
    else:
        probability, rank = found["actual"][position]
        assert probability == pytest.approx(shares[token], rel=1e-4)
        assert rank == 1 + (shares > shares[token]).sum()


def names_of(found, position):
    return [found["vocabulary"][index] for index in found["top"][position]]


# ---- numbers


def test_a_decoder():
    entry = captured(INDUCTION, text=TEXT)
    found = json_of(entry.blobs["predictions"])
    tokenizer, model = of_transformers(INDUCTION, transformers.AutoModelForCausalLM)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(ids).logits[0]
    assert found["top"][0] is found["actual"][0] is None, "nothing stands before the first token"
    for position, row in enumerate(logits, 1):
        check(found, position, row, int(ids[0, position]) if position < len(ids[0]) else None)
        best = tokenizer.convert_ids_to_tokens(row.topk(5).indices.tolist())
        assert [name.strip() for name in names_of(found, position)] == [name.strip("Ġ▁ ") for name in best]


def test_what_a_decoder_has_written_is_judged_as_it_judged_then():
    entry = captured(INDUCTION, text=TEXT, generate={"max_new_tokens": 5})
    found = json_of(entry.blobs["predictions"])
    written = entry.meta["sequences"]["text"]["generated"]
    assert len(found["top"]) == written + 6
    assert [rank for _, rank in found["actual"][written:-1]] == [1] * 5, "greedily written"


@pytest.mark.parametrize("target", [None, "Sie sieht den Hund."])
def test_an_encoder_decoder(target):
    given = {"text": SENTENCE} | ({} if target is None else {"text_target": target})
    entry = captured(EN_DE, **given)
    found = json_of(entry.blobs["predictions"])
    tokenizer, model = of_transformers(EN_DE, transformers.AutoModelForSeq2SeqLM)
    encoded = tokenizer(SENTENCE, return_tensors="pt")
    if target is None:
        ids = model.generate(**encoded, do_sample=False, num_beams=1)[:, :-1]
    else:
        labels = tokenizer(text_target=target, return_tensors="pt").input_ids
        ids = model.prepare_decoder_input_ids_from_labels(labels=labels)
    with torch.no_grad():
        logits = model(**encoded, decoder_input_ids=ids).logits[0]
    assert entry.meta["predicted"] == "target"
    assert len(entry.meta["sequences"]["target"]["tokens"]) == ids.shape[1]
    for position, row in enumerate(logits, 1):
        check(found, position, row, int(ids[0, position]) if position < ids.shape[1] else None)


@pytest.mark.parametrize("text", ["a b [MASK] d e", "[MASK] b [MASK]"])
def test_masks_are_filled_in_all_at_once(make_model, text):
    folder = make_model(transformers.BertForMaskedLM)
    found = json_of(captured(folder, text=text).blobs["predictions"])
    tokenizer, model = of_transformers(folder, transformers.AutoModelForMaskedLM)
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(ids).logits[0]
    masks = (ids[0] == tokenizer.mask_token_id).nonzero()[:, 0].tolist()
    assert [position for position, top in enumerate(found["top"]) if top] == masks
    for position in masks:
        check(found, position, logits[position])


@pytest.mark.parametrize(("limit", "value"), [("AT_ONCE", 3), ("LOGITS", 300), ("LOGITS", 1)])
def test_without_a_mask_each_token_is_masked_in_turn(make_model, monkeypatch, limit, value):
    monkeypatch.setattr(predictions, limit, value)
    folder, text = make_model(transformers.BertForMaskedLM), "a b c d e f g"
    found = json_of(captured(folder, text=text).blobs["predictions"])
    tokenizer, model = of_transformers(folder, transformers.AutoModelForMaskedLM)
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert found["top"][0] is found["top"][8] is None, "special tokens are not"
    for position in range(1, 8):
        masked = ids.clone()
        masked[0, position] = tokenizer.mask_token_id
        with torch.no_grad():
            check(found, position, model(masked).logits[0, position], int(ids[0, position]))


def test_a_text_of_special_tokens_alone_is_no_crash(make_model):
    folder = make_model(transformers.BertForMaskedLM)
    entry = captured(folder, text="[SEP]")
    with pytest.raises(BlockError, match="has no token that model 'm' could predict"):
        predict.VIEW.drawing(block("predict"), entry)


@pytest.mark.parametrize(("settings", "several"), [({}, False), ({"problem_type": "multi_label_classification"}, True)])
def test_classes(make_model, settings, several):
    names = {0: "bad", 1: "good", 2: "neither"}
    folder = make_model(transformers.BertForSequenceClassification, id2label=names, **settings)
    entry = captured(folder, text="a b c")
    found = json_of(entry.blobs["predictions"])
    tokenizer, model = of_transformers(folder, transformers.AutoModelForSequenceClassification)
    with torch.no_grad():
        logits = model(**tokenizer("a b c", return_tensors="pt")).logits[0].double()
    shares = logits.sigmoid() if several else logits.softmax(-1)
    order = shares.argsort(descending=True).tolist()
    assert names_of(found, 0) == [names[index] for index in order]
    assert np.allclose(found["probabilities"][0], shares[order].numpy(), rtol=1e-4)


def test_a_bert_that_is_no_decoder_predicts_no_next_token(make_model):
    """The class does not matter: predictions at a token depend on those after it."""
    with pytest.raises(Unusable, match=r"\(BertLMHeadModel\) predicts no next token: what it says of one depends on"):
        captured(make_model(transformers.BertLMHeadModel), text="a b c")
    folder = make_model(transformers.BertLMHeadModel, is_decoder=True)
    assert captured(folder, text="a b c").meta["task"] == "next"


def test_whether_it_reads_ahead_is_asked_of_the_model_as_it_is(make_model):
    """No model reads ahead without its attention; that result must not be stored."""
    folder = make_model(transformers.BertLMHeadModel)
    loaded = load(resolve(folder, None, Settings(), ROOT), "cpu", head=True, attention=False)
    changes = [{"layer": layer, "heads": [0, 1, 2, 3], "scale": 0.0} for layer in (0, 1)]
    job = {"inputs": [[0, {"text": "a b c"}]], "interventions": changes, "batch_size": 1, "max_tokens": 9}
    job["corpus"] = False
    kept = LoadedModels()
    with pytest.raises(Unusable, match="predicts no next token"):
        list(worker._captured(kept, {"model": loaded}, lambda *_: predictions.capture(Context(*_, {"top_k": 3})), job))
    assert loaded.reads_ahead


def test_rounding_is_no_reading_ahead(make_model):
    """The last bit of sums differs in 16 bits."""
    folder = make_model(transformers.BertLMHeadModel, is_decoder=True)
    loaded = load(resolve(folder, None, Settings(dtype="bfloat16"), ROOT), "cpu", head=True, attention=False)
    assert loaded.task == "next"


def test_numbers_that_are_none(make_model):
    folder = make_model(transformers.BertForSequenceClassification, num_labels=5)
    model = transformers.BertForSequenceClassification.from_pretrained(folder)
    model.classifier.weight.data[0] = torch.nan
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"gives values that are no numbers for this text\."):
        captured(folder, text="a b c")


def test_a_classifier_that_is_an_encoder_decoder(make_model):
    folder = make_model(transformers.BartForSequenceClassification, **BART)
    found = json_of(captured(folder, text="a b c").blobs["predictions"])
    tokenizer, model = of_transformers(folder, transformers.AutoModelForSequenceClassification)
    with torch.no_grad():
        shares = model(**tokenizer("a b c", return_tensors="pt")).logits[0].double().softmax(-1)
    assert np.allclose(found["probabilities"][0], shares.sort(descending=True).values.numpy(), rtol=1e-4)
    with pytest.raises(ValueError, match="gives a text classes and writes none, so no `text_target`"):
        captured(folder, text="a b c", text_target="d")


def test_a_model_without_a_head(make_model):
    with pytest.raises(
        Unusable, match=r"\(BertModel\) was saved without a head that predicts tokens, classes, labels or"
    ):
        captured(make_model(transformers.BertModel), text="a b c")


# ---- without JavaScript


def block(view, more=""):
    return parse(Source(f"model: m\ntext: t\nview: {view}\n{more}"), OPTIONS)


def test_the_likeliest_is_named():
    drawing = predict.VIEW.drawing(block("predict"), captured(INDUCTION, text=TEXT))
    tokenizer, model = of_transformers(INDUCTION, transformers.AutoModelForCausalLM)
    with torch.no_grad():
        shares = model(**tokenizer(TEXT, return_tensors="pt")).logits[0, -1].softmax(-1)
    best, second = (tokenizer.convert_ids_to_tokens(int(i)).strip("Ġ▁ ") for i in shares.topk(2).indices)
    most = f"{100 * float(shares.max()):.1f}%"
    assert drawing.sentence.startswith("After “… and the rabbit”, m holds")
    assert f"m holds “{best}” likeliest, with {most}, then “{second}” with" in drawing.sentence
    assert best in drawing.picture.svg
    assert most in drawing.picture.svg


@pytest.mark.parametrize(
    ("inputs", "more", "position"),
    [
        ({"text": TEXT}, "", 10),
        ({"text": TEXT}, "position: 4", 4),
        ({"text": TEXT, "generate": {"max_new_tokens": 3}}, "", 13),
    ],
)
def test_where_the_bars_are_of(inputs, more, position):
    drawing = predict.VIEW.drawing(block("predict", more), captured(INDUCTION, **inputs))
    assert drawing.data["initial"] == {"position": position}


def test_the_first_mask_is_shown_first(make_model):
    entry = captured(make_model(transformers.BertForMaskedLM), text="a [MASK] c [MASK]")
    assert predict.VIEW.drawing(block("predict"), entry).data["initial"] == {"position": 2}
    with pytest.raises(BlockError, match="`position` is 3; model 'm' predicts what stands at 2, 4"):
        predict.VIEW.drawing(block("predict", "position: 3"), entry)


def test_a_position_that_is_not_predicted():
    with pytest.raises(BlockError, match=r"`position` is 0; model 'm' predicts what stands at 1 to 10\.") as caught:
        predict.VIEW.drawing(block("predict", "position: 0"), captured(INDUCTION, text=TEXT))
    assert caught.value.line == 3


def test_the_tokens_view_counts_first_choices():
    entry = captured(INDUCTION, text=TEXT, generate={"max_new_tokens": 3})
    actual = [each for each in json_of(entry.blobs["predictions"])["actual"] if each]
    first = sum(rank == 1 for _, rank in actual)
    drawing = tokens.VIEW.drawing(block("tokens"), entry)
    assert drawing.sentence.endswith(f"Of {len(actual)} that it predicted, {first} were its first choice.")
    assert ">Written by the model<" in drawing.picture.svg


def test_words_of_several_tokens_are_quoted_as_they_are_written():
    drawing = predict.VIEW.drawing(block("predict", "position: 6"), captured(EN_DE, text=SENTENCE))
    assert drawing.sentence.startswith("After “… den kleinen Elefant”, m holds “en” likeliest")


def test_tokens_of_a_classifier(make_model):
    entry = captured(make_model(transformers.BertForSequenceClassification), text="a b c")
    with pytest.raises(BlockError, match="needs a model that predicts tokens, and model 'm' predicts classes"):
        tokens.VIEW.drawing(block("tokens"), entry)
    assert "takes the text for “LABEL_" in predict.VIEW.drawing(block("predict"), entry).sentence


# ---- in the browser

PAGE = f"""\
# Page

```attention
model: induction
text: {TEXT}
generate: {{max_new_tokens: 6}}
view: tokens
id: tokens
```

```attention
model: induction
text: {TEXT}
view: predict
id: predict
```

```attention
model: en-de
text: {SENTENCE}
view: predict
id: target
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_cache):
    from conftest import Site

    site = Site(tmp_path_factory.mktemp("predict"), shared_cache)
    schemes = {"light": "default", "dark": "slate"}
    palette = [{"media": f"(prefers-color-scheme: {name})", "scheme": scheme} for name, scheme in schemes.items()]
    site.config["theme"] = {"name": "material", "font": False, "palette": palette}
    site.settings["models"]["en-de"] = EN_DE
    site.write("index.md", PAGE)
    done = site.build("--strict")
    assert done.returncode == 0, done.log
    return done.folder / "site"


@pytest.fixture
def show(built, visits):
    """`show(id, width=…, dark=…)` → the page, this figure drawn anew."""

    def show(id, **options):
        page = visits.page(built / "index.html", within=f"#{id}", **options)
        draw_figures(page, f"#{id}")
        return page

    return show


def figure(page, id):
    return page.locator(f"#{id} attn-viz")


def complete(element):
    element.evaluate("e => e.updateComplete")


def values(element, request=None):
    return element.evaluate("(e, request) => e.values(request)", request or {})


def refused(element, change):
    return element.evaluate("(e, bad) => { try { e.state = bad } catch (error) { return `${error}` } }", change)


def token(element, index):
    return element.locator(".flow").get_by_role("option").nth(index)


def readout(element):
    complete(element)
    return " ".join(element.locator(".panel-readout").inner_text().split())


def bars(element):
    complete(element)
    return [
        (line.locator(".token").inner_text(), line.locator(".at-end").inner_text())
        for line in element.locator(".alternatives li").all()
    ]


@pytest.fixture(scope="module")
def truth():
    """Return the ids of the induction model's text with its continuation, and the logits after each."""
    tokenizer, model = of_transformers(INDUCTION, transformers.AutoModelForCausalLM)
    ids = model.generate(**tokenizer(TEXT, return_tensors="pt"), do_sample=False, max_new_tokens=6)
    with torch.no_grad():
        return tokenizer, ids[0].tolist(), model(ids).logits[0].softmax(-1)


def test_values_of_tokens(show, truth):
    tokenizer, ids, shares = truth
    found = values(figure(show("tokens"), "tokens"))
    assert [each["token"].strip() for each in found] == [
        name.strip("Ġ▁ ") for name in tokenizer.convert_ids_to_tokens(ids)
    ]
    assert found[0]["probability"] is found[0]["rank"] is found[0]["top"] is None
    for position in range(1, len(ids)):
        assert found[position]["probability"] == pytest.approx(float(shares[position - 1, ids[position]]), rel=1e-3)
        assert found[position]["rank"] == 1 + int((shares[position - 1] > shares[position - 1, ids[position]]).sum())
        assert found[position]["top"]["probabilities"][0] == pytest.approx(float(shares[position - 1].max()), rel=1e-3)


def test_hovering_a_token_reads_it_out(show):
    element = figure(show("tokens"), "tokens")
    known = values(element)
    least = min((each for each in known if each["probability"]), key=lambda each: each["probability"])
    assert readout(element).startswith(f"Least expected: {least['token'].strip()}: ")
    before = element.evaluate("e => e.offsetHeight")
    token(element, 12).hover()
    expected = known[12]
    assert re.match(rf"{expected['token'].strip()}: [\d.]+%, rank {expected['rank']}", readout(element))
    assert [name.strip("· ") for name, _ in bars(element)] == [name.strip() for name in expected["top"]["tokens"]]
    assert element.evaluate("e => e.offsetHeight") == before, "nothing below moves"
    token(element, 0).hover()
    assert readout(element) == "the: given, not predicted"


def test_clicks_and_keys_choose_a_token(show):
    page = show("tokens")
    element = figure(page, "tokens")
    token(element, 11).click()
    complete(element)
    assert element.evaluate("e => e.state") == {"shade": "probability", "selected": 11}
    assert token(element, 11).get_attribute("aria-selected") == "true"
    page.keyboard.press("Escape")
    assert element.evaluate("e => e.state.selected") is None
    token(element, 0).focus()
    for key in ("End", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    complete(element)
    assert element.evaluate("e => e.state.selected") == 14
    page.keyboard.press("Home")
    assert readout(element).startswith("the: given")


def test_the_state_of_tokens(show):
    element = figure(show("tokens"), "tokens")
    element.evaluate("e => { e.state = { shade: 'rank', selected: 3 } }")
    assert readout(element).startswith(values(element)[3]["token"].strip())
    assert "RangeError: shade blue: not one of probability, rank, none" in refused(element, {"shade": "blue"})
    assert "RangeError: selected 16: not a number from 0 to 15" in refused(element, {"selected": 16})
    assert "RangeError: colour: not a part of the state" in refused(element, {"colour": 1})


def grounds(element):
    """Return the backgrounds as they are set; the visible ones fade to them."""
    complete(element)
    return element.locator(".flow [role=option]").evaluate_all("all => all.map(e => e.style.backgroundColor)")


def test_shades(show):
    element = figure(show("tokens"), "tokens")
    known = values(element)
    by_probability = grounds(element)
    likely = [i for i, each in enumerate(known) if (each["probability"] or 0) > 0.9]
    unlikely = [i for i, each in enumerate(known) if 0 < (each["probability"] or 0) < 0.01]
    assert likely
    assert unlikely
    assert {by_probability[i] for i in unlikely}.isdisjoint(by_probability[i] for i in likely)
    element.get_by_role("combobox").select_option("rank")
    by_rank = grounds(element)
    assert len({by_rank[i] for i, each in enumerate(known) if each["rank"] == 1}) == 1
    element.get_by_role("combobox").select_option("none")
    assert set(grounds(element)) == {""}


CONTRAST = """all => {
  const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = color => {
    probe.fillStyle = color;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = color => {
    const [r, g, b] = rgb(color).map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return all.map(token => {
    const [one, other] = [token.style.backgroundColor, getComputedStyle(token.lastElementChild).color].map(light);
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  });
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_tokens_and_their_positions_can_be_read_on_every_ground(show, dark):
    element = figure(show("tokens", dark=dark), "tokens")
    complete(element)
    painted = element.locator(".flow .painted")
    assert painted.count() > 5
    assert min(painted.evaluate_all(CONTRAST)) >= 4.5


def test_a_dark_page_has_other_grounds(show):
    light, dark = (grounds(figure(show("tokens", dark=dark), "tokens")) for dark in (False, True))
    assert [bool(one) for one in light] == [bool(one) for one in dark]
    assert all(one != other for one, other in zip(light, dark, strict=True) if one)


def test_values_of_predict(show, truth):
    tokenizer, ids, shares = truth
    element = figure(show("predict"), "predict")
    found = values(element)
    assert found["position"] == len(TEXT.split())
    assert found["token"] is found["probability"] is None
    names = [name.strip("Ġ▁ ") for name in tokenizer.convert_ids_to_tokens(shares[9].topk(10).indices.tolist())]
    assert [name.strip() for name in found["top"]["tokens"]] == names
    assert found["top"]["probabilities"] == pytest.approx(shares[9].topk(10).values.tolist(), rel=1e-3)
    at_four = values(element, {"position": 4})
    assert at_four["probability"] == pytest.approx(float(shares[3, ids[4]]), rel=1e-3)
    script = "e => e.values({position: 0}).catch(error => `${error}`)"
    assert element.evaluate(script).startswith("RangeError: position 0: not one of 1, 2, 3")


def test_bars_follow_the_reader(show):
    page = show("predict")
    element = figure(page, "predict")
    shown = bars(element)
    first = values(element)["top"]
    assert [name.strip("· ") for name, _ in shown] == [name.strip() for name in first["tokens"]]
    assert shown[0][1] == f"{100 * first['probabilities'][0]:.1f}%"
    assert element.get_by_text("What comes next").is_visible()
    token(element, 5).hover()
    there = values(element, {"position": 5})
    assert [name.strip("· ") for name, _ in bars(element)] == [name.strip() for name in there["top"]["tokens"]]
    assert f"rank {there['rank']}" in readout(element)
    page.mouse.move(0, 0)
    assert bars(element) == shown
    token(element, 5).click()
    page.mouse.move(0, 0)
    complete(element)
    assert element.evaluate("e => e.state") == {"position": 5}
    token(element, 5).focus()
    page.keyboard.press("Escape")
    complete(element)
    assert element.evaluate("e => e.state") == {"position": 10}
    token(element, 5).focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert element.evaluate("e => e.state") == {"position": 7}
    assert "RangeError: position 0: not one of" in refused(element, {"position": 0})


def test_lengths_of_bars(show):
    element = figure(show("predict"), "predict")
    token(element, 2).click()
    complete(element)
    shares = values(element, {"position": 2})["top"]["probabilities"]
    lengths = element.locator(".alternatives .bar").evaluate_all("all => all.map(e => e.getBoundingClientRect().width)")
    whole = element.locator(".alternatives li").first.evaluate(
        "e => { const { left } = e.querySelector('.bar').getBoundingClientRect(); "
        "return e.getBoundingClientRect().right - left - 64 }"
    )
    assert np.allclose(lengths, np.maximum(1, np.array(shares) * whole), atol=0.6)


def test_the_output_of_an_encoder_decoder_can_be_chosen_and_its_input_cannot(show):
    element = figure(show("target"), "target")
    options = element.locator(".flow").get_by_role("option")
    assert options.nth(0).get_attribute("aria-disabled") == "true"
    found = values(element)
    assert found["position"] == max(element.evaluate("e => JSON.parse(e.dataset.figure).positions"))
    assert found["top"]["tokens"][0] == "</s>"
    before = element.evaluate("e => e.state")
    options.nth(0).click(force=True)
    assert element.evaluate("e => e.state") == before


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone(show, dark):
    for id in ("tokens", "predict", "target"):
        page = show(id, width=360, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        element = figure(page, id)
        assert element.evaluate(
            "e => [...e.shadowRoot.querySelectorAll('.alternatives, .flow')].every(p => p.scrollWidth <= p.clientWidth)"
        )


def test_saving(show):
    for id, said in (("tokens", "river"), ("predict", "hopped")):
        page = show(id)
        element = figure(page, id)
        element.get_by_role("button", name="Options").click()
        with page.expect_download() as download:
            element.get_by_role("button", name="SVG").click()
        svg = download.value.path().read_text()
        assert svg.startswith("<svg")
        assert said in svg


def test_the_page_without_javascript(built, open_page):
    page = open_page(built / "index.html", javascript=False)
    picture = page.locator("#predict img")
    assert "likeliest, with" in picture.get_attribute("alt")
    assert picture.evaluate("e => e.naturalWidth") > 300


def test_a_static_picture_of_what_is_hardly_possible_is_whole():
    from xml.etree import ElementTree

    from mkdocs_attnviz.views.predict import _picture

    svg = _picture([("a", 0.9999), ("b", 0.00005)], "auto").svg
    assert "&lt; 0.01%" in svg
    ElementTree.fromstring(svg)
