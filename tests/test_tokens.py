"""Tokens as a reader sees them, and the words they are pieces of, in every kind of vocabulary."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from itertools import product
from types import SimpleNamespace

import pytest
import regex
import torch
import transformers
import vocabularies
from test_tensors import figure
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

import mkdocs_attnviz
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.token_version import outdated
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.models.captures import lens, saliency
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.own_arrays import TokenRow
from mkdocs_attnviz.models.encoding import json_blob
from mkdocs_attnviz.models.inputs import word_boundaries
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.inputs.tokens import append_generated, pretty, special_positions, tokenize
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings

EOT = AddedToken("<|eot_id|>", special=True, normalized=False)
TOOL = AddedToken("<|tool|>", special=False, normalized=False)
BOUNDARY = regex.compile(r"(?w)\b")


def words(told):
    """Return the texts of the words that tokens are pieces of, without special tokens."""
    found: dict[int, str] = {}
    for word, text in zip(word_boundaries.split(told), word_boundaries.texts_of(told), strict=True):
        if word is not None:
            found[word] = found.get(word, "") + text
    return list(found.values())


def read(tokenizer, text):
    return tokenize(tokenizer, text, None).meta()


def tiny(tokenizer):
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64)
    return transformers.GPT2LMHeadModel(config).eval()


# ---- special tokens


def test_a_token_that_was_added_as_special_is_special(tmp_path):
    """Llama 3's `<|eot_id|>` is, without a role; a token that was added without `special` is a word."""
    tokenizer = vocabularies.byte_level(EOT, TOOL)
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path)):
        assert "<|eot_id|>" not in each.all_special_tokens
        told = read(each, "a cat<|eot_id|><|tool|> sat")
        assert [told["tokens"][n] for n in told["special"]] == ["<|eot_id|>"]
        # What the tokenizer itself leaves out of a text is what is special.
        ids = each("a cat<|eot_id|><|tool|> sat").input_ids
        kept = [token for n, token in enumerate(ids) if n not in special_positions(each, ids)]
        assert each.decode(kept) == each.decode(ids, skip_special_tokens=True)
    slow = transformers.ByT5Tokenizer()
    slow.add_tokens([EOT])
    assert read(slow, "a<|eot_id|>")["special"] == [1, 2]


def test_what_a_tokenizer_puts_around_a_text_is_special(tmp_path):
    told = read(vocabularies.m2m100(tmp_path), "the cat")
    assert [told["tokens"][n] for n in told["special"]] == ["__en__", "</s>"]
    backend = vocabularies.unigram(vocabularies.LINES).backend_tokenizer  # a token without any sign of its own
    first = backend.encode("the cat").tokens[0]
    backend.post_processor = processors.TemplateProcessing(f"{first} $A", None, [(first, backend.token_to_id(first))])
    told = read(vocabularies.fast(backend), "the cat")
    assert told["tokens"][:2] == [first, first]
    assert told["special"] == [0]


def test_special_tokens_are_left_out_and_no_piece_of_a_word():
    tokenizer = vocabularies.byte_level(EOT)
    text = "a cat<|eot_id|> sat"
    shown = figure(mkdocs_attnviz.show(tiny(tokenizer), tokenizer, text, special_tokens=False, html_action="return"))
    sequence = shown["sequences"]["text"]
    assert [sequence["tokens"][n] for n in sequence["special"]] == ["<|eot_id|>"]
    assert [sequence["words"][n] for n in sequence["special"]] == [None]


def test_saliency_ignores_all_pieces_of_a_character():
    tokenizer = vocabularies.byte_level()
    shown = figure(
        mkdocs_attnviz.show(
            tiny(tokenizer), tokenizer, "a é b", view="saliency", ignore_tokens=["é"], html_action="return"
        )
    )
    tokens = shown["sequences"]["text"]["tokens"]
    assert [tokens[n] for n in shown["ignored"]] == ["é‹1/2›", "é‹2/2›"]


