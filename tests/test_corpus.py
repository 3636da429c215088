"""Corpora: what is read of a file, what is told of its mistakes, and how texts stream through a model."""

import pytest
from conftest import ROOT
from jsonschema import Draft202012Validator

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError, WrongValue
from mkdocs_attnviz.block.schema import json_schema
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.corpora import Corpora
from mkdocs_attnviz.models.inputs.corpus_file import read_corpus
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS, of_one_text

SENTENCE = """\
# sent_id = 1
# text = Don't vámonos, "cat"
1-2	Don't	_	_	_	_	_	_	_	_
1	Do	do	AUX	_	_	5	aux	_	_
2	n't	not	PART	_	_	5	advmod	_	_
3-4	vámonos	_	_	_	_	_	_	_	SpaceAfter=No
3	vamos	ir	VERB	_	_	5	dep	_	_
4	nos	nosotros	PRON	_	_	3	obj	_	_
4.1	left	leave	VERB	_	_	_	_	_	_
5	,	,	PUNCT	_	_	0	root	_	_
6	"	"	PUNCT	_	_	7	punct	_	SpaceAfter=No
7	cat	cat	NOUN	_	_	5	nsubj:pass	_	SpaceAfter=No
8	"	"	PUNCT	_	_	7	punct	_	_
"""
WITHOUT_TEXT = SENTENCE.replace('# text = Don\'t vámonos, "cat"\n', "")


def texts_of(folder, name, content, **how):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_corpus(name, path, **how)["texts"]


def test_a_line_is_a_text_and_a_blank_line_is_none(tmp_path):
    texts = texts_of(tmp_path, "a.txt", b"\xef\xbb\xbfOne.\r\n\r\n  Two\xe2\x80\xa8still two. \n \nThree.")
    assert [(text["line"], text["text"]) for text in texts] == [(1, "One."), (3, "Two\u2028still two."), (5, "Three.")]
    assert len(texts_of(tmp_path, "a.txt", "One.\nTwo.\nThree.", max_texts=2)) == 2


def test_paragraphs_keep_their_lines_and_indentation(tmp_path):
    texts = texts_of(tmp_path, "a.txt", "\n\nif x:\n    y \n\n\n\nlast\n", split="paragraphs")
    assert [(text["line"], text["text"]) for text in texts] == [(3, "if x:\n    y"), (8, "last")]


@pytest.mark.parametrize("content", [SENTENCE, WITHOUT_TEXT], ids=["text", "no text"])
def test_words_of_conllu_have_their_places(tmp_path, content):
    (text,) = texts_of(tmp_path, "a.conllu", content)
    parse = text["parse"]
    assert text["text"] == 'Don\'t vámonos, "cat"'
    words = [text["text"][start:end] for start, end in parse["words"]]
    assert words == ["Do", "n't", "vámonos", "vámonos", ",", '"', "cat", '"']
    assert parse["heads"] == [5, 5, 5, 3, 0, 7, 5, 7]
    assert parse["relations"][-2] == "nsubj:pass"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("7\tcat", "7 cat", "Line 12 of 'a.conllu' has 9 columns; CoNLL-U has 10, with tabs between them."),
        ("7\tcat", "9\tcat", "Line 12 of 'a.conllu' has the number '9', where 7 comes next."),
        ("7\tcat", "x\tcat", "Line 12 of 'a.conllu' has the number 'x', where 7 comes next."),
        ("5\taux", "_\taux", "Line 4 of 'a.conllu' gives 'Do' the head '_', which is no number."),
        ("5\taux", "9\taux", "Line 4 of 'a.conllu' gives 'Do' the head 9, and the sentence has 8 words."),
        ("5\taux", "1\taux", "Line 4 of 'a.conllu' gives 'Do' the head 1, which is the word itself."),
        ("5\taux", "5\t_", "Line 4 of 'a.conllu' gives 'Do' no relation in its eighth column."),
        ("3-4", "3-12", "Line 6 of 'a.conllu' has a range up to 12, beyond the last word, 8."),
        ("1-2", "1-3", "Line 6 of 'a.conllu' has the range 3-4, which begins inside another."),
        ("1-2", "1-1", "Line 3 of 'a.conllu' has the range 1-1, which holds no two words."),
        ("cat\tcat", "dog\tdog", "Line 12 of 'a.conllu' has 'dog', where the sentence's `# text` has 'cat'."),
        ("cat\tcat", "\tcat", "Line 12 of 'a.conllu' has no word in its second column."),
    ],
)
def test_mistakes_in_conllu_are_told_with_their_line(tmp_path, old, new, sentence):
    with pytest.raises(WrongValue) as error:
        texts_of(tmp_path, "a.conllu", SENTENCE.replace(old, new, 1))
    assert str(error.value) == sentence


