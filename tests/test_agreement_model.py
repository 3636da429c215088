"""The example site's masked language model: the claims of its README and of the tutorial, in transformers' numbers."""

from __future__ import annotations

import contextlib
import itertools
import json

import pytest
import torch
import training
from conftest import ROOT
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM, pipeline

torch.set_num_threads(1)

FOLDER = ROOT / "example_site" / "models" / "agreement"
NUMBER, TENSE, GENDER = (2, 1), (1, 2), (2, 3)
"""Layer and head of each."""


@pytest.fixture(scope="module")
def script():
    return training.script(FOLDER)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForMaskedLM.from_pretrained(FOLDER, local_files_only=True, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def questions(script):
    """Return 300 held-out sentences with their last verbs, from a seed that neither training nor scores use."""
    return script.questions(300, "tests")


@pytest.fixture(scope="module")
def distracted(questions):
    return [(one, verb) for one, verb in questions if verb.distracted]


def expected(model, tokenizer, text):
    """Return the probabilities of the masked token, by word."""
    inputs = tokenizer(text, return_tensors="pt")
    at = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.no_grad():
        found = model(**inputs).logits[0, at].softmax(-1)
    return dict(zip(tokenizer.convert_ids_to_tokens(range(len(found))), found.tolist(), strict=True))


def looks(model, tokenizer, text, layer, head):
    """Return the weights from the mask, (T,), and the tokens."""
    inputs = tokenizer(text, return_tensors="pt")
    at = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.no_grad():
        weights = model(**inputs, output_attentions=True).attentions[layer][0, head, at]
    return weights, tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])


def share(right):
    return sum(right) / len(right)


# ---- the files


def test_it_is_a_small_bert(model):
    assert isinstance(model, BertForMaskedLM)
    assert model.config.architectures == ["BertForMaskedLM"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.suffix in {".safetensors", ".json"}) < 2_000_000


def test_one_token_per_word(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("The keys to the xylophone [MASK].").input_ids)
    assert tokens == ["[CLS]", "the", "keys", "to", "the", "[UNK]", "[MASK]", ".", "[SEP]"]
    assert tokenizer.mask_token == "[MASK]"


def test_the_configuration_is_what_the_script_makes(script, model):
    made = script.make_tokenizer()
    assert json.loads(made.backend_tokenizer.to_str()) == json.loads((FOLDER / "tokenizer.json").read_text("utf-8"))
    changed = {"architectures", "dtype", "transformers_version", "_name_or_path"}
    ours, theirs = script.make_model(made).config.to_dict(), model.config.to_dict()
    assert {key: ours[key] for key in ours.keys() - changed} == {key: theirs[key] for key in ours.keys() - changed}


def test_the_readmes_lines(tokenizer):
    fill = pipeline("fill-mask", str(FOLDER))
    assert fill("the keys to the cabinet [MASK] on the table.")[0]["token_str"] == "are"


# ---- the sentences


def test_the_same_seed_gives_the_same_sentences(script):
    texts = [one.text for one in itertools.islice(script.sentences(script.SEED, held_out=False), 3)]
    assert texts == [
        "today the big bridges beside the queens beside the big tree are old.",
        "the bridges are new.",
        "the ring beside the boys is under the tree but the brother beside the boxes sleeps again.",
    ]


def test_what_is_held_out_is_never_trained_on(script):
    trained = [one.text for one in itertools.islice(script.sentences(script.SEED, held_out=False), 5_000)]
    held_out = {one.text for one in itertools.islice(script.sentences("tests", held_out=True), 2_000)}
    assert held_out.isdisjoint(trained)
    pairs = [f"{key} to the {cabinet}" for key in ("key", "keys") for cabinet in ("cabinet", "cabinets")]
    assert not [text for text in trained if any(pair in text for pair in pairs)]


def test_every_word_is_in_the_vocabulary(script, tokenizer):
    made = itertools.chain(
        *(itertools.islice(script.sentences("words", held_out=held_out), 1_000) for held_out in (False, True))
    )
    unknown = tokenizer.unk_token_id
    assert not [one.text for one in made if unknown in tokenizer(one.text).input_ids]


def test_verbs_agree_with_their_subjects(script):
    """The subject is looked up in the tables; the grammar itself is not asked."""
    grammar = script.sentences.__globals__
    plurals, singulars = ({noun[column] for noun in grammar["NOUNS"]} for column in (1, 0))
    for one in itertools.islice(script.sentences("verbs", held_out=False), 2_000):
        for verb in one.verbs:
            assert one.words[verb.subject] in (plurals if verb.many else singulars)
            if not verb.past:
                assert one.words[verb.at] in verb.right
            assert verb.past == (one.words[0] == "yesterday")


# ---- what it says


def test_held_out_verbs_and_pronouns_agree(script, model, tokenizer, questions, distracted):
    assert share(script.right_verbs(model, tokenizer, questions)) >= 0.99
    assert len(distracted) > 100
    assert all(script.right_verbs(model, tokenizer, distracted))
    pronouns = [
        (one, verb.pronoun)
        for one in itertools.islice(script.sentences("tests", held_out=True), 1_000)
        for verb in one.verbs
        if verb.pronoun is not None
    ]
    assert len(pronouns) > 50
    assert share(script.right_pronouns(model, tokenizer, pronouns)) > 0.97