def test_saliency_ignores_special_tokens():
    tokenizer = vocabularies.byte_level(EOT)
    html = mkdocs_attnviz.show(
        tiny(tokenizer),
        tokenizer,
        "a cat<|eot_id|> sat",
        view="saliency",
        ignore_tokens="special",
        html_action="return",
    )
    shown = figure(html)
    position = shown["sequences"]["text"]["tokens"].index("<|eot_id|>")
    assert shown["ignored"] == [position]


# ---- characters in several tokens

PIECES = {
    "byte-level": lambda _: vocabularies.byte_level(),
    "byte fallback": lambda _: vocabularies.byte_fallback(),
    "byte fallback, slow": lambda folder: vocabularies.slow_sentencepiece(folder, fallback=True),
    "ByT5": lambda _: transformers.ByT5Tokenizer(),
    "MyT5": vocabularies.myt5,
    "Perceiver": lambda _: transformers.PerceiverTokenizer(),
    "GPT-NeoX Japanese": vocabularies.neox_japanese,
}


@pytest.mark.parametrize("kind", PIECES)
def test_a_character_in_several_tokens(tmp_path, kind):
    """Each piece tells the whole character, and a word has it once."""
    told = read(PIECES[kind](tmp_path), "ok 👍🏽 é")
    pieces = [token for token in told["pretty"] if "‹" in token]
    assert pieces == [
        *(f"👍‹{n}/4›" for n in range(1, 5)),
        *(f"🏽‹{n}/4›" for n in range(1, 5)),
        *(f"é‹{n}/2›" for n in range(1, 3)),
    ]
    assert [word.strip() for word in words(told)] == ["ok", "👍🏽", "é"]


def test_a_token_may_begin_and_end_within_characters():
    """Some merges of byte-level vocabularies cross characters: 你好 is E4 BD A0 E5 A5 BD."""
    backend = vocabularies.byte_level().backend_tokenizer
    vocabulary = {name: n for n, name in enumerate([*pre_tokenizers.ByteLevel.alphabet(), "ł" + "å"])}
    backend.model = models.BPE(vocabulary, [("ł", "å")])
    told = read(vocabularies.fast(backend), "x 你好")
    assert told["pretty"] == ["x", " ", "你‹1/3›", "你‹2/3›", "你‹3/3›好‹1/3›", "好‹2/3›", "好‹3/3›"]
    assert words(told) == ["x", " 你好"]


def test_bytes_that_make_no_character_are_shown_as_they_are():
    """A model may write half of one; a token by itself, as a prediction, is no more than its bytes."""
    tokenizer = vocabularies.byte_level()
    ids = tokenizer("é").input_ids
    assert pretty(tokenizer, ids) == ["‹C3›", "‹A9›"]
    told = append_generated(tokenizer, tokenize(tokenizer, "a", None), ids[:1]).meta()
    assert told["pretty"] == ["a", "‹C3›"]
    llama = vocabularies.byte_fallback()
    assert pretty(llama, llama.convert_tokens_to_ids(["<0x0A>", "<0xC3>"])) == ["\n", "‹C3›"]


def test_a_line_break_is_one_in_every_vocabulary(tmp_path):
    for kind in ("byte-level", "byte fallback", "ByT5"):
        assert "\n" in read(PIECES[kind](tmp_path), "a\nb")["pretty"]


def test_a_figure_joins_the_pieces_of_a_character():
    """The browser joins the same texts as Python's picture."""
    tokenizer = vocabularies.byte_level()
    html = mkdocs_attnviz.show(
        tiny(tokenizer), tokenizer, "ok 👍🏽 é", merge_words=True, view="matrix", html_action="return"
    )
    sequence = figure(html)["sequences"]["text"]
    assert list(sequence["joined"].values()) == [" 👍🏽", " é"]
    assert "‹" not in html.sentence


# ---- marks


@pytest.mark.parametrize("kind", [transformers.BertTokenizer, transformers.BertTokenizerLegacy])
def test_a_mark_of_another_vocabulary_is_a_letter(tmp_path, kind):
    """`Ġ` is a letter of Maltese, and `<0x0A>` five characters; in WordPiece neither means anything else."""
    told = read(vocabularies.word_piece(tmp_path, kind), "Ġurnata cats")
    assert told["pretty"] == ["[CLS]", "Ġ", "##ur", "##nata", "cat", "##s", "[SEP]"]
    assert words(told) == ["Ġurnata", "cats"]


