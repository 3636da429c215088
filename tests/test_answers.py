"""Models that label tokens and that answer questions: what they predict, and why, against transformers and Captum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from captum.attr import LayerGradientXActivation
from conftest import draw_all
from test_loading import made  # noqa: F401 — a fixture

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import lens, predictions, saliency
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, predict, tokens
from mkdocs_attnviz.views import saliency as saliency_view
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.svg.token_flow import json_of

LABELS = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}, "label2id": {"O": 0, "B-PER": 1, "I-PER": 2}}
PARAMETERS = {"method": "input_x_gradient", "norm": "sum", "explain": "logit"}
PAIR = {"text": "a b", "text_pair": "c d e c a"}
BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "bos_token_id": 2}
BART |= {"decoder_attention_heads": 4, "eos_token_id": 3, "pad_token_id": 0, "decoder_start_token_id": 3}


@pytest.fixture
def labelling(made):  # noqa: F811
    return made(transformers.BertForTokenClassification, num_labels=3)


@pytest.fixture
def answering(made):  # noqa: F811
    return made(transformers.BertForQuestionAnswering)


def loaded(folder):
    model = load(resolve(str(folder), None, Settings(), Path("/")), "cpu", head=True, attention=False)
    if model.task == "labels":
        model.model.config.id2label = LABELS["id2label"]
    return model


def predicted(model, top_k=5, **inputs):
    entry = predictions.capture(Context(model, [example(model, inputs, 99)], {"top_k": top_k}))[0]
    return entry, json_of(entry.blobs["predictions"])


def explained(model, inputs, **parameters):
    entry = saliency.capture(Context(model, [example(model, inputs, 99)], PARAMETERS | parameters))[0]
    return entry, scaled(entry.blobs["attributions"], len(entry.meta["outputs"]))


def own(kind, folder):
    """transformers' model, and what its tokenizer makes of texts."""
    read = transformers.AutoTokenizer.from_pretrained(folder)
    return kind.from_pretrained(folder).eval(), lambda *texts: read(*texts, return_tensors="pt")


def captum_of(model, inputs, score):
    """Gradient × input by Captum itself, at the embedding layer."""
    more = {name: value for name, value in inputs.items() if name != "input_ids"}
    run = LayerGradientXActivation(
        lambda ids: score(model(input_ids=ids, **more))[:, None], model.get_input_embeddings()
    )
    return run.attribute(inputs["input_ids"], target=0)[0].sum(-1).detach().numpy()


# ---- Labels of tokens


def test_labels_are_those_of_transformers(labelling):
    entry, found = predicted(loaded(labelling), text="a b c")
    model, read = own(transformers.BertForTokenClassification, labelling)
    with torch.no_grad():
        shares = model(**read("a b c")).logits[0].softmax(-1)
    assert entry.meta["task"] == "labels"
    assert [top is None for top in found["top"]] == [True, False, False, False, True]  # [CLS] a b c [SEP]
    for position in (1, 2, 3):
        best = shares[position].sort(descending=True)
        assert found["top"][position] == best.indices.tolist()
        assert np.allclose(found["probabilities"][position], best.values.numpy(), rtol=1e-4)
    assert found["vocabulary"] == ["O", "B-PER", "I-PER"]


@pytest.mark.parametrize("label", [None, "I-PER"])
def test_a_label_is_explained_as_captum_does(labelling, label):
    entry, values = explained(loaded(labelling), {"text": "a b c"}, target=["3"], **({"token": label} if label else {}))
    model, read = own(transformers.BertForTokenClassification, labelling)
    inputs = read("a b c")
    number = int(model(**inputs).logits[0, 3].argmax()) if label is None else 2
    expected = captum_of(model, inputs, lambda outputs: outputs.logits[:, 3, number])
    assert np.allclose(values[0], expected, atol=1e-5, rtol=1e-3)
    output = entry.meta["outputs"][0]
    assert (output["name"], output["index"], output["token"]) == ("text", 3, LABELS["id2label"][number])


def test_the_first_token_with_a_label_is_explained(labelling):
    model = loaded(labelling)
    _, found = predicted(model, text="a b c d e")
    likeliest = [top and top[0] for top in found["top"]]
    first = next((place for place, label in enumerate(likeliest) if label), 1)
    entry, _ = explained(model, {"text": "a b c d e"})
    assert [output["index"] for output in entry.meta["outputs"]] == [first]


def test_labels_that_there_are_not(labelling):
    with pytest.raises(ValueError, match=r"`token` is 'X'; the classes of model .* are O \(0\), B-PER \(1\)"):
        explained(loaded(labelling), {"text": "a b"}, token="X")
    with pytest.raises(ValueError, match="`target` is '0'; it must be all, or positions of outputs: 1 to 2"):
        explained(loaded(labelling), {"text": "a b"}, target=["0"])


# ---- Answers


