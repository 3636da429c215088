"""The example site's English–German translator does what its README and the tutorial say of it."""

import sys
from itertools import islice

import pytest
import torch
from conftest import ROOT
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

sys.path.insert(0, str(ROOT / "example_site" / "models" / "en-de"))
import grammar

torch.set_num_threads(1)

FOLDER = ROOT / "example_site" / "models" / "en-de"
NOTEBOOK = "She sees the small elephant.", "Sie sieht den kleinen Elefanten."
CROSSING = "She has seen the small elephant.", "Sie hat den kleinen Elefanten gesehen."
GUIDED = 1, 0
"""Layer and head of the cross attention that was told where to look."""


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return AutoModelForSeq2SeqLM.from_pretrained(FOLDER, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def held_out():
    return list(islice(grammar.sentences("test", held_out=True), 50))


def translated(model, tokenizer, texts):
    written = model.generate(**tokenizer(texts, padding=True, return_tensors="pt"), num_beams=1, do_sample=False)
    return tokenizer.batch_decode(written, skip_special_tokens=True)


def cross(model, tokenizer, text, target):
    """(layer, head, produced, read)"""
    inputs = tokenizer(text, return_tensors="pt")
    labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return torch.cat(model(**inputs, labels=labels, output_attentions=True).cross_attentions)


def rendered(tokenizer, pair):
    """Return for each piece of a word that renders another: its position, and the positions of the other's pieces."""
    source = tokenizer(pair.text).word_ids()
    for row, word in enumerate(tokenizer(text_target=pair.target).word_ids()):
        role = "" if word is None else pair.german[word].role
        if role:
            yield row, [col for col, read in enumerate(source) if read is not None and pair.english[read].role == role]


def test_translates_the_notebooks_sentence(model, tokenizer):
    assert translated(model, tokenizer, [NOTEBOOK[0]]) == [NOTEBOOK[1]]


def test_translates_sentences_that_it_has_not_seen(model, tokenizer, held_out):
    said = translated(model, tokenizer, [pair.text for pair in held_out])
    right = [pair.target == german for pair, german in zip(held_out, said, strict=True)]
    assert sum(right) >= 49


def test_the_notebooks_pair_of_words_is_not_trained_on():
    trained = islice(grammar.sentences(0, held_out=False), 5_000)
    assert not [pair.text for pair in trained if "small elephant" in pair.text]


def test_pieces(tokenizer):
    ids = tokenizer(NOTEBOOK[0])["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁She", "▁sees", "▁the", "▁small", "▁elephant", ".", "</s>"]
    ids = tokenizer(text_target=NOTEBOOK[1])["input_ids"]
    tokens = ["▁Sie", "▁sieht", "▁den", "▁kleinen", "▁Elefant", "en", ".", "</s>"]
    assert tokenizer.convert_ids_to_tokens(ids) == tokens


def test_a_word_is_written_with_the_eyes_on_the_word_it_renders(model, tokenizer, held_out):
    layer, head = GUIDED
    weights, most = [], []
    for pair in held_out:
        seen = cross(model, tokenizer, pair.text, pair.target)[layer, head]
        for row, cols in rendered(tokenizer, pair):
            weights.append(seen[row, cols].sum().item())
            most.append(seen[row].argmax().item() in cols)
    assert sum(weights) / len(weights) > 0.95
    assert sum(most) / len(most) > 0.98


def test_the_participle_crosses_the_object(model, tokenizer):
    text, german = CROSSING
    assert translated(model, tokenizer, [text]) == [german]
    read = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    produced = tokenizer.convert_ids_to_tokens(tokenizer(text_target=german)["input_ids"])
    layer, head = GUIDED
    seen = cross(model, tokenizer, text, german)[layer, head]
    lines = {"▁hat": "▁has", "▁den": "▁the", "▁kleinen": "▁small", "▁Elefant": "▁elephant", "▁gesehen": "▁seen"}
    assert all(seen[produced.index(word), read.index(other)] > 0.9 for word, other in lines.items())
    assert produced.index("▁gesehen") > produced.index("▁Elefant")
    assert read.index("▁seen") < read.index("▁elephant")


def test_an_article_is_written_with_the_eyes_on_its_noun(model, tokenizer):
    """Layer 1 head 2, which was told nothing: the noun decides between *den*, *die* and *das*."""
    read = tokenizer.convert_ids_to_tokens(tokenizer(NOTEBOOK[0])["input_ids"])
    produced = tokenizer.convert_ids_to_tokens(tokenizer(text_target=NOTEBOOK[1])["input_ids"])
    seen = cross(model, tokenizer, *NOTEBOOK)[1, 2]
    assert seen[produced.index("▁den"), read.index("▁elephant")] > 0.9
    assert seen[produced.index("▁kleinen"), read.index("▁elephant")] > 0.8


def test_is_small():
    assert (FOLDER / "model.safetensors").stat().st_size < 2_000_000