def test_a_letter_in_sentencepiece_stays():
    told = read(vocabularies.unigram(["Ġurnata sabiħa"] * 5), "Ġurnata sabiħa")
    assert "".join(told["pretty"]) == " Ġurnata sabiħa"
    assert words(told) == [" Ġurnata", " sabiħa"]


def test_a_token_of_the_vocabulary_that_looks_like_a_byte(tmp_path):
    tokenizer = vocabularies.word_piece(tmp_path, transformers.BertTokenizer)
    assert pretty(tokenizer, tokenizer.convert_tokens_to_ids(["<0x0A>", "▁"])) == ["<0x0A>", "▁"]


def test_own_tensors_are_read_by_the_marks_that_they_have():
    def told(*tokens):
        return TokenRow(tokens).meta()

    assert told("▁Ġurnata", "▁x")["pretty"] == [" Ġurnata", " x"]
    assert told("▁a", "<0x0A>", "b")["pretty"] == [" a", "\n", "b"]
    assert told("the", "Ġð", "Ł", "ĳ", "į")["pretty"] == ["the", " 👍‹1/4›", "👍‹2/4›", "👍‹3/4›", "👍‹4/4›"]
    assert told("Ġurnata", "sabiħa")["pretty"] == [" urnata", "sabiħa"]  # not bytes: as BertViz
    assert words(told("s@@", "at", "the")) == ["sat", "the"]
    assert words(told("s", "at</w>", "the</w>")) == ["sat", "the"]


# ---- words

TEXTS = {
    "a Japanese sentence": (
        lambda _: vocabularies.unigram(vocabularies.JAPANESE),
        "吾輩は猫である。",
        [" 吾", "輩", "は", "猫", "で", "あ", "る", "。"],
    ),
    "line breaks": (lambda _: vocabularies.byte_fallback(), "a\n\nb c", [" a", "\n", "\n", "b", " c"]),
    "punctuation": (
        lambda folder: vocabularies.slow_sentencepiece(folder, fallback=False),
        "the cat, a mat!",
        [" the", " cat", ",", " a", " mat", "!"],
    ),
    "an apostrophe": (lambda _: vocabularies.unigram(vocabularies.LINES), "don't run", [" don't", " run"]),
    "CTRL": (vocabularies.ctrl, "the sat", ["the", "sat"]),
    "PhoBERT": (vocabularies.phobert, "the sat", ["the", "sat"]),
    "the end of a word": (lambda _: vocabularies.word_end(), "the rabbit sat", ["the", "rabbit", "sat"]),
    "bytes": (lambda _: transformers.ByT5Tokenizer(), "café, 3.14 au", ["café", ",", " 3.14", " au"]),
    "characters": (lambda _: transformers.CanineTokenizer(), "a cat, a mat", ["a", " cat", ",", " a", " mat"]),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_words(tmp_path, kind):
    make, text, expected = TEXTS[kind]
    assert words(read(make(tmp_path), text)) == expected


SENTENCES = [
    "The cat can't sit, on 3.14 mats.",
    "a\n\nb  c\r\nd",
    "👍🏽 ok 👨‍👩‍👧 🇩🇪🇫🇷",
    "ÜberGröße naïve e\u0301te\u0301",
    'שלום צה"ל עולם',
    "مرحبا بالعالم",
    "한국어 문장입니다",
    "カタカナ",
    "नमस्ते दुनिया",
    "don’t U.S.A. 1,000 foo_bar x:y http://x.y/z?q=1",
]


def test_word_boundaries_are_those_of_a_browser():
    """ICU, which browsers and Node have, is another implementation of UAX 29; dictionaries it has for Chinese and Thai
    alone, which are left out here."""
    script = (
        "const s = new Intl.Segmenter('en', {granularity: 'word'});"
        "console.log(JSON.stringify(JSON.parse(process.argv[1]).map(t => [...s.segment(t)].map(x => x.index))))"
    )
    run = subprocess.run(["node", "-e", script, json.dumps(SENTENCES)], capture_output=True, text=True, check=True)
    for text, utf16 in zip(SENTENCES, json.loads(run.stdout), strict=True):
        expected = {len(text.encode("utf-16-le")[: 2 * index].decode("utf-16-le")) for index in utf16}
        found = word_boundaries.boundaries(text)
        assert found - {len(text)} == expected - {len(text)}, text


def test_plain_words_need_no_tables_of_unicode():
    """The boundaries of ASCII words are those that the package `regex` finds, without its import."""
    pairs = map("".join, product(map(chr, range(128)), repeat=2))
    for text in [*pairs, *map("".join, product(" ab9_.'", repeat=4))]:
        assert word_boundaries.boundaries(text) == {match.start() for match in BOUNDARY.finditer(text)}, text
    code = "import sys; from mkdocs_attnviz.models.inputs.word_boundaries import boundaries; boundaries(' cat')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'regex' not in sys.modules"], check=True)


