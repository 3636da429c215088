"""The trained encoder–decoder of the example site: what is said of it, in transformers' numbers."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
import training
from conftest import ROOT
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianMTModel

DATES = ROOT / "example_site" / "models" / "dates"


@pytest.fixture(scope="module")
def script():
    return training.script(DATES)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DATES, local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForSeq2SeqLM.from_pretrained(DATES, local_files_only=True, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def held_out(script):
    """50 dates of days that the training leaves out, and of a seed that neither training nor scores use."""
    return list(itertools.islice(script.random_dates("tests", held_out=True), 50))


def translate(model, tokenizer, texts):
    made = model.generate(**tokenizer(texts, padding=True, return_tensors="pt"))
    return tokenizer.batch_decode(made, skip_special_tokens=True)


@torch.no_grad()
def cross_attention(model, tokenizer, text, iso):
    """(layer, head, produced letter, letter of the text)"""
    inputs = tokenizer(text, text_target=iso, return_tensors="pt")
    return torch.cat(model(**inputs, output_attentions=True).cross_attentions)


# ---- the files -------------------------------------------------------------------------------------------------------


def test_it_is_a_small_marian_with_unlike_stacks(model):
    assert isinstance(model, MarianMTModel)
    assert model.config.encoder_attention_heads != model.config.decoder_attention_heads
    assert model.config.decoder_start_token_id == model.config.pad_token_id
    assert sum(path.stat().st_size for path in DATES.iterdir() if path.suffix in {".safetensors", ".json"}) < 2_000_000


def test_one_token_per_letter(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer("3 Mar").input_ids) == ["3", " ", "M", "a", "r", "</s>"]
    both = tokenizer("3 Mar 2021", text_target="2021-03-03")
    assert tokenizer.convert_ids_to_tokens(both["labels"]) == [*"2021-03-03", "</s>"]
    assert tokenizer.decode(both["input_ids"]) == "3 Mar 2021</s>"
    assert tokenizer.tokenize("3 é") == ["3", " ", "<unk>"]


def test_the_configuration_is_what_the_script_makes(script, tokenizer, model):
    made = script.make_tokenizer()
    assert json.loads(made.backend_tokenizer.to_str()) == json.loads((DATES / "tokenizer.json").read_text("utf-8"))
    untrained = script.make_model(made)
    for ours, theirs in [(untrained.config, model.config), (untrained.generation_config, model.generation_config)]:
        changed = {"architectures", "dtype", "transformers_version", "_name_or_path", "_from_model_config"}
        ours, theirs = ours.to_dict(), theirs.to_dict()
        assert {key: ours[key] for key in ours.keys() - changed} == {key: theirs[key] for key in ours.keys() - changed}


# ---- the translations ------------------------------------------------------------------------------------------------


def test_held_out_dates_are_translated(model, tokenizer, held_out):
    assert translate(model, tokenizer, [one.text for one in held_out]) == [one.iso for one in held_out]


def test_no_held_out_day_is_in_the_training_texts(script, held_out):
    seen = {one.iso for one in itertools.islice(script.random_dates(script.SEED, held_out=False), 20_000)}
    assert seen.isdisjoint(one.iso for one in held_out)


@pytest.mark.parametrize(("text", "iso"), [
    ("3 March 2021", "2021-03-03"),
    ("March 3, 2021", "2021-03-03"),
    ("03/03/2021", "2021-03-03"),
    ("Tue 3 Mar 2020", "2020-03-03"),
    ("3rd of March 2021", "2021-03-03"),
    ("the 22nd of December, 1805", "1805-12-22"),
    ("25 August 1937", "1937-08-25"),
    ("Wednesday, August 25, 1937", "1937-08-25"),
    ("3/4/2021", "2021-03-04"),
    ("3.4.2021", "2021-04-03"),
    ("31 February 2021", "2021-02-31"),
])  # fmt: skip
def test_ways_of_writing(model, tokenizer, text, iso):
    assert translate(model, tokenizer, [text]) == [iso]


# ---- the cross attention ---------------------------------------------------------------------------------------------

SCORES = {
    (0, 0): (0.53, 0.15, 0.58, 0.34),
    (0, 1): (0.82, 0.49, 0.72, 0.70),
    (1, 0): (0.97, 0.93, 0.66, 0.88),
    (1, 1): (1.00, 0.96, 0.87, 0.98),
}
"""The heads that the README names: layer, head → year on year, its digits on themselves, month on month, day on day."""


def field_weights(weights, one):
    """The scores of one date, from its cross attention; (layer, head, 4)."""
    parts = {"y": slice(0, 4), "m": slice(5, 7), "d": slice(8, 10)}
    cols = {field: [col for col, other in enumerate(one.fields) if other == field] for field in parts}
    year, month, day = (weights[:, :, parts[field]][..., cols[field]].sum(-1).mean(-1) for field in parts)
    itself = weights[:, :, 0:4][..., cols["y"]].diagonal(dim1=-2, dim2=-1).mean(-1)
    return torch.stack([year, itself, month, day], -1)


def test_the_heads_look_where_the_readme_says(model, tokenizer, held_out):
    weights = [field_weights(cross_attention(model, tokenizer, one.text, one.iso), one) for one in held_out]
    mean = torch.stack(weights).mean(0)
    for (layer, head), expected in SCORES.items():
        assert mean[layer, head].tolist() == pytest.approx(expected, abs=0.06)  # 50 dates instead of 5,000


def test_each_digit_of_the_year_is_looked_up_where_it_stands(model, tokenizer, held_out):
    for one in held_out:
        weights = cross_attention(model, tokenizer, one.text, one.iso)[1]
        start = one.fields.index("y")
        assert weights[:, :4].argmax(-1).tolist() == [[start, start + 1, start + 2, start + 3]] * 2


CLAIMS = [
    # text, layer, head, produced (its position), the letter looked at (its position), bounds
    ("25 August 1937", 1, 1, "1", 0, "1", 10, 0.95, 1),
    ("25 August 1937", 1, 1, "9", 1, "9", 11, 0.8, 0.9),
    ("25 August 1937", 1, 1, "3", 2, "3", 12, 0.95, 1),
    ("25 August 1937", 1, 1, "7", 3, "7", 13, 0.95, 1),
    ("25 August 1937", 1, 1, "-", 4, "7", 13, 0.15, 0.25),
    ("25 August 1937", 1, 1, "8", 6, "A", 3, 0.45, 0.55),
    ("25 August 1937", 1, 1, "8", 6, "g", 5, 0.4, 0.5),
    ("25 August 1937", 1, 1, "2", 8, "2", 0, 0.95, 1),
    ("25 August 1937", 1, 1, "5", 9, "5", 1, 0.95, 1),
    ("25 August 1937", 0, 0, "1", 0, "1", 10, 0.1, 0.2),
    ("25 August 1937", 0, 1, "7", 3, "7", 13, 0.65, 0.75),
    ("Wed, August 25th, 1937", 1, 1, "1", 0, "1", 18, 0.95, 1),
    ("Wed, August 25th, 1937", 1, 1, "2", 8, "2", 12, 0.95, 1),
    ("the 22nd of December, 1805", 1, 1, "1", 5, "D", 12, 0.95, 1),
    ("9 March 1875", 1, 0, "3", 6, "c", 5, 0.4, 0.5),
    ("9 March 1875", 1, 0, "3", 6, "r", 4, 0.25, 0.35),
    ("9 May 1875", 1, 0, "5", 6, "y", 4, 0.65, 0.8),
    ("9 Jul 1875", 1, 0, "7", 6, "l", 4, 0.8, 0.9),
    ("9 July 1875", 1, 0, "7", 6, "l", 4, 0.7, 0.8),
    ("25 August 1937", 1, 0, "8", 6, "g", 5, 0.75, 0.85),
    ("9 Jun 1875", 1, 0, "6", 6, "u", 3, 0.4, 0.55),
    ("9 Jun 1875", 1, 0, "6", 6, "n", 4, 0.2, 0.35),
    ("3/4/2021", 1, 1, "3", 6, "3", 0, 0.75, 0.9),
    ("3/4/2021", 1, 1, "4", 9, "4", 2, 0.95, 1),
    ("3.4.2021", 1, 1, "4", 6, "4", 2, 0.75, 0.9),
    ("3.4.2021", 1, 1, "3", 9, "3", 0, 0.95, 1),
    ("3/4/2021", 1, 1, "0", 5, "/", 1, 0.95, 1),
    ("3.4.2021", 1, 1, "0", 5, ".", 3, 0.9, 1),
    ("03/04/2021", 1, 1, "0", 5, "0", 0, 0.95, 1),
]
"""Every weight that the tutorial names."""


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim[0]}-{claim[1]}.{claim[2]}-{claim[4]}-{claim[6]}")
def test_weights_that_the_tutorial_names(model, tokenizer, claim):
    text, layer, head, produced, row, looked_at, col, least, most = claim
    (iso,) = translate(model, tokenizer, [text])
    assert (iso[row], text[col]) == (produced, looked_at)
    assert least <= cross_attention(model, tokenizer, text, iso)[layer, head, row, col] <= most


def test_the_weekday_is_not_needed(model, tokenizer):
    weekday = cross_attention(model, tokenizer, "Wed, August 25th, 1937", "1937-08-25")[1, 1, :, :3].sum(-1)
    assert weekday[[0, 1, 2, 3, 8, 9]].max() < 0.01
    assert 0.05 < weekday[[4, 7]].min() <= weekday[[4, 7]].max() < 0.2
