"""A model reads as many tokens as its tables have room for, whatever its configuration or tokenizer claim."""

import pytest
import tiny_models
import torch
import transformers
from conftest import ROOT
from test_coverage import run
from tokenizers import Tokenizer, models, pre_tokenizers

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.engine.runs import problem_of
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS

torch.set_num_threads(1)

SMALL = {"vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SMALL |= {"pad_token_id": 1}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 12, "pad_token_id": 0}
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *"abcdefgh"]


@pytest.fixture
def made(tmp_path):
    """`made(type, **settings)` → a random model in memory, whose words are letters."""

    def made(model_type, words=WORDS, model_max_length=None, **settings):
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(model_type, **settings)
        auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForMaskedLM
        auto.from_config(config).save_pretrained(tmp_path)
        backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        more = {} if model_max_length is None else {"model_max_length": model_max_length}
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", **more
        ).save_pretrained(tmp_path)
        return load(resolve(str(tmp_path), None, Settings(), ROOT), "cpu")

    return made


def test_roberta_counts_positions_from_its_padding_on(made):
    loaded = made("roberta", max_position_embeddings=66, **SMALL)
    assert len(example(loaded, {"text": "a " * 64}, 99).text.ids) == 64
    attention.capture(Context(loaded, [example(loaded, {"text": "a " * 64}, 99)]))
    with pytest.raises(ValueError, match=r"The text has 65 tokens; model .* reads at most 64\."):
        example(loaded, {"text": "a " * 65}, 99)


def test_a_length_that_only_the_tokenizer_names_is_said(made):
    loaded = made("t5", model_max_length=8, decoder_start_token_id=0, **T5)
    short, long = (example(loaded, {"text": "a " * length, "text_target": "b"}, 99) for length in (8, 20))
    assert (short.text.usual, long.text.usual) == (None, 8)
    entry = Entry.from_bytes(attention.capture(Context(loaded, [long]))[0].to_bytes())
    block = parse(Source("model: m\ntext: a"), OPTIONS)
    sentence = Figure(block, VIEWS["head"].drawing(block, entry), entry).sentence
    assert sentence.endswith("The text has 20 tokens; the model's tokenizer names 8 as the most.")


def test_a_vocabulary_larger_than_the_model(made):
    loaded = made("bert", words=[*WORDS, "i"], max_position_embeddings=64, **SMALL)
    assert example(loaded, {"text": "a b"}, 99).text.ids
    with pytest.raises(ValueError, match=r"gives 'i' the number 12, and the model knows tokens 0 to 11: its tokenizer"):
        example(loaded, {"text": "a i"}, 99)


ROOM = {
    "bart": (40, 40),
    "bert": (40, None),
    "camembert": (38, None),
    "ibert": (38, None),
    "led": (36, 40),
    "mpnet": (38, None),
    "mpt": (40, None),
    "opt": (40, None),
    "prophetnet": (39, 38),
    "t5": (None, None),
    "xglm": (40, None),
}


@pytest.mark.parametrize("model_type", ROOM)
def test_room(monkeypatch, model_type):
    """Models with 40 positions read as many tokens as we say, and none more if a table ends there."""
    names = "max_position_embeddings max_encoder_position_embeddings max_decoder_position_embeddings n_positions"
    monkeypatch.setattr(tiny_models, "SIZES", tiny_models.SIZES | dict.fromkeys([*names.split(), "max_seq_len"], 40))
    loaded = tiny_models.tiny(model_type, narrow=True)
    target = loaded.longest_target if loaded.encoder_decoder else None
    assert (loaded.longest, target) == ROOM[model_type]
    run(loaded, tiny_models.example(loaded, loaded.longest or 100, target or 50))
    if loaded.longest is not None and model_type not in ("prophetnet", "xglm"):  # which count no further, or grow
        with pytest.raises((IndexError, RuntimeError)):
            run(loaded, tiny_models.example(loaded, loaded.longest + 1, 5))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (IndexError("index out of range in self"), "is beyond what the model has vectors for"),
        (
            RuntimeError("index 66 is out of bounds for dimension 1 with size 66"),
            "is beyond what the model has vectors",
        ),
        (KeyError("five"), "The model failed on this text: there is no 'five'."),
        (
            RuntimeError("shapes differ:\n  (1, 2)\n  (3, 4)"),
            "The model failed on this text: shapes differ: (1, 2) (3, 4)",
        ),
        (AssertionError(), "The model failed on this text: no reason is given."),
        (WrongValue("text", "The text is empty."), "The text is empty."),
        (ValueError("bad shape"), "The model failed on this text: bad shape."),
    ],
)
def test_what_an_exception_tells_an_author(error, sentence):
    assert sentence in problem_of(error).message
    assert type(error).__name__ not in problem_of(error).message