def test_words_that_an_author_gives_are_kept(tmp_path):
    told = TokenRow(["a", ",", "b"], words=[0, 0, 0]).meta()
    assert told["words"] == [0, 0, 0]


def test_a_generated_token_that_goes_on(tmp_path):
    """A WordPiece token goes on if it has `##`; a SentencePiece token goes on if it has no mark."""
    bert = vocabularies.word_piece(tmp_path, transformers.BertTokenizer)
    start = tokenize(bert, "cat", None, add_special_tokens=False)
    assert words(append_generated(bert, start, bert.convert_tokens_to_ids(["##s", "cat"])).meta()) == ["cats", "cat"]


# ---- entries of an earlier version


def earlier(sequence):
    """Return a sequence as version 1 stored it."""
    return {name: value for name, value in sequence.items() if name not in ("version", "texts")}


def entry_of(**sequence):
    length = len(sequence["tokens"])
    usual = {"pretty": sequence["tokens"], "special": [], "words": list(range(length)), "sentence_b_start": None}
    return Entry({"sequences": {"text": usual | sequence}}, {})


WRONG = [
    {"tokens": ["a", "<|eot_id|>"]},
    {"tokens": ["<s>", "deu_Latn", "a"], "special": [0]},
    {"tokens": ["Ã", "©"], "pretty": ["‹C3›", "‹A9›"]},
    {"tokens": ["▁a", "<0x0A>"]},
    {"tokens": [*"caf", "Ã", "©"], "words": [None] * 5},
    {"tokens": ["c", " ", "a"], "words": [None] * 3},
    {"tokens": ["▁Ġ", "a"]},
    {"tokens": ["Ġ", "##ur"]},
    {"tokens": ["s@@", "at"], "words": [None] * 2},
    {"tokens": ["s", "at</w>"], "words": [None] * 2},
]
RIGHT = [
    {"tokens": ["[CLS]", "The", "em", "##bed", "[SEP]"], "special": [0, 4]},
    {"tokens": ["The", "Ġcat", "ĠsÃ¤t", "Ċ"]},
    {"tokens": ["▁The", "▁cat", "."]},
    {"tokens": ["M", "K", "T"], "words": [None] * 3},
    {"tokens": ["the</w>", "cat</w>"]},
    {"tokens": ["▁a", "▁b", "[", "]", "{x", "..."]},
]


@pytest.mark.parametrize("sequence", WRONG, ids=str)
def test_an_earlier_entry_that_may_be_wrong_is_given_up(sequence):
    assert outdated(entry_of(**sequence))
    assert not outdated(entry_of(**sequence, version=2))


@pytest.mark.parametrize("sequence", RIGHT, ids=str)
def test_an_earlier_entry_that_is_right_is_kept(sequence):
    assert not outdated(entry_of(**sequence))


