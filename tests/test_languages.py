"""Models that translate between many languages read and write those that the block says, as transformers has them."""

import json

import pytest
import sentencepiece
import torch
import transformers
from conftest import ROOT

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS
from mkdocs_attnviz.views.attention.capture import ATTENTION

torch.set_num_threads(1)

TEXT = "die katze sieht"
SMALL = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
}
LANGUAGES = {
    "nllb": ("deu_Latn", "fra_Latn"),
    "mbart50": ("de_DE", "fr_XX"),
    "mbart": ("de_DE", "fr_XX"),
    "m2m_100": ("de", "fr"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A random model of each kind, with a small vocabulary of SentencePiece."""
    base = tmp_path_factory.mktemp("languages")
    lines = ["the cat sees a dog", "die katze sieht einen hund", "le chat voit un chien"] * 30
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(base / "spm"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(base / "spm.model"))
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(model.id_to_piece(n) for n in range(3, model.get_piece_size()))]
    scored = [(piece, -float(number)) for number, piece in enumerate(pieces)]
    vocabulary = base / "vocab.json"
    vocabulary.write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    tokenizers = {
        "nllb": transformers.NllbTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[]),
        "mbart50": transformers.MBart50Tokenizer(vocab=scored),
        "mbart": transformers.MBartTokenizer(vocab=scored),
        "m2m_100": transformers.M2M100Tokenizer(str(vocabulary), str(base / "spm.model")),
    }
    for kind, tokenizer in tokenizers.items():
        torch.manual_seed(0)
        size = 1 + max(tokenizer.convert_tokens_to_ids(token) for token in tokenizer.get_vocab())
        if kind == "m2m_100":
            size = 1 + max(tokenizer.lang_token_to_id.values())
        config = transformers.AutoConfig.for_model(
            "mbart" if "mbart" in kind else "m2m_100", vocab_size=size, decoder_start_token_id=2, **SMALL
        )
        made = transformers.AutoModelForSeq2SeqLM.from_config(config)
        made.save_pretrained(base / kind)
        tokenizer.save_pretrained(base / kind)
    return base


def inputs(folder, **keys):
    body = "\n".join(f"{key}: {value}" for key, value in keys.items())
    return parse(Source(f"model: {folder}\ntext: {TEXT}\n{body}"), OPTIONS).inputs


def read(folder, **keys):
    loaded = load(resolve(str(folder), None, Settings(), ROOT), "cpu")
    names = ("src_lang", "tgt_lang")
    before = [getattr(loaded.tokenizer, name, None) for name in names]
    try:
        return loaded, example(loaded, inputs(folder, **keys), 512)
    finally:
        assert [getattr(loaded.tokenizer, name, None) for name in names] == before


@pytest.mark.parametrize("kind", LANGUAGES)
def test_source_and_target_language(folders, kind):
    source, target = LANGUAGES[kind]
    _, found = read(folders / kind, src_lang=source, tgt_lang=target, generate="{max_new_tokens: 4}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders / kind, src_lang=source, tgt_lang=target)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folders / kind)
    encoded = tokenizer(TEXT, return_tensors="pt")
    language = tokenizer.get_lang_id(target) if kind == "m2m_100" else tokenizer.convert_tokens_to_ids(target)
    begun = {"decoder_start_token_id": language} if kind == "mbart" else {"forced_bos_token_id": language}
    encoded.pop("token_type_ids", None)
    written = model.generate(**encoded, **begun, max_new_tokens=4, do_sample=False, num_beams=1)[0].tolist()
    assert found.text.ids == encoded["input_ids"][0].tolist()
    assert [*found.target.ids, found.target.labels[-1]] == written
    assert language in written[:2]


@pytest.mark.parametrize("kind", LANGUAGES)
def test_a_target_that_is_given(folders, kind):
    source, target = LANGUAGES[kind]
    loaded, found = read(folders / kind, src_lang=source, tgt_lang=target, text_target="le chat")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders / kind, src_lang=source, tgt_lang=target)
    labels = tokenizer(text_target="le chat")["input_ids"]
    assert found.target.labels == labels
    assert set(attention.capture(Context(loaded, [found]))[0].meta["stacks"]) == {"encoder", "decoder", "cross"}


def test_what_is_not_said_is_asked_for(folders):
    with pytest.raises(ValueError, match=r"does not say which one the text is in; give it a `src_lang`, like de"):
        read(folders / "nllb", tgt_lang="fra_Latn")
    with pytest.raises(ValueError, match=r"writes many languages, and does not say which; give it a `tgt_lang`"):
        read(folders / "nllb", src_lang="deu_Latn")
    with pytest.raises(ValueError, match=r"`src_lang` is 'deu_latn', which is none of the \d+ languages .* deu_Latn"):
        read(folders / "nllb", src_lang="deu_latn", tgt_lang="fra_Latn")
    with pytest.raises(ValueError, match=r"`tgt_lang` is for models that translate between many languages"):
        read(ROOT / "example_site" / "models" / "dates", tgt_lang="fr")


def test_languages_are_a_part_of_the_key():
    ref = resolve(str(ROOT / "example_site" / "models" / "dates"), None, Settings(), ROOT)
    plain, german, french = (
        Request(ATTENTION, ref, inputs("m", **keys)).key for keys in ({}, {"src_lang": "de"}, {"src_lang": "fr"})
    )
    assert len({plain, german, french}) == 3


def test_a_code_is_a_word():
    with pytest.raises(BlockError, match="`src_lang` is 'de DE'; it must be a language's code"):
        inputs("m", src_lang="de DE")