def answers_of(kind, folder, start):
    """Return all spans with their probabilities by transformers' logits, the likeliest first."""
    model, read = own(kind, folder)
    with torch.no_grad():
        outputs = model(**read("a b", "c d e c a"))
    length = outputs.start_logits.shape[1] - 1  # without the last [SEP]
    first, last = (
        each[0, start:length].double().softmax(-1).numpy() for each in (outputs.start_logits, outputs.end_logits)
    )
    stretches = [(s, e) for s in range(len(first)) for e in range(s, len(last))]
    return sorted(((first[s] * last[e], s + start, e + start) for s, e in stretches), reverse=True)


def test_answers_are_those_of_transformers(answering):
    entry, found = predicted(loaded(answering), **PAIR)
    expected = answers_of(transformers.BertForQuestionAnswering, answering, 4)  # [CLS] a b [SEP] c …
    words = dict(enumerate(["c", "d", "e", "c", "a"], 4))
    assert entry.meta["task"] == "answer"
    assert np.allclose(found["probabilities"][0], [share for share, *_ in expected[:5]], rtol=1e-4)
    assert found["vocabulary"] == [" ".join(words[at] for at in range(s, e + 1)) for _, s, e in expected[:5]]


def test_both_ends_of_an_answer_are_explained_as_captum_does(answering):
    _, start, end = answers_of(transformers.BertForQuestionAnswering, answering, 4)[0]
    entry, values = explained(loaded(answering), PAIR)
    model, read = own(transformers.BertForQuestionAnswering, answering)
    inputs = read("a b", "c d e c a")
    for number, score in enumerate(
        (lambda outputs: outputs.start_logits[:, start], lambda outputs: outputs.end_logits[:, end])
    ):
        assert np.allclose(values[number], captum_of(model, inputs, score), atol=1e-5, rtol=1e-3)
    assert [output["name"] for output in entry.meta["outputs"]] == ["outputs", "outputs"]
    only, row = explained(loaded(answering), PAIR, target=["end"])
    assert np.array_equal(row[0], values[1])
    assert only.meta["outputs"][0]["token"] == entry.meta["outputs"][1]["token"]


def test_answers_that_cannot_be(answering):
    with pytest.raises(ValueError, match="`target` is '3'; of an answer it must be start, end or all"):
        explained(loaded(answering), PAIR, target=["3"])
    with pytest.raises(ValueError, match=r"`contrast` is '1'; it must be the position .* part of an answer: 4 to 8"):
        explained(loaded(answering), PAIR, contrast="1")


def test_an_encoder_decoder_that_answers(made):  # noqa: F811
    folder = made(transformers.BartForQuestionAnswering, **BART)
    model = loaded(folder)
    read = example(model, PAIR, 99)
    _, found = predicted(model, **PAIR)
    expected = answers_of(transformers.BartForQuestionAnswering, folder, read.text.sentence_b_start)
    assert np.allclose(found["probabilities"][0], [share for share, *_ in expected[:5]], rtol=1e-4)
    with pytest.raises(ValueError, match="gives a text answers and writes none, so no `text_target`"):
        example(model, {"text": "a", "text_target": "b"}, 99)


# ---- What is drawn


def block(view, more=""):
    return parse(Source(f"model: m\ntext: t\nview: {view}\n{more}"), OPTIONS)


def test_sentences(labelling, answering):
    label, _ = predicted(loaded(labelling), text="a b c")
    assert predict.VIEW.drawing(block("predict", "position: 2"), label).sentence.startswith(
        "m gives “b” at 2 the label “"
    )
    answer, found = predicted(loaded(answering), **PAIR)
    said = predict.VIEW.drawing(block("predict"), answer).sentence
    assert said.startswith(f"m finds the answer “{found['vocabulary'][0]}”, with ")
    for entry, what in ((label, "predicts labels of tokens"), (answer, "finds answers")):
        with pytest.raises(BlockError, match=f"needs a model that predicts tokens, and .* {what}"):
            tokens.VIEW.drawing(block("tokens"), entry)
    with pytest.raises(Unusable, match=r"and .* predicts labels of tokens"):
        lens.capture(Context(loaded(labelling), [], {}))
    ends, _ = explained(loaded(answering), PAIR)
    assert saliency_view.VIEW.drawing(block("saliency"), ends).data["texts"][-1]["heading"] == "Answer, from and to"


def test_in_the_page(site, open_page, labelling, answering):
    site.settings["models"] |= {"labels": str(labelling), "answers": str(answering)}
    question = "text: a b\ntext_pair: c d e c a"
    blocks = [
        f"model: {model}\n{text}\nview: {view}"
        for model, text in (("labels", "text: a b c"), ("answers", question))
        for view in ("predict", "saliency")
    ]
    site.write("index.md", "".join(f"```attention\n{body}\n```\n\n" for body in blocks))
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    page = open_page(built.folder / "site" / "index.html")
    draw_all(page)
    titles = page.locator("attn-viz .title").all_inner_texts()
    assert titles == ["Labels of 1, a", "Likeliest answers"]
    values = page.locator("attn-viz").nth(2).evaluate("element => element.values({})")
    _, found = predicted(loaded(answering), top_k=10, **PAIR)
    assert values["top"]["tokens"] == found["vocabulary"]
    assert page.locator("attn-viz").nth(3).evaluate("element => element.values({})").get("outputs")