@pytest.mark.parametrize(("text", "word", "least", "most"), [
    ("the keys to the cabinet [MASK] on the table.", "are", 0.995, 1),
    ("the key to the cabinets [MASK] on the table.", "is", 0.995, 1),
    ("yesterday the keys to the cabinet [MASK] on the table.", "were", 0.985, 0.995),
    ("near the cabinets the key to the houses [MASK] lost.", "is", 0.99, 1),
    ("the girl says that the keys to the cabinet [MASK] lost.", "are", 0.99, 1),
    ("the dog near the cats [MASK].", "barks", 0.5, 0.6),
    ("the dog near the cats [MASK].", "moos", 0.05, 0.15),
    ("behind the houses the dog [MASK] loudly.", "barks", 0.7, 0.8),
    ("the dogs that the girl likes [MASK].", "bark", 0.55, 0.65),
    ("the queen behind the king feeds [MASK] horse.", "her", 0.92, 0.97),
    ("the king behind the queen feeds [MASK] horse.", "his", 0.95, 1),
])  # fmt: skip
def test_what_the_pages_say_is_likely(model, tokenizer, text, word, least, most):
    found = expected(model, tokenizer, text)
    assert least <= found[word] <= most
    assert most < 0.5 or max(found, key=found.get) == word


def test_a_mistake_is_unlikely_from_both_sides(model, tokenizer):
    """The caption in `guide/views/tokens.md` claims it."""
    verb = expected(model, tokenizer, "the keys to the cabinet [MASK] on the table.")
    noun = expected(model, tokenizer, "the [MASK] to the cabinet is on the table.")
    assert f"{verb['is']:.2%}" == "0.07%"
    assert f"{noun['keys']:.1%}" == "0.5%"
    assert max(verb, key=verb.get) == "are"
    assert max(noun, key=noun.get) == "key"


# ---- which head does what


@pytest.mark.parametrize(("text", "subject"), [
    ("the keys to the cabinet [MASK] on the table.", "keys"),
    ("the key to the cabinets [MASK] on the table.", "key"),
    ("yesterday the keys to the cabinet [MASK] on the table.", "keys"),
    ("near the cabinets the key to the houses [MASK] lost.", "key"),
    ("the dogs that the girl likes [MASK].", "dogs"),
    ("the dogs that the girl [MASK] bark.", "girl"),
    ("the girl says that the keys to the cabinet [MASK] lost.", "keys"),
])  # fmt: skip
def test_the_head_of_number_looks_at_the_subject(model, tokenizer, text, subject):
    weights, tokens = looks(model, tokenizer, text, *NUMBER)
    assert weights[tokens.index(subject)] > 0.96


def test_other_heads_of_the_page(model, tokenizer):
    weights, tokens = looks(model, tokenizer, "yesterday the keys to the cabinet [MASK] on the table.", *TENSE)
    assert weights[tokens.index("yesterday")] > 0.97
    weights, tokens = looks(model, tokenizer, "the queen behind the king feeds [MASK] horse.", *GENDER)
    assert 0.94 < weights[tokens.index("queen")] < 0.98


def test_weights_over_held_out_sentences(script, model, tokenizer, distracted):
    subjects = script.attention(model, tokenizer, distracted, [verb.subject for _, verb in distracted])
    assert subjects[NUMBER] > 0.99
    subjects[NUMBER] = subjects[GENDER] = 0
    assert subjects.max() < 0.2
    past = [(one, verb) for one, verb in distracted if verb.past]
    yesterday = script.attention(model, tokenizer, past, [0] * len(past))
    assert 0.9 < yesterday[TENSE] < 0.97
    yesterday[TENSE] = 0
    assert yesterday.max() < 0.05


def test_number_tense_and_gender_hang_on_a_head_each(script, model, tokenizer):
    """The README's table tells what is still right when each head is removed."""
    asked = [(one, verb) for one, verb in script.questions(500, "tests") if verb.distracted]
    past = [(one, verb) for one, verb in asked if verb.past]
    pronouns = [(one, verb.pronoun) for one, verb in script.questions(500, "tests") if verb.pronoun is not None]
    kept = {}
    for layer, head in itertools.product(range(3), range(4)):
        with script.without(model, layer, [head]):
            kept[layer, head] = (
                share(script.right_verbs(model, tokenizer, asked, "right_number")),
                share(script.right_verbs(model, tokenizer, past, "right_tense")),
                share(script.right_pronouns(model, tokenizer, pronouns)),
            )
    assert kept[NUMBER][0] < 0.65
    assert kept[TENSE][1] < 0.02
    assert kept[GENDER][2] < 0.85
    for where, (number, tense, gender) in kept.items():
        assert where == NUMBER or number > 0.95
        assert where == TENSE or tense > 0.99
        assert where == GENDER or gender > 0.95


@pytest.mark.parametrize(("text", "head", "most", "word", "least"), [
    ("the keys to the cabinet [MASK] on the table.", NUMBER, 0.55, "are", 0.45),
    ("yesterday the keys to the cabinet [MASK] on the table.", TENSE, 1, "are", 0.99),
    ("yesterday the keys to the cabinet [MASK] on the table.", NUMBER, 0.65, "were", 0.3),
    ("yesterday the keys to the cabinet [MASK] on the table.", NUMBER, 0.65, "was", 0.6),
    ("the keys to the cabinet [MASK] on the table.", NUMBER, 0.54, "is", 0.525),
])  # fmt: skip
def test_what_it_says_without_a_head(script, model, tokenizer, text, head, most, word, least):
    layer, number = head
    with script.without(model, layer, [number]):
        found = expected(model, tokenizer, text)
    assert max(found.values()) < most
    assert found[word] > least


def test_the_scripts_own_way_leaves_the_model_as_it_was(script, model, tokenizer):
    text = "the keys to the cabinet [MASK] on the table."
    before = expected(model, tokenizer, text)
    with contextlib.suppress(RuntimeError), script.without(model, 2, [1]):
        raise RuntimeError
    assert expected(model, tokenizer, text) == before