def test_mistakes_in_text_are_told_with_their_line(tmp_path):
    with pytest.raises(WrongValue, match=r"^Line 2 of 'a.txt' is no UTF-8 \(byte 2 is 0xe9\)\.$"):
        texts_of(tmp_path, "a.txt", b"One\n t\xe9n\n".replace(b" t", b"t"))
    with pytest.raises(WrongValue, match=r"^`corpus` is 'a.txt', which has no text\.$"):
        texts_of(tmp_path, "a.txt", "\n  \n")
    with pytest.raises(WrongValue, match=r"^`corpus_split` is 'lines'; it is for a .txt file, and 'a.conllu'"):
        texts_of(tmp_path, "a.conllu", SENTENCE, split="lines")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
    with pytest.raises(WrongValue, match="Git LFS has not brought yet"):
        texts_of(tmp_path, "a.txt", pointer)


def test_the_digest_tells_what_is_read(tmp_path):
    def digest(content, **how):
        (tmp_path / "a.txt").write_text(content)
        return read_corpus("a.txt", tmp_path / "a.txt", **how)["digest"]

    assert digest("One\nTwo\n") == digest("One \r\nTwo") != digest("One\n\nTwo")  # whose second line is another
    assert digest("One\nTwo\n", max_texts=1) == digest("One\nThree\n", max_texts=1)
    assert digest("One\nTwo\n", split="paragraphs") != digest("One\nTwo\n")


def problem(body, folder=ROOT, **settings):
    """Return what is told of a block with a corpus."""
    with pytest.raises(BlockError) as error:
        Corpora(Settings(**settings), folder).of(parse(Source(body), OPTIONS))
    return error.value.line, error.value.message


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("model: m\ncorpus: a.txt\ntext: b", "`corpus` and `text` are both in the block; keep one of them."),
        ("model: m\nchat: [{role: user, content: a}]\ncorpus: a.txt", "`corpus` and `chat` are both in the block"),
        ("model: m\ntext: a\nmax_texts: 3", "`max_texts` is in the block, and no `corpus` that it could be about."),
        ("model: m\ncorpus: a.csv", "`corpus` is 'a.csv'; it must be a .txt or .conllu file."),
        ("model: m\ncorpus: a.txt\nmax_texts: 0", "`max_texts` is 0; it must be a number from 1."),
        ("model: m\ncorpus: a.txt\ncorpus_split: words", "`corpus_split` is 'words'; it must be lines or paragraphs."),
        ("tensors: a.safetensors\ncorpus: a.txt", "`tensors` brings tokens and weights of its own, so `corpus`"),
        ("model: m\nview: head", "The block has no `text`; it must be"),
    ],
)
def test_keys_of_a_corpus_that_do_not_fit(body, sentence):
    assert sentence in problem(body)[1]


def test_a_file_that_is_not_there_or_lies_outside(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "letters.txt").write_text("A letter.")
    line, told = problem("model: m\ncorpus: leters.txt", tmp_path)
    assert (line, "(did you mean 'letters.txt'?)" in told) == (1, True)
    outside = "model: m\ncorpus: ../letters.txt"
    told = problem(outside, tmp_path / "site", only_listed_models=True)[1]
    assert "lies outside" in told
    assert Corpora(Settings(), tmp_path / "site").of(parse(Source(outside), OPTIONS))["texts"]


def test_the_schema_has_a_corpus_for_views_of_many_texts_alone():
    checker = Draft202012Validator(json_schema(OPTIONS, of_one_text()))
    for name in VIEWS:
        body = {"model": "m", "corpus": "a.txt", "max_texts": 3, "view": name}
        assert checker.is_valid(body) == (name in ("experts", "heads", "sublayers")), name
        text = {"model": "m", "text": "a", "view": name}
        assert checker.is_valid(text)
        assert not checker.is_valid(text | {"corpus": "a.txt"})
    assert not checker.is_valid({"model": "m", "corpus": "a.txt"}), "a block without a view has the head view"


def test_a_view_of_one_text_takes_no_corpus():
    with pytest.raises(BlockError) as error:
        Corpora(Settings(), ROOT).inputs(parse(Source("model: m\ncorpus: a.txt\nview: head"), OPTIONS))
    assert error.value.line == 1
    assert error.value.message.startswith("`corpus` is for views of many texts (")
    assert error.value.message.endswith("; the head view shows one `text`.")
