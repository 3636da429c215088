"""The example site's classifier: the claims of its README and of the page on saliency, in transformers' numbers."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
import training
from conftest import ROOT
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertForSequenceClassification,
    pipeline,
)

torch.set_num_threads(1)

FOLDER = ROOT / "example_site" / "models" / "reviews"


@pytest.fixture(scope="module")
def script():
    return training.script(FOLDER)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForSequenceClassification.from_pretrained(FOLDER, local_files_only=True).eval()


@pytest.fixture(scope="module")
def held_out(script):
    """Return 500 reviews with a pair that the training leaves out, from a seed that neither training nor scores use."""
    return list(itertools.islice(script.reviews("tests", held_out=True), 500))


# ---- the files


def test_it_is_a_small_distilbert_that_names_its_classes(model):
    assert isinstance(model, DistilBertForSequenceClassification)
    assert model.config.architectures == ["DistilBertForSequenceClassification"]
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.config.label2id == {"negative": 0, "positive": 1}
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.suffix in {".safetensors", ".json"}) < 2_000_000


def test_a_gap_is_a_token_of_zeros(model, tokenizer):
    assert not model.get_input_embeddings().weight[tokenizer.pad_token_id].any()


def test_the_configuration_is_what_the_script_makes(script, model):
    made = script.make_tokenizer()
    assert json.loads(made.backend_tokenizer.to_str()) == json.loads((FOLDER / "tokenizer.json").read_text("utf-8"))
    changed = {"architectures", "dtype", "transformers_version", "_name_or_path"}
    ours, theirs = script.make_model(made).config.to_dict(), model.config.to_dict()
    assert {key: ours[key] for key in ours.keys() - changed} == {key: theirs[key] for key in ours.keys() - changed}


def test_the_readmes_lines():
    judge = pipeline("text-classification", str(FOLDER))
    assert judge("The plot is dull, but the acting is superb.")[0]["label"] == "positive"


# ---- the reviews


def test_the_same_seed_gives_the_same_reviews(script):
    made = [(one.text, one.good) for one in itertools.islice(script.reviews(script.SEED, held_out=False), 3)]
    assert made == [
        ("although i could not hate the ending, this movie is far from charming. it was made in 1999.", False),
        ("i saw it with my sister. this film is a convincing joy.", True),
        ("the cast is truly predictable, but the dialogue is often brilliant.", True),
    ]


def test_what_is_held_out_is_never_trained_on(script, held_out):
    trained = [one.text for one in itertools.islice(script.reviews(script.SEED, held_out=False), 5_000)]
    assert {one.text for one in held_out}.isdisjoint(trained)
    assert not [text for text in trained if "not bad" in text or "not good" in text]


def test_every_word_is_in_the_vocabulary(script, tokenizer):
    made = itertools.chain(
        *(itertools.islice(script.reviews("words", held_out=held_out), 1_000) for held_out in (False, True))
    )
    unknown = tokenizer.unk_token_id
    assert not [one.text for one in made if unknown in tokenizer(one.text).input_ids]


def test_counting_words_does_not_do(script):
    """Counting adjectives of praise and of blame gives the right verdict for less than half of the reviews."""
    grammar = script.reviews.__globals__
    good, bad = (set(grammar["ADJECTIVES"][key]) for key in (True, False))
    counted = []
    for one in itertools.islice(script.reviews("counting", held_out=False), 2_000):
        words = one.text.replace(",", "").replace(".", "").split()
        score = sum(word in good for word in words) - sum(word in bad for word in words)
        counted.append(score and (score > 0) == one.good)
    assert sum(map(bool, counted)) < 0.5 * len(counted)


# ---- what it says


def test_held_out_reviews_are_judged_rightly(script, model, tokenizer, held_out):
    said = script.verdicts(model, tokenizer, [one.text for one in held_out])
    right = [one.good == good for one, good in zip(held_out, said, strict=True)]
    assert sum(right) >= 0.99 * len(right)
    negated = [is_right for one, is_right in zip(held_out, right, strict=True) if one.negated]
    assert len(negated) == len(held_out)  # a held-out pair is one of a negator and an adjective
    for kind in ("plain", "and", "but", "although", "despite"):
        of_kind = [is_right for one, is_right in zip(held_out, right, strict=True) if one.kind == kind]
        assert len(of_kind) > 15
        assert sum(of_kind) >= 0.98 * len(of_kind)


@pytest.mark.parametrize(("text", "good"), [
    ("the film is bad.", False),
    ("the film is not bad.", True),
    ("the film is not bad at all.", True),
    ("the film is good.", True),
    ("the film is not good.", False),
    ("The plot is dull, but the acting is superb.", True),
    ("The acting is superb, but the plot is dull.", False),
    ("Although the acting is superb, the plot is dull.", False),
    ("The plot is dull, although the acting is superb.", False),
    ("this movie is anything but boring.", True),
    ("there is nothing funny about this film.", False),
    ("The acting is wonderful, but I did not like the story.", False),
    ("the film is bad at all.", True),  # no English: “at all” tells of a negation by itself
])  # fmt: skip
def test_what_the_pages_say(script, model, tokenizer, text, good):
    assert script.verdicts(model, tokenizer, [text]) == [good]


def test_but_can_be_missed_and_although_cannot(model, tokenizer):
    """The page on saliency tells how the verdict changes without the word."""
    for word, with_it, without_it in (("but", "positive", "positive"), ("although", "negative", "positive")):
        inputs = tokenizer(f"the plot is dull, {word} the acting is superb.", return_tensors="pt")
        gap = inputs["input_ids"] == tokenizer.convert_tokens_to_ids(word)
        left_out = inputs["input_ids"].masked_fill(gap, tokenizer.pad_token_id)
        for ids, label in ((inputs["input_ids"], with_it), (left_out, without_it)):
            with torch.no_grad():
                found = model(input_ids=ids, attention_mask=inputs["attention_mask"]).logits[0].argmax()
            assert model.config.id2label[int(found)] == label


def test_a_text_of_zeros_is_neither_praise_nor_blame(model, tokenizer):
    for text in ("the film is not bad at all.", "the plot is dull, but the acting is superb."):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs | {"input_ids": torch.zeros_like(inputs["input_ids"])}).logits
        assert logits.abs().max() < 0.1