def test_an_earlier_entry_names_likely_tokens_as_bytes():
    """A prediction that is a line break, in a text without any."""
    for name in ("predictions", "lens"):
        blobs = {name: json_blob({"vocabulary": [" the", "<0x0A>"]})}
        sequences = {
            "text": {"tokens": ["▁a"], "pretty": [" a"], "special": [], "words": [0], "sentence_b_start": None}
        }
        assert outdated(Entry({"sequences": sequences}, blobs))
        assert not outdated(Entry({"sequences": sequences}, {name: json_blob({"vocabulary": [" the"]})}))


def test_only_wrong_entries_are_computed_anew(tmp_path):
    """Entries keep their keys, so that no other entry is lost."""
    folder = tmp_path / "model"
    tokenizer = vocabularies.byte_level()
    tiny(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = Settings(cache_dir="cache")
    right, wrong = (Source(f"model: model\ntext: {text}") for text in ("a cat", "a é"))
    pipeline = Pipeline(settings, tmp_path, logging.getLogger("test"))
    with pipeline.build(warm=True) as build:
        assert all(isinstance(each, Figure) for each in build.render([right, wrong]))
        paths = [build.cache.path(build.plan(each).request.key) for each in (right, wrong)]
        old = []
        for path in paths:
            entry = Entry.from_bytes(path.read_bytes())
            sequence = earlier(entry.meta["sequences"]["text"])
            sequence["pretty"] = ["‹C3›" if "1/2" in each else each for each in sequence["pretty"]]
            old.append(Entry({**entry.meta, "sequences": {"text": sequence}}, entry.blobs).to_bytes())
            path.write_bytes(old[-1])
    with pipeline.build() as build:
        assert all(isinstance(each, Figure) for each in build.render([right, wrong]))
        assert paths[0].read_bytes() == old[0]
        told = Entry.from_bytes(paths[1].read_bytes()).meta["sequences"]["text"]
        assert "é‹1/2›" in told["pretty"]
        paths[1].write_bytes(old[1])
    settings = Settings(cache_dir="cache", on_missing="warn")
    with Pipeline(settings, tmp_path, logging.getLogger("test")).build() as build:
        kept, given_up = build.render([right, wrong])
        assert isinstance(kept, Figure)
        assert not isinstance(given_up, Figure)


# ---- a token that the author names


def words_and_pieces():
    """A vocabulary that has `the` as a word and as a piece inside of words."""
    pieces = [("<unk>", 0.0), ("▁the", -1.0), ("the", -1.0), ("▁ba", -1.0), ("▁", -3.0), ("b", -4.0)]
    backend = Tokenizer(models.Unigram(pieces, 0))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return vocabularies.fast(backend, unk_token="<unk>")


def test_a_word_is_the_same_token_under_every_key():
    """Once, `watch: the` followed the word, and `token: the` explained the piece in "bathe"."""
    tokenizer = words_and_pieces()
    loaded = Loaded(SimpleNamespace(name="m"), tiny(tokenizer), tokenizer, torch.device("cpu"))
    assert read(loaded.tokenizer, "bathe")["pretty"] == [" ba", "the"]
    given = example(loaded, {"text": "the bathe"}, 99)
    (watched,) = lens.capture(Context(loaded, [given], {"top_k": 1, "final_norm": True, "watch": ["the"]}))
    parameters = {"method": "input_x_gradient", "norm": "sum", "explain": "logit"}
    (explained,) = saliency.capture(Context(loaded, [given], parameters | {"token": "the", "contrast": "ba"}))
    assert watched.meta["watch"] == [" the"]
    assert explained.meta["outputs"][0]["token"] == " the"
    assert explained.meta["contrast"] == " ba"


def test_an_earlier_entry_that_explains_a_piece_is_given_up():
    for tokens, parameters, is_wrong in (
        (["▁the", "▁cat"], {"token": "the"}, True),
        (["▁the", "▁cat"], {"contrast": "the"}, True),
        (["▁the", "▁cat"], {"method": "occlusion"}, False),
        (["the", "Ġcat"], {"token": "the"}, False),
    ):
        old = entry_of(tokens=tokens, version=2)
        old.meta["key"] = [["capture", "saliency"], ["parameters", parameters]]
        assert bool(outdated(old)) == is_wrong
        old.meta["sequences"]["text"]["version"] = 3
        assert not outdated(old)
